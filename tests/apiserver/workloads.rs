//! Discovery and restarts.

use jiff::Timestamp;
use serde_json::{Value, json};
use tandem::api::spec::TargetKind;
use tandem::api::{restart_key, restart_mark};
use tandem::effects::{Error, Outcome};
use tandem::policy::target::{ConsumerKind, ConsumerRef};

use crate::server::{Asked, asked, policy, refusal};

#[tokio::test]
async fn a_restart_is_one_annotation_guarded_by_the_uid() {
    let mark = restart_mark("uid-1", 3, Some("41"));
    assert_eq!(mark, "uid-1.3.41");
    for (kind, plural) in [
        (TargetKind::Deployment, "deployments"),
        (TargetKind::StatefulSet, "statefulsets"),
        (TargetKind::DaemonSet, "daemonsets"),
    ] {
        let consumer = ConsumerRef {
            kind: ConsumerKind::Workload(kind),
            name: "web".into(),
        };
        let (outcome, asked) = asked(vec![(200, json!({"kind": "any"}))], async |cluster| {
            cluster
                .restart(&consumer, "uid-5", &restart_key("app"), &mark)
                .await
        })
        .await;
        assert_eq!(outcome.unwrap(), Outcome::Done);
        assert_eq!(asked.len(), 1);
        assert_eq!(
            asked[0],
            Asked {
                method: "PATCH".into(),
                path: format!("/apis/apps/v1/namespaces/shop/{plural}/web"),
                query: vec!["fieldManager=tandem".into()],
                content: "application/merge-patch+json".into(),
                body: json!({
                    "metadata": {"uid": "uid-5"},
                    "spec": {"template": {"metadata": {"annotations": {"rotation.tandem.dev/app": "uid-1.3.41"}}}},
                }),
            }
        );
    }
}

#[tokio::test]
async fn a_restart_of_another_object_with_the_same_name_is_a_conflict() {
    let consumer = ConsumerRef {
        kind: ConsumerKind::Workload(TargetKind::Deployment),
        name: "web".into(),
    };
    let (code, mut invalid) = refusal(422, "Invalid", "metadata.uid: Invalid value: field is immutable");
    invalid["details"] = json!({"causes": [{"reason": "FieldValueInvalid", "field": "metadata.uid"}]});
    for answer in [(code, invalid), refusal(404, "NotFound", "gone")] {
        let (outcome, _) = asked(vec![answer], async |cluster| {
            cluster.restart(&consumer, "uid-5", "key", "mark").await
        })
        .await;
        assert!(
            matches!(&outcome, Err(Error::Conflict { what }) if what == "Deployment shop/web"),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn fm38_what_cannot_be_restarted_is_not_touched() {
    for kind in [ConsumerKind::Job, ConsumerKind::Pod] {
        let consumer = ConsumerRef {
            kind,
            name: "x".into(),
        };
        let (outcome, asked) = asked(vec![], async |cluster| {
            cluster.restart(&consumer, "uid", "key", "mark").await
        })
        .await;
        assert!(matches!(outcome, Err(Error::Unusable(_))), "{outcome:?}");
        assert_eq!(asked, []);
    }
}

#[tokio::test]
async fn discovery_is_five_lists_whatever_there_is() {
    let list = |kind: &str| {
        (
            200,
            json!({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": []}),
        )
    };
    let mut answers = ["PodList", "DeploymentList", "StatefulSetList", "DaemonSetList"]
        .map(list)
        .to_vec();
    // Nobody has defined Rollouts: the answer is plain text, as of any path that is not known.
    answers.push((404, json!("404 page not found")));
    let (workloads, asked) = asked(answers, async |cluster| cluster.workloads().await).await;
    assert_eq!(workloads.unwrap().judge(&policy(), "mark", None), []);
    let paths: Vec<_> = asked
        .iter()
        .map(|a| (a.method.as_str(), a.path.as_str()))
        .collect();
    assert_eq!(
        paths,
        [
            ("GET", "/api/v1/namespaces/shop/pods"),
            ("GET", "/apis/apps/v1/namespaces/shop/deployments"),
            ("GET", "/apis/apps/v1/namespaces/shop/statefulsets"),
            ("GET", "/apis/apps/v1/namespaces/shop/daemonsets"),
            ("GET", "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts"),
        ]
    );
    assert!(asked.iter().all(|a| a.query.is_empty()), "{asked:?}");
}

/// What an API server without objects of these kinds answers, in the order of the lists.
fn empty_lists() -> Vec<(u16, Value)> {
    let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []});
    vec![(200, list); 4]
}

#[tokio::test]
async fn where_there_are_no_rollouts_nobody_needs_the_right_to_see_them() {
    let forbidden = || refusal(403, "Forbidden", "cannot list resource \"rollouts\"");
    let group = |names: &[&str]| {
        let resources: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "X", "verbs": []}))
            .collect();
        (
            200,
            json!({"groupVersion": "argoproj.io/v1alpha1", "resources": resources}),
        )
    };
    for (known, is_refused) in [
        (group(&["applications"]), false),
        (group(&["applications", "rollouts"]), true),
        ((404, json!("404 page not found")), false),
    ] {
        let answers = [empty_lists(), vec![forbidden(), known]].concat();
        let (workloads, asked) = asked(answers, async |cluster| cluster.workloads().await).await;
        assert_eq!(asked.last().unwrap().path, "/apis/argoproj.io/v1alpha1");
        match workloads {
            Ok(workloads) => {
                assert!(!is_refused);
                assert_eq!(workloads.judge(&policy(), "mark", None), []);
            }
            Err(error) => assert!(
                is_refused
                    && matches!(&error, Error::Refused(finding) if finding.message.contains("tandem rbac")),
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn case34_the_restart_of_a_rollout_is_one_time_that_follows_from_the_delivery() {
    let delivered: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    for _ in 0..2 {
        let (outcome, asked) = asked(vec![(200, json!({"kind": "any"}))], async |cluster| {
            cluster
                .restart_rollout("web", "uid-5", "key", "mark", Some(delivered))
                .await
        })
        .await;
        assert_eq!(outcome.unwrap(), Outcome::Done);
        assert_eq!(
            asked,
            [Asked {
                method: "PATCH".into(),
                path: "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web".into(),
                query: vec!["fieldManager=tandem".into()],
                content: "application/merge-patch+json".into(),
                body: json!({
                    "metadata": {"uid": "uid-5", "annotations": {"key": "mark"}},
                    "spec": {"restartAt": "2026-01-02T03:04:06Z"},
                }),
            }]
        );
    }
    let (outcome, asked) = asked(vec![], async |cluster| {
        cluster.restart_rollout("web", "uid-5", "key", "mark", None).await
    })
    .await;
    assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
    assert_eq!(asked, []);
}
