//! A pooler with a list of passwords, which Tandem keeps in step.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tandem_lab::{
    CONSOLE_SECRET, ConsumerOptions, ControllerOptions, KnownBy, PgBouncer, PgBouncerOptions,
    PostgresOptions, USERLIST_SECRET, eventually,
};

use crate::scene::{LIMIT, Scene, direct, unharmed};

const KEY: &str = "userlist.txt";

fn pooled(pooler: &PgBouncer, list: &str) -> Value {
    let endpoint = json!({
        "name": "pgbouncer", "role": "Pooler", "host": pooler.host(), "port": pooler.port(),
        "console": {"secretRef": {"name": CONSOLE_SECRET}},
        "userlist": {"secretRef": {"name": list}},
    });
    json!({"spec": {"database": {"endpoints": [endpoint]}}})
}

#[test]
fn fm24_a_list_of_passwords_is_kept_in_step_and_nobody_is_told_before_the_pooler_has_read_it() {
    tandem_lab::run(|lab| async move {
        let namespace = lab.namespace("listed").await?;
        let stage = namespace.stage(PostgresOptions::named("db")).await?;
        let pooler = stage
            .pgbouncer(PgBouncerOptions::known_by(KnownBy::Userlist).setting("server_idle_timeout", "1"))
            .await?;
        let usual = direct(&stage);
        let scene = Scene::on(stage, usual, ControllerOptions::default()).await?;
        refused_before_anything_is_changed(&scene, &pooler).await?;

        // A line of somebody's own, in a form of their own.
        let list = list(&scene).await? + "; the report's\n  \"re\"\"port\"\t\"plain \"\" text\" ; ends here";
        put(&scene, &list).await?;
        scene.apply(pooled(&pooler, USERLIST_SECRET)).await?;
        scene.ready().await?;
        let through = ConsumerOptions {
            host: pooler.host(),
            port: pooler.port(),
            ..ConsumerOptions::of(&scene.stage.postgres).named("web")
        };
        let web = scene.stage.namespace.consumer(through).await?;
        // There and back: the second one begins with the entry that the first one struck.
        let mut old = None;
        for revision in [2, 3] {
            let before = scene.credential().await?;
            scene.rotate().await?;
            scene.sound(&before, &[&web]).await?;
            ensure!(scene.revision("web").await? == revision, "not restarted once");
            in_step(&scene, &list).await?;
            old = Some(before);
        }
        // The pooler may not have read yet that it is gone; then it opens its door, and the server does not.
        let old = old.context("no rotation")?;
        let served = match pooler.connect_as(&old.user, &old.password, "appdb").await {
            Ok(client) => client.simple_query("SELECT 1").await.is_ok(),
            Err(_) => false,
        };
        ensure!(!served, "the old password is served through the pooler");
        unharmed(&web.tally()?)
    });
}

/// What cannot work at night is told at noon.
async fn refused_before_anything_is_changed(scene: &Scene, pooler: &PgBouncer) -> Result<()> {
    let list = list(scene).await?;
    let entry = format!("\"{}\" ", scene.stage.pair.b.user);
    let wrong = [
        ("missing", None, "UserlistMissing"),
        (
            "broken",
            Some(list.clone() + "app_c secret\n"),
            "UserlistUnusable",
        ),
        (
            "lacking",
            Some(list.replace(&entry, "\"app_c\" ")),
            "UserlistUnusable",
        ),
        (
            "twice",
            Some(list.clone() + &entry + "\"x\"\n"),
            "UserlistUnusable",
        ),
        ("owned", Some(list), "UserlistOwnedByController"),
    ];
    for (name, text, reason) in wrong {
        if let Some(text) = text {
            scene.stage.namespace.secret(name, &[(KEY, &text)]).await?;
        }
        if name == "owned" {
            let mark = json!({"metadata": {"labels": {"reconcile.external-secrets.io/managed": "true"}}});
            let secrets: Api<Secret> = scene.stage.namespace.api();
            secrets
                .patch(name, &PatchParams::default(), &Patch::Merge(mark))
                .await?;
        }
        scene.apply(pooled(pooler, name)).await?;
        let secret = format!("Secret {}/{name}", scene.namespace());
        // What was told of the one before may stand there for a moment.
        let message = eventually(format!("{name} to be refused"), LIMIT, async || {
            let message = scene.reason(reason).await?;
            Ok(message.contains(&secret).then_some(message))
        })
        .await?;
        ensure!(message.contains("kubectl"), "{name}: {message}");
    }
    Ok(())
}

async fn list(scene: &Scene) -> Result<String> {
    let secret = scene.stage.namespace.read_secret(USERLIST_SECRET).await?;
    secret.get(KEY).cloned().context("the list is gone")
}

async fn put(scene: &Scene, list: &str) -> Result<()> {
    scene
        .stage
        .namespace
        .secret(USERLIST_SECRET, &[(KEY, list)])
        .await
        .map(drop)
}

/// Both users' entries are what the server keeps, and everything else is as it was.
async fn in_step(scene: &Scene, before: &str) -> Result<()> {
    let pair = &scene.stage.pair;
    let mut expected = String::new();
    for line in before.split_inclusive('\n') {
        let ours = [&pair.a, &pair.b]
            .into_iter()
            .find(|login| line.starts_with(&format!("\"{}\"", login.user)));
        let Some(login) = ours else {
            expected.push_str(line);
            continue;
        };
        let kept = format!(
            "SELECT rolpassword FROM pg_authid WHERE rolname = '{}'",
            login.user
        );
        let kept = scene.stage.postgres.value("postgres", &kept).await?;
        let kept = kept.context("no password")?;
        writeln!(expected, "\"{}\" \"{kept}\"", login.user)?;
    }
    ensure!(list(scene).await? == expected, "the list is not in step");
    Ok(())
}
