//! The journal Secret. It holds the journal as JSON and, while a rotation runs, the credentials beside it.
//!
//! # How it comes into being
//! A role can be allowed to create one Secret by its name only when the creation carries the name, and of all requests
//! only a server-side apply that finds nothing does. But an apply has no guard against an object that appeared in
//! between: two replicas may both have seen that there is no journal, and the second apply would meet what the first
//! one, or a later update, has written. So the apply carries *no data*: it makes an empty journal, or changes nothing
//! that matters in one that is there. It is not forced, and it brings the type, which cannot be changed, and the
//! owner, of whom there can be one: a Secret that belongs to somebody else makes the server refuse it.
//!
//! An empty journal counts as absent, with a version. Whatever is written into it, and every write after that, is an
//! update guarded by that version; of two rivals one gets a conflict, and looks again. Fields that an update has
//! written belong to the update and not to the apply, so that a late apply without data takes none of them away.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde::de::IgnoredAny;
use serde_json::json;

use super::{Cluster, settled};
use crate::api::{FIELD_MANAGER, JOURNAL_TYPE, RotationPolicy, journal_name};
use crate::effects::{Error, Outcome};
use crate::machine::{Journal, Loaded};
use crate::policy::Policy;
use crate::sensitive::Sensitive;

const JOURNAL: &str = "journal.json";
const PENDING_PASSWORD: &str = "pending-password";
const PENDING_VERIFIER: &str = "pending-verifier";
const RETIRING_VERIFIER: &str = "retiring-verifier";
const PREVIOUS_PASSWORD: &str = "previous-password";

/// What a rotation keeps beside the journal.
#[derive(Clone, Debug)]
pub struct Material {
    /// Password of the user that takes over.
    pub pending_password: Sensitive,
    /// Its verifier, computed once and set again unchanged.
    pub pending_verifier: Sensitive,
    /// Verifier of the password that nobody holds.
    pub retiring_verifier: Sensitive,
    /// Last password of the user that goes, to prove in the end that it is refused; absent after a recovery.
    pub previous_password: Option<Sensitive>,
}

/// The journal Secret as it was found.
#[derive(Clone, Debug)]
pub struct JournalSecret {
    /// The journal in it.
    pub loaded: Loaded,
    /// The credentials of the rotation under way; always there while there is one.
    pub material: Option<Material>,
    /// The object without its data, as the next update sends it; absent when there is no object.
    metadata: Option<ObjectMeta>,
}

impl Cluster {
    /// Reads the journal of a policy, past every cache.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn journal(&self, policy: &str, uid: &str) -> Result<JournalSecret, Error> {
        let secret = self.get(&journal_name(policy)).await?;
        Ok(secret.map_or_else(JournalSecret::absent, |secret| read(secret, uid)))
    }

    /// Writes the journal, guarded by the version it was read with. The first write of all only makes the empty
    /// Secret and says that it is done: the next look finds an absent journal with a version, and the next write
    /// fills it.
    ///
    /// # Errors
    /// Conflict when somebody else has written it meanwhile; otherwise when the write did not come to an end.
    pub async fn record(
        &self,
        policy: &Policy,
        found: &JournalSecret,
        next: &Journal,
        material: Option<&Material>,
    ) -> Result<Outcome, Error> {
        let name = journal_name(&policy.name);
        if let Loaded::Corrupt(flaw) = &found.loaded {
            return Err(Error::Unusable(format!(
                "not writing {}: {flaw}",
                self.named("Secret", &name)
            )));
        }
        if next.rotation.is_some() && material.is_none() {
            return Err(Error::Unusable(format!(
                "not writing {}: a rotation without its credentials could not go on after a crash; this is a defect of Tandem, please report it",
                self.named("Secret", &name)
            )));
        }
        let Some(metadata) = &found.metadata else {
            let params = PatchParams::apply(FIELD_MANAGER);
            let made: Result<IgnoredAny, Error> = self
                .patch::<Secret, _>(&name, &params, &Patch::Apply(empty(policy)))
                .await;
            return settled(made);
        };
        let secret = Secret {
            metadata: ObjectMeta {
                owner_references: Some(vec![owner(policy)]),
                ..metadata.clone()
            },
            type_: Some(JOURNAL_TYPE.to_owned()),
            data: Some(data(next, material)?),
            ..Secret::default()
        };
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let replaced: Result<IgnoredAny, Error> = self.replace(&name, &params, &secret).await;
        settled(super::found(replaced, || self.named("Secret", &name)))
    }
}

impl JournalSecret {
    fn absent() -> Self {
        Self {
            loaded: Loaded::Absent,
            material: None,
            metadata: None,
        }
    }
}

fn empty(policy: &Policy) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": journal_name(&policy.name), "ownerReferences": [owner(policy)]},
        "type": JOURNAL_TYPE,
    })
}

