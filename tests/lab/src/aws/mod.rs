//! AWS Secrets Manager, as far as Tandem and the External Secrets Operator use it, and the part of STS that goes with it.
//!
//! The real protocol over HTTP, with signatures that are checked and permissions that are asked, over semantics that
//! are written from the API reference. Where the reference is silent and the real service's answer is known, that is
//! what is given. What is not known is refused with `NotEmulated`.
//!
//! | part | what it knows |
//! |---|---|
//! | `versions`, `store` | the rules: versions, labels, names, deletion; plain data |
//! | `reads`, `writes`, `operations`, `answer` | the actions on it, and who may ask for them |
//! | `iam`, `policy`, `sts` | keys, roles and sessions, and what their policies let them do |
//! | `signature`, `server` | the wire |
//! | `faults`, `calls` | what goes wrong on demand, and what was asked |
//! | `moto` | a second opinion on the rules |

mod action;
mod answer;
mod calls;
mod faults;
mod iam;
mod moto;
mod operations;
mod policy;
mod reads;
mod refusal;
mod server;
mod signature;
mod store;
mod sts;
mod versions;
mod writes;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;
use tokio::sync::oneshot;

pub use action::Action;
pub use calls::Call;
pub use faults::{Fault, How};
pub use iam::{AccessKey, Trust};
pub use moto::Moto;
pub use versions::{Value, Version};

use server::State;

/// The region that the functions here work in; requests find secrets in the region that they are signed for.
const REGION: &str = "us-east-1";

/// A running emulator. It ends when it is dropped.
pub struct Aws {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    administrator: AccessKey,
    server: Mutex<Option<Server>>,
}

impl Aws {
    /// Starts one on a free port of an address of this machine, or of the lab's node.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(address: IpAddr) -> Result<Self> {
        let mut state = State::default();
        let administrator = state.people.user(&iam::everything())?;
        let state = Arc::new(Mutex::new(state));
        let (address, server) = Server::start(SocketAddr::new(address, 0), Arc::clone(&state))?;
        Ok(Self {
            address,
            state,
            administrator,
            server: Mutex::new(Some(server)),
        })
    }

    /// Where it listens, for both services.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The region that the secrets made here are in.
    #[must_use]
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// A key that may do everything.
    #[must_use]
    pub fn key(&self) -> &AccessKey {
        &self.administrator
    }

    /// Stops listening and cuts all connections; what it remembers is kept.
    pub fn go_down(&self) {
        drop(self.server().take());
    }

    /// Listens again where it did.
    ///
    /// # Errors
    /// When somebody else listens there by now.
    pub fn come_up(&self) -> Result<()> {
        let mut server = self.server();
        if server.is_none() {
            *server = Some(Server::start(self.address, Arc::clone(&self.state))?.1);
        }
        Ok(())
    }

    /// A key of a new user with this policy.
    ///
    /// # Errors
    /// When the policy is not understood.
    pub fn grant(&self, policy: &Json) -> Result<AccessKey> {
        self.state()
            .people
            .user(policy)
            .context("the policy is not understood")
    }

    /// Another policy for the user with this key's id.
    ///
    /// # Errors
    /// When nobody has it, or the policy is not understood.
    pub fn permit(&self, key: &str, policy: &Json) -> Result<()> {
        let known = self.state().people.permit(key, policy);
        ensure!(
            known.context("the policy is not understood")?,
            "nobody has the key {key}"
        );
        Ok(())
    }

    /// A role with this policy; its ARN is returned.
    ///
    /// # Errors
    /// When the policy is not understood.
    pub fn role(&self, name: &str, trust: Trust, policy: &Json) -> Result<String> {
        let role = self.state().people.role(name, trust, policy);
        role.context("the policy is not understood")
    }

    /// Lets all sessions of roles end.
    pub fn end_sessions(&self) {
        self.state().people.end_sessions(Timestamp::now());
    }

    /// Makes calls about a secret fail.
    pub fn fault(&self, secret: &str, fault: Fault) {
        self.state().faults.add(secret, None, fault);
    }

    /// Makes calls about a secret fail that are signed with the key of this id.
    pub fn fault_of(&self, key: &str, secret: &str, fault: Fault) {
        self.state().faults.add(secret, Some(key), fault);
    }

    /// Lets nothing fail any more.
    pub fn mend(&self) {
        self.state().faults.clear();
    }

    /// The calls about a secret, or about a role by its ARN, in the order in which they came.
    #[must_use]
    pub fn calls(&self, secret: &str) -> Vec<Call> {
        let mut calls = self.all_calls();
        calls.retain(|call| call.secret.as_deref() == Some(secret));
        calls
    }

    /// All calls.
    #[must_use]
    pub fn all_calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        server::lock(&self.state)
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Direct access, past protocol, permissions and log, for tests to look and to meddle.
impl Aws {
    /// Makes a secret with one version; its ARN is returned.
    ///
    /// # Errors
    /// As `CreateSecret`.
    pub fn create(&self, name: &str, value: Value) -> Result<String> {
        let mut state = self.state();
        let now = Timestamp::now();
        let secret = state.store.create(REGION, name, now)?;
        let token = server::request_id();
        secret.versions.put(&secret.arn, &token, value, None, now)?;
        Ok(secret.arn.clone())
    }

