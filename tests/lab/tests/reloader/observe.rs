//! What happens to workloads, put into words: the same for the double and for the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tandem_lab::Namespace;
use tokio::task::JoinSet;

use crate::given::LAST;

/// The kinds that a Reloader changes.
pub(crate) const KINDS: [(&str, &str); 5] = [
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
];
/// Content of the Secret of the table, by what it comes to.
const KNOWN: [(&str, &str); 5] = [
    ("52a44ef488f8eef6e1271b99cebbc3c6e11abd21", "p0"),
    ("47420d9182db74a96ee77f9b7b3c78af38ea3278", "p1"),
    ("7cff05197b8966f08163ad214471820828267f19", "p2"),
    ("da39a3ee5e6b4b0d3255bfef95601890afd80709", "nothing"),
    ("aae45badef99284e4dae01d6046154ea9d99532f", "deleted"),
];
const PAUSED_AT: &str = "deployment.reloader.stakater.com/paused-at";
/// Seconds by which a time in a mark may differ from the test's.
const CLOCKS: i64 = 10;

/// The API of a kind.
pub(crate) fn api(namespace: &Namespace, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(namespace.client(), namespace.name(), &resource)
}

/// All that has happened to the workloads of a namespace since the beginning.
pub(crate) struct Observer {
    seen: Arc<Mutex<Vec<WatchEvent<DynamicObject>>>>,
    _watches: JoinSet<()>,
}

