//! Signatures, regions and permissions.

use anyhow::Result;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Region;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata as _;
use serde_json::{Value, json};
use tandem_lab::aws::{AccessKey, Aws};

use super::Line;
use crate::place::{Place, client, config, outcome, version};
use crate::raw::Raw;

const PUT: &str = "API_PutSecretValue";
const SIGNING: &str = "https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html";
const COMMON: &str = "https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html";
const REGIONS: &str = "https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html";
const ACCESS: &str =
    "https://docs.aws.amazon.com/secretsmanager/latest/userguide/determine-acccess_examine-iam-policies.html";
const WORDS: &str = "https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html";
const NO_SIGNATURES: &str = "it checks no signatures";
const NO_RIGHTS: &str = "it lets everybody do everything";
const NO_TOKENS: &str = "it makes the token that a request has not";

pub(super) fn lines() -> Vec<Line> {
    [signed(), allowed()].into_iter().flatten().collect()
}

fn signed() -> Vec<Line> {
    vec![
        line!(
            "a wrong secret of a key and an unknown key are noticed",
            COMMON,
            "InvalidSignatureException UnrecognizedClientException",
            |place, aws| {
                place.create("one").await?;
                let (mut wrong, mut unknown) = (aws.key().clone(), aws.key().clone());
                "wrong".clone_into(&mut wrong.secret);
                "AKIAUNKNOWN".clone_into(&mut unknown.id);
                let wrong = as_seen_by(&place, &client(&aws.endpoint(), &wrong)).await;
                let unknown = as_seen_by(&place, &client(&aws.endpoint(), &unknown)).await;
                Ok(format!("{wrong} {unknown}"))
            }
        )
        .not_for_moto(NO_SIGNATURES),
        line!(
            "a body, a header or a service other than what was signed is noticed",
            SIGNING,
            "ok InvalidSignatureException InvalidSignatureException InvalidSignatureException",
            |place, aws| {
                place.create("one").await?;
                let describe = || Raw::new(&aws, "DescribeSecret", json!({"SecretId": place.secret}));
                let (mut body, mut header, mut service) = (describe(), describe(), describe());
                body.instead = Some(json!({"SecretId": "another"}));
                header.unsigned = Some(("x-amz-more", "of it"));
                service.service = "sts";
                in_turn([describe(), body, header, service]).await
            }
        )
        .not_for_moto(NO_SIGNATURES),
        line!(
            "a request has to be signed",
            COMMON,
            "MissingAuthenticationTokenException",
            |place, aws| {
                place.create("one").await?;
                let mut naked = Raw::new(&aws, "DescribeSecret", json!({"SecretId": place.secret}));
                naked.signed = false;
                naked.send().await
            }
        )
        .not_for_moto(NO_SIGNATURES),
        line!(
            "a clock may be some minutes wrong and no more, either way",
            SIGNING,
            "ok ok InvalidSignatureException InvalidSignatureException",
            |place, aws| {
                place.create("one").await?;
                in_turn([-240, 240, -360, 360].map(|skew| Raw {
                    skew,
                    ..Raw::new(&aws, "DescribeSecret", json!({"SecretId": place.secret}))
                }))
                .await
            }
        )
        .not_for_moto(NO_SIGNATURES),
        line!(
            "a raw put has to bring its token",
            PUT,
            "InvalidRequestException",
            |place, aws| {
                place.create("one").await?;
                let body = json!({"SecretId": place.secret, "SecretString": "two"});
                Raw::new(&aws, "PutSecretValue", body).send().await
            }
        )
        .not_for_moto(NO_TOKENS),
        line!(
            "a secret is in one region",
            REGIONS,
            "ResourceNotFoundException",
            |place| {
                place.create("one").await?;
                let elsewhere = place
                    .client
                    .config()
                    .to_builder()
                    .region(Region::new("eu-west-1"));
                Ok(as_seen_by(&place, &Client::from_conf(elsewhere.build())).await)
            }
        ),
    ]
}

