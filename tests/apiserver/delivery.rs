//! The application Secret, and what refusals mean.

use std::time::Duration;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tandem::effects::kubernetes::Cluster;
use tandem::effects::kubernetes::secret::Delivery;
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::Refused;
use tandem::policy::target::RoleName;

use crate::server::{Asked, PASSWORD, asked, asked_for_text, base64, policy, refusal, sensitive};

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
                    "annotations": {"tandem.dev/delivered-by": "uid-1/3/77", "tandem.dev/delivered-for": "n"},
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
