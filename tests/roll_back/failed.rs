//! A rollout that fails, with `restart.onFailure: RollBack`.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tandem_lab::{ConsumerOptions, eventually};

use crate::place::{Place, Setup};
use crate::scene::{LIMIT, Scene};
use crate::way::{as_before, delivered, rolled_back};

/// Long enough for a controller that did something wrong to have done it.
const A_WHILE: Duration = Duration::from_secs(4);

/// One consumer after the other, by their names, so that the last has its turn only when the others are done.
fn in_turn() -> Value {
    json!({"spec": {"restart": {"onFailure": "RollBack", "maxConcurrent": 1}}})
}

/// How the new pods of an application fail.
struct Failure {
    deadline: u32,
    container: Value,
    /// What the reason says of it.
    said: &'static str,
}

/// They end at once, again and again, long before anybody's deadline.
fn crash() -> Failure {
    Failure {
        deadline: 600,
        container: json!({"name": "broken", "command": ["/bin/sh", "-c", "exit 3"]}),
        // Whether the kubelet backs off at the moment, or lets it run once more.
        said: "exited with 3 after ",
    }
}

/// They never start, and the Deployment's own deadline is over soon.
fn no_image() -> Failure {
    Failure {
        deadline: 5,
        container: json!({"name": "broken", "image": "gone:1"}),
        said: "Image",
    }
}

#[test]
fn fm34_a_crash_loop_is_rolled_back_and_exactly_what_was_restarted_is_restarted_again() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "broken", in_turn()).await?;
        fails(&scene, crash()).await
    });
}

#[test]
fn fm34_through_a_store_a_rollout_past_its_deadline_is_rolled_back_by_a_version_of_its_own() {
    tandem_lab::run(|lab| async move {
        let setup = Setup {
            policy: in_turn(),
            ..Setup::default()
        };
        let place = Place::new(&lab, "broken", setup).await?;
        let before = place.before().await?;
        fails(&place, no_image()).await?;
        ensure!(
            place.text()? == before.text,
            "the document in the store is another one than before"
        );
        let made = place.versions().len() - before.len();
        ensure!(
            made == 2,
            "{made} versions were made, for a rotation and its roll-back"
        );
        place.secret_never_written()
    });
}

/// Of three applications the first is restarted, new pods of the second fail, and the third is never reached.
async fn fails(scene: &Scene, failure: Failure) -> Result<()> {
    let Failure {
        deadline,
        container,
        said,
    } = failure;
    let (first, last) = (scene.app("a-first", 1).await?, scene.app("z-last", 1).await?);
    let broken = ConsumerOptions::of(&scene.stage.postgres)
        .named("broken")
        .replicas(1)
        .patch(json!({"spec": {"progressDeadlineSeconds": deadline}}));
    let broken = scene.stage.namespace.consumer(broken).await?;
    let deployments: Api<Deployment> = scene.stage.namespace.api();
    let template = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    deployments
        .patch("broken", &PatchParams::default(), &Patch::Strategic(template))
        .await?;
    eventually("the rollout that cannot end", LIMIT, async || {
        Ok((scene.revision("broken").await? == 2).then_some(()))
    })
    .await?;
    let apps = [&first, &broken, &last];
    let before = scene.credential().await?;
    let revisions = revisions(scene).await?;

    let nonce = scene.ask().await?;
    let failed = delivered(scene, &before).await?;
    let ended = rolled_back(scene, 2).await?;
    let reason = ended.reason.unwrap_or_default();
    ensure!(
        ended.trigger == "RollBack" && reason.starts_with("deployment/broken: ") && reason.contains(said),
        "rolled back for another reason: {} {reason}",
        ended.trigger
    );
    as_before(scene, &before, Some(&failed), &apps).await?;

    // Nothing more happens: no rotation is tried again, and nobody is restarted.
    tokio::time::sleep(A_WHILE).await;
    let status = scene.status().await?;
    ensure!(
        status.rotation.is_none() && status.last_handled_rotate_now.as_deref() == Some(&nonce),
        "it goes on: {:?}",
        status.rotation
    );
    let now = self::revisions(scene).await?;
    let restarts: Vec<_> = now.iter().zip(&revisions).map(|(now, then)| now - then).collect();
    ensure!(restarts == [2, 2, 0], "restarted {restarts:?} times");
    as_before(scene, &before, Some(&failed), &apps).await
}

async fn revisions(scene: &Scene) -> Result<[u32; 3]> {
    Ok([
        scene.revision("a-first").await?,
        scene.revision("broken").await?,
        scene.revision("z-last").await?,
    ])
}
