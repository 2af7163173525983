//! The world in memory: the database, the API server, the people and the clock as plain data, moved by the real driver
//! loop and the real machine. Passwords are small numbers, and the verifier of a password is the same number.
//!
//! What is taken for granted here is what the effects must deliver:
//!
//! - journal and Secret writes carry the resourceVersion of what was read;
//! - a change of a role fails on the server once its deadline is over, and no process takes a lease before the
//!   deadlines of the one before it are over ([`data::LEASE`] > [`data::SQL_DEADLINE`]);
//! - after a change of a role whose outcome is unknown, the same process sends no other before that deadline;
//! - the user that the application Secret names is changed only to the password which that Secret carries;
//! - a change of a role asks in its own session whether that is the cluster on which the rotation began;
//! - an entry of a pooler's list is written as the Secret is, under the rule for the role that it is of;
//! - the restart mark names the delivery, not only the rotation: no two deliveries share a mark, and a pod without it
//!   that is not younger than the delivery is old;
//! - Reloader's mark, which is made of the Secret's content, counts only when that content was delivered for the first
//!   time;
//! - the quiet series belongs to one delivery, and ends with the process or with a poll that failed.
//!
//! [`data::Guards`] takes each of them away, for tests that show what it is good for.

#![allow(
    clippy::similar_names,
    clippy::struct_excessive_bools,
    clippy::too_many_lines,
    reason = "a world is many flags and many arms, side by side"
)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test includes it, and uses its own part"
)]

pub mod answers;
pub mod calm;
pub mod data;
pub mod events;
pub mod explore;
pub mod failover;
pub mod hands;
pub mod happy;
pub mod key;
pub mod mutants;
pub mod pooler;
pub mod reader;
pub mod reloader;
pub mod roll_back_mutants;
pub mod rules;
pub mod start;
pub mod store_mutants;
pub mod writes;
