//! What the Secret's data says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::super::objects::ExternalSecret;
use super::super::sources::is_other_version;
use super::super::synced::{landing, stale_keys};
use super::{NEW, OLD, app, entry};
use crate::effects::kubernetes::fixtures::{object, over, store_first};
use crate::effects::kubernetes::secret::AppSecret;
use crate::policy::target::RoleName;
use crate::sensitive::Sensitive;

fn secret(data: &[(&str, &str)]) -> AppSecret {
    let data: BTreeMap<_, _> = data
        .iter()
        .map(|(key, value)| (*key, ByteString(value.as_bytes().to_vec())))
        .collect();
    app(&json!({"secret": {"data": data}})).unwrap()
}

fn carries(data: &[(&str, &str)]) -> bool {
    let user = RoleName::new("app_b").unwrap();
    secret(data).carries(&store_first(), &user, &Sensitive::new(NEW.to_owned()))
}

#[test]
fn case_8_the_keys_count_where_there_are_any_and_the_password_in_any_case() {
    let url = format!("postgres://app_b:{NEW}@db/appdb");
    assert!(carries(&[("username", "app_b"), ("password", NEW)]));
    assert!(carries(&[
        ("username", "app_b"),
        ("password", NEW),
        ("URL", &url)
    ]));
    assert!(carries(&[("URL", &url)]));
    assert!(carries(&[("username", "app_b"), ("URL", &url)]));
    assert!(!carries(&[]));
    assert!(!carries(&[("username", "app_b")]));
    assert!(!carries(&[("username", "app_a"), ("password", NEW)]));
    assert!(!carries(&[
        ("username", "app_b"),
        ("password", OLD),
        ("URL", &url)
    ]));
    assert!(!carries(&[("username", "app_b"), ("password", "")]));
}

#[test]
fn a_password_that_people_chose_is_known_by_its_escaped_form() {
    let user = RoleName::new("app_a").unwrap();
    let password = Sensitive::new("p@ss word/1".to_owned());
    for url in [
        "postgres://app_a:p%40ss%20word%2F1@db",
        "postgres://app_a:p%40ss+word%2F1@db",
    ] {
        assert!(
            secret(&[("URL", url)]).carries(&store_first(), &user, &password),
            "{url}"
        );
    }
}

fn stale(data: &[(&str, &str)], previous: &str) -> Vec<String> {
    let secret = secret(data);
    let (new, old) = (
        Sensitive::new(NEW.to_owned()),
        Sensitive::new(previous.to_owned()),
    );
    stale_keys(&secret.live, &new, &old)
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_value_that_was_left_behind_is_noticed() {
    let old = format!("postgres://app_a:{OLD}@db/appdb");
    let both = format!("{NEW} {OLD}");
    assert_eq!(stale(&[("password", NEW), ("URL", &old)], OLD), ["URL"]);
    assert_eq!(stale(&[("password", NEW), ("BOTH", &both)], OLD), [""; 0]);
    // A short word may stand anywhere.
    assert_eq!(stale(&[("password", NEW), ("HOST", "db")], "db"), [""; 0]);
}

#[test]
fn case_12_a_key_of_another_version_may_carry_the_previous_password() {
    let mut previous = entry("password", json!({"version": "AWSPREVIOUS"}));
    previous["secretKey"] = json!("old");
    let spec = json!({"data": [entry("password", json!({})), previous]});
    let is = |spec: &Value, key: &str| {
        let external: ExternalSecret = object(json!({"spec": spec}));
        is_other_version(&external, key, &store_first().delivery.target)
    };
    assert!(is(&spec, "old"));
    assert!(!is(&spec, "password") && !is(&spec, "URL"));
    let rendered = json!({"target": {"template": {"data": {
        "URL": "postgres://{{ .username }}:{{ .password }}@db", "OLD_URL": "postgres://{{ .username }}:{{ .old }}@db", "OLDER": "{{ .older }}",
    }}}});
    let spec = over(spec, rendered);
    assert!(is(&spec, "OLD_URL"));
    assert!(!is(&spec, "URL") && !is(&spec, "OLDER"));
    let extract = json!({"dataFrom": [{"extract": {"key": "shop/db"}}, {"extract": {"key": "shop/db", "version": "AWSPREVIOUS"}}]});
    assert!(is(&extract, "previous_password") && !is(&extract, "password"));
}

fn at(managed: Value) -> Option<i64> {
    let secret = app(
        &json!({"secret": {"metadata": {"uid": "u-1", "resourceVersion": "9", "managedFields": managed}}}),
    )
    .unwrap();
    let landing = landing(&store_first(), &secret.live)?;
    assert_eq!(landing.id, "u-1-9");
    Some(landing.at.as_second() - Timestamp::UNIX_EPOCH.as_second())
}

#[test]
fn a_landing_is_as_late_as_it_can_have_been() {
    let entry = |manager: &str, second: i64, key: Option<&str>| {
        let fields = match key {
            Some(key) => json!({"f:data": {(format!("f:{key}")): {}}}),
            None => json!({"f:metadata": {"f:labels": {}}}),
        };
        let time = Timestamp::from_second(second).unwrap().to_string();
        json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    let operator = |second| entry("externalsecrets.external-secrets.io/db", second, Some("password"));
    assert_eq!(at(json!([operator(5), entry("kubectl-label", 9, None)])), Some(5));
    assert_eq!(
        at(json!([operator(5), entry("somebody", 9, Some("password"))])),
        Some(9)
    );
    // An application's own key in a Secret that is shared is nobody's delivery.
    assert_eq!(
        at(json!([operator(5), entry("app", 9, Some("counter"))])),
        Some(5)
    );
    assert_eq!(at(json!([entry("older-release", 7, Some("URL"))])), Some(7));
    assert_eq!(at(json!([entry("kubectl-label", 9, None)])), None);
}
