//! Places besides the primary where applications log in.

use tandem::api::spec::RetireMode;
use tandem::machine::endpoints::{Door, EndpointSeen, Lag};
use tandem::machine::invariant::permits;
use tandem::machine::step::Waiting;
use tandem::machine::words::words;
use tandem::machine::{Action, Facts, Phase, Query};

use crate::fixtures::*;

fn lag() -> Lag {
    Lag {
        endpoint: "far".into(),
        at: "far.example.com:5432 (10.0.0.7)".into(),
        written: "0/3000148".into(),
        replayed: Some("0/3000100".into()),
        bytes: Some(72),
        cause: Some("its recovery_min_apply_delay is 5min".into()),
    }
}

fn behind() -> [Door; 2] {
    [Door::Open, Door::Behind(vec![lag()])]
}

const OPEN: [Door; 2] = [Door::Open, Door::Open];

fn replay(overdue: bool) -> Waiting {
    let behind = vec![lag()];
    Waiting::Replay { behind, overdue }
}

pub(crate) fn rows() -> Vec<Row> {
    let proven = || staged().pending(accepted());
    let drained = || podless().sessions(quiet(3, ago(secs(60))));
    let over = || running().rolled_out(ago(mins(2)));
    let refused = || [Door::Behind(vec![lag()]), Door::Refused(trouble())];
    vec![
        row(
            "endpoints: not asked before the primary knows the password",
            policy().reading(),
            running(),
            staged(),
            looks(Phase::Staged, Query::Pending),
        ),
        row(
            "endpoints: not known",
            policy().reading(),
            running(),
            proven(),
            looks(Phase::Altered, Query::Endpoints),
        ),
        row(
            "endpoints: one is behind",
            policy().reading(),
            running(),
            proven().endpoints(behind()),
            waits(Phase::Altered, SOON, replay(false)),
        ),
        row(
            "endpoints: one is behind for long",
            policy().reading(),
            running().started(ago(mins(11))),
            proven().endpoints(behind()),
            waits(Phase::Altered, secs(30), replay(true)),
        ),
        row(
            "endpoints: what a person must mend is told first",
            policy().reading(),
            running(),
            proven().endpoints(refused()),
            waits(Phase::Altered, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "endpoints: all are open",
            policy().reading(),
            running(),
            proven().endpoints(OPEN),
            acts(Phase::Verified, flips()),
        ),
        row(
            "endpoints: asked through a store, too",
            policy().reading().store_first(),
            running(),
            proven().store(storing(ACTIVE)),
            looks(Phase::Altered, Query::Endpoints),
        ),
        row(
            "endpoints: a mark that is put back tells nobody anything new",
            policy().reading(),
            running(),
            nothing().secret(unmarked()).pending(accepted()),
            acts(
                Phase::Delivered,
                Action::Flip {
                    version: "uid/42".into(),
                },
            ),
        ),
        row(
            "endpoints: not known before the old user goes",
            policy().reading(),
            over(),
            drained(),
            looks(Phase::Drained, Query::Endpoints),
        ),
        row(
            "endpoints: one that is behind takes only the old password",
            policy().reading(),
            over(),
            drained().endpoints(behind()),
            waits(Phase::Drained, SOON, replay(false)),
        ),
        row(
            "endpoints: all are open, and the old user goes",
            policy().reading(),
            over(),
            drained().endpoints(OPEN),
            acts(Phase::Drained, retires(RetireMode::Scramble)),
        ),
    ]
}

const SOON: jiff::SignedDuration = jiff::SignedDuration::from_millis(500);

/// The Secret carries the pending credential, and its mark was taken away.
fn unmarked() -> tandem::machine::facts::SecretSeen {
    synced()
}

#[test]
fn nobody_is_told_or_retired_before_every_endpoint_is_proven() {
    let proven = || staged().pending(accepted());
    let drained = || podless().sessions(quiet(3, ago(mins(1))));
    let retire = || retires(RetireMode::Scramble);
    let cases = [(proven(), flips(), "S5"), (drained(), retire(), "S1")];
    for (facts, action, rule) in cases {
        let journal = running().rolled_out(ago(mins(2))).valid();
        let one = Facts {
            endpoints: Some(vec![EndpointSeen {
                name: "near".into(),
                door: Door::Open,
            }]),
            ..facts.clone()
        };
        for facts in [facts.clone(), facts.clone().endpoints(behind()), one] {
            let broken = permits(&policy().reading(), &journal, &facts, &action).unwrap_err();
            let said = broken.to_string();
            assert!(said.contains(rule) && said.contains("endpoint"), "{said}");
        }
        let facts = facts.endpoints(OPEN);
        assert_eq!(permits(&policy().reading(), &journal, &facts, &action), Ok(()));
    }
}

#[test]
fn a_replica_that_is_behind_is_told_with_its_address_and_its_numbers() {
    let said = words(&policy().reading(), &replay(false));
    for part in [
        "endpoint far at far.example.com:5432 (10.0.0.7)",
        "up to 0/3000100 of 0/3000148, 72 bytes behind",
        "recovery_min_apply_delay is 5min",
        "both credentials stay valid",
    ] {
        assert!(said.message.contains(part), "{part:?} is not in {}", said.message);
    }
    let silent = Lag {
        replayed: None,
        bytes: None,
        cause: None,
        ..lag()
    };
    let said = words(
        &policy().reading(),
        &Waiting::Replay {
            behind: vec![silent],
            overdue: true,
        },
    );
    assert_eq!(said.reason, "ReplicaOverdue");
    assert!(
        said.message.contains("it does not say how far it is"),
        "{}",
        said.message
    );
}
