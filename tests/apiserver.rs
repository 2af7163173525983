//! The exact requests of each write, and what answers mean; nothing more is ever asked.

use std::pin::pin;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use k8s_openapi::ByteString;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tandem::api::spec::TargetKind;
use tandem::api::{RotationPolicy, RotationPolicyStatus, restart_key, restart_mark};
use tandem::effects::kubernetes::Cluster;
use tandem::effects::kubernetes::journal::{JournalSecret, Material};
use tandem::effects::kubernetes::secret::Delivery;
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::Refused;
use tandem::machine::project::{Notice, Projection};
use tandem::machine::{Journal, Loaded};
use tandem::policy::Policy;
use tandem::policy::target::{ConsumerKind, ConsumerRef, RoleName};
use tandem::sensitive::Sensitive;

const PASSWORD: &str = "Sentinel-7f3a-Passwort";

/// What a request was.
#[derive(Debug, PartialEq)]
struct Asked {
    method: String,
    path: String,
    query: Vec<String>,
    content: String,
    body: Value,
}

/// Lets the effects ask, gives these answers in turn, and returns what was asked. An answer too many or too few fails.
async fn asked<T>(answers: Vec<(u16, Value)>, ask: impl AsyncFnOnce(Cluster) -> T) -> (T, Vec<Asked>) {
    let texts = answers
        .into_iter()
        .map(|(code, body)| (code, body.to_string()))
        .collect();
    asked_for_text(texts, ask).await
}

async fn asked_for_text<T>(
    answers: Vec<(u16, String)>,
    ask: impl AsyncFnOnce(Cluster) -> T,
) -> (T, Vec<Asked>) {
    let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let server = async move {
        let mut handle = pin!(handle);
        let mut all = Vec::new();
        let mut answers = answers.into_iter();
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let header = parts.headers.get(http::header::CONTENT_TYPE);
            all.push(Asked {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts
                    .uri
                    .query()
                    .unwrap_or_default()
                    .split('&')
                    .filter(|q| !q.is_empty())
                    .map(Into::into)
                    .collect(),
                content: header
                    .map(|value| value.to_str().unwrap().to_owned())
                    .unwrap_or_default(),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            });
            let (code, text) = answers.next().expect("no more requests than answers");
            let answer = Response::builder().status(StatusCode::from_u16(code).unwrap());
            send.send_response(answer.body(Body::from(text.into_bytes())).unwrap());
        }
        assert_eq!(answers.count(), 0, "every answer is asked for");
        all
    };
    tokio::join!(ask(Cluster::new(Client::new(service, "default"), "shop")), server)
}

fn object() -> RotationPolicy {
    serde_json::from_value(json!({
        "apiVersion": "tandem.dev/v1alpha1",
        "kind": "RotationPolicy",
        "metadata": {"name": "app", "namespace": "shop", "uid": "uid-1", "resourceVersion": "41"},
        "spec": {
            "users": ["app_a", "app_b"],
            "database": {"host": "db", "name": "appdb", "admin": {"secretRef": {"name": "admin"}}},
            "delivery": {"secret": {"name": "db", "templates": {"URL": "postgresql://{username}:{password:uri}@db"}}},
            "restart": {},
        },
    }))
    .unwrap()
}

fn policy() -> Policy {
    Policy::parse(&object()).unwrap()
}

fn sensitive(text: &str) -> Sensitive {
    Sensitive::new(text.to_owned())
}

fn base64(text: &str) -> Value {
    serde_json::to_value(ByteString(text.as_bytes().to_vec())).unwrap()
}

fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, status)
}

