//! The credential comes through a store: what differs from direct delivery.

use jiff::SignedDuration;
use tandem::api::spec::RetireMode;
use tandem::machine::facts::{Login, OperatorSeen, Refused, SecretSeen, StoreSeen};
use tandem::machine::journal::{Rotation, Trigger};
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::{Action, Facts, Journal, Loaded, Phase, Query};
use tandem::policy::{Policy, RotateMode};

use crate::fixtures::*;

pub(crate) fn rows() -> Vec<Row> {
    [begin(), which_side(), towards_flip(), sync(), after_delivery()]
        .into_iter()
        .flatten()
        .collect()
}

/// How soon a rotation of half a minute is looked at again.
const SOON: SignedDuration = SignedDuration::from_millis(500);

fn through() -> Policy {
    policy().store_first()
}

/// Before the flip, the new credential proven.
fn verified() -> Facts {
    nothing()
        .secret(naming(ACTIVE))
        .store(storing(ACTIVE))
        .pending(accepted())
}

/// After the flip, the Secret not there yet.
fn flipped() -> Facts {
    nothing()
        .secret(naming(ACTIVE))
        .store(storing_pending())
        .pending(accepted())
}

fn made_by(number: u64) -> StoreSeen {
    StoreSeen::Present {
        user: Some(role(ACTIVE)),
        carries_pending: false,
        version: "v1".into(),
        number: Some(number),
    }
}

fn proposes() -> Action {
    Action::Propose { base: "v1".into() }
}

fn promotes() -> Action {
    Action::Flip { version: "v1".into() }
}

fn asks(times: u32) -> Action {
    Action::Sync {
        version: "es/7".into(),
        times,
    }
}

fn withdrawn() -> Journal {
    running()
}

fn begin() -> Vec<Row> {
    let first = Journal::new(UID);
    let recovered = Journal {
        number: LAST,
        handled: Some("new".into()),
        rotation: Some(Rotation {
            trigger: Trigger::Recovery,
            mode: RotateMode::Graceful,
            started_at: now(),
            spec: policy().snapshot,
            pending: role(ACTIVE),
            retiring: role(STANDBY),
            identity: None,
            staged_at: None,
            undoes: None,
            rejected: 0,
            delivered: None,
            first: None,
            rolled_out_at: None,
        }),
        ..Journal::new(UID)
    };
    let newer = "it ends with rotation 7, and the secret in the store was delivered by rotation 9";
    vec![
        row(
            "store, adopt: look at the store first",
            through(),
            Loaded::Absent,
            nothing(),
            looks(Phase::Idle, Query::Store),
        ),
        row(
            "store, adopt: it cannot be read",
            through(),
            Loaded::Absent,
            nothing().store(StoreSeen::Unusable(trouble())),
            waits(Phase::Idle, secs(15), Waiting::Refused(trouble())),
        ),
        row(
            "store, adopt: no rotation made what is current",
            through(),
            Loaded::Absent,
            nothing().store(storing(ACTIVE)),
            records(Phase::Idle, Entry::Adopt, first),
        ),
        row(
            "store, adopt: a rotation made it, its journal is lost, and rotate-now was answered",
            through().asked("new"),
            Loaded::Absent,
            nothing().store(made_by(LAST)),
            records(Phase::Delivered, Entry::Recover, recovered),
        ),
        row(
            "store, idle: look at the store",
            through(),
            resting(),
            nothing(),
            looks(Phase::Idle, Query::Store),
        ),
        row(
            "store, idle: a journal older than the store",
            through(),
            resting(),
            nothing().store(made_by(9)),
            waits(Phase::Idle, mins(1), Waiting::JournalCorrupt(newer.into())),
        ),
        row(
            "store, idle: preflight follows, whatever the store says",
            through(),
            resting(),
            nothing().store(StoreSeen::Unusable(trouble())),
            looks(Phase::Idle, Query::Preflight),
        ),
    ]
}

