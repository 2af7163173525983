//! What holds for every input: schedules, templates, passwords, names, the journal, and the machine's answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is how a test fails, in its helpers too"
)]
#![allow(
    clippy::needless_pass_by_value,
    clippy::wildcard_imports,
    clippy::wildcard_enum_match_arm,
    reason = "a property is read as one sentence"
)]

#[allow(dead_code, reason = "the table needs more of them")]
#[path = "decide_table/fixtures.rs"]
mod fixtures;

#[allow(dead_code, reason = "the table needs more of them")]
#[path = "decide_table/listed.rs"]
mod listed;

#[path = "properties/answers.rs"]
mod answers;
#[path = "properties/credentials.rs"]
mod credentials;
#[path = "properties/journal.rs"]
mod journal;
#[path = "properties/schedules.rs"]
mod schedules;
