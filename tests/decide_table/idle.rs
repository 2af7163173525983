//! No rotation runs: adoption, the journal's soundness, the schedule, and the beginning.

use jiff::Timestamp;
use tandem::machine::facts::{Delivered, Refused, SecretSeen};
use tandem::machine::journal::{Rotation, ScheduleMark, Trigger};
use tandem::machine::place::{Place, Shared, Taken};
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::{Facts, Journal, Loaded, Phase, Query};
use tandem::policy::{Policy, RotateMode};

use crate::fixtures::*;

pub(crate) fn rows() -> Vec<Row> {
    [adopt(), untrusted(), schedule(), preflight(), place(), begin()]
        .into_iter()
        .flatten()
        .collect()
}

/// The journal that an adopted policy with a nightly schedule gets.
fn first() -> Journal {
    fresh().nightly_since(now())
}

fn recovered(active: &str, other: &str) -> Journal {
    Journal {
        handled: Some("new".into()),
        rotation: Some(Rotation {
            trigger: Trigger::Recovery,
            mode: RotateMode::Graceful,
            started_at: now(),
            spec: policy().snapshot,
            pending: role(active),
            retiring: role(other),
            identity: None,
            staged_at: None,
            undoes: None,
            rejected: 0,
            delivered: None,
            first: None,
            rolled_out_at: None,
        }),
        ..first().numbered(LAST)
    }
}

fn adopt() -> Vec<Row> {
    let absent = || Loaded::Absent;
    let adopts = |next| records(Phase::Idle, Entry::Adopt, next);
    let unnamed = SecretSeen::Present {
        user: None,
        carries_pending: false,
        version: "uid/41".into(),
        landing: Some(landing(ago(mins(5)))),
        delivered: Some(Delivered {
            number: LAST,
            nonce: None,
        }),
    };
    vec![
        row(
            "adopt: look at the Secret first",
            policy().nightly(),
            absent(),
            nothing(),
            looks(Phase::Idle, Query::Secret),
        ),
        row(
            "adopt: no Secret",
            policy().nightly(),
            absent(),
            nothing().secret(SecretSeen::Missing),
            adopts(first()),
        ),
        row(
            "adopt: a Secret without our mark",
            policy().nightly(),
            absent(),
            staged(),
            adopts(first()),
        ),
        row(
            "adopt: no schedule, no mark of it",
            policy(),
            absent(),
            staged(),
            adopts(fresh()),
        ),
        row(
            "adopt: our mark, and nobody's name: its number is kept",
            policy().nightly(),
            absent(),
            nothing().secret(unnamed),
            adopts(first().numbered(LAST)),
        ),
        row(
            "adopt: our mark, and a stranger's name",
            policy().nightly(),
            absent(),
            nothing().secret(delivered_by(LAST, "stranger")),
            adopts(first().numbered(LAST)),
        ),
        row(
            "recover: our mark on the standby's name",
            policy().nightly(),
            absent(),
            nothing().secret(delivered_by(LAST, STANDBY)),
            records(Phase::Delivered, Entry::Recover, recovered(STANDBY, ACTIVE)),
        ),
        row(
            "recover: our mark on the other's name",
            policy().nightly(),
            absent(),
            nothing().secret(delivered_by(LAST, ACTIVE)),
            records(Phase::Delivered, Entry::Recover, recovered(ACTIVE, STANDBY)),
        ),
        row(
            "recover: a mark that was written by hand",
            policy().nightly(),
            absent(),
            nothing().secret(delivered_by(0, STANDBY)),
            records(
                Phase::Delivered,
                Entry::Recover,
                recovered(STANDBY, ACTIVE).numbered(1),
            ),
        ),
        row(
            "adopt: refused a moment ago",
            policy(),
            absent(),
            staged().refused(Refused::Otherwise(trouble())),
            waits(Phase::Idle, secs(15), Waiting::Refused(trouble())),
        ),
        row(
            "adopt: suspended",
            policy().suspended(),
            absent(),
            staged(),
            stands_still(Phase::Idle),
        ),
        row(
            "adopt: being deleted",
            policy().deleted(),
            absent(),
            staged(),
            rests(Phase::Idle, None),
        ),
        row(
            "recover: suspended",
            policy().suspended(),
            absent(),
            nothing().secret(delivered_by(LAST, STANDBY)),
            stands_still(Phase::Delivered),
        ),
        row(
            "adopt: looking is no side effect",
            policy().suspended(),
            absent(),
            nothing(),
            looks(Phase::Idle, Query::Secret),
        ),
    ]
}

