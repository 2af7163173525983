//! The way a sync goes when all is well, in each shape that an `ExternalSecret` may have.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tandem::effects::Error;
use tandem::machine::facts::{OperatorSeen, SecretSeen};
use tandem_lab::{Lab, run};

use crate::scene::{ID, NAME, NEW, OLD, QUIET, Scene, over};

/// An entry that fills the key from the property, with more about the reference.
fn entry(key: &str, property: &str, more: Value) -> Value {
    json!({"secretKey": key, "remoteRef": over(json!({"key": ID, "property": property}), more)})
}

/// Flip, ask, and see it come.
async fn rotate(scene: &Scene) -> Result<()> {
    assert_eq!(scene.findings().await?, []);
    scene.flip()?;
    assert!(!scene.carried().await?);
    scene.request(1).await?;
    scene.until_carried().await
}

#[test]
fn case_1_and_5_a_request_brings_the_credential_and_nobody_but_the_operator_writes_the_secret() {
    run(|lab: Lab| async move {
        let audit = lab.audit().from_here()?;
        let scene = Scene::new(&lab, json!({})).await?;
        let OperatorSeen::Present {
            asked: None,
            trouble: None,
            ..
        } = scene.operator().await?
        else {
            anyhow::bail!("{:?}", scene.operator().await?);
        };
        let before = Timestamp::now().as_second();
        rotate(&scene).await?;
        let after = Timestamp::now().as_second();
        let (seen, app) = scene.seen().await?;
        let SecretSeen::Present {
            user,
            landing: Some(landing),
            delivered: None,
            ..
        } = seen
        else {
            anyhow::bail!("{seen:?}");
        };
        assert_eq!(user.map(String::from).as_deref(), Some("app_b"));
        assert!((before..=after).contains(&landing.at.as_second()), "{landing:?}");
        assert!(!landing.id.contains('/') && landing.id.len() < 64, "{landing:?}");
        assert!(app.context("a Secret")?.password.is_some());
        let OperatorSeen::Present {
            asked: Some(asked), ..
        } = scene.operator().await?
        else {
            anyhow::bail!("{:?}", scene.operator().await?);
        };
        assert_eq!(asked.times, 1);
        assert!((before..=after).contains(&asked.at.as_second()), "{asked:?}");

        let ours = audit.service_account(scene.namespace.name(), "tandem").read()?;
        let written: Vec<_> = ours.iter().filter(|request| request.is_write()).collect();
        assert!(
            written
                .iter()
                .all(|request| request.resource == "externalsecrets" && request.verb == "patch"),
            "{written:?}"
        );
        assert!(
            !written.is_empty() && ours.iter().all(|request| request.code != 403),
            "{ours:?}"
        );
        Ok(())
    });
}

#[test]
fn case_3_seen_17_on_change_with_interval_zero_syncs_when_asked() {
    run(|lab: Lab| async move {
        rotate(
            &Scene::new(
                &lab,
                json!({"refreshPolicy": "OnChange", "refreshInterval": "0s"}),
            )
            .await?,
        )
        .await
    });
}

#[test]
fn case_6_a_foreign_key_of_a_secret_that_is_merged_into_stays_and_is_no_delivery() {
    run(|lab: Lab| async move {
        let scene = Scene::empty(&lab).await?;
        scene.namespace.secret(NAME, &[("API_KEY", "own")]).await?;
        scene
            .external(NAME, json!({"target": {"creationPolicy": "Merge"}}))
            .await?;
        scene.until(NAME, |data| data.contains_key("password")).await?;
        scene.settled(NAME).await?;
        // The operator looks at the store then, too (seen 31).
        scene
            .meddle(json!({"stringData": {"API_KEY": "changed"}}))
            .await?;
        tokio::time::sleep(QUIET).await;
        assert!(!scene.carried().await?);
        scene.flip()?;
        scene.stays_behind().await?;
        scene.request(1).await?;
        scene.until_carried().await?;
        assert_eq!(scene.namespace.read_secret(NAME).await?["API_KEY"], "changed");
        Ok(())
    });
}

#[test]
fn case_8_seen_41_what_a_template_renders_is_what_counts() {
    run(|lab: Lab| async move {
        let url = "postgres://{{ .username }}:{{ .password | urlquery }}@db/appdb";
        let template =
            json!({"target": {"template": {"engineVersion": "v2", "data": {"DATABASE_URL": url}}}});
        let scene = Scene::new(&lab, template).await?;
        rotate(&scene).await?;
        let data = scene.namespace.read_secret(NAME).await?;
        assert_eq!(
            data.into_iter().collect::<Vec<_>>(),
            [(
                "DATABASE_URL".to_owned(),
                format!("postgres://app_b:{NEW}@db/appdb")
            )]
        );
        Ok(())
    });
}

