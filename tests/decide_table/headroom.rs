//! Room for the connections that a rollout adds.

use tandem::machine::facts::{Consumer, Limit, Room};
use tandem::machine::step::{Crowded, Waiting};
use tandem::machine::{Phase, Query};

use crate::fixtures::*;

const SOON: jiff::SignedDuration = jiff::SignedDuration::from_millis(500);

fn limit(what: &str, most: u32, used: u32) -> Limit {
    let what = what.to_owned();
    Limit { what, most, used }
}

/// Brings so many pods more.
fn surging(consumer: Consumer, surge: u32) -> Consumer {
    Consumer { surge, ..consumer }
}

pub(crate) fn rows() -> Vec<Row> {
    let a = surging(deployment("a"), 2);
    let am = a.clone().marked();
    let b = surging(deployment("b"), 1);
    // Two pods with seven connections: some four each.
    let asked = |consumers: [&Consumer; 2], limits: Vec<Limit>| {
        let mut facts = delivered().consumers(consumers.map(Clone::clone));
        let connections = 7;
        facts.room = Some(Ok(Room { limits, connections }));
        facts
    };
    let crowded = |pods, limit: &Limit| {
        Waiting::Room(Crowded {
            consumer: a.reference.clone(),
            pods,
            each: 4,
            limit: limit.clone(),
        })
    };
    let server = |used| limit("max_connections", 100, used);
    let role = limit("role", 20, 13);
    let unreachable = {
        let mut facts = delivered().consumers([a.clone()]);
        facts.room = Some(Err(trouble()));
        facts
    };
    vec![
        row(
            "room: not known",
            policy(),
            running(),
            delivered().consumers([a.clone()]),
            looks(Phase::Delivered, Query::Room),
        ),
        row(
            "room: not asked for what brings no pods",
            policy(),
            running(),
            delivered().consumers([deployment("a")]),
            acts(Phase::Delivered, restarts(&deployment("a"))),
        ),
        row(
            "room: cannot be asked",
            policy(),
            running(),
            unreachable,
            waits(Phase::Delivered, SOON, Waiting::Refused(trouble())),
        ),
        row(
            "room: just enough",
            policy(),
            running(),
            asked([&a, &b], vec![server(92)]),
            acts(Phase::Delivered, restarts(&a)),
        ),
        row(
            "room: one too few at the server",
            policy(),
            running(),
            asked([&a, &b], vec![server(93)]),
            waits(Phase::Delivered, SOON, crowded(2, &server(93))),
        ),
        row(
            "room: more used than allowed",
            policy(),
            running(),
            asked([&a, &b], vec![server(101)]),
            waits(Phase::Delivered, SOON, crowded(2, &server(101))),
        ),
        row(
            "room: one too few for the role",
            policy(),
            running(),
            asked([&a, &b], vec![server(0), role.clone()]),
            waits(Phase::Delivered, SOON, crowded(2, &role)),
        ),
        row(
            "room: enough beside a rollout",
            policy(),
            running(),
            asked([&am, &b], vec![server(88)]),
            acts(Phase::Delivered, restarts(&b)),
        ),
        row(
            "room: too little beside a rollout, which is waited for",
            policy(),
            running(),
            asked([&am, &b], vec![server(89)]),
            waits(Phase::Delivered, SOON, behind([&am, &b], false)),
        ),
        row(
            "room: a rollout that has ended brings nothing",
            policy(),
            running(),
            asked(
                [&surging(deployment("c").marked().renewed(), 2), &b],
                vec![server(96)],
            ),
            acts(Phase::Delivered, restarts(&b)),
        ),
    ]
}
