//! D. Changes that follow each other, and others who write.

use std::time::Duration;

use serde_json::{Value, json};

use super::{HASH_OF_P1, HASH_OF_P2, Line, Step, line, password, with_variable};
use crate::given::{PAUSE, deployment, hash, secret, secret_of, stateful_set, web};

const WEB: &str = "Deployment/web";
const FIRST: &str = "Deployment/web app[0] +STAKATER_DB_SECRET=p1";
const SECOND: &str = "Deployment/web app[0] STAKATER_DB_SECRET=p2";

pub(super) fn lines() -> Vec<Line> {
    [content(), others(), outages(), pauses(), many()]
        .into_iter()
        .flatten()
        .collect()
}

fn named(number: &'static str, about: &'static str) -> Line {
    line(number, about, [web().named("db")])
}

fn content() -> Vec<Line> {
    let metadata = |part: &str| json!({"metadata": {part: {"something": "else"}}});
    vec![
        named("75a", "a label of the Secret").when([Step::Change("Secret", "db", metadata("labels"))]),
        named("75b", "an annotation of the Secret").when([Step::Change(
            "Secret",
            "db",
            metadata("annotations"),
        )]),
        named("75c", "the same content once more").when([password("p0")]),
        named("76", "two changes at once")
            .when([password("p1"), password("p2")])
            .sees(FIRST)
            .sees(SECOND)
            .event(WEB, "SECRET db", 2),
        named("78", "there and back")
            .when([password("p1"), password("p2"), password("p1")])
            .sees(FIRST)
            .sees(SECOND)
            .sees("Deployment/web app[0] STAKATER_DB_SECRET=p1")
            .event(WEB, "SECRET db", 3),
        line("79", "two Secrets at once", [web().named("db1,db2")])
            .of([secret("db1", "p0"), secret("db2", "p0")])
            .when(["db1", "db2"].map(|name| Step::Data(name, json!({"username": "app_a", "password": "p1"}))))
            .variable(WEB, "app", "DB1", "p1")
            .variable(WEB, "app", "DB2", "p1")
            .event(WEB, "SECRET db1", 1)
            .event(WEB, "SECRET db2", 1),
        named("80", "deleted and created with other content")
            .when([
                Step::Delete("Secret", "db"),
                Step::Create(secret("db", "p1")),
                Step::Settle,
                password("p2"),
            ])
            .variable(WEB, "app", "DB", "p2")
            .event(WEB, "SECRET db", 1),
    ]
}

/// What somebody else writes into the container `app`.
pub(super) fn env(hash: &str) -> Value {
    let variable = json!({"name": "STAKATER_DB_SECRET", "value": hash});
    json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "env": [variable]}]}}}})
}

fn others() -> Vec<Line> {
    let someone = |hash| Step::As("someone", "Deployment", "web", env(hash));
    let mut partial = env(HASH_OF_P1);
    partial["apiVersion"] = "apps/v1".into();
    partial["kind"] = "Deployment".into();
    partial["metadata"] = json!({"name": "web"});
    let in_another = web().auto().pod(json!({"containers": [
        {"name": "a", "image": "none", "env": [{"name": "STAKATER_DB_SECRET", "value": HASH_OF_P1}]},
        {"name": "b", "image": "none", "envFrom": [{"secretRef": {"name": "db"}}]},
    ]}));
    let original = || web().named("db").object();
    vec![
        line(
            "81",
            "the variable is there",
            [with_variable(web().named("db"), HASH_OF_P1)],
        ),
        line("82", "the variable is there, in another container", [in_another]).env(WEB, "b"),
        line(
            "83",
            "the variable is there with another value",
            [with_variable(web().named("db"), "old")],
        )
        .sees("Deployment/web app[1] STAKATER_DB_SECRET=p1")
        .event(WEB, "SECRET db", 1),
        named("84", "the same patch by somebody else afterwards")
            .when([password("p1"), Step::Settle, someone(HASH_OF_P1)])
            .env(WEB, "app"),
        named("85", "the manifest is applied afterwards")
            .when([password("p1"), Step::Settle, Step::Apply("someone", original())])
            .env(WEB, "app"),
        named("86", "the manifest is put afterwards")
            .when([password("p1"), Step::Settle, Step::Replace(original())])
            .env(WEB, "app")
            .sees("Deployment/web app -STAKATER_DB_SECRET"),
        named("87", "the variable is somebody else's")
            .when([someone("theirs"), password("p1")])
            .sees("Deployment/web app[0] +STAKATER_DB_SECRET=theirs, by another")
            .sees("Deployment/web app[0] STAKATER_DB_SECRET=p1")
            .event(WEB, "SECRET db", 1),
        named(
            "88",
            "somebody else has applied the same variable, which is then the last",
        )
        .when([Step::Apply("someone", partial), password("p1")])
        .sees("Deployment/web app[1] +STAKATER_DB_SECRET=p1, by another"),
        named("89", "late for one change that somebody else has handled")
            .when([Step::Freeze, password("p1"), someone(HASH_OF_P1), Step::Thaw])
            .sees("Deployment/web app[0] +STAKATER_DB_SECRET=p1, by another"),
        named("90", "late for two changes that somebody else has handled")
            .when([
                Step::Freeze,
                password("p1"),
                password("p2"),
                someone(HASH_OF_P2),
                Step::Thaw,
            ])
            .sees("Deployment/web app[0] +STAKATER_DB_SECRET=p2, by another")
            .sees("Deployment/web app[0] STAKATER_DB_SECRET=p1")
            .sees("Deployment/web app[0] STAKATER_DB_SECRET=p2")
            .event(WEB, "SECRET db", 2),
    ]
}

