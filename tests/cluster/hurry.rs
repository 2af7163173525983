//! Rotations in a hurry: `tandem.dev/rotate-mode`.

use anyhow::{Result, ensure};
use serde_json::json;
use tandem_lab::{Consumer, eventually};

use crate::scene::{LIMIT, POLICY, Scene};

impl Scene {
    /// Asks for a rotation in this mode.
    async fn ask_in_a_hurry(&self, mode: &str) -> Result<String> {
        self.patch(json!({"metadata": {"annotations": {"tandem.dev/rotate-mode": mode}}}))
            .await?;
        self.ask().await
    }

    /// Fails unless an Event of the policy has this reason.
    async fn told(&self, reason: &str) -> Result<()> {
        eventually(format!("the Event {reason}"), LIMIT, async || {
            let policy = format!("rotpol/{POLICY}");
            let events = self
                .lab
                .kubectl(&["-n", self.namespace(), "events", "--for", &policy])?;
            ensure!(events.contains(reason), "{events}");
            Ok(Some(()))
        })
        .await
    }
}

/// Waits until the application has logged in as this user once more.
async fn logs_in_again(app: &Consumer, user: &str) -> Result<()> {
    let logins = |app: &Consumer| anyhow::Ok(app.tally()?.attempts_as.get(user).copied().unwrap_or_default());
    let before = logins(app)?;
    eventually(format!("a login as {user}"), LIMIT, async || {
        Ok((logins(app)? > before).then_some(()))
    })
    .await
}

#[test]
fn fm51_a_leaked_password_is_refused_before_the_rollout_and_its_sessions_are_ended() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "leaked", json!({})).await?;
        let postgres = &scene.stage.postgres;
        postgres
            .sql("postgres", "GRANT pg_signal_backend TO rotator")
            .await?;
        let app = scene.app("app", 2).await?;
        let leaked = scene.credential().await?;
        let thief = postgres
            .connect_as(&leaked.user, &leaked.password, &scene.stage.pair.database)
            .await?;
        // Nobody is told the new password while its rollout is held up.
        app.change(&json!({"spec": {"paused": true}})).await?;
        let nonce = scene.ask_in_a_hurry("Immediate").await?;

        let message = scene.reason("WaitingForRollout").await?;
        ensure!(
            message.contains("the old password is refused already"),
            "{message}"
        );
        ensure!(
            !scene.logs_in(&leaked).await,
            "the leaked password logs in during the rollout"
        );
        ensure!(
            thief.batch_execute("SELECT 1").await.is_err(),
            "a session was left to who has the leaked password"
        );
        let new = scene.credential().await?;
        ensure!(scene.logs_in(&new).await, "{} cannot log in", new.user);
        let rotation = scene.status().await?.rotation;
        ensure!(
            rotation
                .as_ref()
                .is_some_and(|r| r.mode.as_deref() == Some("Immediate")),
            "{rotation:?}"
        );
        scene.told("RotatingImmediately").await?;

        app.change(&json!({"spec": {"paused": false}})).await?;
        scene.completed(&nonce).await?;
        scene.sound(&leaked, &[]).await?;
        logs_in_again(&app, &new.user).await?;
        let tally = app.tally()?;
        let others: Vec<_> = tally
            .failures
            .iter()
            .filter(|failure| failure.user != leaked.user)
            .collect();
        ensure!(others.is_empty(), "refused with the new credential: {others:?}");
        ensure!(
            scene.revision("app").await? == 2,
            "it was restarted more than once"
        );

        // The next one is asked for without a mode, and disturbs nobody.
        scene
            .patch(json!({"metadata": {"annotations": {"tandem.dev/rotate-mode": null}}}))
            .await?;
        let disturbed = tally.failures.len();
        scene.rotate().await?;
        scene.sound(&new, &[]).await?;
        let failures = app.tally()?.failures;
        ensure!(failures.len() == disturbed, "{:?}", failures.last());
        Ok(())
    });
}

#[test]
fn fm51_an_urgent_rotation_waits_for_no_window_and_ends_what_is_left_at_the_deadline() {
    tandem_lab::run(|lab| async move {
        let change = json!({"spec": {
            "schedule": {"cron": "0 0 29 2 *", "window": "1h"},
            "drain": {"timeout": "2s"},
        }});
        let scene = Scene::new(&lab, "urgent", change).await?;
        let postgres = &scene.stage.postgres;
        postgres
            .sql("postgres", "GRANT pg_signal_backend TO rotator")
            .await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        let report = postgres
            .connect_as(&before.user, &before.password, &scene.stage.pair.database)
            .await?;

        // A word that is none of the three starts nothing, and is told.
        scene.ask_in_a_hurry("Quick").await?;
        let message = scene.reason("UnknownRotateMode").await?;
        ensure!(message.contains("\"Quick\""), "{message}");
        ensure!(scene.status().await?.rotation.is_none(), "it was begun");

        // As asked for without a hurry it would wait for the 29th of February.
        let nonce = scene.ask_in_a_hurry("Graceful").await?;
        scene.reason("WaitingForWindow").await?;
        scene
            .patch(json!({"metadata": {"annotations": {"tandem.dev/rotate-mode": "Urgent"}}}))
            .await?;
        scene.completed(&nonce).await?;
        scene.told("RotatingUrgently").await?;
        ensure!(
            report.batch_execute("SELECT 1").await.is_err(),
            "the session was not ended"
        );
        scene.sound(&before, &[&app]).await
    });
}
