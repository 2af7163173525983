//! What is refused before a rotation.

use serde_json::{Value, json};

use super::{entry, found, message, spec, store};
use crate::effects::kubernetes::fixtures::over;

/// An entry that fills the key with this reference to the property of the same name.
fn both(more: Value) -> Value {
    spec(json!({"data": [entry("username", more.clone()), entry("password", more)]}))
}

fn template(data: Value, more: Value) -> Value {
    let template = over(json!({"data": data}), more);
    spec(json!({"target": {"template": template}}))
}

#[test]
fn case_2_and_4_seen_18_what_never_refreshes_is_refused_with_the_change_that_lets_it() {
    assert_eq!(
        found(spec(json!({"refreshPolicy": "CreatedOnce"}))),
        [("ExternalSecretCreatedOnce", true)]
    );
    for zero in ["0", "0s", "0h0m0s", "-1h"] {
        let zero = spec(json!({"refreshInterval": zero}));
        assert_eq!(found(zero), [("ExternalSecretIntervalZero", true)]);
    }
    let said = message(spec(
        json!({"refreshInterval": "0s", "refreshPolicy": "Periodic"}),
    ));
    let command = r#"kubectl -n shop patch externalsecrets.external-secrets.io db --type=merge -p '{"spec":{"refreshPolicy":"OnChange"}}'"#;
    assert!(said.contains(command), "{said}");
}

#[test]
fn case_3_and_15_seen_17_what_refreshes_when_asked_is_left_alone() {
    for good in [
        json!({"refreshPolicy": "OnChange", "refreshInterval": "0"}),
        json!({"refreshPolicy": "Periodic", "refreshInterval": "5s"}),
        json!({"refreshInterval": "100ms"}),
        json!({"refreshInterval": null}),
        json!({"syncWindows": [{"kind": "deny", "schedule": "* * * * *", "duration": "24h"}]}),
    ] {
        assert_eq!(found(spec(good.clone())), [], "{good}");
    }
}

#[test]
fn what_a_cluster_external_secret_made_is_mended_there() {
    let said = message(json!({
        "owner": {"metadata": {"name": "all-dbs"}},
        "external": {"spec": {"refreshPolicy": "CreatedOnce"}},
    }));
    let command = r#"kubectl patch clusterexternalsecrets.external-secrets.io all-dbs --type=merge -p '{"spec":{"externalSecretSpec":{"refreshPolicy":"OnChange"}}}'"#;
    assert!(said.contains(command), "{said}");
}

#[test]
fn case_7_seen_39_and_40_what_is_immutable_is_refused() {
    assert_eq!(
        found(spec(json!({"target": {"immutable": true}}))),
        [("ExternalSecretTargetImmutable", true)]
    );
    let secret = json!({"secret": {"immutable": true}});
    assert_eq!(found(secret.clone()), [("SecretImmutable", true)]);
    let said = message(secret);
    assert!(
        said.contains(
            "kubectl -n shop delete secret db && kubectl -n shop annotate --overwrite externalsecrets"
        ),
        "{said}"
    );
    // Nobody would make it anew.
    let merged =
        json!({"secret": {"immutable": true}, "external": {"spec": {"target": {"creationPolicy": "Merge"}}}});
    assert!(!message(merged).contains("delete secret"));
}

