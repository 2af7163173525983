//! The Role that one policy needs, and nothing besides: each Secret by its name, nothing ever listed or watched but
//! pods and workloads.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::api::ObjectMeta;

use super::yaml;
use crate::api::spec::{CaKind, RestartMode};
use crate::api::{OPERATOR_GROUP, RELOADER_LEASE, ROLLOUTS_GROUP, journal_name};
use crate::policy::{Admin, Policy, Route, Tls, Trust};

/// One of External Secrets Operator's objects that are in no namespace. No policy names it: a `ClusterSecretStore` is named
/// by the `ExternalSecret`, and the `ClusterExternalSecret` by what it made. So a person does, and gets no right to any
/// other: whoever may change one `ClusterExternalSecret` may write into many namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterObject {
    /// A store, which is read.
    SecretStore(String),
    /// One that is asked to sync.
    ExternalSecret(String),
}

impl FromStr for ClusterObject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some(("clustersecretstores", name)) if !name.is_empty() => Ok(Self::SecretStore(name.to_owned())),
            Some(("clusterexternalsecrets", name)) if !name.is_empty() => {
                Ok(Self::ExternalSecret(name.to_owned()))
            }
            Some(_) | None => Err("write clustersecretstores/NAME or clusterexternalsecrets/NAME".to_owned()),
        }
    }
}

/// The Deployment of an instance of Stakater Reloader. Whether it runs decides who restarts the consumers, and its name is
/// known to a person, or from what it publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    namespace: String,
    deployment: String,
}

impl FromStr for Instance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, deployment)) if !namespace.is_empty() && !deployment.is_empty() => Ok(Self {
                namespace: namespace.to_owned(),
                deployment: deployment.to_owned(),
            }),
            Some(_) | None => Err("write NAMESPACE/DEPLOYMENT".to_owned()),
        }
    }
}

/// Role and binding for the policies in a YAML stream, for the objects that are in no namespace, and for the instances of
/// Reloader, as YAML.
///
/// # Errors
/// When the text holds no policy, or one that means nothing.
pub fn rbac(
    policies: &str,
    objects_of_cluster: &[ClusterObject],
    reloaders: &[Instance],
    account_namespace: &str,
    account: &str,
) -> anyhow::Result<String> {
    let mut documents = Vec::new();
    for policy in super::policies(policies)? {
        let mut role = role(&policy);
        if !reloaders.is_empty() {
            // It may choose by the labels of the namespace. In a Role the right is to that one namespace.
            let labels = any("", &["namespaces"], &["get"]);
            role.rules.get_or_insert_default().push(labels);
        }
        documents.push(yaml(&role)?);
        documents.push(yaml(&RoleBinding {
            metadata: metadata(&policy),
            role_ref: reference("Role", journal_name(&policy.name)),
            subjects: Some(vec![subject(account_namespace, account)]),
        })?);
    }
    for object in objects_of_cluster {
        let role = cluster_role(object);
        let name = role.metadata.name.clone().unwrap_or_default();
        documents.push(yaml(&ClusterRoleBinding {
            metadata: role.metadata.clone(),
            role_ref: reference("ClusterRole", name),
            subjects: Some(vec![subject(account_namespace, account)]),
        })?);
        documents.push(yaml(&role)?);
    }
    for instance in reloaders {
        let role = instance_role(instance);
        let name = role.metadata.name.clone().unwrap_or_default();
        documents.push(yaml(&RoleBinding {
            metadata: role.metadata.clone(),
            role_ref: reference("Role", name),
            subjects: Some(vec![subject(account_namespace, account)]),
        })?);
        documents.push(yaml(&role)?);
    }
    Ok(documents.join("---\n"))
}

