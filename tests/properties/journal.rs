//! The journal: what is written is read back, and nothing else is trusted.

use jiff::Timestamp;
use proptest::prelude::*;
use tandem::machine::journal::{Finished, Rotation, SCHEMA, ScheduleMark, Trigger, Undone};
use tandem::machine::{Journal, Loaded};
use tandem::policy::RotateMode;

use crate::fixtures::*;

fn times() -> impl Strategy<Value = Timestamp> {
    (-100_000_000..100_000_000_i64).prop_map(|s| now() + secs(s))
}

pub(crate) fn triggers() -> impl Strategy<Value = Trigger> {
    prop_oneof![
        any::<String>().prop_map(Trigger::RotateNow),
        times().prop_map(Trigger::Schedule),
        times().prop_map(Trigger::CatchUp),
        Just(Trigger::Recovery),
        any::<String>().prop_map(Trigger::RollBack),
        any::<String>().prop_map(Trigger::Abort),
    ]
}

prop_compose! {
    fn rotations()(
        trigger in triggers(),
        mode in prop::sample::select(RotateMode::ALL.to_vec()),
        started_at in times(),
        swapped in any::<bool>(),
        known in any::<bool>(),
        rejected in 0..8_u32,
        delivered in prop::option::of(times().prop_map(landing)),
        first in prop::option::of("[0-9]{1,4}"),
        rolled_out_at in prop::option::of(times()),
        staged_at in prop::option::of(times()),
        undoes in prop::option::of((1..u64::MAX, prop::option::of(times()))),
    ) -> Rotation {
        let (pending, retiring) = if swapped { (ACTIVE, STANDBY) } else { (STANDBY, ACTIVE) };
        Rotation {
            trigger,
            mode,
            started_at,
            spec: policy().snapshot,
            pending: role(pending),
            retiring: role(retiring),
            identity: known.then(server),
            staged_at,
            undoes: undoes.map(|(number, staged_at)| Undone { number, staged_at }),
            rejected,
            delivered,
            first,
            rolled_out_at,
        }
    }
}

prop_compose! {
    fn endings()(number in any::<u64>(), trigger in triggers(), started_at in times(), finished_at in times(), undone in any::<Option<String>>()) -> Finished {
        Finished { number, trigger, started_at, finished_at, undone, ..finished(1) }
    }
}

prop_compose! {
    /// Every journal that may be found.
    pub(crate) fn journals()(
        number in prop_oneof![4 => 1..12_u64, 1 => 1..u64::MAX],
        handled in prop::option::of(prop_oneof![Just("old".to_owned()), any::<String>()]),
        aborted in prop::option::of(prop_oneof![Just("old".to_owned()), any::<String>()]),
        schedule in prop::option::of((prop_oneof![Just("0 3 * * * UTC"), Just("every 1h"), Just("")], times())),
        rotation in prop::option::weighted(0.7, rotations()),
        history in prop::collection::vec(endings(), 0..4),
    ) -> Journal {
        let schedule = schedule.map(|(text, since)| ScheduleMark { text: text.to_owned(), since });
        Journal { number, handled, aborted, schedule, rotation, history, ..fresh() }
    }
}

fn print(journal: &Journal) -> Vec<u8> {
    serde_json::to_vec(journal).unwrap()
}

fn is_corrupt(loaded: &Loaded) -> bool {
    matches!(loaded, Loaded::Corrupt(why) if !why.is_empty())
}

#[test]
fn fm14_another_release_is_named_as_such() {
    for schema in [0, SCHEMA + 1, u32::MAX] {
        let json = serde_json::json!({"schema": schema, "whatever": "it has"}).to_string();
        let Loaded::Corrupt(why) = Journal::load(json.as_bytes(), UID) else {
            panic!("schema {schema} was read");
        };
        assert!(why.contains(&format!("schema {schema};")), "{why}");
    }
}

#[test]
fn what_does_not_fit_together_is_not_trusted() {
    let flawed = [
        running().numbered(0),
        running().with(|r| r.pending = role(ACTIVE)),
        running().with(|r| r.retiring = role("stranger")),
        running().with(|r| r.spec.users = vec!["other_a".into(), "other_b".into()]),
    ];
    for journal in flawed {
        assert!(is_corrupt(&Journal::load(&print(&journal), UID)), "{journal:?}");
    }
    let reserved = String::from_utf8(print(&running()))
        .unwrap()
        .replace(STANDBY, "pg_monitor");
    assert!(
        is_corrupt(&Journal::load(reserved.as_bytes(), UID)),
        "no role has a reserved name"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(journal in journals()) {
        prop_assert_eq!(Journal::load(&print(&journal), UID), journal.valid());
    }

    #[test]
    fn fm14_another_schema_or_policy_is_never_trusted(journal in journals(), schema in any::<u32>(), uid in "[a-f0-9-]{0,36}") {
        prop_assume!(schema != SCHEMA && uid != UID);
        let other = Journal { schema, ..journal.clone() };
        prop_assert!(is_corrupt(&Journal::load(&print(&other), UID)));
        let other = Journal { policy: uid, ..journal };
        prop_assert!(is_corrupt(&Journal::load(&print(&other), UID)));
    }

    #[test]
    fn fm14_what_was_cut_off_is_never_trusted(journal in journals(), part in 0.0..1.0_f64) {
        let json = print(&journal);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part of a length")]
        let end = (json.len() as f64 * part) as usize;
        prop_assert!(is_corrupt(&Journal::load(&json[..end], UID)));
    }

    #[test]
    fn fm14_a_field_that_nobody_knows_is_never_ignored(journal in journals(), key in "[a-z]{1,8}X") {
        let mut json = serde_json::to_value(&journal).unwrap();
        json[&key] = serde_json::json!(1);
        prop_assert!(is_corrupt(&Journal::load(json.to_string().as_bytes(), UID)));
    }

    /// A changed byte may make another journal that is as sound as the first; what is trusted is then still whole.
    #[test]
    fn fm14_what_was_damaged_is_refused_or_sound(journal in journals(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut json = print(&journal);
        let place = place.index(json.len());
        json[place] = byte;
        if let Loaded::Valid(read) = Journal::load(&json, UID) {
            prop_assert_eq!((read.schema, read.policy.as_str()), (SCHEMA, UID));
            if let Some(rotation) = &read.rotation {
                prop_assert!(read.number > 0);
                let users = &rotation.spec.users;
                prop_assert!(rotation.pending != rotation.retiring);
                for role in [&rotation.pending, &rotation.retiring] {
                    prop_assert!(users.iter().any(|user| user == role.as_str()));
                }
            }
            prop_assert_eq!(Journal::load(&print(&read), UID), Loaded::Valid(read));
        }
    }

    #[test]
    fn fm14_noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(is_corrupt(&Journal::load(&noise, UID)));
    }
}