#[test]
fn seen_34_a_secret_that_is_not_made_or_is_another_is_refused() {
    let none = spec(json!({"target": {"creationPolicy": "None"}}));
    assert_eq!(found(none), [("ExternalSecretMakesNone", true)]);
    let other = spec(json!({"target": {"name": "other"}}));
    assert_eq!(found(other.clone()), [("ExternalSecretTargetElsewhere", true)]);
    assert!(message(other).contains(r#""secretName":"other""#));
    let map = spec(json!({"target": {"name": "db", "manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}}));
    assert_eq!(found(map), [("ExternalSecretTargetElsewhere", true)]);
    assert_eq!(found(spec(json!({"target": {"name": "db"}}))), []);
}

#[test]
fn seen_50_a_generator_is_refused_wherever_it_stands() {
    let generator = json!({"generatorRef": {"kind": "Password", "name": "random"}});
    let data = [
        entry("username", json!({})),
        entry("password", json!({})),
        json!({"secretKey": "pepper", "sourceRef": generator}),
    ];
    assert_eq!(
        found(spec(json!({"data": data}))),
        [("ExternalSecretGenerates", true)]
    );
    let from = spec(json!({"dataFrom": [{"sourceRef": generator}]}));
    assert_eq!(found(from), [("ExternalSecretGenerates", true)]);
}

#[test]
fn case_14_a_store_puts_its_prefix_before_the_key() {
    let prefixed = json!({
        "stores": {"aws": store(json!({"prefix": "shop/"}))},
        "external": {"spec": {"data": [entry("username", json!({"key": "db"})), entry("password", json!({"key": "db"}))]}},
    });
    assert_eq!(found(prefixed), []);
    let twice = json!({"stores": {"aws": store(json!({"prefix": "shop/"}))}});
    let said = message(twice);
    assert!(
        said.contains(r#"reads "shop/db" through SecretStore shop/aws (AWS SecretsManager in eu-central-1, prefix "shop/")"#),
        "{said}"
    );
}

#[test]
fn a_secret_is_known_by_its_name_and_by_its_arn() {
    let arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:shop/db";
    for key in [arn.to_owned(), format!("{arn}-AbC123")] {
        assert_eq!(found(both(json!({"key": key}))), []);
    }
    for key in [format!("{arn}2"), format!("{arn}-AbC12"), "db".to_owned()] {
        assert_eq!(
            found(both(json!({"key": key}))),
            [("ExternalSecretElsewhere", true)],
            "{key}"
        );
    }
    assert_eq!(
        found(spec(json!({"data": []}))),
        [("ExternalSecretElsewhere", true)]
    );
}

#[test]
fn a_store_of_another_kind_service_or_region_is_refused() {
    let vault = over_provider(json!({"aws": null, "vault": {"server": "https://vault"}}));
    for store in [
        vault,
        store(json!({"region": "us-east-1"})),
        store(json!({"service": "ParameterStore"})),
    ] {
        let change = json!({"stores": {"aws": store}});
        assert_eq!(found(change.clone()), [("StoreElsewhere", true)]);
        assert!(message(change).contains("SecretStore shop/aws ("));
    }
}

fn over_provider(provider: Value) -> Value {
    over(store(json!({})), json!({"spec": {"provider": provider}}))
}

#[test]
fn an_entry_may_name_a_store_of_its_own() {
    let own = json!({"storeRef": {"kind": "ClusterSecretStore", "name": "cluster-aws"}});
    let with = |mut entry: Value| {
        entry["sourceRef"] = own.clone();
        entry
    };
    let data = [
        with(entry("username", json!({}))),
        with(entry("password", json!({}))),
    ];
    let right = store(json!({}));
    let elsewhere = store(json!({"region": "us-east-1"}));
    let world = |cluster: &Value, aws: &Value| json!({"stores": {"cluster-aws": cluster, "aws": aws}, "external": {"spec": {"data": data}}});
    assert_eq!(found(world(&right, &elsewhere)), []);
    assert_eq!(found(world(&elsewhere, &right)), [("StoreElsewhere", true)]);
}

#[test]
fn both_properties_must_be_read_each_under_its_key() {
    let missing = [("ExternalSecretPropertyMissing", true)];
    assert_eq!(
        found(spec(json!({"data": [entry("username", json!({}))]}))),
        missing
    );
    // A user name that stays the same does not go with a password that is another user's.
    assert_eq!(
        found(spec(json!({"data": [entry("password", json!({}))]}))),
        missing
    );
    let swapped = [
        entry("username", json!({"property": "password"})),
        entry("password", json!({})),
    ];
    assert_eq!(found(spec(json!({"data": swapped}))), missing);
    let tags = [
        entry("username", json!({})),
        entry("password", json!({"metadataPolicy": "Fetch"})),
    ];
    assert_eq!(found(spec(json!({"data": tags}))), missing);
    for good in [
        json!({"data": [], "dataFrom": [{"extract": {"key": "shop/db"}}]}),
        json!({"data": [], "dataFrom": [{"find": {"name": {"regexp": "^shop/db$"}}}]}),
        json!({"data": [entry("document", json!({"property": ""}))]}),
    ] {
        assert_eq!(found(spec(good.clone())), [], "{good}");
    }
}

#[test]
fn case_12_and_13_seen_44_a_version_that_does_not_follow_is_refused_and_a_further_one_is_not() {
    let pinned = both(json!({"version": "uuid/4f1c"}));
    assert_eq!(found(pinned), [("ExternalSecretPinned", true)]);
    let pending = both(json!({"version": "AWSPENDING"}));
    assert_eq!(found(pending), [("ExternalSecretOtherStage", true)]);
    assert_eq!(found(both(json!({"version": "AWSCURRENT"}))), []);
    let further = |version: &str| {
        let mut old = entry("password", json!({"version": version}));
        old["secretKey"] = json!("other_password");
        spec(json!({"data": [entry("username", json!({})), entry("password", json!({})), old]}))
    };
    for version in ["AWSPREVIOUS", "AWSPENDING", "uuid/4f1c"] {
        assert_eq!(found(further(version)), [], "{version}");
    }
    // The key that applications read counts, not that some other key would follow.
    let mut new = entry("password", json!({}));
    new["secretKey"] = json!("new_password");
    let old = entry("password", json!({"version": "AWSPREVIOUS"}));
    let wrong = spec(json!({"data": [entry("username", json!({})), old, new]}));
    assert_eq!(found(wrong), [("ExternalSecretOtherStage", true)]);
}

#[test]
fn a_value_that_is_decoded_is_refused() {
    for strategy in ["Auto", "Base64", "Base64URL"] {
        let decoded = both(json!({"decodingStrategy": strategy}));
        assert_eq!(found(decoded), [("ExternalSecretDecodes", true)], "{strategy}");
    }
    assert_eq!(found(both(json!({"decodingStrategy": "None"}))), []);
}

#[test]
fn case_8_seen_41_a_template_may_fill_any_key_but_names_no_user() {
    let url = "postgres://{{ .username }}:{{ .password | urlquery }}@db/app_a";
    assert_eq!(found(template(json!({"DATABASE_URL": url}), json!({}))), []);
    for text in [
        "postgres://app_a:{{ .password }}@db/appdb",
        "postgres://app_b@db/appdb",
        "host=db user=app_a password={{ .password }}",
        "jdbc:postgresql://db/appdb?user=app_b&password={{ .password }}",
    ] {
        let found = found(template(json!({"URL": text}), json!({})));
        assert_eq!(found, [("TemplateNamesUser", true)], "{text}");
    }
    for text in ["user=app_a2", "host://app_a:5432", "owner of app_a"] {
        assert_eq!(found(template(json!({"TEXT": text}), json!({}))), [], "{text}");
    }
}

#[test]
fn a_template_decides_which_keys_are_filled_directly() {
    let names = json!({"data": [
        {"secretKey": "username", "remoteRef": {"key": "other", "property": "x"}},
        {"secretKey": "u", "remoteRef": {"key": "shop/db", "property": "username"}},
        {"secretKey": "p", "remoteRef": {"key": "shop/db", "property": "password"}},
    ]});
    assert_eq!(
        found(spec(names.clone())),
        [("ExternalSecretPropertyMissing", true)]
    );
    let rendered =
        json!({"target": {"template": {"data": {"username": "{{ .u }}", "password": "{{ .p }}"}}}});
    let both = over(names, rendered);
    assert_eq!(found(spec(both)), []);
}

#[test]
fn seen_48_a_secret_that_goes_with_the_stores_is_warned_of() {
    for policy in ["Delete", "Merge"] {
        let deletes = spec(json!({"target": {"deletionPolicy": policy}}));
        assert_eq!(found(deletes), [("ExternalSecretDeletes", false)]);
    }
}

#[test]
fn seen_36_another_external_secret_on_the_same_secret_is_refused_when_they_meet() {
    let other = |data: Value, more: Value| {
        let spec = over(
            json!({"secretStoreRef": {"kind": "SecretStore", "name": "aws"}, "target": {"name": "db", "creationPolicy": "Merge"}, "data": data}),
            more,
        );
        json!({"others": [{"metadata": {"name": "second"}, "spec": spec}]})
    };
    let foreign = |key: &str| json!([{"secretKey": key, "remoteRef": {"key": "other", "property": "x"}}]);
    assert_eq!(found(other(foreign("api_key"), json!({}))), []);
    assert_eq!(
        found(other(foreign("password"), json!({}))),
        [("SecretSharedTarget", true)]
    );
    // Another key, but of the same secret: it would stay behind.
    let lagging =
        json!([{"secretKey": "DATABASE_PASSWORD", "remoteRef": {"key": "shop/db", "property": "password"}}]);
    assert_eq!(found(other(lagging, json!({}))), [("SecretSharedTarget", true)]);
    let unknown = json!({"dataFrom": [{"extract": {"key": "other"}}]});
    assert_eq!(found(other(json!([]), unknown)), [("SecretSharedTarget", false)]);
}

#[test]
fn seen_6_another_external_secret_that_nobody_asks_is_warned_of() {
    let other = |more: Value| {
        let data = [entry("password", more)];
        let spec = json!({"secretStoreRef": {"kind": "SecretStore", "name": "aws"}, "data": data});
        json!({"others": [{"metadata": {"name": "second"}, "spec": spec}]})
    };
    assert_eq!(found(other(json!({}))), [("StoreAlsoRead", false)]);
    assert_eq!(found(other(json!({"key": "other"}))), []);
    // Reads ahead on purpose (case 13).
    assert_eq!(found(other(json!({"version": "AWSPENDING"}))), []);
}

#[test]
fn seen_65_to_69_a_push_to_the_same_secret_is_refused() {
    let push = |key: &str, store: &str| {
        json!({"pushes": [{"metadata": {"name": "push"}, "spec": {
            "secretStoreRefs": [{"kind": "SecretStore", "name": store}],
            "data": [{"match": {"secretKey": "password", "remoteRef": {"remoteKey": key, "property": "password"}}}],
        }}]})
    };
    let refused = [("PushSecretOnSource", true)];
    assert_eq!(found(push("shop/db", "aws")), refused);
    let mut kept = push("shop/db", "aws");
    kept["pushes"][0]["spec"]["updatePolicy"] = json!("IfNotExists");
    assert_eq!(found(kept), []);
    assert_eq!(found(push("shop/db2", "aws")), []);
    let more = |name: &str, store: Value| json!({"stores": {name: store}});
    let both = |a: Value, b: Value| over(a, b);
    let prefixed = more("prefixed", store(json!({"prefix": "shop/"})));
    assert_eq!(found(both(push("db", "prefixed"), prefixed.clone())), refused);
    assert_eq!(found(both(push("shop/db", "prefixed"), prefixed)), []);
    let far = more("far", store(json!({"region": "us-east-1"})));
    assert_eq!(found(both(push("shop/db", "far"), far)), []);
    assert_eq!(
        found(both(push("shop/db", "gone"), more("gone", Value::Null))),
        []
    );
    // Stores chosen by their labels, or that could not be read: it may be this one.
    assert_eq!(found(push("shop/db", "unknown")), refused);
}

#[test]
fn seen_32_and_33_a_secret_that_is_gone_is_refused_with_what_brings_it_back() {
    let gone = json!({"secret": null});
    assert_eq!(found(gone.clone()), [("SecretMissing", true)]);
    let said = message(gone);
    assert!(said.contains("kubectl -n shop annotate --overwrite externalsecrets.external-secrets.io db external-secrets.io/force-sync=$(date +%s)"), "{said}");
    let merge = json!({"secret": null, "external": {"spec": {"target": {"creationPolicy": "Merge"}}}});
    assert!(message(merge).contains("kubectl -n shop create secret generic db && "));
}

#[test]
fn case_6_seen_35_who_else_writes_the_secret_is_refused_but_not_the_operator() {
    let owner = |kind: &str, name: &str| {
        json!({"secret": {"metadata": {"ownerReferences": [
            {"apiVersion": "external-secrets.io/v1", "kind": kind, "name": name, "uid": "1", "controller": true},
        ]}}})
    };
    let refused = [("SecretOwnedByController", true)];
    assert_eq!(found(owner("ExternalSecret", "db")), []);
    assert_eq!(found(owner("ExternalSecret", "first")), refused);
    assert_eq!(found(owner("SealedSecret", "db")), refused);
    let writes = |manager: &str, key: &str| {
        json!({"secret": {"metadata": {"managedFields": [{
            "manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {(format!("f:{key}")): {}}},
        }]}}})
    };
    // The operator's own, of a name that is too long for a field manager, and one that is no more (seen 37).
    for manager in [
        "externalsecrets.external-secrets.io/db",
        "externalsecrets.external-secrets.io/sha3/0a1b",
        "externalsecrets.external-secrets.io/former",
        "kubectl-edit",
    ] {
        assert_eq!(found(writes(manager, "password")), [], "{manager}");
    }
    assert_eq!(found(writes("argocd-controller", "password")), refused);
    assert_eq!(found(writes("argocd-controller", "foreign")), []);
    let going = json!({"secret": {"metadata": {"deletionTimestamp": "2026-11-20T03:00:00Z"}}});
    assert_eq!(found(going), [("SecretDeleting", true)]);
}

#[test]
fn seen_27_a_secret_that_the_operator_does_not_watch_is_warned_of() {
    let world = json!({"secret": {"metadata": {"labels": null}}});
    assert_eq!(found(world), [("SecretUnmarked", false)]);
}
