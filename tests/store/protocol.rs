//! Read, propose, promote: once, twice, by two, and by somebody else in between.

use std::time::Duration;

use tandem::effects::store::{PENDING, Store as _, rotation_of, version_id};
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::Refused;
use tandem_lab::aws::Value;

use crate::scene::{
    AFTER, AMPLE, BEFORE, NAME, NEW, OLD, Scene, UID, current, pending, promote, propose, proposed, refusal,
    standby,
};
use tandem::sensitive::Sensitive;

#[tokio::test]
async fn a_credential_comes_into_the_store_in_four_calls_and_nothing_else_changes() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    assert_eq!((base.user(), base.password().expose()), ("app_a", OLD));
    assert_eq!(rotation_of(base.version(), UID), None);

    assert_eq!(propose(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(scene.text(), BEFORE, "nobody reads what is only proposed");
    assert_eq!(scene.labelled(PENDING), Some(proposed(&base)));

    assert_eq!(promote(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(scene.text(), AFTER);
    assert_eq!(scene.labelled("AWSPREVIOUS").as_deref(), Some(base.version()));
    let now = current(&secret).await;
    assert!(now.carries("app_b", &pending()));
    assert_eq!(rotation_of(now.version(), UID), Some(1));

    let actions: Vec<_> = scene
        .aws
        .calls(NAME)
        .into_iter()
        .map(|call| call.action)
        .collect();
    let expected = [
        "GetSecretValue",
        "PutSecretValue",
        "GetSecretValue",
        "UpdateSecretVersionStage",
        "GetSecretValue",
    ];
    assert_eq!(actions, expected, "the last is this test's own");
    let metrics = scene.metrics.text();
    let count = r#"tandem_store_calls_total{operation="move",outcome="done"} 1"#;
    assert!(metrics.contains(count), "{metrics}");
}

#[tokio::test]
async fn what_was_binary_stays_binary() {
    let scene = Scene::with(Value::Binary(BEFORE.into())).await;
    let secret = scene.open();
    let base = current(&secret).await;
    propose(&secret, &base).await.unwrap();
    promote(&secret, &base).await.unwrap();
    assert_eq!(scene.aws.current(NAME), Some(Value::Binary(AFTER.into())));
}

#[tokio::test]
async fn everything_may_be_done_again_and_changes_nothing_more() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    for _ in 0..3 {
        assert_eq!(propose(&secret, &base).await.unwrap(), Outcome::Done);
    }
    for _ in 0..3 {
        assert_eq!(promote(&secret, &base).await.unwrap(), Outcome::Done);
    }
    assert_eq!(propose(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(scene.versions(), [base.version().to_owned(), proposed(&base)]);
    assert_eq!(scene.text(), AFTER);
    assert_eq!(
        scene.calls("UpdateSecretVersionStage"),
        1,
        "there was one move to make"
    );
}

#[tokio::test]
async fn two_controllers_at_once_propose_one_version_and_make_one_move() {
    let scene = Scene::new().await;
    let (one, other) = (scene.open(), scene.open_as(scene.aws.key()).await);
    let base = current(&one).await;
    let proposals = tokio::join!(propose(&one, &base), propose(&other, &base));
    assert_eq!(
        (proposals.0.unwrap(), proposals.1.unwrap()),
        (Outcome::Done, Outcome::Done)
    );
    let moves = tokio::join!(promote(&one, &base), promote(&other, &base));
    assert_eq!(
        (moves.0.unwrap(), moves.1.unwrap()),
        (Outcome::Done, Outcome::Done)
    );
    assert_eq!(scene.versions(), [base.version().to_owned(), proposed(&base)]);
    assert_eq!(scene.text(), AFTER);
}

#[tokio::test]
async fn whatever_somebody_else_made_current_meanwhile_stays() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    propose(&secret, &base).await.unwrap();
    let theirs = BEFORE.replace("db.example", "db2.example");
    scene.aws.put(NAME, Value::Text(theirs.clone())).unwrap();
    let error = promote(&secret, &base).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(scene.text(), theirs);
    assert_eq!(
        error.to_string(),
        format!("secret {NAME} in us-east-1 was changed by somebody else meanwhile; looking again")
    );

    // Looking again settles it: what they wrote is the new base, and is kept.
    let base = current(&secret).await;
    propose(&secret, &base).await.unwrap();
    assert_eq!(promote(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(scene.text(), AFTER.replace("db.example", "db2.example"));
}

#[tokio::test]
async fn a_late_move_of_an_older_rotation_is_refused() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let first = current(&secret).await;
    propose(&secret, &first).await.unwrap();
    promote(&secret, &first).await.unwrap();
    let second = current(&secret).await;
    let next = version_id(UID, 2, 0, second.version());
    let user = standby();
    let password = Sensitive::new("another".into());
    secret
        .propose(&second, &user, &password, &next, AMPLE)
        .await
        .unwrap();
    secret
        .promote(second.version(), &user, &password, &next, AMPLE)
        .await
        .unwrap();
    // Somebody who stood still since the first rotation, and has read nothing since.
    let error = promote(&secret, &first).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(scene.labelled("AWSCURRENT"), Some(next));
}

#[tokio::test]
async fn a_version_that_holds_something_else_is_neither_overwritten_nor_made_current() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    let lost = Sensitive::new("of a journal that was lost".into());
    secret
        .propose(&base, &standby(), &lost, &proposed(&base), AMPLE)
        .await
        .unwrap();
    let Ok(Outcome::Refused(Refused::Password(finding))) = propose(&secret, &base).await else {
        panic!("it was taken, or refused for good");
    };
    assert_eq!(finding.reason, "StoreVersionTaken");
    assert!(
        finding.message.contains("list-secret-version-ids"),
        "{}",
        finding.message
    );
    let finding = refusal(promote(&secret, &base).await);
    assert_eq!(finding.reason, "StoreVersionDiffers");
    assert_eq!(scene.text(), BEFORE);
    // Another password of the same rotation is another version.
    let next = version_id(UID, 1, 1, base.version());
    let outcome = secret.propose(&base, &standby(), &pending(), &next, AMPLE).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_version_that_was_cleared_away_is_a_conflict() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    let error = promote(&secret, &base).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(scene.text(), BEFORE);
}

#[tokio::test]
async fn old_versions_keep_no_label_so_that_aws_clears_them_away() {
    let scene = Scene::new().await;
    let secret = scene.open();
    for number in 1..=5 {
        let base = current(&secret).await;
        let id = version_id(UID, number, 0, base.version());
        let password = Sensitive::new(format!("{NEW}-{number}"));
        secret
            .propose(&base, &standby(), &password, &id, AMPLE)
            .await
            .unwrap();
        secret
            .promote(base.version(), &standby(), &password, &id, AMPLE)
            .await
            .unwrap();
        scene.aws.age(NAME, Duration::from_hours(25)).unwrap();
    }
    let labelled: Vec<_> = scene
        .aws
        .versions(NAME)
        .into_iter()
        .filter(|version| !version.stages.is_empty())
        .map(|version| version.stages.into_iter().collect::<Vec<_>>())
        .collect();
    assert_eq!(labelled, [vec!["AWSPREVIOUS"], vec!["AWSCURRENT", PENDING]]);
}
