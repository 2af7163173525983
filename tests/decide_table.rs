//! One row for each edge of `docs/states.md`: what is written, remembered and seen, and the one thing to do next.
//!
//! The rows stand in `tests/decide_table/`; here is what holds for all of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is how a test fails, in its helpers too"
)]
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    clippy::wildcard_imports,
    clippy::wildcard_enum_match_arm,
    reason = "a row is read as one line"
)]

#[path = "decide_table/after_flip.rs"]
mod after_flip;
#[path = "decide_table/before_flip.rs"]
mod before_flip;
#[path = "decide_table/drift.rs"]
mod drift;
#[path = "decide_table/endpoints.rs"]
mod endpoints;
#[path = "decide_table/fixtures.rs"]
mod fixtures;
#[path = "decide_table/headroom.rs"]
mod headroom;
#[path = "decide_table/idle.rs"]
mod idle;
#[path = "decide_table/listed.rs"]
mod listed;
#[path = "decide_table/lists.rs"]
mod lists;
#[path = "decide_table/modes.rs"]
mod modes;
#[path = "decide_table/places.rs"]
mod places;
#[path = "decide_table/reloader.rs"]
mod reloader;
#[path = "decide_table/roll_back.rs"]
mod roll_back;
#[path = "decide_table/rules.rs"]
mod rules;
#[path = "decide_table/store.rs"]
mod store;
#[path = "decide_table/words.rs"]
mod words;

use std::collections::HashSet;

use fixtures::{Row, now};
use jiff::SignedDuration;
use tandem::api::status::RotationPolicyStatus;
use tandem::machine::project::project;
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::{Action, Loaded, Phase, Query, Step, decide, invariant};

