//! What a test may ask of an application.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::pgbouncer::PoolMode;
use crate::postgres::{CA_CONFIG_MAP, CREDENTIALS_SECRET, Postgres};

/// The kind of object that makes the application's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    /// Of Argo Rollouts.
    Rollout,
    Job,
    CronJob,
    Pod,
}

impl Kind {
    pub(super) fn resource(self) -> ApiResource {
        let (group, version) = match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => ("apps", "v1"),
            Self::Rollout => ("argoproj.io", "v1alpha1"),
            Self::Job | Self::CronJob => ("batch", "v1"),
            Self::Pod => ("", "v1"),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &format!("{self:?}")))
    }
}

/// How the application gets its login from the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Two variables, each from a key.
    Env,
    /// All keys as variables.
    EnvFrom,
    /// A volume that is the Secret.
    Volume,
    /// A projected volume that contains it.
    Projected,
    /// An init container reads it and writes files; the application itself knows nothing of the Secret.
    InitContainer,
}

/// An application to be run.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Its name, and that of the container in it.
    pub name: String,
    /// What makes its pods.
    pub kind: Kind,
    /// How many pods, where the kind can tell.
    pub replicas: i32,
    /// The Secret with its login.
    pub secret: String,
    /// The Secret's key with the user's name.
    pub username_key: String,
    /// The Secret's key with the password.
    pub password_key: String,
    /// How it gets its login.
    pub source: Source,
    /// Whether it reads its login for each new connection, and not only when it starts.
    pub reread: bool,
    /// The database's host.
    pub host: String,
    /// The database's port.
    pub port: u16,
    /// The database's name.
    pub database: String,
    /// A `PgBouncer` in each pod, through which the application goes to the database: it has the login from the same
    /// Secret, when its pod starts.
    pub sidecar: Option<PoolMode>,
    /// The `ConfigMap` with the authority of the server's certificate as `ca.crt`; without one, no TLS.
    pub ca: Option<String>,
    /// Connections that each pod keeps.
    pub pool: u32,
    /// The time between two new connections of a pod.
    pub login_every: Duration,
    /// The time between two queries on a kept connection.
    pub query_every: Duration,
    /// How long a pod goes on working after it was told to stop.
    pub linger: Duration,
    /// How long a pod may take to stop before it is killed.
    pub grace: Duration,
    /// After how long a Job's work is done.
    pub lasts: Option<Duration>,
    /// Annotations of the workload.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of its pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// Anything else of the manifest: merged over it, field by field.
    pub patch: Value,
    /// Whether to wait until all pods are ready.
    pub wait: bool,
}

impl ConsumerOptions {
    /// The usual application of a [`Stage`](crate::Stage): a Deployment `app` of two pods, which replaces one pod at a
    /// time and has its login in variables.
    #[must_use]
    pub fn of(postgres: &Postgres) -> Self {
        Self {
            name: "app".to_owned(),
            kind: Kind::Deployment,
            replicas: 2,
            secret: CREDENTIALS_SECRET.to_owned(),
            username_key: "username".to_owned(),
            password_key: "password".to_owned(),
            source: Source::Env,
            reread: false,
            host: postgres.host(),
            port: postgres.port(),
            database: "appdb".to_owned(),
            sidecar: None,
            ca: postgres.has_tls().then(|| CA_CONFIG_MAP.to_owned()),
            pool: 2,
            login_every: Duration::from_millis(50),
            query_every: Duration::from_millis(500),
            linger: Duration::ZERO,
            grace: Duration::from_secs(10),
            lasts: None,
            annotations: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
            patch: Value::Null,
            wait: true,
        }
    }

    /// Under another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// Of another kind.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// With another number of pods.
    #[must_use]
    pub fn replicas(self, replicas: i32) -> Self {
        Self { replicas, ..self }
    }

    /// With another way to its login.
    #[must_use]
    pub fn source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// With its login read for each new connection.
    #[must_use]
    pub fn rereading(self) -> Self {
        Self { reread: true, ..self }
    }

    /// Through a pooler in its own pod.
    #[must_use]
    pub fn pooled_within(self, mode: PoolMode) -> Self {
        Self {
            sidecar: Some(mode),
            ..self
        }
    }

    /// With an annotation on the workload.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With more of the manifest, merged over it field by field.
    #[must_use]
    pub fn patch(self, patch: Value) -> Self {
        Self { patch, ..self }
    }

    /// Without waiting until its pods are ready.
    #[must_use]
    pub fn without_waiting(self) -> Self {
        Self { wait: false, ..self }
    }
}
