//! What a PostgreSQL server's pod is made of: its files on the machine and its manifest.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::PostgresOptions;
use super::replica::begin_with_copy;
use crate::host::postgres::Installation;
use crate::node::{IMAGE, database_authority};
use crate::pods::{Mount, machine, volume_mounts, volumes};

/// PostgreSQL and `PgBouncer` refuse to run as root.
pub(crate) const USER: u32 = 999;

/// A server's directory on the machine, which the pod sees as `/server`.
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
}

impl Files {
    pub(crate) fn create(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        own(&dir)?;
        Ok(Self { dir })
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        // Moved into place: the server may be reading the former one.
        let (new, path) = (self.dir.join(format!("{name}.new")), self.dir.join(name));
        fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        own(&new)?;
        fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes a file of another server.
    pub(super) fn take(&self, from: &Path, name: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::rename(from, &path)
            .with_context(|| format!("cannot move {} to {}", from.display(), path.display()))
    }
}

fn own(path: &Path) -> Result<()> {
    chown(path, Some(USER), Some(USER))
        .with_context(|| format!("cannot give {} to the server", path.display()))
}

/// A certificate for all names by which a Service is reached, and its key.
pub(crate) fn certificate(
    home: &crate::Home,
    namespace: &str,
    name: &str,
    address: &str,
    more: &[String],
) -> Result<(String, String)> {
    let qualified = format!("{name}.{namespace}");
    let mut hosts = vec![
        name.to_owned(),
        qualified.clone(),
        format!("{qualified}.svc"),
        format!("{qualified}.svc.cluster.local"),
        "localhost".to_owned(),
        address.to_owned(),
    ];
    hosts.extend(more.iter().cloned());
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    database_authority(home)?.sign(name, None, &hosts)
}

pub(super) fn settings(options: &PostgresOptions) -> String {
    let tls = if options.tls { "on" } else { "off" };
    let mut lines = vec![
        "listen_addresses = '*'".to_owned(),
        "unix_socket_directories = '/tmp'".to_owned(),
        "password_encryption = 'scram-sha-256'".to_owned(),
        format!("ssl = {tls}"),
        "ssl_cert_file = '/server/server.crt'".to_owned(),
        "ssl_key_file = '/server/server.key'".to_owned(),
        // What a test wants to find, or not to find.
        "log_statement = 'all'".to_owned(),
        "log_connections = on".to_owned(),
        "log_line_prefix = '%m [%p] %u@%d %h '".to_owned(),
        "shared_preload_libraries = 'pg_stat_statements'".to_owned(),
        // Nothing is to survive the machine, and many servers share it.
        "fsync = off".to_owned(),
        "full_page_writes = off".to_owned(),
        "shared_buffers = '16MB'".to_owned(),
        "max_wal_size = '64MB'".to_owned(),
        "min_wal_size = '32MB'".to_owned(),
        "jit = off".to_owned(),
        "max_prepared_transactions = 10".to_owned(),
    ];
    let quoted = |(name, value): &(String, String)| format!("{name} = '{}'", value.replace('\'', "''"));
    lines.extend(options.settings.iter().map(quoted));
    lines.join("\n") + "\n"
}

pub(super) fn hba(options: &PostgresOptions, lines: Option<&str>) -> String {
    let usual = if options.tls {
        "hostssl all all all scram-sha-256\n"
    } else {
        "host all all all scram-sha-256\n"
    };
    format!(
        "local all postgres trust\nlocal all all scram-sha-256\nhost all postgres all scram-sha-256\nhost replication postgres all scram-sha-256\n{}\n",
        lines.unwrap_or(usual)
    )
}

/// The pod's first process: makes the data when there is none and runs the server, but while a file says «stopped».
///
/// As a replica it begins with the copy that was made of its primary.
pub(super) fn script(installation: &Installation, replica: bool) -> String {
    let bin = installation.seen_in_pod("bin");
    let make = if replica {
        begin_with_copy()
    } else {
        format!(
            "{bin}/initdb --no-sync --username=postgres --pwfile=/server/superuser --auth=scram-sha-256 --encoding=UTF8 --locale=C --pgdata=$data"
        )
    };
    format!(
        r#"set -u
data=/data/cluster
log=/server/server.log
server=
over=
trap 'over=yes; [ -z "$server" ] || kill -INT "$server"' TERM
[ -s $data/PG_VERSION ] || {make} >>$log 2>&1
while [ -z "$over" ]; do
  if [ -e /server/stopped ]; then sleep 0.1; continue; fi
  {bin}/postgres -D $data -c config_file=/server/postgresql.conf -c hba_file=/server/pg_hba.conf -c ident_file=/server/pg_ident.conf >>$log 2>&1 &
  server=$!
  wait $server
  [ -z "$over" ] || wait $server
  server=
  sleep 0.1
done
"#
    )
}

pub(super) fn pod(name: &str, files: &Files, installation: &Installation) -> Value {
    let mut mounts = machine();
    mounts.push(Mount::writable(&files.dir, "/server"));
    mounts.extend(installation.mount());
    let mut pod_volumes = volumes(&mounts);
    pod_volumes.push(json!({"name": "data", "emptyDir": {}}));
    let mut container_mounts = volume_mounts(&mounts);
    container_mounts.push(json!({"name": "data", "mountPath": "/data"}));
    json!({
        "metadata": {"name": name, "labels": {"app": name, "lab": "postgres"}},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
            "volumes": pod_volumes,
            "containers": [{
                "name": "postgres",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": ["/bin/sh", "/server/run.sh"],
                "env": installation.environment(),
                "ports": [{"containerPort": super::PORT}],
                "readinessProbe": {"tcpSocket": {"port": super::PORT}, "periodSeconds": 1},
                "volumeMounts": container_mounts,
            }],
        },
    })
}

pub(super) fn service(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            // A server that is down refuses connections itself, at once and without the probe's delay.
            "publishNotReadyAddresses": true,
            "ports": [{"port": super::PORT, "targetPort": super::PORT}],
        },
    })
}
