//! The way back: a rotation that is given up, by hand or because a rollout failed.

use tandem::api::spec::RetireMode;
use tandem::machine::facts::{Failing, Login, Previous, Refused, SecretSeen};
use tandem::machine::journal::{Trigger, Undone};
use tandem::machine::step::{Entry, NoWayBack, Waiting};
use tandem::machine::{Action, Journal, Phase, Query};
use tandem::policy::target::ConsumerKind;

use crate::fixtures::*;

pub(crate) fn rows() -> Vec<Row> {
    [idle(), abort(), too_late(), failure(), back(), stored()]
        .into_iter()
        .flatten()
        .collect()
}

const SOON: jiff::SignedDuration = jiff::SignedDuration::from_millis(500);

fn by_hand() -> Trigger {
    Trigger::Abort("stop".into())
}

/// A roll-back runs: the running rotation was given up by hand a moment ago.
fn giving_up() -> Journal {
    running().aborted("stop").taken_back(by_hand())
}

/// The Secret carries what the roll-back delivers, since ten seconds.
fn put_back() -> SecretSeen {
    SecretSeen::Present {
        user: Some(role(ACTIVE)),
        carries_pending: true,
        version: "uid/44".into(),
        landing: Some(landing(ago(secs(10)))),
        delivered: Some(tandem::machine::facts::Delivered {
            number: LAST + 2,
            nonce: Some("new".into()),
        }),
    }
}

fn idle() -> Vec<Row> {
    let calls_off = |next| records(Phase::Idle, Entry::CallOff, next);
    let due = || resting().nightly_since(ago(hours(10)));
    vec![
        row(
            "abort: nothing runs, and so it is answered",
            policy().aborting("stop"),
            resting(),
            staged(),
            calls_off(resting().aborted("stop")),
        ),
        row(
            "abort: a rotate-now that waits for its window is taken back",
            policy().nightly_window().asked("new").aborting("stop"),
            resting().nightly_since(ago(hours(1))),
            staged(),
            calls_off(
                resting()
                    .nightly_since(ago(hours(1)))
                    .answering("new")
                    .aborted("stop"),
            ),
        ),
        row(
            "abort: a scheduled time that was not met is taken back",
            policy().nightly().aborting("stop"),
            due(),
            staged(),
            calls_off(due().nightly_since(now()).aborted("stop")),
        ),
        row(
            "abort: answered before, nothing runs",
            policy().aborting("stop"),
            resting().aborted("stop"),
            staged(),
            looks(Phase::Idle, Query::Kept),
        ),
        row(
            "abort: suspended",
            policy().suspended().aborting("stop"),
            resting(),
            staged(),
            stands_still(Phase::Idle),
        ),
    ]
}

