//! Faults on demand: each does what it says, and as often.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use tandem_lab::aws::{Action, Aws, Fault, How, Value};

use crate::place::{Place, client, config, outcome};

const SHORT: Duration = Duration::from_millis(400);

async fn scene() -> Result<(Aws, Place)> {
    let aws = Aws::start(Ipv4Addr::LOCALHOST.into())?;
    let place = Place {
        client: client(&aws.endpoint(), aws.key()),
        secret: "orders/db".to_owned(),
    };
    place.create("one").await?;
    Ok((aws, place))
}

#[tokio::test]
async fn a_fault_hits_the_calls_that_it_is_meant_for_and_no_others() -> Result<()> {
    let (aws, place) = scene().await?;
    aws.create("other", Value::Text("else".to_owned()))?;
    aws.fault(
        &place.secret,
        Fault::once(Action::GetSecretValue, How::Throttle).times(2),
    );
    assert_eq!(place.read_by("other", None, None).await, "else");
    assert_eq!(place.labels().await?, "1:AWSCURRENT");
    assert_eq!(place.read(None, None).await, "ThrottlingException");
    assert_eq!(place.read(None, None).await, "ThrottlingException");
    assert_eq!(place.read(None, None).await, "one");
    aws.fault(&place.secret, Fault::always(Action::GetSecretValue, How::Deny));
    for _ in 0..3 {
        assert_eq!(place.read(None, None).await, "AccessDeniedException");
    }
    aws.mend();
    assert_eq!(place.read(None, None).await, "one");
    Ok(())
}

#[tokio::test]
async fn an_error_before_the_commit_leaves_nothing_and_one_after_it_leaves_everything() -> Result<()> {
    let (aws, place) = scene().await?;
    aws.fault(
        &place.secret,
        Fault::once(Action::PutSecretValue, How::ServerErrorBefore),
    );
    assert_eq!(place.put(2, "two", &[]).await, "InternalServiceError");
    assert_eq!(place.labels().await?, "1:AWSCURRENT");
    aws.fault(
        &place.secret,
        Fault::once(Action::PutSecretValue, How::ServerErrorAfter),
    );
    assert_eq!(place.put(2, "two", &[]).await, "InternalServiceError");
    assert_eq!(place.labels().await?, "1:AWSPREVIOUS 2:AWSCURRENT");
    assert_eq!(place.put(2, "two", &[]).await, "ok");
    assert_eq!(place.labels().await?, "1:AWSPREVIOUS 2:AWSCURRENT");
    Ok(())
}

#[tokio::test]
async fn the_sdk_tries_again_and_a_token_makes_one_version_of_all_its_tries() -> Result<()> {
    let (aws, place) = scene().await?;
    let config = config(&aws.endpoint(), aws.key()).retry_config(RetryConfig::standard());
    let patient = Client::from_conf(config.build());
    aws.fault(
        &place.secret,
        Fault::once(Action::PutSecretValue, How::ServerErrorAfter),
    );
    let put = patient
        .put_secret_value()
        .secret_id(&place.secret)
        .secret_string("two");
    put.send().await?;
    let puts = aws
        .calls(&place.secret)
        .into_iter()
        .filter(|call| call.action == "PutSecretValue");
    let answers: Vec<_> = puts.map(|call| (call.status, call.token)).collect();
    assert_eq!([answers[0].0, answers[1].0], [Some(500), Some(200)]);
    assert_eq!(answers[0].1, answers[1].1);
    assert_eq!((answers.len(), aws.versions(&place.secret).len()), (2, 2));
    Ok(())
}

#[tokio::test]
async fn a_call_that_hangs_has_done_nothing_when_the_caller_goes_away() -> Result<()> {
    let (aws, place) = scene().await?;
    aws.fault(
        &place.secret,
        Fault::once(Action::PutSecretValue, How::Hang(SHORT * 3)),
    );
    let put = tokio::time::timeout(SHORT, place.put(2, "two", &[])).await;
    assert!(put.is_err(), "it did not hang");
    tokio::time::sleep(SHORT * 4).await;
    assert_eq!(place.labels().await?, "1:AWSCURRENT");
    let calls = aws.calls(&place.secret);
    let put = calls
        .iter()
        .find(|call| call.action == "PutSecretValue")
        .context("not logged")?;
    assert_eq!(put.status, None);
    Ok(())
}

#[tokio::test]
async fn a_call_that_hangs_afterwards_is_done_before_it_is_answered() -> Result<()> {
    let (aws, place) = scene().await?;
    aws.fault(
        &place.secret,
        Fault::once(Action::PutSecretValue, How::HangAfter(SHORT * 3)),
    );
    let put = tokio::time::timeout(SHORT, place.put(2, "two", &[])).await;
    assert!(put.is_err(), "it did not hang");
    assert_eq!(place.labels().await?, "1:AWSPREVIOUS 2:AWSCURRENT");
    aws.fault(
        &place.secret,
        Fault::once(Action::GetSecretValue, How::Hang(SHORT)),
    );
    let start = Instant::now();
    assert_eq!(place.read(None, None).await, "two");
    assert!(start.elapsed() >= SHORT);
    Ok(())
}

#[tokio::test]
async fn a_move_can_be_seen_late_by_readers_and_at_once_by_writers() -> Result<()> {
    let (aws, place) = scene().await?;
    place.put(2, "two", &["mine"]).await;
    let late = How::ReadersSeeItAfter(SHORT);
    aws.fault(&place.secret, Fault::once(Action::UpdateSecretVersionStage, late));
    assert_eq!(place.move_stage("AWSCURRENT", Some(2), Some(1)).await, "ok");
    assert_eq!(place.read(None, None).await, "one");
    assert_eq!(place.labels().await?, "1:AWSCURRENT 2:mine");
    let again = place.move_stage("AWSCURRENT", Some(2), Some(1)).await;
    assert_eq!(again, "InvalidParameterException");
    tokio::time::sleep(SHORT).await;
    assert_eq!(place.read(None, None).await, "two");
    assert_eq!(place.labels().await?, "1:AWSPREVIOUS 2:AWSCURRENT+mine");
    Ok(())
}

#[tokio::test]
async fn a_number_of_reads_can_miss_a_write() -> Result<()> {
    let (aws, place) = scene().await?;
    aws.fault(
        &place.secret,
        Fault::once(Action::PutSecretValue, How::ReadersMissIt(2)),
    );
    assert_eq!(place.put(2, "two", &[]).await, "ok");
    assert_eq!(place.read(None, None).await, "one");
    assert_eq!(place.read(Some(2), None).await, "ResourceNotFoundException");
    assert_eq!(place.read(None, None).await, "two");
    aws.fault(
        &place.secret,
        Fault::once(Action::DeleteSecret, How::ReadersMissIt(1)),
    );
    assert_eq!(place.delete(true).await, "ok");
    assert_eq!(place.read(None, None).await, "two");
    assert_eq!(place.read(None, None).await, "ResourceNotFoundException");
    Ok(())
}

#[tokio::test]
async fn a_service_that_is_down_refuses_and_comes_back_with_what_it_had() -> Result<()> {
    let (aws, place) = scene().await?;
    aws.go_down();
    let down = place.read(None, None).await;
    assert!(down.starts_with("no answer"), "{down}");
    aws.come_up()?;
    assert_eq!(place.read(None, None).await, "one");
    let describe = place.client.describe_secret().secret_id(&place.secret);
    assert_eq!(outcome(describe.send().await), "ok");
    Ok(())
}
