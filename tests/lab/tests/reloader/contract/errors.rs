//! E. What goes wrong.

use std::time::Duration;

use serde_json::json;

use super::{Line, Step, config_map, line, password};
use crate::given::{
    CONFIG_MAP_AUTO, EXCLUDE, IGNORE, PAUSE, cron_job, deployment, job, merge, secret, stateful_set, web,
};

const WEB: &str = "Deployment/web";
/// As long as it goes on trying.
const RETRIES: Duration = Duration::from_secs(1);

pub(super) fn lines() -> Vec<Line> {
    let named = |name| deployment(name).named("db");
    // Its patch is refused by the API server: a variable has either a value or a source.
    let denied = named("m-deny").pod(json!({"containers": [{
        "name": "app", "image": "none",
        "env": [{"name": "STAKATER_DB_SECRET", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    }]}));
    vec![
        line(
            "102",
            "a pause that is no duration, and all behind it",
            [
                named("a-bad").on(PAUSE, "5 minutes"),
                named("b-good"),
                stateful_set("sts").named("db"),
            ],
        )
        .when([password("p1"), Step::Pass(RETRIES)]),
        line(
            "103",
            "a patch that is refused, and all behind it",
            [
                named("a-good"),
                denied,
                named("z-good"),
                stateful_set("sts").named("db"),
            ],
        )
        .when([password("p1"), Step::Until("Deployment/m-deny: ReloadFail ×6")])
        .env("Deployment/a-good", "app")
        .sees("Deployment/m-deny: ReloadFail ×6"),
    ]
    .into_iter()
    .chain(expressions())
    .collect()
}

fn expressions() -> Vec<Line> {
    let bad = || deployment("bad").named("other,db-(,db");
    let mut ignored = secret("db", "p0");
    merge(
        &mut ignored,
        json!({"metadata": {"annotations": {IGNORE: "true"}}}),
    );
    vec![
        line("104", "an expression that is none", [bad()]).exits(2),
        line(
            "105",
            "an expression that is none, and a Secret that has nothing to do with it",
            [bad().of("x")],
        )
        .of([secret("db", "p0"), secret("unrelated", "p0")])
        .when([Step::Data("unrelated", json!({"password": "p1"}))])
        .exits(2),
        line(
            "106a",
            "an expression that is none, and a Secret to be ignored",
            [bad()],
        )
        .of([ignored])
        .when([
            password("p1"),
            Step::Pass(RETRIES),
            Step::Delete("Deployment", "bad"),
        ]),
        line(
            "107",
            "an expression that is none behind one that fits",
            [web().named("db,db-(")],
        )
        .when([
            password("p1"),
            Step::Until("Deployment/web: Reloaded"),
            Step::Delete("Deployment", "web"),
        ])
        .env(WEB, "app"),
        line(
            "106b",
            "an expression that is none on one that excludes it",
            [bad().on(EXCLUDE, "db,a-fence"), web().named("db")],
        )
        .env(WEB, "app"),
    ]
}

/// Without rights on Deployments.
pub(super) fn without_deployments() -> Vec<Line> {
    vec![
        line(
            "109",
            "Deployments may not be listed",
            [web().named("db"), stateful_set("sts").named("db")],
        )
        .unfenced()
        .env("StatefulSet/sts", "app"),
    ]
}

/// Without rights on Jobs, and on what makes them.
pub(super) fn without_batch() -> Vec<Line> {
    let jobs = [job("job").named("db"), cron_job("cj").named("db")];
    let others = [web().named("db"), stateful_set("sts").named("db")];
    vec![
        line("110", "Jobs may not be listed", jobs.into_iter().chain(others))
            .env(WEB, "app")
            .env("StatefulSet/sts", "app"),
    ]
}

/// Without rights on Secrets.
pub(super) fn without_secrets() -> Vec<Line> {
    let both = web()
        .named("db")
        .on(CONFIG_MAP_AUTO, "true")
        .pod(json!({"containers": [
            {"name": "app", "image": "none", "envFrom": [{"configMapRef": {"name": "cm"}}]},
        ]}));
    vec![
        line("111", "Secrets may not be watched", [both])
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