fn allowed() -> Vec<Line> {
    vec![
        line!("what no policy allows is denied, by action and by secret",
            ACCESS,
            "one AccessDeniedException AccessDeniedException", |place, aws| {place.create("one").await?;
                    let arn = format!("arn:aws:secretsmanager:us-east-1:*:secret:{}-??????", place.secret);
                    let user = user(&aws, "Allow", "secretsmanager:GetSecretValue", &arn)?;
                    let describe = user.describe_secret().secret_id(&place.secret).send().await;
                    let other = user.get_secret_value().secret_id("other").send().await;
                    let seen = [
                        as_seen_by(&place, &user).await,
                        outcome(describe),
                        outcome(other),
                    ];
                    Ok(seen.join(" "))})
        .not_for_moto(NO_RIGHTS),
        line!("a denial says who, what, which and why",
            WORDS,
            "User: U is not authorized to perform: secretsmanager:GetSecretValue on resource: R because no \
             identity-based policy allows the secretsmanager:GetSecretValue action", |place, aws| {place.create("one").await?;
                    let user = user(&aws, "Allow", "secretsmanager:DescribeSecret", "*")?;
                    refusal(&place, &user).await})
        .not_for_moto(NO_RIGHTS),
        line!("a deny of the secret's policy wins over what is allowed",
            ACCESS,
            "User: U is not authorized to perform: secretsmanager:GetSecretValue on resource: R with an explicit \
             deny in a resource-based policy", |place, aws| {place.create("one").await?;
                    aws.set_policy(&place.secret, &of_secret("Deny"))?;
                    refusal(&place, &place.client).await})
        .not_for_moto(NO_RIGHTS),
        line!("an allow of the secret's policy is enough", ACCESS, "one", |place, aws| {place.create("one").await?;
                aws.set_policy(&place.secret, &of_secret("Allow"))?;
                let user = user(&aws, "Allow", "secretsmanager:ListSecrets", "*")?;
                Ok(as_seen_by(&place, &user).await)})
        .not_for_moto(NO_RIGHTS),
        line!("a batch needs the right to each secret",
            "API_BatchGetSecretValue",
            "AccessDeniedException", |place, aws| {place.create("one").await?;
                    let user = user(&aws, "Allow", "secretsmanager:BatchGetSecretValue", "*")?;
                    let batch = user.batch_get_secret_value().secret_id_list(&place.secret).send().await?;
                    let codes = batch.errors().iter().filter_map(|error| error.error_code());
                    Ok(codes.collect::<Vec<_>>().join(" "))})
        .not_for_moto(NO_RIGHTS),
        line!("the version that a denied put would have made is not there",
            PUT,
            "AccessDeniedException 1:AWSCURRENT", |place, aws| {place.create("one").await?;
                    let user = user(&aws, "Deny", "secretsmanager:Put*", "*")?;
                    let put = user.put_secret_value().secret_id(&place.secret).secret_string("two");
                    let put = put.client_request_token(version(2)).send().await;
                    Ok(format!("{} {}", outcome(put), place.labels().await?))})
        .not_for_moto(NO_RIGHTS),
    ]
}

async fn in_turn<const N: usize>(requests: [Raw<'_>; N]) -> Result<String> {
    let mut seen = Vec::new();
    for request in requests {
        seen.push(request.send().await?);
    }
    Ok(seen.join(" "))
}

/// What somebody else reads of the secret.
async fn as_seen_by(place: &Place, client: &Client) -> String {
    let other = Place {
        client: client.clone(),
        secret: place.secret.clone(),
    };
    other.read(None, None).await
}

/// The words in which somebody is refused, with the names in them made short.
async fn refusal(place: &Place, client: &Client) -> Result<String> {
    let arn = place
        .client
        .describe_secret()
        .secret_id(&place.secret)
        .send()
        .await?
        .arn
        .unwrap_or_default();
    let refused = client
        .get_secret_value()
        .secret_id(&place.secret)
        .send()
        .await
        .unwrap_err();
    let message = refused.message().unwrap_or_default().replace(&arn, "R");
    let words = message.split(' ').map(|word| {
        if word.starts_with("arn:aws:iam:") {
            "U"
        } else {
            word
        }
    });
    Ok(words.collect::<Vec<_>>().join(" "))
}

fn user(aws: &Aws, effect: &str, action: &str, resource: &str) -> Result<Client> {
    let statement = json!({"Effect": effect, "Action": action, "Resource": resource});
    let key: AccessKey = aws.grant(&json!({"Version": "2012-10-17", "Statement": [statement]}))?;
    Ok(Client::from_conf(config(&aws.endpoint(), &key).build()))
}

fn of_secret(effect: &str) -> Value {
    let action = "secretsmanager:GetSecretValue";
    json!({"Statement": [{"Effect": effect, "Principal": "*", "Action": action, "Resource": "*"}]})
}