#[test]
fn case_9_seen_10_11_an_annotation_that_is_copied_is_no_delivery_and_the_same_one_twice_is_nothing() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        let version = |secret: k8s_openapi::api::core::v1::Secret| secret.metadata.resource_version;
        let before = version(scene.secrets().get(NAME).await?);
        scene.request(1).await?;
        tandem_lab::eventually("the copy", crate::scene::SOON, async || {
            Ok((version(scene.secrets().get(NAME).await?) != before).then_some(()))
        })
        .await?;
        assert!(!scene.carried().await?);
        assert_eq!(scene.namespace.read_secret(NAME).await?["password"], OLD);
        Ok(())
    });
}

#[test]
fn case_12_seen_43_the_previous_version_may_stand_beside_the_current_one() {
    run(|lab: Lab| async move {
        let scene = Scene::empty(&lab).await?;
        // Without a version before it there is nothing at that stage (seen 44).
        scene.aws.put(ID, crate::scene::stored("app_a", OLD))?;
        let data = json!([
            entry("username", "username", json!({})),
            entry("password", "password", json!({})),
            entry("old_password", "password", json!({"version": "AWSPREVIOUS"})),
        ]);
        scene.external(NAME, json!({"data": data})).await?;
        scene
            .until(NAME, |data| data.contains_key("old_password"))
            .await?;
        scene.settled(NAME).await?;
        rotate(&scene).await?;
        assert_eq!(scene.namespace.read_secret(NAME).await?["old_password"], OLD);
        Ok(())
    });
}

#[test]
fn case_13_seen_44_a_key_that_reads_the_pending_stage_moves_first_and_the_others_do_not() {
    run(|lab: Lab| async move {
        let scene = Scene::empty(&lab).await?;
        let first = scene.aws.labelled(ID, "AWSCURRENT").context("a version")?.id;
        scene.aws.move_stage(ID, "AWSPENDING", Some(&first))?;
        let data = json!([
            entry("username", "username", json!({})),
            entry("password", "password", json!({})),
            entry("canary", "password", json!({"version": "AWSPENDING"})),
        ]);
        scene.external(NAME, json!({"data": data})).await?;
        scene.until(NAME, |data| data.contains_key("canary")).await?;
        scene.settled(NAME).await?;
        assert_eq!(scene.findings().await?, []);
        // A new version that only the canary reads.
        scene.flip()?;
        let second = scene.aws.labelled(ID, "AWSCURRENT").context("a version")?.id;
        scene.aws.move_stage(ID, "AWSCURRENT", Some(&first))?;
        scene.aws.move_stage(ID, "AWSPENDING", Some(&second))?;
        scene.request(1).await?;
        scene.until(NAME, |data| data["canary"] == NEW).await?;
        assert!(
            !scene.carried().await?,
            "the canary is not what applications read"
        );
        scene.aws.move_stage(ID, "AWSCURRENT", Some(&second))?;
        scene.request(2).await?;
        scene.until_carried().await
    });
}

#[test]
fn case_17_seen_73_the_owner_of_an_external_secret_can_apply_it_again_and_the_request_stays() {
    run(|lab: Lab| async move {
        let scene = Scene::empty(&lab).await?;
        let object = scene
            .eso
            .external_secret(NAME, "aws", ID, &["username", "password"]);
        let objects = scene.objects("ExternalSecret");
        let apply = async || {
            objects
                .patch(NAME, &PatchParams::apply("flux"), &Patch::Apply(&object))
                .await
        };
        apply().await?;
        scene.until(NAME, |data| data.contains_key("password")).await?;
        scene.flip()?;
        scene.request(1).await?;
        scene.until_carried().await?;
        let again = apply().await?;
        let annotations = again.metadata.annotations.unwrap_or_default();
        assert!(
            annotations.contains_key("external-secrets.io/force-sync"),
            "{annotations:?}"
        );
        let managers = again.metadata.managed_fields.unwrap_or_default();
        let ours = managers
            .iter()
            .find(|entry| entry.manager.as_deref() == Some("tandem"))
            .context("an entry")?;
        assert_eq!(
            ours.fields_v1.as_ref().map(|fields| &fields.0),
            Some(
                &json!({"f:metadata": {"f:annotations": {".": {}, "f:external-secrets.io/force-sync": {}}}})
            )
        );
        Ok(())
    });
}

#[test]
fn seen_72_a_stale_guard_is_a_conflict_and_nothing_is_made_of_what_is_gone() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        let stale = scene.guard().await?;
        scene.eso.annotate(NAME, "somebody").await?;
        let conflict = |outcome: Result<_, Error>| {
            assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
        };
        conflict(scene.ask(&stale, 1).await);
        // The version of today, the uid of another.
        let now = scene.guard().await?;
        let mut parts: Vec<&str> = now.split('/').collect();
        parts[3] = "00000000-0000-0000-0000-000000000000";
        conflict(scene.ask(&parts.join("/"), 1).await);
        let objects = scene.objects("ExternalSecret");
        objects.delete(NAME, &kube::api::DeleteParams::default()).await?;
        tandem_lab::eventually("it to be gone", crate::scene::SOON, async || {
            Ok(objects.get_opt(NAME).await?.is_none().then_some(()))
        })
        .await?;
        conflict(scene.ask(&now, 1).await);
        assert!(objects.get_opt(NAME).await?.is_none());
        Ok(())
    });
}
