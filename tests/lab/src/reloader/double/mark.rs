//! The marks in pod templates, in both strategies.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EnvVar, PodTemplateSpec};
use kube::api::Patch;
use serde::Serialize;
use serde_json::{Value, json};

use super::flags::{LAST_RELOADED_FROM, Strategy};
use super::hash::variable;
use super::references::container;
use super::subject::{Resource, Subject};
use super::workload::Workload;

/// What stands in the annotation for an object that was deleted.
const DELETED: &str = "aae45badef99284e4dae01d6046154ea9d99532f";

/// Why a mark is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The object is there, with the content that the event has.
    Reload,
    /// The object is gone.
    Forget,
}

/// A change of a pod template.
pub(super) struct Mark {
    what: What,
    template: PodTemplateSpec,
}

enum What {
    Variable {
        container: String,
        name: String,
        hash: String,
    },
    NoVariable {
        container: String,
        name: String,
    },
    Annotation(String),
}

/// The mark's text, with the keys in the order in which it has them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    namespace: &'a str,
    hash: &'a str,
    container_refs: [&'a str; 1],
    observed_at: i64,
}

/// What is to be changed; nothing when no container stands for the use, or all is as it should be.
pub(super) fn mark(
    strategy: Strategy,
    workload: &Workload,
    subject: &Subject,
    purpose: Purpose,
    must_refer: bool,
) -> Option<Mark> {
    let template = workload.template();
    let spec = template.spec.as_ref()?;
    let first = || spec.containers.first().map(|container| container.name.as_str());
    let chosen = container(spec, subject).or_else(|| first().filter(|_| !must_refer))?;
    let what = match strategy {
        Strategy::Annotations => What::Annotation(annotation(subject, purpose, chosen)),
        Strategy::EnvVars => {
            let suffix = match subject.resource {
                Resource::Secret => "SECRET",
                Resource::ConfigMap => "CONFIGMAP",
            };
            let name = variable(&subject.name, suffix);
            let mut containers = spec.containers.iter();
            let chosen_one = containers.find(|container| container.name == chosen)?;
            let mut variables = chosen_one.env.iter().flatten();
            let there = variables.find(|variable| variable.name == name);
            let current = there.and_then(|variable| variable.value.as_deref());
            match purpose {
                Purpose::Reload if current == Some(&subject.hash) => return None,
                Purpose::Reload => What::Variable {
                    container: chosen.to_owned(),
                    name,
                    hash: subject.hash.clone(),
                },
                Purpose::Forget => there.map(|_| What::NoVariable {
                    container: chosen.to_owned(),
                    name,
                })?,
            }
        }
    };
    Some(Mark { what, template })
}

/// Seconds are as exact as it is: the same mark twice within one is the same text.
fn annotation(subject: &Subject, purpose: Purpose, container: &str) -> String {
    let source = Source {
        kind: subject.resource.shouted(),
        name: &subject.name,
        namespace: &subject.namespace,
        hash: match purpose {
            Purpose::Reload => &subject.hash,
            Purpose::Forget => DELETED,
        },
        container_refs: [container],
        observed_at: Timestamp::now().as_second(),
    };
    serde_json::to_string(&source).unwrap_or_default()
}

impl Mark {
    /// As a patch. A new variable becomes the first of its container.
    pub(super) fn patch(&self) -> Patch<Value> {
        let template = match &self.what {
            What::Variable {
                container,
                name,
                hash,
            } => {
                json!({"spec": {"containers": [{"name": container, "env": [{"name": name, "value": hash}]}]}})
            }
            What::Annotation(text) => json!({"metadata": {"annotations": {(LAST_RELOADED_FROM): text}}}),
            What::NoVariable { container, name } => {
                let gone = json!({"name": name, "$patch": "delete"});
                json!({"spec": {"containers": [{"name": container, "env": [gone]}]}})
            }
        };
        Patch::Strategic(json!({"spec": {"template": template}}))
    }

    /// As the whole template. A new variable becomes the last of its container.
    pub(super) fn template(&self) -> Value {
        let mut template = self.template.clone();
        match &self.what {
            What::Annotation(text) => {
                let metadata = template.metadata.get_or_insert_default();
                let annotations = metadata.annotations.get_or_insert_default();
                annotations.insert(LAST_RELOADED_FROM.to_owned(), text.clone());
            }
            What::Variable {
                container,
                name,
                hash,
            } => {
                let containers = template.spec.iter_mut().flat_map(|spec| &mut spec.containers);
                for chosen in containers.filter(|chosen| chosen.name == *container) {
                    let variables = chosen.env.get_or_insert_default();
                    let value = Some(hash.clone());
                    match variables.iter_mut().find(|variable| variable.name == *name) {
                        Some(variable) => variable.value = value,
                        None => variables.push(EnvVar {
                            name: name.clone(),
                            value,
                            value_from: None,
                        }),
                    }
                }
            }
            What::NoVariable { container, name } => {
                let containers = template.spec.iter_mut().flat_map(|spec| &mut spec.containers);
                for chosen in containers.filter(|chosen| chosen.name == *container) {
                    let variables = chosen.env.get_or_insert_default();
                    variables.retain(|variable| variable.name != *name);
                }
            }
        }
        json!(template)
    }
}
