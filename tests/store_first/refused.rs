//! Traps that no rotation survives: preflight names each, and changes nothing. The operator is content with most of
//! them. The numbers are those of external-secrets-observed; all the rules, one by one, are in
//! `src/effects/kubernetes/external_secret`.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};
use tandem_lab::eventually;

use crate::place::{EXTERNAL_SECRET, Place, STORE, STORED, Setup};
use crate::scene::{LIMIT, merge};
use crate::still::{Still, refused, refuses};
use crate::traps::kubectl;

/// An `ExternalSecret` that differs from the usual one.
struct Trap {
    name: &'static str,
    /// In what, as a merge patch of its spec.
    spec: Value,
    /// Whether the operator says that it is ready; nothing when it says nothing.
    content: Option<bool>,
    /// What the condition has to say.
    says: &'static [&'static str],
}

/// The policy whose `ExternalSecret` is another one, which makes this Secret.
fn of(external_secret: &str, secret: &str) -> Value {
    json!({"spec": {"delivery": {"externalSecret": {"name": external_secret, "secretName": secret}}}})
}

fn entries(more: &Value) -> Value {
    let entry = |property: &str| {
        let mut reference = json!({"key": STORED, "property": property});
        merge(&mut reference, more);
        json!({"secretKey": property, "remoteRef": reference})
    };
    json!({"data": [entry("username"), entry("password")]})
}

fn traps(current: &str) -> Vec<Trap> {
    let random = json!({"generatorRef": {"apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Password", "name": "random"}});
    vec![
        Trap {
            name: "trap18-zero",
            spec: json!({"refreshInterval": "0s"}),
            content: Some(true),
            says: &["ExternalSecretIntervalZero", "refreshInterval 0", "kubectl -n"],
        },
        Trap {
            name: "trap18-once",
            spec: json!({"refreshPolicy": "CreatedOnce"}),
            content: Some(true),
            says: &["ExternalSecretCreatedOnce", "CreatedOnce", "kubectl -n"],
        },
        Trap {
            name: "trap39-immutable",
            spec: json!({"target": {"immutable": true}}),
            content: Some(true),
            says: &[
                "spec.target.immutable",
                "reports success",
                "delete secret trap39-immutable",
            ],
        },
        Trap {
            name: "point4-pinned",
            spec: entries(&json!({"version": format!("uuid/{current}")})),
            content: Some(true),
            says: &["ExternalSecretPinned", "remoteRef.version", "kubectl -n"],
        },
        Trap {
            name: "point4-generated",
            spec: json!({"dataFrom": [{"sourceRef": random}]}),
            content: Some(true),
            says: &["the generator Password random", "with every sync", "kubectl -n"],
        },
        Trap {
            name: "trap32-absent",
            spec: json!({"target": {"creationPolicy": "Merge"}}),
            content: Some(true),
            says: &["Secret", "trap32-absent does not exist", "kubectl -n"],
        },
        Trap {
            name: "trap36-one",
            spec: json!({"target": {"name": "trap36", "creationPolicy": "Merge"}}),
            content: Some(true),
            says: &["SecretSharedTarget", "ExternalSecret", "trap36-two", "kubectl -n"],
        },
        Trap {
            name: "trap57-keyless",
            spec: json!({"secretStoreRef": {"name": "keyless"}}),
            content: Some(false),
            says: &["StoreNotReady", "SecretStore", "/keyless", "kubectl -n"],
        },
        Trap {
            name: "trap59-storeless",
            spec: json!({"secretStoreRef": {"name": "nowhere"}}),
            content: Some(false),
            says: &["StoreMissing", "/nowhere", "does not exist", "kubectl -n"],
        },
        Trap {
            name: "trap59-foreign",
            spec: json!({"secretStoreRef": {"name": "foreign"}}),
            content: None,
            says: &["no operator of the class \"other\"", "/foreign", "kubectl -n"],
        },
    ]
}

fn external(place: &Place, name: &str, spec: &Value) -> Value {
    let mut external = place
        .eso
        .external_secret(name, STORE, STORED, &["username", "password"]);
    merge(&mut external["spec"], spec);
    external
}

/// Makes them all, and waits until the operator has looked at each.
async fn set(place: &Place, traps: &[Trap]) -> Result<()> {
    place
        .stage
        .namespace
        .secret("trap36", &[("theirs", "kept")])
        .await?;
    let (mut keyless, mut foreign) = (
        place.eso.secret_store("keyless"),
        place.eso.secret_store("foreign"),
    );
    for reference in ["accessKeyIDSecretRef", "secretAccessKeySecretRef"] {
        keyless["spec"]["provider"]["aws"]["auth"]["secretRef"][reference]["name"] = json!("no-keys");
    }
    foreign["spec"]["controller"] = json!("other");
    let generator = json!({
        "apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Password",
        "metadata": {"name": "random"}, "spec": {"length": 20, "digits": 4, "symbols": 0, "noUpper": false, "allowRepeat": true},
    });
    let other = external(
        place,
        "trap36-two",
        &json!({"target": {"name": "trap36", "creationPolicy": "Merge"}}),
    );
    let mut objects = vec![keyless, foreign, generator, other];
    objects.extend(traps.iter().map(|trap| external(place, trap.name, &trap.spec)));
    place.eso.apply(&objects).await?;
    for trap in traps {
        eventually(
            format_args!("the operator to look at {}", trap.name),
            LIMIT,
            async || {
                let said = place.eso.synced(trap.name).await?;
                ensure!(said.ready == trap.content, "{said:?}");
                Ok(Some(()))
            },
        )
        .await?;
    }
    Ok(())
}

