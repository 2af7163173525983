//! A rotation runs, and the application Secret still names the user that goes.

use jiff::Timestamp;
use tandem::machine::facts::{Identity, Login, Refused, SecretSeen};
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::{Facts, Phase, Query};

use crate::fixtures::*;

pub(crate) fn rows() -> Vec<Row> {
    [which_side(), login(), rejected(), flip()]
        .into_iter()
        .flatten()
        .collect()
}

/// How soon a rotation of half a minute is looked at again.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_millis(500);

fn which_side() -> Vec<Row> {
    let changed = |user: Option<&str>| waits(Phase::Staged, SOON, Waiting::SecretChanged(user.map(role)));
    let seen = |secret| nothing().secret(secret);
    let newer = "it ends with rotation 8, and the application Secret was delivered by rotation 9";
    let outdated = || waits(Phase::Staged, mins(1), Waiting::JournalCorrupt(newer.into()));
    vec![
        row(
            "running: look at the Secret",
            policy(),
            running(),
            nothing(),
            looks(Phase::Staged, Query::Secret),
        ),
        row(
            "running: the Secret is gone",
            policy(),
            running(),
            seen(SecretSeen::Missing),
            waits(Phase::Staged, SOON, Waiting::SecretMissing),
        ),
        row(
            "running: gone for minutes",
            policy(),
            running().started(ago(mins(5))),
            seen(SecretSeen::Missing),
            waits(Phase::Staged, secs(5), Waiting::SecretMissing),
        ),
        row(
            "running: gone for hours",
            policy(),
            running().started(ago(hours(5))),
            seen(SecretSeen::Missing),
            waits(Phase::Staged, secs(30), Waiting::SecretMissing),
        ),
        row(
            "running: the Secret names a stranger",
            policy(),
            running(),
            seen(naming("stranger")),
            changed(Some("stranger")),
        ),
        row(
            "running: the standby with a foreign password",
            policy(),
            running(),
            seen(naming(STANDBY)),
            changed(Some(STANDBY)),
        ),
        row(
            "running: the Secret names nobody",
            policy(),
            running(),
            seen(naming_nobody()),
            changed(None),
        ),
        row(
            "running: a journal older than the Secret",
            policy(),
            running(),
            seen(delivered_by(9, ACTIVE)),
            outdated(),
        ),
        row(
            "running: gone, suspended",
            policy().suspended(),
            running(),
            seen(SecretSeen::Missing),
            stands_still(Phase::Staged),
        ),
        row(
            "running: gone, being deleted",
            policy().deleted(),
            running(),
            seen(SecretSeen::Missing),
            rests(Phase::Staged, None),
        ),
        row(
            "running: looking is no side effect",
            policy().suspended().deleted(),
            running(),
            nothing(),
            looks(Phase::Staged, Query::Secret),
        ),
    ]
}

fn on(system: &str, timeline: u32) -> Facts {
    staged().pending(Login::Accepted(Identity {
        system: system.into(),
        timeline,
    }))
}

