//! External Secrets Operator's objects.

use serde_json::{Value, json};
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::{Asked as Request, Finding, OperatorSeen, Refused};

use crate::server::{Asked, asked, refusal, store_first};

const IN_NAMESPACE: &str = "/apis/external-secrets.io/v1/namespaces/shop";
const OF_CLUSTER: &str = "/apis/external-secrets.io/v1";
const GUARD: &str = "v1/externalsecrets/db/uid-es/7";

/// The `ExternalSecret`, with this status of its condition `Ready`.
fn external(ready: &str) -> Value {
    let read = |property: &str| json!({"secretKey": property, "remoteRef": {"key": "shop/db", "property": property}});
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "db", "uid": "uid-es", "resourceVersion": "7"},
        "spec": {
            "refreshInterval": "1h0m0s", "secretStoreRef": {"kind": "SecretStore", "name": "aws"},
            "data": [read("username"), read("password")],
        },
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "reason": "R", "message": "said"}],
            "refreshTime": "2026-11-20T03:00:00Z",
        },
    })
}

fn owned() -> Value {
    let mut external = external("True");
    external["metadata"]["ownerReferences"] = json!([{"apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "name": "all-dbs", "uid": "uid-c", "controller": true}]);
    external["metadata"]["annotations"] = json!({"external-secrets.io/force-sync": "uid-1.3.9.1700000000"});
    external
}

fn owner() -> Value {
    json!({"metadata": {
        "name": "all-dbs", "uid": "uid-c", "resourceVersion": "5",
        "annotations": {"external-secrets.io/force-sync": "uid-1.3.2.1700000000"},
    }})
}

fn store() -> Value {
    json!({
        "metadata": {"name": "aws"},
        "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "eu-central-1"}}},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Valid"}]},
    })
}

fn list(items: &Value) -> (u16, Value) {
    (
        200,
        json!({"apiVersion": "external-secrets.io/v1", "kind": "List", "metadata": {}, "items": items}),
    )
}

fn absent() -> (u16, Value) {
    refusal(404, "NotFound", "not found")
}

/// What the API server says of a kind or a version that it does not serve.
fn unserved() -> (u16, Value) {
    (404, json!("404 page not found\n"))
}

fn forbidden(what: &str) -> (u16, Value) {
    refusal(
        403,
        "Forbidden",
        &format!("{what} is forbidden: User \"tandem\" cannot do that"),
    )
}

async fn seen(answers: Vec<(u16, Value)>) -> (OperatorSeen, Vec<String>) {
    let (seen, asked) = asked(answers, async |cluster| cluster.operator(&store_first(), 3).await).await;
    (seen.unwrap(), paths(&asked))
}

fn paths(asked: &[Asked]) -> Vec<String> {
    assert!(
        asked.iter().all(|asked| asked.query.is_empty()),
        "past every cache: {asked:?}"
    );
    asked
        .iter()
        .map(|asked| format!("{} {}", asked.method, asked.path))
        .collect()
}

fn unusable(seen: OperatorSeen) -> Finding {
    let unusable = match seen {
        OperatorSeen::Unusable(finding) => Some(finding),
        OperatorSeen::Present { .. } => None,
    };
    unusable.expect("it cannot be asked")
}

#[tokio::test]
async fn where_all_is_well_one_request_tells_the_guard_and_who_was_asked_when() {
    let mut external = external("True");
    external["metadata"]["annotations"] = json!({"external-secrets.io/force-sync": "uid-1.3.2.1700000000"});
    let (there, asked) = seen(vec![(200, external.clone())]).await;
    let expected = OperatorSeen::Present {
        version: GUARD.into(),
        asked: Some(Request {
            times: 2,
            at: "2023-11-14T22:13:20Z".parse().unwrap(),
        }),
        trouble: None,
    };
    assert_eq!(there, expected);
    assert_eq!(asked, [format!("GET {IN_NAMESPACE}/externalsecrets/db")]);

    // Another rotation's, another policy's, or a person's request is none of this rotation's.
    for value in ["uid-1.2.2.1700000000", "uid-2.3.2.1700000000", "1700000000"] {
        external["metadata"]["annotations"] = json!({"external-secrets.io/force-sync": value});
        let (there, _) = seen(vec![(200, external.clone())]).await;
        assert!(
            matches!(there, OperatorSeen::Present { asked: None, .. }),
            "{there:?}"
        );
    }
}