    /// Puts a new current version; its id is returned.
    ///
    /// # Errors
    /// As `PutSecretValue`.
    pub fn put(&self, name: &str, value: Value) -> Result<String> {
        let token = server::request_id();
        self.change(name, |secret| {
            let arn = secret.arn.clone();
            secret
                .versions
                .put(&arn, &token, value, None, Timestamp::now())
                .map(|_| ())
        })?;
        Ok(token)
    }

    /// All versions, the oldest first.
    #[must_use]
    pub fn versions(&self, name: &str) -> Vec<Version> {
        let state = self.state();
        state
            .store
            .get(REGION, name)
            .map_or_else(Vec::new, |secret| secret.versions.0.clone())
    }

    /// The version that has a label.
    #[must_use]
    pub fn labelled(&self, name: &str, stage: &str) -> Option<Version> {
        let mut versions = self.versions(name).into_iter();
        versions.find(|version| version.stages.contains(stage))
    }

    /// What the current version holds.
    #[must_use]
    pub fn current(&self, name: &str) -> Option<Value> {
        self.labelled(name, versions::CURRENT)
            .map(|version| version.value)
    }

    /// Moves a label to a version, from wherever it is, or removes it.
    ///
    /// # Errors
    /// As `UpdateSecretVersionStage`.
    pub fn move_stage(&self, name: &str, stage: &str, to: Option<&str>) -> Result<()> {
        let from = self.labelled(name, stage).map(|version| version.id);
        self.change(name, |secret| {
            secret.versions.move_stage(stage, to, from.as_deref())
        })
    }

    /// Puts a tag on a secret.
    ///
    /// # Errors
    /// When there is no such secret.
    pub fn tag(&self, name: &str, key: &str, value: &str) -> Result<()> {
        self.change(name, |secret| {
            secret.tags.insert(key.to_owned(), value.to_owned());
            Ok(())
        })
    }

    /// Lets a secret say that AWS rotates it; nothing is rotated.
    ///
    /// # Errors
    /// When there is no such secret.
    pub fn set_rotation(&self, name: &str, enabled: bool) -> Result<()> {
        self.change(name, |secret| {
            secret.rotation = Some(enabled);
            Ok(())
        })
    }

    /// Gives a secret a policy.
    ///
    /// # Errors
    /// When there is no such secret, or the policy is not understood.
    pub fn set_policy(&self, name: &str, policy: &Json) -> Result<()> {
        let parsed = policy::Policy::parse(policy).context("the policy is not understood")?;
        self.change(name, |secret| {
            secret.policy = Some((policy.to_string(), parsed));
            Ok(())
        })
    }

    /// Schedules a secret for deletion in seven days.
    ///
    /// # Errors
    /// When there is no such secret.
    pub fn schedule_deletion(&self, name: &str) -> Result<()> {
        let end = Timestamp::now() + SignedDuration::from_hours(7 * 24);
        self.change(name, |secret| {
            secret.deletion = Some(end);
            Ok(())
        })
    }

    /// Takes a secret back from deletion.
    ///
    /// # Errors
    /// When there is no such secret.
    pub fn restore(&self, name: &str) -> Result<()> {
        self.change(name, |secret| {
            secret.deletion = None;
            Ok(())
        })
    }

    /// Deletes a secret at once, if there is one.
    pub fn delete(&self, name: &str) {
        self.state().store.remove(REGION, name);
    }

    /// Makes all versions of a secret older than they are.
    ///
    /// # Errors
    /// When there is no such secret.
    pub fn age(&self, name: &str, by: Duration) -> Result<()> {
        Ok(self.state().store.age(REGION, name, by)?)
    }

    fn change(&self, name: &str, how: impl FnOnce(&mut store::Secret) -> refusal::Outcome<()>) -> Result<()> {
        let mut state = self.state();
        let secret = state.store.get_mut(REGION, name)?;
        Ok(how(secret)?)
    }
}

/// The server, on a thread and a runtime of its own: a test that blocks its own runtime does not block the service,
/// and the end of the runtime is the end of every connection.
struct Server {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(address: SocketAddr, state: Arc<Mutex<State>>) -> Result<(SocketAddr, Self)> {
        let context = || format!("the emulator cannot listen on {address}");
        let listener = TcpListener::bind(address).with_context(context)?;
        listener.set_nonblocking(true).with_context(context)?;
        let address = listener.local_addr().with_context(context)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (end, ended) = oneshot::channel();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let service = Router::new().fallback(move |request: axum::extract::Request| {
                let state = Arc::clone(&state);
                async move { server::answer(&state, request).await }
            });
            axum::serve(listener, service).await
        };
        let thread = std::thread::Builder::new()
            .name("aws".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = serve => {}
                        _ = ended => {}
                    }
                });
            })?;
        let server = Self {
            end: Some(end),
            thread: Some(thread),
        };
        Ok((address, server))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
