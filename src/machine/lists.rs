//! The lists in the status.

use jiff::Timestamp;

use super::endpoints::Door;
use super::facts::{Consumer, Facts, Sessions};
use super::journal::Journal;
use crate::api::status::{
    ConsumerStatus, EndpointStatus, LaggardStatus, RotationPolicyStatus, to_the_second,
};
use crate::policy::target::ConsumerKind;
use crate::policy::{Endpoint, Policy};

/// More entries would only make the object too large to be stored, when a selector matches a thousand workloads.
const SHOWN: usize = 100;

pub(super) fn consumers(facts: &Facts, old: &RotationPolicyStatus) -> (Vec<ConsumerStatus>, Option<u32>) {
    let before = facts.preflight.as_ref().map(|preflight| &preflight.consumers);
    let Some(seen) = facts.consumers.as_ref().or(before) else {
        return (old.consumers.clone(), old.more_consumers);
    };
    let (behind, done): (Vec<&Consumer>, Vec<_>) = seen.iter().partition(|c| !c.old_pods.is_empty());
    shown(behind.into_iter().chain(done), |consumer| ConsumerStatus {
        kind: consumer.reference.kind.as_str().to_owned(),
        name: consumer.reference.name.clone(),
        restarted_by: matches!(consumer.reference.kind, ConsumerKind::Workload(_))
            .then(|| consumer.restarter.as_str().to_owned()),
        old_pods: u32::try_from(consumer.old_pods.len()).unwrap_or(u32::MAX),
        ready: consumer.ready,
    })
}

/// The first of them, and how many more there are.
fn shown<'a, T: 'a, S>(
    all: impl IntoIterator<Item = &'a T>,
    show: impl Fn(&T) -> S,
) -> (Vec<S>, Option<u32>) {
    let mut all = all.into_iter();
    let first = all.by_ref().take(SHOWN).map(show).collect();
    let more = u32::try_from(all.count()).unwrap_or(u32::MAX);
    (first, (more > 0).then_some(more))
}

/// Kept through a rotation, for a pass looks at each only when its time has come.
pub(super) fn endpoints(
    policy: &Policy,
    held: Option<&Journal>,
    facts: &Facts,
    old: &RotationPolicyStatus,
    now: Timestamp,
) -> Vec<EndpointStatus> {
    let Some(rotation) = held.and_then(|journal| journal.rotation.as_ref()) else {
        return Vec::new();
    };
    let shown = |name: &str| old.endpoints.iter().find(|endpoint| endpoint.name == name);
    let status = |endpoint: &Endpoint| {
        let name = &endpoint.name;
        let seen = facts.endpoints.iter().flatten().find(|seen| seen.name == *name);
        let first = shown(name)
            .and_then(|shown| shown.verified_at.clone())
            // Times are shown to the second.
            .filter(|at| at.0.as_second() >= rotation.started_at.as_second());
        let verified_at = match seen.map(|seen| &seen.door) {
            Some(Door::Open) => Some(first.unwrap_or(to_the_second(now))),
            Some(Door::Behind(_) | Door::Refused(_)) => None,
            None => first,
        };
        let old_sessions = match &facts.sessions {
            Some(Sessions::Counted { laggards, .. }) => {
                let here = laggards.iter().filter(|l| l.endpoint.as_ref() == Some(name));
                Some(here.map(|l| l.count).sum())
            }
            Some(Sessions::Unreachable(_)) => None,
            None => shown(name).and_then(|shown| shown.old_sessions),
        };
        EndpointStatus {
            name: name.clone(),
            verified_at,
            old_sessions,
        }
    };
    policy.endpoints.iter().map(status).collect()
}

pub(super) fn laggards(facts: &Facts) -> (Vec<LaggardStatus>, Option<u32>) {
    let Some(Sessions::Counted { laggards, .. }) = &facts.sessions else {
        return (Vec::new(), None);
    };
    shown(laggards, |l| LaggardStatus {
        application_name: l.application_name.clone(),
        client_address: l.client_address.clone(),
        pod: l.pod.clone(),
        endpoint: l.endpoint.clone(),
        count: l.count,
    })
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_thousand_are_a_hundred_and_a_number() {
        let numbers: Vec<u32> = (0..1000).collect();
        let (first, more) = shown(&numbers, |number| *number);
        assert_eq!((first.as_slice(), more), (&numbers[..100], Some(900)));
        assert_eq!(shown(&numbers[..100], |number| *number).1, None);
    }
}
