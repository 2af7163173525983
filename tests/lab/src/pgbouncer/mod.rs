//! `PgBouncer` in front of a server, as a pod.

mod options;

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::Api;
use serde_json::json;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::host::pgbouncer;
use crate::namespace::Namespace;
use crate::node::IMAGE;
use crate::pods::{Mount, machine, volume_mounts, volumes};
use crate::poll::eventually;
use crate::postgres::{Files, Login, Stage, USER, certificate, log_in};
use crate::random;
pub use options::{KnownBy, PgBouncerOptions, PoolMode};

/// The Secret with the file of a pooler that knows passwords by one, under `userlist.txt`.
pub const USERLIST_SECRET: &str = "pgbouncer-userlist";
/// The Secret with the login of a pooler's console.
pub const CONSOLE_SECRET: &str = "pgbouncer-console";

const PORT: u16 = 6432;
const READY: Duration = Duration::from_mins(1);
const ASKER: &str = "pooler_asks";
const CONSOLE: &str = "pooler_console";

/// A running pooler.
#[derive(Clone)]
pub struct PgBouncer {
    namespace: Namespace,
    options: PgBouncerOptions,
    address: String,
    console: Login,
}

impl Stage {
    /// Starts a pooler in front of the stage's server, TLS on both sides: a pod and a Service of the same name, and the
    /// Secret with the login of its console; with a file of passwords, the Secret that it is in. Returns when it answers.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn pgbouncer(&self, options: PgBouncerOptions) -> Result<PgBouncer> {
        tokio::task::spawn_blocking(pgbouncer::install).await??;
        let (namespace, name) = (&self.namespace, options.name.clone());
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "selector": {"app": name},
                "publishNotReadyAddresses": true,
                "ports": [{"port": PORT, "targetPort": PORT}],
            },
        }))?;
        namespace.server_side_apply(&name, &service).await?;
        let services: Api<Service> = namespace.api();
        let address = services.get(&name).await?.spec.and_then(|spec| spec.cluster_ip);
        let address = address.with_context(|| format!("the Service {name} has no address"))?;

        let home = namespace.lab().home();
        let files = Files::create(home.join("pgbouncer").join(namespace.name()).join(&name))?;
        let (certificate, key) = certificate(home, namespace.name(), &name, &address, &[])?;
        files.write("server.crt", &certificate)?;
        files.write("server.key", &key)?;
        files.write("ca.crt", namespace.lab().ca_pem())?;
        let console = self.console().await?;
        let userlist = match options.known_by {
            KnownBy::AuthQuery => {
                let asker = Login::new(ASKER, &random::password());
                self.let_ask(&asker).await?;
                files.write("userlist.txt", &userlist(&[&asker, &console]))?;
                "/server/userlist.txt"
            }
            KnownBy::Userlist => {
                let listed = self.listed(&console).await?;
                namespace
                    .secret(USERLIST_SECRET, &[("userlist.txt", &listed)])
                    .await?;
                "/userlist/userlist.txt"
            }
        };
        files.write("pgbouncer.ini", &settings(&options, self, userlist))?;
        let pod: Pod = serde_json::from_value(pod(&options, &files))?;
        namespace.server_side_apply(&name, &pod).await?;
        let pooler = PgBouncer {
            namespace: namespace.clone(),
            options,
            address,
            console,
        };
        eventually(format!("{} to answer", pooler.host()), READY, async || {
            pooler.show("VERSION").await.map(Some)
        })
        .await
        .with_context(|| format!("its log is {}", files.dir.join("pgbouncer.log").display()))?;
        Ok(pooler)
    }

    /// One login for the consoles of all poolers of the namespace.
    async fn console(&self) -> Result<Login> {
        let secrets: Api<Secret> = self.namespace.api();
        if secrets.get_opt(CONSOLE_SECRET).await?.is_some() {
            let login = self.namespace.read_secret(CONSOLE_SECRET).await?;
            let password = login.get("password").context("the console has no password")?;
            return Ok(Login::new(CONSOLE, password));
        }
        let console = Login::new(CONSOLE, &random::password());
        let data = [("username", &*console.user), ("password", &console.password)];
        self.namespace.secret(CONSOLE_SECRET, &data).await?;
        Ok(console)
    }

    /// The role and the function with which a pooler asks for verifiers.
    async fn let_ask(&self, asker: &Login) -> Result<()> {
        let Login { user, password } = asker;
        let role = format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'");
        self.postgres.sql("postgres", &role).await?;
        let function = "CREATE FUNCTION public.pooler_lookup(name, OUT text, OUT text) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin'";
        let rights = format!(
            "{function}; REVOKE ALL ON FUNCTION public.pooler_lookup(name) FROM PUBLIC; GRANT EXECUTE ON FUNCTION public.pooler_lookup(name) TO {user}"
        );
        self.postgres.sql(&self.pair.database, &rights).await.map(drop)
    }

    /// The pair with what the server keeps of it, and the console.
    async fn listed(&self, console: &Login) -> Result<String> {
        let mut lines = userlist(&[console]);
        for user in [&self.pair.a.user, &self.pair.b.user] {
            let kept = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'");
            let kept = self.postgres.value("postgres", &kept).await?;
            let kept = Login::new(user, &kept.context("no password is kept")?);
            lines.push_str(&userlist(&[&kept]));
        }
        Ok(lines)
    }
}

