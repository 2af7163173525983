//! A primary and the standby that takes its place, behind two names that follow the roles, as those who operate
//! PostgreSQL in Kubernetes keep them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, EvictParams};

use super::{Postgres, PostgresOptions, Stage};
use crate::namespace::Namespace;
use crate::poll::eventually;

/// The name that leads to the primary.
const WRITER: &str = "db-rw";
/// The name that leads to the standby.
const READER: &str = "db-ro";
/// An eviction takes a second or two.
const GONE: Duration = Duration::from_mins(1);

/// Two servers of one cluster.
pub struct Servers {
    namespace: Namespace,
    primary: Postgres,
    standby: Option<Postgres>,
    made: u32,
}

impl Servers {
    /// What the first of them is made of: its certificate, and that of every copy of it, is for both names.
    #[must_use]
    pub fn options(namespace: &Namespace) -> PostgresOptions {
        PostgresOptions {
            hosts: [WRITER, READER].map(|name| host(namespace, name)).into(),
            ..PostgresOptions::named("db-1")
        }
    }

    /// The stage's server, which was made with [`Servers::options`], and a standby of it.
    ///
    /// # Errors
    /// When the standby does not answer in time.
    pub async fn of(stage: &Stage) -> Result<Self> {
        let mut servers = Self {
            namespace: stage.namespace.clone(),
            primary: stage.postgres.clone(),
            standby: None,
            made: 1,
        };
        servers.name().await?;
        servers.replenish().await?;
        Ok(servers)
    }

    /// Who leads.
    #[must_use]
    pub fn primary(&self) -> &Postgres {
        &self.primary
    }

    /// Who follows.
    ///
    /// # Errors
    /// When nobody does.
    pub fn standby(&self) -> Result<&Postgres> {
        self.standby.as_ref().context("there is no standby")
    }

    /// The name by which the primary is reached, whoever it is.
    #[must_use]
    pub fn writer(&self) -> String {
        host(&self.namespace, WRITER)
    }

    /// The name by which the standby is reached. While there is none it leads nowhere.
    #[must_use]
    pub fn reader(&self) -> String {
        host(&self.namespace, READER)
    }

    /// The primary is evicted and does not come back; the standby takes its place, and its name.
    ///
    /// # Errors
    /// When there is no standby, or it does not become a primary.
    pub async fn fail_over(&mut self) -> Result<()> {
        let standby = self.standby.take().context("there is no standby")?;
        self.primary.evict().await?;
        standby.promote().await?;
        self.primary = standby;
        self.name().await
    }

    /// Makes a standby anew, as a copy of who leads now.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn replenish(&mut self) -> Result<()> {
        self.made += 1;
        let standby = self.primary.replica(&format!("db-{}", self.made)).await?;
        self.standby = Some(standby);
        self.name().await
    }

    /// Has the names lead where they should now.
    async fn name(&self) -> Result<()> {
        let standby: Vec<_> = self.standby.iter().collect();
        self.namespace.name_servers(WRITER, &[&self.primary]).await?;
        self.namespace.name_servers(READER, &standby).await
    }
}

impl Postgres {
    /// Evicts its pod, as whoever empties a node does: it is stopped in order, and gone with its data. Returns when it
    /// is.
    ///
    /// # Errors
    /// When the API server refuses it, or the pod stays.
    pub async fn evict(&self) -> Result<()> {
        let (pods, name): (Api<Pod>, _) = (self.namespace.api(), self.name());
        let evicted = pods.evict(name, &EvictParams::default()).await;
        evicted.with_context(|| format!("cannot evict the pod of {}", self.host()))?;
        eventually(
            format!("the pod of {} to be gone", self.host()),
            GONE,
            async || Ok(pods.get_opt(name).await?.is_none().then_some(())),
        )
        .await
    }
}

fn host(namespace: &Namespace, name: &str) -> String {
    format!("{name}.{}.svc", namespace.name())
}
