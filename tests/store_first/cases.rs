//! The compatibility cases of a rotation that goes through, by number; docs/compatibility.md has the table.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};
use tandem::api::FORCE_SYNC;
use tandem_lab::aws::{self, Call};
use tandem_lab::{CREDENTIALS_SECRET, ControllerOptions, Login, eventually};

use crate::place::{A_WHILE, EXTERNAL_SECRET, Place, STORE, STORED, Setup, document};
use crate::scene::{LIMIT, mortal};
use crate::still::requests;
use crate::traps::kubectl;

#[test]
fn case03_case09_case17_one_annotation_that_is_copied_to_the_secret_restarts_nobody_and_is_in_nobodys_way() {
    tandem_lab::run(|lab| async move {
        let setup = Setup::external_secret(json!({"spec": {"refreshPolicy": "OnChange"}}));
        let place = Place::new(&lab, "annotated", setup).await?;
        let app = place.app("app", 1).await?;
        // The manifest as it is in Git, by a tool that from now on takes nothing from others.
        let manifest = place.external_secret(&json!({"spec": {"refreshPolicy": "OnChange"}}));
        apply_as_tool(&place, &manifest, &["--force-conflicts"])?;
        let (before, revision) = (place.before().await?, place.revision("app").await?);

        // 9: by hand, without any new data. The Secret gets a new version of its own.
        let earlier = version(&place).await?;
        place.eso.annotate(EXTERNAL_SECRET, "by-hand").await?;
        eventually("the annotation on the Secret", LIMIT, async || {
            Ok((version(&place).await? != earlier).then_some(()))
        })
        .await?;
        place.unchanged(&before).await?;
        ensure!(
            place.revision("app").await? == revision,
            "an annotation restarted the application"
        );

        // 3: one rotation, one request. The operator answers one with up to three reads, when its cache is behind
        // (external-secrets-observed 1).
        let (asked, read) = (requests(&place)?.len(), place.reads_by_operator());
        place.rotate().await?;
        place.rotated(&before, &[&app]).await?;
        let read = place.reads_by_operator() - read;
        ensure!(
            (1..=3).contains(&read),
            "the operator read the store {read} times"
        );
        let read = place.reads_by_operator();
        tokio::time::sleep(A_WHILE).await;
        ensure!(
            requests(&place)?.len() == asked + 1 && place.reads_by_operator() == read,
            "the operator was not asked exactly once"
        );
        ensure!(
            place.revision("app").await? == revision + 1,
            "the application was not restarted exactly once"
        );

        // 17: of the ExternalSecret, one annotation is Tandem's; whoever applies it again meets no conflict.
        let external = manifest_of(&place)?;
        let owned = owned_by(&external, "tandem");
        let annotation = format!("f:{FORCE_SYNC}");
        ensure!(
            owned == json!({"f:metadata": {"f:annotations": {annotation: {}}}}),
            "Tandem owns {owned}"
        );
        apply_as_tool(&place, &manifest, &[])?;
        let after = manifest_of(&place)?;
        let asked = |object: &Value| object["metadata"]["annotations"][FORCE_SYNC].clone();
        ensure!(
            asked(&after) == asked(&external) && asked(&after).is_string(),
            "the annotation was lost"
        );
        Ok(())
    });
}

/// Server-side apply under a name of its own, as tools do it that bring manifests from Git.
fn apply_as_tool(place: &Place, manifest: &Value, more: &[&str]) -> Result<()> {
    let path = place.controller.dir().join("manifest.json");
    std::fs::write(&path, manifest.to_string())?;
    let path = path.display().to_string();
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=flux",
        "--filename",
        &path,
    ];
    kubectl(place, &[&apply[..], more].concat())
}

/// The `ExternalSecret` as it is.
fn manifest_of(place: &Place) -> Result<Value> {
    let namespace = place.namespace();
    let get = ["-n", namespace, "get", "externalsecret", EXTERNAL_SECRET];
    let as_json = ["--show-managed-fields", "--output", "json"];
    Ok(serde_json::from_str(
        &place.lab.kubectl(&[&get[..], &as_json].concat())?,
    )?)
}

