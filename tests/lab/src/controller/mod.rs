//! The controller in the lab: what `deploy/base` ships, but for the image.

mod overlay;
mod tidy;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::binary::fingerprint;
use crate::join::publish;
use crate::lab::Lab;
use crate::link::Link;
use crate::namespace::Namespace;
use crate::pods::state;
use crate::poll::eventually;
pub(crate) use tidy::clean_up;

/// The names that `deploy/base` gives.
const NAME: &str = "tandem";
const SELECTOR: &str = "app.kubernetes.io/name=tandem";
const READY: Duration = Duration::from_mins(1);
/// As much of a log line as an error shows.
const LINE: usize = 400;

/// How the controller is to run.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// The one namespace whose policies it is to handle; all when absent.
    pub watch: Option<String>,
    /// How many replicas there are, one of which leads.
    pub replicas: i32,
    /// What is logged, in the form of `TANDEM_LOG`.
    pub log: String,
    /// More environment.
    pub env: Vec<(String, String)>,
    /// More arguments.
    pub args: Vec<String>,
    /// Whether to wait until all replicas are available.
    pub wait: bool,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            watch: None,
            replicas: 1,
            log: "info".to_owned(),
            env: Vec::new(),
            args: Vec::new(),
            wait: true,
        }
    }
}

impl ControllerOptions {
    /// One replica that handles the policies of one namespace.
    #[must_use]
    pub fn watching(namespace: &str) -> Self {
        Self {
            watch: Some(namespace.to_owned()),
            ..Self::default()
        }
    }

    /// With another number of replicas.
    #[must_use]
    pub fn replicas(self, replicas: i32) -> Self {
        Self { replicas, ..self }
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// On a way to the API server that can be cut.
    #[must_use]
    pub fn over(self, link: &Link) -> Self {
        let address = link.address();
        self.env("KUBERNETES_SERVICE_HOST", &address.ip().to_string())
            .env("KUBERNETES_SERVICE_PORT", &address.port().to_string())
    }
}

/// A running controller, in a namespace of its own.
#[derive(Clone)]
pub struct Controller {
    namespace: Namespace,
    binary: PathBuf,
    own: PathBuf,
}

impl Lab {
    /// Runs a build of the controller as it is shipped: the same objects, rights and restrictions, in a namespace of its
    /// own. Returns when it is available. At the end of the test it is deleted.
    ///
    /// # Errors
    /// When it is not available in time, with what it logged last.
    pub async fn controller(&self, binary: &Path, options: ControllerOptions) -> Result<Controller> {
        let namespace = self.namespace(NAME).await?;
        let own = self.home().join("controllers").join(namespace.name());
        fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
        // The controller is nobody in particular, and is to write its log.
        fs::set_permissions(&own, fs::Permissions::from_mode(0o777))?;
        let programs = publish(self.home(), binary, &fingerprint(binary)?)?;
        let program = binary
            .file_name()
            .context("a program without a name")?
            .display()
            .to_string();

        let objects: Api<NamespaceObject> = Api::all(self.admin());
        let owner = objects
            .get(namespace.name())
            .await?
            .metadata
            .uid
            .context("a namespace without an id")?;
        let place = overlay::Place {
            namespace: namespace.name(),
            owner: &owner,
            own: &own,
            programs: &programs,
            program: &program,
        };
        let overlay = self.home().join("overlays").join(namespace.name());
        overlay::write(&overlay, &place, &options)?;
        let manifests = self.kubectl(&["kustomize", &overlay.display().to_string()])?;
        self.apply(None, &manifests).await?;
        let controller = Controller {
            namespace,
            binary: binary.to_owned(),
            own,
        };
        if options.wait {
            controller.wait_until_available().await?;
        }
        Ok(controller)
    }
}

impl Controller {
    /// The namespace that it runs in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// Its service account, which is in its own namespace.
    #[must_use]
    pub fn service_account(&self) -> &str {
        NAME
    }

    /// A directory of the machine that its pods see as `/lab/own` and can write to.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.own
    }

    /// Grants it what these policies need, as `tandem rbac` prints it.
    ///
    /// # Errors
    /// When the program or the API server refuses.
    pub async fn grant(&self, namespace: &str, policies: &str) -> Result<()> {
        self.grant_with(namespace, policies, &[]).await
    }

