//! What the operator says of itself, and whether it has answered.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::rules;
use super::super::setting::read_guard;
use super::{found, message, setting, store, world};
use crate::effects::kubernetes::fixtures::{over, store_first};
use crate::machine::facts::Asked;

fn status(ready: &str, reason: &str, message: &str) -> Value {
    let condition = json!({"type": "Ready", "status": ready, "reason": reason, "message": message});
    json!({"external": {"status": {"conditions": [condition]}}})
}

#[test]
fn seen_35_40_46_what_cannot_sync_is_refused_in_the_operators_own_words() {
    for words in [
        "target is owned by another ExternalSecret",
        "could not get secret data from provider",
        "could not update secret, target is immutable",
    ] {
        let failed = status("False", "SecretSyncedError", words);
        assert_eq!(found(failed.clone()), [("ExternalSecretNotReady", true)]);
        assert!(message(failed).contains(&format!("cannot sync: {words} (SecretSyncedError)")));
    }
}

#[test]
fn seen_32_47_48_a_success_that_brought_nothing_is_none() {
    for (reason, words) in [
        (
            "SecretMissing",
            "secret will not be created due to CreationPolicy=Merge",
        ),
        ("SecretDeleted", "secret deleted due to DeletionPolicy"),
        ("SecretSynced", "secret retained due to DeletionPolicy=Retain"),
    ] {
        assert_eq!(
            found(status("True", reason, words)),
            [("ExternalSecretNotReady", true)],
            "{reason}"
        );
    }
}

#[test]
fn seen_57_59_a_store_that_is_missing_or_not_ready_is_the_cause_that_is_told() {
    let failed = status(
        "False",
        "SecretSyncedError",
        "could not get secret data from provider",
    );
    let with = |store: Value| over(failed.clone(), json!({"stores": {"aws": store}}));
    assert_eq!(found(with(Value::Null)), [("StoreMissing", true)]);
    let mut unready = store(json!({}));
    unready["status"]["conditions"] = json!([{"type": "Ready", "status": "False", "reason": "InvalidProviderConfig", "message": "unable to create client"}]);
    let said = message(with(unready));
    assert!(
        said.contains("SecretStore shop/aws")
            && said.contains("unable to create client (InvalidProviderConfig)"),
        "{said}"
    );
    assert!(
        said.contains("kubectl -n shop describe secretstores.external-secrets.io aws"),
        "{said}"
    );
}

#[test]
fn seen_59_where_no_operator_feels_responsible_that_is_told() {
    let silent = json!({"external": {"status": {"conditions": []}}});
    assert_eq!(found(silent.clone()), [("OperatorSilent", true)]);
    let mut classed = store(json!({}));
    classed["spec"]["controller"] = json!("other");
    classed["status"]["conditions"] = json!([]);
    let both = over(silent, json!({"stores": {"aws": classed}}));
    assert_eq!(found(both.clone()), [("StoreNotReady", true)]);
    assert!(message(both).contains(r#"no operator of the class "other""#));
}

#[test]
fn what_is_being_deleted_is_refused() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-11-20T03:00:00Z"}});
    assert_eq!(
        found(json!({"external": going})),
        [("ExternalSecretDeleting", true)]
    );
    let owner = over(going, json!({"metadata": {"name": "all-dbs"}}));
    let said = message(json!({"owner": owner}));
    assert!(
        said.contains("ClusterExternalSecret all-dbs is being deleted"),
        "{said}"
    );
}

/// What is told of a request that was made at this time.
fn unanswered(change: Value, at: &str) -> Option<&'static str> {
    let policy = store_first();
    let world = world(change);
    let asked = Asked {
        times: 1,
        at: at.parse::<Timestamp>().unwrap(),
    };
    let finding = rules::unanswered(&setting(&policy, &world), asked)?;
    assert!(
        !finding.blocks && finding.message.contains("kubectl "),
        "{finding:?}"
    );
    Some(finding.reason)
}

#[test]
fn seen_54_60_a_request_that_is_not_answered_is_told() {
    assert_eq!(unanswered(json!({}), "2026-11-20T03:00:00Z"), None);
    assert_eq!(
        unanswered(json!({}), "2026-11-20T03:00:01Z"),
        Some("SyncUnanswered")
    );
    let never = json!({"external": {"status": {"refreshTime": null}}});
    assert_eq!(unanswered(never, "2026-11-20T03:00:00Z"), Some("SyncUnanswered"));
}

#[test]
fn seen_62_a_request_that_is_not_passed_on_is_told() {
    let asked =
        |value: &str| json!({"name": "all-dbs", "annotations": {"external-secrets.io/force-sync": value}});
    let passed =
        |child: &str| json!({"owner": {"metadata": asked("2")}, "external": {"metadata": asked(child)}});
    assert_eq!(
        unanswered(passed("1"), "2026-11-20T03:00:00Z"),
        Some("SyncNotPassedOn")
    );
    assert_eq!(unanswered(passed("2"), "2026-11-20T03:00:00Z"), None);
}

#[test]
fn a_guard_names_the_object_on_which_a_sync_is_asked() {
    let policy = store_first();
    let own = setting(&policy, &world(json!({}))).guard();
    assert_eq!(own, "v1/externalsecrets/db/uid-es/7");
    let owner = json!({"owner": {"metadata": {"name": "all-dbs", "uid": "uid-c", "resourceVersion": "3"}}});
    let owned = setting(&policy, &world(owner)).guard();
    assert_eq!(owned, "v1/clusterexternalsecrets/all-dbs/uid-c/3");
    for guard in [&own, &owned] {
        assert!(read_guard(guard).is_some(), "{guard}");
    }
    for guard in [
        "",
        "v1/externalsecrets/db/uid-es/",
        "v1/externalsecrets/db//7",
        "v1/secrets/db/uid/7",
    ] {
        assert!(read_guard(guard).is_none(), "{guard}");
    }
}