/// The version that the API server has given the application Secret.
async fn version(place: &Place) -> Result<Option<String>> {
    let secrets: Api<Secret> = place.stage.namespace.api();
    Ok(secrets.get(CREDENTIALS_SECRET).await?.metadata.resource_version)
}

/// The fields that a manager owns, if it has written once.
fn owned_by(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array();
    let found = entries
        .into_iter()
        .flatten()
        .find(|entry| entry["manager"] == manager);
    found.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

#[test]
fn case06_keys_of_others_stay_and_a_change_of_them_is_not_taken_for_a_sync() {
    tandem_lab::run(|lab| async move {
        let setup = Setup::external_secret(json!({"spec": {"target": {"creationPolicy": "Merge"}}}));
        let mut place = Place::new(&lab, "merged", setup).await?;
        let app = place.app("app", 1).await?;
        place
            .patch_secret(&json!({"stringData": {"x": "theirs"}}))
            .await?;
        let (before, revision) = (place.before().await?, place.revision("app").await?);
        // With the operator, an edit would be a sync.
        place.eso.stop().await?;
        let nonce = place.ask().await?;
        place.reason("WaitingForSync").await?;
        let edit = json!({"stringData": {"x": "edited"}, "metadata": {"labels": {"team": "orders"}}});
        place.patch_secret(&edit).await?;
        tokio::time::sleep(A_WHILE).await;
        place.stands_at("Flipped").await?;
        ensure!(
            place.revision("app").await? == revision && place.logs_in(&before.login).await,
            "the edit was taken for a sync"
        );
        place.eso.start().await?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await?;
        let secret = place.secret().await?;
        let keys: Vec<_> = secret.keys().map(String::as_str).collect();
        ensure!(
            keys == ["password", "username", "x"] && secret["x"] == "edited",
            "the keys are {keys:?}"
        );
        ensure!(
            place.revision("app").await? == revision + 1,
            "the application was not restarted exactly once"
        );
        Ok(())
    });
}

const URL: &str = "postgresql://{{ .username }}:{{ .password }}@db:5432/appdb";

fn url(login: &Login) -> String {
    format!("postgresql://{}:{}@db:5432/appdb", login.user, login.password)
}

#[test]
fn case08_what_a_template_renders_is_what_counts() {
    tandem_lab::run(|lab| async move {
        let data = json!({"username": "{{ .username }}", "password": "{{ .password }}", "DATABASE_URL": URL});
        let setup = Setup::external_secret(json!({"spec": {"target": {"template": {"data": data}}}}));
        let mut place = Place::new(&lab, "rendered", setup).await?;
        let app = place.app("app", 1).await?;
        let (before, revision) = (place.before().await?, place.revision("app").await?);
        place.eso.stop().await?;
        let nonce = place.ask().await?;
        place.reason("WaitingForSync").await?;
        // Both keys are new, and what is made of them is not.
        let pending = place.stored()?;
        let half = json!({"stringData": {"username": pending.user, "password": pending.password}});
        place.patch_secret(&half).await?;
        tokio::time::sleep(A_WHILE).await;
        place.stands_at("Flipped").await?;
        ensure!(
            place.revision("app").await? == revision && place.logs_in(&before.login).await,
            "an old DATABASE_URL was overlooked"
        );
        place.eso.start().await?;
        place.completed(&nonce).await?;
        place.sound(&before.login, &[&app]).await?;
        ensure!(
            place.secret().await?["DATABASE_URL"] == url(&pending),
            "the template was not rendered anew"
        );
        ensure!(
            pending.password.chars().all(|c| c.is_ascii_alphanumeric()),
            "a password that a URL would have to escape"
        );
        ensure!(
            place.revision("app").await? == revision + 1,
            "the application was not restarted exactly once"
        );
        Ok(())
    });
}

#[test]
fn case08_a_secret_with_nothing_but_a_url_is_rotated_too() {
    tandem_lab::run(|lab| async move {
        let template = json!({"spec": {"target": {"template": {"data": {"DATABASE_URL": URL}}}}});
        let place = Place::new(&lab, "url", Setup::external_secret(template)).await?;
        // It logs in as nobody; that it is restarted is what counts.
        let idle = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle"},
            "spec": {"selector": {"matchLabels": {"app": "idle"}}, "template": {
                "metadata": {"labels": {"app": "idle"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                    "name": "idle", "image": "lab.local/empty:1", "imagePullPolicy": "Never",
                    "env": [{"name": "DATABASE_URL", "valueFrom": {"secretKeyRef":
                        {"name": CREDENTIALS_SECRET, "key": "DATABASE_URL"}}}],
                }]},
            }},
        });
        place.stage.namespace.apply(&idle.to_string()).await?;
        let revision = eventually("the application", LIMIT, async || {
            Ok(place.revision("idle").await.ok())
        });
        let (before, revision, versions) = (place.stored()?, revision.await?, place.versions().len());
        place.rotate().await?;
        let now = place.stored()?;
        ensure!(
            place.secret().await?["DATABASE_URL"] == url(&now) && now.user != before.user,
            "the Secret does not carry what the store has"
        );
        ensure!(
            place.logs_in(&now).await && !place.logs_in(&before).await,
            "the pair was not rotated"
        );
        ensure!(
            place.revision("idle").await? == revision + 1 && place.versions().len() == versions + 1,
            "not exactly one restart and one version"
        );
        place.secret_never_written()
    });
}

