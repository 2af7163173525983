//! The explorer: every write × every fault, a budget of two faults, two controllers; the rules of safety after each single
//! write, and a good end from every world that can be reached. And the proof that it would notice: machines that are
//! broken on purpose, each caught by the rule that it breaks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::cast_possible_truncation,
    clippy::similar_names,
    clippy::struct_excessive_bools,
    reason = "a simulator fails by panicking, and counts in small numbers"
)]

mod sim;

use std::thread;

use sim::data::{Credential, Role, State, Write};
use sim::events::{Life, Meddle, live, lives, meddle};
use sim::explore::{Explored, awake, explore};
use sim::failover::{Age, FAILOVER_MUTANTS, Fate, fated};
use sim::hands::{Point, take};
use sim::happy::{HAPPY_WRITES, HAPPY_WRITES_THROUGH_A_STORE};
use sim::mutants::MUTANTS;
use sim::pooler::{HAPPY_WRITES_WITH_A_POOLER, POOLER_MUTANTS, pooled};
use sim::reader::READER_MUTANTS;
use sim::reloader::RELOADER_MUTANTS;
use sim::roll_back_mutants::ROLL_BACK_MUTANTS;
use sim::start::{FIRST, fresh, starts, through_a_store};
use sim::store_mutants::STORE_MUTANTS;
use sim::writes::land;
use tandem::controller::turn::Machine;

/// Faults that strike in one history.
const BUDGET: u8 = 2;
/// The same of a rotation through a store or a pooler, beside a replica or Reloader, in an emergency, whose server fails
/// over, is restored or is another, or that is given up or fails, whose worlds are many times larger; mutants are looked
/// for with two.
const LARGE_BUDGET: u8 = 1;

/// Whether there is so much more that can happen in it.
fn is_large(start: &State) -> bool {
    let State {
        cluster, database, ..
    } = start;
    start.abortable
        || start.ledger.emergency
        || database.reader.is_some()
        || database.pooler.is_some()
        || database.fate.is_some()
        || database.timeline > 1
        || cluster.source.is_some()
        || cluster.reloader.is_some()
        || cluster.workloads.iter().any(|set| set.rejects.is_some())
}

#[test]
fn every_write_and_every_fault_ends_with_everybody_logged_in() {
    let explored: Vec<(&str, Explored)> = thread::scope(|scope| {
        let running: Vec<_> = starts()
            .into_iter()
            .map(|(name, start)| {
                let budget = if is_large(&start) { LARGE_BUDGET } else { BUDGET };
                (name, scope.spawn(move || explore(&Machine, &start, budget)))
            })
            .collect();
        let finished = running.into_iter().map(|(name, run)| (name, run.join().unwrap()));
        finished
            .map(|(name, result)| match result {
                Ok(explored) => (name, explored),
                Err(found) => panic!("{name}: {}\n{}", found.broken, found.story),
            })
            .collect()
    });
    for (name, explored) in &explored {
        println!("{name}: {} states, {} turns", explored.states, explored.turns);
        assert!(explored.states > 100, "{name}: nothing was explored");
    }
    println!("{} states", explored.iter().map(|(_, e)| e.states).sum::<usize>());
}

#[test]
fn every_broken_machine_is_caught_by_the_rule_that_it_breaks() {
    let mut caught = 0;
    let mut missed = Vec::new();
    let all = [
        (World::Plain, MUTANTS.as_slice()),
        (World::Plain, &ROLL_BACK_MUTANTS),
        (World::Store, &STORE_MUTANTS),
        (World::Reloader, &RELOADER_MUTANTS),
        (World::Reader, &READER_MUTANTS),
        (World::Pooler, &POOLER_MUTANTS),
        (World::Fate, &FAILOVER_MUTANTS),
    ];
    let each = all
        .iter()
        .flat_map(|(world, mutants)| mutants.iter().map(|mutant| (*world, mutant)));
    for (world, mutant) in each {
        let found = (0..=BUDGET).find_map(|budget| {
            starts()
                .into_iter()
                .filter(|(_, state)| World::of(state) == world)
                .find_map(|(start, state)| Some((start, explore(mutant, &state, budget).err()?)))
        });
        match found {
            Some((_, found)) if found.broken.starts_with(mutant.breaks) => caught += 1,
            Some((start, found)) => missed.push(format!(
                "{} ({start}): {} instead of {}",
                mutant.name, found.broken, mutant.breaks
            )),
            None => missed.push(format!("{}: not caught", mutant.name)),
        }
    }
    println!(
        "{caught} of {} mutants caught",
        all.iter().map(|(_, mutants)| mutants.len()).sum::<usize>()
    );
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// In which worlds a mutant shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum World {
    Plain,
    Store,
    Reloader,
    Reader,
    Pooler,
    Fate,
}

