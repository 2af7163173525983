//! Stakater Reloader, one for each namespace that wants one: a double of it, or the real program when there is one.
//!
//! The double runs where the test runs, with a service account of its own that may do what the real one's chart grants.
//! When `RELOADER_BIN` names a build of the real one, that is started instead, with the same arguments, variables and
//! rights. It always listens on port 9090, so there is one of them at a time in a lab, and the next waits for its end.

mod deployment;
mod double;
mod options;
mod rights;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use kube::api::Api;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

use crate::audit::Audit;
use crate::link::Link;
use crate::namespace::Namespace;
use crate::node::private;
use crate::poll::eventually;
use crate::process::{self, Process};
pub use double::ReloaderDouble;
pub use options::ReloaderOptions;

/// Names a build of the real program, which is then run in place of the double.
const BINARY_VARIABLE: &str = "RELOADER_BIN";
/// What its chart calls it: the release, and then the program.
const NAME: &str = "reloader-reloader";
const WORKING: Duration = Duration::from_secs(30);

/// A Reloader, until it is stopped or dropped.
pub struct Reloader {
    namespace: Namespace,
    options: ReloaderOptions,
    log: PathBuf,
    link: Option<Link>,
    running: Option<Running>,
    _alone: Option<File>,
}

enum Running {
    Double(ReloaderDouble),
    Real(Box<Process>),
}

impl Namespace {
    /// Starts a Reloader for this namespace, or for others as the options say. Returns when it watches, and its
    /// Deployment is available.
    ///
    /// # Errors
    /// When it does not watch in time.
    pub async fn reloader(&self, options: ReloaderOptions) -> Result<Reloader> {
        let lab = self.lab();
        let dir = lab.home().join("reloader").join(self.name());
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let alone = match options.binary() {
            Some(_) => {
                let home = lab.home().clone();
                Some(tokio::task::spawn_blocking(move || home.alone("reloader")).await??)
            }
            None => None,
        };
        let objects: Api<NamespaceObject> = Api::all(lab.admin());
        let owner = objects.get(self.name()).await?.metadata.uid;
        let owner = owner.context("a namespace without an id")?;
        self.apply(&rights::manifests(self.name(), &owner, &options))
            .await?;
        let mut reloader = Reloader {
            namespace: self.clone(),
            log: dir.join(format!("{}.log", options.name)),
            options,
            link: None,
            running: None,
            _alone: alone,
        };
        reloader.start().await?;
        Ok(reloader)
    }
}

impl Reloader {
    /// The name of its service account, which is in its namespace, and of its Deployment.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Starts it again. Returns when it watches, and its Deployment is available; or when it has ended by itself.
    ///
    /// # Errors
    /// When that is not so in time.
    pub async fn start(&mut self) -> Result<()> {
        self.kill().await?;
        let lab = self.namespace.lab();
        let audit = lab.audit().from_here()?;
        let audit = audit.service_account(self.namespace.name(), self.name());
        let (args, env) = (self.options.args.clone(), self.environment());
        let mut kubeconfig = lab.kubeconfig_as(self.namespace.name(), self.name()).await?;
        self.link = Some(Link::before(&mut kubeconfig).await?);
        self.running = Some(if let Some(program) = self.options.binary() {
            let path = self.log.with_extension("kubeconfig");
            private(&path, &serde_json::to_string(&kubeconfig)?)?;
            let path = path.display().to_string();
            let env = env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let env: Vec<_> = env.chain([("KUBECONFIG", path.as_str())]).collect();
            Running::Real(Box::new(Process::start(
                "Reloader", &program, &args, &env, &self.log,
            )?))
        } else {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
            Running::Double(ReloaderDouble::start(
                Client::try_from(config)?,
                &args,
                env,
                &self.log,
            )?)
        });
        self.until_it_watches(&audit).await?;
        if !self.options.bare {
            deployment::scale(&self.namespace, &self.options, 1).await?;
        }
        Ok(())
    }

    /// Ends it at once, as a crash does, and scales its Deployment to 0. Returns when no pod of that is left.
    ///
    /// # Errors
    /// When the machine or the API server refuses.
    pub async fn stop(&mut self) -> Result<()> {
        self.kill().await?;
        if !self.options.bare {
            deployment::scale(&self.namespace, &self.options, 0).await?;
        }
        Ok(())
    }

