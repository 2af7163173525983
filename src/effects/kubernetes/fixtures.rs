//! Plain objects for tests.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::consumers::Workloads;
use crate::api::RotationPolicy;
use crate::policy::Policy;

/// The mark that the tests' delivery makes.
pub(super) const MARK: &str = "uid-1.3.1700000000";

/// A policy `app` in `shop` that delivers to Secret `db`, with these fields in `restart`.
pub(super) fn policy(restart: &Value) -> Policy {
    let object: RotationPolicy = object(json!({
        "apiVersion": "tandem.dev/v1alpha1",
        "kind": "RotationPolicy",
        "metadata": {"name": "app", "namespace": "shop", "uid": "uid-1"},
        "spec": {
            "users": ["app_a", "app_b"],
            "database": {"host": "db", "name": "appdb", "admin": {"secretRef": {"name": "admin"}}},
            "delivery": {"secret": {"name": "db", "templates": {"URL": "postgresql://{username}:{password:uri}@db"}}},
            "restart": restart,
        },
    }));
    Policy::parse(&object).unwrap()
}

/// A policy `app` in `shop` that delivers through the store secret `shop/db` and `ExternalSecret` `db` to Secret `db`.
pub(super) fn store_first() -> Policy {
    let object: RotationPolicy = object(json!({
        "apiVersion": "tandem.dev/v1alpha1",
        "kind": "RotationPolicy",
        "metadata": {"name": "app", "namespace": "shop", "uid": "uid-1"},
        "spec": {
            "users": ["app_a", "app_b"],
            "database": {"host": "db", "name": "appdb", "admin": {"secretRef": {"name": "admin"}}},
            "delivery": {"externalSecret": {
                "name": "db",
                "awsSecretsManager": {"secretId": "shop/db", "region": "eu-central-1"},
            }},
            "restart": {},
        },
    }));
    Policy::parse(&object).unwrap()
}

/// Any object from JSON.
pub(super) fn object<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

/// So many seconds after the delivery.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// A spec that uses Secret `db`, or one that does not.
pub(super) fn spec(uses: bool) -> Value {
    let from = if uses {
        json!([{"secretRef": {"name": "db"}}])
    } else {
        json!([])
    };
    json!({"nodeName": "node-1", "containers": [{"name": "main", "envFrom": from}]})
}

/// The annotation that marks a template or a pod.
pub(super) fn marked() -> Value {
    json!({"rotation.tandem.dev/app": MARK})
}

/// Puts one object over another, field by field.
pub(super) fn over(mut below: Value, above: Value) -> Value {
    match (&mut below, above) {
        (Value::Object(fields), Value::Object(more)) => {
            for (key, value) in more {
                let field = fields.remove(&key).unwrap_or(Value::Null);
                fields.insert(key, over(field, value));
            }
            below
        }
        (_, above) => above,
    }
}

/// A ready pod, owned by nobody, that uses the Secret.
pub(super) fn pod(name: &str, age: i64, more: Value) -> Value {
    let pod = json!({
        "metadata": {"name": name, "uid": format!("uid-of-{name}"), "creationTimestamp": at(age).to_string()},
        "spec": spec(true),
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    over(pod, more)
}

/// A ready pod of a workload that uses the Secret. A Deployment's is owned by a `ReplicaSet` with the hash `5d9f`.
pub(super) fn pod_of(kind: &str, workload: &str, name: &str, age: i64, more: Value) -> Value {
    let (group, kind, owner) = match kind {
        "Deployment" => ("apps/v1", "ReplicaSet", format!("{workload}-5d9f")),
        "Job" => ("batch/v1", kind, workload.to_owned()),
        _ => ("apps/v1", kind, workload.to_owned()),
    };
    let uid = format!("uid-of-{owner}");
    let metadata = json!({
        "labels": {"pod-template-hash": "5d9f"},
        "ownerReferences": [{"apiVersion": group, "kind": kind, "name": owner, "uid": uid, "controller": true}],
    });
    pod(name, age, over(json!({"metadata": metadata}), more))
}

/// A workload whose template uses the Secret.
pub(super) fn workload(name: &str, more: Value) -> Value {
    let workload = json!({
        "metadata": {"name": name, "uid": format!("uid-of-{name}")},
        "spec": {"serviceName": name, "selector": {}, "template": {"metadata": {}, "spec": spec(true)}},
    });
    over(workload, more)
}

/// A namespace with these pods, Deployments, `StatefulSets` and `DaemonSets`.
pub(super) fn workloads(
    pods: Vec<Value>,
    deployments: Vec<Value>,
    stateful: Vec<Value>,
    daemons: Vec<Value>,
) -> Workloads {
    fn all<T: DeserializeOwned>(list: Vec<Value>) -> Vec<T> {
        list.into_iter().map(object).collect()
    }
    Workloads {
        namespace: "shop".to_owned(),
        pods: all(pods),
        deployments: all(deployments),
        stateful_sets: all(stateful),
        daemon_sets: all(daemons),
        ..Workloads::default()
    }
}
