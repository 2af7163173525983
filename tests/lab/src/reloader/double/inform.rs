//! What happens to objects, from the API server to the queue.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::PoisonError;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use tokio::sync::mpsc::UnboundedSender;

use super::Program;
use super::subject::{Subject, Watched};
use super::work::{Happening, Task};

/// Puts everything that happens to objects of a kind into the queue, and never ends.
pub(super) async fn inform<K: Watched>(
    program: Arc<Program>,
    scope: Option<String>,
    queue: UnboundedSender<Task>,
) {
    let client = program.client.clone();
    let api: Api<K> = scope.as_ref().map_or_else(
        || Api::all(client.clone()),
        |name| Api::namespaced(client.clone(), name),
    );
    let mut events = pin!(watcher(api, config(&program.flags.resource_label_selector)).default_backoff());
    let mut known: BTreeMap<(String, String), Subject> = BTreeMap::new();
    loop {
        let event = events.next().await;
        program.pass().await;
        let object = match event {
            None => std::future::pending().await,
            Some(Err(error)) => {
                program.log.say(&format!("{}: {error}", K::RESOURCE.plural()));
                continue;
            }
            Some(Ok(Event::Init)) => continue,
            Some(Ok(Event::InitDone)) => {
                program.listed(K::RESOURCE);
                continue;
            }
            Some(Ok(Event::Delete(object))) => {
                let subject = object.subject();
                known.remove(&key(&subject));
                let wanted = program.flags.reload_on_delete == "true" && program.all_listed();
                if wanted && program.concerns(&subject.namespace) {
                    put(&queue, Happening::Deleted(subject));
                }
                continue;
            }
            Some(Ok(Event::Apply(object) | Event::InitApply(object))) => object,
        };
        let subject = object.subject();
        let old = known.insert(key(&subject), subject.clone());
        if !program.concerns(&subject.namespace) {
            continue;
        }
        match old {
            Some(old) => put(
                &queue,
                Happening::Updated {
                    old: old.hash,
                    new: subject,
                },
            ),
            None if program.flags.reload_on_create == "true" && program.all_listed() => {
                put(&queue, Happening::Created(subject));
            }
            None => {}
        }
    }
}

/// Keeps count of the namespaces that a selector selects, and never ends.
pub(super) async fn select_namespaces(program: Arc<Program>) {
    let api: Api<Namespace> = Api::all(program.client.clone());
    let mut events = pin!(watcher(api, config(&program.flags.namespace_selector)).default_backoff());
    while let Some(event) = events.next().await {
        program.pass().await;
        let mut selected = program.selected.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Apply(namespace) | Event::InitApply(namespace)) => {
                selected.extend(namespace.metadata.name);
            }
            Ok(Event::Delete(namespace)) => {
                selected.remove(&namespace.metadata.name.unwrap_or_default());
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => program.log.say(&format!("namespaces: {error}")),
        }
    }
}

fn config(selector: &[String]) -> Config {
    if selector.is_empty() {
        return Config::default();
    }
    Config::default().labels(&selector.join(","))
}

fn key(subject: &Subject) -> (String, String) {
    (subject.namespace.clone(), subject.name.clone())
}

fn put(queue: &UnboundedSender<Task>, happening: Happening) {
    // When the worker is gone, so is everything else in a moment.
    let _ = queue.send(Task {
        happening,
        attempt: 0,
    });
}
