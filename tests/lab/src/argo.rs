//! Argo Rollouts as a process of its own for each namespace that wants one, so that a test can stop its controller
//! without a word to the others.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::host::programs;
use crate::join::outside;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::node::private;
use crate::process::{self, Process};

/// The service account, and everything that gives it rights.
const NAME: &str = "argo-rollouts";
const LOG: &str = "controller.log";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The controller of one namespace's `Rollouts`, until it is stopped or dropped.
pub struct ArgoRollouts {
    namespace: Namespace,
    program: PathBuf,
    dir: PathBuf,
    process: Option<Process>,
}

impl Namespace {
    /// Starts Argo Rollouts for this namespace. Returns when it works.
    ///
    /// The first one of a machine waits until it is built, the first one of a lab for its definitions.
    ///
    /// # Errors
    /// When it does not work in time, with the end of its log.
    pub async fn argo_rollouts(&self) -> Result<ArgoRollouts> {
        let lab = self.lab();
        let program = tokio::task::spawn_blocking(|| outside(programs::rollouts)).await??;
        define(lab).await?;
        let dir = lab.home().join("argo").join(self.name());
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        self.apply(&rights(self.name())).await?;
        let mut argo = ArgoRollouts {
            namespace: self.clone(),
            program,
            dir,
            process: None,
        };
        argo.start().await?;
        Ok(argo)
    }
}

impl Lab {
    /// Brings the definitions of Argo Rollouts into the cluster, without anybody who does anything about its objects.
    ///
    /// # Errors
    /// When they are not accepted.
    pub async fn define_rollouts(&self) -> Result<()> {
        define(self).await
    }
}

impl ArgoRollouts {
    /// Starts it again. Returns when it works.
    ///
    /// # Errors
    /// When it does not in time, with the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        self.stop().await?;
        let (lab, namespace) = (self.namespace.lab(), self.namespace.name());
        let kubeconfig = lab.kubeconfig_as(namespace, NAME).await?;
        let path = self.dir.join("kubeconfig");
        private(&path, &serde_json::to_string(&kubeconfig)?)?;
        let arguments = [
            format!("--kubeconfig={}", path.display()),
            "--namespaced".to_owned(),
            format!("--namespace={namespace}"),
            "--leader-elect=false".to_owned(),
            // Any free port is the way not to collide.
            "--healthzPort=0".to_owned(),
            "--metricsPort=0".to_owned(),
        ];
        let log = self.dir.join(LOG);
        let environment = [("POD_NAMESPACE", namespace)];
        let mut process = Process::start("Argo Rollouts", &self.program, &arguments, &environment, &log)?;
        process
            .wait_until_working(|log| log.contains("Started rollout workers"))
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it at once, as a crash does. When it is not running, nothing happens.
    ///
    /// # Errors
    /// When the machine refuses.
    pub async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// What it has logged, its earlier runs included.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn logs(&self) -> Result<String> {
        process::read(&self.dir.join(LOG))
    }
}

/// Brings its definitions into the cluster, once for each lab.
async fn define(lab: &Lab) -> Result<()> {
    let lab = lab.clone();
    let defining = tokio::task::spawn_blocking(move || {
        let definitions = outside(programs::rollouts_definitions)?;
        lab.define("argo", &definitions)
    });
    defining
        .await?
        .context("cannot define the objects of Argo Rollouts")
}

/// What it may do in its namespace: what its published manifests grant, without the traffic routers that nobody has here.
fn rights(namespace: &str) -> String {
    let subjects = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}]);
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let read = ["get", "list", "watch"];
    let change = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let rules: [Value; 10] = [
        rule(
            "argoproj.io",
            &["rollouts", "rollouts/status", "rollouts/finalizers"],
            &["get", "list", "watch", "update", "patch"],
        ),
        rule(
            "argoproj.io",
            &[
                "analysisruns",
                "analysisruns/finalizers",
                "experiments",
                "experiments/finalizers",
            ],
            &change,
        ),
        rule(
            "argoproj.io",
            &["analysistemplates", "clusteranalysistemplates"],
            &read,
        ),
        rule("apps", &["replicasets"], &change),
        rule("apps", &["deployments"], &["get", "list", "watch", "update"]),
        rule("", &["services", "secrets", "configmaps", "podtemplates"], &read),
        rule("", &["pods"], &["list", "update", "watch"]),
        rule("", &["pods/eviction", "events"], &["create", "update", "patch"]),
        rule("networking.k8s.io", &["ingresses"], &read),
        rule("batch", &["jobs"], &read),
    ];
    let items = json!([
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}},
        {"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": {"name": NAME}, "rules": rules},
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding",
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": NAME},
            "subjects": subjects,
        },
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}
