//! B. What annotations say, and in which order they are asked.

use serde_json::json;

use super::{Line, Step, line};
use crate::given::{
    AUTO, CONFIG_MAP_AUTO, EXCLUDE, Given, IGNORE, MATCH, NAMED, SEARCH, SECRET_AUTO, merge, secret, web,
};

const WEB: &str = "Deployment/web";

/// The Secret's name is on this list, or not.
fn listed(number: &'static str, list: &str) -> Line {
    line(number, "a list of names", [web().named(list)])
}

/// The same of a Secret `db-main`.
fn listed_main(number: &'static str, list: &str) -> Line {
    line(number, "a list of names", [web().named(list)])
        .of([secret("db-main", "p0")])
        .when([Step::Data(
            "db-main",
            json!({"username": "app_a", "password": "p1"}),
        )])
}

fn main_env(line: Line) -> Line {
    line.variable(WEB, "app", "DB_MAIN", "p1")
        .event(WEB, "SECRET db-main", 1)
}

/// A Deployment and a Secret with something in its metadata.
fn marked(number: &'static str, about: &'static str, workload: Given, metadata: serde_json::Value) -> Line {
    let mut source = secret("db", "p0");
    merge(&mut source["metadata"], metadata);
    line(number, about, [workload]).of([source])
}

pub(super) fn lines() -> Vec<Line> {
    [
        lists(),
        search(),
        exclusion(),
        ignorance(),
        automatism(),
        sources(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn lists() -> Vec<Line> {
    vec![
        listed("28", "other, db ,third").env(WEB, "app"),
        listed("29", "other db third"),
        listed("30", "x,\n  db\n").env(WEB, "app"),
        main_env(listed_main("31", "x,db-.*")),
        listed_main("32", "db"),
        main_env(listed_main("33", "db|x")),
        listed_main("34", "(db|x)"),
        main_env(listed_main("35", "db.main")),
        listed("36a", "DB"),
        listed("36b", "(?i)DB").env(WEB, "app"),
        listed("37", "^db$").env(WEB, "app"),
        line("38", "every name", [web().named(".*").containers(&["app"])]).env(WEB, "app"),
        line("39", "a star alone, which is every name too", [web().named("*")]).env(WEB, "app"),
        listed_main("40", "db*"),
        listed_main("41", "db-[a-z]{1,4}"),
        line("42", "an empty list", [web().named("").template(NAMED, "db")]),
    ]
}

fn search() -> Vec<Line> {
    let yes = json!({"annotations": {MATCH: "true"}});
    let searching = || web().on(SEARCH, "true");
    vec![
        marked(
            "43",
            "one that searches, and one to be found",
            searching(),
            yes.clone(),
        )
        .env(WEB, "app"),
        line("44a", "one that searches", [searching()]),
        marked("44b", "one to be found", web(), yes.clone()),
        marked(
            "45",
            "found, and not referred to",
            searching().containers(&["app"]),
            yes.clone(),
        ),
        marked("46", "another spelling", web().on(SEARCH, "True"), yes),
    ]
}

fn exclusion() -> Vec<Line> {
    vec![
        line("47", "everything but it", [web().auto().on(EXCLUDE, "other, db")]),
        line("48", "named and excluded", [web().named("db").on(EXCLUDE, "db")]),
        line(
            "49",
            "an exclusion is no expression",
            [web().auto().on(EXCLUDE, "d.*")],
        )
        .env(WEB, "app"),
        line(
            "50",
            "an exclusion on the template",
            [web().template(AUTO, "true").template(EXCLUDE, "db")],
        )
        .env(WEB, "app"),
        line(
            "51",
            "an exclusion beside a template that asks",
            [web().on(EXCLUDE, "db").template(AUTO, "true")],
        ),
    ]
}

fn ignorance() -> Vec<Line> {
    let ignored = json!({"annotations": {IGNORE: "true"}});
    let also = |ignore: serde_json::Value| {
        let metadata = json!({"annotations": {IGNORE: ignore}});
        let data = json!({"username": "app_a", "password": "p1"});
        Step::Change("Secret", "db", json!({"metadata": metadata, "stringData": data}))
    };
    let named = || web().named("db");
    vec![
        marked("52", "a Secret that is to be ignored", named(), ignored.clone()),
        marked(
            "53a",
            "another spelling",
            named(),
            json!({"annotations": {IGNORE: "True"}}),
        )
        .env(WEB, "app"),
        marked("53b", "as a label", named(), json!({"labels": {IGNORE: "true"}})).env(WEB, "app"),
        line("53c", "on the workload", [named().on(IGNORE, "true")]).env(WEB, "app"),
        marked("54a", "not ignored any more, in the same write", named(), ignored)
            .when([also(json!(null))])
            .env(WEB, "app"),
        line("54b", "ignored from now on, in the same write", [named()]).when([also(json!("true"))]),
    ]
}

fn automatism() -> Vec<Line> {
    vec![
        line(
            "55",
            "not everything, but it",
            [web().on(AUTO, "false").named("db")],
        )
        .env(WEB, "app"),
        line(
            "56",
            "not everything, but all Secrets",
            [web().on(AUTO, "false").on(SECRET_AUTO, "true")],
        )
        .env(WEB, "app"),
        line("57a", "all Secrets", [web().on(SECRET_AUTO, "true")]).env(WEB, "app"),
        line("57b", "all ConfigMaps", [web().on(CONFIG_MAP_AUTO, "true")]),
        line("58a", "another word for yes", [web().on(AUTO, "T")]).env(WEB, "app"),
        line("58b", "no word for yes", [web().on(AUTO, "yes")]),
        line("58c", "as a label", [web().label(AUTO, "true")]),
    ]
}

fn sources() -> Vec<Line> {
    vec![
        line(
            "59a",
            "everything, on the template",
            [web().template(AUTO, "true")],
        )
        .env(WEB, "app"),
        line("59b", "named, on the template", [web().template(NAMED, "db")]).env(WEB, "app"),
        line(
            "60",
            "a no of its own",
            [web().on(AUTO, "false").template(NAMED, "db")],
        ),
        line(
            "61",
            "another list of its own",
            [web().named("other").template(NAMED, "db")],
        ),
        line(
            "62",
            "its own about ConfigMaps",
            [web().on(CONFIG_MAP_AUTO, "true").template(NAMED, "db")],
        )
        .env(WEB, "app"),
        line(
            "63",
            "a search of its own",
            [web().on(SEARCH, "false").template(NAMED, "db")],
        ),
    ]
}
