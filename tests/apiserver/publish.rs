//! Status and Events.

use serde_json::json;
use tandem::api::RotationPolicyStatus;
use tandem::effects::Error;
use tandem::machine::project::{Notice, Projection};

use crate::server::{Asked, asked, object, refusal};

fn projection() -> Projection {
    let status = RotationPolicyStatus {
        active_user: Some("app_a".into()),
        ..RotationPolicyStatus::default()
    };
    let notice = Notice {
        reason: "StandbyVerified",
        note: "rotation 3: it logs in".into(),
        warning: false,
    };
    Projection {
        status,
        notices: vec![notice],
    }
}

#[tokio::test]
async fn a_status_is_one_guarded_apply_and_its_event_comes_after_it() {
    let (outcome, asked) = asked(
        vec![(200, json!({})), (201, json!({"metadata": {}}))],
        async |cluster| cluster.publish(&object(), &projection(), "tandem-0").await,
    )
    .await;
    outcome.unwrap();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[0],
        Asked {
            method: "PATCH".into(),
            path: "/apis/tandem.dev/v1alpha1/namespaces/shop/rotationpolicies/app/status".into(),
            query: vec!["force=true".into(), "fieldManager=tandem".into()],
            content: "application/apply-patch+yaml".into(),
            body: json!({
                "apiVersion": "tandem.dev/v1alpha1", "kind": "RotationPolicy",
                "metadata": {"name": "app", "resourceVersion": "41"}, "status": {"activeUser": "app_a"},
            }),
        }
    );
    let event = &asked[1];
    assert_eq!(
        (event.method.as_str(), event.path.as_str()),
        ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events")
    );
    let field = |name: &str| event.body[name].as_str().unwrap_or_default();
    assert_eq!(
        [
            field("reason"),
            field("type"),
            field("note"),
            field("reportingController"),
            field("reportingInstance")
        ],
        [
            "StandbyVerified",
            "Normal",
            "rotation 3: it logs in",
            "tandem",
            "tandem-0"
        ]
    );
    assert_eq!(event.body["regarding"]["uid"], "uid-1");
}

#[tokio::test]
async fn fm09_a_status_that_was_not_written_tells_no_event() {
    let (outcome, asked) = asked(vec![refusal(409, "Conflict", "modified")], async |cluster| {
        cluster.publish(&object(), &projection(), "tandem-0").await
    })
    .await;
    assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn an_event_that_is_not_taken_fails_nothing() {
    let answers = vec![
        (200, json!({})),
        refusal(403, "Forbidden", "cannot create resource"),
    ];
    let (outcome, asked) = asked(answers, async |cluster| {
        cluster.publish(&object(), &projection(), "tandem-0").await
    })
    .await;
    outcome.unwrap();
    assert_eq!(asked.len(), 2);
}
