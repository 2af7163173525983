//! Bad input around the store: a refusal that names the object, AWS's own code and the next command, nothing changed,
//! and recovery by itself when it is mended. What the store alone can get wrong is in `tests/store/bad_input.rs` in
//! more detail.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tandem::manifest::iam::Call;
use tandem_lab::aws::{self, Fault, How, Version};

use crate::place::{EXTERNAL_SECRET, Place, STORE, STORED, Setup, document};
use crate::scene::merge;
use crate::still::{Still, refused, refuses};

/// What is wrong, the policy's change that makes it so, and what the condition must say.
type Case = (&'static str, Value, &'static [&'static str]);

/// The secrets that no rotation can use.
const SECRETS: [&str; 9] = [
    "bad/deleted",
    "bad/text",
    "bad/list",
    "bad/keyless",
    "bad/stranger",
    "bad/denied",
    "bad/rotated",
    "bad/pushed",
    "other/unlisted",
];

/// The policy that speaks of another secret.
fn secret(id: &str) -> Value {
    stored(&json!({"secretId": id}))
}

fn stored(change: &Value) -> Value {
    json!({"spec": {"delivery": {"externalSecret": {"awsSecretsManager": change}}}})
}

fn external_secret(name: &str) -> Value {
    json!({"spec": {"delivery": {"externalSecret": {"name": name, "secretName": EXTERNAL_SECRET}}}})
}

#[expect(clippy::too_many_lines, reason = "one row for each case")]
fn cases() -> Vec<Case> {
    vec![
        (
            "a wrong region",
            stored(&json!({"region": "eu-central-1"})),
            &[
                "StoreSecretNotFound",
                "there is no secret production/database/credentials in eu-central-1",
                "ResourceNotFoundException",
                "aws secretsmanager list-secrets --region eu-central-1",
            ],
        ),
        (
            "an unknown secret id",
            secret("bad/unknown"),
            &[
                "StoreSecretNotFound",
                "there is no secret bad/unknown in us-east-1",
                "ResourceNotFoundException",
                "aws secretsmanager list-secrets --region us-east-1",
            ],
        ),
        (
            "a secret that is scheduled for deletion",
            secret("bad/deleted"),
            &[
                "secret bad/deleted in us-east-1",
                "scheduled for deletion",
                "InvalidRequestException",
                "aws secretsmanager restore-secret --secret-id 'bad/deleted'",
            ],
        ),
        (
            "a secret that is not JSON",
            secret("bad/text"),
            &[
                "StoreSecretNotJson",
                "secret bad/text in us-east-1 is not JSON (line 1",
                "aws secretsmanager get-secret-value --secret-id 'bad/text'",
            ],
        ),
        (
            "a secret that is another JSON than an object",
            secret("bad/list"),
            &[
                "StoreSecretNotJson",
                "secret bad/list in us-east-1 is JSON, but not an object",
                "aws secretsmanager get-secret-value --secret-id 'bad/list'",
            ],
        ),
        (
            "a secret without the keys",
            secret("bad/keyless"),
            &[
                "StoreKeyMissing",
                "secret bad/keyless in us-east-1 has no key \"username\"",
                "aws secretsmanager get-secret-value --secret-id 'bad/keyless'",
            ],
        ),
        (
            "a secret that names somebody else",
            secret("bad/stranger"),
            &[
                "secret bad/stranger in region us-east-1",
                "names the user \"somebody\"",
                "aws secretsmanager put-secret-value",
            ],
        ),
        (
            "a policy of the secret that denies",
            secret("bad/denied"),
            &[
                "StoreAccessDenied",
                "GetSecretValue on secret bad/denied",
                "AccessDeniedException",
                "aws secretsmanager get-resource-policy --secret-id 'bad/denied'",
            ],
        ),
        (
            "a secret that IAM does not allow",
            secret("other/unlisted"),
            &[
                "StoreAccessDenied",
                "secret other/unlisted",
                "AccessDeniedException",
                "add to its IAM policy: {",
            ],
        ),
        (
            "a secret that AWS rotates",
            secret("bad/rotated"),
            &[
                "StoreRotationEnabled",
                "AWS rotates secret bad/rotated",
                "aws secretsmanager cancel-rotate-secret --secret-id 'bad/rotated'",
            ],
        ),
        (
            "a secret that a PushSecret may write",
            secret("bad/pushed"),
            &[
                "StoreSecretPushed",
                "secret bad/pushed in us-east-1 has the tag managed-by=external-secrets",
                "kubectl get pushsecrets -A",
            ],
        ),
        (
            "an ExternalSecret that is missing",
            external_secret("nowhere"),
            &["ExternalSecretMissing", "/nowhere does not exist", "kubectl -n"],
        ),
        (
            "an ExternalSecret that points elsewhere",
            external_secret("elsewhere"),
            &[
                "/elsewhere does not read the policy's secret \"production/database/credentials\"",
                "it reads \"bad/rotated\"",
                "kubectl -n",
            ],
        ),
    ]
}

/// Makes the secrets, each with its flaw.
fn make(place: &Place) -> Result<()> {
    let right = document(&place.stage.pair.a);
    for name in SECRETS {
        let text = match name {
            "bad/text" => "hunter2",
            "bad/list" => "[]",
            "bad/keyless" => r#"{"user": "app_a", "password": "hunter2"}"#,
            "bad/stranger" => r#"{"username": "somebody", "password": "hunter2"}"#,
            _ => &right,
        };
        place.aws.create(name, aws::Value::Text(text.to_owned()))?;
    }
    place.aws.schedule_deletion("bad/deleted")?;
    place.aws.set_rotation("bad/rotated", true)?;
    place.aws.tag("bad/pushed", "managed-by", "external-secrets")?;
    let deny = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Deny", "Principal": "*", "Action": "secretsmanager:GetSecretValue", "Resource": "*",
    }});
    place.aws.set_policy("bad/denied", &deny)
}

