//! Generated manifests are what the program prints, examples mean something, and the API server refuses at admission
//! what a rule can refuse.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tandem::api::RotationPolicy;
use tandem::manifest;
use tandem::policy::Policy;

#[test]
fn the_committed_crd_is_the_generated_one() {
    let committed = include_str!("../crds/rotationpolicies.yaml");
    assert_eq!(
        committed,
        manifest::crd().unwrap(),
        "mend it with: cargo run --bin tandem -- crd > crds/rotationpolicies.yaml"
    );
}

#[test]
fn the_documented_rights_in_aws_are_the_generated_ones() {
    let example = include_str!("../deploy/examples/store-first.yaml");
    let generated = manifest::iam::iam(example, None).unwrap();
    let documented = include_str!("../docs/iam.md");
    assert!(
        documented.contains(&format!("```json\n{generated}```\n")),
        "mend docs/iam.md with: cargo run --bin tandem -- iam -f deploy/examples/store-first.yaml\n{generated}"
    );
}

#[test]
fn rights_in_aws_that_nobody_needs_are_not_printed() {
    let direct = include_str!("../deploy/examples/direct.yaml");
    let error = manifest::iam::iam(direct, None).unwrap_err().to_string();
    assert!(error.contains("needs nothing of AWS"), "{error}");
    let stored = include_str!("../deploy/examples/store-first.yaml");
    let error = manifest::iam::iam(stored, Some("arn:aws:iam::123456789012:role/other")).unwrap_err();
    assert!(error.to_string().contains("role/other needs nothing"), "{error}");
    assert!(manifest::iam::iam("", None).is_err());
}

#[test]
fn every_field_explains_itself() {
    let crd: Value = serde_saphyr::from_str(include_str!("../crds/rotationpolicies.yaml")).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut silent = Vec::new();
    for part in ["spec", "status"] {
        look_for_silence(&schema[part], part, &mut silent);
    }
    assert_eq!(silent, Vec::<String>::new(), "kubectl explain is the manual");
}

fn look_for_silence(schema: &Value, path: &str, silent: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        if schema["items"].is_object() {
            look_for_silence(&schema["items"], path, silent);
        }
        return;
    };
    for (name, property) in properties {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            silent.push(path.clone());
        }
        look_for_silence(property, &path, silent);
    }
}

#[test]
fn examples_mean_something_and_their_roles_name_each_secret() {
    for (text, secrets) in [
        (
            include_str!("../deploy/examples/direct.yaml"),
            vec!["app-db-admin", "app-db-tandem", "db-credentials"],
        ),
        (
            include_str!("../deploy/examples/on-demand.yaml"),
            vec!["reports-db", "reports-db-admin", "reports-db-tandem"],
        ),
        (
            include_str!("../deploy/examples/poolers.yaml"),
            vec![
                "pgbouncer-console",
                "pgbouncer-userlist",
                "shop-db",
                "shop-db-admin",
                "shop-db-tandem",
            ],
        ),
        (
            include_str!("../deploy/examples/replicas.yaml"),
            vec!["shop-db", "shop-db-admin", "shop-db-tandem"],
        ),
        (
            include_str!("../deploy/examples/store-first.yaml"),
            vec!["orders-db", "orders-db-tandem"],
        ),
    ] {
        let object: RotationPolicy = serde_saphyr::from_str(text).unwrap();
        let policy = Policy::parse(&object).unwrap();
        let role = manifest::rbac::role(&policy);
        let rules = role.rules.unwrap();
        let mut named = Vec::new();
        for rule in &rules {
            if rule
                .resources
                .as_ref()
                .is_some_and(|r| r.contains(&"secrets".to_owned()))
            {
                named.extend(rule.resource_names.clone().expect("a rule on Secrets names them"));
                assert!(
                    !rule.verbs.iter().any(|verb| verb == "list" || verb == "watch"),
                    "{rule:?}"
                );
            }
        }
        named.sort();
        assert_eq!(named, secrets);
    }
}

