//! What the application Secret carries, told by its data and by nothing else: the operator has been seen to report
//! success over old data, and none over new (external-secrets-observed 12, 14, 39, 63).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use percent_encoding::utf8_percent_encode;
use zeroize::Zeroizing;

use super::reads::Found;
use super::sources;
use crate::effects::Error;
use crate::effects::kubernetes::Cluster;
use crate::effects::kubernetes::conditions::ESO_MANAGER;
use crate::effects::kubernetes::secret::{AppSecret, guard, text};
use crate::machine::facts::SecretSeen;
use crate::machine::journal::Landing;
use crate::policy::target::RoleName;
use crate::policy::template::URI;
use crate::policy::{Policy, Route};
use crate::sensitive::Sensitive;

/// A password that people chose may be a word that stands in other values as well. One this long is there as a password.
const TELLING: usize = 16;

impl Cluster {
    /// Looks at the application Secret that the operator writes; `pending` is the credential that a running rotation
    /// delivers, `previous` the password that it replaces.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn see_synced(
        &self,
        policy: &Policy,
        pending: Option<(&RoleName, &Sensitive)>,
        previous: Option<&Sensitive>,
    ) -> Result<(SecretSeen, Option<AppSecret>), Error> {
        let Some(app) = self.app_secret(policy).await? else {
            return Ok((SecretSeen::Missing, None));
        };
        let mut carries_pending = pending.is_some_and(|(user, password)| app.carries(policy, user, password));
        if let (true, Some((_, password)), Some(previous)) = (carries_pending, pending, previous) {
            let stale = stale_keys(&app.live, password, previous);
            carries_pending = stale.is_empty() || self.are_meant(policy, &stale).await?;
        }
        let metadata = &app.live.metadata;
        let seen = SecretSeen::Present {
            user: app.user.clone(),
            carries_pending,
            version: guard(metadata),
            landing: landing(policy, &app.live),
            delivered: None,
        };
        Ok((seen, Some(app)))
    }

    /// Whether all of these keys are to hold another version than the current one.
    async fn are_meant(&self, policy: &Policy, keys: &[&str]) -> Result<bool, Error> {
        let Route::StoreFirst { external_secret, .. } = &policy.delivery.route else {
            return Ok(false);
        };
        let Found::There(_, external) = self.external_secret(external_secret).await? else {
            return Ok(false);
        };
        let target = &policy.delivery.target;
        let meant = |key: &&str| sources::is_other_version(&external, key, target);
        Ok(keys.iter().all(meant))
    }
}

impl AppSecret {
    /// Whether a Secret that the operator writes carries this credential: under its keys where it has them, and
    /// somewhere in any case. A template may have put it into other values only, a connection string for example.
    #[must_use]
    pub fn carries(&self, policy: &Policy, user: &RoleName, password: &Sensitive) -> bool {
        let target = &policy.delivery.target;
        let under = |key: &str| self.live.data.as_ref()?.get(key);
        let is = |key: &str, wanted: &str| under(key).is_none_or(|value| value.0 == wanted.as_bytes());
        let password = password.expose();
        is(&target.username_key, user.as_str())
            && is(&target.password_key, password)
            && values(&self.live).any(|(_, value)| holds(value, password))
    }
}

/// Keys whose value was made of the previous password, and not of the pending one.
pub(super) fn stale_keys<'a>(live: &'a Secret, pending: &Sensitive, previous: &Sensitive) -> Vec<&'a str> {
    let (pending, previous) = (pending.expose(), previous.expose());
    if previous.len() < TELLING {
        return Vec::new();
    }
    values(live)
        .filter(|(_, value)| holds(value, previous) && !value.contains(pending))
        .map(|(key, _)| key)
        .collect()
}

/// Generated passwords stand in a URL as they are. One that people chose may be escaped there, in one of two ways.
fn holds(value: &str, password: &str) -> bool {
    let escaped = Zeroizing::new(utf8_percent_encode(password, URI).to_string());
    let in_query = Zeroizing::new(escaped.replace("%20", "+"));
    [password, &escaped, &in_query]
        .into_iter()
        .any(|text| value.contains(text))
}

fn values(live: &Secret) -> impl Iterator<Item = (&str, &str)> {
    let keys = live.data.iter().flat_map(|data| data.keys());
    keys.filter_map(|key| Some((key.as_str(), text(live, key)?)))
}

/// When the API server took what is there. The operator moves that time when it copies an annotation too; a later time
/// does no harm, it only counts more pods as old.
pub(super) fn landing(policy: &Policy, live: &Secret) -> Option<Landing> {
    let target = &policy.delivery.target;
    let entries: Vec<_> = live.metadata.managed_fields.iter().flatten().collect();
    let newest = |which: &dyn Fn(&ManagedFieldsEntry) -> bool| -> Option<Timestamp> {
        let times = entries.iter().filter(|entry| which(entry));
        times
            .filter_map(|entry| entry.time.as_ref().map(|time| time.0))
            .max()
    };
    let owns = |entry: &ManagedFieldsEntry, key: &str| {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:data"));
        fields.is_some_and(|fields| key.is_empty() || fields.get(format!("f:{key}")).is_some())
    };
    let writer = |entry: &ManagedFieldsEntry| {
        let manager = entry.manager.as_deref().unwrap_or_default();
        manager.starts_with(ESO_MANAGER)
            || owns(entry, &target.username_key)
            || owns(entry, &target.password_key)
    };
    let at = newest(&writer).or_else(|| newest(&|entry| owns(entry, "")))?;
    let uid = live.metadata.uid.as_deref()?;
    let version = live.metadata.resource_version.as_deref()?;
    Some(Landing {
        at,
        id: format!("{uid}-{version}"),
    })
}