fn versions(place: &Place) -> Vec<Version> {
    let names = SECRETS.iter().chain([&STORED]);
    names.flat_map(|name| place.aws.versions(name)).collect()
}

/// The id of the controller's key: the one beside the operator's.
fn key(place: &Place) -> Result<String> {
    let mut calls = place.aws.calls(STORED).into_iter();
    let ours = calls.find(|call| call.key != place.aws.key().id);
    Ok(ours.context("the controller has called nobody")?.key)
}

/// What the right policy needs, in every region, and the same for the bad secrets.
fn rights() -> Value {
    let calls = Call::DELIVERY.map(Call::action);
    let resource = [STORED, "bad/*"].map(|name| format!("arn:aws:secretsmanager:*:*:secret:{name}*"));
    json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": calls, "Resource": resource}})
}

#[test]
fn bad_input_is_refused_with_the_object_the_code_and_the_command_and_nothing_is_changed() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "wrong", Setup::default()).await?;
        let key = key(&place)?;
        place.aws.permit(&key, &rights())?;
        let app = place.app("app", 1).await?;
        make(&place)?;
        let elsewhere =
            place
                .eso
                .external_secret("elsewhere", STORE, "bad/rotated", &["username", "password"]);
        place.eso.apply(&[elsewhere]).await?;
        let (before, still, stored) = (place.before().await?, Still::of(&place).await?, versions(&place));
        let mut wrong = Vec::new();
        for (what, change, says) in cases() {
            if let Err(error) = refuses(&place, change, says).await {
                wrong.push(format!("{what}: {error:#}"));
            }
        }
        place.apply(json!({})).await?;
        if let Err(error) = shared(&place).await {
            wrong.push(format!("two policies: {error:#}"));
        }
        if let Err(error) = throttled(&place, &key).await {
            wrong.push(format!("throttled: {error:#}"));
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        still.holds(&place).await?;
        ensure!(versions(&place) == stored, "a secret was changed");
        ensure!(
            place.controller.restarts().await? == 0,
            "the controller was restarted"
        );
        // Mended, it works.
        place.ready().await?;
        place.rotate().await?;
        place.rotated(&before, &[&app]).await
    });
}

/// A second policy on the secret of the first, and one on its `ExternalSecret`.
async fn shared(place: &Place) -> Result<()> {
    for (change, what) in [
        (
            external_secret("elsewhere"),
            "delivers to secret production/database/credentials in region us-east-1 as well",
        ),
        (
            secret("bad/rotated"),
            "delivers to ExternalSecret db-credentials as well",
        ),
    ] {
        let mut second: Value = serde_json::from_str(&place.policy_text())?;
        merge(&mut second, &change);
        second["metadata"]["name"] = json!("second");
        let users = second["spec"]["users"].as_array_mut().context("no users")?;
        for user in users {
            *user = json!(format!("{}_too", user.as_str().unwrap_or_default()));
        }
        let (namespace, second) = (place.namespace(), second.to_string());
        place.controller.grant(namespace, &second).await?;
        place.lab.apply(Some(namespace), &second).await?;
        let still = Still::of(place).await?;
        place.ask().await?;
        let policy = format!("policy {}/second {what}", place.namespace());
        let outcome = refused(place, &["SharedWithOtherPolicy", &policy, "delete rotpol second"]).await;
        place
            .lab
            .kubectl(&["delete", "rotpol", "second", "--namespace", place.namespace()])?;
        outcome?;
        still.holds(place).await?;
    }
    Ok(())
}

/// AWS throttles every call. An hour of that is the same again and again; here it is half a minute.
async fn throttled(place: &Place, key: &str) -> Result<()> {
    let throttle = Fault {
        action: None,
        how: How::Throttle,
        times: None,
    };
    place.aws.fault_of(key, STORED, throttle);
    let (still, calls) = (Still::of(place).await?, place.aws.calls(STORED).len());
    place.ask().await?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let status = place.status().await?;
    ensure!(status.rotation.is_none(), "a rotation began");
    let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready");
    let ready = ready.context("no condition")?;
    for part in [
        "AWS throttles the calls on secret production/database/credentials in us-east-1",
        "ThrottlingException",
        "aws secretsmanager describe-secret --secret-id 'production/database/credentials'",
    ] {
        ensure!(
            ready.message.contains(part),
            "{}: {}",
            ready.reason,
            ready.message
        );
    }
    ensure!(ready.reason == "StoreThrottled", "{}", ready.reason);
    still.holds(place).await?;
    let made = place.aws.calls(STORED).len() - calls;
    ensure!(made < 60, "{made} calls in half a minute do not help");
    place
        .patch(json!({"metadata": {"annotations": {"tandem.dev/rotate-now": null}}}))
        .await?;
    place.aws.mend();
    place.ready().await
}