#[test]
fn trap18_32_36_37_39_57_59_66_69_point4_what_cannot_follow_is_refused_and_nothing_is_changed() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "refused", Setup::default()).await?;
        let app = place.app("app", 1).await?;
        let (before, still) = (place.before().await?, Still::of(&place).await?);
        let traps = traps(&before.version);
        set(&place, &traps).await?;
        let mut wrong = Vec::new();
        for trap in &traps {
            let secret = if trap.name == "trap36-one" {
                "trap36"
            } else {
                trap.name
            };
            if let Err(error) = refuses(&place, of(trap.name, secret), trap.says).await {
                wrong.push(format!("{}: {error:#}", trap.name));
            }
        }
        for (name, outcome) in [
            ("trap37", trap37(&place).await),
            ("trap66_69", trap66_69(&place).await),
            ("owned", owned(&place).await),
            ("going", going(&place).await),
            ("immutable", immutable(&place).await),
        ] {
            if let Err(error) = outcome {
                wrong.push(format!("{name}: {error:#}"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        // With all of that about, what has nothing to do with it goes on.
        still.holds(&place).await?;
        place.apply(json!({})).await?;
        place.ready().await?;
        place.rotate().await?;
        place.rotated(&before, &[&app]).await
    });
}

/// The operator's label on a Secret does not prove that anybody still fills it.
async fn trap37(place: &Place) -> Result<()> {
    let namespace = &place.stage.namespace;
    namespace.secret("trap37", &[("theirs", "kept")]).await?;
    let gone = external(place, "trap37", &json!({"target": {"creationPolicy": "Merge"}}));
    place.eso.apply(&[gone]).await?;
    eventually("the Secret to be filled", LIMIT, async || {
        let data = namespace.read_secret("trap37").await?;
        Ok(data.contains_key("password").then_some(()))
    })
    .await?;
    kubectl(place, &["delete", "externalsecret", "trap37"])?;
    let left = namespace.api::<Secret>().get("trap37").await?;
    ensure!(
        left.metadata
            .labels
            .is_some_and(|labels| labels.contains_key("reconcile.external-secrets.io/managed")),
        "the Secret does not look as if it were filled"
    );
    let says = ["ExternalSecretMissing", "trap37 does not exist", "kubectl -n"];
    refuses(place, of("trap37", "trap37"), &says).await
}

/// A `PushSecret` on the same secret would put the old credential back. The operator itself refuses this one, for want
/// of a tag that is one command away.
async fn trap66_69(place: &Place) -> Result<()> {
    let push = place
        .eso
        .push_secret("push", STORE, EXTERNAL_SECRET, STORED, &["username", "password"]);
    place.eso.apply(&[push]).await?;
    let says = ["PushSecretOnSource", "/push writes", "kubectl -n"];
    let outcome = refuses(place, json!({}), &says).await;
    kubectl(place, &["delete", "pushsecret", "push"])?;
    outcome
}

/// Section D, 4: the Secret belongs to another `ExternalSecret`.
async fn owned(place: &Place) -> Result<()> {
    let second = external(place, "second", &json!({"target": {"name": EXTERNAL_SECRET}}));
    place.eso.apply(&[second]).await?;
    eventually("the operator to refuse it", LIMIT, async || {
        let said = place.eso.synced("second").await?;
        Ok((said.ready == Some(false) && said.message.contains("owned by another")).then_some(()))
    })
    .await?;
    let says = ["ExternalSecretNotReady", "owned by another", "kubectl -n"];
    let outcome = refuses(place, of("second", EXTERNAL_SECRET), &says).await;
    kubectl(place, &["delete", "externalsecret", "second"])?;
    outcome
}

/// Section D, 4: the `ExternalSecret` is on its way out.
async fn going(place: &Place) -> Result<()> {
    let mut going = external(place, "going", &json!({}));
    going["metadata"]["finalizers"] = json!(["tandem.dev/test"]);
    place.eso.apply(&[going]).await?;
    eventually("the Secret to be made", LIMIT, async || {
        Ok(place
            .stage
            .namespace
            .api::<Secret>()
            .get_opt("going")
            .await?
            .map(drop))
    })
    .await?;
    kubectl(place, &["delete", "externalsecret", "going", "--wait=false"])?;
    let says = ["ExternalSecretDeleting", "going is being deleted", "kubectl -n"];
    let outcome = refuses(place, of("going", "going"), &says).await;
    let free = r#"{"metadata":{"finalizers":null}}"#;
    kubectl(
        place,
        &["patch", "externalsecret", "going", "--type=merge", "-p", free],
    )?;
    outcome
}

/// Section D, 4: somebody has made the Secret immutable. The command in the message mends that.
async fn immutable(place: &Place) -> Result<()> {
    let name = "made-immutable";
    place.eso.apply(&[external(place, name, &json!({}))]).await?;
    let secrets: Api<Secret> = place.stage.namespace.api();
    eventually("the Secret to be made", LIMIT, async || {
        Ok(secrets.get_opt(name).await?.map(drop))
    })
    .await?;
    kubectl(place, &["patch", "secret", name, "-p", r#"{"immutable":true}"#])?;
    place.apply(of(name, name)).await?;
    let still = Still::of(place).await?;
    place.ask().await?;
    refused(
        place,
        &["SecretImmutable", "made-immutable is immutable", "kubectl -n"],
    )
    .await?;
    still.holds(place).await?;
    let (_, message) = place.condition("Ready", "False").await?;
    ensure!(message.contains(&format!("delete secret {name}")), "{message}");
    kubectl(place, &["delete", "secret", name])?;
    eventually("preflight to pass", LIMIT, async || {
        let status = place.status().await?;
        let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready");
        let ready = ready.context("no condition")?;
        ensure!(ready.status == "True", "{}", ready.message);
        Ok(Some(()))
    })
    .await
}
