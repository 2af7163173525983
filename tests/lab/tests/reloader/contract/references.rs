//! A. References, hashes and names.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::{Line, Step, config_map, line};
use crate::given::{secret, secret_of, web};

const WEB: &str = "Deployment/web";

fn hashed(number: &'static str, about: &'static str, data: Value, hash: &str) -> Line {
    line(number, about, [web().named("db")])
        .when([Step::Data("db", data)])
        .variable(WEB, "app", "DB", hash)
        .event(WEB, "SECRET db", 1)
}

/// A Deployment that asks for everything, with these containers.
fn auto(number: &'static str, about: &'static str, containers: &[&'static str]) -> Line {
    line(number, about, [web().auto().containers(containers)])
}

pub(super) fn lines() -> Vec<Line> {
    [hashes(), names(), containers(), config_maps()]
        .into_iter()
        .flatten()
        .collect()
}

fn hashes() -> Vec<Line> {
    let raw =
        json!({"data": {"username": null, "password": null, "k": ByteString(vec![0, 0xff, 1]), "e": ""}});
    vec![
        line("1", "a Secret that is named and used", [web().named("db")]).env(WEB, "app"),
        hashed("2", "no content", json!({}), "nothing"),
        line("3", "bytes that are no text", [web().named("db")])
            .when([Step::Change("Secret", "db", raw)])
            .variable(WEB, "app", "DB", "1bb71876ae25fe3aeb736ef2b0213e6d738964fd")
            .event(WEB, "SECRET db", 1),
        hashed(
            "4",
            "values with the signs between values",
            json!({"a": "x\n", "b": "é=;"}),
            "77871f4a3d24c2c37bcae42699bb5c44eb0cd527",
        ),
        line("5", "two contents that come to the same", [web().named("db")])
            .of([secret_of("db", json!({"a": "1", "b": "2"}))])
            .when([Step::Data("db", json!({"a": "1;b=2"}))]),
        hashed(
            "6a",
            "another password",
            json!({"username": "app_a", "password": "p2"}),
            "p2",
        ),
        hashed(
            "6b",
            "one key",
            json!({"a": "1"}),
            "86eda770a6060824b090dd4df091e3bd4121279c",
        ),
        hashed(
            "6c",
            "another value of it",
            json!({"a": "2"}),
            "d6dbf8a400e3e00c352f9ceeca960bdf64ab6377",
        ),
    ]
}

fn names() -> Vec<Line> {
    let named = |number, about, name: &'static str, variable: &str| {
        line(number, about, [web().named(name).of(name)])
            .of([secret(name, "p0")])
            .when([Step::Data(name, json!({"username": "app_a", "password": "p1"}))])
            .variable(WEB, "app", variable, "p1")
            .event(WEB, &format!("SECRET {name}"), 1)
    };
    let change = |name, password: &str| Step::Data(name, json!({"username": "app_a", "password": password}));
    vec![
        named("7", "a name with signs", "db.prod--x-1", "DB_PROD_X_1"),
        named("8", "a name that begins with a figure", "9db", "9DB"),
        line("9", "two names with one variable", [web().named("db-a,db.a")])
            .of([secret("db-a", "p0"), secret("db.a", "p0")])
            .when([change("db-a", "p1"), change("db.a", "p2")])
            .variable(WEB, "app", "DB_A", "p1")
            .sees("Deployment/web app[0] STAKATER_DB_A_SECRET=p2")
            .event(WEB, "SECRET db-a", 1)
            .event(WEB, "SECRET db.a", 1),
    ]
}

fn containers() -> Vec<Line> {
    let volumes = json!({"volumes": [
        {"name": "one", "secret": {"secretName": "db"}},
        {"name": "two", "secret": {"secretName": "db"}},
    ], "containers": [{
        "name": "app", "image": "none",
        "volumeMounts": [{"name": "two", "mountPath": "/data"}],
    }]});
    let unmounted = json!({"volumes": [{"name": "one", "secret": {"secretName": "db"}}]});
    vec![
        auto("10", "the first of two that read it", &["a", "b env", "c env"]).env(WEB, "b"),
        auto("11", "the whole Secret as environment", &["a", "b envFrom"]).env(WEB, "b"),
        auto("12", "a volume", &["a", "b volume"]).env(WEB, "b"),
        auto("13", "a projected volume", &["a", "b projected"]).env(WEB, "b"),
        auto("14", "a part of a volume", &["a", "b subPath"]).env(WEB, "b"),
        auto(
            "15",
            "the environment of an init container",
            &["init:setup env", "a", "b"],
        )
        .env(WEB, "a"),
        auto(
            "16",
            "the volume of an init container",
            &["init:setup volume", "a", "b"],
        )
        .env(WEB, "a"),
        auto("17", "a sidecar", &["sidecar:proxy env", "a", "b"]).env(WEB, "a"),
        auto(
            "18",
            "an init container's volume wins",
            &["init:setup volume", "a", "b env"],
        )
        .env(WEB, "a"),
        auto(
            "19",
            "a volume wins over an earlier environment",
            &["a env", "b volume"],
        )
        .env(WEB, "b"),
        line(
            "20",
            "a volume that nobody mounts",
            [web().auto().containers(&["app"]).pod(unmounted)],
        ),
        line("21", "the second of two volumes", [web().auto().pod(volumes)]),
        line(
            "22",
            "a Secret to pull images with",
            [web()
                .auto()
                .containers(&["app"])
                .pod(json!({"imagePullSecrets": [{"name": "db"}]}))],
        ),
        auto("23", "no reference", &["app"]),
        line(
            "24",
            "named, and not referred to",
            [web().named("db").containers(&["a", "b"])],
        )
        .env(WEB, "a"),
        line(
            "25",
            "named, and referred to by the second",
            [web().named("db").containers(&["a", "b env"])],
        )
        .env(WEB, "b"),
    ]
}

fn config_maps() -> Vec<Line> {
    let whole = json!({"containers": [
        {"name": "app", "image": "none", "envFrom": [{"configMapRef": {"name": "cm"}}]},
    ]});
    let of_the_same_name = json!({"containers": [
        {"name": "app", "image": "none", "envFrom": [{"configMapRef": {"name": "db"}}]},
    ]});
    vec![
        line("26", "a ConfigMap", [web().auto().pod(whole)])
            .of([config_map("1")])
            .when([Step::Change("ConfigMap", "cm", json!({"data": {"a": "2"}}))])
            .sees("Deployment/web app[0] +STAKATER_CM_CONFIGMAP=d6dbf8a400e3e00c352f9ceeca960bdf64ab6377")
            .event(WEB, "CONFIGMAP cm", 1),
        line(
            "27",
            "a ConfigMap of the Secret's name",
            [web().auto().pod(of_the_same_name)],
        ),
    ]
}