fn table() -> Vec<Row> {
    [
        idle::rows(),
        drift::rows(),
        before_flip::rows(),
        after_flip::rows(),
        reloader::rows(),
        store::rows(),
        roll_back::rows(),
        headroom::rows(),
        endpoints::rows(),
        lists::rows(),
        modes::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn each_row_is_decided_as_written() {
    let wrong: Vec<_> = table()
        .into_iter()
        .filter_map(|row| {
            let decided = decide(&row.policy, &row.journal, &row.facts, now());
            (decided != row.expected).then(|| {
                format!(
                    "{}\n  expected {:?}\n  decided  {decided:?}",
                    row.name, row.expected
                )
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_row_has_a_name_of_its_own() {
    let mut names = HashSet::new();
    for row in table() {
        assert!(names.insert(row.name.clone()), "{} stands there twice", row.name);
    }
}

#[test]
fn every_write_of_the_table_is_permitted() {
    let mut writes = 0;
    for row in table() {
        let decided = decide(&row.policy, &row.journal, &row.facts, now());
        if let Step::Act(action) = decided.step {
            let verdict = invariant::permits(&row.policy, &row.journal, &row.facts, &action);
            assert_eq!(verdict, Ok(()), "{}", row.name);
            writes += 1;
        }
    }
    assert!(writes > 30, "only {writes} rows write");
}

/// The API server keeps whole seconds.
#[test]
fn what_is_shown_is_not_shown_once_more() {
    let part = SignedDuration::from_millis(250);
    for Row {
        name,
        policy,
        mut journal,
        facts,
        expected,
    } in table()
    {
        if let Loaded::Valid(journal) = &mut journal {
            if let Some(rotation) = &mut journal.rotation {
                rotation.started_at += part;
            }
            for ended in &mut journal.history {
                ended.started_at += part;
                ended.finished_at += part;
            }
        }
        let show = |old: &RotationPolicyStatus| {
            project(&policy, &journal, &facts, &expected, old, now() + part).status
        };
        let shown = serde_json::to_value(show(&RotationPolicyStatus::default())).unwrap();
        let shown = serde_json::from_value(shown).unwrap();
        assert_eq!(show(&shown), shown, "{name}");
    }
}

#[test]
fn no_row_of_a_suspended_or_deleted_policy_writes() {
    for mut row in table() {
        for (suspended, deleting) in [(true, false), (false, true), (true, true)] {
            row.policy.suspended = suspended;
            row.policy.deleting = deleting;
            let decided = decide(&row.policy, &row.journal, &row.facts, now());
            assert!(!matches!(decided.step, Step::Act(_)), "{}: {decided:?}", row.name);
        }
    }
}

/// Fails to compile when a variant is added, and then fails until a row expects it.
#[test]
fn every_phase_question_write_and_reason_is_expected_by_a_row() {
    let (mut phases, mut steps, mut queries) = ([0; 11], [0; 4], [0; 13]);
    let (mut actions, mut entries, mut reasons) = ([0; 11], [0; 13], [0; 25]);
    for Row { expected, .. } in table() {
        phases[phase(expected.phase)] += 1;
        match expected.step {
            Step::Look(q) => {
                steps[0] += 1;
                queries[query(q)] += 1;
            }
            Step::Act(a) => {
                steps[1] += 1;
                actions[action(&a)] += 1;
                if let Action::Record { entry: e, .. } = a {
                    entries[entry(e)] += 1;
                }
            }
            Step::Wait { why, .. } => {
                steps[2] += 1;
                reasons[reason(&why)] += 1;
            }
            Step::Rest { .. } => steps[3] += 1,
        }
    }
    let lists: [(&str, &[u32]); 6] = [
        ("phases", &phases),
        ("steps", &steps),
        ("questions", &queries),
        ("writes", &actions),
        ("entries", &entries),
        ("reasons", &reasons),
    ];
    for (what, counts) in lists {
        assert!(!counts.contains(&0), "{what}: {counts:?}");
    }
}

fn phase(phase: Phase) -> usize {
    match phase {
        Phase::Idle => 0,
        Phase::Prepared => 1,
        Phase::Staged => 2,
        Phase::Altered => 3,
        Phase::Verified => 4,
        Phase::Delivered => 5,
        Phase::Restarted => 6,
        Phase::RolledOut => 7,
        Phase::Drained => 8,
        Phase::Retired => 9,
        Phase::Flipped => 10,
    }
}

fn query(query: Query) -> usize {
    match query {
        Query::Secret => 0,
        Query::Preflight => 1,
        Query::Pending => 2,
        Query::Previous => 3,
        Query::Kept => 12,
        Query::Consumers => 4,
        Query::Sessions => 5,
        Query::Room => 8,
        Query::Store => 6,
        Query::Operator => 7,
        Query::Place => 9,
        Query::Endpoints => 10,
        Query::Lists => 11,
    }
}

fn action(action: &Action) -> usize {
    match action {
        Action::Record { .. } => 0,
        Action::SetVerifier { .. } => 1,
        Action::Flip { .. } => 2,
        Action::Restart { .. } => 3,
        Action::Terminate { .. } => 4,
        Action::Retire { .. } => 5,
        Action::Propose { .. } => 6,
        Action::Sync { .. } => 7,
        Action::Enlist { .. } => 8,
        Action::Reload { .. } => 9,
        Action::Strike { .. } => 10,
    }
}

fn entry(entry: Entry) -> usize {
    match entry {
        Entry::Adopt => 0,
        Entry::Reschedule => 1,
        Entry::Stage => 2,
        Entry::Regenerate => 3,
        Entry::Recover => 4,
        Entry::RollOut => 5,
        Entry::Finish => 6,
        Entry::Deliver => 7,
        Entry::Withdraw => 8,
        Entry::RollBack => 9,
        Entry::CallOff => 10,
        Entry::Reapply => 11,
        Entry::Accept => 12,
    }
}

fn reason(why: &Waiting) -> usize {
    match why {
        Waiting::Suspended => 0,
        Waiting::JournalCorrupt(_) => 1,
        Waiting::Preflight(_) => 2,
        Waiting::Window(_) => 3,
        Waiting::Refused(_) => 4,
        Waiting::NotAccepted => 5,
        Waiting::OtherServer { .. } => 6,
        Waiting::PasswordsRejected(_) => 7,
        Waiting::SecretMissing => 8,
        Waiting::SecretChanged(_) => 9,
        Waiting::Rollout { .. } => 10,
        Waiting::Sessions { .. } => 11,
        Waiting::Quiet => 12,
        Waiting::RetireAfter(_) => 13,
        Waiting::NotRetired => 14,
        Waiting::StoreChanged(_) => 15,
        Waiting::Sync { .. } => 16,
        Waiting::Reloader { .. } => 17,
        Waiting::Room(_) => 18,
        Waiting::Place(_) => 19,
        Waiting::Journals(_) => 20,
        Waiting::Replay { .. } => 21,
        Waiting::List { .. } => 23,
        Waiting::UnknownMode(_) => 22,
        Waiting::Drift(_) => 24,
    }
}
