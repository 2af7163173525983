//! The application Secret: seen, flipped, and what stands in the way.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tandem::effects::kubernetes::secret::Delivery;
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::{Finding, SecretSeen};
use tandem_lab::run;

use crate::scene::{PASSWORD, SECRET, Scene, role, sensitive};

const NEW: &str = "Neu-p@ss:word";

impl Scene {
    async fn flip(&self, number: u64, nonce: Option<&str>, version: &str) -> Result<Outcome, Error> {
        let delivery = Delivery {
            number,
            nonce,
            version,
        };
        self.cluster
            .flip(&self.policy, delivery, &role("app_b"), &sensitive(NEW))
            .await
    }

    async fn seen(&self) -> Result<SecretSeen> {
        Ok(self
            .cluster
            .see(&self.policy, Some((&role("app_b"), &sensitive(NEW))))
            .await?
            .0)
    }

    async fn findings(&self) -> Result<Vec<Finding>> {
        let (_, app) = self.cluster.see(&self.policy, None).await?;
        Ok(self.cluster.delivery_findings(&self.policy, app.as_ref()))
    }

    async fn meddle(&self, manager: &str, patch: Value) -> Result<Secret> {
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        Ok(self
            .secrets()
            .patch(SECRET, &params, &Patch::Merge(patch))
            .await?)
    }
}

#[test]
fn fm30_a_flip_delivers_all_keys_at_once_and_leaves_foreign_ones_alone() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        scene
            .meddle(
                "person",
                json!({"metadata": {"labels": {"keep": "me"}, "annotations": {"keep": "me"}}}),
            )
            .await?;
        let (seen, app) = scene.cluster.see(&scene.policy, None).await?;
        let app = app.context("there is one")?;
        assert_eq!(app.user, Some(role("app_a")));
        assert!(app.password.is_some_and(|password| password.expose() == PASSWORD));
        let SecretSeen::Present {
            carries_pending: false,
            delivered: None,
            version,
            ..
        } = seen
        else {
            anyhow::bail!("{seen:?}");
        };

        let before = Timestamp::now().as_second();
        assert_eq!(scene.flip(7, Some("nonce"), &version).await?, Outcome::Done);
        let after = Timestamp::now().as_second();
        let data = scene.namespace.read_secret(SECRET).await?;
        let list: Vec<_> = data
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let url = "postgresql://app_b:Neu-p%40ss%3Aword@db/appdb";
        assert_eq!(
            list,
            [
                ("OTHER", "stays"),
                ("URL", url),
                ("password", NEW),
                ("username", "app_b")
            ]
        );
        let live = scene.secrets().get(SECRET).await?;
        assert_eq!(live.metadata.labels.unwrap_or_default()["keep"], "me");
        assert_eq!(live.metadata.annotations.unwrap_or_default()["keep"], "me");

        let SecretSeen::Present {
            user,
            carries_pending,
            delivered,
            landing,
            ..
        } = scene.seen().await?
        else {
            anyhow::bail!("it is gone");
        };
        assert_eq!((user, carries_pending), (Some(role("app_b")), true));
        let delivered = delivered.context("it carries the mark")?;
        assert_eq!((delivered.number, delivered.nonce.as_deref()), (7, Some("nonce")));
        let landing = landing.context("and says when")?;
        assert!((before..=after).contains(&landing.at.as_second()), "{landing:?}");
        assert_eq!(
            version.split_once('/').map(|(_, replaced)| replaced),
            Some(landing.id.as_str())
        );
        Ok(())
    });
}

#[test]
fn the_time_of_a_delivery_is_moved_by_nobody_else() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        scene.flip(1, None, &scene.secret_version().await?).await?;
        let SecretSeen::Present { landing: first, .. } = scene.seen().await? else {
            anyhow::bail!("it is gone")
        };
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        scene
            .meddle(
                "person",
                json!({"stringData": {"password": "other", "OTHER": "other"}}),
            )
            .await?;
        let SecretSeen::Present {
            landing,
            carries_pending: false,
            ..
        } = scene.seen().await?
        else {
            anyhow::bail!("the change was not seen")
        };
        assert!(first.is_some());
        assert_eq!(landing, first);

        // Delivered once more, it is a delivery of its own.
        scene.flip(1, None, &scene.secret_version().await?).await?;
        let SecretSeen::Present {
            landing: again,
            carries_pending: true,
            ..
        } = scene.seen().await?
        else {
            anyhow::bail!("it was not delivered")
        };
        let (again, first) = (again.context("again")?, first.context("first")?);
        assert!(again.at > first.at);
        assert_ne!(again.id, first.id);
        Ok(())
    });
}

#[test]
fn a_delivery_is_carried_only_when_every_key_says_so() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        scene.flip(1, None, &scene.secret_version().await?).await?;
        for key in ["username", "password", "URL"] {
            let old = scene.namespace.read_secret(SECRET).await?[key].clone();
            scene
                .meddle("person", json!({"stringData": {key: "other"}}))
                .await?;
            assert!(
                matches!(
                    scene.seen().await?,
                    SecretSeen::Present {
                        carries_pending: false,
                        ..
                    }
                ),
                "{key}"
            );
            scene.meddle("person", json!({"stringData": {key: old}})).await?;
            assert!(
                matches!(
                    scene.seen().await?,
                    SecretSeen::Present {
                        carries_pending: true,
                        ..
                    }
                ),
                "{key}"
            );
        }
        Ok(())
    });
}