/// Entries of an `ExternalSecret`: key, property and version.
fn entries(entries: &[(&str, &str, &str)]) -> Value {
    let entry = |(key, property, version): &(&str, &str, &str)| json!({"secretKey": key, "remoteRef": {"key": STORED, "property": property, "version": version}});
    json!({"spec": {"data": entries.iter().map(entry).collect::<Vec<_>>()}})
}

/// Later releases have times at which nothing is synced periodically. What can be shown here is that a
/// request does not wait for the periodic sync.
#[test]
fn case12_case15_both_stages_come_at_once_whatever_the_interval_sync_windows_are_not_in_v0_20_4() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "stages", Setup::default()).await?;
        let app = place.app("app", 1).await?;
        // A version before the current one, for there to be something at that stage.
        place
            .aws
            .put(STORED, aws::Value::Text(document(&place.stored()?)))?;
        let mut change = entries(&[
            ("username", "username", "AWSCURRENT"),
            ("password", "password", "AWSCURRENT"),
            ("previous_username", "username", "AWSPREVIOUS"),
            ("previous_password", "password", "AWSPREVIOUS"),
        ]);
        change["spec"]["refreshInterval"] = "8760h0m0s".into();
        place.change_external_secret(change).await?;
        eventually("all four keys", LIMIT, async || {
            Ok((place.secret().await?.len() == 4).then_some(()))
        })
        .await?;
        for _ in 1..=2 {
            let (before, revision) = (place.before().await?, place.revision("app").await?);
            let calls = place.aws.calls(STORED).len();
            place.rotate().await?;
            place.rotated(&before, &[&app]).await?;
            let (secret, now) = (place.secret().await?, place.stored()?);
            ensure!(
                secret["username"] == now.user && secret["password"] == now.password,
                "the keys of the current stage are not current"
            );
            ensure!(
                secret["previous_username"] == before.login.user
                    && secret["previous_password"] == before.login.password,
                "the keys of the stage before are not of the version before"
            );
            ensure!(
                place.revision("app").await? == revision + 1,
                "the application was not restarted exactly once"
            );
            // One move; AWSPREVIOUS follows by itself, in the same step.
            let calls = place.aws.calls(STORED).split_off(calls);
            let moves = calls.iter().filter(|call| is_move(call)).count();
            ensure!(moves == 1, "{moves} moves");
        }
        let windows = json!({"spec": {"syncWindows": {"kind": "deny"}}});
        let refused = place.change_external_secret(windows).await.map(drop);
        let refused = format!("{:#}", refused.err().context("this release has syncWindows")?);
        ensure!(refused.contains("syncWindows"), "{refused}");
        Ok(())
    });
}

