//! The application Secret carries the new credential: rollout, drain, and the end of the old one.

use tandem::api::spec::RetireMode;
use tandem::machine::facts::{Identity, Login, Previous, Refused, Sessions};
use tandem::machine::journal::{Finished, Trigger};
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::{Facts, Journal, Phase, Query};
use tandem::policy::target::ConsumerKind;

use crate::fixtures::*;

pub(crate) fn rows() -> Vec<Row> {
    [
        credential(),
        restart(),
        slow(),
        drain(),
        sessions(),
        retire(),
        end(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const SOON: jiff::SignedDuration = jiff::SignedDuration::from_millis(500);

fn credential() -> Vec<Row> {
    let seen = || nothing().secret(carrying_pending());
    let elsewhere = Login::Accepted(Identity {
        system: "9009".into(),
        timeline: 1,
    });
    let other = Waiting::OtherServer {
        expected: "7001".into(),
        found: "9009".into(),
    };
    vec![
        row(
            "delivered: the new credential is proven in every pass",
            policy(),
            running(),
            seen(),
            looks(Phase::Delivered, Query::Pending),
        ),
        row(
            "delivered: a failover lost the change, set again",
            policy(),
            running(),
            seen().pending(Login::WrongPassword),
            acts(Phase::Delivered, sets()),
        ),
        row(
            "rolled out: a failover lost the change, set again",
            policy(),
            running().rolled_out(ago(mins(1))),
            seen().pending(Login::WrongPassword),
            acts(Phase::Delivered, sets()),
        ),
        row(
            "delivered: set again, and still not accepted",
            policy(),
            running(),
            seen().altered().pending(Login::WrongPassword),
            waits(Phase::Delivered, SOON, Waiting::NotAccepted),
        ),
        row(
            "delivered: the server cannot be asked",
            policy(),
            running(),
            seen().pending(Login::Refused(trouble())),
            waits(Phase::Delivered, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "delivered: another cluster",
            policy(),
            running(),
            seen().pending(elsewhere),
            waits(Phase::Delivered, SOON, other),
        ),
        row(
            "delivered: no other password once this one was told",
            policy(),
            running(),
            seen().refused(Refused::Password(trouble())),
            waits(Phase::Delivered, SOON, Waiting::PasswordsRejected(trouble())),
        ),
        row(
            "delivered: a write was refused",
            policy(),
            running(),
            delivered().refused(Refused::Otherwise(trouble())),
            waits(Phase::Delivered, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "delivered: set again, suspended",
            policy().suspended(),
            running(),
            seen().pending(Login::WrongPassword),
            stands_still(Phase::Delivered),
        ),
        row(
            "delivered: set again, being deleted",
            policy().deleted(),
            running(),
            seen().pending(Login::WrongPassword),
            rests(Phase::Delivered, None),
        ),
        row(
            "delivered: outside the window too",
            policy().nightly_window(),
            running(),
            delivered(),
            looks(Phase::Delivered, Query::Consumers),
        ),
    ]
}

fn restart() -> Vec<Row> {
    let [a, b, c] = ["a", "b", "c"].map(deployment);
    let job = consumer(ConsumerKind::Job, "import");
    let pod = consumer(ConsumerKind::Pod, "debug");
    let with = |consumers: [&_; 3]| delivered().consumers(consumers.map(Clone::clone));
    let (am, bm) = (a.clone().marked(), b.clone().marked());
    let rolling = |who, overdue| waits(Phase::Restarted, SOON, behind::<1>([who], overdue));
    vec![
        row(
            "delivered: who uses it?",
            policy(),
            running(),
            delivered(),
            looks(Phase::Delivered, Query::Consumers),
        ),
        row(
            "delivered: the first is restarted",
            policy(),
            running(),
            with([&a, &b, &c]),
            acts(Phase::Delivered, restarts(&a)),
        ),
        row(
            "delivered: then the second",
            policy(),
            running(),
            with([&am, &b, &c]),
            acts(Phase::Delivered, restarts(&b)),
        ),
        row(
            "delivered: one at once, and it has not ended",
            policy().at_once(1),
            running(),
            with([&am, &b, &c]),
            waits(Phase::Delivered, SOON, behind([&am, &b, &c], false)),
        ),
        row(
            "delivered: one at once, and it has ended",
            policy().at_once(1),
            running(),
            with([&am.clone().renewed(), &b, &c]),
            acts(Phase::Delivered, restarts(&b)),
        ),
        row(
            "delivered: two at once",
            policy().at_once(2),
            running(),
            with([&am, &bm, &c]),
            waits(Phase::Delivered, SOON, behind([&am, &bm, &c], false)),
        ),
        row(
            "delivered: a workload without old pods is left alone",
            policy(),
            running(),
            with([&a.clone().renewed(), &b.clone().renewed(), &c]),
            acts(Phase::Delivered, restarts(&c)),
        ),
        row(
            "restarted: rolling",
            policy(),
            running(),
            delivered().consumers([am.clone(), bm.clone().renewed()]),
            rolling(&am, false),
        ),
        row(
            "restarted: a restart that was taken back is waited for and not made again",
            policy(),
            running(),
            delivered().consumers([a.clone().reverted()]),
            rolling(&a, false),
        ),
        row(
            "delivered: a restart that was taken back keeps no other one waiting",
            policy().at_once(1),
            running(),
            delivered().consumers([a.clone().reverted(), b.clone()]),
            acts(Phase::Delivered, restarts(&b)),
        ),
        row(
            "restarted: a Job is waited for",
            policy(),
            running(),
            delivered().consumers([job.clone()]),
            rolling(&job, false),
        ),
        row(
            "restarted: a Pod is waited for",
            policy(),
            running(),
            delivered().consumers([pod.clone()]),
            rolling(&pod, false),
        ),
        row(
            "delivered: a Job does not keep a workload waiting",
            policy().at_once(1),
            running(),
            delivered().consumers([job.clone(), a.clone()]),
            acts(Phase::Delivered, restarts(&a)),
        ),
        row(
            "restart: suspended",
            policy().suspended(),
            running(),
            with([&a, &b, &c]),
            stands_still(Phase::Delivered),
        ),
        row(
            "restart: being deleted",
            policy().deleted(),
            running(),
            with([&a, &b, &c]),
            rests(Phase::Delivered, None),
        ),
        row(
            "restarted: suspended",
            policy().suspended(),
            running(),
            delivered().consumers([am.clone()]),
            stands_still(Phase::Restarted),
        ),
        row(
            "restart: mode None asks nobody",
            policy().restarting_nothing(),
            running(),
            delivered(),
            records(Phase::RolledOut, Entry::RollOut, running().rolled_out(now())),
        ),
        row(
            "restart: mode None restarts nobody",
            policy().restarting_nothing(),
            running(),
            with([&a, &b, &c]),
            records(Phase::RolledOut, Entry::RollOut, running().rolled_out(now())),
        ),
    ]
}

fn slow() -> Vec<Row> {
    let stuck = deployment("a").marked().stuck("paused");
    let rolling = |since| {
        nothing()
            .secret(carrying_pending_since(since))
            .pending(accepted())
            .consumers([stuck.clone()])
    };
    let says = |pause, overdue| waits(Phase::Restarted, pause, behind([&stuck], overdue));
    let rolled_out = || running().rolled_out(ago(mins(1)));
    vec![
        row(
            "restarted: a few minutes",
            policy(),
            running(),
            rolling(ago(mins(2))),
            says(secs(5), false),
        ),
        row(
            "restarted: exactly the timeout",
            policy(),
            running(),
            rolling(ago(mins(30))),
            says(secs(30), false),
        ),
        row(
            "restarted: overdue",
            policy(),
            running(),
            rolling(ago(mins(31))),
            says(secs(30), true),
        ),
        row(
            "rolled out: everything is renewed",
            policy(),
            running(),
            delivered().consumers([deployment("a").marked().renewed()]),
            records(Phase::RolledOut, Entry::RollOut, running().rolled_out(now())),
        ),
        row(
            "rolled out: nobody uses it",
            policy(),
            running(),
            podless(),
            records(Phase::RolledOut, Entry::RollOut, running().rolled_out(now())),
        ),
        row(
            "rolled out: suspended",
            policy().suspended(),
            running(),
            podless(),
            stands_still(Phase::RolledOut),
        ),
        row(
            "rolled out: being deleted",
            policy().deleted(),
            running(),
            podless(),
            rests(Phase::RolledOut, None),
        ),
        row(
            "rolled out: a rollback by hand brought old pods",
            policy(),
            rolled_out(),
            delivered().consumers([stuck.clone()]),
            says(SOON, false),
        ),
        row(
            "rolled out: a new workload with old pods",
            policy(),
            rolled_out(),
            delivered().consumers([deployment("late")]),
            acts(Phase::Delivered, restarts(&deployment("late"))),
        ),
    ]
}

/// Rolled out so long ago.
fn since(duration: jiff::SignedDuration) -> Journal {
    running().started(ago(hours(9))).rolled_out(ago(duration))
}

fn drain() -> Vec<Row> {
    let kept = |look, until| waits(Phase::RolledOut, look, Waiting::RetireAfter(later(until)));
    let polled = |polls, from| podless().sessions(quiet(polls, ago(from)));
    let still = |pause| waits(Phase::RolledOut, pause, Waiting::Quiet);
    let none = podless().sessions(Sessions::Counted {
        laggards: Vec::new(),
        quiet: None,
    });
    vec![
        row(
            "rolled out: the old credential is kept",
            policy().keeping_the_old_for(hours(1)),
            since(mins(10)),
            podless(),
            kept(secs(30), mins(50)),
        ),
        row(
            "rolled out: the old credential is kept, and the new one was lost in a failover",
            policy().keeping_the_old_for(hours(1)),
            since(mins(10)),
            podless().pending(Login::WrongPassword),
            acts(Phase::Delivered, sets()),
        ),
        row(
            "rolled out: the old credential is kept for a moment longer",
            policy().keeping_the_old_for(hours(1)),
            since(hours(1) - secs(10)),
            podless(),
            kept(secs(10), secs(10)),
        ),
        row(
            "rolled out: kept long enough",
            policy().keeping_the_old_for(hours(1)),
            since(hours(1)),
            podless(),
            looks(Phase::RolledOut, Query::Sessions),
        ),
        row(
            "rolled out: kept, suspended",
            policy().keeping_the_old_for(hours(1)).suspended(),
            since(mins(10)),
            podless(),
            stands_still(Phase::RolledOut),
        ),
        row(
            "rolled out: which sessions?",
            policy(),
            since(mins(1)),
            podless(),
            looks(Phase::RolledOut, Query::Sessions),
        ),
        row(
            "rolled out: no poll yet",
            policy(),
            since(mins(1)),
            none,
            still(secs(15)),
        ),
        row(
            "rolled out: quiet, too short",
            policy(),
            since(mins(1)),
            polled(3, secs(30)),
            still(secs(15)),
        ),
        row(
            "rolled out: quiet, the end is near",
            policy(),
            since(mins(1)),
            polled(4, secs(50)),
            still(secs(10)),
        ),
        row(
            "rolled out: quiet long enough, too few polls",
            policy(),
            since(mins(2)),
            polled(2, secs(90)),
            still(secs(15)),
        ),
        row(
            "rolled out: quiet, suspended",
            policy().suspended(),
            since(mins(1)),
            polled(3, secs(30)),
            stands_still(Phase::RolledOut),
        ),
    ]
}

fn sessions() -> Vec<Row> {
    let busy = || podless().sessions(left());
    let unreachable = podless().sessions(Sessions::Unreachable(trouble()));
    let says = |overdue| {
        let laggards = vec![laggard()];
        waits(
            Phase::RolledOut,
            secs(15),
            Waiting::Sessions { laggards, overdue },
        )
    };
    let kills = || acts(Phase::RolledOut, terminates());
    vec![
        row(
            "rolled out: sessions cannot be counted",
            policy(),
            since(mins(1)),
            unreachable,
            waits(Phase::RolledOut, secs(30), Waiting::Refused(trouble())),
        ),
        row(
            "rolled out: sessions are left",
            policy(),
            since(mins(1)),
            busy(),
            says(false),
        ),
        row(
            "rolled out: exactly the timeout",
            policy().terminating(),
            since(hours(2)),
            busy(),
            says(false),
        ),
        row(
            "rolled out: overdue, waited for",
            policy(),
            since(hours(3)),
            busy(),
            says(true),
        ),
        row(
            "rolled out: overdue, ended",
            policy().terminating(),
            since(hours(3)),
            busy(),
            kills(),
        ),
        row(
            "rolled out: ended, and back again",
            policy().terminating(),
            since(hours(3)),
            busy().terminated(),
            acts(Phase::Drained, retires(RetireMode::Scramble)),
        ),
        row(
            "rolled out: not ended before the time",
            policy().terminating(),
            since(mins(1)),
            busy(),
            says(false),
        ),
        row(
            "terminate: suspended",
            policy().terminating().suspended(),
            since(hours(3)),
            busy(),
            stands_still(Phase::RolledOut),
        ),
        row(
            "terminate: being deleted",
            policy().terminating().deleted(),
            since(hours(3)),
            busy(),
            rests(Phase::RolledOut, None),
        ),
    ]
}

fn retire() -> Vec<Row> {
    let drained = || podless().sessions(quiet(3, ago(secs(60))));
    let scramble = || acts(Phase::Drained, retires(RetireMode::Scramble));
    let refused = Refused::Otherwise(trouble());
    vec![
        row(
            "drained: three polls, exactly the quiet time",
            policy(),
            since(mins(2)),
            drained(),
            scramble(),
        ),
        row(
            "drained: the login goes too",
            policy().taking_the_login(),
            since(mins(2)),
            drained(),
            acts(Phase::Drained, retires(RetireMode::NoLogin)),
        ),
        row(
            "drained: nobody was restarted",
            policy().restarting_nothing(),
            since(mins(2)),
            delivered().sessions(quiet(9, ago(mins(2)))),
            scramble(),
        ),
        row(
            "drained: the write was refused",
            policy(),
            since(mins(2)),
            drained().refused(refused),
            waits(Phase::Delivered, secs(30), Waiting::Refused(trouble())),
        ),
        row(
            "retire: suspended",
            policy().suspended(),
            since(mins(2)),
            drained(),
            stands_still(Phase::Drained),
        ),
        row(
            "retire: being deleted",
            policy().deleted(),
            since(mins(2)),
            drained(),
            rests(Phase::Drained, None),
        ),
    ]
}

fn end() -> Vec<Row> {
    let asked = |previous| delivered().retired().previous(previous);
    let ended = |history| {
        records(
            Phase::Retired,
            Entry::Finish,
            since(mins(2)).ended().recalling(history),
        )
    };
    let this = || Finished {
        number: LAST + 1,
        trigger: Trigger::RotateNow("new".into()),
        user: role(STANDBY),
        started_at: ago(hours(9)),
        finished_at: now(),
        rolled_out_at: Some(ago(mins(2))),
        undone: None,
    };
    let long = || since(mins(2)).recalling((5..=LAST).rev().map(finished).collect());
    let unknown: Facts = asked(Previous::Unknown);
    vec![
        row(
            "retired: does the old password still log in?",
            policy(),
            since(mins(2)),
            delivered().retired(),
            looks(Phase::Drained, Query::Previous),
        ),
        row(
            "retired: the new one is proven first",
            policy(),
            since(mins(2)),
            nothing().secret(carrying_pending()).retired(),
            looks(Phase::Delivered, Query::Pending),
        ),
        row(
            "retired: the server cannot be asked",
            policy(),
            since(mins(2)),
            asked(Previous::Unreachable(trouble())),
            waits(Phase::Drained, secs(30), Waiting::Refused(trouble())),
        ),
        row(
            "retired: the old one still logs in",
            policy(),
            since(mins(2)),
            asked(Previous::Accepted),
            waits(Phase::Drained, secs(30), Waiting::NotRetired),
        ),
        row(
            "retired: refused, finish",
            policy(),
            since(mins(2)),
            asked(Previous::Refused),
            ended(vec![this(), finished(LAST)]),
        ),
        row(
            "retired: nobody knows it, finish",
            policy(),
            since(mins(2)),
            unknown,
            ended(vec![this(), finished(LAST)]),
        ),
        row(
            "finish: the history is cut, the newest first",
            policy().remembering(3),
            long(),
            asked(Previous::Refused),
            ended(vec![this(), finished(7), finished(6)]),
        ),
        row(
            "finish: one is kept whatever the limit",
            policy().remembering(0),
            long(),
            asked(Previous::Refused),
            ended(vec![this()]),
        ),
        row(
            "finish: suspended",
            policy().suspended(),
            since(mins(2)),
            asked(Previous::Refused),
            stands_still(Phase::Retired),
        ),
        row(
            "finish: being deleted",
            policy().deleted(),
            since(mins(2)),
            asked(Previous::Refused),
            rests(Phase::Retired, None),
        ),
    ]
}