fn untrusted() -> Vec<Row> {
    let corrupt = || Loaded::Corrupt("it has schema 9".into());
    let says = |text: &str| waits(Phase::Idle, mins(1), Waiting::JournalCorrupt(text.into()));
    let newer = "it ends with rotation 7, and the application Secret was delivered by rotation 9";
    vec![
        row(
            "corrupt journal",
            policy().asked("new"),
            corrupt(),
            nothing(),
            says("it has schema 9"),
        ),
        row(
            "corrupt journal: suspended",
            policy().suspended(),
            corrupt(),
            nothing(),
            stands_still(Phase::Idle),
        ),
        row(
            "corrupt journal: being deleted",
            policy().deleted(),
            corrupt(),
            nothing(),
            rests(Phase::Idle, None),
        ),
        row(
            "outdated journal: idle",
            policy().asked("new"),
            resting(),
            nothing().secret(delivered_by(9, ACTIVE)).preflight(passed()),
            says(newer),
        ),
        row(
            "up to date: delivered by the last rotation",
            policy(),
            resting(),
            nothing().secret(delivered_by(LAST, ACTIVE)),
            looks(Phase::Idle, Query::Preflight),
        ),
    ]
}

fn schedule() -> Vec<Row> {
    let reschedules = |next| records(Phase::Idle, Entry::Reschedule, next);
    let hourly = Journal {
        schedule: Some(ScheduleMark {
            text: "0 * * * * UTC".into(),
            since: ago(hours(5)),
        }),
        ..resting()
    };
    vec![
        row(
            "reschedule: the first schedule begins now",
            policy().nightly(),
            resting(),
            nothing(),
            reschedules(resting().nightly_since(now())),
        ),
        row(
            "reschedule: another schedule begins now",
            policy().nightly(),
            hourly,
            nothing(),
            reschedules(resting().nightly_since(now())),
        ),
        row(
            "reschedule: none any more",
            policy(),
            resting().nightly_since(ago(hours(1))),
            nothing(),
            reschedules(resting()),
        ),
        row(
            "reschedule: suspended",
            policy().nightly().suspended(),
            resting(),
            nothing(),
            stands_still(Phase::Idle),
        ),
        row(
            "reschedule: being deleted",
            policy().nightly().deleted(),
            resting(),
            nothing(),
            rests(Phase::Idle, None),
        ),
    ]
}

fn preflight() -> Vec<Row> {
    let ready = || staged().preflight(passed());
    let morning: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
    let nobody = || {
        let mut preflight = passed();
        preflight.active = None;
        preflight
    };
    vec![
        row(
            "idle: look at the Secret",
            policy(),
            resting(),
            nothing(),
            looks(Phase::Idle, Query::Secret),
        ),
        row(
            "idle: look at what a rotation needs",
            policy(),
            resting(),
            staged(),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "idle: preflight failed",
            policy().asked("new"),
            resting(),
            staged().place(Place::Had).preflight(failed()),
            waits(
                Phase::Idle,
                secs(15),
                Waiting::Preflight(vec![trouble(), warning()]),
            ),
        ),
        row(
            "idle: preflight names nobody",
            policy().asked("new"),
            resting(),
            staged().place(Place::Had).preflight(nobody()),
            waits(Phase::Idle, secs(15), Waiting::Preflight(vec![warning()])),
        ),
        row(
            "idle: preflight failed, suspended",
            policy().suspended(),
            resting(),
            staged().preflight(failed()),
            stands_still(Phase::Idle),
        ),
        row(
            "idle: preflight failed, being deleted",
            policy().deleted(),
            resting(),
            staged().preflight(failed()),
            rests(Phase::Idle, None),
        ),
        row(
            "idle: nothing asked, looked at again",
            policy(),
            resting(),
            ready(),
            rests(Phase::Idle, Some(later(hours(12)))),
        ),
        row(
            "idle: this rotate-now was answered",
            policy().asked("old"),
            resting(),
            ready(),
            rests(Phase::Idle, Some(later(hours(12)))),
        ),
        row(
            "idle: the schedule is later, but not by much",
            policy().nightly(),
            resting().nightly_since(ago(hours(1))),
            ready(),
            rests(Phase::Idle, Some(later(hours(12)))),
        ),
        row(
            "idle: the schedule is sooner",
            policy().nightly(),
            resting().nightly_since(ago(hours(8))),
            ready(),
            rests(Phase::Idle, Some(morning.min(later(hours(12))))),
        ),
        row(
            "idle: suspended",
            policy().suspended(),
            resting(),
            ready(),
            stands_still(Phase::Idle),
        ),
        row(
            "idle: being deleted",
            policy().deleted(),
            resting(),
            ready(),
            rests(Phase::Idle, Some(later(hours(12)))),
        ),
    ]
}