fn outages() -> Vec<Line> {
    vec![
        named("91", "two changes while the API server is out of reach")
            .when([Step::CutOff, password("p1"), password("p2"), Step::Reconnect])
            .sees(FIRST)
            .sees(SECOND)
            .event(WEB, "SECRET db", 2),
        named("92", "deleted and created while the API server is out of reach").when([
            Step::CutOff,
            Step::Delete("Secret", "db"),
            Step::Create(secret("db", "p1")),
            Step::Reconnect,
        ]),
    ]
}

fn pauses() -> Vec<Line> {
    let pausing = |period| web().named("db").on(PAUSE, period);
    let paused = |number, about, period| {
        line(number, about, [pausing(period)]).sees("Deployment/web paused, since now")
    };
    let resumed = "Deployment/web resumed, since nothing";
    vec![
        paused("94", "a pause", "1s").env(WEB, "app").sees(resumed),
        paused("95", "another change in a pause", "2s")
            .when([password("p1"), Step::Pass(Duration::from_secs(1)), password("p2")])
            .sees(FIRST)
            .sees(SECOND)
            .sees(resumed)
            .event(WEB, "SECRET db", 2),
        line(
            "96a",
            "a pause on the template",
            [web().named("db").template(PAUSE, "1s")],
        )
        .env(WEB, "app"),
        line(
            "96b",
            "a pause of a StatefulSet",
            [stateful_set("sts").named("db").on(PAUSE, "1s")],
        )
        .env("StatefulSet/sts", "app"),
        line(
            "97",
            "a pause of one that somebody paused",
            [pausing("1s").spec(json!({"paused": true}))],
        )
        .when([password("p1"), Step::Pass(Duration::from_millis(1500))])
        .env(WEB, "app"),
        paused("98", "a pause of no length", "0s")
            .env(WEB, "app")
            .sees(resumed),
        paused("99", "killed in a pause", "1s")
            .when([
                password("p1"),
                Step::Until(FIRST),
                Step::Kill,
                Step::Pass(Duration::from_secs(1)),
                Step::Start,
                Step::Settle,
                password("p2"),
            ])
            .sees(FIRST)
            .sees(resumed)
            .sees(SECOND)
            .event(WEB, "SECRET db", 2),
    ]
}

fn many() -> Vec<Line> {
    let content = |number: u32| json!({"n": number.to_string()});
    let mut loops = line("77", "thirty changes in a row", [web().named("db")])
        .of([secret_of("db", content(0))])
        .when((1..=30).map(|number| Step::Data("db", content(number))));
    for number in 1..=30 {
        let (new, hash) = (if number == 1 { "+" } else { "" }, hash(&format!("n={number}")));
        loops = loops.sees(&format!("Deployment/web app[0] {new}STAKATER_DB_SECRET={hash}"));
    }
    let names: Vec<&'static str> = vec![
        "w-01", "w-02", "w-03", "w-04", "w-05", "w-06", "w-07", "w-08", "w-09", "w-10", "w-11", "w-12",
        "w-13", "w-14", "w-15", "w-16", "w-17", "w-18", "w-19", "w-20",
    ];
    let workloads = names.iter().map(|name| deployment(name).named("db"));
    let other = deployment("a-other").named("other");
    let mut crowd = line(
        "100",
        "many workloads, and another Secret behind them",
        workloads.chain([other]),
    )
    .of([secret("db", "p0"), secret("other", "p0")])
    .when([
        password("p1"),
        Step::Data("other", json!({"username": "app_a", "password": "p1"})),
    ])
    .lasts(Duration::from_millis(1900));
    for name in names {
        crowd = crowd.env(&format!("Deployment/{name}"), "app");
    }
    vec![
        loops.event(WEB, "SECRET db", 25),
        crowd.variable("Deployment/a-other", "app", "OTHER", "p1").event(
            "Deployment/a-other",
            "SECRET other",
            1,
        ),
    ]
}
