//! Each rule on small objects. The names carry the numbers of the cases in external-secrets-observed ("seen") and of the
//! compatibility cases ("case").

#![allow(
    clippy::needless_pass_by_value,
    clippy::similar_names,
    reason = "an object is written where it is used, and is read as one line"
)]

mod carried;
mod refused;
mod told;

use serde_json::{Value, json};

use super::objects::{ClusterExternalSecret, ExternalSecret, PushSecret, Store, StoreRef};
use super::reads::Stores;
use super::rules;
use super::setting::Setting;
use crate::effects::kubernetes::fixtures::{object, over, store_first};
use crate::effects::kubernetes::secret::{AppSecret, text};
use crate::machine::facts::Finding;
use crate::policy::{Policy, Route};
use crate::sensitive::Sensitive;

/// A password of the kind that Tandem makes.
const NEW: &str = "neu-passwort-0123456789abcdefgh";
/// And the one before it.
const OLD: &str = "alt-passwort-0123456789abcdefgh";

/// Everything as it should be, with a change.
fn world(change: Value) -> Value {
    let ready = json!({"conditions": [
        {"type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced"},
    ], "refreshTime": "2026-11-20T03:00:00Z"});
    let right = json!({
        "external": {
            "metadata": {"name": "db", "uid": "uid-es", "resourceVersion": "7"},
            "spec": {
                "refreshInterval": "1h0m0s",
                "secretStoreRef": {"kind": "SecretStore", "name": "aws"},
                "target": {"creationPolicy": "Owner", "deletionPolicy": "Retain"},
                "data": [entry("username", json!({})), entry("password", json!({}))],
            },
            "status": ready,
        },
        "owner": null,
        "stores": {
            "aws": store(json!({})),
        },
        "others": [],
        "pushes": [],
        "secret": {
            "metadata": {"name": "db", "uid": "uid-s", "resourceVersion": "9",
                "labels": {"reconcile.external-secrets.io/managed": "true"}},
        },
    });
    over(right, change)
}

/// An entry of an `ExternalSecret` that reads one property of the policy's secret, with more about the reference.
fn entry(property: &str, more: Value) -> Value {
    json!({"secretKey": property, "remoteRef": over(json!({"key": "shop/db", "property": property}), more)})
}

/// A store in the policy's region, with more about AWS.
fn store(more: Value) -> Value {
    let aws = json!({"service": "SecretsManager", "region": "eu-central-1"});
    json!({
        "metadata": {"name": "aws"},
        "spec": {"provider": {"aws": over(aws, more)}},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Valid"}]},
    })
}

/// A change to the spec of the `ExternalSecret`.
fn spec(change: Value) -> Value {
    json!({"external": {"spec": change}})
}

fn setting<'a>(policy: &'a Policy, world: &Value) -> Setting<'a> {
    let Route::StoreFirst { source, .. } = &policy.delivery.route else {
        panic!("a policy with a store");
    };
    let mut stores = Stores::new();
    for (name, store) in world["stores"].as_object().unwrap() {
        let kind = if name.starts_with("cluster") {
            "ClusterSecretStore"
        } else {
            "SecretStore"
        };
        let reference = StoreRef {
            name: name.clone(),
            kind: kind.to_owned(),
        };
        stores.insert(reference, object::<Option<Store>>(store.clone()));
    }
    Setting {
        policy,
        source,
        version: "v1",
        external: object::<Box<ExternalSecret>>(world["external"].clone()),
        owner: object::<Option<Box<ClusterExternalSecret>>>(world["owner"].clone()),
        stores,
        others: object::<Vec<ExternalSecret>>(world["others"].clone()),
        pushes: object::<Vec<PushSecret>>(world["pushes"].clone()),
    }
}

fn app(world: &Value) -> Option<AppSecret> {
    let live: k8s_openapi::api::core::v1::Secret = object::<Option<_>>(world["secret"].clone())?;
    let user = text(&live, "username").and_then(|user| crate::policy::target::RoleName::new(user).ok());
    Some(AppSecret {
        user,
        password: text(&live, "password").map(|text| Sensitive::new(text.to_owned())),
        live,
    })
}

/// Everything that is found before a rotation, in a world with this change.
fn findings(change: Value) -> Vec<Finding> {
    let world = world(change);
    let policy = store_first();
    let setting = setting(&policy, &world);
    let mut findings = rules::in_the_way(&setting);
    findings.extend(rules::before_rotation(&setting, app(&world).as_ref()));
    for finding in &findings {
        let message = &finding.message;
        assert!(message.contains("kubectl "), "the next command: {message}");
        assert!(
            message.contains(" shop/") || message.contains("Cluster"),
            "the object: {message}"
        );
    }
    findings
}

/// Their reasons, and whether they block.
fn found(change: Value) -> Vec<(&'static str, bool)> {
    findings(change).iter().map(|f| (f.reason, f.blocks)).collect()
}

/// The message of the only one.
fn message(change: Value) -> String {
    let mut found = findings(change);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).message
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(found(json!({})), []);
}
