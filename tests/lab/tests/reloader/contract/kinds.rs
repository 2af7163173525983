//! C. Kinds of workloads.

use serde_json::json;

use super::{Line, Step, line, password};
use crate::given::{AUTO, NAMED, cron_job, daemon_set, deployment, job, stateful_set, web};

const WEB: &str = "Deployment/web";

pub(super) fn lines() -> Vec<Line> {
    [templates(), pods(), jobs()].into_iter().flatten().collect()
}

fn templates() -> Vec<Line> {
    vec![
        line("64", "a StatefulSet", [stateful_set("sts").named("db")]).env("StatefulSet/sts", "app"),
        line(
            "65",
            "a StatefulSet whose pods are deleted by hand",
            [stateful_set("sts")
                .named("db")
                .spec(json!({"updateStrategy": {"type": "OnDelete"}}))],
        )
        .env("StatefulSet/sts", "app"),
        line("66", "a DaemonSet", [daemon_set("ds").named("db")]).env("DaemonSet/ds", "app"),
        line(
            "67",
            "all of them on one Secret",
            [
                stateful_set("sts").named("db"),
                daemon_set("ds").named("db"),
                deployment("two").named("db"),
                deployment("one").named("db"),
            ],
        )
        .env("Deployment/one", "app")
        .env("Deployment/two", "app")
        .env("DaemonSet/ds", "app")
        .env("StatefulSet/sts", "app"),
        line(
            "68",
            "a Deployment that somebody paused",
            [web().named("db").spec(json!({"paused": true}))],
        )
        .env(WEB, "app"),
    ]
}

fn pods() -> Vec<Line> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "bare", "annotations": {NAMED: "db", AUTO: "true"}},
        "spec": {"nodeSelector": {"nowhere": "at-all"}, "containers": [
            {"name": "app", "image": "none", "envFrom": [{"secretRef": {"name": "db"}}]},
        ]},
    });
    vec![
        line(
            "69",
            "a Deployment with a pod",
            [web().named("db").spec(json!({"replicas": 1}))],
        )
        .env(WEB, "app"),
        line("70", "a pod that belongs to nobody", []).when([
            Step::Create(pod),
            password("p1"),
            Step::Settle,
            Step::Delete("Pod", "bare"),
        ]),
    ]
}

fn jobs() -> Vec<Line> {
    vec![
        line("71", "a CronJob", [cron_job("cj").named("db")])
            .sees("Job/cj-* made, app[1] +STAKATER_DB_SECRET=p1")
            .event("CronJob/cj", "SECRET db", 1),
        line(
            "72",
            "a CronJob whose Jobs ask too",
            [cron_job("cj").template(NAMED, "db")],
        )
        .when([
            password("p1"),
            Step::Until("CronJob/cj: Reloaded"),
            password("p2"),
        ])
        .sees("Job/cj-* made, app[1] +STAKATER_DB_SECRET=p1")
        .sees("Job/cj-* made, app[1] +STAKATER_DB_SECRET=p2")
        .sees("Job/cj-* made, app[1] +STAKATER_DB_SECRET=p2")
        .event("CronJob/cj", "SECRET db", 2)
        .event("Job/cj-*", "SECRET db", 1),
        line("73", "a Job", [job("job").named("db")])
            .sees("Job/job made again, app[1] +STAKATER_DB_SECRET=p1")
            .event("Job/job", "SECRET db", 1),
    ]
}
