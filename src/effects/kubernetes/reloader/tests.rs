use k8s_openapi::api::core::v1::{PodTemplateSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::decision::{Verdict, verdict};
use super::marker::Marker;
use super::options::{Options, Published, Strategy, confined_to};
use super::pattern::compile;
use super::selector::selects;
use crate::effects::kubernetes::fixtures::{object, over};

const NAMED: &str = "secret.reloader.stakater.com/reload";
const AUTO: &str = "reloader.stakater.com/auto";
const SECRET_AUTO: &str = "secret.reloader.stakater.com/auto";
const SEARCH: &str = "reloader.stakater.com/search";
const MATCH: &str = "reloader.stakater.com/match";
const IGNORE: &str = "reloader.stakater.com/ignore";
const EXCLUDE: &str = "secrets.exclude.reloader.stakater.com/reload";

/// A container that uses Secret `db` by one variable, or by nothing.
fn container(name: &str, uses: bool) -> Value {
    let from = json!([{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]);
    if uses {
        json!({"name": name, "env": from})
    } else {
        json!({"name": name})
    }
}

/// A workload with one container that uses Secret `db`, with the annotations of itself, its template and the Secret.
struct Case {
    secret: &'static str,
    of_secret: Value,
    own: Value,
    template: Value,
    spec: Value,
    options: Options,
}

impl Case {
    fn new(own: Value) -> Self {
        Self {
            secret: "db",
            of_secret: json!({}),
            own,
            template: json!({}),
            spec: json!({"containers": [container("app", true)]}),
            options: Options::default(),
        }
    }

    fn template(self, template: Value) -> Self {
        Self { template, ..self }
    }

    fn secret(self, secret: &'static str) -> Self {
        Self { secret, ..self }
    }

    fn of_secret(self, of_secret: Value) -> Self {
        Self { of_secret, ..self }
    }

    fn spec(self, spec: Value) -> Self {
        Self { spec, ..self }
    }

    fn told(self, options: &Value) -> Self {
        let options = Published::read(&options.to_string()).unwrap().options;
        Self { options, ..self }
    }

    /// The container that is written to, if any is.
    fn writes_to(&self) -> Option<String> {
        let secret: ObjectMeta = object(json!({"name": self.secret, "annotations": self.of_secret}));
        let own: ObjectMeta = object(json!({"annotations": self.own}));
        let template: PodTemplateSpec =
            object(json!({"metadata": {"annotations": self.template}, "spec": self.spec}));
        match verdict(&self.options, &secret, &own, &template) {
            Verdict::Restarts { container } => Some(container.to_owned()),
            Verdict::Leaves(_) => None,
        }
    }
}

fn auto() -> Case {
    Case::new(json!({AUTO: "true"}))
}

fn named(list: &str) -> Case {
    Case::new(json!({NAMED: list}))
}

#[test]
fn case22_case23_the_container_is_the_one_that_was_observed() {
    let mount = |name: &str| json!({"name": name, "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let volume = json!([{"name": "v", "secret": {"secretName": "db"}}]);
    let projected = json!([{"name": "v", "projected": {"sources": [{"secret": {"name": "db"}}]}}]);
    let plain = |name| container(name, false);
    let using = |name| container(name, true);
    let whole = json!({"name": "b", "envFrom": [{"secretRef": {"name": "db"}}]});
    let cases = [
        (
            10,
            json!({"containers": [plain("a"), using("b"), using("c")]}),
            Some("b"),
        ),
        (11, json!({"containers": [plain("a"), whole]}), Some("b")),
        (
            12,
            json!({"containers": [plain("a"), mount("b")], "volumes": volume}),
            Some("b"),
        ),
        (
            13,
            json!({"containers": [plain("a"), mount("b")], "volumes": projected}),
            Some("b"),
        ),
        (
            15,
            json!({"containers": [plain("a"), plain("b")], "initContainers": [using("i")]}),
            Some("a"),
        ),
        (
            16,
            json!({"containers": [plain("a")], "initContainers": [mount("i")], "volumes": volume}),
            Some("a"),
        ),
        (
            17,
            json!({"containers": [plain("a")], "initContainers": [over(using("i"), json!({"restartPolicy": "Always"}))]}),
            Some("a"),
        ),
        (
            18,
            json!({"containers": [plain("a"), using("b")], "initContainers": [mount("i")], "volumes": volume}),
            Some("a"),
        ),
        (
            19,
            json!({"containers": [using("a"), mount("b")], "volumes": volume}),
            Some("b"),
        ),
        (20, json!({"containers": [plain("a")], "volumes": volume}), None),
        (
            21,
            json!({"containers": [mount("a")], "volumes": [
                {"name": "u", "secret": {"secretName": "db"}}, {"name": "v", "secret": {"secretName": "db"}},
            ]}),
            None,
        ),
        (
            22,
            json!({"containers": [plain("a")], "imagePullSecrets": [{"name": "db"}]}),
            None,
        ),
        (23, json!({"containers": [plain("a")]}), None),
    ];
    for (number, spec, expected) in cases {
        assert_eq!(
            auto().spec(spec).writes_to().as_deref(),
            expected,
            "observation {number}"
        );
    }
    let unreferenced = json!({"containers": [plain("a"), plain("b")]});
    assert_eq!(
        named("db").spec(unreferenced).writes_to().as_deref(),
        Some("a"),
        "24"
    );
    let second = json!({"containers": [plain("a"), using("b")]});
    assert_eq!(named("db").spec(second).writes_to().as_deref(), Some("b"), "25");
}

#[test]
fn case25_lists_of_names_are_read_as_observed() {
    let cases = [
        (28, "other, db ,third", "db", true),
        (29, "other db third", "db", false),
        (30, "x,\n  db\n", "db", true),
        (31, "x,db-.*", "db-main", true),
        (32, "db", "db-main", false),
        (33, "db|x", "db-main", true),
        (34, "(db|x)", "db-main", false),
        (35, "db.main", "db-main", true),
        (36, "DB", "db", false),
        (36, "(?i)DB", "db", true),
        (37, "^db$", "db", true),
        (38, ".*", "db", true),
        (39, "*", "db", true),
        (40, "db*", "db-main", false),
        (41, "db-[a-z]{1,4}", "db-main", false),
        (42, "", "db", false),
        // The fix after v1.4.21: an element that cannot be read is left out, and the others still count.
        (104, "other,db-(,db", "db", true),
        (107, "db,db-(", "db", true),
    ];
    for (number, list, secret, expected) in cases {
        let restarts = named(list).secret(secret).writes_to().is_some();
        assert_eq!(restarts, expected, "observation {number}: {list:?} and {secret}");
    }
}

#[test]
fn a_brace_that_begins_no_repetition_and_brackets_in_a_class_are_text() {
    for (element, name, expected) in [
        ("db-[a-z]{1", "db-x{1", true),
        ("db-[a-z]{1}", "db-x", true),
        ("db-[a-z]{2,3}", "db-xyz", true),
        ("db-[a-z]{2,}", "db-x", false),
        ("db[[]x", "db[x", true),
        ("db[&&]x", "db&x", true),
        ("db[[:digit:]]", "db7", true),
        (r"db\x{61}", "dba", true),
        (r"db\{1}", "db{1}", true),
        ("db[]x]", "db]", true),
        ("db-.*?x+?", "db-ax", true),
        ("db-[**]", "db-*", true),
        (r"db\**", "db**", true),
        ("db-{*", "db-{{", true),
    ] {
        let pattern = compile(element).unwrap_or_else(|| panic!("{element} cannot be read"));
        assert_eq!(
            pattern.is_match(name.as_bytes()),
            expected,
            "{element} and {name}"
        );
    }
    // Go knows no repetition of a repetition, which is what a glob of a shell looks like.
    for element in [
        "db-(",
        "db)",
        "[a",
        "db-**",
        "db-.*+",
        "db-x{2}{3}",
        "db-x+{2}",
        "db-.*??",
    ] {
        assert!(compile(element).is_none(), "{element}");
    }
}

#[test]
fn case24_case26_annotations_count_as_observed() {
    let unreferenced = || json!({"containers": [container("app", false)]});
    let matching = || json!({MATCH: "true"});
    let search = || Case::new(json!({SEARCH: "true"}));
    let typed = "configmap.reloader.stakater.com/auto";
    let cases = [
        (43, search().of_secret(matching()), true),
        (44, search(), false),
        (44, Case::new(json!({})).of_secret(matching()), false),
        (45, search().of_secret(matching()).spec(unreferenced()), false),
        (
            46,
            Case::new(json!({SEARCH: "True"})).of_secret(matching()),
            false,
        ),
        (47, Case::new(json!({AUTO: "true", EXCLUDE: "other, db"})), false),
        (48, Case::new(json!({NAMED: "db", EXCLUDE: "db"})), false),
        (49, Case::new(json!({AUTO: "true", EXCLUDE: "d.*"})), true),
        (
            50,
            Case::new(json!({})).template(json!({AUTO: "true", EXCLUDE: "db"})),
            true,
        ),
        (
            51,
            Case::new(json!({EXCLUDE: "db"})).template(json!({AUTO: "true"})),
            false,
        ),
        (52, named("db").of_secret(json!({IGNORE: "true"})), false),
        (53, named("db").of_secret(json!({IGNORE: "True"})), true),
        (53, Case::new(json!({NAMED: "db", IGNORE: "true"})), true),
        (55, Case::new(json!({AUTO: "false", NAMED: "db"})), true),
        (56, Case::new(json!({AUTO: "false", SECRET_AUTO: "true"})), true),
        (57, Case::new(json!({SECRET_AUTO: "true"})), true),
        (57, Case::new(json!({typed: "true"})), false),
        (58, Case::new(json!({AUTO: "T"})), true),
        (58, Case::new(json!({AUTO: "yes"})), false),
        (59, Case::new(json!({})).template(json!({AUTO: "true"})), true),
        (59, Case::new(json!({})).template(json!({NAMED: "db"})), true),
        (
            60,
            Case::new(json!({AUTO: "false"})).template(json!({NAMED: "db"})),
            false,
        ),
        (61, named("other").template(json!({NAMED: "db"})), false),
        (
            62,
            Case::new(json!({typed: "true"})).template(json!({NAMED: "db"})),
            true,
        ),
        (
            63,
            Case::new(json!({SEARCH: "false"})).template(json!({NAMED: "db"})),
            false,
        ),
    ];
    for (number, case, expected) in cases {
        assert_eq!(case.writes_to().is_some(), expected, "observation {number}");
    }
}

#[test]
fn flags_count_as_observed() {
    let all = json!({"autoReloadAll": true});
    let typed = "configmap.reloader.stakater.com/auto";
    let renamed = json!({
        "secretUpdateOnChangeAnnotation": "x.io/reload", "reloaderAutoAnnotation": "x.io/auto",
        "secretReloaderAutoAnnotation": "x.io/secret-auto", "ignoreResourceAnnotation": "x.io/ignore",
    });
    let none = || Case::new(json!({}));
    let unreferenced = json!({"containers": [container("app", false)]});
    let cases = [
        (126, none().told(&all), true),
        (126, none().spec(unreferenced).told(&all), false),
        (127, Case::new(json!({AUTO: "false"})).told(&all), false),
        (127, Case::new(json!({SECRET_AUTO: "false"})).told(&all), false),
        (127, none().template(json!({AUTO: "false"})).told(&all), false),
        (128, Case::new(json!({typed: "false"})).told(&all), true),
        (128, named("other").told(&all), true),
        (128, Case::new(json!({EXCLUDE: "db"})).told(&all), false),
        (131, Case::new(json!({"x.io/auto": "true"})).told(&renamed), true),
        (
            131,
            Case::new(json!({AUTO: "true", NAMED: "db"})).told(&renamed),
            false,
        ),
        (
            132,
            Case::new(json!({"x.io/auto": "true", EXCLUDE: "db"})).told(&renamed),
            false,
        ),
        (
            133,
            Case::new(json!({"x.io/reload": "db"}))
                .of_secret(json!({IGNORE: "true"}))
                .told(&renamed),
            true,
        ),
    ];
    for (number, case, expected) in cases {
        assert_eq!(case.writes_to().is_some(), expected, "observation {number}");
    }
}

#[test]
fn case30_case32_what_an_instance_looks_at_is_as_observed() {
    let secret = |labels: Value| -> ObjectMeta { object(json!({"name": "db", "labels": labels})) };
    let namespace = |labels: Value| -> ObjectMeta { object(json!({"name": "shop", "labels": labels})) };
    let sees = |options: Value, confined: &[&str], of_namespace: Value, of_secret: Value| {
        let mut sight = Published::read(&options.to_string()).unwrap().sight;
        sight.namespaces = confined.iter().map(ToString::to_string).collect();
        sight.covers(&namespace(of_namespace), &secret(of_secret))
    };
    let none = || json!({});
    assert!(sees(none(), &[], none(), none()));
    assert!(
        !sees(json!({"namespacesToIgnore": ["shop"]}), &[], none(), none()),
        "134"
    );
    let selector = || json!({"namespaceSelectors": ["team=a"]});
    assert!(sees(selector(), &[], json!({"team": "a"}), none()), "135");
    assert!(!sees(selector(), &[], json!({"team": "b"}), none()), "136");
    let labelled = || json!({"resourceSelectors": ["reload=yes"]});
    assert!(sees(labelled(), &[], none(), json!({"reload": "yes"})), "137");
    assert!(!sees(labelled(), &[], none(), none()), "137");
    assert!(
        !sees(json!({"resourcesToIgnore": ["secrets"]}), &[], none(), none()),
        "139"
    );
    assert!(
        sees(json!({"resourcesToIgnore": ["configMaps"]}), &[], none(), none()),
        "122"
    );
    assert!(
        !sees(json!({"webhookUrl": "http://hook"}), &[], none(), none()),
        "142"
    );
    assert!(!sees(none(), &["other"], none(), none()), "146");
    let listed = json!({"namespacesToIgnore": ["shop"]});
    assert!(sees(listed, &["shop", "other"], none(), none()), "147");
}

#[test]
fn the_namespaces_it_is_confined_to_are_read_from_its_deployment() {
    let confined = |container: Value| {
        confined_to(&object(json!({
            "metadata": {"name": "reloader", "namespace": "ops"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [over(json!({"name": "c"}), container)]}}},
        })))
    };
    assert_eq!(confined(json!({})), [""; 0]);
    assert_eq!(
        confined(json!({"args": ["--namespaces=a,b", "--log-level=info"]})),
        ["a", "b"]
    );
    assert_eq!(confined(json!({"args": ["--namespaces", "a"]})), ["a"]);
    assert_eq!(confined(json!({"args": ["--namespaces-to-ignore=a"]})), [""; 0]);
    let by_name = json!({"env": [{"name": "KUBERNETES_NAMESPACE", "value": "a"}]});
    assert_eq!(confined(by_name), ["a"]);
    let by_field = json!({"env": [{"name": "KUBERNETES_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]});
    assert_eq!(confined(by_field), ["ops"]);
    let both = json!({"args": ["--namespaces=b"], "env": [{"name": "KUBERNETES_NAMESPACE", "value": "a"}]});
    assert_eq!(confined(both), ["b"]);
}

#[test]
fn label_selectors_are_read() {
    let labels: ObjectMeta = object(json!({"labels": {"team": "a", "stage": "prod"}}));
    for (text, expected) in [
        ("team=a", true),
        ("team==a,stage=prod", true),
        ("team=a,stage=test", false),
        ("team:a", true),
        ("team:*", true),
        ("team", true),
        ("!team", false),
        ("!other", true),
        ("team!=b", true),
        ("team in (a, b),stage notin (test)", true),
        ("team in (c)", false),
        ("\"team=a\"", true),
        ("team like a", false),
    ] {
        assert_eq!(selects(text, &labels), expected, "{text}");
    }
}

fn secret(name: &str, data: &[(&str, &[u8])]) -> Secret {
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), k8s_openapi::ByteString(value.to_vec())))
        .collect();
    Secret {
        metadata: object(json!({"name": name, "namespace": "shop"})),
        data: Some(data),
        ..Secret::default()
    }
}

#[test]
fn checksums_and_names_are_those_that_were_observed() {
    let hash = |data: &[(&str, &[u8])]| Marker::of(&secret("db", data)).hash().to_owned();
    let credential = |password: &'static [u8]| hash(&[("username", b"app_a"), ("password", password)]);
    assert_eq!(credential(b"p1"), "47420d9182db74a96ee77f9b7b3c78af38ea3278", "1");
    assert_eq!(hash(&[]), "da39a3ee5e6b4b0d3255bfef95601890afd80709", "2");
    assert_eq!(
        hash(&[("k", &[0, 0xff, 1]), ("e", b"")]),
        "1bb71876ae25fe3aeb736ef2b0213e6d738964fd",
        "3"
    );
    assert_eq!(
        hash(&[("a", b"x\n"), ("b", "é=;".as_bytes())]),
        "77871f4a3d24c2c37bcae42699bb5c44eb0cd527",
        "4"
    );
    assert_eq!(hash(&[("a", b"1"), ("b", b"2")]), hash(&[("a", b"1;b=2")]), "5");
    assert_eq!(credential(b"p2"), "7cff05197b8966f08163ad214471820828267f19", "6");
    assert_eq!(credential(b"p0"), "52a44ef488f8eef6e1271b99cebbc3c6e11abd21", "6");
    for (number, name, expected) in [
        (7, "db.prod--x-1", "STAKATER_DB_PROD_X_1_SECRET"),
        (8, "9db", "STAKATER_9DB_SECRET"),
        (9, "db-a", "STAKATER_DB_A_SECRET"),
        (9, "db.a", "STAKATER_DB_A_SECRET"),
    ] {
        assert_eq!(Marker::of(&secret(name, &[])).variable(), expected, "{number}");
    }
}

#[test]
fn its_mark_is_recognised_in_both_forms_and_no_other_is() {
    let marker = Marker::of(&secret("db", &[("username", b"app_a"), ("password", b"p1")]));
    let on = |template: Value| {
        let template: PodTemplateSpec = object(template);
        marker.is_on(template.metadata.as_ref(), template.spec.as_ref())
    };
    let variable = |name: &str, value: &str| json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "env": [{"name": name, "value": value}]}]}});
    let annotation = |text: &str| json!({"metadata": {"annotations": {"reloader.stakater.com/last-reloaded-from": text}}, "spec": {"containers": []}});
    let observed = |name: &str, hash: &str| {
        format!(
            "{{\"type\":\"SECRET\",\"name\":\"{name}\",\"namespace\":\"NS\",\"hash\":\"{hash}\",\"containerRefs\":[\"app\"],\"observedAt\":1795198751}}"
        )
    };
    let hash = marker.hash();
    assert!(on(variable("STAKATER_DB_SECRET", hash)));
    assert!(!on(variable(
        "STAKATER_DB_SECRET",
        "52a44ef488f8eef6e1271b99cebbc3c6e11abd21"
    )));
    assert!(!on(variable("STAKATER_OTHER_SECRET", hash)));
    assert!(on(annotation(&observed("db", hash))));
    assert!(!on(annotation(&observed("other", hash))));
    assert!(!on(annotation(&observed(
        "db",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709"
    ))));
    assert!(!on(annotation("not what it writes")));
    assert!(!on(json!({"spec": {"containers": [{"name": "a"}]}})));

    let at = jiff::Timestamp::from_second(1_795_198_751).unwrap();
    let written = marker.source("app", at).unwrap();
    assert_eq!(written, observed("db", hash).replace("\"NS\"", "\"shop\""));
}

#[test]
fn what_older_releases_do_not_publish_is_as_it_is_by_default() {
    let published = Published::read("{}").unwrap();
    assert_eq!(published.options, Options::default());
    assert!(!published.leads && !published.catches_up);
    let lists = Published::read(r#"{"resourcesToIgnore": null, "reloadStrategy": "annotations", "enableHA": true, "reloadOnCreate": true, "syncAfterRestart": true}"#).unwrap();
    assert_eq!(lists.options.strategy, Strategy::Annotations);
    assert!(lists.sight.active && lists.leads && lists.catches_up);
    assert!(Published::read("not JSON").is_err());
}
