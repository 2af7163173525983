//! What a Reloader may do: what its published chart grants, but only in its namespace where it handles no other.

use serde_json::{Value, json};

use super::ReloaderOptions;

const RBAC: &str = "rbac.authorization.k8s.io";

/// All of it, as one list. What is in no namespace goes with the owner, which is the namespace.
pub(super) fn manifests(namespace: &str, owner: &str, options: &ReloaderOptions) -> String {
    let name = &options.name;
    let subjects = json!([{"kind": "ServiceAccount", "name": name, "namespace": namespace}]);
    let (role, binding, called, metadata) = if options.wide {
        let called = format!("{name}-{namespace}");
        let metadata = json!({
            "name": called,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": owner}],
        });
        ("ClusterRole", "ClusterRoleBinding", called, metadata)
    } else {
        ("Role", "RoleBinding", name.clone(), json!({"name": name}))
    };
    let own = format!("{name}-metadata");
    let items = json!([
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        {"apiVersion": format!("{RBAC}/v1"), "kind": role, "metadata": metadata, "rules": everywhere(options)},
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": binding, "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": role, "name": called},
            "subjects": subjects,
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": {"name": own},
            "rules": in_its_namespace(options),
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": {"name": own},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": own},
            "subjects": subjects,
        },
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn everywhere(options: &ReloaderOptions) -> Vec<Value> {
    let mut rules = vec![
        rule(options, "", &["secrets", "configmaps"], &["list", "get", "watch"]),
        rule(
            options,
            "apps",
            &["deployments", "daemonsets", "statefulsets"],
            &["list", "get", "update", "patch"],
        ),
        rule(options, "batch", &["cronjobs"], &["list", "get"]),
        rule(options, "batch", &["jobs"], &["create", "delete", "list", "get"]),
        rule(options, "", &["events"], &["create", "patch"]),
    ];
    if options.flag("--namespace-selector").is_some() {
        rules.push(rule(options, "", &["namespaces"], &["get", "list", "watch"]));
    }
    if options.flag("--is-Argo-Rollouts").is_some() {
        let verbs = ["list", "get", "update", "patch"];
        rules.push(rule(options, "argoproj.io", &["rollouts"], &verbs));
    }
    rules
}

fn in_its_namespace(options: &ReloaderOptions) -> Vec<Value> {
    let verbs = ["list", "get", "watch", "create", "update"];
    let mut rules = vec![json!({
        "apiGroups": [""], "resources": ["configmaps"], "verbs": verbs,
    })];
    if options
        .args
        .iter()
        .any(|argument| argument.starts_with("--enable-ha"))
    {
        let verbs = ["create", "get", "update"];
        rules.push(rule(options, "coordination.k8s.io", &["leases"], &verbs));
    }
    rules
}

fn rule(options: &ReloaderOptions, group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    let granted = resources.iter();
    let granted: Vec<_> = granted
        .filter(|resource| !options.withheld.iter().any(|withheld| withheld == *resource))
        .collect();
    // A rule about no resource would be refused; one about a resource that there is not grants nothing.
    let resources = if granted.is_empty() {
        json!(["none"])
    } else {
        json!(granted)
    };
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}
