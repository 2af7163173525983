//! Failure modes that need the whole: the shipped controller, real rollouts, a real server and an application.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use tandem::api::FINALIZER;
use tandem_lab::{CREDENTIALS_SECRET, ConsumerOptions, ControllerOptions, Kind, Stop, eventually};

use crate::scene::{LIMIT, POLICY, Scene, unharmed};

/// Long enough for a controller that did something wrong to have done it.
const A_WHILE: Duration = Duration::from_secs(4);

/// Keeps a rotation in `RolledOut` until it is told otherwise: a session of the old user outside the cluster.
fn held() -> serde_json::Value {
    json!({"spec": {"retire": {"after": "1h"}}})
}

#[test]
fn fm09_without_the_right_to_write_the_status_the_rotation_is_made_all_the_same() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "mute", json!({})).await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        let own = scene.controller.namespace();
        let meta = json!({"name": own});
        let rules = json!([{"apiGroups": ["tandem.dev"], "resources": ["rotationpolicies"], "verbs": ["get", "list", "watch", "patch"]}]);
        let api = "rbac.authorization.k8s.io";
        let role = json!({"apiVersion": format!("{api}/v1"), "kind": "ClusterRole", "metadata": meta, "rules": rules});
        let binding = json!({
            "apiVersion": format!("{api}/v1"), "kind": "ClusterRoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": own},
            "subjects": [{"kind": "ServiceAccount", "name": scene.controller.service_account(), "namespace": own}],
        });
        lab.apply(None, &role.to_string()).await?;
        lab.kubectl(&["delete", "clusterrolebinding", own])?;
        lab.apply(None, &binding.to_string()).await?;
        scene.ask().await?;
        eventually("the rotation to be made", LIMIT, async || {
            Ok(
                (scene.credential().await?.user != before.user && !scene.logs_in(&before).await)
                    .then_some(()),
            )
        })
        .await?;
        scene.sound(&before, &[&app]).await
    });
}

#[test]
fn fm11_a_journal_that_is_lost_before_or_after_the_flip_costs_nobody_a_login() {
    tandem_lab::run(|lab| async move {
        // Before the flip: a server that does not let the standby in keeps it there.
        let scene = Scene::new(&lab, "lost", json!({})).await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        let closed = "hostssl all app_b all reject\nhostssl all all all scram-sha-256";
        scene.stage.postgres.set_hba(closed).await?;
        let nonce = scene.ask().await?;
        scene.phase("Altered").await?;
        let secrets: Api<Secret> = scene.stage.namespace.api();
        secrets
            .delete(&format!("{POLICY}-tandem"), &DeleteParams::default())
            .await?;
        scene
            .stage
            .postgres
            .set_hba("hostssl all all all scram-sha-256")
            .await?;
        scene.completed(&nonce).await?;
        scene.sound(&before, &[&app]).await?;

        // After it.
        scene.patch(held()).await?;
        let before = scene.credential().await?;
        let nonce = scene.ask().await?;
        scene.phase("RolledOut").await?;
        secrets
            .delete(&format!("{POLICY}-tandem"), &DeleteParams::default())
            .await?;
        scene.patch(json!({"spec": {"retire": {"after": "0s"}}})).await?;
        let status = scene.completed(&nonce).await?;
        ensure!(
            status
                .last_rotation
                .is_some_and(|last| last.trigger == "Recovery"),
            "it was not recovered"
        );
        scene.sound(&before, &[&app]).await
    });
}

#[test]
fn fm12_a_policy_deleted_in_the_middle_leaves_everybody_able_to_log_in() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "deleted", held()).await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        scene.ask().await?;
        scene.phase("RolledOut").await?;
        ensure!(
            scene.policies.get(POLICY).await?.metadata.finalizers == Some(vec![FINALIZER.into()]),
            "no finalizer"
        );
        scene.policies.delete(POLICY, &DeleteParams::default()).await?;
        eventually("the policy to be gone", LIMIT, async || {
            Ok(scene.policies.get_opt(POLICY).await?.is_none().then_some(()))
        })
        .await?;
        tokio::time::sleep(A_WHILE).await;
        let now = scene.credential().await?;
        ensure!(
            scene.logs_in(&before).await && scene.logs_in(&now).await,
            "both credentials must be valid"
        );
        let events = lab.kubectl(&[
            "-n",
            scene.namespace(),
            "get",
            "events",
            "-o",
            "jsonpath={.items[*].reason}",
        ])?;
        ensure!(events.contains("RotationAbandoned"), "nobody was told: {events}");
        unharmed(&app.tally()?)
    });
}

