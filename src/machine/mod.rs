//! Thought: pure and synchronous. No client, clock, randomness or password in here.
//!
//! | phase | true now | next write | may wait for |
//! |---|---|---|---|
//! | `Idle` | the Secret names the active user, and it logs in | journal: adopt, reschedule; if asked, set both verifiers once more | schedule, rotate-now, a place |
//! | `Prepared` | preflight passed | journal: stage | window |
//! | `Staged` | pending and retiring credentials are durable | put it into the poolers' lists; set the pending verifier | database |
//! | `Altered` | the primary accepted it | let poolers with a list read it | database, replicas, poolers |
//! | `Verified` | the standby logs in and can do what it must | flip the Secret; with a store: propose, then flip there | window |
//! | `Flipped` | with a store: it names the standby | ask the operator to sync; journal: deliver | operator |
//! | `Delivered` | the Secret carries the new credential | restart the next consumer | `maxConcurrent` |
//! | `Restarted` | every consumer with old pods is or was marked | — | rollouts |
//! | `RolledOut` | no pod can hold the old credential | journal: roll out; then terminate, if asked | `retire.after`, sessions |
//! | `Drained` | no session was seen for the quiet time | set the retiring verifier | database |
//! | `Retired` | the old password is refused | take it out of the poolers' lists; journal: finish | |
//!
//! With direct delivery the flip and the delivery are one write, and `Flipped` is not passed through. A rotation that is
//! given up before the old user is retired is replaced by one in the other direction (journal: roll back), which passes
//! through the same phases.

mod after_delivery;
pub mod decide;
pub mod drift;
mod drift_words;
pub mod endpoints;
pub mod facts;
mod headroom;
mod in_sync;
pub mod invariant;
pub mod journal;
mod listed;
mod lists;
mod notices;
mod pace;
pub mod phase;
pub mod place;
pub mod project;
mod roll_back;
mod rotation;
pub mod step;
pub mod userlists;
pub mod words;

pub use after_delivery::QUIET_POLLS;
pub use decide::decide;
pub use facts::Facts;
pub use journal::{Journal, Loaded};
pub use listed::listed;
pub use pace::poll_interval;
pub use phase::Phase;
pub use step::{Action, Decision, Query, Step};