/// The journal Secret with this data.
fn journal_object(data: Value) -> Value {
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
    let (journal, asked) = asked(vec![(200, journal_object(data))], async |cluster| {
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
    let (outcome, asked) = asked(vec![absent, (201, journal_object(json!({})))], async |cluster| {
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
    let (outcome, asked) = asked(vec![(200, journal_object(json!({})))], async |cluster| {
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

async fn flipped(answer: (u16, Value)) -> (Result<Outcome, Error>, Vec<Asked>) {
    let user = RoleName::new("app_b").unwrap();
    let delivery = Delivery {
        number: 3,
        nonce: Some("n"),
        version: "uid-2/77",
    };
    asked(vec![answer], async |cluster| {
        cluster.flip(&policy(), delivery, &user, &sensitive("p@ss")).await
    })
    .await
}

#[tokio::test]
async fn a_flip_is_one_forced_apply_of_every_key_guarded_by_uid_and_version() {
    let (outcome, asked) = flipped((200, json!({"metadata": {}}))).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0],
        Asked {
            method: "PATCH".into(),
            path: "/api/v1/namespaces/shop/secrets/db".into(),
            query: vec!["force=true".into(), "fieldManager=tandem".into()],
            content: "application/apply-patch+yaml".into(),
            body: json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {
                    "name": "db", "uid": "uid-2", "resourceVersion": "77",
                    "annotations": {"tandem.dev/delivered-by": "uid-1/3", "tandem.dev/delivered-for": "n"},
                },
                "data": {
                    "username": base64("app_b"), "password": base64("p@ss"),
                    "URL": base64("postgresql://app_b:p%40ss@db"),
                },
            }),
        }
    );
}

#[tokio::test]
async fn refusals_of_a_write_are_told_apart() {
    let conflict = flipped(refusal(409, "Conflict", "the object has been modified"))
        .await
        .0;
    assert!(
        matches!(&conflict, Err(Error::Conflict { what }) if what == "Secret shop/db"),
        "{conflict:?}"
    );
    let gone = flipped(refusal(404, "NotFound", "gone")).await.0;
    assert!(matches!(gone, Err(Error::Conflict { .. })), "{gone:?}");

    let rbac = "secrets \"db\" is forbidden: User \"system:serviceaccount:tandem-system:tandem\" cannot patch resource \"secrets\" in API group \"\" in the namespace \"shop\"";
    let quota = "secrets \"db\" is forbidden: exceeded quota: few";
    for (code, reason, message, expected, remedy) in [
        (
            403,
            "Forbidden",
            rbac,
            "AccessDenied",
            Some("tandem rbac -f policy.yaml | kubectl apply -f -"),
        ),
        (403, "Forbidden", quota, "AdmissionDenied", None),
        (
            422,
            "Invalid",
            "Secret \"db\" is invalid: data: Forbidden: field is immutable",
            "ApiServerRefused",
            None,
        ),
    ] {
        let outcome = flipped(refusal(code, reason, message)).await.0;
        let Ok(Outcome::Refused(Refused::Otherwise(finding))) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(finding.reason, expected);
        assert!(
            finding.message.contains("patch Secret shop/db") && finding.message.contains(message),
            "{}",
            finding.message
        );
        assert_eq!(
            finding.message.contains("tandem rbac"),
            remedy.is_some(),
            "{}",
            finding.message
        );
    }
    let unknown = flipped(refusal(500, "InternalError", "etcd is away")).await.0;
    assert!(
        matches!(&unknown, Err(error @ Error::Kubernetes { .. }) if error.to_string() == "failed to patch Secret shop/db: etcd is away"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn fm28_an_answer_that_cannot_be_read_is_not_repeated() {
    let cut = format!(r#"{{"apiVersion":"v1","kind":"Secret","data":{{"password":"{PASSWORD}"#);
    let wrong = json!({"apiVersion": "v1", "kind": "Secret", "data": {"password": {"wrong": PASSWORD}}, "type": PASSWORD}).to_string();
    for text in [cut, wrong] {
        let (answer, _) = asked_for_text(vec![(200, text)], async |cluster| {
            cluster.see(&policy(), None).await.map(|_| ())
        })
        .await;
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Unusable(_)));
        let said = format!("{error} {error:?}");
        assert!(
            said.contains("Secret shop/db") && !said.contains("Sentinel"),
            "{said}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_not_waited_for() {
    let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let cluster = Cluster::new(Client::new(service, "default"), "shop");
    let started = tokio::time::Instant::now();
    let answer = cluster.see(&policy(), None).await.map(|_| ());
    assert!(
        matches!(&answer, Err(Error::TimedOut { seconds: 10, .. })),
        "{answer:?}"
    );
    assert_eq!(started.elapsed().as_secs(), Duration::from_secs(10).as_secs());
    drop(handle);
}

#[tokio::test]
async fn a_restart_is_one_annotation_guarded_by_the_uid() {
    let mark = restart_mark("uid-1", 3, jiff::Timestamp::from_second(1_700_000_000).ok());
    assert_eq!(mark, "uid-1.3.1700000000");
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
                    "spec": {"template": {"metadata": {"annotations": {"rotation.tandem.dev/app": "uid-1.3.1700000000"}}}},
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
