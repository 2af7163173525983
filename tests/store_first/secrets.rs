//! fm28 with a store: the passwords of whole rotations, searched for everywhere they could have leaked to.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ListParams};
use serde_json::json;
use tandem_lab::{CREDENTIALS_SECRET, ControllerOptions};

use crate::leaks::Search;
use crate::place::{EXTERNAL_SECRET, Place, STORE, STORED, Setup};

/// Everybody whom the SDK is made of, one by one, besides everybody else.
const EVERYTHING: &str = "trace,aws_sdk_secretsmanager=trace,aws_smithy_runtime=trace,aws_smithy_runtime_api=trace,aws_smithy_http_client=trace,aws_runtime=trace,aws_config=trace,aws_sigv4=trace,hyper=trace,hyper_util=trace";

/// What the operator logs is its own: it reads the passwords, and no test of Tandem's can vouch for it.
#[test]
fn fm28_no_password_is_anywhere_but_in_secrets_and_in_the_store() {
    tandem_lab::run(|lab| async move {
        let options = ControllerOptions {
            log: EVERYTHING.into(),
            ..ControllerOptions::default()
        };
        let setup = Setup {
            // The SDK's own switch, which makes it write down what it knows to be secret.
            controller: options.env("LOG_SENSITIVE_BODIES", "true"),
            ..Setup::default()
        };
        let place = Place::unready(&lab, "leaks", setup).await?;
        place.may_hush().await?;
        place.ready().await?;
        let app = place.app("app", 1).await?;
        let mut search = Search::begin(&place).await?;
        search.secret("Tandem's key to the store", &place.key.secret);
        search.secret("the operator's key to the store", &place.aws.key().secret);
        for _ in 1..=2 {
            search.rotation(&place).await?;
        }
        ensure!(app.tally()?.attempts > 0, "the application never logged in");
        search.look_around(&place).await?;
        store(&place, &mut search);
        objects(&place, &mut search).await?;
        search.finds_nothing()
    });
}

/// What AWS's own records would have, and whoever may only list.
fn store(place: &Place, search: &mut Search) {
    let calls: Vec<_> = place.calls().iter().map(|call| format!("{call:?}")).collect();
    search.place("the store's record of calls", calls.join("\n"));
    let versions = place.aws.versions(STORED).into_iter();
    let names: Vec<_> = versions
        .map(|version| format!("{} {:?}", version.id, version.stages))
        .collect();
    search.place("the names and labels of the versions", names.join("\n"));
}

/// What whoever may not read Secrets can read all the same, and the outside of the Secret, to which annotations are
/// copied.
async fn objects(place: &Place, search: &mut Search) -> Result<()> {
    for (what, kind, name) in [
        ("the ExternalSecret", "externalsecret", EXTERNAL_SECRET),
        ("the SecretStore", "secretstore", STORE),
    ] {
        let found = place
            .lab
            .kubectl(&["-n", place.namespace(), "get", kind, name, "-o", "yaml"])?;
        search.place(what, found);
    }
    let secrets: Api<Secret> = place.stage.namespace.api();
    let secret = secrets.get(CREDENTIALS_SECRET).await?;
    search.place(
        "the application Secret's metadata",
        json!(secret.metadata).to_string(),
    );
    let workloads: Api<Deployment> = place.stage.namespace.api();
    let workloads = workloads.list(&ListParams::default()).await?.items;
    search.place("the workloads", serde_json::to_string(&workloads)?);
    let pods: Api<Pod> = place.stage.namespace.api();
    let pods = pods.list(&ListParams::default()).await?.items;
    search.place("the pods", serde_json::to_string(&pods)?);
    Ok(())
}