/// A label was moved, and not only asked whether it could be.
fn is_move(call: &Call) -> bool {
    call.action == "UpdateSecretVersionStage" && call.status == Some(200)
}

#[test]
fn case13_readers_of_the_proposed_version_see_it_before_all_others() {
    tandem_lab::run(|lab| async move {
        let setup = Setup {
            controller: mortal(),
            ..Setup::default()
        };
        let place = Place::new(&lab, "canary", setup).await?;
        let app = place.app("app", 1).await?;
        let before = place.before().await?;
        place.rotate().await?;
        place.rotated(&before, &[&app]).await?;

        // The label is there since the first rotation.
        let mut canary = place
            .eso
            .external_secret("canary", STORE, STORED, &["username", "password"]);
        canary["spec"]["data"] = entries(&[
            ("username", "username", "tandem-pending"),
            ("password", "password", "tandem-pending"),
        ])["spec"]["data"]
            .clone();
        place.eso.apply(&[canary]).await?;
        let (before, revision) = (place.before().await?, place.revision("app").await?);
        // stage, set_verifier, propose: it stands still before it makes the proposed version the current one.
        place.fault("before", 4)?;
        let nonce = place.ask().await?;
        place.stands_still().await?;
        for name in ["canary", EXTERNAL_SECRET] {
            place.eso.annotate(name, "by-hand").await?;
        }
        let canary = eventually("the canary to have the proposed version", LIMIT, async || {
            let secret = place.stage.namespace.read_secret("canary").await?;
            let login = Login::new(&secret["username"], &secret["password"]);
            Ok((login != before.login).then_some(login))
        })
        .await?;
        ensure!(
            place.logs_in(&canary).await,
            "the proposed credential does not log in"
        );
        tokio::time::sleep(A_WHILE).await;
        ensure!(
            place.credential().await? == before.login && place.revision("app").await? == revision,
            "readers of the current version are affected"
        );
        place.kill().await?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await?;
        ensure!(
            place.credential().await? == canary,
            "another credential than the proposed one became current"
        );
        Ok(())
    });
}

/// A role of the account, which the store's emulator makes.
const ROLE: &str = "arn:aws:iam::123456789012:role/rotator";

#[test]
fn case14_a_store_with_a_prefix_and_a_role_leads_to_the_same_secret() {
    tandem_lab::run(|lab| async move {
        let (prefix, key) = STORED.split_once('/').context("a name with a slash")?;
        let data = ["username", "password"]
            .map(|name| json!({"secretKey": name, "remoteRef": {"key": key, "property": name}}));
        let setup = Setup {
            policy: json!({"spec": {"delivery": {"externalSecret": {"awsSecretsManager":
                {"roleArn": ROLE, "externalId": "tandem-1"}}}}}),
            external_secret: json!({"spec": {"data": data}}),
            store: json!({"spec": {"provider": {"aws":
                {"prefix": format!("{prefix}/"), "role": ROLE, "externalID": "tandem-1"}}}}),
            controller: ControllerOptions::default(),
        };
        let place = Place::new(&lab, "prefixed", setup).await?;
        let app = place.app("app", 1).await?;
        let before = place.before().await?;
        place.rotate().await?;
        place.rotated(&before, &[&app]).await?;
        // Both of them have come by sessions of the role, never by the keys that they were given.
        let calls = place.aws.calls(STORED);
        ensure!(
            !calls.is_empty() && calls.iter().all(|call| call.key.starts_with("ASIA")),
            "somebody came as itself"
        );
        Ok(())
    });
}
