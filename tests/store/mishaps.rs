//! fm33: throttled, failed after the write, answered late or not at all.

use std::time::{Duration, Instant};

use tandem::effects::store::{PENDING, Store as _};
use tandem::effects::{Error, Outcome};
use tandem_lab::aws::{Action, Fault, How};

use crate::scene::{
    AFTER, BEFORE, NAME, Scene, current, pending, promote, propose, proposed, standby, trouble,
};

/// Longer than anybody waits.
const FOREVER: Duration = Duration::from_mins(10);

#[tokio::test]
async fn fm33_a_write_that_was_made_and_answered_with_an_error_is_made_once() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    // Once, and the SDK's own retry ends it; or every time, and only looking tells.
    for times in [1, 3] {
        scene.aws.fault(
            NAME,
            Fault::once(Action::PutSecretValue, How::ServerErrorAfter).times(times),
        );
        let outcome = propose(&secret, &base).await;
        if times == 1 {
            assert_eq!(outcome.unwrap(), Outcome::Done);
        } else {
            assert_eq!(trouble(outcome).0, "StoreFailed");
        }
        assert_eq!(scene.versions(), [base.version().to_owned(), proposed(&base)]);
        scene.aws.mend();
    }
    let tokens: Vec<_> = scene
        .aws
        .calls(NAME)
        .into_iter()
        .filter_map(|call| call.token)
        .collect();
    assert_eq!(tokens.len(), 5, "2 and 3 attempts");
    assert!(tokens.iter().all(|token| *token == proposed(&base)), "{tokens:?}");

    for times in [1, 3] {
        scene
            .aws
            .move_stage(NAME, "AWSCURRENT", Some(base.version()))
            .unwrap();
        scene.aws.fault(
            NAME,
            Fault::once(Action::UpdateSecretVersionStage, How::ServerErrorAfter).times(times),
        );
        let outcome = promote(&secret, &base).await;
        assert_eq!(
            outcome.unwrap(),
            Outcome::Done,
            "the retry is refused, and looking tells why"
        );
        assert_eq!(scene.text(), AFTER);
        scene.aws.mend();
    }
    assert_eq!(scene.versions(), [base.version().to_owned(), proposed(&base)]);
}

#[tokio::test]
async fn fm33_a_write_that_failed_is_repeated_by_the_same_name() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    for how in [How::Throttle, How::ServerErrorBefore] {
        scene.aws.fault(NAME, Fault::once(Action::PutSecretValue, how));
        assert_eq!(propose(&secret, &base).await.unwrap(), Outcome::Done);
        scene
            .aws
            .fault(NAME, Fault::once(Action::UpdateSecretVersionStage, how));
        scene
            .aws
            .move_stage(NAME, "AWSCURRENT", Some(base.version()))
            .unwrap();
        assert_eq!(promote(&secret, &base).await.unwrap(), Outcome::Done);
    }
    assert_eq!(scene.versions(), [base.version().to_owned(), proposed(&base)]);
}

#[tokio::test]
async fn fm33_throttled_for_long_says_so_and_changes_nothing() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    for action in [Action::GetSecretValue, Action::PutSecretValue] {
        scene.aws.fault(NAME, Fault::always(action, How::Throttle));
    }
    let (reason, message) = trouble(secret.current().await);
    assert_eq!(reason, "StoreThrottled");
    for part in [
        NAME,
        "us-east-1",
        "ThrottlingException",
        "request ",
        "aws secretsmanager describe-secret",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(trouble(propose(&secret, &base).await).0, "StoreThrottled");
    assert_eq!(scene.versions(), [base.version().to_owned()]);
    let metrics = scene.metrics.text();
    let counted = r#"tandem_store_calls_total{operation="read",outcome="throttled"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn fm33_a_store_that_hangs_holds_nobody_for_longer_than_was_left() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    scene
        .aws
        .fault(NAME, Fault::always(Action::PutSecretValue, How::Hang(FOREVER)));
    let started = Instant::now();
    let left = Duration::from_secs(2);
    let outcome = secret
        .propose(&base, &standby(), &pending(), &proposed(&base), left)
        .await;
    assert_eq!(trouble(outcome).0, "StoreNoAnswer");
    assert!(
        started.elapsed() < left + Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );

    let started = Instant::now();
    assert_eq!(trouble(propose(&secret, &base).await).0, "StoreNoAnswer");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(scene.versions(), [base.version().to_owned()]);

    // An attempt that hangs leaves time for another.
    scene.aws.mend();
    scene
        .aws
        .fault(NAME, Fault::once(Action::PutSecretValue, How::Hang(FOREVER)));
    assert_eq!(propose(&secret, &base).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn fm33_a_move_whose_answer_never_came_is_found_made() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    propose(&secret, &base).await.unwrap();
    scene.aws.fault(
        NAME,
        Fault::once(Action::UpdateSecretVersionStage, How::HangAfter(FOREVER)),
    );
    let left = Duration::from_secs(2);
    let outcome = secret
        .promote(base.version(), &standby(), &pending(), &proposed(&base), left)
        .await;
    assert_eq!(
        trouble(outcome).0,
        "StoreNoAnswer",
        "whether it was made is not claimed"
    );
    assert_eq!(current(&secret).await.version(), proposed(&base), "it was");
    assert_eq!(promote(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(scene.calls("UpdateSecretVersionStage"), 1);
}

#[tokio::test]
async fn fm33_readers_that_see_a_write_late_lead_to_no_second_one() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    scene
        .aws
        .fault(NAME, Fault::once(Action::PutSecretValue, How::ReadersMissIt(1)));
    propose(&secret, &base).await.unwrap();
    let error = promote(&secret, &base).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "not seen yet: {error}");
    scene.aws.fault(
        NAME,
        Fault::once(Action::UpdateSecretVersionStage, How::ReadersMissIt(3)),
    );
    assert_eq!(promote(&secret, &base).await.unwrap(), Outcome::Done);
    // Looking shows the old version, so both writes are made once more.
    assert_eq!(current(&secret).await.version(), base.version());
    assert_eq!(propose(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(trouble(promote(&secret, &base).await).0, "StoreMoveUnclear");
    assert_eq!(promote(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(current(&secret).await.version(), proposed(&base));
    assert_eq!(scene.versions(), [base.version().to_owned(), proposed(&base)]);
    assert_eq!(scene.text(), AFTER);
}

#[tokio::test]
async fn fm33_three_hundred_failures_make_one_version() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    scene
        .aws
        .fault(NAME, Fault::always(Action::UpdateSecretVersionStage, How::Deny));
    for _ in 0..300 {
        assert_eq!(propose(&secret, &base).await.unwrap(), Outcome::Done);
        let outcome = promote(&secret, &base).await.unwrap();
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    }
    assert_eq!(scene.versions(), [base.version().to_owned(), proposed(&base)]);
    assert_eq!(scene.labelled(PENDING), Some(proposed(&base)));
    scene.aws.mend();
    assert_eq!(promote(&secret, &base).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_store_that_is_down_is_named_and_found_again() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    scene.aws.go_down();
    let (reason, message) = trouble(propose(&secret, &base).await);
    assert_eq!(reason, "StoreUnreachable");
    assert!(
        message.contains(NAME) && message.contains("us-east-1"),
        "{message}"
    );
    let reasons: Vec<_> = secret
        .findings(Some(&base))
        .await
        .iter()
        .map(|f| f.reason)
        .collect();
    assert_eq!(reasons, ["StoreUnreachable"], "it is said once");
    scene.aws.come_up().unwrap();
    assert_eq!(propose(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(scene.text(), BEFORE);
}
