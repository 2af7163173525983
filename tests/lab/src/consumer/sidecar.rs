//! A pooler in the application's own pod. It starts before the application and ends after it, and its list of passwords is
//! what the Secret says when the pod starts: it is renewed with its pod, like the application itself.

use serde_json::{Value, json};

use super::ConsumerOptions;
use crate::host::pgbouncer::PROGRAM;
use crate::node::IMAGE;
use crate::pgbouncer::PoolMode;
use crate::postgres::USER;

/// Where the application finds it.
pub(super) const PORT: u16 = 6432;
const DIRECTORY: &str = "/pooler";

/// Where its files are.
pub(super) fn volume() -> Value {
    json!({"name": "pooler", "emptyDir": {}})
}

/// The container, which sees what the application sees.
pub(super) fn container(
    options: &ConsumerOptions,
    mode: PoolMode,
    login: &[Value],
    mounts: &[Value],
) -> Value {
    let script = format!(
        r#"printf '"%s" "%s"\n' "$DB_USERNAME" "$DB_PASSWORD" >{DIRECTORY}/userlist.txt
printf %s "$SETTINGS" >{DIRECTORY}/pgbouncer.ini
exec {PROGRAM} {DIRECTORY}/pgbouncer.ini"#
    );
    let mut env = login.to_vec();
    env.push(json!({"name": "SETTINGS", "value": settings(options, mode)}));
    let mut mounts = mounts.to_vec();
    mounts.push(json!({"name": "pooler", "mountPath": DIRECTORY}));
    json!({
        "name": "pooler",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "restartPolicy": "Always",
        "securityContext": {"runAsUser": USER, "runAsGroup": USER},
        "command": ["/bin/sh", "-c", script],
        "env": env,
        "startupProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1, "failureThreshold": 60},
        "volumeMounts": mounts,
    })
}

fn settings(options: &ConsumerOptions, mode: PoolMode) -> String {
    let trust = match &options.ca {
        Some(_) => "server_tls_sslmode = verify-full\nserver_tls_ca_file = /ca/ca.crt",
        None => "server_tls_sslmode = disable",
    };
    format!(
        "[databases]
* = host={} port={}
[pgbouncer]
listen_addr = *
listen_port = {PORT}
unix_socket_dir =
logfile = {DIRECTORY}/pgbouncer.log
auth_type = scram-sha-256
auth_file = {DIRECTORY}/userlist.txt
pool_mode = {}
{trust}
",
        options.host,
        options.port,
        mode.as_str()
    )
}