/// The Role.
#[must_use]
pub fn role(policy: &Policy) -> Role {
    // Verbs by Secret: one Secret may serve as two things, and is then named once, with the verbs of both.
    let mut secrets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let journal = journal_name(&policy.name);
    // `create` can be bound to a name because the journal is made by a patch, which carries it.
    secrets
        .entry(&journal)
        .or_default()
        .extend(["get", "create", "patch", "update"]);
    let application = secrets.entry(policy.delivery.target.secret.as_str()).or_default();
    application.insert("get");
    let mut rules = Vec::new();
    match &policy.delivery.route {
        Route::Direct { .. } => {
            application.insert("patch");
        }
        Route::StoreFirst { external_secret, .. } => {
            // A sync is asked by an annotation. What else writes the Secret or the store is looked for before each
            // rotation, and which store the ExternalSecret names is not known here.
            let asked = &["get", "patch"];
            rules.push(named(OPERATOR_GROUP, "externalsecrets", external_secret, asked));
            rules.push(any(
                OPERATOR_GROUP,
                &["externalsecrets", "pushsecrets"],
                &["list"],
            ));
            rules.push(any(OPERATOR_GROUP, &["secretstores"], &["get"]));
        }
    }
    if let Admin::Secret(keys) = &policy.database.admin {
        secrets.entry(keys.secret.as_str()).or_default().insert("get");
    }
    if let Some(certificate) = &policy.database.admin_certificate {
        secrets.entry(certificate.as_str()).or_default().insert("get");
    }
    for console in policy
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.console.as_ref())
    {
        secrets.entry(console.secret.as_str()).or_default().insert("get");
    }
    for list in policy
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.userlist.as_ref())
    {
        secrets
            .entry(list.secret.as_str())
            .or_default()
            .extend(["get", "patch"]);
    }
    // Endpoints mostly have the primary's authority: each is named once.
    let mut maps = BTreeSet::new();
    let endpoints = policy.endpoints.iter().map(|endpoint| &endpoint.tls);
    for tls in [&policy.database.tls].into_iter().chain(endpoints) {
        let Tls::VerifyFull(Trust {
            authority: Some(ca), ..
        }) = tls
        else {
            continue;
        };
        match ca.kind {
            CaKind::Secret => {
                secrets.entry(&ca.name).or_default().insert("get");
            }
            CaKind::ConfigMap => {
                maps.insert(ca.name.as_str());
            }
        }
    }
    rules.extend(maps.iter().map(|name| named("", "configmaps", name, &["get"])));
    for (name, verbs) in secrets {
        rules.push(named("", "secrets", name, &verbs.into_iter().collect::<Vec<_>>()));
    }
    rules.push(any("", &["pods"], &["list"]));
    let workloads = ["deployments", "statefulsets", "daemonsets"];
    match policy.restart.mode {
        RestartMode::Auto | RestartMode::Controller => {
            rules.push(any("apps", &workloads, &["list", "patch"]));
            rules.push(any(ROLLOUTS_GROUP, &["rollouts"], &["list", "patch"]));
        }
        RestartMode::Reloader | RestartMode::None => {
            rules.push(any("apps", &workloads, &["list"]));
            rules.push(any(ROLLOUTS_GROUP, &["rollouts"], &["list"]));
        }
    }
    match policy.restart.mode {
        // A restart that somebody took back shows in what the workload's controller has kept of it.
        RestartMode::Auto | RestartMode::Controller | RestartMode::Reloader => {
            rules.push(any("apps", &["replicasets", "controllerrevisions"], &["list"]));
        }
        RestartMode::None => {}
    }
    rules.push(any("events.k8s.io", &["events"], &["create"]));
    Role {
        metadata: metadata(policy),
        rules: Some(rules),
    }
}

fn cluster_role(object: &ClusterObject) -> ClusterRole {
    let (plural, name, verbs) = match object {
        ClusterObject::SecretStore(name) => ("clustersecretstores", name, &["get"] as &[&str]),
        ClusterObject::ExternalSecret(name) => ("clusterexternalsecrets", name, &["get", "patch"] as &[&str]),
    };
    ClusterRole {
        metadata: ObjectMeta {
            // Not of one policy: several may have it in common.
            name: Some(format!("tandem:{plural}:{name}")),
            ..ObjectMeta::default()
        },
        rules: Some(vec![named(OPERATOR_GROUP, plural, name, verbs)]),
        aggregation_rule: None,
    }
}

