//! The machine has an answer to everything, and never a dangerous one.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tandem::machine::endpoints::Door;
use tandem::machine::facts::{
    Consumer, Delivered, Failing, Finding, Identity, KeptSeen, Limit, Login, OperatorSeen, Preflight,
    Previous, Quiet, Refused, Room, SecretSeen, Sessions, StoreSeen,
};
use tandem::machine::invariant::permits;
use tandem::machine::journal::Landing;
use tandem::machine::place::{Place, Shared, Taken};
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::userlists::{List, ListSeen, POOLER_REFUSES};
use tandem::machine::{Action, Decision, Facts, Journal, Loaded, Step, decide};
use tandem::policy::schedule::Schedule;
use tandem::policy::target::ConsumerKind;
use tandem::policy::{Policy, RotateMode};

use crate::fixtures::*;
use crate::journal::journals;
use crate::listed::{listing, with_list};

fn schedules() -> impl Strategy<Value = Option<Schedule>> {
    let times = prop_oneof![
        Just(Schedule::cron("0 3 * * *", "UTC").unwrap()),
        Just(Schedule::cron("*/5 * * * *", "Europe/Berlin").unwrap()),
        Just(Schedule::every(hours(1)).unwrap()),
    ];
    let whole = (
        times,
        prop::option::of(60..20_000_i64),
        0..3600_i64,
        any::<bool>(),
    );
    prop::option::of(whole.prop_map(|(schedule, window, jitter, skip)| {
        schedule.with(window.map(secs), secs(jitter), skip, UID)
    }))
}

fn doors() -> impl Strategy<Value = Door> {
    prop_oneof![
        8 => Just(Door::Open),
        1 => Just(Door::Behind(Vec::new())),
        1 => Just(Door::Refused(trouble())),
        1 => Just(Door::Refused(Finding { reason: POOLER_REFUSES, ..trouble() })),
    ]
}

prop_compose! {
    fn policies()(
        flags in prop::array::uniform10(prop::bool::weighted(0.2)),
        asked in prop::option::of(prop::sample::select(&["old", "new", "newer"][..])),
        abort in prop::option::weighted(0.3, prop::sample::select(&["old", "new"][..])),
        reapply in prop::option::weighted(0.3, prop::sample::select(&["old", "new"][..])),
        accept in prop::option::weighted(0.1, prop::sample::select(&["old", "new"][..])),
        schedule in schedules(),
        at_once in 1..4_usize,
        after in prop_oneof![3 => Just(0), 1 => 0..100_000_i64],
        quiet_for in 0..300_i64,
        history_limit in 0..5_usize,
        rotate_mode in prop_oneof![
            4 => prop::sample::select(RotateMode::ALL.to_vec()).prop_map(Ok),
            1 => Just(Err("Quick".to_owned())),
        ],
    ) -> Policy {
        let [suspended, deleting, alone, killing, no_login, edited, through, back, reading, pooled] = flags;
        let start = if through { policy().store_first() } else { policy() };
        let mut policy = start.at_once(at_once).keeping_the_old_for(secs(after)).remembering(history_limit);
        policy = if alone { policy.restarting_nothing() } else { policy };
        policy = if killing { policy.terminating() } else { policy };
        policy = if no_login { policy.taking_the_login() } else { policy };
        policy = if edited { policy.of_strangers() } else { policy };
        policy = if back { policy.rolling_back() } else { policy };
        policy = if reading { policy.reading() } else { policy };
        policy = if pooled { with_list(policy) } else { policy };
        policy.drain.quiet_for = secs(quiet_for);
        let (rotate_now, abort) = (asked.map(str::to_owned), abort.map(str::to_owned));
        let (reapply, accept) = (reapply.map(str::to_owned), accept.map(str::to_owned));
        Policy { suspended, deleting, schedule, rotate_now, abort, reapply, accept, rotate_mode, ..policy }
    }
}

fn loaded() -> impl Strategy<Value = Loaded> {
    prop_oneof![
        1 => Just(Loaded::Absent),
        1 => Just(Loaded::Corrupt("it is damaged".into())),
        8 => journals().prop_map(Journal::valid),
    ]
}

fn users() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![4 => Just(Some(ACTIVE)), 4 => Just(Some(STANDBY)), 1 => Just(Some("stranger")), 1 => Just(None)]
}

/// From an hour before now to an hour after it: other clocks go wrong.
fn moments() -> impl Strategy<Value = Timestamp> {
    prop_oneof![3 => -10_000..0_i64, 1 => 0..3600_i64].prop_map(|s| now() + secs(s))
}

prop_compose! {
    fn marks()(number in prop_oneof![4 => 0..12_u64, 1 => any::<u64>()], at in moments(), known in any::<bool>()) -> (Delivered, Landing) {
        (Delivered { number, nonce: known.then(|| "new".to_owned()) }, landing(at))
    }
}

