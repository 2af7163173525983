//! Restarts that somebody took back.

use jiff::Timestamp;
use serde_json::{Value, json};
use tandem::effects::kubernetes::reloader::Reloading;
use tandem::machine::facts::Consumer;

use crate::server::{Asked, asked, policy};

const MARK: &str = "uid-1.3.41";
const DELIVERED: &str = "2026-01-02T03:04:05Z";
const BEFORE: &str = "2026-01-02T03:00:00Z";

fn list(items: &Value) -> (u16, Value) {
    (
        200,
        json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}),
    )
}

fn spec() -> Value {
    json!({"containers": [{"name": "main", "envFrom": [{"secretRef": {"name": "db"}}]}]})
}

/// A workload without the mark, which somebody wrote last with `kubectl`.
fn workload(name: &str) -> Value {
    let written =
        |manager: &str, time: &str| json!({"manager": manager, "operation": "Update", "time": time});
    let mut of_status = written("status-writer", "2026-01-02T03:09:00Z");
    of_status["subresource"] = json!("status");
    json!({
        "metadata": {
            "name": name, "uid": format!("uid-of-{name}"),
            "managedFields": [
                written("tandem", "2026-01-02T03:08:00Z"),
                written("kubectl", "2026-01-02T03:07:00Z"),
                written("helm", "2026-01-02T02:00:00Z"),
                written("kube-controller-manager", "2026-01-02T03:09:00Z"),
                of_status,
            ],
        },
        "spec": {
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec()},
        },
    })
}

fn old_pod(kind: &str, owner: &str, labels: &Value) -> Value {
    let uid = format!("uid-of-{owner}");
    json!({
        "metadata": {
            "name": format!("{owner}-pod"), "creationTimestamp": BEFORE, "labels": labels,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": uid, "controller": true}],
        },
        "spec": spec(),
    })
}

fn annotated(mark: &str) -> Value {
    json!({"rotation.tandem.dev/app": mark})
}

fn owned(owner: &str) -> Value {
    json!({"name": "x", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "any", "name": "any", "uid": owner, "controller": true}]})
}

fn replica_set(owner: &str, mark: &str) -> Value {
    json!({
        "metadata": owned(owner),
        "spec": {"selector": {}, "template": {"metadata": {"annotations": annotated(mark)}, "spec": spec()}},
    })
}

fn revision(owner: &str, mark: &str) -> Value {
    json!({
        "metadata": owned(owner), "revision": 2,
        "data": {"spec": {"template": {"$patch": "replace", "metadata": {"annotations": annotated(mark)}}}},
    })
}

/// What is made of these lists, and what was asked besides them.
async fn judged(lists: [Value; 5], more: Vec<(u16, Value)>) -> (Vec<Consumer>, Vec<Asked>) {
    let answers = [lists.iter().map(list).collect(), more].concat();
    let delivered: Timestamp = DELIVERED.parse().unwrap();
    let (consumers, mut asked) = asked(answers, async |cluster| {
        cluster
            .consumers(&policy(), MARK, Some(delivered), None, Reloading::default())
            .await
    })
    .await;
    (consumers.unwrap(), asked.split_off(5))
}

#[tokio::test]
async fn fm36_a_deployment_that_lost_its_mark_again_is_told_by_its_replica_sets() {
    let web = "uid-of-web";
    for (sets, is_reverted) in [
        (json!([replica_set(web, MARK)]), true),
        (json!([replica_set(web, "uid-1.2.40")]), false),
        // Another Deployment's, of the same labels.
        (json!([replica_set("uid-of-other", MARK)]), false),
        (json!([]), false),
    ] {
        let mut pod = old_pod("ReplicaSet", "web-5d9f", &json!({"pod-template-hash": "5d9f"}));
        pod["metadata"]["ownerReferences"][0]["uid"] = json!("uid-of-set");
        let lists = [
            json!([pod]),
            json!([workload("web")]),
            json!([]),
            json!([]),
            json!([]),
        ];
        let (consumers, asked) = judged(lists, vec![list(&sets)]).await;
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].path, "/apis/apps/v1/namespaces/shop/replicasets");
        assert_eq!(asked[0].query, ["labelSelector=app%3Dweb"]);
        assert_eq!(consumers.len(), 1, "{consumers:?}");
        assert_eq!((consumers[0].marked, consumers[0].reverted), (false, is_reverted));
        let said = consumers[0].obstacle.clone().unwrap_or_default();
        assert_eq!(
            said.contains("kubectl wrote last at 2026-01-02T03:07:00Z")
                && said.contains("kubectl -n shop rollout restart deployment/web"),
            is_reverted,
            "{said}"
        );
    }
}

