//! Which instances of Reloader there are, and whether they run. Each publishes how it was started in a `ConfigMap`, which
//! stays behind when it is gone; so its Deployment is asked too, and the Lease where several share the work.
//!
//! An instance of which too little may be read is reckoned with: it is given its time, and then stood in for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::options::{Options, Published, confined_to};
use super::{Content, Reloading};
use crate::api::spec::RestartMode;
use crate::api::{RELOADER_LEASE, RELOADER_META_INFO};
use crate::effects::Error;
use crate::effects::kubernetes::Cluster;
use crate::effects::kubernetes::secret::AppSecret;
use crate::policy::Policy;

/// Label by which the `ConfigMap` of an instance is told from others of that name.
const META_INFO_LABEL: &str = "reloader.stakater.com/meta-info=reloader";

/// The instances that look at the Secret and run, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Instances {
    pub(super) found: Vec<Options>,
    /// What could not be seen.
    pub(super) doubts: Vec<Doubt>,
}

/// Something about an instance that could not be seen, and so is reckoned with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Whether there are any may not be asked.
    MayNotList,
    /// What it publishes cannot be read.
    Unreadable {
        /// Namespace of its `ConfigMap`.
        namespace: String,
    },
    /// Whether it runs may not be asked.
    MayNotAsk {
        /// Namespace of its Deployment.
        namespace: String,
        /// Name of its Deployment.
        name: String,
    },
    /// The labels of the policy's namespace, by which it chooses, may not be read.
    MayNotReadNamespace,
    /// It does not say which its Deployment is.
    Unnamed {
        /// Namespace of its `ConfigMap`.
        namespace: String,
    },
}

/// Where its Deployment is, as it publishes it.
#[derive(Deserialize)]
struct Place {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

/// Whether an instance is there.
enum Life {
    Runs,
    Gone,
    Unknown,
}

impl Instances {
    /// How each was started.
    pub(super) fn options(&self) -> impl Iterator<Item = &Options> {
        self.found.iter()
    }
}

impl Cluster {
    /// Looks how Reloader concerns the policy's Secret.
    ///
    /// # Errors
    /// When the API server could not be asked.
    pub async fn reloading(
        &self,
        policy: &Policy,
        app: Option<&AppSecret>,
        content: Content,
        now: Timestamp,
    ) -> Result<Reloading, Error> {
        let Some(secret) = app.map(|app| &app.live) else {
            return Ok(Reloading::default());
        };
        let instances = match policy.restart.mode {
            RestartMode::Auto | RestartMode::Reloader => self.instances(secret, now).await?,
            RestartMode::Controller | RestartMode::None => Instances::default(),
        };
        Ok(Reloading::new(secret, content, instances))
    }

    async fn instances(&self, secret: &Secret, now: Timestamp) -> Result<Instances, Error> {
        let maps: Result<Vec<ConfigMap>, Error> = self.everywhere(RELOADER_META_INFO, META_INFO_LABEL).await;
        let maps = match maps {
            Ok(maps) => maps,
            Err(Error::Refused(_)) => {
                return Ok(Instances {
                    found: vec![Options::default()],
                    doubts: vec![Doubt::MayNotList],
                });
            }
            Err(error) => return Err(error),
        };
        let mut instances = Instances::default();
        for map in maps {
            self.instance(&map, secret, now, &mut instances).await?;
        }
        Ok(instances)
    }

