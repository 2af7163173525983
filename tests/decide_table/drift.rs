//! Between two rotations: the check of what the last one left, and what a person can do about what it finds.

use jiff::SignedDuration;
use tandem::api::spec::RetireMode;
use tandem::machine::drift::{Cause, Drift};
use tandem::machine::facts::{
    Identity, KeptSeen, Login, Preflight, Previous, Refused, SecretSeen, StoreSeen,
};
use tandem::machine::journal::Kept;
use tandem::machine::place::Place;
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::words::words;
use tandem::machine::{Action, Facts, Journal, Phase, Query};
use tandem::policy::Policy;

use crate::fixtures::*;

pub(crate) fn rows() -> Vec<Row> {
    [checks(), finds(), reapplies(), accepts()]
        .into_iter()
        .flatten()
        .collect()
}

/// What rotation [`LAST`], from the standby back to the active user, left so long ago.
fn keeping(for_: SignedDuration) -> Journal {
    Journal {
        kept: Some(Kept {
            active: role(ACTIVE),
            retired: Some(role(STANDBY)),
            identity: Some(server()),
            since: ago(for_),
        }),
        ..resting()
    }
}

/// The check is due.
pub(crate) fn due() -> Journal {
    keeping(hours(2))
}

/// The Secret carries what the last rotation delivered.
pub(crate) fn told() -> Facts {
    nothing().secret(SecretSeen::Present {
        user: Some(role(ACTIVE)),
        carries_pending: true,
        version: "uid/41".into(),
        landing: Some(landing(ago(hours(2)))),
        delivered: None,
    })
}

/// The same of the store.
fn current() -> StoreSeen {
    StoreSeen::Present {
        user: Some(role(ACTIVE)),
        carries_pending: true,
        version: "v1".into(),
        number: Some(LAST),
    }
}

pub(crate) fn refusing() -> KeptSeen {
    KeptSeen {
        active: Some(Login::WrongPassword),
        ..in_order()
    }
}

pub(crate) fn taking_the_old() -> KeptSeen {
    KeptSeen {
        retired: Previous::Accepted,
        ..in_order()
    }
}

fn promoted(seen: KeptSeen) -> KeptSeen {
    KeptSeen {
        identity: Some(Identity {
            timeline: 3,
            ..server()
        }),
        ..seen
    }
}

fn elsewhere() -> Identity {
    Identity {
        system: "9009".into(),
        timeline: 1,
    }
}

fn replaced() -> Drift {
    Drift::OtherServer {
        expected: "7001".into(),
        found: "9009".into(),
    }
}

fn active_refused(cause: Cause) -> Drift {
    Drift::ActiveRefused {
        user: role(ACTIVE),
        cause,
        since: ago(hours(2)),
    }
}

fn retired_accepted(cause: Cause) -> Drift {
    Drift::RetiredAccepted {
        user: role(STANDBY),
        cause,
        since: ago(hours(2)),
    }
}

fn drifts(drift: Drift) -> tandem::machine::Decision {
    waits(Phase::Idle, mins(1), Waiting::Drift(drift))
}

fn checks() -> Vec<Row> {
    let passed_then = |before| KeptSeen {
        preflight_at: Some(ago(before)),
        ..in_order()
    };
    let never = |every| Policy {
        check_every: every,
        ..policy()
    };
    vec![
        row(
            "check: due an hour after the rotation",
            policy(),
            due(),
            told(),
            looks(Phase::Idle, Query::Kept),
        ),
        row(
            "check: not due before, preflight is looked at as ever",
            policy(),
            keeping(mins(59)),
            told(),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "check: as often as the policy says",
            never(secs(30)),
            keeping(secs(30)),
            told(),
            looks(Phase::Idle, Query::Kept),
        ),
        row(
            "check: before the first rotation too, while nobody asks for it",
            policy(),
            resting(),
            staged(),
            looks(Phase::Idle, Query::Kept),
        ),
        row(
            "check: before a rotation, once there is a place for it",
            policy().asked("new"),
            due(),
            told().place(Place::Had),
            looks(Phase::Idle, Query::Kept),
        ),
        row(
            "check: in order, and preflight passed not long ago",
            policy(),
            due(),
            told().kept(passed_then(hours(11))),
            rests(Phase::Idle, Some(later(hours(1)))),
        ),
        row(
            "check: in order, and preflight is looked at again twice a day",
            policy(),
            due(),
            told().kept(passed_then(hours(12))),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "check: in order, and a rotation needs a preflight of its own",
            policy().asked("new"),
            due(),
            told().place(Place::Had).kept(passed_then(mins(1))),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "check: the next one is so soon",
            never(secs(30)),
            due(),
            told().kept(passed_then(hours(1))),
            rests(Phase::Idle, Some(later(secs(30)))),
        ),
        row(
            "check: a server that cannot be asked is preflight's to tell",
            policy(),
            due(),
            told().kept(KeptSeen {
                active: Some(Login::Refused(trouble())),
                retired: Previous::Unreachable(trouble()),
                identity: None,
                preflight_at: Some(ago(hours(1))),
            }),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "check: suspended, it is looked at all the same",
            policy().suspended(),
            due(),
            told(),
            looks(Phase::Idle, Query::Kept),
        ),
    ]
}

