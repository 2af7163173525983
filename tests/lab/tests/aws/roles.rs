//! Roles: `AssumeRole` and `AssumeRoleWithWebIdentity`, and what their sessions may do.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{Credentials, ProvideCredentials as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};
use tandem_lab::aws::{AccessKey, Aws, Trust, Value};

use crate::place::{Place, config, outcome};

const SUBJECT: &str = "system:serviceaccount:tandem:tandem";

/// An emulator with a secret, and what may be done with it.
fn scene() -> Result<(Aws, Json)> {
    let aws = Aws::start(Ipv4Addr::LOCALHOST.into())?;
    let arn = aws.create("orders/db", Value::Text("one".to_owned()))?;
    let statement = json!({"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": arn});
    Ok((aws, json!({"Version": "2012-10-17", "Statement": [statement]})))
}

async fn sdk(aws: &Aws, key: &AccessKey) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(aws.endpoint())
        .credentials_provider(Credentials::new(&key.id, &key.secret, None, None, "test"))
        .load()
        .await
}

async fn assume(aws: &Aws, role: &str, external_id: Option<&str>) -> Result<Credentials> {
    let provider = AssumeRoleProvider::builder(role).session_name("rotation");
    let provider = match external_id {
        Some(id) => provider.external_id(id),
        None => provider,
    };
    let provider = provider.configure(&sdk(aws, aws.key()).await).build().await;
    Ok(provider.provide_credentials().await?)
}

fn place(aws: &Aws, credentials: Credentials) -> Place {
    let config = config(&aws.endpoint(), aws.key()).credentials_provider(credentials);
    Place {
        client: Client::from_conf(config.build()),
        secret: "orders/db".to_owned(),
    }
}

#[tokio::test]
async fn a_session_may_do_what_its_role_may_until_it_ends() -> Result<()> {
    let (aws, policy) = scene()?;
    let role = aws.role("rotator", Trust::Account { external_id: None }, &policy)?;
    let place = place(&aws, assume(&aws, &role, None).await?);
    assert_eq!(place.read(None, None).await, "one");
    assert_eq!(place.put(2, "two", &[]).await, "AccessDeniedException");
    aws.end_sessions();
    assert_eq!(place.read(None, None).await, "ExpiredTokenException");
    assert_eq!(aws.calls(&role).len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_session_is_nothing_without_its_token() -> Result<()> {
    let (aws, policy) = scene()?;
    let role = aws.role("rotator", Trust::Account { external_id: None }, &policy)?;
    let session = assume(&aws, &role, None).await?;
    let (id, secret) = (session.access_key_id(), session.secret_access_key());
    let bare = place(&aws, Credentials::new(id, secret, None, None, "test"));
    assert_eq!(bare.read(None, None).await, "UnrecognizedClientException");
    Ok(())
}

#[tokio::test]
async fn the_external_id_has_to_be_known() -> Result<()> {
    let (aws, policy) = scene()?;
    let trust = Trust::Account {
        external_id: Some("known".to_owned()),
    };
    let role = aws.role("rotator", trust, &policy)?;
    assert!(assume(&aws, &role, Some("known")).await.is_ok());
    for wrong in [None, Some("unknown")] {
        assert!(assume(&aws, &role, wrong).await.is_err());
    }
    let errors = aws.calls(&role).into_iter().map(|call| call.error);
    let denied = Some("AccessDenied".to_owned());
    assert_eq!(errors.collect::<Vec<_>>(), [None, denied.clone(), denied]);
    Ok(())
}

#[tokio::test]
async fn a_role_is_not_for_everybody() -> Result<()> {
    let (aws, policy) = scene()?;
    let role = aws.role("rotator", Trust::Account { external_id: None }, &policy)?;
    let user = aws.grant(&policy)?;
    let sts = aws_sdk_sts::Client::new(&sdk(&aws, &user).await);
    for arn in [role.as_str(), "arn:aws:iam::123456789012:role/nobodys"] {
        let call = sts.assume_role().role_arn(arn).role_session_name("rotation");
        assert_eq!(outcome(call.send().await), "AccessDenied");
    }
    let forger = AccessKey {
        secret: "wrong".to_owned(),
        ..user
    };
    let sts = aws_sdk_sts::Client::new(&sdk(&aws, &forger).await);
    assert_eq!(
        outcome(sts.get_caller_identity().send().await),
        "SignatureDoesNotMatch"
    );
    Ok(())
}

#[tokio::test]
async fn a_pods_token_is_exchanged_for_a_session_when_it_is_the_right_one() -> Result<()> {
    let (aws, policy) = scene()?;
    let trust = Trust::WebIdentity {
        subject: SUBJECT.to_owned(),
    };
    let role = aws.role("rotator", trust, &policy)?;
    let sts = aws_sdk_sts::Client::new(&sdk(&aws, aws.key()).await);
    let hour = Duration::from_hours(1);
    let tokens = [
        (
            token(SUBJECT, "sts.amazonaws.com", SystemTime::now() + hour),
            "ok",
        ),
        (
            token("another", "sts.amazonaws.com", SystemTime::now() + hour),
            "AccessDenied",
        ),
        (
            token(SUBJECT, "kubernetes", SystemTime::now() + hour),
            "InvalidIdentityToken",
        ),
        (
            token(SUBJECT, "sts.amazonaws.com", SystemTime::now() - hour),
            "ExpiredTokenException",
        ),
        ("no token".to_owned(), "InvalidIdentityToken"),
    ];
    for (token, expected) in tokens {
        let call = sts.assume_role_with_web_identity().role_arn(&role);
        let call = call
            .role_session_name("tandem")
            .web_identity_token(token)
            .send()
            .await;
        if let Ok(answer) = &call {
            let session = answer.credentials().context("no credentials")?;
            let token = Some(session.session_token().to_owned());
            let credentials = Credentials::new(
                session.access_key_id(),
                session.secret_access_key(),
                token,
                None,
                "test",
            );
            assert_eq!(place(&aws, credentials).read(None, None).await, "one");
        }
        assert_eq!(outcome(call), expected);
    }
    Ok(())
}

/// A service account's token, but for its signature.
fn token(subject: &str, audience: &str, end: SystemTime) -> String {
    let end = end.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({"sub": subject, "aud": [audience], "exp": end});
    let parts = [json!({"alg": "none"}), claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{}.{}.", parts[0], parts[1])
}
