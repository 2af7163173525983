//! The real process, killed before and after each of its writes, with a store and an operator between it and the Secret.

use anyhow::{Context as _, ensure};
use serde_json::json;
use tandem_lab::ControllerOptions;

use crate::happy::HAPPY_WRITES_THROUGH_A_STORE;
use crate::place::{Place, Setup};
use crate::scene::{POLICY, mortal, unharmed};

/// Writes of a rotation after the policy's first turn, in order, for one consumer.
fn writes() -> impl Iterator<Item = (usize, &'static str)> {
    HAPPY_WRITES_THROUGH_A_STORE
        .into_iter()
        .filter(|write| *write != "adopt")
        .enumerate()
        .map(|(i, write)| (i + 1, write))
}

/// fm01 to fm08 with a store: also before and after the proposal, the move of `AWSCURRENT`, the request to sync and the
/// record of the delivery.
#[test]
fn fm01_to_fm08_killed_before_and_after_each_write_it_makes_one_version_and_nobody_notices() {
    tandem_lab::run(|lab| async move {
        let setup = Setup {
            controller: mortal(),
            ..Setup::default()
        };
        let place = Place::new(&lab, "killed", setup).await?;
        let app = place.app("app", 1).await?;
        let mut rotations = 0;
        for (number, write) in writes() {
            for when in ["before", "after"] {
                let case = format!("{when} {write} ({number})");
                let (before, revision) = (place.before().await?, place.revision("app").await?);
                place.fault(when, number)?;
                let (status, killed) = tokio::join!(place.rotate(), place.kill());
                killed.with_context(|| case.clone())?;
                let status = status.with_context(|| case.clone())?;
                rotations += 1;
                place
                    .rotated(&before, &[&app])
                    .await
                    .with_context(|| case.clone())?;
                let restarts = place.revision("app").await? - revision;
                ensure!(
                    restarts == 1,
                    "{case}: the application was restarted {restarts} times"
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
        eprintln!(
            "{rotations} kills survived, {rotations} versions made, {} logins, 0 failed",
            tally.attempts
        );
        Ok(())
    });
}

/// fm10 with a store: two controllers that both think they lead propose the same version.
#[test]
fn fm10_two_controllers_at_once_make_one_version() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "rivals", Setup::default()).await?;
        let options = ControllerOptions::watching(place.namespace())
            .env("AWS_ENDPOINT_URL", &place.aws.endpoint())
            .env("AWS_ACCESS_KEY_ID", &place.key.id)
            .env("AWS_SECRET_ACCESS_KEY", &place.key.secret);
        let rival = lab
            .controller(env!("CARGO_BIN_EXE_tandem").as_ref(), options)
            .await?;
        rival.grant(place.namespace(), &place.policy_text()).await?;
        // The Role is the same, and its binding has room for one account: this one adds the other.
        let (own, name) = (place.controller.namespace(), format!("{POLICY}-tandem"));
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "first", "namespace": place.namespace()},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "tandem", "namespace": own}],
        });
        lab.apply(Some(place.namespace()), &binding.to_string()).await?;
        let app = place.app("app", 2).await?;
        for expected in 1..=3 {
            let (before, revision) = (place.before().await?, place.revision("app").await?);
            let status = place.rotate().await?;
            place.rotated(&before, &[&app]).await?;
            let restarts = place.revision("app").await? - revision;
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