    /// Ends it at once, as a crash does. Its Deployment goes on and looks well.
    ///
    /// # Errors
    /// When the machine refuses.
    pub async fn kill(&mut self) -> Result<()> {
        match self.running.take() {
            Some(Running::Double(double)) => {
                double.kill().await;
                Ok(())
            }
            Some(Running::Real(process)) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Ends it, and deletes its Deployment. What it has published stays behind.
    ///
    /// # Errors
    /// When the machine or the API server refuses.
    pub async fn uninstall(mut self) -> Result<()> {
        self.stop().await?;
        deployment::delete(&self.namespace, &self.options).await
    }

    /// Holds it where it is, as `SIGSTOP` does: what happens meanwhile waits for it.
    ///
    /// # Errors
    /// When it does not run, or the machine refuses.
    pub fn freeze(&self) -> Result<()> {
        match self.running.as_ref().context("it does not run")? {
            Running::Double(double) => double.freeze(),
            Running::Real(process) => process.freeze()?,
        }
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run, or the machine refuses.
    pub fn thaw(&self) -> Result<()> {
        match self.running.as_ref().context("it does not run")? {
            Running::Double(double) => double.thaw(),
            Running::Real(process) => process.thaw()?,
        }
        Ok(())
    }

    /// Takes the API server away from it: all its connections end, and it gets no new ones.
    pub fn cut_off(&self) {
        self.set_open(false);
    }

    /// Gives the API server back to it.
    pub fn reconnect(&self) {
        self.set_open(true);
    }

    fn set_open(&self, open: bool) {
        if let Some(link) = &self.link {
            link.set_open(open);
        }
    }

    /// The code with which it ended by itself; nothing while it runs.
    ///
    /// # Errors
    /// When the machine refuses to say.
    pub fn exit(&mut self) -> Result<Option<i32>> {
        match &mut self.running {
            Some(Running::Double(double)) => Ok(double.exit()),
            Some(Running::Real(process)) => process.exit(),
            None => Ok(None),
        }
    }

    /// What it has logged, its earlier runs included.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn logs(&self) -> Result<String> {
        process::read(&self.log)
    }

    /// Waits for its first watch of each kind that it is to watch, or for the answer that it may not.
    async fn until_it_watches(&mut self, audit: &Audit) -> Result<()> {
        let ignored = self
            .options
            .flag("--resources-to-ignore")
            .unwrap_or_default()
            .to_owned();
        let kinds = ["secrets", "configmaps"].into_iter();
        let mut kinds: Vec<&str> = kinds
            .filter(|kind| !ignored.split(',').any(|found| found == *kind))
            .collect();
        if self
            .options
            .args
            .iter()
            .any(|argument| argument.starts_with("--enable-ha"))
        {
            // Whether it leads, and so watches, is another's business.
            kinds = vec!["leases"];
        }
        if self.options.flag("--namespace-selector").is_some() {
            kinds.push("namespaces");
        }
        let scopes = self
            .options
            .flag("--namespaces")
            .map_or(1, |names| names.split(',').count());
        let watching = eventually("Reloader to watch", WORKING, async || {
            if self.exit()?.is_some() {
                return Ok(Some(()));
            }
            let requests = audit.read()?;
            for kind in &kinds {
                let about = requests.iter().filter(|request| request.resource == *kind);
                let answered = about.filter(|request| {
                    request.verb == "watch" || request.code == 403 || request.resource == "leases"
                });
                let wanted = if *kind == "namespaces" || *kind == "leases" {
                    1
                } else {
                    scopes
                };
                let found = answered.count();
                ensure!(found >= wanted, "{found} of {wanted} watches of {kind}");
            }
            Ok(Some(()))
        });
        watching.await
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let namespace = self.namespace.name().to_owned();
        let mut env = BTreeMap::from([
            ("RELOADER_NAMESPACE".to_owned(), namespace.clone()),
            ("RELOADER_DEPLOYMENT_NAME".to_owned(), self.options.name.clone()),
        ]);
        if !self.options.wide {
            env.insert("KUBERNETES_NAMESPACE".to_owned(), namespace);
        }
        env.extend(self.options.env.iter().cloned());
        env
    }
}
