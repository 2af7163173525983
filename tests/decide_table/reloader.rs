//! Consumers that are left to Reloader: for how long, and what comes then.

use jiff::SignedDuration;
use tandem::api::spec::RestartMode;
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::{Facts, Phase};
use tandem::policy::Policy;
use tandem::policy::target::ConsumerKind;

use crate::fixtures::*;

pub(crate) fn rows() -> Vec<Row> {
    [auto(), other_modes()].into_iter().flatten().collect()
}

const SOON: SignedDuration = SignedDuration::from_millis(500);

/// Delivered so many milliseconds ago, with two consumers of which one is left.
fn since(millis: i64, marked: bool) -> Facts {
    let web = deployment("web").left();
    nothing()
        .secret(carrying_pending_since(ago(SignedDuration::from_millis(millis))))
        .pending(accepted())
        .consumers([
            if marked { web.marked() } else { web },
            deployment("worker").marked().renewed(),
        ])
}

/// What is said while it is left, when Tandem steps in so many milliseconds after now.
fn left(until: Option<i64>, overdue: bool) -> Waiting {
    Waiting::Reloader {
        left: vec![deployment("web").reference],
        until: until.map(|millis| later(SignedDuration::from_millis(millis))),
        overdue,
    }
}

fn auto() -> Vec<Row> {
    let web = || deployment("web").left();
    let waits_for = |pause, until| waits(Phase::Delivered, pause, left(Some(until), false));
    let short = SignedDuration::from_millis(400);
    let rolling = behind([&web().marked()], false);
    let many: [_; 3] = ["a", "b", "c"].map(|name| deployment(name).left());
    vec![
        row(
            "reloader: left to it at first",
            policy(),
            running(),
            since(0, false),
            waits_for(SOON, 10_400),
        ),
        row(
            "reloader: looked at again when its time is over, and not later",
            policy(),
            running(),
            since(10_000, false),
            waits_for(short, 400),
        ),
        row(
            "reloader: its time is over",
            policy(),
            running(),
            since(10_400, false),
            acts(Phase::Delivered, restarts(&web())),
        ),
        row(
            "reloader: its mark is there, and the rollout goes on",
            policy(),
            running(),
            since(10_400, true),
            waits(Phase::Restarted, SOON, rolling),
        ),
        row(
            "reloader: the more is left to it, the longer",
            policy(),
            running(),
            delivered().consumers(many),
            waits(
                Phase::Delivered,
                SOON,
                Waiting::Reloader {
                    left: ["a", "b", "c"].map(|name| deployment(name).reference).into(),
                    until: Some(later(SignedDuration::from_millis(1_200))),
                    overdue: false,
                },
            ),
        ),
        row(
            "reloader: what is not left to it does not wait for it",
            policy(),
            running(),
            delivered().consumers([web(), deployment("worker")]),
            acts(Phase::Delivered, restarts(&deployment("worker"))),
        ),
        row(
            "reloader: nobody waits for it whose pods are new",
            policy(),
            running(),
            delivered().consumers([web().renewed()]),
            records(Phase::RolledOut, Entry::RollOut, running().rolled_out(now())),
        ),
        row(
            "reloader: suspended",
            policy().suspended(),
            running(),
            since(20_000, false),
            stands_still(Phase::Delivered),
        ),
        row(
            "reloader: being deleted",
            policy().deleted(),
            running(),
            since(20_000, false),
            rests(Phase::Delivered, None),
        ),
    ]
}

fn by(mode: RestartMode) -> Policy {
    policy().restarted_by(mode)
}

fn other_modes() -> Vec<Row> {
    let unmarked = deployment("web");
    let job = consumer(ConsumerKind::Job, "import");
    let says = |pause, overdue| waits(Phase::Delivered, pause, left(None, overdue));
    vec![
        row(
            "mode Reloader: only ever waited for",
            by(RestartMode::Reloader),
            running(),
            since(60_000, false),
            says(secs(5), false),
        ),
        row(
            "mode Reloader: also what it leaves alone",
            by(RestartMode::Reloader),
            running(),
            delivered().consumers([unmarked.clone(), job.clone()]),
            says(SOON, false),
        ),
        row(
            "mode Reloader: overdue",
            by(RestartMode::Reloader),
            running(),
            since(31 * 60_000, false),
            says(secs(30), true),
        ),
        row(
            "mode Reloader: its mark is there",
            by(RestartMode::Reloader),
            running(),
            since(10_000, true),
            waits(
                Phase::Restarted,
                SOON,
                behind([&deployment("web").left().marked()], false),
            ),
        ),
        row(
            "mode Controller: at once",
            by(RestartMode::Controller),
            running(),
            since(0, false),
            acts(Phase::Delivered, restarts(&deployment("web").left())),
        ),
    ]
}
