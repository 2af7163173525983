//! Bad input: a refusal that says what to type, nothing changed, and recovery by itself when it is mended.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tandem_lab::{CA_CONFIG_MAP, CREDENTIALS_SECRET, ControllerOptions, Lab, Stop};

use crate::scene::{Scene, unharmed};

/// What is wrong, the change that makes it so, and what the condition must say.
type Case = (&'static str, Value, &'static [&'static str]);

/// Wrong in the policy itself, where no rule of the schema can tell.
fn in_the_policy() -> Vec<Case> {
    vec![
        (
            "a cron that never fires",
            json!({"schedule": {"cron": "0 3 31 2 *"}}),
            &["schedule.cron", "never fires"],
        ),
        (
            "a cron of six fields",
            json!({"schedule": {"cron": "0 0 3 * * *"}}),
            &["schedule.cron", "five fields"],
        ),
        (
            "an unknown zone",
            json!({"schedule": {"cron": "0 3 * * *", "timeZone": "Europe/Atlantis"}}),
            &["schedule.timeZone", "Europe/Berlin"],
        ),
        (
            "a template with an unknown place",
            json!({"delivery": {"secret": {"templates": {"X": "{host}"}}}}),
            &["templates[X]", "{username}"],
        ),
        (
            "a reserved role",
            json!({"users": ["app_a", "pg_monitor"]}),
            &["users", "reserved"],
        ),
        (
            "a role that is missing",
            json!({"users": ["app_a", "app_z"]}),
            &["app_z", "CREATE ROLE"],
        ),
        (
            "a pair with the administrator in it",
            json!({"users": ["app_a", "rotator"]}),
            &["rotator"],
        ),
        (
            "a missing application Secret",
            json!({"delivery": {"secret": {"name": "nowhere"}}}),
            &["nowhere", "kubectl"],
        ),
        (
            "a missing key",
            json!({"delivery": {"secret": {"keys": {"username": "login"}}}}),
            &[CREDENTIALS_SECRET, "login"],
        ),
        (
            "a missing administrator's Secret",
            json!({"database": {"admin": {"secretRef": {"name": "nobody"}}}}),
            &["nobody", "kubectl"],
        ),
        (
            "a missing authority",
            json!({"database": {"tls": {"caRef": {"name": "no-ca"}}}}),
            &["no-ca", "kubectl"],
        ),
        (
            "a missing certificate of the administrator",
            json!({"database": {"admin": {"certificateRef": {"name": "no-certificate"}}}}),
            &["no-certificate", "kubectl"],
        ),
        (
            "a database that is missing",
            json!({"database": {"name": "nodb"}}),
            &["nodb"],
        ),
        (
            "a host that is unknown",
            json!({"database": {"host": "nowhere.invalid"}}),
            &["nowhere.invalid"],
        ),
        (
            "a port where nobody listens",
            json!({"database": {"port": 5433}}),
            &["5433"],
        ),
    ]
}

#[test]
fn wrong_policies_change_nothing_say_what_to_type_and_recover_when_mended() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "wrong", json!({})).await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        let mut wrong = Vec::new();
        for (what, change, says) in in_the_policy() {
            scene.apply(json!({ "spec": change })).await?;
            // A rotation is asked for: it must not begin.
            scene.ask().await?;
            if let Err(error) = stands_still(&scene, says).await {
                wrong.push(format!("{what}: {error:#}"));
            }
            ensure!(
                scene.credential().await? == before && scene.logs_in(&before).await,
                "{what} changed something"
            );
            // Taken back, so that mending alone is what brings it back to rest.
            scene
                .patch(json!({"metadata": {"annotations": {"tandem.dev/rotate-now": null}}}))
                .await?;
            scene.apply(json!({})).await?;
            if let Err(error) = scene.ready().await {
                wrong.push(format!("{what}, mended: {error:#}"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        ensure!(
            scene.controller.restarts().await? == 0,
            "the controller was restarted"
        );
        // And it still works.
        scene.rotate().await?;
        scene.sound(&before, &[&app]).await
    });
}

/// Waits for a condition that says all of this, with a rotation asked for and none begun.
async fn stands_still(scene: &Scene, says: &[&str]) -> Result<()> {
    let seen = tandem_lab::eventually(
        "a clear refusal",
        std::time::Duration::from_secs(40),
        async || {
            let status = scene.status().await?;
            ensure!(status.rotation.is_none(), "a rotation began");
            let told: Vec<_> = status
                .conditions
                .iter()
                .filter(|c| {
                    c.status == "False"
                        || c.type_ == "Preflight"
                        || (c.type_ == "Stalled" && c.status == "True")
                })
                .map(|c| format!("{}: {}", c.reason, c.message))
                .collect();
            let told = told.join("\n");
            ensure!(says.iter().all(|part| told.contains(part)), "{told}");
            Ok(Some(()))
        },
    );
    seen.await
}

#[test]
fn an_administrator_without_rights_is_told_the_grant_that_mends_it() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "powerless", json!({})).await?;
        let before = scene.credential().await?;
        scene
            .stage
            .postgres
            .sql(
                "postgres",
                "ALTER ROLE rotator NOCREATEROLE; REVOKE pg_read_all_stats FROM rotator",
            )
            .await?;
        scene.ask().await?;
        let (_, message) = scene.condition("Preflight", "False").await?;
        ensure!(
            message.contains("CREATEROLE") && message.contains("GRANT pg_read_all_stats TO"),
            "{message}"
        );
        ensure!(scene.credential().await? == before, "something was changed");
        scene
            .stage
            .postgres
            .sql(
                "postgres",
                "ALTER ROLE rotator CREATEROLE; GRANT pg_read_all_stats TO rotator",
            )
            .await?;
        tandem_lab::eventually("the rotation", crate::scene::LIMIT, async || {
            Ok((!scene.logs_in(&before).await).then_some(()))
        })
        .await?;
        Ok(())
    });
}

