//! Between two rotations: a second writer and a failover are found, told and left alone, until somebody decides.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tandem_lab::{CREDENTIALS_SECRET, ControllerOptions, Lab, Login, PostgresOptions, eventually};

use crate::scene::{LIMIT, POLICY, Scene, direct};

/// The shortest time between two checks.
const EVERY: &str = "10s";

impl Scene {
    /// Waits until the check has this result, and returns its message.
    async fn drifts(&self, reason: &str) -> Result<String> {
        let (seen, message) = self.condition("CredentialsInSync", "False").await?;
        ensure!(seen == reason, "{seen}: {message}");
        Ok(message)
    }

    /// Does what a message says: the command that ends with this annotation.
    async fn say(&self, message: &str, annotation: &str) -> Result<()> {
        let command = format!(
            "kubectl -n {} annotate --overwrite rotpol {POLICY} tandem.dev/{annotation}=$(date +%s)",
            self.namespace()
        );
        ensure!(message.contains(&command), "{command:?} is not in: {message}");
        let annotations = json!({"metadata": {"annotations": {format!("tandem.dev/{annotation}"): "once"}}});
        self.patch(annotations).await
    }

    async fn in_order(&self) -> Result<String> {
        Ok(self.condition("CredentialsInSync", "True").await?.1)
    }

    /// What the server keeps as the passwords of the pair.
    async fn verifiers(&self) -> Result<String> {
        let sql = "SELECT string_agg(rolpassword, ' ' ORDER BY rolname) FROM pg_authid WHERE rolname IN ('app_a', 'app_b')";
        let kept = self.stage.postgres.value("postgres", sql).await?;
        kept.context("no password is kept")
    }

    /// Waits until one more check has this result.
    async fn another_check(&self, result: &str) -> Result<()> {
        let seen = self.checks(result).await?;
        eventually("another check", LIMIT, async || {
            Ok((self.checks(result).await? > seen).then_some(()))
        })
        .await
    }

    /// How many checks had this result.
    async fn checks(&self, result: &str) -> Result<u64> {
        let metrics = self.controller.metrics().await?;
        let line = format!("tandem_checks_total{{result=\"{result}\"}} ");
        let counts = metrics.lines().filter_map(|text| text.strip_prefix(&line));
        Ok(counts.filter_map(|count| count.parse::<u64>().ok()).sum())
    }
}

async fn set_password(scene: &Scene, login: &Login) -> Result<()> {
    let sql = format!("ALTER ROLE {} PASSWORD '{}'", login.user, login.password);
    scene.stage.postgres.sql("postgres", &sql).await.map(drop)
}

/// What the controller has asked of the API server since then.
fn requests(lab: &Lab, scene: &Scene, since: jiff::Timestamp) -> Result<Vec<tandem_lab::Request>> {
    let (namespace, name) = (scene.controller.namespace(), scene.controller.service_account());
    lab.audit().since(since).service_account(namespace, name).read()
}

/// What it has changed since then, but for its status, its Events and its lease.
fn written(lab: &Lab, scene: &Scene, since: jiff::Timestamp) -> Result<Vec<String>> {
    let told = ["events", "leases"];
    Ok(requests(lab, scene, since)?
        .into_iter()
        .filter(tandem_lab::Request::is_write)
        .filter(|request| request.subresource.as_deref() != Some("status"))
        .filter(|request| !told.contains(&request.resource.as_str()))
        .map(|request| format!("{request:?}"))
        .collect())
}