    async fn instance(
        &self,
        map: &ConfigMap,
        secret: &Secret,
        now: Timestamp,
        instances: &mut Instances,
    ) -> Result<(), Error> {
        let namespace = map.metadata.namespace.clone().unwrap_or_default();
        let read = data(map, "reloaderOptions").and_then(|json| Published::read(json).ok());
        let readable = read.is_some();
        let mut published = read.unwrap_or_default();
        if !published.sight.active {
            return Ok(());
        }
        let told = namespace.clone();
        let place = data(map, "deploymentInfo").and_then(|json| serde_json::from_str::<Place>(json).ok());
        let life = match place.filter(|place| !place.name.is_empty()) {
            None => {
                instances.doubts.push(Doubt::Unnamed { namespace });
                Life::Unknown
            }
            Some(Place { name, namespace }) => {
                let life = self.life(&namespace, &name, &mut published, now).await?;
                if matches!(life, Life::Unknown) {
                    instances.doubts.push(Doubt::MayNotAsk { namespace, name });
                }
                life
            }
        };
        // One that makes good what it missed will restart what it does not find marked when it is back.
        let reckoned_with = match life {
            Life::Runs | Life::Unknown => true,
            Life::Gone => published.catches_up,
        };
        if !reckoned_with {
            return Ok(());
        }
        let mut namespace = ObjectMeta {
            name: Some(self.namespace.clone()),
            ..ObjectMeta::default()
        };
        if !published.sight.namespace_labels.is_empty() {
            match self.labels_of_namespace().await {
                Ok(found) => namespace.labels = found.and_then(|found| found.metadata.labels),
                Err(Error::Refused(_)) => {
                    published.sight.namespace_labels.clear();
                    instances.doubts.push(Doubt::MayNotReadNamespace);
                }
                Err(error) => return Err(error),
            }
        }
        if published.sight.covers(&namespace, &secret.metadata) {
            // Whoever is known to run goes before one that is only reckoned with: its form is the one to write.
            if matches!(life, Life::Runs) {
                instances.found.insert(0, published.options);
            } else {
                instances.found.push(published.options);
            }
            if !readable {
                instances.doubts.push(Doubt::Unreadable { namespace: told });
            }
        }
        Ok(())
    }

    /// Whether it runs, by its Deployment; and which namespaces that confines it to.
    async fn life(
        &self,
        namespace: &str,
        name: &str,
        published: &mut Published,
        now: Timestamp,
    ) -> Result<Life, Error> {
        let place = Self::new(self.client.clone(), namespace);
        let deployment: Deployment = match place.get(name).await {
            Ok(Some(deployment)) => deployment,
            Ok(None) => return Ok(Life::Gone),
            Err(Error::Refused(_)) => return Ok(Life::Unknown),
            Err(error) => return Err(error),
        };
        published.sight.namespaces = confined_to(&deployment);
        let available = deployment
            .status
            .as_ref()
            .and_then(|status| status.available_replicas);
        if available.unwrap_or_default() < 1 {
            return Ok(Life::Gone);
        }
        if !published.leads {
            return Ok(Life::Runs);
        }
        match place.get::<Lease>(RELOADER_LEASE).await {
            Ok(Some(lease)) if is_held(&lease, now) => Ok(Life::Runs),
            Ok(Some(_) | None) => Ok(Life::Gone),
            Err(Error::Refused(_)) => Ok(Life::Unknown),
            Err(error) => Err(error),
        }
    }

    async fn labels_of_namespace(&self) -> Result<Option<Namespace>, Error> {
        self.get_at(&Self::of_cluster::<Namespace>(), &self.namespace)
            .await
    }
}

fn data<'a>(map: &'a ConfigMap, key: &str) -> Option<&'a str> {
    map.data.as_ref()?.get(key).map(String::as_str)
}

/// Whether somebody leads. A Lease is not given up by a process that ends; it runs out.
fn is_held(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let seconds = spec.lease_duration_seconds.unwrap_or(15).max(0);
    let lasts = SignedDuration::try_from(Duration::from_secs(u64::from(seconds.unsigned_abs())));
    let until = spec
        .renew_time
        .as_ref()
        .zip(lasts.ok())
        .and_then(|(renewed, lasts)| renewed.0.checked_add(lasts).ok());
    spec.holder_identity
        .as_deref()
        .is_some_and(|holder| !holder.is_empty())
        && until.is_some_and(|until| until > now)
}