#[test]
fn fm29_an_authority_that_does_not_verify_is_refused_and_a_renewed_one_is_picked_up() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "authority", json!({})).await?;
        let before = scene.credential().await?;
        let right = lab.ca_pem().to_owned();
        scene
            .stage
            .namespace
            .config_map(CA_CONFIG_MAP, &[("ca.crt", &other_authority()?)])
            .await?;
        scene.ask().await?;
        let (_, message) = scene.condition("Preflight", "False").await?;
        ensure!(message.to_lowercase().contains("certificate"), "{message}");
        ensure!(scene.credential().await? == before, "something was changed");
        scene
            .stage
            .namespace
            .config_map(CA_CONFIG_MAP, &[("ca.crt", &right)])
            .await?;
        tandem_lab::eventually("the rotation", crate::scene::LIMIT, async || {
            Ok((!scene.logs_in(&before).await).then_some(()))
        })
        .await?;
        ensure!(
            scene.controller.restarts().await? == 0,
            "the controller was restarted"
        );
        Ok(())
    });
}

/// A certificate authority that has signed nothing here.
fn other_authority() -> Result<String> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    Ok(params.self_signed(&key)?.pem())
}

#[test]
fn fm14_a_journal_of_another_release_is_refused_and_not_guessed_at() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "release", json!({})).await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        spoil(
            &lab,
            &scene,
            r#"{"schema": 99, "policy": "x", "number": 7, "phase": "Teleported"}"#,
        )?;
        scene.ask().await?;
        let message = scene.reason("JournalCorrupt").await?;
        ensure!(
            message.contains("schema 99") && message.contains("kubectl"),
            "{message}"
        );
        ensure!(
            scene.credential().await? == before && scene.logs_in(&before).await,
            "something was changed"
        );
        // The command in the message.
        lab.kubectl(&["-n", scene.namespace(), "delete", "secret", "app-db-tandem"])?;
        scene
            .patch(json!({"metadata": {"annotations": {"woken": "yes"}}}))
            .await?;
        tandem_lab::eventually("the rotation", crate::scene::LIMIT, async || {
            Ok((!scene.logs_in(&before).await).then_some(()))
        })
        .await?;
        unharmed(&app.tally()?)
    });
}

fn spoil(lab: &Lab, scene: &Scene, journal: &str) -> Result<()> {
    let patch = json!({"stringData": {"journal.json": journal}}).to_string();
    lab.kubectl(&[
        "-n",
        scene.namespace(),
        "patch",
        "secret",
        "app-db-tandem",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    Ok(())
}

#[test]
fn a_policy_that_was_never_right_begins_to_work_when_its_surroundings_do() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::unready(&lab, "early", json!({}), ControllerOptions::default()).await?;
        scene.stage.postgres.stop(Stop::Fast).await?;
        // An edit has it looked at again, in case that was done before the server went.
        scene.patch(json!({"spec": {"password": {"length": 40}}})).await?;
        scene.condition("Ready", "False").await?;
        scene.stage.postgres.start().await?;
        scene.ready().await
    });
}
