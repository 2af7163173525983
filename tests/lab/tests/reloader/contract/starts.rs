//! F. Being down, starting, and what is created and deleted.

use super::{HASH_OF_P1, Line, Step, line, password, with_variable};
use crate::given::{hash, secret, web};

const WEB: &str = "Deployment/web";

fn named(number: &'static str, about: &'static str) -> Line {
    line(number, about, [web().named("db")])
}

fn while_down(number: &'static str, about: &'static str) -> Line {
    named(number, about).when([Step::Kill, password("p1"), Step::Start])
}

/// The Secret is deleted and created with this password.
fn anew(password: &str) -> [Step; 2] {
    [Step::Delete("Secret", "db"), Step::Create(secret("db", password))]
}

/// One whose variable says what the Secret has at first.
fn marked(number: &'static str, about: &'static str) -> Line {
    let hash = hash("password=p0;username=app_a");
    line(number, about, [with_variable(web().named("db"), &hash)])
}

pub(super) fn down() -> Vec<Line> {
    vec![while_down("112", "changed while it was down")]
}

pub(super) fn down_with_sync() -> Vec<Line> {
    vec![while_down("113a", "changed while it was down, with the one flag")]
}

pub(super) fn creation() -> Vec<Line> {
    vec![
        while_down("113b", "changed while it was down, with the other flag"),
        named("118a", "created after the workload")
            .of([])
            .when([Step::Create(secret("db", "p1"))])
            .env(WEB, "app"),
        named("118b", "deleted and created with other content")
            .when(anew("p1"))
            .env(WEB, "app"),
        marked("119", "deleted and created with the same content").when(anew("p0")),
    ]
}

pub(super) fn both() -> Vec<Line> {
    let someone = Step::As("someone", "Deployment", "web", super::sequences::env(HASH_OF_P1));
    vec![
        while_down("114", "changed while it was down, and started once more")
            .when([
                Step::Kill,
                password("p1"),
                Step::Start,
                Step::Until("Deployment/web: Reloaded"),
                Step::Kill,
                Step::Start,
            ])
            .env(WEB, "app"),
        named("115", "a start and nothing else")
            .when([Step::Kill, Step::Start])
            .variable(WEB, "app", "DB", "p0")
            .event(WEB, "SECRET db", 1),
        named("116", "somebody else has handled the change while it was down")
            .when([Step::Kill, password("p1"), someone, Step::Start])
            .sees("Deployment/web app[0] +STAKATER_DB_SECRET=p1, by another"),
    ]
}

pub(super) fn no_creation() -> Vec<Line> {
    vec![
        named("124", "created, with a flag that only looks as if it were on")
            .of([])
            .when([Step::Create(secret("db", "p1"))]),
    ]
}

pub(super) fn deletion() -> Vec<Line> {
    let deleted = || [Step::Delete("Secret", "db")];
    vec![
        marked("120a", "deleted, with the variable")
            .when(deleted())
            .sees("Deployment/web app -STAKATER_DB_SECRET")
            .event(WEB, "SECRET db", 1),
        named("120b", "deleted, without the variable").when(deleted()),
    ]
}

pub(super) fn creation_of_secrets_only() -> Vec<Line> {
    vec![
        named("122a", "created, and ConfigMaps are not watched")
            .of([])
            .when([Step::Create(secret("db", "p1"))]),
        named("122b", "changed, and ConfigMaps are not watched").env(WEB, "app"),
    ]
}

pub(super) fn creation_of_secrets_only_with_sync() -> Vec<Line> {
    vec![
        named(
            "123",
            "created, and ConfigMaps are not watched, with the other flag",
        )
        .of([])
        .when([Step::Create(secret("db", "p1"))])
        .env(WEB, "app"),
    ]
}