fn finds() -> Vec<Row> {
    let reverted = || nothing().secret(naming(STANDBY)).kept(refusing());
    let moved = Preflight {
        identity: Some(elsewhere()),
        ..passed()
    };
    vec![
        row(
            "drift: a second writer",
            policy(),
            due(),
            told().kept(refusing()),
            drifts(active_refused(Cause::Writer)),
        ),
        row(
            "drift: told as often as it is checked, where that is oftener",
            Policy {
                check_every: secs(10),
                ..policy()
            },
            due(),
            told().kept(refusing()),
            waits(
                Phase::Idle,
                secs(10),
                Waiting::Drift(active_refused(Cause::Writer)),
            ),
        ),
        row(
            "drift: a failover that lost the change",
            policy(),
            due(),
            told().kept(promoted(refusing())),
            drifts(active_refused(Cause::Failover { from: 1, to: 3 })),
        ),
        row(
            "drift: nobody could ask which server it is",
            policy(),
            due(),
            told().kept(KeptSeen {
                identity: None,
                ..refusing()
            }),
            drifts(active_refused(Cause::Unknown)),
        ),
        row(
            "drift: it is the Secret that was changed",
            policy(),
            due(),
            reverted(),
            drifts(Drift::ActiveRefused {
                user: role(STANDBY),
                cause: Cause::Told,
                since: ago(hours(2)),
            }),
        ),
        row(
            "drift: the same with a store",
            policy().store_first(),
            due(),
            nothing().store(storing(STANDBY)).kept(refusing()),
            drifts(Drift::ActiveRefused {
                user: role(STANDBY),
                cause: Cause::Told,
                since: ago(hours(2)),
            }),
        ),
        row(
            "drift: the retired password again",
            policy(),
            due(),
            told().kept(promoted(taking_the_old())),
            drifts(retired_accepted(Cause::Failover { from: 1, to: 3 })),
        ),
        row(
            "drift: what is refused counts more than what is taken",
            policy(),
            due(),
            told().kept(KeptSeen {
                retired: Previous::Accepted,
                ..refusing()
            }),
            drifts(active_refused(Cause::Writer)),
        ),
        row(
            "drift: a rotation that is asked for mends a retired password",
            policy().asked("new"),
            due(),
            told().place(Place::Had).kept(taking_the_old()),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "drift: no rotation begins over a second writer",
            policy().asked("new"),
            due(),
            told().place(Place::Had).kept(refusing()),
            drifts(active_refused(Cause::Writer)),
        ),
        row(
            "drift: another server stops and asks",
            policy(),
            due(),
            told().kept(KeptSeen {
                identity: Some(elsewhere()),
                ..refusing()
            }),
            drifts(replaced()),
        ),
        row(
            "drift: and keeps a rotation from beginning before the check is due",
            policy().asked("new"),
            keeping(mins(5)),
            told().place(Place::Had).preflight(moved),
            drifts(replaced()),
        ),
        row(
            "drift: before the first rotation there is nothing to compare, and preflight tells",
            policy(),
            resting(),
            staged().kept(refusing()),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "drift: suspended",
            policy().suspended(),
            due(),
            told().kept(refusing()),
            stands_still(Phase::Idle),
        ),
        row(
            "drift: being deleted",
            policy().deleted(),
            due(),
            told().kept(refusing()),
            rests(Phase::Idle, None),
        ),
    ]
}

fn answered(journal: Journal) -> Journal {
    Journal {
        reapplied: Some("again".into()),
        ..journal
    }
}