#[tokio::test]
async fn fm36_the_others_are_told_by_their_revisions_and_only_up_to_the_next_to_be_restarted() {
    let kinds = |name: &str, kind: &str| (old_pod(kind, name, &json!({})), workload(name));
    let (a, set_a) = kinds("a", "StatefulSet");
    let (b, set_b) = kinds("b", "StatefulSet");
    let (c, set_c) = kinds("c", "DaemonSet");
    let lists = || {
        [
            json!([a, b, c]),
            json!([]),
            json!([set_a, set_b]),
            json!([set_c]),
            json!([]),
        ]
    };
    let took_back = |name: &str| list(&json!([revision(&format!("uid-of-{name}"), MARK)]));
    let reverted = |consumers: &[Consumer]| -> Vec<String> {
        let which = consumers.iter().filter(|consumer| consumer.reverted);
        which.map(|consumer| consumer.reference.to_string()).collect()
    };
    let (consumers, asked) = judged(lists(), vec![took_back("a"), took_back("b"), took_back("c")]).await;
    assert_eq!(
        reverted(&consumers),
        ["statefulset/a", "statefulset/b", "daemonset/c"]
    );
    let paths: Vec<_> = asked
        .iter()
        .map(|a| (a.path.as_str(), a.query.join("")))
        .collect();
    let path = "/apis/apps/v1/namespaces/shop/controllerrevisions";
    assert_eq!(
        paths,
        ["a", "b", "c"].map(|name| (path, format!("labelSelector=app%3D{name}")))
    );

    let (consumers, asked) = judged(lists(), vec![took_back("a"), list(&json!([]))]).await;
    assert_eq!(reverted(&consumers), ["statefulset/a"]);
    assert_eq!(asked.len(), 2, "b is restarted next, and c after it");
}

#[tokio::test]
async fn fm36_a_rollout_whose_time_was_taken_away_is_told_by_its_own_mark() {
    let labels = json!({"rollouts-pod-template-hash": "77"});
    let pod = old_pod("ReplicaSet", "shop-77", &labels);
    for (mark, restart_at, marked, is_reverted) in [
        (MARK, None, false, true),
        (MARK, Some(BEFORE), false, true),
        ("uid-1.2.40", Some(BEFORE), false, false),
        (MARK, Some("2026-01-02T03:04:06Z"), true, false),
        // Somebody else's restart serves as well.
        ("uid-1.2.40", Some("2026-01-02T03:05:00Z"), true, false),
    ] {
        let mut rollout = workload("shop");
        rollout["metadata"]["annotations"] = annotated(mark);
        rollout["spec"]["restartAt"] = json!(restart_at);
        let lists = [json!([pod]), json!([]), json!([]), json!([]), json!([rollout])];
        let (consumers, asked) = judged(lists, vec![]).await;
        assert_eq!(asked, []);
        assert_eq!(consumers.len(), 1, "{consumers:?}");
        assert_eq!(consumers[0].reference.to_string(), "rollout/shop");
        assert_eq!(
            (consumers[0].marked, consumers[0].reverted),
            (marked, is_reverted),
            "{mark} {restart_at:?}"
        );
        let said = consumers[0].obstacle.clone().unwrap_or_default();
        assert_eq!(
            said.contains("patch rollout shop --type merge"),
            is_reverted,
            "{said}"
        );
    }
}
