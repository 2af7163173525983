//! H. The other strategy: an annotation on the pod template.

use std::time::Duration;

use serde_json::json;

use super::{HASH_OF_P1, Line, Step, line, password};
use crate::given::{LAST, NAMED, PAUSE, cron_job, daemon_set, job, secret, stateful_set, web};

const WEB: &str = "Deployment/web";
/// A mark has the time in seconds, so the same mark again needs another second.
const SECOND: Duration = Duration::from_millis(1100);

impl Line {
    fn mark(self, workload: &str, password: &str, container: &str) -> Self {
        self.sees(&format!(r#"{workload} SECRET db={password} in ["{container}"]"#))
    }

    fn marked(self, workload: &str, container: &str) -> Self {
        self.mark(workload, "p1", container)
            .event(workload, "SECRET db", 1)
    }
}

fn named(number: &'static str, about: &'static str) -> Line {
    line(number, about, [web().named("db")])
}

pub(super) fn lines() -> Vec<Line> {
    [templates(), jobs(), sequences()].into_iter().flatten().collect()
}

fn templates() -> Vec<Line> {
    let auto = |number, about, containers: &[&'static str]| {
        line(number, about, [web().auto().containers(containers)])
    };
    vec![
        named("149a", "named, and referred to").marked(WEB, "app"),
        line(
            "149b",
            "named, and not referred to",
            [web().named("db").containers(&["app"])],
        )
        .marked(WEB, "app"),
        line("149c", "named on the template", [web().template(NAMED, "db")]).marked(WEB, "app"),
        auto("150a", "the one that reads it", &["a", "b env"]).marked(WEB, "b"),
        auto("150b", "only an init container", &["init:setup env", "a", "b"]).marked(WEB, "a"),
        auto("151", "no reference", &["app"]),
        line("152a", "a StatefulSet", [stateful_set("sts").named("db")]).marked("StatefulSet/sts", "app"),
        line("152b", "a DaemonSet", [daemon_set("ds").named("db")]).marked("DaemonSet/ds", "app"),
    ]
}

fn jobs() -> Vec<Line> {
    let made = r#"Job/cj-* made, SECRET db=p1 in ["app"]"#;
    vec![
        line("153a", "a CronJob", [cron_job("cj").named("db")])
            .sees(made)
            .event("CronJob/cj", "SECRET db", 1),
        line("153b", "a Job", [job("job").named("db")])
            .sees(r#"Job/job made again, SECRET db=p1 in ["app"]"#)
            .event("Job/job", "SECRET db", 1),
        line(
            "154",
            "a CronJob whose Jobs ask too",
            [cron_job("cj").template(NAMED, "db")],
        )
        .sees(made)
        .sees(made)
        .event("CronJob/cj", "SECRET db", 1)
        .event("Job/cj-*", "SECRET db", 1),
    ]
}

fn sequences() -> Vec<Line> {
    let metadata = json!({"metadata": {"labels": {"something": "else"}}});
    let old = format!(
        r#"{{"type":"SECRET","name":"db","namespace":"n","hash":"{HASH_OF_P1}","containerRefs":["app"],"observedAt":1}}"#
    );
    let manifest = web().named("db").object();
    vec![
        line(
            "155",
            "the same content is marked already",
            [web().named("db").template(LAST, &old)],
        )
        .marked(WEB, "app"),
        named("156a", "two changes at once")
            .when([password("p1"), password("p2")])
            .mark(WEB, "p1", "app")
            .mark(WEB, "p2", "app")
            .event(WEB, "SECRET db", 2),
        named("156b", "there and back")
            .when([password("p1"), password("p2"), password("p1")])
            .mark(WEB, "p1", "app")
            .mark(WEB, "p2", "app")
            .mark(WEB, "p1", "app")
            .event(WEB, "SECRET db", 3),
        line("157", "two Secrets at once", [web().named("db1,db2")])
            .of([secret("db1", "p0"), secret("db2", "p0")])
            .when(["db1", "db2"].map(|name| Step::Data(name, json!({"username": "app_a", "password": "p1"}))))
            .sees(r#"Deployment/web SECRET db1=p1 in ["app"]"#)
            .sees(r#"Deployment/web SECRET db2=p1 in ["app"]"#)
            .event(WEB, "SECRET db1", 1)
            .event(WEB, "SECRET db2", 1),
        named("158", "a label of the Secret").when([Step::Change("Secret", "db", metadata)]),
        line("159", "a pause", [web().named("db").on(PAUSE, "1s")])
            .sees("Deployment/web paused, since now")
            .marked(WEB, "app")
            .sees("Deployment/web resumed, since nothing"),
        named("160", "the manifest is applied afterwards")
            .when([password("p1"), Step::Settle, Step::Apply("someone", manifest)])
            .marked(WEB, "app"),
        named("163", "late for one change that somebody else has handled")
            .when([
                Step::Freeze,
                password("p1"),
                Step::Mark("someone", "web", HASH_OF_P1),
                Step::Pass(SECOND),
                Step::Thaw,
            ])
            .sees(r#"Deployment/web SECRET db=p1 in ["app"], by another"#)
            .marked(WEB, "app"),
        named("164", "changed while it was down").when([Step::Kill, password("p1"), Step::Start]),
    ]
}

/// With all flags about starts, creation and deletion.
pub(super) fn every_start() -> Vec<Line> {
    vec![
        named("117", "two starts and nothing else")
            .when([
                Step::Kill,
                Step::Start,
                Step::Until("Deployment/web: Reloaded"),
                Step::Pass(SECOND),
                Step::Kill,
                Step::Start,
            ])
            .mark(WEB, "p0", "app")
            .mark(WEB, "p0", "app")
            .event(WEB, "SECRET db", 2),
        named("121", "deleted")
            .when([Step::Delete("Secret", "db")])
            .mark(WEB, "deleted", "app")
            .event(WEB, "SECRET db", 1),
    ]
}
