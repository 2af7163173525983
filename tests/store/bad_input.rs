//! What cannot work is named, with the secret, AWS's own code and the next command, and nothing is changed.

use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::config::SharedCredentialsProvider;
use serde_json::json;
use tandem::effects::store::{SecretsManager, Store as _, Stores};
use tandem::machine::facts::Finding;
use tandem_lab::aws::{AccessKey, Action, Aws, Fault, How, Value};

use crate::scene::{BEFORE, NAME, Scene, config, current, propose, refusal, stored, trouble};

/// The finding of a secret whose current version cannot be used.
async fn unusable(secret: &SecretsManager) -> Finding {
    match secret.current().await {
        Ok(Err(finding)) => finding,
        Ok(Ok(_)) => panic!("it can be used"),
        Err(error) => panic!("{error}"),
    }
}

/// Has a reason, blocks, and says all that the person on call needs.
fn tells(finding: &Finding, reason: &str, parts: &[&str]) {
    assert_eq!(finding.reason, reason, "{finding:?}");
    assert!(finding.blocks);
    for part in [NAME, "us-east-1", "aws secretsmanager"].iter().chain(parts) {
        assert!(finding.message.contains(part), "{part}: {}", finding.message);
    }
}

#[tokio::test]
async fn each_document_that_cannot_be_used_has_its_own_reason() {
    let cases = [
        ("hunter2-Sentinel", "StoreSecretNotJson", "line 1, column 1"),
        (r#"["hunter2-Sentinel"]"#, "StoreSecretNotJson", "not an object"),
        (" ", "StoreSecretEmpty", "empty"),
        (r#"{"username":"app_a"}"#, "StoreKeyMissing", r#""password""#),
        (
            r#"{"username":"app_a","password":1234567}"#,
            "StoreKeyNotText",
            r#""password""#,
        ),
        (
            r#"{"username":"a","username":"b","password":"hunter2-Sentinel"}"#,
            "StoreKeyTwice",
            r#""username""#,
        ),
    ];
    for (document, reason, part) in cases {
        let scene = Scene::with(Value::Text(document.into())).await;
        let finding = unusable(&scene.open()).await;
        tells(&finding, reason, &[part, "get-secret-value"]);
        for value in ["hunter2", "1234567"] {
            assert!(!finding.message.contains(value), "{}", finding.message);
        }
        assert_eq!(scene.versions().len(), 1);
    }
    let scene = Scene::with(Value::Binary(vec![0xff, 0xfe])).await;
    tells(&unusable(&scene.open()).await, "StoreSecretNotJson", &["no text"]);
}

#[tokio::test]
async fn a_secret_that_is_not_there_or_in_another_region_is_named() {
    let scene = Scene::new().await;
    let mut other = stored();
    other.id = "no/such".into();
    let finding = unusable(&scene.stores.open(&other)).await;
    assert_eq!(finding.reason, "StoreSecretNotFound");
    for part in [
        "no/such",
        "ResourceNotFoundException",
        "request ",
        "aws secretsmanager list-secrets --region us-east-1",
    ] {
        assert!(finding.message.contains(part), "{}", finding.message);
    }
    let mut elsewhere = stored();
    elsewhere.region = "eu-central-1".into();
    let secret = scene.stores.open(&elsewhere);
    let finding = unusable(&secret).await;
    assert_eq!(finding.reason, "StoreSecretNotFound");
    assert!(finding.message.contains("eu-central-1"), "{}", finding.message);
    let reasons: Vec<_> = secret.findings(None).await.iter().map(|f| f.reason).collect();
    assert_eq!(reasons, ["StoreSecretNotFound"]);
}

#[tokio::test]
async fn a_name_can_be_pasted_into_a_shell_whatever_it_is() {
    let scene = Scene::new().await;
    let mut odd = stored();
    odd.id = "rds!db-it's".into();
    scene.aws.fault(
        &odd.id,
        Fault::always(Action::GetSecretValue, How::ServerErrorBefore),
    );
    let (reason, message) = trouble(scene.stores.open(&odd).current().await);
    assert_eq!(reason, "StoreFailed");
    let command = r"--secret-id 'rds!db-it'\''s' --region us-east-1";
    assert!(message.ends_with(command), "{message}");
}

#[tokio::test]
async fn what_could_not_converge_is_refused_before_anything_is_changed() {
    type Spoil = fn(&Aws);
    let cases: [(&str, &str, Spoil); 3] = [
        ("StoreRotationEnabled", "cancel-rotate-secret", |aws| {
            aws.set_rotation(NAME, true).unwrap();
        }),
        ("StoreSecretPushed", "kubectl get pushsecrets -A", |aws| {
            aws.tag(NAME, "managed-by", "external-secrets").unwrap();
        }),
        ("StoreSecretDeleted", "restore-secret", |aws| {
            aws.schedule_deletion(NAME).unwrap();
        }),
    ];
    for (reason, part, spoil) in cases {
        let scene = Scene::new().await;
        let secret = scene.open();
        spoil(&scene.aws);
        let current = secret.current().await.unwrap();
        if let Err(finding) = &current {
            tells(finding, "StoreSecretUnusable", &["InvalidRequestException"]);
        }
        let findings = secret.findings(current.as_ref().ok()).await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        tells(&findings[0], reason, &[part]);
        assert_eq!(scene.versions().len(), 1);
        assert_eq!(scene.text(), BEFORE);
    }
}

#[tokio::test]
async fn tags_and_rotation_that_do_no_harm_are_no_findings() {
    let scene = Scene::new().await;
    let secret = scene.open();
    scene.aws.tag(NAME, "managed-by", "terraform").unwrap();
    scene.aws.tag(NAME, "team", "external-secrets").unwrap();
    scene.aws.set_rotation(NAME, false).unwrap();
    let base = current(&secret).await;
    assert_eq!(secret.findings(Some(&base)).await, []);
}

#[tokio::test]
async fn preflight_leaves_versions_and_labels_as_they_are() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    let before = scene.aws.versions(NAME);
    assert_eq!(secret.findings(Some(&base)).await, []);
    assert_eq!(scene.aws.versions(NAME), before);
    // Nor while a rotation runs, whose version has the label that is asked about.
    propose(&secret, &base).await.unwrap();
    let before = scene.aws.versions(NAME);
    assert_eq!(secret.findings(Some(&base)).await, []);
    assert_eq!(scene.aws.versions(NAME), before);
}

#[tokio::test]
async fn a_document_that_grows_too_large_is_refused_by_aws_and_nothing_is_changed() {
    let filler = "x".repeat(65_536 - 60);
    let document = format!(r#"{{"username":"a","password":"b","filler":"{filler}"}}"#);
    let scene = Scene::with(Value::Text(document)).await;
    let secret = scene.open();
    let base = current(&secret).await;
    let finding = refusal(propose(&secret, &base).await);
    tells(&finding, "StoreCallRejected", &["ValidationException"]);
    assert_eq!(scene.versions().len(), 1);
}

#[tokio::test]
async fn a_quota_that_is_used_up_by_others_is_named() {
    let scene = Scene::new().await;
    for n in 0..99 {
        scene
            .aws
            .put(NAME, Value::Text(format!("{{\"n\":{n}}}")))
            .unwrap();
    }
    scene
        .aws
        .move_stage(NAME, "AWSCURRENT", Some(&scene.versions()[0]))
        .unwrap();
    let secret = scene.open();
    let base = current(&secret).await;
    let finding = refusal(propose(&secret, &base).await);
    tells(
        &finding,
        "StoreLimitReached",
        &["LimitExceededException", "list-secret-version-ids"],
    );
}

#[tokio::test]
async fn credentials_that_are_wrong_or_missing_are_told_apart() {
    let scene = Scene::new().await;
    let mut wrong = scene.aws.key().clone();
    wrong.secret = "nonsense".into();
    let unknown = AccessKey {
        id: "AKIAUNKNOWN".into(),
        secret: "nonsense".into(),
    };
    for key in [wrong, unknown] {
        let finding = unusable(&scene.open_as(&key).await).await;
        assert_eq!(finding.reason, "StoreCredentialsRejected", "{finding:?}");
        assert!(
            finding.message.contains("aws sts get-caller-identity"),
            "{}",
            finding.message
        );
        assert!(!finding.message.contains("nonsense"));
    }
    // As the SDK's default chain ends where nobody gives any.
    let none = provide_credentials_fn(|| async { Err(CredentialsError::not_loaded_no_source()) });
    let config = config(&scene.aws.endpoint(), scene.aws.key()).await.to_builder();
    let config = config
        .credentials_provider(SharedCredentialsProvider::new(none))
        .build();
    let nobody = Stores::new(&config, scene.metrics.clone());
    let finding = unusable(&nobody.open(&stored())).await;
    assert_eq!(finding.reason, "StoreCredentialsMissing", "{finding:?}");
    assert!(
        finding
            .message
            .contains("kubectl -n tandem-system annotate serviceaccount"),
        "{}",
        finding.message
    );
}

#[tokio::test]
async fn a_policy_of_the_secret_that_denies_is_hinted_at() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    let deny = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Resource": "*", "Action": "secretsmanager:PutSecretValue",
    }]});
    scene.aws.set_policy(NAME, &deny).unwrap();
    let findings = secret.findings(Some(&base)).await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    tells(
        &findings[0],
        "StoreAccessDenied",
        &["secretsmanager:PutSecretValue", "get-resource-policy"],
    );
}

#[tokio::test]
async fn what_is_not_aws_is_said_not_to_be() {
    // Something that answers HTTP, and speaks of something else.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = axum::Router::new().fallback(|| async { "<html>Sentinel</html>" });
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let scene = Scene::new().await;
    let config = config(&endpoint, scene.aws.key()).await;
    let stores = Stores::new(&config, scene.metrics.clone());
    let (reason, message) = trouble(stores.open(&stored()).current().await);
    assert_eq!(reason, "StoreNotAws");
    assert!(!message.contains("Sentinel"), "{message}");
    serving.abort();
}
