//! Servers that follow another, late when a test wants it, and take its place.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{PORT, Postgres, PostgresOptions, SUPERUSER, start};
use crate::namespace::Namespace;

/// The archive with which a copy travels from one server's directory to the other's.
pub(super) const COPY: &str = "copy.tar";
/// What the server that was copied says of the copy.
pub(super) const LABEL: &str = "backup_label";

/// What belongs to one server, and not to its copy.
const OWN: [&str; 6] = [
    "pg_wal/*",
    "pg_replslot/*",
    "postmaster.pid",
    "postmaster.opts",
    "postgresql.auto.conf",
    "standby.signal",
];

/// A copy of a running server.
pub(super) struct Copy {
    pub(super) archive: std::path::PathBuf,
    pub(super) label: String,
}

impl Postgres {
    /// Starts a second server that follows this one, under a name of its own and with the same logins.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn replica(&self, name: &str) -> Result<Self> {
        let slot = name.replace('-', "_");
        let reserve = format!("SELECT pg_create_physical_replication_slot('{slot}', true)");
        self.sql("postgres", &reserve).await?;
        let copy = self.copy().await?;
        let own = ["primary_conninfo", "primary_slot_name"];
        let mut settings = self.options.settings.clone();
        settings.retain(|(setting, _)| !own.contains(&setting.as_str()));
        settings.push((own[0].to_owned(), self.conninfo(name)));
        settings.push((own[1].to_owned(), slot));
        let options = PostgresOptions {
            name: name.to_owned(),
            sql: Vec::new(),
            settings,
            ..self.options.clone()
        };
        start(&self.namespace, options, Some((self, copy))).await
    }

    /// Has it apply each commit so much later than the primary made it; at once, with zero.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn delay(&self, by: Duration) -> Result<()> {
        self.configure("recovery_min_apply_delay", &format!("{}ms", by.as_millis()))
            .await
    }

    /// Has it apply nothing more of what it receives.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn pause_replay(&self) -> Result<()> {
        self.sql("postgres", "SELECT pg_wal_replay_pause()")
            .await
            .map(drop)
    }

    /// Has it go on.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn resume_replay(&self) -> Result<()> {
        self.sql("postgres", "SELECT pg_wal_replay_resume()")
            .await
            .map(drop)
    }

    /// Has it receive nothing more: what the primary writes from now on is lost when this one takes its place.
    ///
    /// # Errors
    /// When the server refuses it, or goes on receiving.
    pub async fn cut_off(&self) -> Result<()> {
        self.configure("primary_conninfo", "").await?;
        crate::eventually("the receiver to end", Duration::from_secs(10), async || {
            let receivers = self
                .value("postgres", "SELECT count(*) FROM pg_stat_wal_receiver")
                .await?;
            Ok((receivers.as_deref() == Some("0")).then_some(()))
        })
        .await
    }

    /// Makes it a primary; returns when it takes writes.
    ///
    /// # Errors
    /// When it does not become one.
    pub async fn promote(&self) -> Result<()> {
        match self.value("postgres", "SELECT pg_promote()").await?.as_deref() {
            Some("t") => Ok(()),
            answer => bail!("{} is not promoted: {answer:?}", self.host()),
        }
    }

    async fn configure(&self, setting: &str, value: &str) -> Result<()> {
        self.sql("postgres", &format!("ALTER SYSTEM SET {setting} = '{value}'"))
            .await?;
        self.sql("postgres", "SELECT pg_reload_conf()").await.map(drop)
    }

    /// How a replica of this name reaches it.
    fn conninfo(&self, replica: &str) -> String {
        let mode = if self.options.tls { "require" } else { "disable" };
        format!(
            "host={} port={PORT} user={SUPERUSER} password={} sslmode={mode} application_name={replica}",
            self.address, self.superuser_password
        )
    }

    /// The files of the running server, as its manual says for programs that copy by themselves: of all the versions
    /// here, one has the program that does so.
    async fn copy(&self) -> Result<Copy> {
        let (begin, end) = if self.version() < 15 {
            ("pg_start_backup('lab', true, false)", "pg_stop_backup(false)")
        } else {
            ("pg_backup_start('lab', true)", "pg_backup_stop()")
        };
        // The copy lasts as long as this session.
        let client = self
            .connect_as(SUPERUSER, &self.superuser_password, "postgres")
            .await?;
        client.batch_execute(&format!("SELECT {begin}")).await?;
        let without = OWN.map(|own| format!("--exclude='./{own}'")).join(" ");
        // That files change while they are copied is no harm, and tar's status for it is 1.
        let script = format!("/usr/bin/tar -C /data/cluster {without} -cf /server/{COPY} . || [ $? = 1 ]");
        self.exec(&["/bin/sh", "-c", &script]).await?;
        let row = client
            .query_one(&format!("SELECT labelfile FROM {end}"), &[])
            .await?;
        Ok(Copy {
            archive: self.files.dir.join(COPY),
            label: row.get(0),
        })
    }

    /// Runs a program in its pod.
    pub(super) async fn exec(&self, command: &[&str]) -> Result<()> {
        let mut kubectl = tokio::process::Command::from(self.namespace.lab().kubectl_command());
        kubectl.args(["exec", "--namespace", self.namespace.name(), self.name(), "--"]);
        kubectl.args(command);
        let output = kubectl.output().await.context("cannot run kubectl")?;
        if !output.status.success() {
            bail!(
                "`{}` in the pod of {} failed: {}",
                command.join(" "),
                self.host(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }
}

impl Copy {
    /// Moves it into the directory of the server that begins with it.
    pub(super) fn hand_over(&self, files: &super::server::Files) -> Result<()> {
        files.write(LABEL, &self.label)?;
        files.take(&self.archive, COPY)
    }
}

impl Namespace {
    /// Makes a name that leads to these servers and no other, by all their addresses: a headless Service. Asked again,
    /// it leads to others.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn name_servers(&self, name: &str, servers: &[&Postgres]) -> Result<()> {
        let label = format!("lab/name-{name}");
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "clusterIP": "None",
                "selector": {&label: "yes"},
                "publishNotReadyAddresses": true,
                "ports": [{"port": PORT, "targetPort": PORT}],
            },
        }))?;
        self.server_side_apply(name, &service).await?;
        let pods: Api<Pod> = self.api();
        let all = pods
            .list(&kube::api::ListParams::default().labels("lab=postgres"))
            .await?;
        for pod in all.items {
            let pod = pod.metadata.name.unwrap_or_default();
            let led_to = servers.iter().any(|server| server.name() == pod);
            let labels: BTreeMap<_, _> = [(&label, led_to.then_some("yes"))].into();
            let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
            pods.patch(&pod, &PatchParams::default(), &patch).await?;
        }
        Ok(())
    }
}

/// What the pod runs to begin with a copy.
pub(super) fn begin_with_copy() -> String {
    format!(
        "{{ mkdir -m 700 $data && /usr/bin/tar -C $data -xf /server/{COPY} && cp /server/{LABEL} $data/ && touch $data/standby.signal && rm /server/{COPY}; }}"
    )
}