#[test]
fn fm30_a_flip_with_a_stale_version_is_a_conflict_and_changes_nothing() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let stale = scene.secret_version().await?;
        let changed = scene
            .meddle("somebody", json!({"stringData": {"OTHER": "rewritten"}}))
            .await?;

        let outcome = scene.flip(1, None, &stale).await;
        assert!(
            matches!(&outcome, Err(Error::Conflict { what }) if what.contains(SECRET)),
            "{outcome:?}"
        );
        assert_eq!(scene.secrets().get(SECRET).await?, changed);
        Ok(())
    });
}

#[test]
fn fm31_a_flip_never_makes_the_secret() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let version = scene.secret_version().await?;
        scene.secrets().delete(SECRET, &DeleteParams::default()).await?;

        let outcome = scene.flip(1, None, &version).await;
        assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
        let outcome = scene.flip(1, None, "").await;
        assert!(matches!(outcome, Err(Error::Unusable(_))), "{outcome:?}");
        assert!(
            scene
                .secrets()
                .list(&ListParams::default())
                .await?
                .items
                .is_empty()
        );
        assert_eq!(scene.seen().await?, SecretSeen::Missing);

        // Made anew meanwhile, it is another one.
        scene.app_secret().await?;
        let outcome = scene.flip(1, None, &version).await;
        assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
        assert_eq!(scene.namespace.read_secret(SECRET).await?["username"], "app_a");
        Ok(())
    });
}

#[test]
fn a_flip_without_the_right_to_it_is_refused_with_the_command() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["get"]}]);
        let restricted = scene.restricted(rules).await?;
        let version = scene.secret_version().await?;
        let delivery = Delivery {
            number: 1,
            nonce: None,
            version: &version,
        };
        let outcome = restricted
            .flip(&scene.policy, delivery, &role("app_b"), &sensitive(NEW))
            .await?;
        let said = format!("{outcome:?}");
        assert!(
            matches!(outcome, Outcome::Refused(_))
                && said.contains("patch Secret")
                && said.contains("tandem rbac"),
            "{said}"
        );
        assert!(!said.contains(NEW), "{said}");
        Ok(())
    });
}

#[test]
fn fm31_what_is_wrong_with_the_secret_is_found_before_anything_is_changed() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let reasons = async || -> Result<Vec<(&str, bool)>> {
            let found = scene.findings().await?;
            for finding in &found {
                assert!(
                    finding.message.contains("kubectl") || finding.message.contains("spec."),
                    "{}",
                    finding.message
                );
                assert!(!finding.message.contains(PASSWORD), "{}", finding.message);
            }
            Ok(found
                .iter()
                .map(|finding| (finding.reason, finding.blocks))
                .collect())
        };
        assert_eq!(reasons().await?, [("SecretMissing", true)]);

        scene.namespace.secret(SECRET, &[("OTHER", "x")]).await?;
        assert_eq!(
            reasons().await?,
            [("SecretKeyMissing", true), ("SecretKeyMissing", true)]
        );

        scene
            .namespace
            .secret(SECRET, &[("username", "somebody"), ("password", "")])
            .await?;
        assert_eq!(
            reasons().await?,
            [
                ("SecretNamesStranger", true),
                ("SecretPasswordEmpty", true),
                ("SecretAlsoWrittenBy", false)
            ]
        );

        scene.app_secret().await?;
        assert_eq!(reasons().await?, [("SecretAlsoWrittenBy", false)]);
        let big = "x".repeat(1024 * 1024 - 150);
        scene
            .meddle("person", json!({"stringData": {"BIG": big}}))
            .await?;
        assert_eq!(
            reasons().await?,
            [("SecretTooLarge", true), ("SecretAlsoWrittenBy", false)]
        );

        scene.meddle("person", json!({"data": {"BIG": null}})).await?;
        scene
            .meddle(
                "kustomize-controller",
                json!({"stringData": {"password": "other"}}),
            )
            .await?;
        assert_eq!(
            reasons().await?,
            [("SecretOwnedByController", true), ("SecretAlsoWrittenBy", false)]
        );
        // The command of the finding settles it.
        scene
            .meddle("person", json!({"metadata": {"managedFields": [{}]}}))
            .await?;
        assert_eq!(reasons().await?, []);

        scene.meddle("person", json!({"immutable": true})).await?;
        assert_eq!(reasons().await?, [("SecretImmutable", true)]);
        // And the write itself would be refused, not tried for ever.
        let outcome = scene.flip(1, None, &scene.secret_version().await?).await?;
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        Ok(())
    });
}

#[test]
fn fm31_the_command_that_makes_a_missing_secret_works() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let found = scene.findings().await?;
        let message = &found[0].message;
        let command = message.split_once("with: ").context("it names a command")?.1;
        // As a shell would run it, but with the lab's kubectl.
        let arguments: Vec<_> = command
            .split_once("kubectl ")
            .context("kubectl")?
            .1
            .split(' ')
            .collect();
        let file = std::env::temp_dir().join(format!("tandem-{}", scene.namespace.name()));
        std::fs::write(&file, PASSWORD)?;
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| argument.replace("/dev/stdin", &file.to_string_lossy()))
            .collect();
        lab.kubectl(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        std::fs::remove_file(&file)?;
        assert_eq!(scene.findings().await?, []);
        let (_, app) = scene.cluster.see(&scene.policy, None).await?;
        assert!(
            app.and_then(|app| app.password)
                .is_some_and(|password| password.expose() == PASSWORD)
        );
        Ok(())
    });
}
