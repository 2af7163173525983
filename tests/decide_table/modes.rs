//! Rotations in a hurry: `Urgent` and `Immediate`.

use tandem::api::spec::RetireMode;
use tandem::machine::endpoints::Door;
use tandem::machine::facts::{Previous, Sessions};
use tandem::machine::journal::{Finished, Trigger};
use tandem::machine::step::{Behind, Entry, Waiting};
use tandem::machine::{Action, Facts, Journal, Phase, Query};
use tandem::policy::{Policy, RotateMode};

use crate::fixtures::*;

/// While a rotation is young, or a delivery.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_millis(500);

/// The policy as it is while such a rotation is asked for, or runs.
pub(crate) fn hurried(policy: Policy, mode: RotateMode) -> Policy {
    Policy {
        rotate_mode: Ok(mode),
        ..policy
    }
}

pub(crate) fn journal(mode: RotateMode) -> Journal {
    running().with(|r| r.mode = mode)
}

pub(crate) fn rows() -> Vec<Row> {
    let all = [
        asked(),
        urgent(),
        immediate(),
        immediate_afterwards(),
        beside_a_replica(),
    ];
    all.into_iter().flatten().collect()
}

fn asked() -> Vec<Row> {
    let ready = || staged().preflight(passed());
    let since = "2026-11-20T11:00:00Z".parse().unwrap();
    let begins = |mode: RotateMode| {
        let next = journal(mode)
            .nightly_since(now())
            .started(now())
            .with(|r| r.first = Some("41".into()));
        row(
            format!(
                "{}: begins outside the window, and asks for no place",
                mode.as_str()
            ),
            hurried(policy().nightly_window().asked("new"), mode),
            resting().nightly_since(since),
            ready(),
            records(Phase::Prepared, Entry::Stage, next),
        )
    };
    let unknown = Policy {
        rotate_mode: Err("Quick".into()),
        ..policy().asked("new")
    };
    vec![
        begins(RotateMode::Urgent),
        begins(RotateMode::Immediate),
        row(
            "asked for in a mode that there is not",
            unknown,
            resting(),
            ready(),
            waits(Phase::Idle, mins(1), Waiting::UnknownMode("Quick".into())),
        ),
    ]
}

fn urgent() -> Vec<Row> {
    let urgent = |policy| hurried(policy, RotateMode::Urgent);
    let since = |ago| journal(RotateMode::Urgent).rolled_out(ago);
    let busy = || podless().sessions(left());
    vec![
        row(
            "Urgent: flips outside the window",
            urgent(policy().nightly_window()),
            journal(RotateMode::Urgent),
            staged().pending(accepted()),
            acts(Phase::Verified, flips()),
        ),
        row(
            "Urgent: waits for the rollout",
            urgent(policy()),
            journal(RotateMode::Urgent),
            delivered(),
            looks(Phase::Delivered, Query::Consumers),
        ),
        row(
            "Urgent: waits for sessions until the deadline",
            urgent(policy()),
            since(ago(mins(1))),
            busy(),
            waits(
                Phase::RolledOut,
                secs(15),
                Waiting::Sessions {
                    laggards: vec![laggard()],
                    overdue: false,
                },
            ),
        ),
        row(
            "Urgent: ends them then",
            urgent(policy()),
            since(ago(hours(3))),
            busy(),
            acts(Phase::RolledOut, ends()),
        ),
    ]
}

fn ends() -> Action {
    Action::Terminate { user: role(ACTIVE) }
}

