//! The versions of the operator's API.

use std::pin::pin;

use anyhow::Result;
use http::{Request, Response, StatusCode};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::client::Body;
use serde_json::{Value, json};
use tandem::effects::kubernetes::Cluster;
use tandem_lab::{Lab, eventually, run};

use crate::scene::{SOON, Scene};

/// Lets the API server serve the older version besides the newest one, which the release in the lab does not.
async fn serve_both(lab: &Lab) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(lab.admin());
    for name in [
        "externalsecrets.external-secrets.io",
        "secretstores.external-secrets.io",
    ] {
        let crd = crds.get(name).await?;
        let at = crd
            .spec
            .versions
            .iter()
            .position(|version| version.name == "v1beta1")
            .unwrap();
        let patch = json!([{"op": "replace", "path": format!("/spec/versions/{at}/served"), "value": true}]);
        let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch)?);
        crds.patch(name, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

/// A way to the API server on which the newest version does not exist, as with releases up to 0.15.
fn older_only(client: Client, namespace: &str) -> Cluster {
    const NEWEST: &str = "/apis/external-secrets.io/v1/";
    let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let namespace = namespace.to_owned();
    tokio::spawn(async move {
        let mut handle = pin!(handle);
        while let Some((request, answer)) = handle.next_request().await {
            let path = request.uri().path().to_owned();
            if path.starts_with(NEWEST) {
                let gone = Response::builder().status(StatusCode::NOT_FOUND);
                answer.send_response(gone.body(Body::from(b"404 page not found\n".to_vec())).unwrap());
                continue;
            }
            let response = client.send(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let mut text = body.collect_bytes().await.unwrap().to_vec();
            if path == "/apis/external-secrets.io" {
                let mut group: Value = serde_json::from_slice(&text).unwrap();
                let versions = group["versions"].as_array_mut().unwrap();
                versions.retain(|version| version["version"] != "v1");
                text = group.to_string().into_bytes();
            }
            answer.send_response(Response::from_parts(parts, Body::from(text)));
        }
    });
    Cluster::new(Client::new(service, "default"), &namespace)
}

#[test]
fn case_10_where_both_versions_are_served_the_newest_is_used_and_where_only_the_older_is_reached_that() {
    run(|lab: Lab| async move {
        let mut scene = Scene::new(&lab, json!({})).await?;
        serve_both(&lab).await?;
        let client = lab.client_as(scene.namespace.name(), "tandem").await?;
        let older = older_only(client, scene.namespace.name());
        eventually("the older version to be served", SOON, async || {
            let seen = older.operator(&scene.policy, 1).await?;
            Ok(format!("{seen:?}").contains("v1beta1/").then_some(()))
        })
        .await?;
        assert!(scene.guard().await?.starts_with("v1/externalsecrets/"));
        scene.cluster = older;
        assert!(scene.guard().await?.starts_with("v1beta1/externalsecrets/"));
        assert_eq!(scene.findings().await?, []);
        scene.flip()?;
        scene.request(1).await?;
        scene.until_carried().await
    });
}
