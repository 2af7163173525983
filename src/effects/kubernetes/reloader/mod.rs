//! What Stakater Reloader does when the application Secret changes, by its own rules and in its own order, so that it can
//! be left to what it will do, recognised by what it has done, and stood in for where it does nothing. Every rule here
//! was observed on the real program, version 1.4.21; the numbers in the tests are those of the observations.
//!
//! | file | what it knows |
//! |---|---|
//! | `options` | how an instance was started, as far as that decides anything |
//! | `instances` | which instances there are, and whether they run: the only reads |
//! | `decision` | whether an instance restarts a workload, and which container it writes to |
//! | `pattern` | the regular expressions of Go in annotations |
//! | `pause` | what it pauses for a time before it restarts it |
//! | `selector` | label selectors as text |
//! | `marker` | what it writes on a pod template |
//! | `stand_in` | the same write, made by Tandem in its stead |
//! | `findings` | what a person should know of all this before a rotation |

mod decision;
mod findings;
mod instances;
mod marker;
mod options;
mod pattern;
mod pause;
mod selector;
mod stand_in;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use self::decision::{Verdict, verdict};
use self::instances::Instances;
use self::marker::Marker;
use self::options::{Options, Strategy};
use super::owners::Workload;
use crate::machine::facts::Restarter;

/// Reloader as it concerns one Secret: who would restart what, and how its restarts are recognised.
#[derive(Clone, Debug, Default)]
pub struct Reloading {
    /// Name, labels and annotations of the Secret; nothing of its data.
    secret: ObjectMeta,
    content: Content,
    /// What a restart for the Secret's present data looks like.
    marker: Option<Marker>,
    instances: Instances,
}

/// What is known of how the Secret's present content came there. Reloader's mark is made of the content, and so proves
/// something of a first delivery only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Nothing: it is not as it was delivered, or no rotation runs.
    #[default]
    Unknown,
    /// It was delivered, for the first time.
    First,
    /// It was delivered before, and something else came between.
    Again,
    /// A roll-back has delivered it, for the first time. It was there before the rotation that is taken back.
    Returned,
}

impl Content {
    /// By the id of the delivery that is seen, and of the first one of this rotation, which may be a roll-back.
    #[must_use]
    pub fn of(landed: Option<&str>, first: Option<&str>, undoes: bool) -> Self {
        match landed {
            None => Self::Unknown,
            Some(_) if landed != first => Self::Again,
            Some(_) if undoes => Self::Returned,
            Some(_) => Self::First,
        }
    }
}

/// How one workload would be restarted by Reloader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Restart<'a> {
    strategy: Strategy,
    /// The container that it writes to, or names.
    container: &'a str,
}

impl Reloading {
    fn new(secret: &Secret, content: Content, instances: Instances) -> Self {
        let metadata = ObjectMeta {
            name: secret.metadata.name.clone(),
            labels: secret.metadata.labels.clone(),
            annotations: secret.metadata.annotations.clone(),
            ..ObjectMeta::default()
        };
        Self {
            secret: metadata,
            content,
            marker: Some(Marker::of(secret)),
            instances,
        }
    }

    /// Whether a pod template, or a pod made from one, carries Reloader's mark for the Secret's present data.
    pub(super) fn marks(&self, metadata: Option<&ObjectMeta>, spec: Option<&PodSpec>) -> bool {
        let marker = self.marker.as_ref().filter(|_| self.content == Content::First);
        marker.is_some_and(|marker| marker.is_on(metadata, spec))
    }

    /// The same in a roll-back, where the mark may be from the time before the rotation that is taken back.
    pub(super) fn may_mark(&self, metadata: Option<&ObjectMeta>, spec: Option<&PodSpec>) -> bool {
        let marker = self.marker.as_ref().filter(|_| self.content == Content::Returned);
        marker.is_some_and(|marker| marker.is_on(metadata, spec))
    }

    /// Whether Reloader has restarted the workload for something else after the delivery, and nobody can see any more
    /// whether for this as well.
    pub(super) fn is_overwritten(&self, workload: Workload<'_>, delivered_at: Option<Timestamp>) -> bool {
        let template = workload.template().metadata.as_ref();
        let known = self.marker.as_ref().zip(template).zip(delivered_at);
        known.is_some_and(|((marker, template), delivered_at)| {
            marker.is_overwritten(workload.metadata(), template, delivered_at)
        })
    }

    /// Whether the workload's annotations make it a consumer, whatever its pods refer to. A Secret that Reloader is told
    /// to ignore is used all the same.
    pub(super) fn names(&self, workload: Workload<'_>) -> bool {
        if self.secret.name.is_none() {
            return false;
        }
        let mut secret = self.secret.clone();
        let standard = [Options::default()];
        let known: Vec<&Options> = self.instances.options().collect();
        let all: Vec<&Options> = if known.is_empty() {
            standard.iter().collect()
        } else {
            known
        };
        all.into_iter().any(|options| {
            if let Some(annotations) = &mut secret.annotations {
                annotations.remove(&options.ignore);
            }
            matches!(
                verdict(options, &secret, workload.metadata(), workload.template()),
                Verdict::Restarts { .. }
            )
        })
    }

    /// Who is expected to restart the workload.
    pub(super) fn restarter(&self, workload: Workload<'_>) -> Restarter {
        // Tandem has Argo Rollouts restart by a time of its own, which leaves their template alone.
        if let Workload::Rollout(_) = workload {
            return Restarter::Tandem;
        }
        match (self.content, self.restart_of(workload)) {
            // Nobody could tell whether Reloader has done it for this delivery or for the one before.
            (Content::Again, _) | (_, None) => Restarter::Tandem,
            (Content::Unknown | Content::First | Content::Returned, Some(_)) => Restarter::Reloader,
        }
    }

    /// How a Reloader that is to be reckoned with would restart the workload, if it would.
    fn restart_of<'a>(&self, workload: Workload<'a>) -> Option<Restart<'a>> {
        self.instances.options().find_map(|options| {
            match verdict(options, &self.secret, workload.metadata(), workload.template()) {
                Verdict::Restarts { container } => Some(Restart {
                    strategy: options.strategy,
                    container,
                }),
                Verdict::Leaves(_) => None,
            }
        })
    }
}

#[cfg(test)]
mod roll_back_tests;
#[cfg(test)]
mod tests;