fn immediate() -> Vec<Row> {
    let row = |name: &str, facts: Facts, expected| {
        let policy = hurried(policy(), RotateMode::Immediate);
        row(
            format!("Immediate: {name}"),
            policy,
            journal(RotateMode::Immediate),
            facts,
            expected,
        )
    };
    let gone = || delivered().previous(Previous::Refused);
    let trouble_waits = || waits(Phase::Delivered, SOON, Waiting::Refused(trouble()));
    vec![
        row(
            "flips as ever",
            staged().pending(accepted()),
            acts(Phase::Verified, flips()),
        ),
        row(
            "does the old password log in?",
            delivered(),
            looks(Phase::Delivered, Query::Previous),
        ),
        row(
            "the server cannot be asked",
            delivered().previous(Previous::Unreachable(trouble())),
            trouble_waits(),
        ),
        row(
            "it does, and is retired before any rollout",
            delivered().previous(Previous::Accepted),
            acts(Phase::Delivered, retires(RetireMode::Scramble)),
        ),
        row(
            "it does although it was retired",
            delivered().retired().previous(Previous::Accepted),
            waits(Phase::Delivered, SOON, Waiting::NotRetired),
        ),
        row(
            "nobody knows it",
            delivered().previous(Previous::Unknown),
            acts(Phase::Delivered, retires(RetireMode::Scramble)),
        ),
        row(
            "nobody knows it, and it is retired",
            delivered().retired().previous(Previous::Unknown),
            looks(Phase::Delivered, Query::Sessions),
        ),
        row(
            "it is refused, and who has a session?",
            gone(),
            looks(Phase::Delivered, Query::Sessions),
        ),
        row(
            "sessions cannot be counted",
            gone().sessions(Sessions::Unreachable(trouble())),
            trouble_waits(),
        ),
        row(
            "sessions are ended",
            gone().sessions(left()),
            acts(Phase::Delivered, ends()),
        ),
    ]
}

fn immediate_afterwards() -> Vec<Row> {
    let immediate = || hurried(policy(), RotateMode::Immediate);
    let cut_off = || delivered().previous(Previous::Refused).sessions(quiet(1, now()));
    let web = deployment("web");
    let behind = Behind {
        consumer: web.reference.clone(),
        old_pods: web.old_pods.clone(),
        obstacle: None,
    };
    let running = || journal(RotateMode::Immediate);
    let rolled_out = || running().rolled_out(now());
    let ended = || running().rolled_out(ago(secs(10)));
    let this = Finished {
        trigger: Trigger::RotateNow("new".into()),
        user: role(STANDBY),
        started_at: ago(secs(30)),
        finished_at: now(),
        rolled_out_at: Some(ago(secs(10))),
        ..finished(LAST + 1)
    };
    let history = vec![this, finished(LAST)];
    vec![
        row(
            "Immediate: then restarts",
            immediate(),
            running(),
            cut_off().consumers([web.clone()]),
            acts(Phase::Delivered, restarts(&web)),
        ),
        row(
            "Immediate: who was ended comes back with nothing",
            immediate(),
            running(),
            cut_off()
                .sessions(left())
                .terminated()
                .consumers([web.clone().marked()]),
            waits(
                Phase::Restarted,
                SOON,
                Waiting::Rollout {
                    behind: vec![behind],
                    overdue: false,
                    no_way_back: None,
                },
            ),
        ),
        row(
            "Immediate: the rollout has ended",
            immediate(),
            running(),
            cut_off().consumers([]),
            records(Phase::RolledOut, Entry::RollOut, rolled_out()),
        ),
        row(
            "Immediate: and so the rotation",
            immediate(),
            ended(),
            cut_off().consumers([]),
            records(Phase::Retired, Entry::Finish, ended().ended().recalling(history)),
        ),
    ]
}

fn beside_a_replica() -> Vec<Row> {
    let hurried = |mode| hurried(policy().reading(), mode);
    let immediate = || hurried(RotateMode::Immediate);
    let running = || journal(RotateMode::Immediate);
    let rolled_out = || running().rolled_out(ago(secs(10)));
    let ended = || {
        let gone = delivered().previous(Previous::Refused);
        gone.sessions(quiet(1, now())).consumers([])
    };
    let refused = [Door::Refused(trouble()), Door::Open];
    vec![
        row(
            "Urgent: a replica is waited for before the flip",
            hurried(RotateMode::Urgent),
            journal(RotateMode::Urgent),
            staged().pending(accepted()),
            looks(Phase::Altered, Query::Endpoints),
        ),
        row(
            "Immediate: no replica is waited for before the flip",
            immediate(),
            running(),
            staged().pending(accepted()),
            acts(Phase::Verified, flips()),
        ),
        row(
            "Immediate: nor before the old user is retired",
            immediate(),
            running(),
            delivered().previous(Previous::Accepted),
            acts(Phase::Delivered, retires(RetireMode::Scramble)),
        ),
        row(
            "Immediate: but before the rotation ends",
            immediate(),
            rolled_out(),
            ended(),
            looks(Phase::RolledOut, Query::Endpoints),
        ),
        row(
            "Immediate: the new password does not work there yet",
            immediate(),
            rolled_out(),
            ended().endpoints(refused),
            waits(Phase::RolledOut, SOON, Waiting::Refused(trouble())),
        ),
    ]
}