#[test]
fn one_secret_that_serves_as_two_things_is_named_once_with_the_verbs_of_both() {
    let text = include_str!("../deploy/examples/on-demand.yaml").replace("reports-db-admin", "reports-db");
    let policy = Policy::parse(&serde_saphyr::from_str(&text).unwrap()).unwrap();
    let rules = manifest::rbac::role(&policy).rules.unwrap();
    let rules: Vec<_> = rules
        .iter()
        .filter(|r| r.resource_names.as_deref() == Some(&["reports-db".to_owned()]))
        .collect();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].verbs, ["get", "patch"]);
}

fn stored(name: &str) -> Value {
    json!({"name": name, "awsSecretsManager": {"secretId": name, "region": "eu-central-1"}})
}

/// Changes to a valid policy that make its delivery one that means nothing, each with a part of the refusal.
fn refused_deliveries() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "two deliveries",
            json!({"spec": {"delivery": {"externalSecret": stored("b")}}}),
            "exactly one of secret and externalSecret",
        ),
        (
            "no delivery",
            json!({"spec": {"delivery": {"secret": null}}}),
            "exactly one of secret and externalSecret",
        ),
        (
            "equal keys of the operator's Secret",
            json!({"spec": {"delivery": {"secret": null, "externalSecret": {
                "name": "a", "keys": {"username": "x", "password": "x"},
                "awsSecretsManager": {"secretId": "a", "region": "eu-central-1"},
            }}}}),
            "must differ",
        ),
        (
            "an external id without a role",
            json!({"spec": {"delivery": {"secret": null, "externalSecret": {
                "name": "a",
                "awsSecretsManager": {"secretId": "a", "region": "eu-central-1", "externalId": "id"},
            }}}}),
            "no meaning without roleArn",
        ),
        (
            "a region that is none",
            json!({"spec": {"delivery": {"secret": null, "externalSecret": {
                "name": "a", "awsSecretsManager": {"secretId": "a", "region": "http://elsewhere"},
            }}}}),
            "should match",
        ),
    ]
}

/// The same, of how the server is reached.
fn refused_servers() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "a CA without TLS",
            json!({"spec": {"database": {"tls": {"mode": "Disable", "caRef": {"kind": "Secret", "name": "x"}}}}}),
            "no meaning with tls.mode Disable",
        ),
        (
            "a name without a certificate",
            json!({"spec": {"database": {"tls": {"mode": "Disable", "serverName": "db.example"}}}}),
            "no meaning with tls.mode Disable",
        ),
        (
            "an unknown version of TLS",
            json!({"spec": {"database": {"tls": {"minVersion": "TLSv1.1"}}}}),
            "TLSv1.2",
        ),
        (
            "a certificate that cannot be shown",
            json!({"spec": {"database": {"tls": {"mode": "Disable"}, "admin": {"certificateRef": {"name": "x"}}}}}),
            "admin.certificateRef needs tls.mode VerifyFull",
        ),
        (
            "a function without a schema",
            json!({"spec": {"database": {"admin": {"function": "set_verifier"}}}}),
            "should match",
        ),
        (
            "a function that would have to take the right to log in away",
            json!({"spec": {"database": {"admin": {"function": "rotation.set_verifier"}}, "retire": {"mode": "NoLogin"}}}),
            "a function changes passwords only",
        ),
        (
            "two administrators",
            json!({"spec": {"database": {"admin": {"awsSecret": {"secretId": "a", "region": "eu-central-1"}}}}}),
            "exactly one of secretRef and awsSecret",
        ),
    ]
}

