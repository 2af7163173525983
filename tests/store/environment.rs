//! Credentials and endpoints from the environment, as the controller gets them: each in a process of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use tandem::effects::store::{Store as _, Stores};
use tandem::telemetry::metrics::Metrics;
use tandem_lab::aws::{Trust, Value};

use crate::scene::{BEFORE, NAME, OLD, Scene, stored};

/// What the child process is to find.
const EXPECTED: &str = "TANDEM_TEST_EXPECTED";

/// Runs the child in an environment of nothing else.
fn child(environment: &[(&str, &str)], expected: &str) {
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "environment::the_child_finds_what_it_is_told_to"])
        .env_clear()
        // Nobody listens there in the lab, and nobody must be asked elsewhere.
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
        .env(EXPECTED, expected)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("1 passed"),
        "{environment:?}: {said}"
    );
}

#[tokio::test]
async fn the_child_finds_what_it_is_told_to() {
    let Ok(expected) = std::env::var(EXPECTED) else {
        return;
    };
    let stores = Stores::from_environment(Arc::new(Metrics::default())).await;
    let found = match stores.open(&stored()).current().await {
        Ok(Ok(document)) => document.password().expose().to_owned(),
        Ok(Err(finding)) => finding.reason.to_owned(),
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected);
}

/// As the kubelet projects it, but for the signature, which nobody looks at here.
fn token(subject: &str) -> String {
    let claims = json!({"sub": subject, "aud": ["sts.amazonaws.com"], "exp": 4_102_444_800_u64});
    let [header, claims] =
        [json!({"alg": "none"}), claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}.signature")
}

#[tokio::test]
async fn keys_and_endpoints_come_from_the_environment() {
    let scene = Scene::new().await;
    let (endpoint, key) = (scene.aws.endpoint(), scene.aws.key());
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"] {
        let environment = [
            (variable, endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", &key.id),
            ("AWS_SECRET_ACCESS_KEY", &key.secret),
        ];
        child(&environment, OLD);
    }
    child(&[("AWS_ENDPOINT_URL", &endpoint)], "StoreCredentialsMissing");
    assert_eq!(scene.calls("GetSecretValue"), 2);
}

#[tokio::test]
async fn a_service_account_is_a_role_by_web_identity() {
    let scene = Scene::new().await;
    let subject = "system:serviceaccount:tandem-system:tandem";
    let trust = Trust::WebIdentity {
        subject: subject.into(),
    };
    let everything = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*",
    }});
    let role = scene.aws.role("tandem", trust, &everything).unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("web-identity-token");
    let endpoint = scene.aws.endpoint();
    for (who, expected) in [
        (subject, OLD),
        ("system:serviceaccount:other:other", "StoreRoleDenied"),
    ] {
        fs::write(&file, token(who)).unwrap();
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ROLE_ARN", &role),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ];
        child(&environment, expected);
    }
    let keys: Vec<_> = scene.aws.calls(NAME).into_iter().map(|call| call.key).collect();
    assert!(keys.len() == 1 && keys[0].starts_with("ASIA"), "{keys:?}");
    assert_eq!(scene.aws.current(NAME), Some(Value::Text(BEFORE.into())));
}

/// Answers each request on TLS with a version of the secret.
fn serve(certificate: &CertifiedKey<KeyPair>) -> String {
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let body = json!({"VersionId": "v".repeat(32), "SecretString": BEFORE}).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut tls = StreamOwned::new(
                ServerConnection::new(Arc::clone(&config)).unwrap(),
                stream.unwrap(),
            );
            let mut request = [0; 8_192];
            // Whoever does not trust the certificate says no more.
            if tls.read(&mut request).is_ok() {
                let _ = tls.write_all(answer.as_bytes());
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    endpoint
}

#[test]
fn tls_is_verified_against_the_authorities_of_the_container() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let endpoint = serve(&certificate);
    for (name, authority, expected) in [
        ("trusted.pem", &certificate, OLD),
        ("stranger.pem", &stranger, "StoreUntrusted"),
    ] {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&file, authority.cert.pem()).unwrap();
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "AKIATEST"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("SSL_CERT_FILE", file.to_str().unwrap()),
        ];
        child(&environment, expected);
    }
}
