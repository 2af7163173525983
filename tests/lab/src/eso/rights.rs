//! What an operator may do: what its published chart grants, but only in its namespace wherever that is possible.

use serde_json::{Value, json};

use super::{FOR_NAMESPACE, GROUP};

/// The service account, and everything that gives it rights.
pub(super) const NAME: &str = "external-secrets";
const GENERATORS: &str = "generators.external-secrets.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// All of it, as one list.
pub(super) fn manifests(namespace: &str, cluster_external_secrets: bool) -> String {
    // The names of what is in no namespace have to be this one's own.
    let wide = format!("{NAME}-{namespace}");
    let metadata = json!({"name": wide, "labels": {(FOR_NAMESPACE): namespace}});
    let subjects = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}]);
    let items = json!([
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}},
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "Role",
            "metadata": {"name": NAME},
            "rules": in_its_namespace(),
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding",
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": NAME},
            "subjects": subjects,
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole",
            "metadata": metadata,
            "rules": in_no_namespace(cluster_external_secrets),
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": wide},
            "subjects": subjects,
        },
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn in_its_namespace() -> Value {
    json!([
        {
            "apiGroups": [GROUP],
            "resources": ["secretstores", "externalsecrets", "pushsecrets"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        },
        {
            "apiGroups": [GROUP],
            "resources": ["secretstores/status", "externalsecrets/status", "pushsecrets/status"],
            "verbs": ["get", "update", "patch"],
        },
        {
            "apiGroups": [GENERATORS],
            "resources": ["generatorstates"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
        },
        {"apiGroups": [GENERATORS], "resources": ["passwords"], "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        },
        {"apiGroups": [""], "resources": ["configmaps", "serviceaccounts"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["serviceaccounts/token", "events"], "verbs": ["create", "patch"]},
    ])
}

fn in_no_namespace(cluster_external_secrets: bool) -> Value {
    let mut rules = vec![
        json!({
            "apiGroups": [GROUP],
            "resources": ["clustersecretstores", "clustersecretstores/status"],
            "verbs": ["get", "list", "watch", "update", "patch"],
        }),
        json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]}),
        // Events of what is in no namespace are in the default one.
        json!({"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}),
    ];
    if cluster_external_secrets {
        rules.push(json!({
            "apiGroups": [GROUP],
            "resources": ["clusterexternalsecrets", "clusterexternalsecrets/status"],
            "verbs": ["get", "list", "watch", "update", "patch"],
        }));
        // It marks a namespace while it has something in there.
        rules.push(json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["update", "patch"]}));
    }
    Value::Array(rules)
}
