//! The Secret that holds a pooler's list of passwords: read, and changed in one entry.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde::de::IgnoredAny;
use serde_json::json;

use super::conditions::{blocker, is_marked, owns, reconciles};
use super::secret::{guard, text};
use super::{Cluster, found, settled};
use crate::api::FIELD_MANAGER;
use crate::effects::postgres::{Flaw, Userlist};
use crate::effects::{Error, Outcome};
use crate::machine::facts::Finding;
use crate::policy;
use crate::sensitive::Sensitive;

/// A list as it was found.
#[derive(Clone, Debug)]
pub struct ListSecret {
    /// What it says.
    pub list: Userlist,
    /// Guard for a write.
    pub version: String,
    /// Who else writes it.
    pub foreign: Option<Finding>,
}

impl Cluster {
    /// Reads a list; a finding when it is not where the policy says, or not understood.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn userlist(&self, place: &policy::Userlist) -> Result<Result<ListSecret, Finding>, Error> {
        let policy::Userlist { secret, key } = place;
        let live: Option<Secret> = self.get(secret.as_str()).await?;
        let named = self.named("Secret", secret.as_str());
        let (namespace, name) = (&self.namespace, secret.as_str());
        let Some(live) = live else {
            return Ok(Err(blocker(
                "UserlistMissing",
                format!(
                    "{named} with the pooler's list of passwords does not exist. Make it of the pooler's auth_file: kubectl -n {namespace} create secret generic {name} --from-file={key}=userlist.txt"
                ),
            )));
        };
        let Some(list) = text(&live, key) else {
            return Ok(Err(blocker(
                "UserlistMissing",
                format!(
                    "{named} has no text under the key {key:?}, where the pooler's list of passwords should be. See its keys: kubectl -n {namespace} describe secret {name}"
                ),
            )));
        };
        Ok(match Userlist::parse(Sensitive::new(list.to_owned())) {
            Ok(list) => Ok(ListSecret {
                list,
                version: guard(&live.metadata),
                foreign: self.foreign(place, &live),
            }),
            Err(flaw) => Err(self.flawed(place, &flaw)),
        })
    }

    /// The list, or an entry of it, is not understood.
    #[must_use]
    pub fn flawed(&self, place: &policy::Userlist, flaw: &Flaw) -> Finding {
        let policy::Userlist { secret, key } = place;
        blocker(
            "UserlistUnusable",
            format!(
                "the list of passwords under the key {key:?} of {} {flaw}. See it, passwords included: kubectl -n {} get secret {secret} -o go-template='{{{{index .data \"{key}\" | base64decode}}}}'",
                self.named("Secret", secret.as_str()),
                self.namespace
            ),
        )
    }

    /// Puts another verifier into one entry, and keeps everything else as it was in the version that was looked at. A
    /// merge patch and not an apply, which would make a Secret that is gone; it takes over no field but this key.
    ///
    /// # Errors
    /// Conflict when somebody else has written it, or it is gone; otherwise when the write did not come to an end.
    pub async fn put_into_list(
        &self,
        place: &policy::Userlist,
        version: &str,
        put: impl FnOnce(&Userlist) -> Result<Sensitive, Flaw>,
    ) -> Result<Outcome, Error> {
        let name = place.secret.as_str();
        let conflict = || Error::Conflict {
            what: self.named("Secret", name),
        };
        let list = match self.userlist(place).await? {
            Ok(list) => list,
            Err(finding) => return settled::<()>(Err(Error::Refused(finding))),
        };
        let text = match put(&list.list) {
            Ok(text) => text,
            Err(flaw) => return settled::<()>(Err(Error::Refused(self.flawed(place, &flaw)))),
        };
        let guard = version.split_once('/').filter(|_| list.version == version);
        let (uid, resource_version) = guard.ok_or_else(conflict)?;
        let data = ByteString(text.expose().as_bytes().to_vec());
        let patch = Patch::Merge(json!({
            "metadata": {"uid": uid, "resourceVersion": resource_version},
            "data": {&place.key: data},
        }));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let result: Result<IgnoredAny, Error> = self.patch::<Secret, _>(name, &params, &patch).await;
        settled(found(result, || self.named("Secret", name)))
    }

    /// Whoever writes the list too would put old passwords back.
    fn foreign(&self, place: &policy::Userlist, live: &Secret) -> Option<Finding> {
        let named = self.named("Secret", place.secret.as_str());
        let see = format!(
            "kubectl -n {} get secret {} --show-managed-fields -o yaml",
            self.namespace, place.secret
        );
        if live.immutable == Some(true) || live.metadata.deletion_timestamp.is_some() {
            return Some(blocker(
                "UserlistUnusable",
                format!(
                    "{named} with the pooler's list of passwords is immutable or being deleted, and cannot be changed. See: {see}"
                ),
            ));
        }
        let owners = live.metadata.owner_references.iter().flatten();
        let owner = owners
            .filter(|owner| owner.controller == Some(true))
            .map(|owner| format!("{} {}", owner.kind, owner.name));
        let operator = is_marked(live).then(|| "External Secrets Operator".to_owned());
        let fields = live.metadata.managed_fields.iter().flatten();
        let manager = fields.filter_map(|entry| {
            let manager = entry.manager.as_deref()?;
            (reconciles(manager) && owns(entry, &place.key)).then(|| manager.to_owned())
        });
        let writer = owner.chain(operator).chain(manager).next()?;
        Some(blocker(
            "UserlistOwnedByController",
            format!(
                "{named} with the pooler's list of passwords is written by {writer}, which would put old ones back. Have it written by nobody else, or let the pooler ask the server (auth_query) and take userlist out of the endpoint. See: {see}"
            ),
        ))
    }
}
