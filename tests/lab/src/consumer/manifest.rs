//! An application's manifest.

use serde_json::{Value, json};

use super::{ConsumerOptions, Kind, Source, sidecar};
use crate::node::IMAGE;
use crate::pods::{Mount, machine, volume_mounts, volumes};

const LOGIN: &str = "/login";

/// The whole object, with the given directories of the machine in its pods.
pub(super) fn manifest(options: &ConsumerOptions, own: &[Mount]) -> Value {
    let mut manifest = match options.kind {
        Kind::Pod => pod(options, own),
        Kind::Job => json!({"spec": job(options, own)}),
        // It runs when a test asks for it, and never by itself.
        Kind::CronJob => json!({
            "spec": {"schedule": "0 0 29 2 *", "suspend": true, "jobTemplate": {"spec": job(options, own)}},
        }),
        Kind::Deployment => workload(
            options,
            own,
            &json!({
                "replicas": options.replicas,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            }),
        ),
        Kind::StatefulSet => workload(
            options,
            own,
            &json!({"replicas": options.replicas, "serviceName": options.name}),
        ),
        Kind::DaemonSet => workload(options, own, &json!({})),
        Kind::ReplicaSet => workload(options, own, &json!({"replicas": options.replicas})),
        Kind::Rollout => workload(
            options,
            own,
            &json!({
                "replicas": options.replicas,
                "strategy": {"canary": {"maxSurge": 1, "maxUnavailable": 0}},
            }),
        ),
    };
    let head = json!({
        "apiVersion": options.kind.resource().api_version,
        "kind": format!("{:?}", options.kind),
        "metadata": {"name": options.name, "annotations": options.annotations},
    });
    merge(&mut manifest, &head);
    merge(&mut manifest, &options.patch);
    manifest
}

fn workload(options: &ConsumerOptions, own: &[Mount], rest: &Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": options.name}},
        "template": pod(options, own),
    });
    merge(&mut spec, rest);
    json!({"spec": spec})
}

fn job(options: &ConsumerOptions, own: &[Mount]) -> Value {
    json!({"backoffLimit": 0, "template": pod(options, own)})
}

/// A pod, which is also what a workload has as its template.
fn pod(options: &ConsumerOptions, own: &[Mount]) -> Value {
    let mounts: Vec<Mount> = machine().into_iter().chain(own.iter().cloned()).collect();
    let mut pod_volumes = volumes(&mounts);
    let mut container_mounts = volume_mounts(&mounts);
    if let Some(ca) = &options.ca {
        pod_volumes.push(json!({"name": "ca", "configMap": {"name": ca}}));
        container_mounts.push(json!({"name": "ca", "mountPath": "/ca", "readOnly": true}));
    }
    let login = login(options);
    if let Some(volume) = &login.volume {
        pod_volumes.push(volume.clone());
        container_mounts.push(json!({"name": "login", "mountPath": LOGIN}));
    }
    let mut init_containers = login.init_containers.clone();
    if let Some(mode) = options.sidecar {
        pod_volumes.push(sidecar::volume());
        init_containers.push(sidecar::container(
            options,
            mode,
            &variables(options),
            &container_mounts,
        ));
    }
    let mut env =
        vec![json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})];
    env.extend(login.env);
    json!({
        "metadata": {"labels": {"app": options.name}, "annotations": options.pod_annotations},
        "spec": {
            "terminationGracePeriodSeconds": options.grace.as_secs(),
            "restartPolicy": match options.kind {
                Kind::Job | Kind::CronJob => "Never",
                Kind::Deployment
                | Kind::StatefulSet
                | Kind::DaemonSet
                | Kind::ReplicaSet
                | Kind::Rollout
                | Kind::Pod => "Always",
            },
            "volumes": pod_volumes,
            "initContainers": init_containers,
            "containers": [{
                "name": options.name,
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": command(options, &login.arguments),
                "env": env,
                "envFrom": login.env_from,
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
                "volumeMounts": container_mounts,
            }],
        },
    })
}