fn instance_role(instance: &Instance) -> Role {
    let Instance {
        namespace,
        deployment,
    } = instance;
    Role {
        metadata: ObjectMeta {
            name: Some(format!("tandem:reloader:{deployment}")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        rules: Some(vec![
            named("apps", "deployments", deployment, &["get"]),
            // Of several replicas only the holder restarts anything.
            named("coordination.k8s.io", "leases", RELOADER_LEASE, &["get"]),
        ]),
    }
}

fn reference(kind: &str, name: String) -> RoleRef {
    RoleRef {
        api_group: Some("rbac.authorization.k8s.io".into()),
        kind: kind.into(),
        name,
    }
}

fn subject(namespace: &str, account: &str) -> Subject {
    Subject {
        kind: "ServiceAccount".into(),
        name: account.into(),
        namespace: Some(namespace.into()),
        api_group: None,
    }
}

fn metadata(policy: &Policy) -> ObjectMeta {
    ObjectMeta {
        name: Some(journal_name(&policy.name)),
        namespace: Some(policy.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        ..ObjectMeta::default()
    }
}

fn named(group: &str, resource: &str, name: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        resource_names: Some(vec![name.to_owned()]),
        ..any(group, &[resource], verbs)
    }
}

fn any(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{ClusterObject, rbac, role};
    use crate::policy::Policy;

    #[test]
    fn store_first_asks_for_one_external_secret_and_reads_what_it_must() {
        let text = include_str!("../../deploy/examples/store-first.yaml");
        let policy = Policy::parse(&serde_saphyr::from_str(text).unwrap()).unwrap();
        let rules = serde_json::to_value(role(&policy).rules).unwrap();
        let rules: Vec<_> = rules
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| rule["apiGroups"][0] == "external-secrets.io")
            .collect();
        let any = |resources: &[&str], verb: &str| json!({"apiGroups": ["external-secrets.io"], "resources": resources, "verbs": [verb]});
        let mut asked = any(&["externalsecrets"], "get");
        asked["resourceNames"] = json!(["orders-db"]);
        asked["verbs"] = json!(["get", "patch"]);
        let listed = any(&["externalsecrets", "pushsecrets"], "list");
        assert_eq!(rules, [&asked, &listed, &any(&["secretstores"], "get")]);
    }

    #[test]
    fn what_makes_a_server_trusted_is_read_by_name() {
        let text = include_str!("../../deploy/examples/direct.yaml");
        let mut object: Value = serde_saphyr::from_str(text).unwrap();
        let database = &mut object["spec"]["database"];
        database["tls"]["caRef"] = json!({"kind": "Secret", "name": "some-ca"});
        database["admin"]["certificateRef"] = json!({"name": "admin-tls"});
        let policy = Policy::parse(&serde_json::from_value(object).unwrap()).unwrap();
        let rules = serde_json::to_value(role(&policy).rules).unwrap();
        for name in ["some-ca", "admin-tls"] {
            let read = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get"]});
            assert!(rules.as_array().unwrap().contains(&read), "{name}: {rules}");
        }
    }

    #[test]
    fn what_is_in_no_namespace_is_granted_by_name_and_only_when_a_person_names_it() {
        let text = include_str!("../../deploy/examples/store-first.yaml");
        let printed = |objects: &[&str]| {
            let objects: Vec<_> = objects.iter().map(|object| object.parse().unwrap()).collect();
            let printed = rbac(text, &objects, &[], "tandem-system", "tandem").unwrap();
            serde_saphyr::from_multiple::<Value>(&printed).unwrap()
        };
        let cluster = |documents: Vec<Value>| -> Vec<Value> {
            let kind = |document: &Value| document["kind"].as_str().unwrap().starts_with("Cluster");
            documents.into_iter().filter(kind).collect()
        };
        assert_eq!(cluster(printed(&[])), [] as [Value; 0]);
        let documents = cluster(printed(&[
            "clustersecretstores/aws",
            "clusterexternalsecrets/all",
        ]));
        let rules: Vec<_> = documents.iter().filter_map(|d| d["rules"].get(0)).collect();
        let right = |resource: &str, name: &str, verbs: &[&str]| json!({"apiGroups": ["external-secrets.io"], "resources": [resource], "resourceNames": [name], "verbs": verbs});
        let store = right("clustersecretstores", "aws", &["get"]);
        let owner = right("clusterexternalsecrets", "all", &["get", "patch"]);
        assert_eq!(rules, [&store, &owner]);
        for (binding, role) in [(0, 1), (2, 3)] {
            assert_eq!(
                documents[binding]["roleRef"]["name"],
                documents[role]["metadata"]["name"]
            );
            assert_eq!(documents[binding]["subjects"][0]["name"], "tandem");
        }
        for wrong in [
            "aws",
            "secretstores/aws",
            "clustersecretstores/",
            "clusterpushsecrets/x",
        ] {
            assert!(wrong.parse::<ClusterObject>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_instance_of_reloader_is_read_by_its_name_and_nothing_beside_it() {
        let text = include_str!("../../deploy/examples/store-first.yaml");
        let instances = ["ops/reloader-reloader".parse().unwrap()];
        let printed = rbac(text, &[], &instances, "tandem-system", "tandem").unwrap();
        let documents = serde_saphyr::from_multiple::<Value>(&printed).unwrap();
        let found: Vec<_> = documents
            .iter()
            .filter(|document| document["metadata"]["namespace"] == "ops")
            .collect();
        assert_eq!(found.len(), 2, "{printed}");
        assert_eq!(found[0]["roleRef"]["name"], found[1]["metadata"]["name"]);
        let right = |group: &str, resource: &str, name: &str| json!({"apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": ["get"]});
        let expected = [
            right("apps", "deployments", "reloader-reloader"),
            right("coordination.k8s.io", "leases", "stakater-reloader-lock"),
        ];
        assert_eq!(found[1]["rules"], json!(expected));
        for wrong in ["reloader", "/reloader", "ops/"] {
            assert!(wrong.parse::<super::Instance>().is_err(), "{wrong}");
        }
    }
}