/// Without `blockOwnerDeletion`: where its permission is enforced, setting it would take the right to change the
/// finalizers of policies, and nothing here needs the policy to outlive its journal.
fn owner(policy: &Policy) -> OwnerReference {
    OwnerReference {
        api_version: RotationPolicy::api_version(&()).into_owned(),
        kind: RotationPolicy::kind(&()).into_owned(),
        name: policy.name.clone(),
        uid: policy.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn data(journal: &Journal, material: Option<&Material>) -> Result<BTreeMap<String, ByteString>, Error> {
    let json = serde_json::to_vec(journal)
        .map_err(|error| Error::Unusable(format!("the journal cannot be written as JSON: {error}")))?;
    let mut data = BTreeMap::from([(JOURNAL.to_owned(), ByteString(json))]);
    // Dropped with the rotation, even when it is still at hand.
    let material = material.filter(|_| journal.rotation.is_some());
    if let Some(Material {
        pending_password,
        pending_verifier,
        retiring_verifier,
        previous_password,
    }) = material
    {
        let mut put = |key: &str, value: &Sensitive| {
            data.insert(key.to_owned(), ByteString(value.expose().as_bytes().to_vec()));
        };
        put(PENDING_PASSWORD, pending_password);
        put(PENDING_VERIFIER, pending_verifier);
        put(RETIRING_VERIFIER, retiring_verifier);
        if let Some(previous) = previous_password {
            put(PREVIOUS_PASSWORD, previous);
        }
    }
    Ok(data)
}

fn read(secret: Secret, uid: &str) -> JournalSecret {
    let Secret {
        metadata,
        data,
        type_,
        ..
    } = secret;
    let mut data = data.unwrap_or_default();
    let corrupt = |flaw: String| JournalSecret {
        loaded: Loaded::Corrupt(flaw),
        material: None,
        metadata: None,
    };
    if type_.as_deref() != Some(JOURNAL_TYPE) {
        return corrupt(format!(
            "its type is {:?} and not {JOURNAL_TYPE:?}: it is not a journal",
            type_.unwrap_or_default()
        ));
    }
    let owners = metadata.owner_references.iter().flatten();
    if let Some(other) = owners.into_iter().find(|owner| owner.uid != uid) {
        return corrupt(format!(
            "it is owned by {} {} with uid {}",
            other.kind, other.name, other.uid
        ));
    }
    let written_at = written_at(&metadata);
    // The managed fields would be sent back with the next update for nothing.
    let metadata = Some(ObjectMeta {
        managed_fields: None,
        ..metadata
    });
    let Some(json) = data.remove(JOURNAL) else {
        return if data.is_empty() {
            JournalSecret {
                metadata,
                ..JournalSecret::absent()
            }
        } else {
            corrupt(format!("it has keys, but none that is {JOURNAL:?}"))
        };
    };
    let mut loaded = Journal::load(&json.0, uid);
    if let Loaded::Valid(journal) = &mut loaded
        && let Some(rotation) = &mut journal.rotation
    {
        // Absent only in what the write that began the rotation has left.
        rotation.staged_at = rotation.staged_at.or(written_at);
    }
    let Loaded::Valid(journal) = &loaded else {
        return JournalSecret {
            loaded,
            material: None,
            metadata: None,
        };
    };
    if journal.rotation.is_none() {
        return JournalSecret {
            loaded,
            material: None,
            metadata,
        };
    }
    match material(data) {
        Ok(material) => JournalSecret {
            loaded,
            material: Some(material),
            metadata,
        },
        Err(key) => corrupt(format!(
            "a rotation runs and the key {key:?} is missing, empty or not text"
        )),
    }
}

/// When the API server last took an update of ours, by the clock of every pod's creation.
fn written_at(metadata: &ObjectMeta) -> Option<Timestamp> {
    let entries = metadata.managed_fields.iter().flatten();
    entries
        .filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
        .filter(|entry| entry.operation.as_deref() == Some("Update"))
        .filter_map(|entry| entry.time.as_ref().map(|time| time.0))
        .max()
}

fn material(mut data: BTreeMap<String, ByteString>) -> Result<Material, &'static str> {
    let mut take = |key: &'static str| {
        let text = data.remove(key).map(|bytes| String::from_utf8(bytes.0));
        match text {
            Some(Ok(text)) if !text.is_empty() => Ok(Some(Sensitive::new(text))),
            Some(_) => Err(key),
            None => Ok(None),
        }
    };
    Ok(Material {
        pending_password: take(PENDING_PASSWORD)?.ok_or(PENDING_PASSWORD)?,
        pending_verifier: take(PENDING_VERIFIER)?.ok_or(PENDING_VERIFIER)?,
        retiring_verifier: take(RETIRING_VERIFIER)?.ok_or(RETIRING_VERIFIER)?,
        previous_password: take(PREVIOUS_PASSWORD)?,
    })
}
