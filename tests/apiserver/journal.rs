//! The journal Secret.

use serde_json::{Value, json};
use tandem::effects::kubernetes::journal::{JournalSecret, Material};
use tandem::effects::{Error, Outcome};
use tandem::machine::{Journal, Loaded};

use crate::server::{Asked, PASSWORD, asked, base64, policy, refusal, sensitive};

/// The journal Secret with this data.
fn journal_object(data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "tandem.dev/journal",
        "metadata": {
            "name": "app-tandem", "namespace": "shop", "uid": "uid-9", "resourceVersion": "17", "labels": {"keep": "me"},
            "managedFields": [{"manager": "tandem"}],
            "ownerReferences": [{"apiVersion": "tandem.dev/v1alpha1", "kind": "RotationPolicy", "name": "app", "uid": "uid-1"}],
        },
        "data": data,
    })
}

async fn found(data: Value) -> JournalSecret {
    let (journal, asked) = asked(vec![(200, journal_object(&data))], async |cluster| {
        cluster.journal("app", "uid-1").await
    })
    .await;
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].method.as_str(), asked[0].path.as_str()),
        ("GET", "/api/v1/namespaces/shop/secrets/app-tandem")
    );
    // Without a resourceVersion the newest is read, and not what a cache holds.
    assert_eq!(asked[0].query, Vec::<String>::new());
    journal.unwrap()
}

const OWNER: &str = r#"[{"apiVersion":"tandem.dev/v1alpha1","controller":true,"kind":"RotationPolicy","name":"app","uid":"uid-1"}]"#;

#[tokio::test]
async fn a_journal_is_made_by_an_apply_that_carries_no_data_and_takes_nothing_over() {
    let absent = refusal(404, "NotFound", "secrets \"app-tandem\" not found");
    let (outcome, asked) = asked(vec![absent, (201, journal_object(&json!({})))], async |cluster| {
        let journal = cluster.journal("app", "uid-1").await.unwrap();
        cluster
            .record(&policy(), &journal, &Journal::new("uid-1"), None)
            .await
    })
    .await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(
        asked[1],
        Asked {
            method: "PATCH".into(),
            path: "/api/v1/namespaces/shop/secrets/app-tandem".into(),
            query: vec!["fieldManager=tandem".into()],
            content: "application/apply-patch+yaml".into(),
            body: json!({
                "apiVersion": "v1", "kind": "Secret", "type": "tandem.dev/journal",
                "metadata": {"name": "app-tandem", "ownerReferences": serde_json::from_str::<Value>(OWNER).unwrap()},
            }),
        }
    );
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_journal_is_replaced_whole_in_the_version_it_was_read_with() {
    let journal = found(json!({})).await;
    let mut next = Journal::new("uid-1");
    next.number = 4;
    let material = Material {
        pending_password: sensitive(PASSWORD),
        pending_verifier: sensitive("pv"),
        retiring_verifier: sensitive("rv"),
        previous_password: None,
    };
    let (outcome, asked) = asked(vec![(200, journal_object(&json!({})))], async |cluster| {
        cluster.record(&policy(), &journal, &next, Some(&material)).await
    })
    .await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(asked.len(), 1);
    let text = serde_json::to_string(&next).unwrap();
    assert_eq!(
        asked[0],
        Asked {
            method: "PUT".into(),
            path: "/api/v1/namespaces/shop/secrets/app-tandem".into(),
            query: vec!["fieldManager=tandem".into()],
            content: "application/json".into(),
            body: json!({
                "apiVersion": "v1", "kind": "Secret", "type": "tandem.dev/journal",
                "metadata": {
                    "name": "app-tandem", "namespace": "shop", "uid": "uid-9", "resourceVersion": "17",
                    "labels": {"keep": "me"}, "ownerReferences": serde_json::from_str::<Value>(OWNER).unwrap(),
                },
                // No rotation runs, so no credential is kept.
                "data": {"journal.json": base64(&text)},
            }),
        }
    );
}

#[tokio::test]
async fn fm11_a_rotation_without_its_credentials_is_no_journal_to_go_on_with() {
    let mut journal = Journal::new("uid-1");
    journal.number = 1;
    let snapshot = serde_json::to_value(policy().snapshot).unwrap();
    let mut json = serde_json::to_value(&journal).unwrap();
    json["rotation"] = json!({
        "trigger": {"rotateNow": "x"}, "startedAt": "2026-11-20T03:00:00Z", "spec": snapshot, "pending": "app_b", "retiring": "app_a",
    });
    let whole = json!({
        "journal.json": base64(&json.to_string()), "pending-password": base64(PASSWORD),
        "pending-verifier": base64("pv"), "retiring-verifier": base64("rv"), "previous-password": base64("old"),
    });
    let full = found(whole.clone()).await;
    assert!(matches!(full.loaded, Loaded::Valid(_)), "{:?}", full.loaded);
    assert!(
        full.material
            .is_some_and(|m| m.pending_password.expose() == PASSWORD)
    );

    let with = |key: &str, value: Option<Value>| {
        let mut data = whole.clone();
        let fields = data.as_object_mut().unwrap();
        fields.remove(key);
        fields.extend(value.map(|value| (key.to_owned(), value)));
        data
    };
    for key in ["pending-password", "pending-verifier", "retiring-verifier"] {
        for value in [None, Some(base64("")), Some(json!("/w=="))] {
            let broken = found(with(key, value.clone())).await;
            assert!(
                matches!(&broken.loaded, Loaded::Corrupt(flaw) if flaw.contains(key)),
                "{key} {value:?}"
            );
            assert!(broken.material.is_none());
            // And it is never written over.
            let (outcome, asked) = asked(vec![], async |cluster| {
                cluster.record(&policy(), &broken, &journal, None).await
            })
            .await;
            assert!(matches!(outcome, Err(Error::Unusable(_))), "{outcome:?}");
            assert_eq!(asked, []);
        }
    }
    // Only what proves the retirement may be missing, as after a recovery.
    let recovered = found(with("previous-password", None)).await;
    assert!(recovered.material.is_some_and(|m| m.previous_password.is_none()));
    let strange = found(json!({"notes": base64("mine")})).await;
    assert!(matches!(&strange.loaded, Loaded::Corrupt(flaw) if flaw.contains("journal.json")));
}

#[tokio::test]
async fn a_rotation_is_never_recorded_without_its_credentials() {
    let journal = found(json!({})).await;
    let mut json = serde_json::to_value(Journal::new("uid-1")).unwrap();
    json["number"] = json!(1);
    json["rotation"] = json!({
        "trigger": {"rotateNow": "x"}, "startedAt": "2026-11-20T03:00:00Z", "spec": policy().snapshot, "pending": "app_b", "retiring": "app_a",
    });
    let next: Journal = serde_json::from_value(json).unwrap();
    let (outcome, asked) = asked(vec![], async |cluster| {
        cluster.record(&policy(), &journal, &next, None).await
    })
    .await;
    assert!(matches!(outcome, Err(Error::Unusable(_))), "{outcome:?}");
    assert_eq!(asked, []);
}