impl World {
    fn of(state: &State) -> Self {
        let cluster = &state.cluster;
        match (&cluster.source, &cluster.reloader) {
            (Some(_), _) => Self::Store,
            (None, Some(_)) => Self::Reloader,
            (None, None) if state.database.reader.is_some() => Self::Reader,
            (None, None) if state.database.pooler.is_some() => Self::Pooler,
            (None, None) if state.database.fate.is_some() => Self::Fate,
            (None, None) => Self::Plain,
        }
    }
}

/// The writes that the real process is killed at are those of the undisturbed rotation, and no others.
#[test]
fn an_undisturbed_rotation_makes_these_writes() {
    assert_eq!(writes(fresh()), HAPPY_WRITES);
    assert_eq!(writes(through_a_store()), HAPPY_WRITES_THROUGH_A_STORE);
    assert_eq!(writes(pooled()), HAPPY_WRITES_WITH_A_POOLER);
}

/// Else nothing would be shown by it.
#[test]
fn fm24_a_pooler_lets_in_whom_the_server_refuses_and_refuses_whom_it_lets_in() {
    let mut state = pooled();
    meddle(&mut state, Meddle::ChangePassword(0));
    let old = FIRST[0];
    let new = Credential {
        password: state.database.primary[0].verifier,
        ..old
    };
    let told = |state: &State| [old, new].map(|c| (state.database.logs_in(c), state.database.passes(c)));
    assert_eq!(told(&state), [(false, true), (true, false)]);
    assert_eq!(live(&mut state, Life::Close(0)), None);
    assert_eq!(told(&state), [(false, false), (true, false)]);
    meddle(&mut state, Meddle::MendList);
    assert_eq!(told(&state), [(false, false), (true, true)]);
}

/// A server that is lost comes back as it was before the last change; another cluster says that it is one.
#[test]
fn fm21_a_server_is_lost_and_comes_back_as_it_was() {
    for (fate, age, timeline, is_other) in [
        (Fate::Failover, Age::Behind, 2, false),
        (Fate::Restore, Age::Behind, 1, false),
        (Fate::OtherCluster, Age::First, 1, true),
    ] {
        let mut state = fated(fate);
        let role = state.database.primary[1];
        let (user, retire) = (1, false);
        let role = Role { verifier: 9, ..role };
        land(&mut state, &Write::Role { user, role, retire }).unwrap();
        assert_eq!(live(&mut state, Life::Befall(age)), None);
        let database = &state.database;
        assert_eq!(database.primary[1].verifier, FIRST[1].password, "{fate:?}");
        assert_eq!((database.timeline, database.own.is_some()), (timeline, is_other));
        assert_eq!(database.up, is_other, "{fate:?}: there is no server for a moment");
        assert!(!lives(&state).iter().any(|life| matches!(life, Life::Befall(_))));
    }
}

/// All that is written from a start on, when nothing goes wrong.
fn writes(mut state: State) -> Vec<&'static str> {
    let mut writes = Vec::new();
    for _ in 0..100 {
        if state.controller.wake.is_none() {
            break;
        }
        let took = take(&Machine, awake(&state), &Vec::new());
        assert_eq!(took.broken, None);
        writes.extend(took.points.iter().filter_map(|point| match point {
            Point::Write(label, ..) => Some(*label),
            _ => None,
        }));
        state = took.state;
        for life in lives(&state) {
            assert_eq!(live(&mut state, life), None);
        }
    }
    writes
}
