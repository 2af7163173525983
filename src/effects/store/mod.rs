//! Stores: where a credential lives when the cluster only gets a copy of it.
//!
//! A store keeps one JSON document per secret, in versions that never change once they are written. One of them is
//! *current*: what readers get. Tandem *proposes* a version, proves that it is there as it must be, and *promotes* it to
//! current with one guarded move. Nobody above this module knows more of a store than that; another store is another
//! implementation of [`Store`].
//!
//! | file | what it does |
//! |---|---|
//! | `document.rs` | replace two values of a JSON document and nothing else |
//! | `version.rs` | what a proposed version is called |
//! | `secrets_manager.rs` | the three calls, for AWS Secrets Manager |
//! | `clients.rs` | credentials and clients, shared by all policies |
//! | `preflight.rs` | what would stand in the way, asked without writing |
//! | `classify.rs` | what an error means, by its code |
//! | `words.rs` | what to tell the person on call about it |

mod classify;
mod clients;
mod document;
mod preflight;
mod secrets_manager;
mod version;
mod words;

use std::future::Future;
use std::time::Duration;

pub use clients::Stores;
pub use document::{Body, Document, Flaw, Keys};
pub use secrets_manager::{PENDING, SecretsManager};
pub use version::{rotation_of, version_id};

use super::{Error, Outcome};
use crate::machine::facts::Finding;
use crate::policy::target::RoleName;
use crate::sensitive::Sensitive;

/// One secret in a store. After an error of [`propose`](Self::propose) or [`promote`](Self::promote) the outcome is
/// unknown; both may be repeated, by anybody, at any time, and end in the same state.
pub trait Store: Send + Sync {
    /// Reads the current version, or says why a rotation could not use it.
    fn current(&self) -> impl Future<Output = Result<Result<Document, Finding>, Error>> + Send;

    /// Writes `base` with another credential as a version of the given name, which readers do not get yet. Where a
    /// version of that name carries another password already, this one is refused ([`Refused::Password`]).
    ///
    /// [`Refused::Password`]: crate::machine::facts::Refused::Password
    fn propose(
        &self,
        base: &Document,
        user: &RoleName,
        password: &Sensitive,
        version: &str,
        left: Duration,
    ) -> impl Future<Output = Result<Outcome, Error>> + Send;

    /// Proves that a version carries the credential, and makes it current in place of `base`. A conflict when neither of
    /// the two is current: somebody else has written.
    fn promote(
        &self,
        base: &str,
        user: &RoleName,
        password: &Sensitive,
        version: &str,
        left: Duration,
    ) -> impl Future<Output = Result<Outcome, Error>> + Send;
}
