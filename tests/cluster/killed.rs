//! The real process, killed before and after each of its writes.

use anyhow::{Context as _, ensure};
use serde_json::json;
use tandem_lab::ControllerOptions;

use crate::happy::HAPPY_WRITES;
use crate::scene::{POLICY, Scene, mortal, unharmed};

/// Writes of a rotation after the policy's first turn, in order, for one consumer.
fn writes() -> impl Iterator<Item = (usize, &'static str)> {
    HAPPY_WRITES
        .into_iter()
        .filter(|write| *write != "adopt")
        .enumerate()
        .map(|(i, write)| (i + 1, write))
}

/// fm01 to fm08: after the journal, before and after ALTER ROLE, the flip, each restart, the rollout, retiring, and
/// recording; acknowledged or not.
#[test]
fn fm01_to_fm08_killed_before_and_after_each_write_it_recovers_and_nobody_notices() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::unready(&lab, "killed", json!({}), mortal()).await?;
        scene.ready().await?;
        let app = scene.app("app", 1).await?;
        let mut rotations = 0;
        for (number, write) in writes() {
            for when in ["before", "after"] {
                let case = format!("{when} {write} ({number})");
                let before = scene.credential().await?;
                let revision = scene.revision("app").await?;
                scene.fault(when, number)?;
                let (status, killed) = tokio::join!(scene.rotate(), scene.kill());
                killed.with_context(|| case.clone())?;
                let status = status.with_context(|| case.clone())?;
                rotations += 1;
                scene.sound(&before, &[&app]).await?;
                let restarted = scene.revision("app").await?;
                ensure!(
                    restarted == revision + 1,
                    "{case}: the application was restarted {} times",
                    restarted - revision
                );
                let finished = status.last_rotation.map(|last| last.number);
                ensure!(
                    finished == Some(rotations),
                    "{case}: rotation {finished:?} instead of {rotations}"
                );
            }
        }
        let tally = app.tally()?;
        unharmed(&tally)?;
        eprintln!("{rotations} kills survived, {} logins, 0 failed", tally.attempts);
        Ok(())
    });
}

/// fm06: killed between the restarts of two consumers, the first is not restarted again.
#[test]
fn fm06_killed_between_two_restarts_each_consumer_is_restarted_once() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::unready(&lab, "two", json!({}), mortal()).await?;
        scene.ready().await?;
        let (first, second) = (scene.app("first", 1).await?, scene.app("second", 1).await?);
        let before = scene.credential().await?;
        let revisions = (scene.revision("first").await?, scene.revision("second").await?);
        // stage, set_verifier, flip, restart: killed after the fourth write.
        scene.fault("after", 4)?;
        let (status, killed) = tokio::join!(scene.rotate(), scene.kill());
        killed?;
        status?;
        scene.sound(&before, &[&first, &second]).await?;
        let after = (scene.revision("first").await?, scene.revision("second").await?);
        ensure!(
            after == (revisions.0 + 1, revisions.1 + 1),
            "revisions {revisions:?} became {after:?}"
        );
        Ok(())
    });
}

/// fm10: two controllers that both think they lead. The second has a lease of its own, so nothing but the guards of
/// the writes keeps them apart.
#[test]
fn fm10_two_controllers_at_once_end_in_one_rotation() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "rivals", json!({})).await?;
        let options = ControllerOptions::watching(scene.namespace());
        let rival = lab
            .controller(env!("CARGO_BIN_EXE_tandem").as_ref(), options)
            .await?;
        rival.grant(scene.namespace(), &scene.policy_text()).await?;
        // The Role is the same, and its binding has room for one account: this one adds the other.
        let (own, name) = (scene.controller.namespace(), format!("{POLICY}-tandem"));
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "first", "namespace": scene.namespace()},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "tandem", "namespace": own}],
        });
        lab.apply(Some(scene.namespace()), &binding.to_string()).await?;
        let app = scene.app("app", 2).await?;
        for expected in 1..=3 {
            let before = scene.credential().await?;
            let revision = scene.revision("app").await?;
            let status = scene.rotate().await?;
            scene.sound(&before, &[&app]).await?;
            let restarts = scene.revision("app").await? - revision;
            ensure!(restarts == 1, "the application was restarted {restarts} times");
            let number = status.last_rotation.map(|last| last.number);
            ensure!(
                number == Some(expected),
                "rotation {number:?} instead of {expected}"
            );
        }
        Ok(())
    });
}

/// A leader that is told to stop does so between two writes and gives the lease up; the other replica goes on at once.
#[test]
fn a_leader_that_is_told_to_stop_in_the_middle_hands_over() {
    tandem_lab::run(|lab| async move {
        let options = ControllerOptions::default().replicas(2);
        let scene = Scene::unready(
            &lab,
            "handover",
            json!({"spec": {"retire": {"after": "3s"}}}),
            options,
        )
        .await?;
        scene.ready().await?;
        let app = scene.app("app", 2).await?;
        let before = scene.credential().await?;
        let leader = scene.controller.leader().await?.context("nobody leads")?;
        let nonce = scene.ask().await?;
        scene.phase("Delivered").await?;
        lab.kubectl(&[
            "-n",
            scene.controller.namespace(),
            "delete",
            "pod",
            &leader,
            "--wait=false",
        ])?;
        scene.completed(&nonce).await?;
        scene.sound(&before, &[&app]).await?;
        let next = scene.controller.leader().await?;
        ensure!(next.as_ref() != Some(&leader), "{leader} still leads");
        Ok(())
    });
}
