//! Discovery and restarts.

use serde_json::json;
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
async fn discovery_is_four_lists_whatever_there_is() {
    let list = |kind: &str| {
        (
            200,
            json!({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": []}),
        )
    };
    let answers = ["PodList", "DeploymentList", "StatefulSetList", "DaemonSetList"]
        .map(list)
        .to_vec();
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
        ]
    );
    assert!(asked.iter().all(|a| a.query.is_empty()), "{asked:?}");
}
