//! The rights that are asked for are those that are needed: with exactly these everything works, and each that is
//! missing is named.

use serde_json::{Value as Json, json};
use tandem::effects::Outcome;
use tandem::effects::store::Store as _;
use tandem::machine::facts::Finding;
use tandem::manifest::iam::{self, Call, Statement};
use tandem::policy::{Admin, Policy};
use tandem_lab::aws::Value;

use crate::scene::{AFTER, BEFORE, NAME, Scene, current, promote, propose, refusal, stored};

fn allows(calls: &[Call]) -> Json {
    json!({"Version": "2012-10-17", "Statement": [Statement::on(&stored(), calls)]})
}

fn without(missing: Call) -> Vec<Call> {
    Call::DELIVERY
        .into_iter()
        .filter(|call| *call != missing)
        .collect()
}

fn names(finding: &Finding, call: Call) {
    assert_eq!(finding.reason, "StoreAccessDenied", "{finding:?}");
    let statement = Statement::on(&stored(), &[call]).line();
    for part in [
        NAME,
        "AccessDeniedException",
        "arn:aws:iam::123456789012:user/",
        &statement,
    ] {
        assert!(finding.message.contains(part), "{part}: {}", finding.message);
    }
    assert!(
        finding.message.ends_with(&statement),
        "it can be copied: {}",
        finding.message
    );
}

#[tokio::test]
async fn with_exactly_the_documented_rights_everything_works() {
    // In the region that the lab's AWS keeps its secrets in.
    let example = include_str!("../../deploy/examples/store-first.yaml").replace("eu-central-1", "us-east-1");
    let policy = Policy::parse(&serde_saphyr::from_str(&example).unwrap()).unwrap();
    let Admin::Stored(administrator) = &policy.database.admin else {
        panic!("the example's administrator is elsewhere");
    };
    let scene = Scene::new().await;
    let master = Value::Text(r#"{"username":"postgres","password":"x"}"#.into());
    scene.aws.create(&administrator.id, master).unwrap();
    let documented = serde_json::from_str(&iam::iam(&example, None).unwrap()).unwrap();
    let stores = scene.stores_of(&scene.aws.grant(&documented).unwrap()).await;

    let secret = stores.open(policy.delivery.source().unwrap());
    let base = current(&secret).await;
    assert_eq!(secret.findings(Some(&base)).await, []);
    assert_eq!(propose(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(promote(&secret, &base).await.unwrap(), Outcome::Done);
    assert_eq!(scene.text(), AFTER);
    assert!(stores.administrator(administrator).await.unwrap().is_ok());

    // And no more: the administrator's secret is only read.
    let finding = stores.open(administrator).findings(None).await.remove(0);
    assert_eq!(finding.reason, "StoreAccessDenied", "{finding:?}");
}

#[tokio::test]
async fn each_right_that_is_missing_is_found_by_asking_and_nothing_is_changed() {
    let scene = Scene::new().await;
    let base = current(&scene.open()).await;
    let before = scene.aws.versions(NAME);
    for missing in Call::DELIVERY {
        let key = scene.aws.grant(&allows(&without(missing))).unwrap();
        let secret = scene.open_as(&key).await;
        let current = secret.current().await.unwrap();
        let mut findings = secret.findings(Some(&base)).await;
        findings.extend(current.err());
        assert_eq!(findings.len(), 1, "{missing:?}: {findings:?}");
        names(&findings[0], missing);
        assert_eq!(scene.aws.versions(NAME), before, "{missing:?}");
    }
}

#[tokio::test]
async fn a_right_that_is_taken_away_later_refuses_the_write_and_changes_nothing() {
    let scene = Scene::new().await;
    let base = current(&scene.open()).await;
    let key = scene.aws.grant(&allows(&without(Call::Write))).unwrap();
    names(
        &refusal(propose(&scene.open_as(&key).await, &base).await),
        Call::Write,
    );
    propose(&scene.open(), &base).await.unwrap();
    let key = scene.aws.grant(&allows(&without(Call::Move))).unwrap();
    names(
        &refusal(promote(&scene.open_as(&key).await, &base).await),
        Call::Move,
    );
    let key = scene.aws.grant(&allows(&without(Call::Read))).unwrap();
    names(
        &refusal(promote(&scene.open_as(&key).await, &base).await),
        Call::Read,
    );
    assert_eq!(scene.text(), BEFORE);
}