fn login() -> Vec<Row> {
    let other = Waiting::OtherServer {
        expected: "7001".into(),
        found: "9009".into(),
    };
    vec![
        row(
            "staged: try the login",
            policy(),
            running(),
            staged(),
            looks(Phase::Staged, Query::Pending),
        ),
        row(
            "staged: nobody can have set it yet",
            policy(),
            running(),
            staged().pending(Login::NotYet),
            acts(Phase::Staged, sets()),
        ),
        row(
            "staged: not set, or lost with the answer",
            policy(),
            running(),
            staged().pending(Login::WrongPassword),
            acts(Phase::Staged, sets()),
        ),
        row(
            "staged: the server cannot be asked",
            policy(),
            running(),
            staged().pending(Login::Refused(trouble())),
            waits(Phase::Staged, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "altered: try the login",
            policy(),
            running(),
            staged().altered(),
            looks(Phase::Altered, Query::Pending),
        ),
        row(
            "altered: set, and still not accepted",
            policy(),
            running(),
            staged().altered().pending(Login::WrongPassword),
            waits(Phase::Altered, SOON, Waiting::NotAccepted),
        ),
        row(
            "altered: the server cannot be asked any more",
            policy(),
            running(),
            staged().altered().pending(Login::Refused(trouble())),
            waits(Phase::Altered, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "verified: on another cluster",
            policy(),
            running(),
            on("9009", 1),
            waits(Phase::Staged, SOON, other.clone()),
        ),
        row(
            "altered: on another cluster",
            policy(),
            running(),
            on("9009", 1).altered(),
            waits(Phase::Altered, SOON, other),
        ),
        row(
            "verified: on the promoted replica",
            policy(),
            running(),
            on("7001", 2),
            acts(Phase::Verified, flips()),
        ),
        row(
            "verified: no server is remembered",
            policy(),
            running().with(|r| r.identity = None),
            on("9009", 1),
            acts(Phase::Verified, flips()),
        ),
        row(
            "staged: suspended",
            policy().suspended(),
            running(),
            staged().pending(Login::NotYet),
            stands_still(Phase::Staged),
        ),
        row(
            "staged: being deleted",
            policy().deleted(),
            running(),
            staged().pending(Login::NotYet),
            rests(Phase::Staged, None),
        ),
        row(
            "altered: suspended",
            policy().suspended(),
            running(),
            staged().altered().pending(Login::WrongPassword),
            stands_still(Phase::Altered),
        ),
    ]
}

fn rejected() -> Vec<Row> {
    let weak = || {
        staged()
            .pending(Login::NotYet)
            .refused(Refused::Password(trouble()))
    };
    let again = |n| records(Phase::Staged, Entry::Regenerate, running().rejected(n));
    vec![
        row(
            "staged: a first password is rejected",
            policy(),
            running(),
            weak(),
            again(1),
        ),
        row(
            "staged: a fourth password is rejected",
            policy(),
            running().rejected(3),
            weak(),
            again(4),
        ),
        row(
            "staged: a fifth password is rejected",
            policy(),
            running().rejected(4),
            weak(),
            waits(Phase::Staged, SOON, Waiting::PasswordsRejected(trouble())),
        ),
        row(
            "staged: rejected, whatever else is known",
            policy(),
            running(),
            staged().refused(Refused::Password(trouble())),
            again(1),
        ),
        row(
            "staged: the write was refused",
            policy(),
            running(),
            staged().refused(Refused::Otherwise(trouble())),
            waits(Phase::Staged, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "staged: rejected, suspended",
            policy().suspended(),
            running(),
            weak(),
            stands_still(Phase::Staged),
        ),
        row(
            "staged: rejected, being deleted",
            policy().deleted(),
            running(),
            weak(),
            rests(Phase::Staged, None),
        ),
    ]
}

fn flip() -> Vec<Row> {
    let verified = || staged().pending(accepted());
    let tomorrow: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
    let refused = || Refused::Otherwise(trouble());
    vec![
        row(
            "verified: flip",
            policy(),
            running(),
            verified(),
            acts(Phase::Verified, flips()),
        ),
        row(
            "verified: altered in this turn, flip",
            policy(),
            running(),
            verified().altered(),
            acts(Phase::Verified, flips()),
        ),
        row(
            "verified: without a window there is no time",
            policy().nightly(),
            running(),
            verified(),
            acts(Phase::Verified, flips()),
        ),
        row(
            "verified: the window has closed",
            policy().nightly_window(),
            running(),
            verified(),
            waits(
                Phase::Verified,
                tomorrow.duration_since(now()),
                Waiting::Window(tomorrow),
            ),
        ),
        row(
            "verified: the flip was refused",
            policy(),
            running(),
            verified().refused(refused()),
            waits(Phase::Verified, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "verified: the flip was refused after the change",
            policy(),
            running(),
            verified().altered().refused(refused()),
            waits(Phase::Verified, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "verified: suspended",
            policy().suspended(),
            running(),
            verified(),
            stands_still(Phase::Verified),
        ),
        row(
            "verified: being deleted",
            policy().deleted(),
            running(),
            verified(),
            rests(Phase::Verified, None),
        ),
    ]
}