/// Changes to a valid policy, each with a part of the refusal.
fn refusals() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "equal users",
            json!({"spec": {"users": ["app_a", "app_a"]}}),
            "two different roles",
        ),
        (
            "one user",
            json!({"spec": {"users": ["app_a"]}}),
            "should have at least 2 items",
        ),
        (
            "three users",
            json!({"spec": {"users": ["a", "b", "c"]}}),
            "must have at most 2 items",
        ),
        (
            "an unknown field",
            json!({"spec": {"userz": ["a", "b"]}}),
            "unknown field",
        ),
        (
            "a short password",
            json!({"spec": {"password": {"length": 8}}}),
            "should be greater than or equal to 20",
        ),
        (
            "cron and every",
            json!({"spec": {"schedule": {"cron": "0 3 * * *", "every": "1d"}}}),
            "exactly one of cron and every",
        ),
        (
            "neither cron nor every",
            json!({"spec": {"schedule": {"jitter": "1m"}}}),
            "exactly one of cron and every",
        ),
        (
            "a window of seconds",
            json!({"spec": {"schedule": {"cron": "0 3 * * *", "window": "30s"}}}),
            "at least one minute",
        ),
        (
            "a window without cron",
            json!({"spec": {"schedule": {"every": "1d", "window": "2h"}}}),
            "no meaning without cron",
        ),
        (
            "a zone without cron",
            json!({"spec": {"schedule": {"every": "1d", "timeZone": "UTC"}}}),
            "no meaning without cron",
        ),
        (
            "a bad duration",
            json!({"spec": {"drain": {"quietFor": "soon"}}}),
            "should match",
        ),
        (
            "equal keys",
            json!({"spec": {"delivery": {"secret": {"keys": {"username": "x", "password": "x"}}}}}),
            "must differ",
        ),
        (
            "a template over a key",
            json!({"spec": {"delivery": {"secret": {"templates": {"password": "x"}}}}}),
            "must not use the key",
        ),
        (
            "targets that nobody restarts",
            json!({"spec": {"restart": {"mode": "None", "targets": [{"kind": "Deployment", "name": "x"}]}}}),
            "no meaning with restart.mode None",
        ),
        (
            "a rollout to take back that nobody makes",
            json!({"spec": {"restart": {"mode": "None", "onFailure": "RollBack"}}}),
            "RollBack has no meaning with restart.mode None",
        ),
        (
            "a target without a name",
            json!({"spec": {"restart": {"targets": [{"kind": "Deployment"}]}}}),
            "exactly one of name and matchLabels",
        ),
        (
            "a long name",
            json!({"metadata": {"name": "x".repeat(64)}}),
            "at most 63 characters",
        ),
    ]
}

/// The same of its endpoints.
fn refused_endpoints() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "an endpoint that is the primary",
            json!({"spec": {"database": {"endpoints": [{"name": "a", "role": "Replica", "host": "reports.example.com"}]}}}),
            "another place than the primary",
        ),
        (
            "two endpoints of one name",
            json!({"spec": {"database": {"endpoints": [
                {"name": "a", "role": "Replica", "host": "x"}, {"name": "a", "role": "Replica", "host": "y"},
            ]}}}),
            "Duplicate value",
        ),
        (
            "a pooler that nothing tells about",
            json!({"spec": {"database": {"endpoints": [{"name": "a", "role": "Pooler", "host": "x"}]}}}),
            "exactly one of console and soak",
        ),
        (
            "a list of passwords that nobody can have read",
            json!({"spec": {"database": {"endpoints": [
                {"name": "a", "role": "Pooler", "host": "x", "soak": "10m", "userlist": {"secretRef": {"name": "x"}}},
            ]}}}),
            "needs its console",
        ),
        (
            "a replica with a console",
            json!({"spec": {"database": {"endpoints": [
                {"name": "a", "role": "Replica", "host": "x", "console": {"secretRef": {"name": "x"}}},
            ]}}}),
            "a Replica neither",
        ),
        (
            "an endpoint's CA without TLS",
            json!({"spec": {"database": {"endpoints": [
                {"name": "a", "role": "Replica", "host": "x", "tls": {"mode": "Disable", "caRef": {"kind": "Secret", "name": "x"}}},
            ]}}}),
            "no meaning with tls.mode Disable",
        ),
    ]
}