#[test]
fn fm43_rights_that_are_gone_hold_up_no_deletion() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "rightless", json!({})).await?;
        let before = scene.credential().await?;
        lab.kubectl(&["-n", scene.namespace(), "delete", "rolebindings", "--all"])?;
        scene.policies.delete(POLICY, &DeleteParams::default()).await?;
        eventually("the policy to be gone", LIMIT, async || {
            Ok(scene.policies.get_opt(POLICY).await?.is_none().then_some(()))
        })
        .await?;
        ensure!(scene.logs_in(&before).await, "the credential was changed");
        Ok(())
    });
}

#[test]
fn fm13_a_policy_edited_in_the_middle_ends_on_its_snapshot() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "edited", json!({"spec": {"retire": {"after": "4s"}}})).await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        let nonce = scene.ask().await?;
        scene.phase("RolledOut").await?;
        // A host that does not exist: were the edit taken up, nothing would go on.
        scene
            .patch(json!({"spec": {"database": {"host": "nowhere.example.com"}}}))
            .await?;
        eventually("the rotation to end", LIMIT, async || {
            let status = scene.status().await?;
            let ended =
                status.last_handled_rotate_now.as_deref() == Some(&nonce) && status.rotation.is_none();
            Ok(ended.then_some(()))
        })
        .await?;
        scene.sound(&before, &[&app]).await?;
        // From now on the edit counts.
        scene.condition("Preflight", "False").await?;
        Ok(())
    });
}

#[test]
fn fm15_a_database_that_is_gone_in_the_middle_is_waited_for() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "gone", json!({"spec": {"retire": {"after": "6s"}}})).await?;
        let before = scene.credential().await?;
        // Before the flip.
        scene.stage.postgres.stop(Stop::Fast).await?;
        let nonce = scene.ask().await?;
        let message = scene.condition("Preflight", "False").await?.1;
        ensure!(
            message.contains(&scene.stage.postgres.host()),
            "the message must name the server: {message}"
        );
        ensure!(
            scene.credential().await? == before,
            "nothing may have been flipped"
        );
        scene.stage.postgres.start().await?;
        scene.phase("RolledOut").await?;
        // After it.
        scene.stage.postgres.stop(Stop::Immediate).await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let rotation = scene.status().await?.rotation.context("the rotation must wait")?;
        ensure!(
            rotation.message.contains(&scene.stage.postgres.host()),
            "it must say what it waits for: {}",
            rotation.message
        );
        scene.stage.postgres.start().await?;
        scene.completed(&nonce).await?;
        scene.sound(&before, &[]).await
    });
}

#[test]
fn fm18_a_password_policy_of_the_server_does_not_stand_in_the_way() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "picky", json!({"spec": {"password": {"symbols": true}}})).await?;
        scene
            .stage
            .postgres
            .sql(
                "postgres",
                "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements', 'passwordcheck'",
            )
            .await?;
        scene.stage.postgres.restart(Stop::Fast).await?;
        let before = scene.credential().await?;
        scene.rotate().await?;
        let now = scene.credential().await?;
        ensure!(now.password.contains(['-', '_']), "a symbol was asked for");
        scene.sound(&before, &[]).await
    });
}

#[test]
fn fm20_a_right_that_is_lost_after_preflight_holds_the_flip() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "unlike", json!({})).await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        let postgres = &scene.stage.postgres;
        let root = postgres.superuser();
        let client = postgres.connect_as(&root.user, &root.password, "appdb").await?;
        // Nobody sees it before it is committed, and until then nobody else can change the role.
        client.batch_execute("BEGIN; ALTER ROLE app_b NOINHERIT").await?;
        let nonce = scene.ask().await?;
        scene.phase("Staged").await?;
        client.batch_execute("COMMIT").await?;
        eventually("the flip to be held", LIMIT, async || {
            let rotation = scene.status().await?.rotation;
            Ok(rotation.filter(|rotation| rotation.message.contains("run: ALTER ROLE app_b INHERIT")))
        })
        .await?;
        tokio::time::sleep(A_WHILE).await;
        ensure!(scene.credential().await? == before, "it was flipped all the same");
        client.batch_execute("ALTER ROLE app_b INHERIT").await?;
        scene.completed(&nonce).await?;
        scene.sound(&before, &[&app]).await
    });
}

#[test]
fn fm21_a_failover_that_loses_the_change_is_made_good() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "failover", json!({"spec": {"retire": {"after": "5s"}}})).await?;
        let before = scene.credential().await?;
        let nonce = scene.ask().await?;
        scene.phase("Delivered").await?;
        // What a promoted replica without the change looks like: the new user has another password again.
        let now = scene.credential().await?;
        scene
            .stage
            .postgres
            .sql(
                "postgres",
                &format!("ALTER ROLE {} PASSWORD 'lost-in-the-failover-1'", now.user),
            )
            .await?;
        eventually("the change to be made again", LIMIT, async || {
            Ok(scene.logs_in(&now).await.then_some(()))
        })
        .await?;
        scene.completed(&nonce).await?;
        scene.sound(&before, &[]).await
    });
}

