//! Poolers that have a list of passwords.

use jiff::SignedDuration;
use tandem::machine::endpoints::Door;
use tandem::machine::facts::{Finding, Login, Previous, Refused};
use tandem::machine::journal::{Finished, Trigger};
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::userlists::{List, POOLER_REFUSES};
use tandem::machine::words::{Weight, words};
use tandem::machine::{Action, Facts, Phase, Query};
use tandem::policy::RotateMode;

use crate::fixtures::*;
use crate::listed::*;
use crate::modes::{hurried, journal};

fn refused() -> Finding {
    Finding {
        reason: POOLER_REFUSES,
        ..trouble()
    }
}

fn shut() -> [Door; 2] {
    [Door::Open, Door::Refused(refused())]
}

fn enlists() -> Action {
    Action::Enlist {
        endpoint: "far".into(),
        user: role(STANDBY),
        version: "uid/7".into(),
    }
}

pub(crate) fn strikes(user: &str) -> Action {
    Action::Strike {
        endpoint: "far".into(),
        user: role(user),
        version: "uid/7".into(),
    }
}

fn reloads() -> Action {
    Action::Reload {
        endpoint: "far".into(),
    }
}

fn list(overdue: bool) -> Waiting {
    Waiting::List {
        endpoint: "far".into(),
        secret: list_secret(),
        overdue,
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let wrong = || staged().pending(Login::WrongPassword);
    let closed = || staged().pending(accepted()).endpoints(shut());
    let over = || running().rolled_out(ago(mins(2)));
    let this = || Finished {
        number: LAST + 1,
        trigger: Trigger::RotateNow("new".into()),
        user: role(STANDBY),
        started_at: ago(secs(30)),
        finished_at: now(),
        rolled_out_at: Some(ago(mins(2))),
        undone: None,
    };
    let gone = || podless().retired().previous(Previous::Refused);
    vec![
        row(
            "lists: not asked before the server is known to need the password",
            pooled(),
            running(),
            staged(),
            looks(Phase::Staged, Query::Pending),
        ),
        row(
            "lists: not known, and nobody can have set the password",
            pooled(),
            running(),
            staged().pending(Login::NotYet),
            looks(Phase::Staged, Query::Lists),
        ),
        row(
            "lists: not known, and the server refuses the password",
            pooled(),
            running(),
            wrong(),
            looks(Phase::Staged, Query::Lists),
        ),
        row(
            "lists: one that lacks the password gets it before the server",
            pooled(),
            running(),
            wrong().lists(listing(false, false)),
            acts(Phase::Staged, enlists()),
        ),
        row(
            "lists: one that has the password lets the server have it",
            pooled(),
            running(),
            wrong().lists(listing(true, false)),
            acts(Phase::Staged, sets()),
        ),
        row(
            "lists: one that cannot be used holds the server's change",
            pooled(),
            running(),
            wrong().lists(List::Unusable(trouble())),
            waits(Phase::Staged, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "lists: one that could not be written is not written again in this turn",
            pooled(),
            running(),
            closed()
                .lists(listing(false, false))
                .refused(Refused::Otherwise(trouble())),
            waits(Phase::Altered, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "lists: what was written there in this turn is what the server gets",
            pooled(),
            running(),
            staged().pending(accepted()).enlisted(),
            acts(Phase::Staged, sets()),
        ),
        row(
            "lists: and gets once",
            pooled(),
            running(),
            staged().pending(accepted()).enlisted().altered(),
            looks(Phase::Altered, Query::Endpoints),
        ),
        row(
            "lists: not known, and the pooler refuses",
            pooled(),
            running(),
            closed(),
            looks(Phase::Altered, Query::Lists),
        ),
        row(
            "lists: the pooler refuses, and somebody has taken the password out again",
            pooled(),
            running(),
            closed().lists(listing(false, false)),
            acts(Phase::Altered, enlists()),
        ),
        row(
            "lists: the pooler refuses, and is told to read",
            pooled(),
            running(),
            closed().lists(listing(true, false)),
            acts(Phase::Altered, reloads()),
        ),
        row(
            "lists: the pooler refuses after it was told to read",
            pooled(),
            running(),
            closed().lists(listing(true, false)).reloaded(),
            waits(Phase::Altered, secs(2), list(false)),
        ),
        row(
            "lists: the pooler refuses for long",
            pooled(),
            running().started(ago(mins(11))),
            closed().lists(listing(true, false)).reloaded(),
            waits(Phase::Altered, secs(30), list(true)),
        ),
        row(
            "lists: what no reading mends is not read for",
            pooled(),
            running(),
            staged()
                .pending(accepted())
                .endpoints([Door::Open, Door::Refused(trouble())]),
            waits(Phase::Altered, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "lists: a pooler without one is not told to read",
            pooled(),
            running(),
            staged()
                .pending(accepted())
                .endpoints([Door::Refused(refused()), Door::Open]),
            waits(Phase::Altered, SOON, Waiting::Refused(refused())),
        ),
        row(
            "lists: not known, and the old password is refused",
            pooled(),
            over(),
            gone(),
            looks(Phase::Retired, Query::Lists),
        ),
        row(
            "lists: the old password goes when the server has refused it",
            pooled(),
            over(),
            gone().lists(listing(true, false)),
            acts(Phase::Retired, strikes(ACTIVE)),
        ),
        row(
            "lists: a leaked password goes there too",
            hurried(pooled(), RotateMode::Immediate),
            journal(RotateMode::Immediate).rolled_out(ago(mins(2))),
            podless()
                .previous(Previous::Refused)
                .sessions(quiet(1, now()))
                .endpoints([Door::Open, Door::Open])
                .lists(listing(true, false)),
            acts(Phase::Retired, strikes(ACTIVE)),
        ),
        row(
            "lists: the old password is gone",
            pooled(),
            over(),
            gone().lists(listing(true, true)),
            records(
                Phase::Retired,
                Entry::Finish,
                over().ended().recalling(vec![this(), finished(LAST)]),
            ),
        ),
    ]
}

const SOON: SignedDuration = SignedDuration::from_millis(500);

#[test]
fn what_a_pooler_has_not_read_yet_is_told_with_its_secret() {
    let said = words(&pooled(), &list(false));
    assert_eq!((said.reason, said.weight), ("WaitingForPooler", Weight::Progress));
    for part in [
        "endpoint far",
        "/pgbouncer-userlist",
        "RELOAD",
        "subPath",
        "kubectl -n",
    ] {
        assert!(said.message.contains(part), "{part:?} is not in {}", said.message);
    }
    let said = words(&pooled(), &list(true));
    assert_eq!((said.reason, said.weight), ("PoolerOverdue", Weight::Stalled));
}

#[test]
fn a_pooler_that_was_told_to_read_is_tried_again_and_nothing_else_is() {
    let before = staged()
        .pending(accepted())
        .endpoints(shut())
        .lists(listing(true, false));
    let after = before.after(&reloads());
    let expected = Facts {
        endpoints: None,
        ..before.reloaded()
    };
    assert_eq!(after, expected);
}

#[test]
fn a_list_that_was_written_leaves_it_to_the_server_to_say_what_it_knows() {
    let fresh = staged().pending(Login::NotYet).after(&enlists());
    assert_eq!(fresh, nothing().pending(Login::NotYet).enlisted());
    let refused = staged().pending(Login::WrongPassword).after(&enlists());
    assert_eq!(refused, nothing().enlisted());
}