fn secrets() -> impl Strategy<Value = SecretSeen> {
    let present = (users(), any::<bool>(), prop::option::of(marks()));
    prop_oneof![
        1 => Just(SecretSeen::Missing),
        9 => present.prop_map(|(user, carries_pending, mark)| {
            let (delivered, landing) = mark.unzip();
            SecretSeen::Present {
                user: user.map(role),
                carries_pending,
                version: "uid/41".into(),
                landing,
                delivered,
            }
        }),
    ]
}

fn stores() -> impl Strategy<Value = StoreSeen> {
    let present = (users(), any::<bool>(), prop::option::of(0..12_u64));
    prop_oneof![
        1 => Just(StoreSeen::Unusable(trouble())),
        9 => present.prop_map(|(user, carries_pending, number)| StoreSeen::Present {
            user: user.map(role),
            carries_pending,
            version: "v1".into(),
            number,
        }),
    ]
}

fn operators() -> impl Strategy<Value = OperatorSeen> {
    prop_oneof![
        1 => Just(OperatorSeen::Unusable(trouble())),
        2 => Just(never_asked()),
        6 => (0..20_u32, -60..60_i64).prop_map(|(times, before)| asked(times, secs(before))),
    ]
}

fn preflights() -> impl Strategy<Value = Preflight> {
    (users(), any::<bool>(), any::<bool>()).prop_map(|(user, blocked, known)| Preflight {
        active: user.map(role),
        identity: known.then(server),
        consumers: Vec::new(),
        findings: vec![if blocked { trouble() } else { warning() }],
    })
}

fn logins() -> impl Strategy<Value = Login> {
    let elsewhere = Identity {
        system: "9009".into(),
        timeline: 1,
    };
    prop_oneof![
        4 => Just(accepted()),
        1 => Just(Login::Accepted(elsewhere)),
        1 => Just(Login::NotYet),
        1 => Just(Login::WrongPassword),
        1 => Just(Login::Refused(trouble())),
    ]
}

fn consumers() -> impl Strategy<Value = Vec<Consumer>> {
    let failing = prop::option::of(prop::sample::select(&[Failing::Trouble, Failing::Failure][..]));
    let one = (any::<[bool; 3]>(), 0..5_u8, any::<u32>(), failing).prop_map(
        |([marked, renewed, left], kind, surge, failing)| {
            let consumer = match kind {
                0 => consumer(ConsumerKind::Job, "job"),
                1 => consumer(ConsumerKind::Pod, "pod"),
                2 if !marked => deployment("undone").reverted(),
                _ => Consumer {
                    surge,
                    ..deployment("web")
                },
            };
            let consumer = Consumer { failing, ..consumer };
            let consumer = if marked { consumer.marked() } else { consumer };
            let consumer = if left { consumer.left() } else { consumer };
            if renewed { consumer.renewed() } else { consumer }
        },
    );
    prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(one, 0..4)]
}

fn rooms() -> impl Strategy<Value = Result<Room, Finding>> {
    let room = |(most, used, connections)| {
        let what = "max_connections".to_owned();
        let limits = vec![Limit { what, most, used }];
        Room { limits, connections }
    };
    prop_oneof![
        1 => Just(Err(trouble())),
        4 => any::<(u32, u32, u32)>().prop_map(move |numbers| Ok(room(numbers))),
    ]
}

fn places() -> impl Strategy<Value = Place> {
    let taken = Taken {
        shared: Shared::Server,
        most: 1,
        holders: vec!["shop/orders".to_owned()],
        ahead: 2,
    };
    prop_oneof![
        4 => Just(Place::Had),
        1 => Just(Place::Taken(taken)),
        1 => any::<usize>().prop_map(Place::Unread),
    ]
}

fn sessions() -> impl Strategy<Value = Sessions> {
    let series = prop::option::of((moments(), 0..8_u32).prop_map(|(since, polls)| Quiet { since, polls }));
    prop_oneof![
        1 => Just(Sessions::Unreachable(trouble())),
        1 => Just(left()),
        4 => series.prop_map(|quiet| Sessions::Counted { laggards: Vec::new(), quiet }),
    ]
}

fn lists() -> impl Strategy<Value = Vec<ListSeen>> {
    let known = any::<[bool; 2]>().prop_map(|[pending, retiring]| listing(pending, retiring));
    let list = prop_oneof![4 => known, 1 => Just(List::Unusable(trouble()))];
    list.prop_map(|list| {
        let endpoint = "far".to_owned();
        vec![ListSeen { endpoint, list }]
    })
}

fn pasts() -> impl Strategy<Value = Previous> {
    prop_oneof![
        Just(Previous::Accepted),
        Just(Previous::Refused),
        Just(Previous::Unknown),
        Just(Previous::Unreachable(trouble())),
    ]
}

prop_compose! {
    fn remains()(
        active in prop::option::weighted(0.9, logins()),
        retired in pasts(),
        promoted in any::<bool>(),
        known in any::<bool>(),
        preflight_at in prop::option::of(moments()),
    ) -> KeptSeen {
        let timeline = 1 + u32::from(promoted);
        let identity = known.then(|| Identity { timeline, ..server() });
        KeptSeen { active, retired, identity, preflight_at }
    }
}

