//! The application Secret: what it carries, and the one write after which it names the other user.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use serde::de::IgnoredAny;
use serde_json::json;

use super::{Cluster, found, settled};
use crate::api::{DELIVERED_BY, DELIVERED_FOR, FIELD_MANAGER};
use crate::effects::{Error, Outcome};
use crate::machine::facts::{Delivered, SecretSeen};
use crate::machine::journal::Landing;
use crate::policy::Policy;
use crate::policy::target::RoleName;
use crate::sensitive::Sensitive;

/// The application Secret as it was found. No `Debug`: it holds the object.
pub struct AppSecret {
    /// User under the user name key, when that can be a role.
    pub user: Option<RoleName>,
    /// Text under the password key.
    pub password: Option<Sensitive>,
    /// The object.
    pub(super) live: Secret,
}

/// What a delivery writes, besides the credential itself.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Number of the rotation.
    pub number: u64,
    /// The rotate-now value that it answers.
    pub nonce: Option<&'a str>,
    /// The guard that came with the Secret that was looked at.
    pub version: &'a str,
}

impl Cluster {
    /// Looks at the application Secret; `pending` is the credential that a running rotation delivers.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn see(
        &self,
        policy: &Policy,
        pending: Option<(&RoleName, &Sensitive)>,
    ) -> Result<(SecretSeen, Option<AppSecret>), Error> {
        let live: Option<Secret> = self.get(policy.delivery.target.secret.as_str()).await?;
        let Some(live) = live else {
            return Ok((SecretSeen::Missing, None));
        };
        let keys = &policy.delivery.target;
        let app = AppSecret {
            user: text(&live, &keys.username_key).and_then(|user| RoleName::new(user).ok()),
            password: text(&live, &keys.password_key).map(|password| Sensitive::new(password.to_owned())),
            live,
        };
        let (delivered, landing) = delivered(&app.live, &policy.uid).unzip();
        let seen = SecretSeen::Present {
            user: app.user.clone(),
            carries_pending: pending
                .is_some_and(|(user, password)| carries(policy, &app.live, user, password)),
            version: guard(&app.live.metadata),
            landing,
            delivered,
        };
        Ok((seen, Some(app)))
    }

    /// Delivers a credential: all keys, all templates and the mark in one server-side apply. Other keys stay as they
    /// are. It is forced, because the keys belong to whoever made the Secret, and the policy says that they are
    /// Tandem's from now on.
    ///
    /// The resourceVersion guards against everybody else's writes, but not against a Secret that is gone: an apply
    /// that finds nothing makes the object and forgets the version. The uid guards against that.
    ///
    /// # Errors
    /// Conflict when somebody else has written it, or it is gone; otherwise when the write did not come to an end.
    pub async fn flip(
        &self,
        policy: &Policy,
        delivery: Delivery<'_>,
        user: &RoleName,
        password: &Sensitive,
    ) -> Result<Outcome, Error> {
        let name = policy.delivery.target.secret.as_str();
        let guard = delivery.version.split_once('/');
        let Some((uid, version)) = guard.filter(|(uid, version)| !uid.is_empty() && !version.is_empty())
        else {
            let secret = self.named("Secret", name);
            return Err(Error::Unusable(format!(
                "not writing {secret}: its version is unknown"
            )));
        };
        let mark = format!("{}/{}/{version}", policy.uid, delivery.number);
        let mut annotations = BTreeMap::from([(DELIVERED_BY, mark)]);
        if let Some(nonce) = delivery.nonce {
            annotations.insert(DELIVERED_FOR, nonce.to_owned());
        }
        let data: BTreeMap<&str, ByteString> = rendered(policy, user, password)
            .into_iter()
            .map(|(key, value)| (key, ByteString(value.expose().as_bytes().to_vec())))
            .collect();
        let patch = Patch::Apply(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "uid": uid, "resourceVersion": version, "annotations": annotations},
            "data": data,
        }));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let result: Result<IgnoredAny, Error> = self.patch::<Secret, _>(name, &params, &patch).await;
        settled(found(result, || self.named("Secret", name)))
    }
}

/// Which object, and in which version.
fn guard(metadata: &ObjectMeta) -> String {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    format!(
        "{uid}/{}",
        metadata.resource_version.as_deref().unwrap_or_default()
    )
}

/// Every key that a delivery of this credential writes.
pub(super) fn rendered<'a>(
    policy: &'a Policy,
    user: &RoleName,
    password: &Sensitive,
) -> BTreeMap<&'a str, Sensitive> {
    let (user, password) = (user.as_str(), password.expose());
    let target = &policy.delivery.target;
    let mut keys = BTreeMap::from([
        (target.username_key.as_str(), Sensitive::new(user.to_owned())),
        (target.password_key.as_str(), Sensitive::new(password.to_owned())),
    ]);
    for (key, template) in policy.delivery.templates() {
        keys.insert(key, Sensitive::new(template.render(user, password)));
    }
    keys
}

/// The text under a key of a Secret.
pub(super) fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

fn carries(policy: &Policy, live: &Secret, user: &RoleName, password: &Sensitive) -> bool {
    rendered(policy, user, password)
        .iter()
        .all(|(key, value)| text(live, key) == Some(value.expose()))
}

/// The mark of a delivery, when it is one of this policy's.
fn delivered(live: &Secret, uid: &str) -> Option<(Delivered, Landing)> {
    let annotations = live.metadata.annotations.as_ref()?;
    let (delivery, replaced) = annotations.get(DELIVERED_BY)?.rsplit_once('/')?;
    let (owner, number) = delivery.rsplit_once('/')?;
    (owner == uid && !replaced.is_empty()).then_some(())?;
    let delivered = Delivered {
        number: number.parse().ok()?,
        nonce: annotations.get(DELIVERED_FOR).cloned(),
    };
    let landing = Landing {
        at: applied_at(live)?,
        id: replaced.to_owned(),
    };
    Some((delivered, landing))
}

/// When the API server last took an apply of ours that changed something: its own clock, like that of every pod's
/// creation, and moved by nobody else's writes.
fn applied_at(live: &Secret) -> Option<Timestamp> {
    let entries = live.metadata.managed_fields.as_ref()?.iter();
    entries
        .filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
        .filter(|entry| {
            entry.operation.as_deref() == Some("Apply")
                && entry.subresource.as_deref().unwrap_or_default().is_empty()
        })
        .filter_map(|entry| entry.time.as_ref().map(|time| time.0))
        .max()
}