fn which_side() -> Vec<Row> {
    let newer = "it ends with rotation 8, and the secret in the store was delivered by rotation 9";
    let changed = |user| waits(Phase::Staged, SOON, Waiting::StoreChanged(user));
    vec![
        row(
            "store, running: look at the Secret",
            through(),
            running(),
            nothing(),
            looks(Phase::Staged, Query::Secret),
        ),
        row(
            "store, running: then at the store",
            through(),
            running(),
            staged(),
            looks(Phase::Staged, Query::Store),
        ),
        row(
            "store, running: at the store too where the Secret is gone",
            through(),
            running(),
            nothing().secret(SecretSeen::Missing),
            looks(Phase::Staged, Query::Store),
        ),
        row(
            "store, running: it cannot be read",
            through(),
            running(),
            staged().store(StoreSeen::Unusable(trouble())),
            waits(Phase::Staged, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "store, running: a journal older than the store",
            through(),
            running(),
            staged().store(made_by(9)),
            waits(Phase::Staged, mins(1), Waiting::JournalCorrupt(newer.into())),
        ),
        row(
            "store, running: it names a stranger",
            through(),
            running(),
            staged().store(storing("stranger")),
            changed(Some(role("stranger"))),
        ),
        row(
            "store, running: the standby with a foreign password",
            through(),
            running(),
            staged().store(storing(STANDBY)),
            changed(Some(role(STANDBY))),
        ),
    ]
}

fn towards_flip() -> Vec<Row> {
    let other = || Refused::Password(trouble());
    vec![
        row(
            "store, staged: log in before anything is proposed",
            through(),
            running(),
            staged().store(storing(ACTIVE)),
            looks(Phase::Staged, Query::Pending),
        ),
        row(
            "store, staged: the verifier is set",
            through(),
            running(),
            staged().store(storing(ACTIVE)).pending(Login::NotYet),
            acts(Phase::Staged, sets()),
        ),
        row(
            "store, verified: proposed, as a version that nobody reads",
            through(),
            running(),
            verified(),
            acts(Phase::Verified, proposes()),
        ),
        row(
            "store, verified: proposed, and now made current",
            through(),
            running(),
            verified().proposed(),
            acts(Phase::Verified, promotes()),
        ),
        row(
            "store, verified: the version exists with another password",
            through(),
            running(),
            verified().refused(other()),
            records(Phase::Verified, Entry::Regenerate, running().rejected(1)),
        ),
        row(
            "store, verified: so does every other",
            through(),
            running().rejected(4),
            verified().refused(other()),
            waits(Phase::Verified, SOON, Waiting::PasswordsRejected(trouble())),
        ),
        row(
            "store, verified: no right to propose",
            through(),
            running(),
            verified().refused(Refused::Otherwise(trouble())),
            waits(Phase::Verified, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "store, verified: no right to make it current",
            through(),
            running(),
            verified().proposed().refused(Refused::Otherwise(trouble())),
            waits(Phase::Verified, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "store, verified: what the proposal differs from is not another password's fault",
            through(),
            running(),
            verified().proposed().refused(other()),
            waits(Phase::Verified, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "store, verified: somebody took the flip back",
            through(),
            running().landed().rolled_out(ago(secs(5))),
            verified(),
            records(Phase::Staged, Entry::Withdraw, withdrawn()),
        ),
    ]
}

fn sync() -> Vec<Row> {
    let waiting = |times, trouble| Waiting::Sync { times, trouble };
    let troubled = OperatorSeen::Present {
        version: "es/7".into(),
        asked: Some(tandem::machine::facts::Asked {
            times: 2,
            at: ago(secs(3)),
        }),
        trouble: Some(trouble()),
    };
    let landed = Journal::landed(running());
    vec![
        row(
            "store, flipped: log in first, a failover may have lost the change",
            through(),
            running(),
            staged().store(storing_pending()),
            looks(Phase::Flipped, Query::Pending),
        ),
        row(
            "store, flipped: it has, set again",
            through(),
            running(),
            flipped().pending(Login::WrongPassword),
            acts(Phase::Flipped, sets()),
        ),
        row(
            "store, flipped: no other password once this one was told",
            through(),
            running(),
            staged()
                .store(storing_pending())
                .pending(Login::WrongPassword)
                .refused(Refused::Password(trouble())),
            waits(Phase::Flipped, SOON, Waiting::PasswordsRejected(trouble())),
        ),
        row(
            "store, flipped: who syncs?",
            through(),
            running(),
            flipped(),
            looks(Phase::Flipped, Query::Operator),
        ),
        row(
            "store, flipped: nobody",
            through(),
            running(),
            flipped().operator(OperatorSeen::Unusable(trouble())),
            waits(Phase::Flipped, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "store, flipped: asked for the first time",
            through(),
            running(),
            flipped().operator(never_asked()),
            acts(Phase::Flipped, asks(1)),
        ),
        row(
            "store, flipped: no right to ask",
            through(),
            running(),
            flipped().refused(Refused::Otherwise(trouble())),
            waits(Phase::Flipped, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "store, flipped: asked a moment ago",
            through(),
            running(),
            flipped().operator(asked(1, secs(1))),
            waits(Phase::Flipped, SignedDuration::from_millis(100), waiting(1, None)),
        ),
        row(
            "store, flipped: asked, and the operator says what is in its way",
            through(),
            running(),
            flipped().operator(troubled),
            waits(Phase::Flipped, SOON, waiting(2, Some(trouble()))),
        ),
        row(
            "store, flipped: asked again after five seconds",
            through(),
            running(),
            flipped().operator(asked(1, secs(5))),
            acts(Phase::Flipped, asks(2)),
        ),
        row(
            "store, flipped: then after ten",
            through(),
            running(),
            flipped().operator(asked(2, secs(9))),
            waits(Phase::Flipped, SOON, waiting(2, None)),
        ),
        row(
            "store, flipped: never later than half a minute",
            through(),
            running(),
            flipped().operator(asked(100, secs(30))),
            acts(Phase::Flipped, asks(101)),
        ),
        row(
            "store, flipped: the Secret carries it",
            through(),
            running(),
            flipped().secret(synced()),
            records(
                Phase::Delivered,
                Entry::Deliver,
                landed.with(|r| r.first = Some("41".into())),
            ),
        ),
        row(
            "store, flipped: it carried it once, and does no more",
            through(),
            running().landed(),
            flipped(),
            records(Phase::Flipped, Entry::Withdraw, withdrawn()),
        ),
        row(
            "store, flipped: suspended",
            through().suspended(),
            running(),
            flipped().operator(never_asked()),
            stands_still(Phase::Flipped),
        ),
    ]
}

fn after_delivery() -> Vec<Row> {
    let synced = || nothing().secret(synced());
    let drained = || {
        synced()
            .pending(accepted())
            .consumers([])
            .sessions(quiet(3, ago(mins(1))))
    };
    let landed = || running().landed().rolled_out(ago(mins(2)));
    let refused = || drained().refused(Refused::Otherwise(trouble()));
    vec![
        row(
            "store, delivered: the store is not asked in every pass",
            through(),
            running().landed(),
            synced(),
            looks(Phase::Delivered, Query::Pending),
        ),
        row(
            "store, delivered: consumers as ever",
            through(),
            running().landed(),
            synced().pending(accepted()),
            looks(Phase::Delivered, Query::Consumers),
        ),
        row(
            "store, drained: retired",
            through(),
            landed(),
            drained(),
            acts(Phase::Drained, retires(RetireMode::Scramble)),
        ),
        row(
            "store, drained: refused, so what does the store say?",
            through(),
            landed(),
            refused(),
            looks(Phase::Delivered, Query::Store),
        ),
        row(
            "store, drained: it names the user that goes",
            through(),
            landed(),
            refused().store(storing(ACTIVE)),
            records(Phase::Delivered, Entry::Withdraw, withdrawn()),
        ),
        row(
            "store, drained: refused for another reason",
            through(),
            landed(),
            refused().store(storing_pending()),
            waits(Phase::Delivered, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "store, drained: refused, and the store cannot be read",
            through(),
            landed(),
            refused().store(StoreSeen::Unusable(trouble())),
            waits(Phase::Delivered, SOON, Waiting::Refused(trouble())),
        ),
    ]
}
