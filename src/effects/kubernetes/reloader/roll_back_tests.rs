use serde_json::{Value, json};

use super::instances::Instances;
use super::marker::Marker;
use super::options::Options;
use super::{Content, Reloading};
use crate::effects::kubernetes::fixtures::{MARK, at, object, over, pod_of, policy, workload, workloads};
use crate::machine::facts::{Consumer, Restarter};

/// When the rotation that is taken back began, before the delivery of its roll-back.
const BEGAN: i64 = -100;

/// Deployment `web`, which is left to Reloader, in a roll-back. The Secret has the content that it had before.
fn web(template: &Value, pods: &[(i64, Value)]) -> Consumer {
    let secret = object(json!({"metadata": {"name": "db"}, "data": {"password": "cDE="}}));
    let instances = Instances {
        found: vec![Options::default()],
        doubts: Vec::new(),
    };
    let left = json!({"metadata": {"annotations": {"reloader.stakater.com/auto": "true"}}, "spec": {"template": template}});
    let pods = pods.iter().map(|(age, more)| {
        let name = format!("web{age}");
        pod_of("Deployment", "web", &name, *age, more.clone())
    });
    let found = workloads(pods.collect(), vec![workload("web", left)], vec![], vec![]);
    found
        .beside(Reloading::new(&secret, Content::Returned, instances))
        .judge_sparing(&policy(&json!({})), MARK, Some(at(0)), Some(at(BEGAN)))
        .remove(0)
}

/// What Reloader leaves on a template, and so on its pods, for what the Secret carries now.
fn reloaded() -> Value {
    let secret = object(json!({"metadata": {"name": "db"}, "data": {"password": "cDE="}}));
    let marker = Marker::of(&secret);
    let variable = json!({"name": marker.variable(), "value": marker.hash()});
    json!({"spec": {"containers": [
        {"name": "main", "envFrom": [{"secretRef": {"name": "db"}}], "env": [variable]},
    ]}})
}

fn started(since: i64) -> Value {
    json!({"status": {"containerStatuses": [{
        "name": "main", "ready": true, "restartCount": 1, "image": "i", "imageID": "i",
        "state": {"running": {"startedAt": at(since).to_string()}},
    }]}})
}

#[test]
fn a_pod_from_before_is_spared_unless_a_container_of_it_has_started_since() {
    for (age, since, old) in [
        (BEGAN - 1, BEGAN - 1, false),
        // It has read the Secret anew.
        (BEGAN - 1, BEGAN, true),
        (BEGAN, BEGAN, true),
        (-1, -1, true),
        (1, 1, false),
    ] {
        let consumer = web(&json!({}), &[(age, started(since))]);
        assert_eq!(
            !consumer.old_pods.is_empty(),
            old,
            "created {age}, started {since}"
        );
    }
}

#[test]
fn what_reloader_restarts_for_what_is_put_back_is_its_own() {
    // It has marked the template for the rotation that is taken back, and will do so again.
    let to_come = web(&json!({}), &[(-5, json!({}))]);
    assert_eq!((to_come.marked, to_come.restarter), (false, Restarter::Reloader));
    // It has: the pod from between is about to go.
    let done = web(&reloaded(), &[(-5, json!({})), (5, reloaded())]);
    assert_eq!((done.marked, done.restarter), (true, Restarter::Reloader));
    assert_eq!(done.old_pods, ["web-5"]);
}

#[test]
fn a_mark_from_before_the_rotation_that_is_taken_back_proves_nothing() {
    // Reloader never came to it. A pod that started meanwhile has what is taken back, under a template that has the mark.
    let ready = over(reloaded(), started(-5));
    let consumer = web(&reloaded(), &[(BEGAN - 50, ready.clone()), (-5, ready)]);
    assert_eq!(consumer.old_pods, [format!("web{}", BEGAN - 50), "web-5".into()]);
    assert_eq!((consumer.marked, consumer.restarter), (false, Restarter::Tandem));
    // Where no such pod is there, nobody is restarted.
    let consumer = web(&reloaded(), &[(BEGAN - 50, reloaded())]);
    assert_eq!(consumer.old_pods, Vec::<String>::new());
}

#[test]
fn a_roll_back_returns_what_was_there_and_only_its_first_delivery_does() {
    for (landed, undoes, expected) in [
        (None, true, Content::Unknown),
        (Some("41"), true, Content::Returned),
        (Some("41"), false, Content::First),
        (Some("42"), true, Content::Again),
    ] {
        assert_eq!(
            Content::of(landed, Some("41"), undoes),
            expected,
            "{landed:?} {undoes}"
        );
    }
}
