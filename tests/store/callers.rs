//! Who calls: the controller itself, or a role that it assumes; and the administrator that a secret holds.

use serde_json::json;
use tandem::effects::store::{Store as _, Stores};
use tandem::policy::StoredSecret;
use tandem_lab::aws::{Aws, Trust, Value};

use crate::scene::{NAME, Scene, current, promote, propose, stored};

const EVERYTHING: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

/// A role that may do everything with secrets, for those who know the external id.
fn role(aws: &Aws, name: &str) -> StoredSecret {
    let trust = Trust::Account {
        external_id: Some("tenant-7".into()),
    };
    let everything = serde_json::from_str(EVERYTHING).unwrap();
    StoredSecret {
        role_arn: Some(aws.role(name, trust, &everything).unwrap()),
        external_id: Some("tenant-7".into()),
        ..stored()
    }
}

/// The controller, which may assume this role and nothing else.
async fn controller(scene: &Scene, role: &str) -> Stores {
    let policy = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role,
    }});
    let key = scene.aws.grant(&policy).unwrap();
    scene.stores_of(&key).await
}

#[tokio::test]
async fn a_role_is_assumed_once_for_many_calls_and_again_when_its_session_has_ended() {
    let scene = Scene::new().await;
    let source = role(&scene.aws, "tandem-orders");
    let arn = source.role_arn.clone().unwrap();
    let stores = controller(&scene, &arn).await;
    let secret = stores.open(&source);
    let base = current(&secret).await;
    propose(&secret, &base).await.unwrap();
    promote(&secret, &base).await.unwrap();
    let assumed = || scene.aws.calls(&arn).len();
    assert_eq!(assumed(), 1);
    // Another policy with the same role.
    current(&stores.clone().open(&source)).await;
    assert_eq!(assumed(), 1);
    let keys: Vec<_> = scene.aws.calls(NAME).into_iter().map(|call| call.key).collect();
    assert!(keys.iter().all(|key| key.starts_with("ASIA")), "{keys:?}");
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_named_with_the_statement_to_add() {
    let scene = Scene::new().await;
    let source = role(&scene.aws, "tandem-orders");
    let arn = source.role_arn.clone().unwrap();
    let mut stranger = source.clone();
    stranger.external_id = Some("tenant-8".into());
    let unrelated = controller(&scene, "arn:aws:iam::123456789012:role/other").await;
    let allowed = controller(&scene, &arn).await;
    for (stores, source) in [(&unrelated, &source), (&allowed, &stranger)] {
        let Ok(Err(finding)) = stores.open(source).current().await else {
            panic!("it was read");
        };
        assert_eq!(finding.reason, "StoreRoleDenied", "{finding:?}");
        let statement = format!(r#"{{"Effect":"Allow","Action":["sts:AssumeRole"],"Resource":"{arn}"}}"#);
        for part in [
            NAME,
            "AccessDenied",
            "aws iam get-role --role-name tandem-orders",
            &statement,
        ] {
            assert!(finding.message.contains(part), "{part}: {}", finding.message);
        }
        assert!(!finding.message.contains("tenant-"), "{}", finding.message);
    }
}

#[tokio::test]
async fn the_administrator_is_read_afresh_each_time() {
    let scene = Scene::new().await;
    let source = StoredSecret {
        id: "rds!db-0b5c1d7e".into(),
        ..stored()
    };
    let rds = |password: &str| Value::Text(format!(r#"{{"username":"postgres","password":"{password}"}}"#));
    scene.aws.create(&source.id, rds("first")).unwrap();
    for password in ["first", "second"] {
        scene.aws.put(&source.id, rds(password)).unwrap();
        let admin = scene.stores.administrator(&source).await.unwrap().unwrap();
        assert_eq!(
            (admin.user.as_str(), admin.password.expose()),
            ("postgres", password)
        );
    }
    scene.aws.put(&source.id, rds("")).unwrap();
    let Err(finding) = scene.stores.administrator(&source).await.unwrap() else {
        panic!("an empty password was taken");
    };
    assert_eq!(finding.reason, "AdminSecretUnusable");
    assert!(
        finding.message.contains("'rds!db-0b5c1d7e'"),
        "{}",
        finding.message
    );
}
