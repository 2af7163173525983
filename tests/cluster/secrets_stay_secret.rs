//! fm28: the passwords of whole rotations, searched for everywhere they could have leaked to.

use anyhow::ensure;
use serde_json::json;
use tandem_lab::ControllerOptions;

use crate::leaks::Search;
use crate::scene::Scene;

#[test]
fn fm28_no_password_is_anywhere_but_in_secrets() {
    tandem_lab::run(|lab| async move {
        let options = ControllerOptions {
            log: "trace".into(),
            ..ControllerOptions::default()
        };
        let scene = Scene::unready(&lab, "leaks", json!({}), options).await?;
        scene.may_hush().await?;
        scene.ready().await?;
        let app = scene.app("app", 1).await?;
        let mut search = Search::begin(&scene).await?;
        for _ in 1..=2 {
            search.rotation(&scene).await?;
        }
        ensure!(app.tally()?.attempts > 0, "the application never logged in");
        search.look_around(&scene).await?;
        search.finds_nothing()
    });
}