impl Observer {
    pub(crate) async fn start(namespace: &Namespace) -> Result<Self> {
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let mut watches = JoinSet::new();
        for (group, kind) in KINDS {
            let api = api(namespace, group, kind);
            let start = api.list(&ListParams::default()).await?.metadata.resource_version;
            let start = start.unwrap_or_default();
            let seen = Arc::clone(&seen);
            watches.spawn(async move {
                let events = api.watch(&WatchParams::default(), &start).await;
                let mut events = pin!(events.expect("a watch"));
                while let Some(event) = events.next().await {
                    let event = event.expect("an event of the watch");
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            });
        }
        Ok(Self {
            seen,
            _watches: watches,
        })
    }

    /// Forgets what happened so far.
    pub(crate) fn forget(&self) {
        self.seen().clear();
    }

    /// Whether an object was deleted.
    pub(crate) fn saw_the_end_of(&self, id: &str) -> bool {
        self.seen().iter().any(
            |event| matches!(event, WatchEvent::Deleted(object) if object.metadata.uid.as_deref() == Some(id)),
        )
    }

    /// The changes of all workloads but one, in their order.
    pub(crate) fn changes(&self, but: &str) -> Vec<String> {
        let mut changes = self.all_changes();
        changes.retain(|(name, _)| name != but);
        changes.into_iter().map(|(_, change)| change).collect()
    }

    /// The changes of one workload.
    pub(crate) fn changes_of(&self, name: &str) -> Vec<String> {
        let mut changes = self.all_changes();
        changes.retain(|(changed, _)| changed == name);
        changes.into_iter().map(|(_, change)| change).collect()
    }

    fn all_changes(&self) -> Vec<(String, String)> {
        let mut last: BTreeMap<String, DynamicObject> = BTreeMap::new();
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut changes = Vec::new();
        for event in self.seen().iter() {
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else {
                continue;
            };
            let (Some(id), Some(name)) = (&object.metadata.uid, &object.metadata.name) else {
                continue;
            };
            let who = who(object);
            match last.insert(id.clone(), object.clone()) {
                Some(old) => {
                    let mut parts = differences(&old, object);
                    if !parts.is_empty() {
                        // Who takes something away has nothing there afterwards.
                        let gives = parts.iter().any(|part| !part.contains(" -"));
                        parts.extend(stranger(object).filter(|_| gives));
                        changes.push((
                            version(object),
                            name.clone(),
                            format!("{who} {}", parts.join(", ")),
                        ));
                    }
                }
                None if is_made_by_reloader(object) => {
                    let made = if names.contains(&who) {
                        "made again"
                    } else {
                        "made"
                    };
                    let mut parts = vec![made.to_owned()];
                    parts.extend(content(object));
                    changes.push((
                        version(object),
                        name.clone(),
                        format!("{who} {}", parts.join(", ")),
                    ));
                }
                None => {}
            }
            if !who.ends_with('*') {
                names.insert(who);
            }
        }
        changes.sort_by_key(|(version, ..)| *version);
        changes
            .into_iter()
            .map(|(_, name, change)| (name, change))
            .collect()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<WatchEvent<DynamicObject>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(object: &DynamicObject) -> u64 {
    let version = object.metadata.resource_version.as_deref().unwrap_or_default();
    version.parse().expect("a resource version")
}

/// The object by its name, or by the part of it that is not random.
fn who(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("", |types| &types.kind);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match &object.metadata.generate_name {
        Some(start) => format!("{kind}/{start}*"),
        None => format!("{kind}/{name}"),
    }
}

fn is_made_by_reloader(object: &DynamicObject) -> bool {
    let managers = object.metadata.managed_fields.iter().flatten();
    let mut managers = managers.map(|entry| entry.manager.as_deref());
    managers.next() == Some(Some("Reloader"))
}

/// What changed between two versions of a workload, status aside.
fn differences(old: &DynamicObject, new: &DynamicObject) -> Vec<String> {
    let mut parts = Vec::new();
    let paused = |object: &DynamicObject| object.data.pointer("/spec/paused") == Some(&json!(true));
    match (paused(old), paused(new)) {
        (false, true) => parts.push("paused".to_owned()),
        (true, false) => parts.push("resumed".to_owned()),
        (true, true) | (false, false) => {}
    }
    let since = |object: &DynamicObject| object.metadata.annotations.clone()?.remove(PAUSED_AT);
    match (since(old), since(new)) {
        (None, Some(since)) => parts.push(format!("since {}", time(&since))),
        (Some(_), None) => parts.push("since nothing".to_owned()),
        (old, new) if old != new => parts.push("since another time".to_owned()),
        _ => {}
    }
    let (before, after) = (variables(old), variables(new));
    for (place, value) in &after {
        match before.get(place) {
            None => parts.push(format!("{}[{}] +{}={}", place.0, value.0, place.1, value.1)),
            Some(earlier) if earlier.1 != value.1 => {
                parts.push(format!("{}[{}] {}={}", place.0, value.0, place.1, value.1));
            }
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|place| !after.contains_key(*place));
    parts.extend(gone.map(|(container, name)| format!("{container} -{name}")));
    if let Some(mark) = mark(new).filter(|text| mark(old).as_ref() != Some(text)) {
        parts.push(said(&mark));
    }
    if parts.is_empty() && old.metadata.generation != new.metadata.generation {
        parts.push("another spec".to_owned());
    }
    parts
}

/// The marks in a workload that was just made.
fn content(object: &DynamicObject) -> Vec<String> {
    let variables = variables(object).into_iter();
    let ours = variables.filter(|((_, name), _)| name.starts_with("STAKATER_"));
    let ours =
        ours.map(|((container, name), (index, value))| format!("{container}[{index}] +{name}={value}"));
    ours.chain(mark(object).map(|text| said(&text))).collect()
}

/// Each variable that is written as a text: its container and name, its place there and its value.
fn variables(object: &DynamicObject) -> BTreeMap<(String, String), (usize, String)> {
    let containers = template(object).pointer("/spec/containers");
    let containers = containers.and_then(Value::as_array).into_iter().flatten();
    let mut found = BTreeMap::new();
    for container in containers {
        let variables = container["env"].as_array().into_iter().flatten().enumerate();
        for (index, variable) in variables {
            let Some(value) = variable["value"].as_str() else {
                continue;
            };
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            found.insert(
                (text(&container["name"]), text(&variable["name"])),
                (index, known(value)),
            );
        }
    }
    found
}

fn template(object: &DynamicObject) -> &Value {
    let job = object.data.pointer("/spec/jobTemplate/spec/template");
    job.unwrap_or(&object.data["spec"]["template"])
}

fn mark(object: &DynamicObject) -> Option<String> {
    let annotations = &template(object)["metadata"]["annotations"];
    annotations[LAST].as_str().map(str::to_owned)
}

/// The annotation in short, and that it has another form when it has.
fn said(text: &str) -> String {
    let mark: Value = serde_json::from_str(text).unwrap_or_default();
    let at = mark["observedAt"].as_i64().unwrap_or_default();
    let form = format!(
        r#"{{"type":{},"name":{},"namespace":{},"hash":{},"containerRefs":{},"observedAt":{at}}}"#,
        mark["type"], mark["name"], mark["namespace"], mark["hash"], mark["containerRefs"],
    );
    if form != text || (at - Timestamp::now().as_second()).abs() > CLOCKS {
        return format!("a mark in another form: {text}");
    }
    let word = |key: &str| mark[key].as_str().unwrap_or_default().to_owned();
    let (kind, name) = (word("type"), word("name"));
    format!(
        "{kind} {name}={} in {}",
        known(&word("hash")),
        mark["containerRefs"]
    )
}

fn known(value: &str) -> String {
    let known = KNOWN.iter().find(|(hash, _)| *hash == value);
    known.map_or_else(|| value.to_owned(), |(_, name)| (*name).to_owned())
}

fn time(text: &str) -> &'static str {
    let time: Option<Timestamp> = text.parse().ok();
    let now = Timestamp::now().as_second();
    match time {
        Some(time) if text.len() == 20 && (time.as_second() - now).abs() <= CLOCKS => "now",
        Some(_) | None => "some other time",
    }
}

/// That nothing of the workload is Reloader's by an ordinary update, when that is so.
fn stranger(object: &DynamicObject) -> Option<String> {
    let mut managers = object.metadata.managed_fields.iter().flatten();
    let ours = managers.any(|entry| {
        let words = (entry.manager.as_deref(), entry.operation.as_deref());
        words == (Some("Reloader"), Some("Update")) && entry.subresource.is_none()
    });
    (!ours).then(|| "by another".to_owned())
}

/// The events on workloads, in short, in the order of the alphabet.
pub(crate) async fn events(namespace: &Namespace, but: &str) -> Result<Vec<String>> {
    let api: Api<Event> = namespace.api();
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    for event in api.list(&ListParams::default()).await?.items {
        let reason = event.reason.clone().unwrap_or_default();
        if !reason.starts_with("Reload") || event.involved_object.name.as_deref() == Some(but) {
            continue;
        }
        *counts.entry(in_short(&event)).or_default() += event.count.unwrap_or(1);
    }
    Ok(counts
        .into_iter()
        .map(|(event, count)| format!("{event} ×{count}"))
        .collect())
}

/// How many events there are on one workload.
pub(crate) async fn event_count(namespace: &Namespace, name: &str) -> Result<i32> {
    let api: Api<Event> = namespace.api();
    let listed = api.list(&ListParams::default()).await?.items.into_iter();
    let about = listed.filter(|event| event.involved_object.name.as_deref() == Some(name));
    let ours = about.filter(|event| event.reason.as_deref() == Some("Reloaded"));
    Ok(ours.map(|event| event.count.unwrap_or(1)).sum())
}

fn in_short(event: &Event) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let object = &event.involved_object;
    let (kind, name, namespace) = (text(&object.kind), text(&object.name), text(&object.namespace));
    // A Job of a CronJob has a name that nobody can expect.
    let shown = match name.rsplit_once('-') {
        Some((start, random)) if kind == "Job" && random.len() == 5 => format!("{start}-*"),
        Some(_) | None => name.clone(),
    };
    let message = text(&event.message);
    let component = event.source.clone().unwrap_or_default();
    let component = text(&component.component);
    if event.reason.as_deref() == Some("ReloadFail") {
        let start =
            format!("Update for '{name}' of type '{kind}' in namespace '{namespace}' failed with error ");
        if event.type_.as_deref() == Some("Warning") && message.starts_with(&start) {
            return format!("{kind}/{shown}: ReloadFail");
        }
        return format!("{kind}/{name}: another event: {message}");
    }
    let mut quoted = message.split('\'').skip(1).step_by(2);
    let (subject, word) = (
        quoted.next().unwrap_or_default(),
        quoted.next().unwrap_or_default(),
    );
    let source = match word {
        "SECRET" => "reloader-secrets",
        _ => "reloader-configmaps",
    };
    let form = format!(
        "Changes detected in '{subject}' of type '{word}' in namespace '{namespace}', Updated '{name}' of type '{kind}' in namespace '{namespace}'"
    );
    let as_usual = event.type_.as_deref() == Some("Normal")
        && component == source
        && event.reporting_component.as_deref() == Some(source);
    if message != form || !as_usual {
        return format!("{kind}/{name}: another event: {message} by {component}");
    }
    format!("{kind}/{shown}: Reloaded for {word} {subject}")
}
