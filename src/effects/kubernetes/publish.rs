//! Status and Events: what people and tools see. Nothing that decides reads them back.

use kube::Resource as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde::de::IgnoredAny;
use serde_json::json;

use super::{Cluster, found};
use crate::api::{FIELD_MANAGER, RotationPolicy};
use crate::effects::Error;
use crate::machine::project::{Notice, Projection};

/// The API server takes no longer note, in bytes.
const MAX_NOTE: usize = 1024;

impl Cluster {
    /// Shows people where things stand: the status, and then the Events of this transition.
    ///
    /// Server-side apply of the whole status: what vanished from it is removed and every list is replaced, without a
    /// null for each absent field. Guarded by the version of the policy that was read, so that a former leader who
    /// wakes up late shows nothing; whoever loses looks again anyway.
    ///
    /// Events come second and may get lost with a crash in between. The other order would tell them twice after
    /// every conflict, and a former leader would tell them too.
    ///
    /// # Errors
    /// Conflict when somebody else has written the policy, or it is gone; otherwise when the status was not written.
    /// Events that were not taken are logged.
    pub async fn publish(
        &self,
        policy: &RotationPolicy,
        projection: &Projection,
        instance: &str,
    ) -> Result<(), Error> {
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        let patch = Patch::Apply(json!({
            "apiVersion": RotationPolicy::api_version(&()),
            "kind": RotationPolicy::kind(&()),
            "metadata": {"name": name, "resourceVersion": policy.metadata.resource_version},
            "status": projection.status,
        }));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let shown: Result<IgnoredAny, Error> = self
            .patch_status::<RotationPolicy, _>(name, &params, &patch)
            .await;
        found(shown, || self.named("RotationPolicy", name))?;
        self.tell(policy, &projection.notices, instance).await;
        Ok(())
    }

    /// Publishes Events about a policy. They are a courtesy: one that is not taken is logged and forgotten.
    pub async fn tell(&self, policy: &RotationPolicy, notices: &[Notice], instance: &str) {
        for notice in notices {
            // A recorder of its own for each: one that is kept counts an Event up by its reason alone, and would show
            // the note of the rotation before.
            let reporter = Reporter {
                controller: FIELD_MANAGER.to_owned(),
                instance: Some(instance.to_owned()),
            };
            let recorder = Recorder::new(self.client.clone(), reporter);
            let event = Event {
                type_: if notice.warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: notice.reason.to_owned(),
                note: Some(shortened(&notice.note)),
                action: "Rotate".to_owned(),
                secondary: None,
            };
            let told = tokio::time::timeout(
                super::wire::LIMIT,
                recorder.publish(&event, &policy.object_ref(&())),
            )
            .await;
            let error = match told {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => super::said(&error),
                Err(_) => "no answer in time".to_owned(),
            };
            tracing::warn!(
                namespace = self.namespace,
                policy = policy.metadata.name,
                reason = notice.reason,
                error,
                "Event not taken"
            );
        }
    }
}

fn shortened(note: &str) -> String {
    if note.len() <= MAX_NOTE {
        return note.to_owned();
    }
    let end = note.floor_char_boundary(MAX_NOTE - '…'.len_utf8());
    format!("{}…", note.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{MAX_NOTE, shortened};

    #[test]
    fn a_note_is_cut_between_two_characters() {
        assert_eq!(shortened("short"), "short");
        let exact = "ä".repeat(MAX_NOTE / 2);
        assert_eq!(shortened(&exact), exact);
        let cut = shortened(&"ä".repeat(MAX_NOTE));
        assert!(
            cut.ends_with("ä…") && cut.len() <= MAX_NOTE && cut.len() > MAX_NOTE - 4,
            "{}",
            cut.len()
        );
    }
}
