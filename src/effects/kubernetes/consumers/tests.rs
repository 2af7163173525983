use serde_json::{Value, json};

use super::super::fixtures::{MARK, at, marked, over, pod, pod_of, policy, spec, workload, workloads};
use super::Workloads;
use crate::machine::facts::Consumer;

fn judged(workloads: &Workloads, restart: &Value) -> Vec<Consumer> {
    workloads.judge(&policy(restart), MARK, Some(at(0)))
}

/// Each consumer with its old pods and the number of its ready new ones.
fn summary(consumers: &[Consumer]) -> Vec<(String, Vec<&str>, u32)> {
    let line = |c: &'_ Consumer| c.reference.to_string();
    consumers
        .iter()
        .map(|c| (line(c), c.old_pods.iter().map(String::as_str).collect(), c.ready))
        .collect()
}

fn lone(workloads: &Workloads) -> Consumer {
    let mut found = judged(workloads, &json!({}));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn every_pod_is_put_to_the_consumer_that_can_replace_it() {
    let foreign = |api: &str, kind: &str, name: &str| json!({"metadata": {"ownerReferences": [{"apiVersion": api, "kind": kind, "name": name, "uid": "x", "controller": true}]}});
    let found = workloads(
        vec![
            pod_of("Deployment", "web", "web-1", -5, json!({})),
            pod_of("Deployment", "web", "web-2", 5, json!({})),
            pod_of("StatefulSet", "store", "store-0", -5, json!({})),
            pod_of("DaemonSet", "agent", "agent-x", 5, json!({})),
            pod_of("Job", "migrate", "migrate-x", -5, json!({})),
            pod("bare", -5, json!({})),
            // ReplicaSets without a Deployment, and kinds that only share their name with Kubernetes' own.
            pod("lone-rs", -5, foreign("apps/v1", "ReplicaSet", "lone")),
            pod(
                "rollout-1",
                -5,
                over(
                    foreign("apps/v1", "ReplicaSet", "rollout-77"),
                    json!({"metadata": {"labels": {"rollouts-pod-template-hash": "77"}}}),
                ),
            ),
            pod(
                "kruise-0",
                -5,
                foreign("apps.kruise.io/v1beta1", "StatefulSet", "store"),
            ),
            pod("orphan-0", -5, foreign("apps/v1", "StatefulSet", "gone")),
            pod("static", -5, foreign("v1", "Node", "node-1")),
        ],
        vec![workload("web", json!({}))],
        vec![workload("store", json!({}))],
        vec![workload("agent", json!({}))],
    );
    let consumers = judged(&found, &json!({}));
    let old = |name: &str| (format!("pod/{name}"), vec![name.to_owned()], 0);
    let expected: Vec<(String, Vec<String>, u32)> = vec![
        ("deployment/web".into(), vec!["web-1".into()], 1),
        ("statefulset/store".into(), vec!["store-0".into()], 0),
        ("daemonset/agent".into(), vec![], 1),
        ("job/migrate".into(), vec!["migrate-x".into()], 0),
        old("bare"),
        old("kruise-0"),
        old("lone-rs"),
        old("orphan-0"),
        old("rollout-1"),
        old("static"),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(c, pods, ready)| (c.clone(), pods.iter().map(String::as_str).collect(), *ready))
        .collect();
    assert_eq!(summary(&consumers), expected);
    assert_eq!(consumers[0].uid, "uid-of-web");
    assert_eq!(consumers[3].uid, "uid-of-migrate");
    assert_eq!(consumers[4].uid, "uid-of-bare");
}

#[test]
fn what_does_not_use_the_secret_is_no_consumer() {
    let other = json!({"spec": spec(false)});
    let found = workloads(
        vec![
            pod("a", -5, other.clone()),
            pod_of("Deployment", "web", "web-1", -5, other.clone()),
        ],
        vec![workload("web", json!({"spec": {"template": other}}))],
        vec![],
        vec![],
    );
    assert_eq!(judged(&found, &json!({})), []);
}

#[test]
fn what_the_pod_says_counts_and_not_its_template() {
    // A template that dropped the Secret leaves old pods that still use it; one that has just got it has none.
    let dropped = workload("dropped", json!({"spec": {"template": {"spec": spec(false)}}}));
    let found = workloads(
        vec![
            pod_of("Deployment", "dropped", "dropped-1", -5, json!({})),
            pod_of("Deployment", "added", "added-1", -5, json!({"spec": spec(false)})),
        ],
        vec![dropped, workload("added", json!({}))],
        vec![],
        vec![],
    );
    let consumers = judged(&found, &json!({}));
    assert_eq!(
        summary(&consumers),
        [
            ("deployment/added".to_owned(), vec![], 0),
            ("deployment/dropped".to_owned(), vec!["dropped-1"], 0)
        ]
    );
}

#[test]
fn targets_are_consumers_without_naming_the_secret() {
    let hidden = |name: &str, label: &str| {
        workload(
            name,
            json!({"metadata": {"labels": {"db": label}}, "spec": {"template": {"spec": spec(false)}}}),
        )
    };
    let of = |name: &str| {
        pod_of(
            "Deployment",
            name,
            &format!("{name}-1"),
            -5,
            json!({"spec": spec(false)}),
        )
    };
    let found = workloads(
        vec![of("named"), of("labelled"), of("other")],
        vec![
            hidden("named", "no"),
            hidden("labelled", "yes"),
            hidden("other", "no"),
        ],
        vec![hidden("named", "yes")],
        vec![],
    );
    let targets = json!({"targets": [
        {"kind": "Deployment", "name": "named"},
        {"kind": "Deployment", "matchLabels": {"db": "yes"}},
        {"kind": "DaemonSet", "name": "named"},
    ]});
    let consumers = judged(&found, &targets);
    assert_eq!(
        summary(&consumers),
        [
            ("deployment/labelled".to_owned(), vec!["labelled-1"], 0),
            ("deployment/named".to_owned(), vec!["named-1"], 0)
        ]
    );
    let warned = found.findings(&policy(&targets));
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].message.contains("daemonset named") && !warned[0].blocks,
        "{warned:?}"
    );
}

