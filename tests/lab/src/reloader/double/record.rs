//! Events on workloads, and the limit on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::Program;
use super::subject::{Resource, Subject};
use super::workload::Workload;

/// As many events as there are of one object; the next one is allowed after five minutes.
const LIMIT: u32 = 25;

/// Where events are put; they are written one after another, after what they tell of.
pub(super) struct Recorder {
    component: String,
    queue: UnboundedSender<Event>,
}

impl Recorder {
    /// One for a kind of watched object, and the work of writing down what it is given.
    pub(super) fn new(
        program: &Arc<Program>,
        resource: Resource,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (queue, events) = mpsc::unbounded_channel();
        let component = format!("reloader-{}", resource.plural());
        (Self { component, queue }, write_down(Arc::clone(program), events))
    }

    /// Tells that a workload was reloaded, or why it could not be.
    pub(super) fn record(&self, workload: &Workload, subject: &Subject, failure: Option<&kube::Error>) {
        let (kind, name, namespace) = (workload.kind.name(), workload.name(), workload.namespace());
        let (type_, reason, message) = match failure {
            None => (
                "Normal",
                "Reloaded",
                format!(
                    "Changes detected in '{}' of type '{}' in namespace '{}', Updated '{name}' of type '{kind}' in namespace '{namespace}'",
                    subject.name,
                    subject.resource.shouted(),
                    subject.namespace,
                ),
            ),
            Some(error) => (
                "Warning",
                "ReloadFail",
                format!(
                    "Update for '{name}' of type '{kind}' in namespace '{namespace}' failed with error {error}"
                ),
            ),
        };
        let resource = workload.kind.resource();
        let now = Timestamp::now();
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(resource.api_version),
                kind: Some(resource.kind),
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                uid: workload.object.metadata.uid.clone(),
                resource_version: workload.object.metadata.resource_version.clone(),
                field_path: None,
            },
            type_: Some(type_.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: None,
            }),
            reporting_component: Some(self.component.clone()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            ..Event::default()
        };
        // When nobody writes them down any more, the program is ending.
        let _ = self.queue.send(event);
    }
}

async fn write_down(program: Arc<Program>, mut events: UnboundedReceiver<Event>) {
    let mut written: BTreeMap<(String, String), Event> = BTreeMap::new();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(event) = events.recv().await {
        program.pass().await;
        let object = event.involved_object.uid.clone().unwrap_or_default();
        let count = counts.entry(object.clone()).or_default();
        if *count == LIMIT {
            continue;
        }
        *count += 1;
        let api: Api<Event> = Api::namespaced(
            program.client.clone(),
            event.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let message = event.message.clone().unwrap_or_default();
        let outcome = if let Some(earlier) = written.get_mut(&(object.clone(), message.clone())) {
            // The same again is counted, not written again.
            let count = earlier.count.unwrap_or_default() + 1;
            earlier.count = Some(count);
            let patch = json!({"count": count, "lastTimestamp": event.last_timestamp});
            let name = earlier.metadata.name.as_deref().unwrap_or_default();
            api.patch(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await
        } else {
            written.insert((object, message), event.clone());
            api.create(&PostParams::default(), &event).await
        };
        if let Err(error) = outcome {
            program.log.say(&format!("cannot write an event: {error}"));
        }
    }
}