#[test]
fn fm30_what_others_write_into_the_secret_stays() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "foreign", json!({})).await?;
        let change = json!({"stringData": {"foreign": "kept"}, "metadata": {"labels": {"team": "orders"}}});
        scene.patch_secret(&change).await?;
        let before = scene.credential().await?;
        scene.rotate().await?;
        let secret = scene.secret().await?;
        ensure!(
            secret.get("foreign").map(String::as_str) == Some("kept"),
            "a foreign key was lost"
        );
        let now = scene.credential().await?;
        ensure!(
            secret["DATABASE_URL"] == format!("postgresql://{}:{}@db:5432/appdb", now.user, now.password),
            "the template is not of the same credential"
        );
        scene.sound(&before, &[]).await
    });
}

#[test]
fn fm37_pods_that_are_replaced_by_hand_only_are_waited_for_and_named() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "by-hand", json!({})).await?;
        let options = ConsumerOptions::of(&scene.stage.postgres)
            .named("set")
            .kind(Kind::StatefulSet)
            .replicas(2);
        let app = scene
            .stage
            .namespace
            .consumer(options.patch(json!({"spec": {"updateStrategy": {"type": "OnDelete"}}})))
            .await?;
        let before = scene.credential().await?;
        let nonce = scene.ask().await?;
        scene.phase("Restarted").await?;
        tokio::time::sleep(A_WHILE).await;
        let rotation = scene.status().await?.rotation.context("the rotation must wait")?;
        ensure!(
            rotation.message.contains("set-0") && rotation.message.contains("OnDelete"),
            "{}",
            rotation.message
        );
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");
        let pods: Api<Pod> = scene.stage.namespace.api();
        for pod in ["set-0", "set-1"] {
            pods.delete(pod, &DeleteParams::default()).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        scene.completed(&nonce).await?;
        scene.sound(&before, &[]).await?;
        unharmed(&app.tally()?)
    });
}

#[test]
fn fm38_nothing_running_needs_no_restart_and_a_running_job_is_waited_for() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "jobs", json!({})).await?;
        scene
            .stage
            .namespace
            .consumer(
                ConsumerOptions::of(&scene.stage.postgres)
                    .named("asleep")
                    .replicas(0),
            )
            .await?;
        let job = ConsumerOptions::of(&scene.stage.postgres)
            .named("migration")
            .kind(Kind::Job);
        let job = ConsumerOptions {
            lasts: Some(Duration::from_secs(20)),
            ..job
        };
        let job = scene.stage.namespace.consumer(job).await?;
        let before = scene.credential().await?;
        let revision = scene.revision("asleep").await?;
        let nonce = scene.ask().await?;
        scene.phase("Restarted").await?;
        tokio::time::sleep(A_WHILE).await;
        let rotation = scene.status().await?.rotation.context("the rotation must wait")?;
        ensure!(rotation.message.contains("job/migration"), "{}", rotation.message);
        scene.completed(&nonce).await?;
        ensure!(
            scene.revision("asleep").await? == revision,
            "a workload without pods was restarted"
        );
        scene.sound(&before, &[&job]).await
    });
}

#[test]
fn fm39_a_session_that_nobody_expected_is_named_and_waited_for_or_ended_as_asked() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "laggard", json!({})).await?;
        let (before, database) = (scene.credential().await?, &scene.stage.pair.database);
        let report = scene
            .stage
            .postgres
            .connect_as(&before.user, &before.password, database)
            .await?;
        report
            .batch_execute("SET application_name = 'monthly report'")
            .await?;
        let nonce = scene.ask().await?;
        let message = scene.reason("WaitingForSessions").await?;
        ensure!(message.contains("monthly report"), "{message}");
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");
        let laggards = scene.status().await?.laggards;
        ensure!(
            laggards.iter().any(|l| l.application_name == "monthly report"),
            "{laggards:?}"
        );
        drop(report);
        scene.completed(&nonce).await?;
        scene.sound(&before, &[]).await?;

        // Ended when the time is over, where that is asked for and allowed.
        scene
            .stage
            .postgres
            .sql("postgres", "GRANT pg_signal_backend TO rotator")
            .await?;
        scene
            .patch(json!({"spec": {"drain": {"timeout": "2s", "onActiveSessions": "Terminate"}}}))
            .await?;
        let before = scene.credential().await?;
        let report = scene
            .stage
            .postgres
            .connect_as(&before.user, &before.password, database)
            .await?;
        scene.rotate().await?;
        ensure!(
            report.batch_execute("SELECT 1").await.is_err(),
            "the session was not ended"
        );
        scene.sound(&before, &[]).await
    });
}

