//! A joined lab, as a test sees it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, NamedAuthInfo};
use kube::{Client, Config};
use secrecy::SecretString;
use tokio::io::AsyncWriteExt as _;

use crate::audit::Audit;
use crate::home::Home;
use crate::join::Membership;
use crate::namespace::Namespace;
use crate::node::ADDRESS;

/// Who applies what tests apply.
const FIELD_MANAGER: &str = "tandem-lab";

/// A running cluster, and the caller inside its network.
#[derive(Clone)]
pub struct Lab {
    inner: Arc<Inner>,
}

struct Inner {
    membership: Membership,
    admin: Client,
    database_ca: String,
    namespaces: Mutex<Vec<String>>,
}

impl Lab {
    /// The caller's thread and runtime have to be inside the lab's network already.
    pub(crate) async fn connect(membership: Membership) -> Result<Self> {
        let admin = admin_client(&membership.home).await?;
        let path = membership.home.join("pki/database-ca.crt");
        let database_ca =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                membership,
                admin,
                database_ca,
                namespaces: Mutex::default(),
            }),
        })
    }

    /// A client with all rights.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.inner.admin.clone()
    }

    /// The certificate, as PEM, that every database of the lab is signed by.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.inner.database_ca
    }

    /// The lab's directory. What tests may look into is described in the crate's documentation.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.home().dir()
    }

    /// The node's address: what a test listens on there, pods can reach.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        ADDRESS.into()
    }

    pub(crate) fn home(&self) -> &Home {
        &self.inner.membership.home
    }

    /// A new namespace with a name that nobody else has; it is deleted at the end of the test.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace> {
        let name = format!("{prefix}-{}", crate::random::word());
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        };
        let namespace = v1::Namespace {
            metadata,
            ..v1::Namespace::default()
        };
        let namespaces: Api<v1::Namespace> = Api::all(self.admin());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("cannot create {name}"))?;
        self.namespaces().push(name.clone());
        Ok(Namespace::new(self.clone(), name))
    }

    /// A client that has the rights of a service account, and no others.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn client_as(&self, namespace: &str, service_account: &str) -> Result<Client> {
        let kubeconfig = self.kubeconfig_as(namespace, service_account).await?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        namespace.clone_into(&mut config.default_namespace);
        Ok(Client::try_from(config)?)
    }

    /// The rights of a service account for a program of their own.
    pub(crate) async fn kubeconfig_as(&self, namespace: &str, service_account: &str) -> Result<Kubeconfig> {
        let accounts: Api<v1::ServiceAccount> = Api::namespaced(self.admin(), namespace);
        let (params, request) = (PostParams::default(), TokenRequest::default());
        let asked = accounts
            .create_token_request(service_account, &params, &request)
            .await;
        let asked = asked.with_context(|| format!("cannot get a token of {namespace}/{service_account}"))?;
        let token = asked
            .status
            .and_then(|status| status.token)
            .context("the API server gave no token")?;
        let mut kubeconfig = Kubeconfig::read_from(self.home().kubeconfig())?;
        kubeconfig.auth_infos = vec![NamedAuthInfo {
            name: "admin".to_owned(),
            other: BTreeMap::new(),
            auth_info: Some(AuthInfo {
                token: Some(SecretString::from(token)),
                ..AuthInfo::default()
            }),
        }];
        Ok(kubeconfig)
    }

    /// The API server's audit log.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::at(self.home().join("log/audit.jsonl"))
    }

    /// Runs `kubectl` as administrator and returns what it printed.
    ///
    /// # Errors
    /// With what `kubectl` said, when it failed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = kubectl(&self.inner.membership);
        let output = command
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("cannot run kubectl")?;
        if !output.status.success() {
            bail!(
                "`kubectl {}` failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies all documents of a YAML text by server-side apply; fields that others own are taken over.
    ///
    /// # Errors
    /// With what the API server said, when it refused one of them.
    pub async fn apply(&self, namespace: Option<&str>, yaml: &str) -> Result<()> {
        let mut command = tokio::process::Command::from(kubectl(&self.inner.membership));
        command.args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            FIELD_MANAGER,
        ]);
        if let Some(namespace) = namespace {
            command.args(["--namespace", namespace]);
        }
        command
            .args(["--filename", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run kubectl")?;
        if let Some(mut input) = child.stdin.take() {
            // When kubectl ends early, what it says is the better error.
            let _ = input.write_all(yaml.as_bytes()).await;
        }
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!("cannot apply: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Brings somebody's definitions of objects into the cluster, once for each lab.
    pub(crate) fn define(&self, whose: &str, definitions: &Path) -> Result<()> {
        let _alone = self.home().alone(&format!("{whose}-definitions"))?;
        let done = self.home().join(format!("{whose}-defined"));
        if done.exists() {
            return Ok(());
        }
        let directory = definitions.display().to_string();
        // Client-side apply cannot: some of them are larger than its annotation may be.
        let apply = ["apply", "--server-side", "--output", "name", "--kustomize"];
        let names = self.kubectl(&[&apply[..], &[&directory]].concat())?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        self.kubectl(&wait.into_iter().chain(names.lines()).collect::<Vec<_>>())?;
        fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))
    }

    /// Deletes what the test made, without waiting until it is gone.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        let namespaces: Api<v1::Namespace> = Api::all(self.admin());
        let names: Vec<String> = self.namespaces().drain(..).collect();
        for name in names {
            crate::controller::clean_up(self, &name).await?;
            crate::eso::clean_up(self, &name).await?;
            match namespaces.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot delete the namespace {name}"));
                }
            }
        }
        Ok(())
    }

    /// What somebody who looks for the cause of a failure would look at first.
    pub(crate) fn describe(&self) -> String {
        let names = self.namespaces().clone();
        let mut text = String::new();
        for name in names {
            for what in ["pods", "events"] {
                let mut arguments = vec!["get", what, "--namespace", &name, "--output", "wide"];
                if what == "events" {
                    arguments = vec!["events", "--namespace", &name];
                }
                let found = self
                    .kubectl(&arguments)
                    .unwrap_or_else(|error| format!("{error:#}"));
                let lines: Vec<&str> = found.lines().collect();
                let tail = lines
                    .get(lines.len().saturating_sub(25)..)
                    .unwrap_or_default()
                    .join("\n");
                let _ = writeln!(text, "--- {what} in {name}\n{tail}");
            }
        }
        text
    }

    fn namespaces(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.inner
            .namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn kubectl_command(&self) -> std::process::Command {
        kubectl(&self.inner.membership)
    }

    /// The directory with the programs of ours that pods run, of the very build that this process is of.
    pub(crate) fn programs(&self) -> &Path {
        &self.inner.membership.programs
    }
}

pub(crate) fn kubectl(membership: &Membership) -> std::process::Command {
    let mut command = std::process::Command::new(&membership.state.kube);
    command
        .arg("kubectl")
        .arg("--kubeconfig")
        .arg(membership.home.kubeconfig());
    command
        .arg("--cache-dir")
        .arg(membership.home.join("kubectl-cache"));
    command
}

pub(crate) async fn admin_client(home: &Home) -> Result<Client> {
    let path = home.kubeconfig();
    let kubeconfig =
        Kubeconfig::read_from(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