#[test]
fn the_api_server_refuses_what_a_rule_can_refuse() {
    tandem_lab::run(|lab| async move {
        lab.apply(None, &manifest::crd()?).await?;
        let namespace = lab.namespace("admission").await?;
        let valid = serde_json::to_value(serde_saphyr::from_str::<Value>(include_str!(
            "../deploy/examples/on-demand.yaml"
        ))?)?;
        // A kind that is new to the API server is served a moment after it was taken.
        let patience = std::time::Duration::from_secs(30);
        let accepted = tandem_lab::eventually("the kind", patience, async || {
            let answer = create(&lab, namespace.name(), &valid).await;
            let unknown = matches!(&answer, Err(message) if message.contains("404 page not found"));
            Ok((!unknown).then_some(answer))
        })
        .await?;
        assert!(accepted.is_ok(), "the valid one is accepted: {accepted:?}");
        let mut wrong = Vec::new();
        let all = [
            refusals(),
            refused_deliveries(),
            refused_servers(),
            refused_endpoints(),
        ];
        for (what, change, reason) in all.into_iter().flatten() {
            let mut object = valid.clone();
            merge(&mut object, &change);
            match create(&lab, namespace.name(), &object).await {
                Err(message) if message.contains(reason) => {}
                answer => wrong.push(format!("{what}: {answer:?} instead of {reason:?}")),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    });
}

/// Creates without leaving anything behind, refusing unknown fields as kubectl does.
async fn create(lab: &tandem_lab::Lab, namespace: &str, object: &Value) -> Result<(), String> {
    let uri = format!(
        "/apis/tandem.dev/v1alpha1/namespaces/{namespace}/rotationpolicies?dryRun=All&fieldValidation=Strict"
    );
    let mut object = object.clone();
    object["metadata"]["namespace"] = json!(namespace);
    let request = http::Request::post(uri).header("content-type", "application/json");
    let request = request.body(serde_json::to_vec(&object).unwrap()).unwrap();
    lab.admin()
        .request_text(request)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

/// JSON merge patch (RFC 7396), as far as these changes need it.
fn merge(target: &mut Value, change: &Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, change) => *target = change.clone(),
    }
}

#[test]
fn each_failure_mode_of_the_documentation_has_a_test() {
    let names = names();
    let numbers = numbers(include_str!("../docs/failure-modes.md"));
    assert!(numbers.len() > 30, "the table was not read: {numbers:?}");
    // `fm01_to_fm08_…` stands for all between.
    let range = names.contains("fn fm01_to_fm08_");
    let has = |n: &u32| names.contains(&format!("fm{n:02}_")) || (range && (1..=8).contains(n));
    let without: Vec<u32> = numbers.into_iter().filter(|n| !has(n)).collect();
    assert_eq!(without, Vec::<u32>::new(), "these have no test");
}

#[test]
fn each_compatibility_case_of_the_documentation_has_a_test() {
    let names = names();
    let numbers = numbers(include_str!("../docs/compatibility.md"));
    let known: Vec<u32> = (1..=35).collect();
    assert_eq!(numbers, known, "the table has gaps");
    let has = |n: &u32| names.contains(&format!("case{n:02}_")) || names.contains(&format!("case_{n:02}_"));
    let without: Vec<u32> = numbers.into_iter().filter(|n| !has(n)).collect();
    assert_eq!(without, Vec::<u32>::new(), "these have no test");
}

/// The numbers in the first column of a table.
fn numbers(table: &str) -> Vec<u32> {
    table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(' ')?.0.parse().ok())
        .collect()
}

/// The names of all functions, one on a line.
fn names() -> String {
    let mut names = String::new();
    for folder in ["src", "tests"] {
        collect(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut names);
    }
    names
}

/// The names of all functions below a folder.
fn collect(folder: PathBuf, names: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let names_one = |line: &&str| {
                let line = line.trim_start();
                line.starts_with("fn ") || line.starts_with("async fn ")
            };
            for line in text.lines().filter(names_one) {
                names.push_str(line);
                names.push('\n');
            }
        }
    }
}