fn reapplies() -> Vec<Row> {
    let asked = || policy().reapplying("again");
    let answers = |journal| records(Phase::Idle, Entry::Reapply, answered(journal));
    let sets = || acts(Phase::Idle, Action::SetVerifier { user: role(ACTIVE) });
    let scrambles = |mode| {
        let user = role(STANDBY);
        acts(Phase::Idle, Action::Retire { user, mode })
    };
    vec![
        row(
            "reapply: looked at first, due or not",
            asked(),
            keeping(mins(5)),
            told(),
            looks(Phase::Idle, Query::Kept),
        ),
        row(
            "reapply: the password that applications use",
            asked(),
            due(),
            told().kept(refusing()),
            sets(),
        ),
        row(
            "reapply: with a store",
            asked().store_first(),
            due(),
            nothing().store(current()).kept(refusing()),
            sets(),
        ),
        row(
            "reapply: after a failover",
            asked(),
            due(),
            told().kept(promoted(refusing())),
            sets(),
        ),
        row(
            "reapply: looked at again after the write",
            asked(),
            due(),
            told().altered(),
            looks(Phase::Idle, Query::Kept),
        ),
        row(
            "reapply: then the retired one",
            asked(),
            due(),
            told().altered().kept(taking_the_old()),
            scrambles(RetireMode::Scramble),
        ),
        row(
            "reapply: the retired one loses its login again",
            asked().taking_the_login(),
            due(),
            told().kept(taking_the_old()),
            scrambles(RetireMode::NoLogin),
        ),
        row(
            "reapply: answered when all is well",
            asked(),
            due(),
            told().altered().retired().kept(in_order()),
            answers(due()),
        ),
        row(
            "reapply: whoever changes it in the same moment is not fought",
            asked(),
            due(),
            told().altered().kept(refusing()),
            answers(due()),
        ),
        row(
            "reapply: nor whoever brings the retired one back",
            asked(),
            due(),
            told().retired().kept(taking_the_old()),
            answers(due()),
        ),
        row(
            "reapply: a Secret that was changed is left to people",
            asked(),
            due(),
            nothing().secret(naming(STANDBY)).kept(refusing()),
            answers(due()),
        ),
        row(
            "reapply: not on another server",
            asked(),
            due(),
            told().kept(KeptSeen {
                identity: Some(elsewhere()),
                ..refusing()
            }),
            drifts(replaced()),
        ),
        row(
            "reapply: a server that cannot be asked is waited for",
            asked(),
            due(),
            told().kept(KeptSeen {
                active: Some(Login::Refused(trouble())),
                ..in_order()
            }),
            waits(Phase::Idle, secs(15), Waiting::Refused(trouble())),
        ),
        row(
            "reapply: refused a moment ago",
            asked(),
            due(),
            told().kept(refusing()).refused(Refused::Otherwise(trouble())),
            waits(Phase::Idle, secs(15), Waiting::Refused(trouble())),
        ),
        row(
            "reapply: this value was answered",
            asked(),
            answered(due()),
            told().kept(refusing()),
            drifts(active_refused(Cause::Writer)),
        ),
        row(
            "reapply: before the first rotation there is nothing to set",
            asked(),
            resting(),
            staged().kept(in_order()),
            answers(resting()),
        ),
        row(
            "reapply: suspended",
            asked().suspended(),
            due(),
            told().kept(refusing()),
            stands_still(Phase::Idle),
        ),
    ]
}

fn accepts() -> Vec<Row> {
    let asked = || policy().accepting("fine");
    let accepted = |change: &dyn Fn(&mut Kept)| {
        let mut next = Journal {
            accepted: Some("fine".into()),
            ..due()
        };
        change(next.kept.as_mut().unwrap());
        records(Phase::Idle, Entry::Accept, next)
    };
    vec![
        row(
            "accept: another server",
            asked(),
            due(),
            told().kept(KeptSeen {
                identity: Some(elsewhere()),
                ..in_order()
            }),
            accepted(&|kept| kept.identity = Some(elsewhere())),
        ),
        row(
            "accept: the retired password is watched no more",
            asked(),
            due(),
            told().kept(taking_the_old()),
            accepted(&|kept| kept.retired = None),
        ),
        row(
            "accept: what applications are refused cannot be accepted",
            asked(),
            due(),
            told().kept(refusing()),
            accepted(&|_| {}),
        ),
        row(
            "accept: goes before a reapply",
            asked().reapplying("again"),
            due(),
            told().kept(taking_the_old()),
            accepted(&|kept| kept.retired = None),
        ),
        row(
            "accept: before the first rotation there is nothing to accept",
            asked(),
            resting(),
            staged().kept(in_order()),
            records(
                Phase::Idle,
                Entry::Accept,
                Journal {
                    accepted: Some("fine".into()),
                    ..resting()
                },
            ),
        ),
    ]
}

#[test]
fn fm23_a_drift_is_told_with_its_likely_cause_and_both_ways_out() {
    let policy = policy();
    let annotate = |key: &str| {
        format!(
            "kubectl -n {} annotate --overwrite rotpol {} tandem.dev/{key}=$(date +%s)",
            policy.namespace, policy.name
        )
    };
    let (reapply, accept) = (annotate("reapply"), annotate("accept"));
    let (reapply, accept) = (reapply.as_str(), accept.as_str());
    let since = ago(hours(2)).to_string();
    let since = since.as_str();
    let failover = Cause::Failover { from: 1, to: 3 };
    let cases: Vec<(Drift, &str, Vec<&str>)> = vec![
        (
            active_refused(Cause::Writer),
            "ActivePasswordRefused",
            vec![
                "same timeline",
                "Terraform",
                since,
                "log_statement = ddl",
                reapply,
            ],
        ),
        (
            active_refused(failover),
            "ActivePasswordRefused",
            vec!["timeline 1", "timeline 3", "promoted", reapply],
        ),
        (
            active_refused(Cause::Told),
            "ActivePasswordRefused",
            vec![
                "Secret web/shop-db was changed",
                "--show-managed-fields",
                "shop-tandem",
            ],
        ),
        (
            retired_accepted(failover),
            "RetiredPasswordAccepted",
            vec!["logs in all the same", reapply, accept],
        ),
        (replaced(), "ServerReplaced", vec!["9009", "7001", accept]),
    ];
    for (drift, reason, parts) in cases {
        let said = words(&policy, &Waiting::Drift(drift));
        assert_eq!(said.reason, reason);
        for part in parts {
            assert!(
                said.message.contains(part),
                "{part:?} is not in: {}",
                said.message
            );
        }
    }
}