#[tokio::test]
async fn seen_57_where_it_is_not_ready_the_store_is_asked_why() {
    let mut unready = store();
    unready["status"]["conditions"][0]["status"] = json!("False");
    unready["status"]["conditions"][0]["message"] = json!("unable to create client");
    let (there, asked) = seen(vec![(200, external("False")), (200, unready)]).await;
    let OperatorSeen::Present {
        trouble: Some(trouble),
        ..
    } = there
    else {
        panic!("{there:?}");
    };
    assert_eq!(trouble.reason, "StoreNotReady");
    assert_eq!(asked[1..], [format!("GET {IN_NAMESPACE}/secretstores/aws")]);

    // Trouble is told; that it cannot be looked at closer is no reason not to ask.
    let (there, _) = seen(vec![(200, external("False")), forbidden("secretstores \"aws\"")]).await;
    let OperatorSeen::Present {
        trouble: Some(trouble),
        ..
    } = there
    else {
        panic!("{there:?}");
    };
    assert_eq!(trouble.reason, "ExternalSecretNotReady");
}

#[tokio::test]
async fn case_10_on_the_wire_an_older_version_is_found_when_the_newest_is_not_served() {
    let group = |versions: &[&str]| {
        let version = |v: &&str| json!({"groupVersion": format!("external-secrets.io/{v}"), "version": v});
        let versions: Vec<_> = versions.iter().map(version).collect();
        (
            200,
            json!({"kind": "APIGroup", "apiVersion": "v1", "name": "external-secrets.io", "versions": versions}),
        )
    };
    let (there, asked) = seen(vec![
        absent(),
        group(&["v1beta1", "v1alpha1"]),
        (200, external("True")),
    ])
    .await;
    assert!(
        matches!(&there, OperatorSeen::Present { version, .. } if version == "v1beta1/externalsecrets/db/uid-es/7"),
        "{there:?}"
    );
    let older = "GET /apis/external-secrets.io/v1beta1/namespaces/shop/externalsecrets/db";
    assert_eq!(asked[1..], ["GET /apis/external-secrets.io", older]);

    let missing = unusable(seen(vec![absent(), group(&["v1", "v1beta1"])]).await.0);
    assert_eq!(missing.reason, "ExternalSecretMissing");
    assert!(
        missing.message.contains("ExternalSecret shop/db does not exist")
            && missing
                .message
                .contains("kubectl -n shop get externalsecrets.external-secrets.io"),
        "{}",
        missing.message
    );
    let missing = unusable(seen(vec![unserved(), group(&["v1beta1"]), absent()]).await.0);
    assert_eq!(missing.reason, "ExternalSecretMissing");
    for none in [group(&["v1alpha1"]), absent(), unserved()] {
        let unknown = unusable(seen(vec![unserved(), none]).await.0);
        assert_eq!(unknown.reason, "OperatorNotInstalled");
    }
}

#[tokio::test]
async fn seen_62_63_a_cluster_external_secret_is_asked_in_place_of_what_it_made() {
    let (there, asked) = seen(vec![(200, owned()), (200, owner())]).await;
    let OperatorSeen::Present {
        version,
        asked: Some(request),
        trouble: Some(trouble),
    } = there
    else {
        panic!("{there:?}");
    };
    assert_eq!(version, "v1/clusterexternalsecrets/all-dbs/uid-c/5");
    assert_eq!((request.times, trouble.reason), (2, "SyncNotPassedOn"));
    assert_eq!(
        asked[1..],
        [format!("GET {OF_CLUSTER}/clusterexternalsecrets/all-dbs")]
    );

    let gone = unusable(seen(vec![(200, owned()), absent()]).await.0);
    assert_eq!(gone.reason, "ClusterExternalSecretMissing");
}

#[tokio::test]
async fn seen_71_what_is_not_allowed_is_told_with_the_right_that_is_missing() {
    let denied = unusable(seen(vec![forbidden("externalsecrets \"db\"")]).await.0);
    assert_eq!(denied.reason, "AccessDenied");
    assert!(
        denied
            .message
            .contains("with: tandem rbac -f policy.yaml | kubectl apply -f -"),
        "{}",
        denied.message
    );
    let denied = unusable(
        seen(vec![
            (200, owned()),
            forbidden("clusterexternalsecrets \"all-dbs\""),
        ])
        .await
        .0,
    );
    assert!(
        denied.message.contains(
            "tandem rbac -f policy.yaml --cluster-object clusterexternalsecrets/all-dbs | kubectl apply -f -"
        ),
        "{}",
        denied.message
    );
}

async fn sync(guard: &str, answers: Vec<(u16, Value)>) -> (Result<Outcome, Error>, Vec<Asked>) {
    asked(answers, async |cluster| {
        cluster.ask_sync(guard, "uid-1.3.1.1700000000").await
    })
    .await
}