fn command(options: &ConsumerOptions, login: &[String]) -> Vec<String> {
    let mut command: Vec<String> = ["/lab/bin/lab", "consumer", "--tally=/lab/tally"]
        .map(ToOwned::to_owned)
        .to_vec();
    let (host, port, ca) = match options.sidecar {
        None => (options.host.as_str(), options.port, options.ca.as_ref()),
        Some(_) => ("127.0.0.1", sidecar::PORT, None),
    };
    command.extend([
        format!("--host={host}"),
        format!("--port={port}"),
        format!("--database={}", options.database),
        format!("--pool={}", options.pool),
        format!("--login-every={}", options.login_every.as_millis()),
        format!("--query-every={}", options.query_every.as_millis()),
        format!("--linger={}", options.linger.as_millis()),
    ]);
    command.extend(
        options
            .lasts
            .map(|lasts| format!("--lasts={}", lasts.as_millis())),
    );
    command.extend(ca.map(|_| "--ca=/ca/ca.crt".to_owned()));
    command.extend(options.reread.then(|| "--reread".to_owned()));
    command.extend_from_slice(login);
    command
}

/// The parts of a pod by which the login gets into it.
#[derive(Default)]
struct Login {
    arguments: Vec<String>,
    env: Vec<Value>,
    env_from: Vec<Value>,
    volume: Option<Value>,
    init_containers: Vec<Value>,
}

fn login(options: &ConsumerOptions) -> Login {
    let ConsumerOptions {
        secret,
        username_key,
        password_key,
        ..
    } = options;
    let keys = [
        format!("--username-key={username_key}"),
        format!("--password-key={password_key}"),
    ];
    let in_files = [&keys[..], &[format!("--login-directory={LOGIN}")]].concat();
    let variables = variables(options);
    match options.source {
        Source::Env => Login {
            env: variables,
            ..Login::default()
        },
        Source::EnvFrom => Login {
            arguments: keys.to_vec(),
            env_from: vec![json!({"secretRef": {"name": secret}})],
            ..Login::default()
        },
        Source::Volume => Login {
            arguments: in_files,
            volume: Some(json!({"name": "login", "secret": {"secretName": secret}})),
            ..Login::default()
        },
        Source::Projected => Login {
            arguments: in_files,
            volume: Some(json!({"name": "login", "projected": {"sources": [{"secret": {"name": secret}}]}})),
            ..Login::default()
        },
        Source::InitContainer => Login {
            arguments: in_files,
            volume: Some(json!({"name": "login", "emptyDir": {}})),
            init_containers: vec![json!({
                "name": "login",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", format!(
                    r#"printf %s "$DB_USERNAME" >{LOGIN}/{username_key}; printf %s "$DB_PASSWORD" >{LOGIN}/{password_key}"#
                )],
                "env": variables,
                "volumeMounts": [{"name": "login", "mountPath": LOGIN}],
            })],
            ..Login::default()
        },
    }
}

/// The login in two variables.
fn variables(options: &ConsumerOptions) -> Vec<Value> {
    let variable = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": options.secret, "key": key}}});
    vec![
        variable("DB_USERNAME", &options.username_key),
        variable("DB_PASSWORD", &options.password_key),
    ]
}

/// Puts one object over another, field by field; anything else is replaced.
pub(crate) fn merge(below: &mut Value, above: &Value) {
    match (below, above) {
        (_, Value::Null) => {}
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                merge(below.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_replaces_leaves_and_keeps_the_rest() {
        let mut below = json!({"a": {"b": 1, "c": 2}, "d": [1, 2]});
        merge(&mut below, &json!({"a": {"b": 9}, "d": [3], "e": {"f": 4}}));
        assert_eq!(below, json!({"a": {"b": 9, "c": 2}, "d": [3], "e": {"f": 4}}));
    }
}