impl PgBouncer {
    /// Its name: that of the pod and of the Service.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The name by which pods reach it, which is in its certificate too.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.options.name, self.namespace.name())
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        PORT
    }

    /// Logs in through it.
    ///
    /// # Errors
    /// When the login fails.
    pub async fn connect_as(&self, user: &str, password: &str, database: &str) -> Result<Client> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(self.host())
            .hostaddr(self.address.parse()?)
            .port(PORT)
            .user(user)
            .password(password)
            .dbname(database)
            .application_name("tandem-lab")
            .connect_timeout(Duration::from_secs(5))
            .ssl_mode(tokio_postgres::config::SslMode::Require);
        let login = log_in(&config, self.namespace.lab().ca_pem());
        let login = tokio::time::timeout(Duration::from_secs(20), login).await;
        login
            .with_context(|| format!("{} does not answer", self.host()))?
            .with_context(|| format!("cannot log in to {} as {user}", self.host()))
    }

    /// Asks its console.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn show(&self, what: &str) -> Result<Vec<SimpleQueryRow>> {
        self.command(&format!("SHOW {what}")).await
    }

    /// Gives its console a command.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn command(&self, command: &str) -> Result<Vec<SimpleQueryRow>> {
        let Login { user, password } = &self.console;
        let client = self.connect_as(user, password, "pgbouncer").await?;
        let messages = client.simple_query(command).await?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }
}

fn userlist(logins: &[&Login]) -> String {
    let line = |login: &&Login| format!("\"{}\" \"{}\"", login.user, login.password);
    logins.iter().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

fn settings(options: &PgBouncerOptions, stage: &Stage, userlist: &str) -> String {
    let mode = options.mode.as_str();
    let asks = match options.known_by {
        KnownBy::AuthQuery => format!(" auth_user={ASKER}"),
        KnownBy::Userlist => String::new(),
    };
    let mut lines = vec![
        "[databases]".to_owned(),
        format!(
            "* = host={} port={}{asks}",
            stage.postgres.host(),
            stage.postgres.port()
        ),
    ];
    lines.extend(options.databases.iter().map(|(name, mode)| {
        let (host, port, database) = (stage.postgres.host(), stage.postgres.port(), &stage.pair.database);
        let mode = mode.as_str();
        format!("{name} = host={host} port={port} dbname={database} pool_mode={mode}{asks}")
    }));
    lines.extend([
        "[pgbouncer]".to_owned(),
        "listen_addr = *".to_owned(),
        format!("listen_port = {PORT}"),
        "unix_socket_dir =".to_owned(),
        "logfile = /server/pgbouncer.log".to_owned(),
        "auth_type = scram-sha-256".to_owned(),
        format!("auth_file = {userlist}"),
        "auth_query = SELECT * FROM public.pooler_lookup($1)".to_owned(),
        format!("admin_users = {CONSOLE}"),
        format!("pool_mode = {mode}"),
        "client_tls_sslmode = require".to_owned(),
        "client_tls_key_file = /server/server.key".to_owned(),
        "client_tls_cert_file = /server/server.crt".to_owned(),
        // It asks no client for a certificate, and does not start without this one.
        "client_tls_ca_file = /server/ca.crt".to_owned(),
        "server_tls_sslmode = verify-full".to_owned(),
        "server_tls_ca_file = /server/ca.crt".to_owned(),
    ]);
    lines.extend(
        options
            .settings
            .iter()
            .map(|(name, value)| format!("{name} = {value}")),
    );
    lines.join("\n") + "\n"
}

fn pod(options: &PgBouncerOptions, files: &Files) -> serde_json::Value {
    let mut mounts = machine();
    mounts.push(Mount::writable(&files.dir, "/server"));
    let mut pod_volumes = volumes(&mounts);
    let mut container_mounts = volume_mounts(&mounts);
    if options.known_by == KnownBy::Userlist {
        pod_volumes.push(json!({"name": "userlist", "secret": {"secretName": USERLIST_SECRET}}));
        container_mounts.push(json!({"name": "userlist", "mountPath": "/userlist", "readOnly": true}));
    }
    json!({
        "metadata": {"name": options.name, "labels": {"app": options.name, "lab": "pgbouncer"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
            "volumes": pod_volumes,
            "containers": [{
                "name": "pgbouncer",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": [pgbouncer::PROGRAM, "/server/pgbouncer.ini"],
                "ports": [{"containerPort": PORT}],
                "volumeMounts": container_mounts,
            }],
        },
    })
}