    /// The same, with objects of the External Secrets Operator that are in no namespace, in the form of
    /// `--cluster-object`.
    ///
    /// # Errors
    /// When the program or the API server refuses.
    pub async fn grant_with(&self, namespace: &str, policies: &str, objects: &[String]) -> Result<()> {
        let path = self.own.join("policies.yaml");
        fs::write(&path, policies).with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = tokio::process::Command::new(&self.binary);
        command.args(["rbac", "--account-namespace", self.namespace(), "--account", NAME]);
        for object in objects {
            command.args(["--cluster-object", object]);
        }
        let output = command
            .arg("--filename")
            .arg(&path)
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot run the controller")?;
        if !output.status.success() {
            bail!(
                "`tandem rbac` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        self.namespace
            .lab()
            .apply(Some(namespace), &String::from_utf8(output.stdout)?)
            .await
    }

    /// What all its pods have logged, those included that are gone, pod by pod.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn logs(&self) -> Result<String> {
        let entries =
            fs::read_dir(&self.own).with_context(|| format!("cannot read {}", self.own.display()))?;
        let mut logs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort_by_key(|path| fs::metadata(path).and_then(|found| found.created()).ok());
        let mut text = String::new();
        for path in logs {
            let log = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            text.push_str(&String::from_utf8_lossy(&log));
        }
        Ok(text)
    }

    /// Its pods.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        Ok(self
            .namespace
            .api::<Pod>()
            .list(&ListParams::default().labels(SELECTOR))
            .await?
            .items)
    }

    /// The name of the pod that leads, as the lease says.
    ///
    /// # Errors
    /// When the lease cannot be read.
    pub async fn leader(&self) -> Result<Option<String>> {
        let lease = self.namespace.api::<Lease>().get_opt(NAME).await?;
        let holder = lease
            .and_then(|lease| lease.spec)
            .and_then(|spec| spec.holder_identity);
        Ok(holder.filter(|holder| !holder.is_empty()))
    }

    /// Kills the pod that leads, without a warning, and returns its name.
    ///
    /// # Errors
    /// When nobody leads.
    pub async fn kill_leader(&self) -> Result<String> {
        let leader = self.leader().await?.context("nobody holds the lease")?;
        let pods: Api<Pod> = self.namespace.api();
        let now = DeleteParams::default().grace_period(0);
        pods.delete(&leader, &now)
            .await
            .with_context(|| format!("cannot kill {leader}"))?;
        Ok(leader)
    }

    /// How often its containers were started again.
    ///
    /// # Errors
    /// When the pods cannot be listed.
    pub async fn restarts(&self) -> Result<i32> {
        let pods = self.pods().await?;
        let statuses = pods
            .iter()
            .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref())
            .flatten();
        Ok(statuses.map(|status| status.restart_count).sum())
    }

    /// What its pods answer at `/metrics`, one after the other.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let mut text = String::new();
        for pod in self.pods().await? {
            let name = pod.metadata.name.context("a pod without a name")?;
            let path = format!(
                "/api/v1/namespaces/{}/pods/{name}:8080/proxy/metrics",
                self.namespace()
            );
            let request = http::Request::get(path).body(Vec::new())?;
            text += &self.namespace.client().request_text(request).await?;
        }
        Ok(text)
    }

    /// Asks for another number of replicas.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn scale(&self, replicas: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let deployments: Api<Deployment> = self.namespace.api();
        deployments
            .patch(NAME, &PatchParams::default(), &patch)
            .await
            .context("cannot scale the controller")?;
        Ok(())
    }

    /// Waits until as many replicas are available as were asked for.
    ///
    /// # Errors
    /// When they are not in time, with what they logged last.
    pub async fn wait_until_available(&self) -> Result<()> {
        let deployments: Api<Deployment> = self.namespace.api();
        let available = eventually("the controller to be available", READY, async || {
            let found = deployments.get(NAME).await?;
            let (wanted, status) = (found.spec.replicas.unwrap_or(1), found.status.unwrap_or_default());
            let seen = status.observed_generation == found.metadata.generation;
            if seen && status.available_replicas.unwrap_or_default() == wanted {
                return Ok(Some(()));
            }
            bail!(
                self.pods()
                    .await?
                    .iter()
                    .map(state)
                    .collect::<Vec<_>>()
                    .join("; ")
            )
        });
        available.await.with_context(|| {
            let logs = self.logs().unwrap_or_default();
            let lines: Vec<String> = logs
                .lines()
                .map(|line| line.chars().take(LINE).collect())
                .collect();
            format!(
                "it logged last:\n{}",
                lines
                    .get(lines.len().saturating_sub(6)..)
                    .unwrap_or_default()
                    .join("\n")
            )
        })
    }

    /// Deletes it, without waiting until it is gone. Its logs stay.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self) -> Result<()> {
        let namespaces: Api<NamespaceObject> = Api::all(self.namespace.client());
        namespaces
            .delete(self.namespace(), &DeleteParams::default())
            .await?;
        Ok(())
    }
}
