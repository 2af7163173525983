//! G. Flags.

use serde_json::{Value, json};

use super::{Line, Step, config_map, line, password};
use crate::given::{
    AUTO, CONFIG_MAP_AUTO, EXCLUDE, Given, IGNORE, NAMED, SECRET_AUTO, cron_job, job, merge, secret, web,
};

const WEB: &str = "Deployment/web";

pub(super) fn everything() -> Vec<Line> {
    let at_second = "Job/cj-* made, app[1] +STAKATER_DB_SECRET=p2";
    vec![
        line("126a", "everything, without a word", [web()]).env(WEB, "app"),
        line(
            "126b",
            "everything, and no reference",
            [web().containers(&["app"])],
        ),
        line("127a", "everything but this one", [web().on(AUTO, "false")]),
        line(
            "127b",
            "everything but the Secrets of this one",
            [web().on(SECRET_AUTO, "false")],
        ),
        line(
            "127c",
            "everything but this one, on the template",
            [web().template(AUTO, "false")],
        ),
        line(
            "128a",
            "everything but the ConfigMaps of this one",
            [web().on(CONFIG_MAP_AUTO, "false")],
        )
        .env(WEB, "app"),
        line(
            "128b",
            "everything, and another by its name",
            [web().named("other")],
        )
        .env(WEB, "app"),
        line(
            "128c",
            "everything but an excluded one",
            [web().on(EXCLUDE, "db")],
        ),
        line("129", "everything, Jobs too", [job("job")])
            .sees("Job/job made again, app[1] +STAKATER_DB_SECRET=p1")
            .event("Job/job", "SECRET db", 1),
        line(
            "130",
            "everything, and Jobs of a CronJob become more",
            [cron_job("cj")],
        )
        .when([
            password("p1"),
            Step::Until("CronJob/cj: Reloaded"),
            password("p2"),
        ])
        .sees("Job/cj-* made, app[1] +STAKATER_DB_SECRET=p1")
        .sees(at_second)
        .sees(at_second)
        .event("CronJob/cj", "SECRET db", 2)
        .event("Job/cj-*", "SECRET db", 1),
    ]
}

pub(super) fn renamed() -> Vec<Line> {
    let marked = |key: &str, number, about| {
        let mut source = secret("db", "p0");
        merge(&mut source, json!({"metadata": {"annotations": {key: "true"}}}));
        line(number, about, [web().on("x.io/reload", "db")]).of([source])
    };
    let found = |workload: Given, number, about| {
        let mut source = secret("db", "p0");
        merge(
            &mut source,
            json!({"metadata": {"annotations": {"x.io/match": "true"}}}),
        );
        line(number, about, [workload]).of([source])
    };
    vec![
        line(
            "131a",
            "a list under the new key",
            [web().on("x.io/reload", "db")],
        )
        .env(WEB, "app"),
        line("131b", "a list under the usual key", [web().named("db")]),
        line(
            "131c",
            "everything, under the new key",
            [web().on("x.io/auto", "true")],
        )
        .env(WEB, "app"),
        line("131d", "everything, under the usual key", [web().auto()]),
        found(
            web().on("x.io/search", "true"),
            "131e",
            "a search under the new keys",
        )
        .env(WEB, "app"),
        line(
            "132",
            "an exclusion under its only key",
            [web().on("x.io/auto", "true").on(EXCLUDE, "db")],
        ),
        marked(IGNORE, "133a", "ignored under the usual key").env(WEB, "app"),
        marked("x.io/ignore", "133b", "ignored under the new key"),
    ]
}

fn labels(labels: &Value) -> Value {
    let mut source = secret("db", "p0");
    source["metadata"]["labels"] = labels.clone();
    source
}

pub(super) fn labelled() -> Vec<Line> {
    let (with, without) = (json!({"reload": "yes"}), json!({}));
    let named = |number, about| line(number, about, [web().named("db")]);
    let also = |label: Value| {
        let data = json!({"username": "app_a", "password": "p1"});
        let labels = json!({"labels": {"reload": label}});
        Step::Change("Secret", "db", json!({"metadata": labels, "stringData": data}))
    };
    vec![
        named("137a", "a Secret with the label")
            .of([labels(&with)])
            .env(WEB, "app"),
        named("137b", "a Secret without the label"),
        named("138a", "a label that comes in the same write")
            .of([labels(&without)])
            .when([also(json!("yes"))]),
        named("138b", "a label that goes in the same write")
            .of([labels(&with)])
            .when([also(json!(null))]),
    ]
}

pub(super) fn without_secrets() -> Vec<Line> {
    let both = web()
        .named("db")
        .on(CONFIG_MAP_AUTO, "true")
        .pod(json!({"containers": [
            {"name": "app", "image": "none", "envFrom": [{"configMapRef": {"name": "cm"}}]},
        ]}));
    vec![
        line("139a", "Secrets are not watched", [both])
            .of([secret("db", "p0"), config_map("1")])
            .when([
                password("p1"),
                Step::Change("ConfigMap", "cm", json!({"data": {"a": "2"}})),
            ])
            .unfenced()
            .sees("Deployment/web app[0] +STAKATER_CM_CONFIGMAP=d6dbf8a400e3e00c352f9ceeca960bdf64ab6377")
            .event(WEB, "CONFIGMAP cm", 1),
    ]
}

pub(super) fn without_jobs() -> Vec<Line> {
    vec![
        line(
            "140a",
            "a Job, and Jobs are not touched",
            [job("job").named("db")],
        ),
        line(
            "140b",
            "a CronJob, and Jobs are not touched",
            [cron_job("cj").named("db").template(NAMED, "db")],
        )
        .sees("Job/cj-* made, app[1] +STAKATER_DB_SECRET=p1")
        .event("CronJob/cj", "SECRET db", 1),
    ]
}

pub(super) fn without_nothing() -> Vec<Line> {
    vec![line("141", "Deployments cannot be left alone", [web().named("db")]).env(WEB, "app")]
}