prop_compose! {
    fn facts()(
        secret in prop::option::weighted(0.9, secrets()),
        store in prop::option::weighted(0.9, stores()),
        operator in prop::option::weighted(0.9, operators()),
        place in prop::option::weighted(0.9, places()),
        preflight in prop::option::weighted(0.9, preflights()),
        pending in prop::option::weighted(0.9, logins()),
        doors in prop::option::weighted(0.9, prop::array::uniform2(doors())),
        previous in prop::option::of(pasts()),
        kept in prop::option::weighted(0.9, remains()),
        lists in prop::option::weighted(0.9, lists()),
        consumers in prop::option::weighted(0.9, consumers()),
        room in prop::option::weighted(0.9, rooms()),
        sessions in prop::option::weighted(0.9, sessions()),
        done in prop::array::uniform4(prop::bool::weighted(0.3)),
        told in prop::array::uniform2(prop::bool::weighted(0.3)),
        refused in prop::option::weighted(0.1, prop_oneof![
            Just(Refused::Password(trouble())),
            Just(Refused::Otherwise(trouble())),
        ]),
    ) -> Facts {
        let [altered, proposed, retired, terminated] = done;
        let facts = Facts {
            secret, store, operator, place, preflight, pending, previous, kept, consumers, room, sessions,
            altered, proposed, retired, terminated, refused, endpoints: None, lists,
            enlisted: told[0], reloaded: told[1].then(|| "far".to_owned()).into_iter().collect(),
        };
        match doors {
            Some(doors) => facts.endpoints(doors),
            None => facts,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2500, max_global_rejects: 8000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_safe(policy in policies(), journal in loaded(), facts in facts()) {
        let decision = decide(&policy, &journal, &facts, now());
        prop_assert_eq!(&decision, &decide(&policy, &journal, &facts, now()), "the same again");
        let Decision { step, .. } = decision;
        match step {
            Step::Look(_) => {}
            Step::Wait { until, .. } => prop_assert!(until > now(), "{until}"),
            Step::Rest { next } => prop_assert!(next.is_none_or(|next| next > now()), "{next:?}"),
            Step::Act(action) => {
                prop_assert!(!policy.suspended && !policy.deleting);
                prop_assert_eq!(permits(&policy, &journal, &facts, &action), Ok(()));
                if let Action::Record { next, .. } = action {
                    let json = serde_json::to_vec(&next).unwrap();
                    prop_assert_eq!(Journal::load(&json, UID), Loaded::Valid(next), "what is written can be read");
                }
            }
        }
    }

    /// Nobody is asked twice what has been answered, and no answer is asked for that is not needed.
    #[test]
    fn what_is_known_is_not_asked_for_again(policy in policies(), journal in loaded(), facts in facts()) {
        use tandem::machine::Query::*;
        if let Step::Look(query) = decide(&policy, &journal, &facts, now()).step {
            let known = match query {
                Secret => facts.secret.is_some(),
                Store => facts.store.is_some(),
                Operator => facts.operator.is_some(),
                Place => facts.place.is_some(),
                Preflight => facts.preflight.is_some(),
                Pending => facts.pending.is_some(),
                Endpoints => facts.endpoints.is_some(),
                Lists => facts.lists.is_some(),
                Previous => facts.previous.is_some(),
                Kept => facts.kept.is_some(),
                Consumers => facts.consumers.is_some(),
                Room => facts.room.is_some(),
                Sessions => facts.sessions.is_some(),
            };
            prop_assert!(!known, "{query:?}");
        }
    }

    /// Numbers never fall, and only a roll-back takes the place of a running rotation.
    #[test]
    fn fm48_a_running_rotation_never_starts_another(policy in policies(), journal in journals(), facts in facts()) {
        prop_assume!(journal.rotation.is_some());
        if let Step::Act(Action::Record { entry, next }) = decide(&policy, &journal.clone().valid(), &facts, now()).step {
            let takes_back = entry == Entry::RollBack;
            prop_assert!(takes_back || matches!(entry, Entry::Regenerate | Entry::Deliver | Entry::Withdraw | Entry::RollOut | Entry::CallOff | Entry::Finish), "{entry:?}");
            prop_assert_eq!(next.number, journal.number + u64::from(takes_back));
        }
    }
}

#[test]
fn the_last_number_and_the_last_time_stand_still() {
    let last = resting().numbered(u64::MAX).valid();
    let facts = staged().place(Place::Had).preflight(passed());
    let asked = policy().asked("new");
    let Step::Act(action) = decide(&asked, &last, &facts, now()).step else {
        panic!("it tries");
    };
    assert!(permits(&asked, &last, &facts, &action).is_err(), "and is not let");
    let never = running().rolled_out(Timestamp::MAX).valid();
    let kept = policy().keeping_the_old_for(SignedDuration::from_hours(1));
    let step = decide(&kept, &never, &podless(), now()).step;
    assert!(
        matches!(step, Step::Wait { until, why: Waiting::RetireAfter(at) } if at == Timestamp::MAX && until > now()),
        "{step:?}"
    );
}