#[test]
fn fm40_an_idle_pod_without_a_session_still_counts() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "idle", json!({})).await?;
        // It holds the credential in its environment and has not logged in yet.
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "idle", "namespace": scene.namespace()},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                "name": "idle", "image": "lab.local/empty:1", "imagePullPolicy": "Never",
                "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": CREDENTIALS_SECRET, "key": "password"}}}],
            }]}
        });
        lab.apply(Some(scene.namespace()), &pod.to_string()).await?;
        scene.stage.namespace.pod_ready("idle").await?;
        let before = scene.credential().await?;
        let nonce = scene.ask().await?;
        scene.phase("Restarted").await?;
        tokio::time::sleep(A_WHILE).await;
        let rotation = scene.status().await?.rotation.context("the rotation must wait")?;
        ensure!(rotation.message.contains("pod/idle"), "{}", rotation.message);
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");
        let pods: Api<Pod> = scene.stage.namespace.api();
        pods.delete("idle", &DeleteParams::default()).await?;
        scene.completed(&nonce).await?;
        scene.sound(&before, &[]).await
    });
}

#[test]
fn fm46_each_value_starts_one_rotation_and_no_more() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "nonces", json!({})).await?;
        let first = scene.ask().await?;
        scene.phase("Staged").await?;
        // Asked again while it runs, twice: the last value is answered by one rotation after this one.
        scene.ask().await?;
        let last = scene.ask().await?;
        let status = scene.completed(&last).await?;
        ensure!(
            status.last_rotation.as_ref().map(|r| r.number) == Some(2),
            "{:?}",
            status.last_rotation
        );
        // Replayed, as a GitOps tool does; and taken away.
        for value in [json!(last), json!(null)] {
            scene
                .patch(json!({"metadata": {"annotations": {"tandem.dev/rotate-now": value}}}))
                .await?;
            tokio::time::sleep(A_WHILE).await;
            let status = scene.status().await?;
            ensure!(status.rotation.is_none(), "{value} started a rotation");
            ensure!(
                status.last_rotation.map(|r| r.number) == Some(2),
                "{value} started a rotation"
            );
        }
        ensure!(first != last, "the test itself is wrong");
        Ok(())
    });
}

#[test]
fn fm47_suspended_it_stands_still_before_the_next_side_effect() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "suspended", json!({"spec": {"retire": {"after": "3s"}}})).await?;
        let before = scene.credential().await?;
        scene.patch(json!({"spec": {"suspend": true}})).await?;
        scene.reason("Suspended").await?;
        let nonce = scene.ask().await?;
        tokio::time::sleep(A_WHILE).await;
        ensure!(
            scene.credential().await? == before && scene.status().await?.rotation.is_none(),
            "it began while suspended"
        );
        scene.patch(json!({"spec": {"suspend": false}})).await?;
        scene.phase("RolledOut").await?;
        scene.patch(json!({"spec": {"suspend": true}})).await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        ensure!(
            scene.logs_in(&before).await,
            "the old user was retired while suspended"
        );
        scene.reason("Suspended").await?;
        scene.patch(json!({"spec": {"suspend": false}})).await?;
        scene.completed(&nonce).await?;
        scene.sound(&before, &[]).await
    });
}

#[test]
fn fm50_adopting_live_users_rotates_nothing() {
    tandem_lab::run(|lab| async move {
        let change = json!({"spec": {"schedule": {"cron": "* * * * *"}, "suspend": true}});
        let scene = Scene::unready(&lab, "adopted", change, ControllerOptions::default()).await?;
        scene.reason("Suspended").await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        ensure!(
            scene.status().await?.active_user.as_deref() == Some(&before.user),
            "the active user is read from the Secret"
        );
        ensure!(scene.logs_in(&before).await, "nothing may be changed");
        // A schedule counts from when it was first seen, so the minute that ends while it is suspended may be made up
        // for, and nothing before it.
        scene
            .patch(json!({"spec": {"schedule": null, "suspend": false}}))
            .await?;
        scene.ready().await?;
        tokio::time::sleep(A_WHILE).await;
        ensure!(
            scene.credential().await? == before && scene.status().await?.last_rotation.is_none(),
            "adoption rotated"
        );
        unharmed(&app.tally()?)
    });
}

impl Scene {
    async fn patch_secret(&self, change: &serde_json::Value) -> Result<()> {
        let secrets: Api<Secret> = self.stage.namespace.api();
        secrets
            .patch(CREDENTIALS_SECRET, &PatchParams::default(), &Patch::Merge(change))
            .await?;
        Ok(())
    }
}
