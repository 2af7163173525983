//! The SQL side. What a password is never reaches it: it deals in logins, and in verifiers that it sends once.
//!
//! | file | what it does |
//! |---|---|
//! | `server.rs` | how to reach the server: address, trust |
//! | `connect.rs` | one session: limits, channel binding, notices |
//! | `classify.rs` | what an error means, by SQLSTATE |
//! | `words.rs` | what to tell the person on call about it |
//! | `verifier.rs` | SCRAM verifiers |
//! | `probe.rs` | log in to find out |
//! | `kept.rs` | the same while no rotation runs |
//! | `replicas.rs` | the same where a change comes later |
//! | `standbys.rs` | who could take over and is not waited for |
//! | `poolers.rs` | what is in front of a server: whether it lets applications through, and whom it holds |
//! | `userlist.rs` | the file in which such a one is told passwords |
//! | `roles.rs` | change a role, fenced |
//! | `hush.rs` | what would write a verifier somewhere |
//! | `sessions.rs` | who is still connected, and ending that |
//! | `room.rs` | how many more can connect |
//! | `preflight.rs` | everything that a rotation will need |
//! | `rights.rs` | what the administrator must be allowed |
//! | `function.rs` | the function that changes passwords in the administrator's stead |
//! | `copies.rs` | who else keeps a password of theirs |
//! | `parity/` | whether the two users are alike |

mod classify;
mod connect;
mod copies;
mod function;
mod hush;
mod kept;
mod parity;
mod poolers;
mod preflight;
mod probe;
mod replicas;
mod rights;
mod roles;
mod room;
mod server;
mod sessions;
mod standbys;
mod userlist;
mod verifier;
mod words;

pub use classify::{Failure, Silence, Verdict};
pub use kept::{active, why_refused};
pub use parity::{Compared, parity};
pub use poolers::{clients, pooler, pooler_findings, reload};
pub use preflight::{Wanted, preflight};
pub use probe::{login, previous};
pub use replicas::{Source, behind_name, replica, replica_findings, source};
pub use roles::{Change, Means, change};
pub use room::room;
pub use server::{Credential, Server, Shown};
pub use sessions::{sessions, terminate};
pub use standbys::unnamed_standbys;
pub use userlist::{Flaw, Userlist};
pub use verifier::{Malformed, Verifier};