fn abort() -> Vec<Row> {
    let stop = || policy().aborting("stop");
    let gives_up = |phase, next| records(phase, Entry::RollBack, next);
    let before = || staged().previous(Previous::Accepted);
    vec![
        row(
            "abort: which side of the flip are we on?",
            stop(),
            running(),
            nothing(),
            looks(Phase::Staged, Query::Secret),
        ),
        row(
            "abort: does the credential from before log in?",
            stop(),
            running(),
            staged(),
            looks(Phase::Staged, Query::Previous),
        ),
        row(
            "abort: before the flip, a late one must not follow",
            stop(),
            running(),
            before(),
            gives_up(Phase::Staged, giving_up()),
        ),
        row(
            "abort: after the delivery",
            stop(),
            running(),
            delivered().previous(Previous::Accepted),
            gives_up(Phase::Delivered, giving_up().over("42")),
        ),
        row(
            "abort: pods from before the rotation are spared",
            stop(),
            running().with(|r| r.staged_at = Some(ago(secs(30)))),
            before(),
            gives_up(
                Phase::Staged,
                giving_up().with(|r| {
                    let number = LAST + 1;
                    let staged_at = Some(ago(secs(30)));
                    r.undoes = Some(Undone { number, staged_at });
                }),
            ),
        ),
        row(
            "abort: after the rollout",
            stop(),
            running().rolled_out(ago(mins(2))),
            podless().previous(Previous::Accepted),
            gives_up(
                Phase::Delivered,
                running()
                    .rolled_out(ago(mins(2)))
                    .aborted("stop")
                    .taken_back(by_hand())
                    .over("42"),
            ),
        ),
        row(
            "abort: what was delivered does not log in, and is not asked for",
            stop(),
            running(),
            nothing()
                .secret(carrying_pending())
                .pending(Login::Refused(trouble()))
                .previous(Previous::Accepted),
            gives_up(Phase::Delivered, giving_up().over("42")),
        ),
        row(
            "abort: the schedule begins anew",
            stop().nightly(),
            running().nightly_since(ago(hours(30))),
            before(),
            gives_up(Phase::Staged, giving_up().nightly_since(now())),
        ),
        row(
            "abort: the server cannot be asked",
            stop(),
            running(),
            staged().previous(Previous::Unreachable(trouble())),
            waits(Phase::Staged, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "abort: the journal is not taken",
            stop(),
            running(),
            before().refused(Refused::Otherwise(trouble())),
            waits(Phase::Staged, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "abort: answered before",
            stop(),
            running().aborted("stop"),
            staged(),
            looks(Phase::Staged, Query::Pending),
        ),
        row(
            "abort: of a rotation, suspended",
            stop().suspended(),
            running(),
            before(),
            stands_still(Phase::Staged),
        ),
        row(
            "abort: a journal that knows less than the Secret decides nothing",
            stop(),
            running(),
            nothing()
                .secret(delivered_by(LAST + 5, STANDBY))
                .previous(Previous::Accepted),
            waits(
                Phase::Staged,
                mins(1),
                Waiting::JournalCorrupt(
                    "it ends with rotation 8, and the application Secret was delivered by rotation 12".into(),
                ),
            ),
        ),
    ]
}

fn too_late() -> Vec<Row> {
    let stop = || policy().aborting("stop");
    let calls_off = |next: Journal| records(Phase::Delivered, Entry::CallOff, next.aborted("stop"));
    let over = || running().rolled_out(ago(mins(2)));
    vec![
        row(
            "abort: the old password is refused already",
            stop(),
            over(),
            podless().previous(Previous::Refused),
            calls_off(over()),
        ),
        row(
            "abort: the old user was retired in this turn, whatever the server lets in",
            stop(),
            over(),
            podless().retired().previous(Previous::Accepted),
            calls_off(over()),
        ),
        row(
            "abort: nobody knows the old password",
            stop(),
            running(),
            delivered().previous(Previous::Unknown),
            calls_off(running()),
        ),
        row(
            "abort: a roll-back is not given up",
            policy().aborting("again"),
            giving_up(),
            nothing().secret(put_back()),
            records(Phase::Delivered, Entry::CallOff, giving_up().aborted("again")),
        ),
    ]
}

fn failure() -> Vec<Row> {
    let web = || deployment("web").marked().stuck("pod web-2: it crashes");
    let crashes = || web().failing(Failing::Failure);
    let starts = || web().failing(Failing::Trouble);
    let failed = |consumer| delivered().consumers([consumer]);
    let why = "deployment/web: pod web-2: it crashes";
    let goes_back = || {
        let next = running().taken_back(Trigger::RollBack(why.into())).over("42");
        records(Phase::Delivered, Entry::RollBack, next)
    };
    let late = || {
        nothing()
            .secret(carrying_pending_since(ago(mins(31))))
            .pending(accepted())
    };
    let stands = |consumer: &_, no_way_back| {
        let mut why = behind([consumer], false);
        if let Waiting::Rollout {
            no_way_back: told, ..
        } = &mut why
        {
            *told = no_way_back;
        }
        waits(Phase::Restarted, SOON, why)
    };
    let (other, job) = (deployment("api"), consumer(ConsumerKind::Job, "import"));
    let mut rows = vec![
        row(
            "failure: held, unless the policy says otherwise",
            policy(),
            running(),
            failed(crashes()),
            stands(&crashes(), None),
        ),
        row(
            "failure: does the credential from before log in?",
            policy().rolling_back(),
            running(),
            failed(crashes()),
            looks(Phase::Delivered, Query::Previous),
        ),
        row(
            "failure: rolled back",
            policy().rolling_back(),
            running(),
            failed(crashes()).previous(Previous::Accepted),
            goes_back(),
        ),
        row(
            "failure: before another consumer is restarted",
            policy().rolling_back(),
            running(),
            delivered()
                .consumers([other.clone(), crashes()])
                .previous(Previous::Accepted),
            goes_back(),
        ),
        row(
            "failure: of a consumer whose last old pod is gone",
            policy().rolling_back(),
            running(),
            failed(crashes().renewed()).previous(Previous::Accepted),
            goes_back(),
        ),
        row(
            "failure: a start that takes its time is not one",
            policy().rolling_back(),
            running(),
            failed(starts()),
            stands(&starts(), None),
        ),
        row(
            "failure: new pods are waited for before the way back is closed",
            policy().rolling_back(),
            running(),
            failed(starts().renewed()),
            stands(&starts().renewed(), None),
        ),
        row(
            "failure: not of a consumer that was not restarted",
            policy().rolling_back(),
            running(),
            failed(deployment("web").failing(Failing::Failure)),
            acts(Phase::Delivered, restarts(&deployment("web"))),
        ),
        row(
            "failure: a start that has taken longer than the timeout is one",
            policy().rolling_back(),
            running(),
            late().consumers([starts()]).previous(Previous::Accepted),
            goes_back(),
        ),
        row(
            "failure: the server cannot be asked",
            policy().rolling_back(),
            running(),
            failed(crashes()).previous(Previous::Unreachable(trouble())),
            waits(Phase::Delivered, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "failure: after the rollout was recorded it is about something else",
            policy().rolling_back(),
            running().rolled_out(ago(mins(2))),
            failed(crashes().renewed()),
            looks(Phase::RolledOut, Query::Sessions),
        ),
        row(
            "failure: a Job that takes longer than the timeout is not one",
            policy().rolling_back(),
            running(),
            late().consumers([job.clone()]),
            waits(Phase::Restarted, secs(30), behind([&job], true)),
        ),
    ];
    for (past, no_way_back) in [
        (Previous::Unknown, NoWayBack::Unknown),
        (Previous::Refused, NoWayBack::Refused),
    ] {
        rows.push(row(
            format!("failure: no way back, {no_way_back:?}"),
            policy().rolling_back(),
            running(),
            failed(crashes()).previous(past),
            stands(&crashes(), Some(no_way_back)),
        ));
    }
    rows.push(row(
        "failure: of a roll-back",
        policy().rolling_back(),
        giving_up(),
        nothing()
            .secret(put_back())
            .pending(accepted())
            .consumers([crashes()]),
        stands(&crashes(), Some(NoWayBack::RollBack)),
    ));
    rows
}

/// A roll-back on its way.
fn back() -> Vec<Row> {
    let set = Action::SetVerifier { user: role(ACTIVE) };
    let retire = Action::Retire {
        user: role(STANDBY),
        mode: RetireMode::Scramble,
    };
    let failed = || nothing().secret(delivered_by(LAST + 1, STANDBY));
    let there = || nothing().secret(put_back()).pending(accepted());
    let ended = giving_up().rolled_out(ago(mins(2)));
    let finished = |journal: Journal| {
        let gone = journal.rotation.clone().expect("a roll-back");
        let mut next = journal.ended();
        next.history.insert(
            0,
            tandem::machine::journal::Finished {
                number: next.number,
                trigger: gone.trigger,
                user: role(ACTIVE),
                started_at: gone.started_at,
                finished_at: now(),
                rolled_out_at: gone.rolled_out_at,
                undone: None,
            },
        );
        next
    };
    vec![
        row(
            "back: the credential from before is proven",
            policy(),
            giving_up(),
            failed(),
            looks(Phase::Staged, Query::Pending),
        ),
        row(
            "back: a failover lost it, set again",
            policy(),
            giving_up(),
            failed().pending(Login::WrongPassword),
            acts(Phase::Staged, set),
        ),
        row(
            "back: flipped, outside the window too",
            policy().nightly_window(),
            giving_up(),
            failed().pending(accepted()),
            acts(
                Phase::Verified,
                Action::Flip {
                    version: "uid/43".into(),
                },
            ),
        ),
        row(
            "back: it is there already, and delivered once more",
            policy(),
            giving_up(),
            nothing()
                .secret(SecretSeen::Present {
                    user: Some(role(ACTIVE)),
                    carries_pending: true,
                    version: "uid/41".into(),
                    landing: None,
                    delivered: None,
                })
                .pending(accepted()),
            acts(Phase::Delivered, flips()),
        ),
        row(
            "back: it is there already but for a key that only deliveries write",
            policy(),
            giving_up(),
            staged().pending(accepted()),
            acts(Phase::Verified, flips()),
        ),
        row(
            "back: the Secret names a stranger",
            policy(),
            giving_up(),
            nothing().secret(naming("mallory")),
            waits(Phase::Staged, SOON, Waiting::SecretChanged(Some(role("mallory")))),
        ),
        row(
            "back: the server does not take the old password any more, and it gets no other",
            policy(),
            giving_up(),
            failed().refused(Refused::Password(trouble())),
            waits(Phase::Staged, SOON, Waiting::PasswordsRejected(trouble())),
        ),
        row(
            "back: what was restarted is restarted again",
            policy(),
            giving_up(),
            there().consumers([deployment("web"), deployment("api").renewed()]),
            acts(Phase::Delivered, restarts(&deployment("web"))),
        ),
        row(
            "back: a consumer that fails with the credential from before too is not waited for",
            policy().rolling_back(),
            giving_up(),
            there().consumers([deployment("web").marked().renewed().failing(Failing::Failure)]),
            records(Phase::RolledOut, Entry::RollOut, giving_up().rolled_out(now())),
        ),
        row(
            "back: the user that was taken back is retired",
            policy(),
            ended.clone(),
            there().consumers([]).sessions(quiet(3, ago(mins(1)))),
            acts(Phase::Drained, retire),
        ),
        row(
            "back: recorded, and what came due meanwhile is not made up for",
            policy().nightly(),
            ended.clone().nightly_since(ago(hours(40))),
            there().consumers([]).retired().previous(Previous::Refused),
            records(
                Phase::Retired,
                Entry::Finish,
                finished(ended).nightly_since(now()),
            ),
        ),
    ]
}

/// The same through a store.
fn stored() -> Vec<Row> {
    let through = || policy().store_first();
    let there = || staged().store(storing(ACTIVE)).pending(accepted());
    let same = || match storing_pending() {
        tandem::machine::facts::StoreSeen::Present { .. } => tandem::machine::facts::StoreSeen::Present {
            user: Some(role(ACTIVE)),
            carries_pending: true,
            version: "v1".into(),
            number: None,
        },
        other @ tandem::machine::facts::StoreSeen::Unusable(_) => other,
    };
    let syncing = |times| Waiting::Sync { times, trouble: None };
    let never_left = |store| nothing().secret(put_back()).pending(accepted()).store(store);
    let own = tandem::machine::facts::StoreSeen::Present {
        user: Some(role(ACTIVE)),
        carries_pending: true,
        version: "v3".into(),
        number: Some(LAST + 2),
    };
    vec![
        row(
            "abort: what does the store say?",
            through().aborting("stop"),
            running(),
            staged(),
            looks(Phase::Staged, Query::Store),
        ),
        row(
            "abort: flipped in the store, and not delivered",
            through().aborting("stop"),
            running(),
            staged().store(storing_pending()).previous(Previous::Accepted),
            records(Phase::Staged, Entry::RollBack, giving_up()),
        ),
        row(
            "back: a version of its own, though the store says the same",
            through(),
            giving_up(),
            there().store(same()),
            acts(Phase::Verified, Action::Propose { base: "v1".into() }),
        ),
        row(
            "back: its own version is current, and the operator is asked",
            through(),
            giving_up(),
            there().store(own.clone()),
            looks(Phase::Flipped, Query::Operator),
        ),
        row(
            "back: it never left the Secret, and the operator is asked all the same",
            through(),
            giving_up(),
            never_left(own.clone()).operator(never_asked()),
            acts(
                Phase::Flipped,
                Action::Sync {
                    version: "es/7".into(),
                    times: 1,
                },
            ),
        ),
        row(
            "back: the operator was asked a moment ago, and may still be shown what is taken back",
            through(),
            giving_up(),
            never_left(own.clone()).operator(asked(1, secs(1))),
            waits(Phase::Flipped, jiff::SignedDuration::from_millis(100), syncing(1)),
        ),
        row(
            "back: the operator was asked, and is shown what is current",
            through(),
            giving_up(),
            never_left(own).operator(asked(1, secs(2))),
            records(
                Phase::Delivered,
                Entry::Deliver,
                giving_up().with(|r| r.delivered = Some(landing(ago(secs(10))))),
            ),
        ),
    ]
}