#[test]
fn fm42_a_pod_is_new_when_it_is_younger_than_the_delivery_or_carries_its_mark() {
    let mark = json!({"metadata": {"annotations": marked()}});
    let older_mark = json!({"metadata": {"annotations": {"rotation.tandem.dev/app": "uid-1.3.1699999990"}}});
    for (age, more, old) in [
        (-1, json!({}), true),
        // Within the second of the delivery nobody knows which was first, but for the mark.
        (0, json!({}), true),
        (0, mark.clone(), false),
        (1, json!({}), false),
        // The mark of another delivery proves nothing.
        (-1, older_mark.clone(), true),
        (1, older_mark, false),
        // With clocks apart the mark is right.
        (-1, mark, false),
    ] {
        let found = workloads(vec![pod("p", age, more.clone())], vec![], vec![], vec![]);
        assert_eq!(!lone(&found).old_pods.is_empty(), old, "{age} {more}");
    }
}

#[test]
fn without_the_time_of_the_delivery_only_marked_pods_are_new() {
    let mark = json!({"metadata": {"annotations": marked()}});
    let found = workloads(
        vec![pod("a", 3600, json!({})), pod("b", 3600, mark)],
        vec![],
        vec![],
        vec![],
    );
    let consumers = found.judge(&policy(&json!({})), MARK, None);
    assert_eq!(
        summary(&consumers),
        [
            ("pod/a".to_owned(), vec!["a"], 0),
            ("pod/b".to_owned(), vec![], 1)
        ]
    );
}

#[test]
fn fm40_a_terminating_pod_counts_until_it_is_gone() {
    let ending =
        json!({"metadata": {"deletionTimestamp": at(40).to_string(), "deletionGracePeriodSeconds": 30}});
    let found = workloads(
        vec![
            pod_of("Deployment", "web", "web-1", -5, ending),
            pod_of(
                "Deployment",
                "web",
                "web-2",
                5,
                json!({"metadata": {"annotations": marked()}}),
            ),
        ],
        vec![workload("web", json!({}))],
        vec![],
        vec![],
    );
    let consumer = lone(&found);
    assert_eq!(consumer.old_pods, ["web-1"]);
    let obstacle = consumer.obstacle.unwrap();
    assert!(
        obstacle.contains("web-1") && obstacle.contains("node-1") && obstacle.contains("30 s"),
        "{obstacle}"
    );
}

