//! Store-first delivery's second half: External Secrets Operator brings the credential from the store into the
//! application Secret. Tandem asks it to, by one annotation, and looks at the Secret's data; it never writes the Secret.
//!
//! | file | what it knows |
//! |---|---|
//! | `objects` | the parts of the operator's objects that matter |
//! | `reads` | reading them, in whichever version the API server has them |
//! | `setting` | all of them that belong to one policy |
//! | `sources` | which of an `ExternalSecret`'s entries read the policy's secret |
//! | `rules` | what would keep the credential from arriving, each rule with where it was seen |
//! | `shape` | the rules about how an `ExternalSecret` is written |
//! | `target` | the rules about the Secret that it makes |
//! | `synced` | what the application Secret carries |

mod objects;
mod reads;
mod rules;
mod setting;
mod shape;
mod sources;
mod synced;
mod target;
#[cfg(test)]
mod tests;

use kube::api::{Patch, PatchParams};
use serde::de::IgnoredAny;
use serde_json::json;

use super::secret::AppSecret;
use super::{Cluster, found, settled};
use crate::api::{FIELD_MANAGER, FORCE_SYNC, read_sync_request};
use crate::effects::{Error, Outcome};
use crate::machine::facts::{Asked, Finding, OperatorSeen};
use crate::policy::Policy;
use objects::Kind;

impl Cluster {
    /// Whether the operator can be asked to sync the application Secret, whether it has been in this rotation, and what
    /// it says of itself that is in the way.
    ///
    /// # Errors
    /// When the API server could not be asked.
    pub async fn operator(&self, policy: &Policy, number: u64) -> Result<OperatorSeen, Error> {
        let mut denied = Vec::new();
        let mut setting = match self.setting(policy).await {
            Ok(Ok(setting)) => setting,
            Ok(Err(finding)) | Err(Error::Refused(finding)) => return Ok(OperatorSeen::Unusable(finding)),
            Err(error) => return Err(error),
        };
        // Of a store that is not ready, the operator says so here too; only then is it worth asking which.
        if !setting.is_ready() {
            self.add_stores(&mut setting, &mut denied).await?;
        }
        let asked = setting
            .request()
            .and_then(|value| read_sync_request(value, &policy.uid, number))
            .map(|(times, at)| Asked { times, at });
        let mut trouble = rules::in_the_way(&setting);
        trouble.extend(asked.and_then(|asked| rules::unanswered(&setting, asked)));
        trouble.extend(denied);
        Ok(OperatorSeen::Present {
            version: setting.guard(),
            asked,
            trouble: trouble.into_iter().next(),
        })
    }

    /// Asks the operator to sync: one annotation, on the object that the guard names. A merge patch and not an apply,
    /// which would make an `ExternalSecret` that is gone (external-secrets-observed 72), and not a replacement, which
    /// would take over fields that are somebody else's.
    ///
    /// # Errors
    /// Conflict when the object was changed, is gone or is another one; otherwise when the write did not come to an end.
    pub async fn ask_sync(&self, version: &str, value: &str) -> Result<Outcome, Error> {
        let guard = setting::read_guard(version);
        let (version, kind, name, uid, resource_version) =
            guard.ok_or_else(|| Error::Unusable("not asking for a sync: of what is unknown".into()))?;
        let place = self.place_of(version, kind);
        let patch = Patch::Merge(json!({
            "metadata": {
                "uid": uid,
                "resourceVersion": resource_version,
                "annotations": {FORCE_SYNC: value},
            },
        }));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let result: Result<IgnoredAny, Error> = self.patch_at(&place, name, &params, &patch).await;
        settled(found(result, || place.named(name)))
    }

    /// What would keep a credential from arriving, before anything is changed; the blockers first.
    ///
    /// # Errors
    /// When the API server could not be asked.
    pub async fn operator_findings(
        &self,
        policy: &Policy,
        app: Option<&AppSecret>,
    ) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let mut setting = match self.setting(policy).await {
            Ok(Ok(setting)) => setting,
            Ok(Err(finding)) | Err(Error::Refused(finding)) => return Ok(vec![finding]),
            Err(error) => return Err(error),
        };
        self.add_stores(&mut setting, &mut findings).await?;
        self.add_neighbours(&mut setting, &mut findings).await?;
        if let Some(owner) = setting.external.owner() {
            let resource = Kind::ClusterExternalSecret.plural();
            findings.extend(self.cluster_access("patch", resource, owner).await?);
        }
        findings.extend(rules::in_the_way(&setting));
        findings.extend(rules::before_rotation(&setting, app));
        findings.sort_by_key(|finding| !finding.blocks);
        Ok(findings)
    }
}