/// Beside the rotations of other policies.
fn place() -> Vec<Row> {
    let taken = || Taken {
        shared: Shared::Namespace,
        most: 1,
        holders: vec!["shop/orders".into()],
        ahead: 2,
    };
    vec![
        row(
            "place: asked for before anything a rotation needs",
            policy().asked("new"),
            resting(),
            staged(),
            looks(Phase::Idle, Query::Place),
        ),
        row(
            "place: had",
            policy().asked("new"),
            resting(),
            staged().place(Place::Had),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "place: taken by others",
            policy().asked("new"),
            resting(),
            staged().place(Place::Taken(taken())),
            waits(Phase::Idle, mins(1), Waiting::Place(taken())),
        ),
        row(
            "place: not known yet",
            policy().asked("new"),
            resting(),
            staged().place(Place::Unread(7)),
            waits(Phase::Idle, secs(2), Waiting::Journals(7)),
        ),
        row(
            "place: not asked for while the window is closed",
            policy().nightly_window().asked("new"),
            resting().nightly_since(ago(hours(8))),
            staged(),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "place: not asked for while suspended",
            policy().asked("new").suspended(),
            resting(),
            staged(),
            looks(Phase::Idle, Query::Preflight),
        ),
        row(
            "place: not asked for while being deleted",
            policy().asked("new").deleted(),
            resting(),
            staged(),
            looks(Phase::Idle, Query::Preflight),
        ),
    ]
}

/// What the journal says of a rotation that begins now.
fn staging(trigger: Trigger) -> Journal {
    running().started(now()).with(|r| {
        r.trigger = trigger;
        r.first = Some("41".into());
    })
}

fn begin() -> Vec<Row> {
    let ready = || staged().place(Place::Had).preflight(passed());
    let stages = |next| records(Phase::Prepared, Entry::Stage, next);
    let at: Timestamp = "2026-11-20T03:00:00Z".parse().unwrap();
    let tomorrow: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
    let now_trigger = || Trigger::RotateNow("new".into());
    let by_noon =
        |p: Policy| p.scheduled(tandem::policy::schedule::Schedule::cron("55 11 * * *", "UTC").unwrap());
    let noon_mark = |since| {
        Some(ScheduleMark {
            text: "55 11 * * * UTC".into(),
            since,
        })
    };
    let due = Journal {
        schedule: noon_mark(ago(hours(20))),
        ..resting()
    };
    let scheduled = Journal {
        schedule: noon_mark(now()),
        handled: Some("old".into()),
        ..staging(Trigger::Schedule("2026-11-20T11:55:00Z".parse().unwrap()))
    };
    let back: Facts = nothing().secret(naming(STANDBY)).place(Place::Had).preflight({
        let mut preflight = passed();
        preflight.active = Some(role(STANDBY));
        preflight
    });
    let swapped = staging(now_trigger()).with(|r| {
        r.pending = role(ACTIVE);
        r.retiring = role(STANDBY);
    });
    vec![
        row(
            "stage: rotate-now",
            policy().asked("new"),
            resting(),
            ready(),
            stages(staging(now_trigger())),
        ),
        row(
            "stage: the pair takes turns",
            policy().asked("new"),
            resting(),
            back,
            stages(swapped),
        ),
        row(
            "stage: the first rotation is number 1",
            policy().asked("new"),
            fresh(),
            ready(),
            stages(Journal {
                history: Vec::new(),
                ..staging(now_trigger()).numbered(1)
            }),
        ),
        row(
            "stage: due by schedule",
            by_noon(policy()),
            due.clone(),
            ready(),
            stages(scheduled),
        ),
        row(
            "stage: the schedule was missed",
            policy().nightly(),
            resting().nightly_since(ago(hours(200))),
            ready(),
            stages(
                staging(Trigger::CatchUp(at))
                    .answering("old")
                    .nightly_since(now()),
            ),
        ),
        row(
            "stage: rotate-now goes before the schedule and answers it",
            policy().nightly().asked("new"),
            resting().nightly_since(ago(hours(20))),
            ready(),
            stages(staging(now_trigger()).nightly_since(now())),
        ),
        row(
            "prepared: the window is closed",
            policy().nightly_window().asked("new"),
            resting().nightly_since(ago(hours(8))),
            ready(),
            waits(
                Phase::Prepared,
                tomorrow.duration_since(now()),
                Waiting::Window(tomorrow),
            ),
        ),
        row(
            "idle: missed, and the window is closed",
            policy().nightly_window(),
            resting().nightly_since(ago(hours(20))),
            ready(),
            rests(Phase::Idle, Some(later(hours(12)))),
        ),
        row(
            "idle: refused a moment ago",
            policy().asked("new"),
            resting(),
            ready().refused(Refused::Otherwise(trouble())),
            waits(Phase::Idle, secs(15), Waiting::Refused(trouble())),
        ),
        row(
            "stage: the pair was replaced by strangers",
            policy().asked("new").of_strangers(),
            resting(),
            ready(),
            waits(Phase::Idle, mins(1), Waiting::SecretChanged(Some(role(ACTIVE)))),
        ),
        row(
            "stage: suspended",
            policy().asked("new").suspended(),
            resting(),
            ready(),
            stands_still(Phase::Prepared),
        ),
        row(
            "stage: being deleted",
            policy().asked("new").deleted(),
            resting(),
            ready(),
            rests(Phase::Prepared, None),
        ),
        row(
            "prepared: suspended before the window",
            policy().nightly_window().asked("new").suspended(),
            resting().nightly_since(ago(hours(8))),
            ready(),
            stands_still(Phase::Prepared),
        ),
    ]
}