#[test]
fn fm38_a_finished_pod_holds_nothing_unless_a_container_of_it_still_runs() {
    for (phase, state, old) in [
        ("Succeeded", json!({"terminated": {"exitCode": 0}}), false),
        ("Failed", json!({"terminated": {"exitCode": 1}}), false),
        ("Failed", json!({"running": {}}), true),
        ("Running", json!({"terminated": {"exitCode": 0}}), true),
        ("Pending", json!({"waiting": {}}), true),
    ] {
        let status = json!({"status": {"phase": phase, "containerStatuses": [
            {"name": "main", "ready": false, "restartCount": 0, "image": "i", "imageID": "i", "state": state},
        ]}});
        let found = workloads(
            vec![pod_of("Job", "nightly", "nightly-1", -5, status)],
            vec![],
            vec![],
            vec![],
        );
        let consumers = judged(&found, &json!({}));
        assert_eq!(!consumers.is_empty(), old, "{phase} {state}");
        if let Some(consumer) = consumers.first() {
            assert!(
                consumer.obstacle.as_ref().is_some_and(|o| o.contains("Job")),
                "{consumer:?}"
            );
        }
    }
}

#[test]
fn fm38_a_workload_without_pods_needs_no_restart() {
    let found = workloads(
        vec![],
        vec![workload("web", json!({"spec": {"replicas": 0}}))],
        vec![],
        vec![],
    );
    let consumer = lone(&found);
    assert_eq!(
        (
            consumer.old_pods.len(),
            consumer.ready,
            consumer.marked,
            consumer.obstacle
        ),
        (0, 0, false, None)
    );
}

#[test]
fn a_template_is_marked_by_this_delivery_only() {
    for (annotations, is) in [
        (marked(), true),
        (json!({"rotation.tandem.dev/app": "uid-1.2.1600000000"}), false),
        (json!({"rotation.tandem.dev/other": MARK}), false),
        (json!({}), false),
    ] {
        let template = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        let found = workloads(vec![], vec![], vec![workload("store", template)], vec![]);
        assert_eq!(lone(&found).marked, is, "{annotations}");
    }
}

#[test]
fn only_new_pods_that_are_ready_and_stay_count_as_ready() {
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let ending = json!({"metadata": {"deletionTimestamp": at(40).to_string()}});
    let found = workloads(
        vec![
            pod_of("DaemonSet", "agent", "a", 5, json!({})),
            pod_of("DaemonSet", "agent", "b", 5, not_ready),
            pod_of("DaemonSet", "agent", "c", 5, ending),
            pod_of("DaemonSet", "agent", "d", -5, json!({})),
        ],
        vec![],
        vec![],
        vec![workload("agent", json!({}))],
    );
    let consumer = lone(&found);
    assert_eq!((consumer.ready, consumer.old_pods), (1, vec!["d".to_owned()]));
}

#[test]
fn pods_that_nobody_restarts_are_told_before_a_rotation() {
    let found = workloads(
        vec![
            pod("bare", -5, json!({})),
            pod_of("Job", "migrate", "m", -5, json!({})),
            pod_of("Deployment", "web", "w", -5, json!({})),
        ],
        vec![workload("web", json!({}))],
        vec![],
        vec![],
    );
    let findings = found.findings(&policy(&json!({})));
    assert_eq!(findings.len(), 1, "{findings:?}");
    let message = &findings[0].message;
    assert!(
        message.contains("job/migrate, pod/bare") && !message.contains("web"),
        "{message}"
    );
}

#[test]
fn fm39_an_address_leads_to_the_pod_and_its_workload() {
    let ip =
        |ip: &str| json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}, {"ip": format!("fd00::{ip}")}]}});
    let finished = over(ip("10.0.0.1"), json!({"status": {"phase": "Succeeded"}}));
    let found = workloads(
        vec![
            pod("finished", -9, finished),
            pod_of("Deployment", "web", "web-1", -5, ip("10.0.0.1")),
            pod_of("Job", "migrate", "m-1", -5, ip("10.0.0.2")),
            pod("bare", -5, ip("10.0.0.3")),
            pod(
                "host",
                -5,
                over(ip("192.168.0.1"), json!({"spec": {"hostNetwork": true}})),
            ),
        ],
        vec![workload("web", json!({}))],
        vec![],
        vec![],
    );
    for (address, said) in [
        ("10.0.0.1", "pod web-1 of deployment/web"),
        ("fd00::10.0.0.1", "pod web-1 of deployment/web"),
        ("10.0.0.2", "pod m-1 of job/migrate"),
        ("10.0.0.3", "pod bare"),
        ("192.168.0.1", "node node-1"),
        ("10.9.9.9", ""),
        ("", ""),
    ] {
        assert_eq!(found.locate(address), said, "{address}");
    }
}
