//! Everything that is asked of the Kubernetes API server, and written there, for the policies of one namespace.
//!
//! | file | what it knows |
//! |---|---|
//! | [`journal`] | the journal Secret: found, made, replaced |
//! | [`secret`] | the application Secret: seen and flipped |
//! | [`conditions`] | what stands in the way of delivering to it |
//! | `external_secret` | the operator that brings a credential from the store into the application Secret |
//! | [`userlist`] | the Secret with a pooler's list of passwords |
//! | [`references`] | the administrator's credential and the certificate authority, read afresh at each use |
//! | [`consumers`] | which workloads and pods use the credential, and which of them are old |
//! | `uses` | whether a pod's spec names the Secret |
//! | `owners` | which workload a pod belongs to |
//! | `obstacles` | why a rollout does not go on |
//! | `failing` | whether it has failed, or may be about to |
//! | [`reloader`] | what Stakater Reloader does by itself, and what is done in its stead |
//! | `reverts` | whether somebody took a restart back |
//! | [`rollout`] | the restart of one workload |
//! | `argo` | Argo Rollouts' workload, and its restart |
//! | [`access`] | whether this process may do what a rotation will need |
//! | [`publish`] | status and Events |
//! | `wire` | single requests, each within its time, and what their answers mean |
//!
//! Beneath all of this the client repeats requests that were answered with 429, 503 or 504, writes too. So every
//! write here is guarded or idempotent, and has a limit of its own.

pub mod access;
mod argo;
pub mod conditions;
pub mod consumers;
mod external_secret;
mod failing;
#[cfg(test)]
mod fixtures;
pub mod journal;
mod obstacles;
mod owners;
pub mod publish;
pub mod references;
pub mod reloader;
mod reverts;
pub mod rollout;
pub mod secret;
mod surge;
pub mod userlist;
mod uses;
mod wire;

use std::error::Error as _;

use kube::Client;

use super::{Error, Outcome};
use crate::api::RotationPolicy;
use crate::machine::facts::Refused;

/// The API server, for one namespace.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// The part of the cluster in which a policy's objects are.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    /// Reads a policy, past every cache.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn policy(&self, name: &str) -> Result<Option<RotationPolicy>, Error> {
        self.get(name).await
    }

    /// An object of this namespace, as messages name it.
    pub(super) fn named(&self, kind: &str, name: &str) -> String {
        format!("{kind} {}/{name}", self.namespace)
    }
}

/// What a client error says: the API server's own words where there are any, else the whole chain of causes.
pub(super) fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return if status.message.is_empty() {
            format!("the API server answered {} {}", status.code, status.reason)
        } else {
            status.message.clone()
        };
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// A guarded write that finds nothing is a conflict: what was looked at is gone.
fn found<T>(result: Result<T, Error>, what: impl Fn() -> String) -> Result<T, Error> {
    match result {
        Err(Error::Kubernetes { source, .. }) if wire::is_missing(&source) => {
            Err(Error::Conflict { what: what() })
        }
        result => result,
    }
}

/// A write that was refused for good is an outcome; one that has not come to an end is an error.
fn settled<T>(result: Result<T, Error>) -> Result<Outcome, Error> {
    match result {
        Ok(_) => Ok(Outcome::Done),
        Err(Error::Refused(finding)) => Ok(Outcome::Refused(Refused::Otherwise(finding))),
        Err(error) => Err(error),
    }
}
