//! Exactly the rights it needs: what the audit log saw is what the manifests grant, no more and no less.

use serde_json::json;

use crate::scene::Scene;
use crate::used::{exactly, exercise};

#[test]
fn the_rights_used_are_the_rights_granted() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "rights", json!({})).await?;
        exercise(&scene).await?;
        exactly(&scene, &scene.policy_text())
    });
}
