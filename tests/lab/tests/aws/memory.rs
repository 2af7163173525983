//! What the emulator remembers: the log, and the ways past the wire.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use tandem_lab::aws::{Aws, Value};

use crate::place::{Place, client, outcome, version};

fn scene() -> Result<(Aws, Place)> {
    let aws = Aws::start(Ipv4Addr::LOCALHOST.into())?;
    let place = Place {
        client: client(&aws.endpoint(), aws.key()),
        secret: "orders/db".to_owned(),
    };
    Ok((aws, place))
}

#[tokio::test]
async fn the_log_has_what_was_asked_and_what_was_answered() -> Result<()> {
    let (aws, place) = scene()?;
    let arn = aws.create(&place.secret, Value::Text("one".to_owned()))?;
    let first = aws
        .labelled(&place.secret, "AWSCURRENT")
        .context("nothing current")?
        .id;
    place.put(2, "two", &["mine", "yours"]).await;
    place.read_by(&arn, None, Some("mine")).await;
    let call = place
        .client
        .update_secret_version_stage()
        .secret_id(&arn)
        .version_stage("AWSCURRENT");
    call.move_to_version_id(version(2))
        .remove_from_version_id(&first)
        .send()
        .await?;
    place.read(Some(9), None).await;
    place.read_by("other", None, None).await;

    let calls = aws.calls(&place.secret);
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.action.as_str(), call.status, call.error.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            ("PutSecretValue", Some(200), None),
            ("GetSecretValue", Some(200), None),
            ("UpdateSecretVersionStage", Some(200), None),
            ("GetSecretValue", Some(400), Some("ResourceNotFoundException")),
        ]
    );
    assert!(calls.iter().all(|call| call.key == aws.key().id));
    assert_eq!(calls[0].token, Some(version(2)));
    assert_eq!(calls[0].stages, ["mine", "yours"]);
    assert_eq!(calls[1].stages, ["mine"]);
    assert_eq!(
        (&calls[2].version, &calls[2].removed_from),
        (&Some(version(2)), &Some(first))
    );
    assert_eq!(calls[3].version, Some(version(9)));
    assert_eq!(aws.all_calls().len(), 5);
    Ok(())
}

#[tokio::test]
async fn neither_a_value_nor_a_key_is_printed() -> Result<()> {
    let (aws, place) = scene()?;
    let sentinel = "s3ntin3l-value";
    place.create(sentinel).await?;
    place.put(2, &format!("{sentinel}-2"), &[]).await;
    place.put_binary(3, sentinel.as_bytes()).await;
    place.put(3, sentinel, &[]).await;
    place.put(4, &sentinel.repeat(6000), &[]).await;
    let printed = format!(
        "{aws:?} {:?} {:?} {:?}",
        aws.key(),
        aws.versions(&place.secret),
        aws.all_calls()
    );
    assert!(printed.contains("PutSecretValue") && printed.contains("Text("));
    assert!(!printed.contains(sentinel), "{printed}");
    assert!(!printed.contains(&aws.key().secret), "{printed}");
    Ok(())
}

#[tokio::test]
async fn a_test_can_meddle() -> Result<()> {
    let (aws, place) = scene()?;
    let name = place.secret.as_str();
    aws.create(name, Value::Text("one".to_owned()))?;
    let second = aws.put(name, Value::Binary(vec![2]))?;
    assert_eq!(aws.current(name), Some(Value::Binary(vec![2])));
    assert_eq!(place.read(None, None).await, "binary [2]");
    let first = aws.labelled(name, "AWSPREVIOUS").context("nothing previous")?.id;
    aws.move_stage(name, "AWSCURRENT", Some(&first))?;
    assert_eq!(place.read(None, None).await, "one");
    assert_eq!(
        aws.labelled(name, "AWSPREVIOUS").map(|version| version.id),
        Some(second)
    );
    aws.set_rotation(name, true)?;
    aws.tag(name, "managed-by", "external-secrets")?;
    let described = place.client.describe_secret().secret_id(name).send().await?;
    assert_eq!(described.rotation_enabled(), Some(true));
    assert_eq!(described.tags()[0].value(), Some("external-secrets"));
    aws.schedule_deletion(name)?;
    assert_eq!(place.read(None, None).await, "InvalidRequestException");
    aws.restore(name)?;
    assert_eq!(place.read(None, None).await, "one");
    aws.delete(name);
    assert_eq!(place.read(None, None).await, "ResourceNotFoundException");
    assert_eq!(aws.current(name), None);
    Ok(())
}

#[tokio::test]
async fn what_is_not_emulated_is_said() -> Result<()> {
    let (aws, place) = scene()?;
    aws.create(&place.secret, Value::Text("one".to_owned()))?;
    let rotate = place.client.rotate_secret().secret_id(&place.secret);
    assert_eq!(outcome(rotate.send().await), "NotEmulated");
    let create = place
        .client
        .create_secret()
        .name("replicated")
        .force_overwrite_replica_secret(true);
    assert_eq!(outcome(create.send().await), "NotEmulated");
    Ok(())
}