#[tokio::test]
async fn case_17_a_request_is_one_merge_patch_of_one_annotation_guarded_by_uid_and_version() {
    for (guard, path) in [
        (GUARD, format!("{IN_NAMESPACE}/externalsecrets/db")),
        (
            "v1/clusterexternalsecrets/all-dbs/uid-es/7",
            format!("{OF_CLUSTER}/clusterexternalsecrets/all-dbs"),
        ),
        (
            "v1beta1/externalsecrets/db/uid-es/7",
            "/apis/external-secrets.io/v1beta1/namespaces/shop/externalsecrets/db".to_owned(),
        ),
    ] {
        let (outcome, asked) = sync(guard, vec![(200, external("True"))]).await;
        assert_eq!(outcome.unwrap(), Outcome::Done);
        let expected = Asked {
            method: "PATCH".into(),
            path,
            query: vec!["fieldManager=tandem".into()],
            content: "application/merge-patch+json".into(),
            body: json!({"metadata": {
                "uid": "uid-es", "resourceVersion": "7",
                "annotations": {"external-secrets.io/force-sync": "uid-1.3.1.1700000000"},
            }}),
        };
        assert_eq!(asked, [expected]);
    }
}

#[tokio::test]
async fn seen_72_case_16_what_has_changed_or_gone_meanwhile_is_a_conflict() {
    let (code, mut other) = refusal(422, "Invalid", "metadata.uid: Invalid value: field is immutable");
    other["details"] = json!({"causes": [{"reason": "FieldValueInvalid", "field": "metadata.uid"}]});
    for answer in [
        refusal(409, "Conflict", "the object has been modified"),
        (code, other),
        absent(),
    ] {
        let (outcome, _) = sync(GUARD, vec![answer]).await;
        assert!(
            matches!(&outcome, Err(Error::Conflict { what }) if what == "ExternalSecret shop/db"),
            "{outcome:?}"
        );
    }
    let (outcome, _) = sync(GUARD, vec![forbidden("externalsecrets \"db\"")]).await;
    assert!(
        matches!(&outcome, Ok(Outcome::Refused(Refused::Otherwise(f))) if f.reason == "AccessDenied"),
        "{outcome:?}"
    );
    let (outcome, asked) = sync("v1/secrets/db/uid-es/7", vec![]).await;
    assert!(matches!(outcome, Err(Error::Unusable(_))), "{outcome:?}");
    assert_eq!(asked, []);
}

async fn findings(answers: Vec<(u16, Value)>) -> (Vec<(&'static str, bool)>, Vec<Asked>) {
    let (found, asked) = asked(answers, async |cluster| {
        cluster.operator_findings(&store_first(), None).await
    })
    .await;
    (
        found.unwrap().iter().map(|f| (f.reason, f.blocks)).collect(),
        asked,
    )
}

#[tokio::test]
async fn preflight_only_reads_and_a_kind_that_is_not_installed_has_no_objects() {
    let missing = [("SecretMissing", true)];
    let all = vec![
        (200, external("True")),
        (200, store()),
        list(&json!([external("True")])),
        unserved(),
    ];
    let (found, asked) = findings(all).await;
    assert_eq!(found, missing);
    assert_eq!(
        paths(&asked),
        [
            format!("GET {IN_NAMESPACE}/externalsecrets/db"),
            format!("GET {IN_NAMESPACE}/secretstores/aws"),
            format!("GET {IN_NAMESPACE}/externalsecrets"),
            "GET /apis/external-secrets.io/v1alpha1/namespaces/shop/pushsecrets".to_owned(),
        ]
    );
}

#[tokio::test]
async fn what_preflight_may_not_read_is_a_finding_and_the_rest_is_found_all_the_same() {
    let all = vec![
        (200, external("False")),
        forbidden("secretstores \"aws\""),
        forbidden("externalsecrets"),
        forbidden("pushsecrets"),
    ];
    let denied = ("AccessDenied", true);
    let rest = [("ExternalSecretNotReady", true), ("SecretMissing", true)];
    assert_eq!(findings(all).await.0, [&[denied; 3][..], &rest].concat());
}

#[tokio::test]
async fn where_a_cluster_external_secret_is_to_be_asked_preflight_asks_whether_it_may() {
    let review = |allowed: bool| (201, json!({"spec": {}, "status": {"allowed": allowed}}));
    for (allowed, denied) in [(true, None), (false, Some(("AccessDenied", true)))] {
        let all = vec![
            (200, owned()),
            (200, owner()),
            (200, store()),
            list(&json!([])),
            list(&json!([])),
            review(allowed),
        ];
        let (found, asked) = findings(all).await;
        let expected: Vec<_> = denied.into_iter().chain([("SecretMissing", true)]).collect();
        assert_eq!(found, expected);
        let last = asked.last().unwrap();
        assert_eq!(
            last.path,
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        );
        assert_eq!(
            last.body["spec"]["resourceAttributes"],
            json!({"verb": "patch", "group": "external-secrets.io", "resource": "clusterexternalsecrets", "name": "all-dbs"})
        );
    }
}