#[test]
fn fm23_a_second_writer_is_told_and_left_alone_until_somebody_decides() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "second-writer", json!({"spec": {"checkEvery": EVERY}})).await?;
        let before = scene.credential().await?;
        scene.rotate().await?;
        let now = scene.credential().await?;
        let message = eventually("the check", LIMIT, async || {
            let message = scene.in_order().await?;
            Ok(message.contains("retired is refused").then_some(message))
        })
        .await?;
        ensure!(message.contains("logs in"), "{message}");

        // What it costs while all is well: no list, no write, and nothing of the workloads.
        let begun = jiff::Timestamp::now();
        scene.another_check("in_sync").await?;
        let requests = requests(&lab, &scene, begun)?;
        let about = |request: &tandem_lab::Request| format!("{} {}", request.verb, request.resource);
        let mut asked: Vec<_> = requests.iter().map(about).collect();
        asked.retain(|request| !request.ends_with("leases"));
        asked.sort();
        let expected = [
            "get configmaps",
            "get rotationpolicies",
            "get secrets",
            "get secrets",
            "get secrets",
        ];
        ensure!(asked == expected, "{asked:?}");

        // Somebody gives the active user another password.
        let begun = jiff::Timestamp::now();
        set_password(&scene, &Login::new(&now.user, "set-by-Terraform-1")).await?;
        let theirs = scene.verifiers().await?;
        let message = scene.drifts("ActivePasswordRefused").await?;
        for part in ["those that log in now are refused", "second writer", &now.user] {
            ensure!(message.contains(part), "{part:?} is not in: {message}");
        }
        scene.another_check("active_refused").await?;
        ensure!(scene.verifiers().await? == theirs, "the second writer was fought");
        let wrote = written(&lab, &scene, begun)?;
        ensure!(wrote.is_empty(), "something was written: {wrote:?}");
        // Nor does a rotation begin over it.
        scene.ask().await?;
        scene.another_check("active_refused").await?;
        scene.reason("ActivePasswordRefused").await?;
        ensure!(scene.verifiers().await? == theirs, "a rotation began over it");
        let taken_back = json!({"metadata": {"annotations": {"tandem.dev/rotate-now": null}}});
        scene.patch(taken_back).await?;

        // Set once more when somebody asks, and only then.
        scene.say(&message, "reapply").await?;
        scene.in_order().await?;
        ensure!(scene.logs_in(&now).await, "{} cannot log in", now.user);
        ensure!(!scene.logs_in(&before).await, "the retired password came back");
        let status = scene.status().await?;
        ensure!(
            status.last_handled_reapply.as_deref() == Some("once"),
            "{status:?}"
        );

        // The retired password comes back: a person may accept that.
        set_password(&scene, &before).await?;
        let message = scene.drifts("RetiredPasswordAccepted").await?;
        ensure!(message.contains("logs in all the same"), "{message}");
        scene.say(&message, "accept").await?;
        scene.in_order().await?;
        ensure!(scene.logs_in(&before).await, "what was accepted was changed");

        // And the credential of another writer: by telling it to the applications.
        let theirs = Login::new(&now.user, "set-by-Terraform-2");
        set_password(&scene, &theirs).await?;
        scene.drifts("ActivePasswordRefused").await?;
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = scene.stage.namespace.api();
        let change = json!({"stringData": {"password": theirs.password}});
        secrets
            .patch(CREDENTIALS_SECRET, &PatchParams::default(), &Patch::Merge(change))
            .await?;
        scene.in_order().await?;
        ensure!(scene.credential().await? == theirs, "the Secret was changed");

        // The next rotation begins from what is there.
        let nonce = scene.ask().await?;
        scene.completed(&nonce).await?;
        scene.sound(&theirs, &[]).await?;
        ensure!(!scene.logs_in(&before).await, "the rotation has replaced it");
        Ok(())
    });
}

#[test]
fn fm21_a_promotion_that_loses_a_rotation_is_found_afterwards_and_made_good_when_asked() {
    tandem_lab::run(|lab| async move {
        let namespace = lab.namespace("lost-rotation").await?;
        let main = format!("db-main.{}.svc.cluster.local", namespace.name());
        let options = PostgresOptions {
            hosts: vec![main.clone()],
            ..PostgresOptions::named("db")
        };
        let stage = namespace.stage(options).await?;
        let standby = stage.postgres.replica("db-next").await?;
        namespace.name_servers("db-main", &[&stage.postgres]).await?;
        let mut usual = direct(&stage);
        usual["spec"]["database"]["host"] = json!(main);
        usual["spec"]["checkEvery"] = json!(EVERY);
        let scene = Scene::on(stage, usual, ControllerOptions::default()).await?;
        scene.apply(json!({})).await?;
        scene.ready().await?;
        let before = scene.credential().await?;
        standby.cut_off().await?;
        scene.rotate().await?;
        let now = scene.credential().await?;

        scene.stage.postgres.stop(tandem_lab::Stop::Immediate).await?;
        standby.promote().await?;
        namespace.name_servers("db-main", &[&standby]).await?;
        let message = scene.drifts("ActivePasswordRefused").await?;
        for part in [
            "on timeline 1",
            "on timeline 2",
            "a standby that lacked the change was promoted",
        ] {
            ensure!(message.contains(part), "{part:?} is not in: {message}");
        }
        let lets_in = async |login: &Login| {
            standby
                .connect_as(&login.user, &login.password, "appdb")
                .await
                .is_ok()
        };
        ensure!(
            !lets_in(&now).await && lets_in(&before).await,
            "it was made good unasked"
        );
        scene.say(&message, "reapply").await?;
        scene.in_order().await?;
        ensure!(
            lets_in(&now).await && !lets_in(&before).await,
            "it was not made good"
        );
        let status = scene.status().await?;
        ensure!(
            status.rotation.is_none() && status.last_rotation.is_some_and(|last| last.number == 1),
            "a rotation began"
        );
        Ok(())
    });
}
