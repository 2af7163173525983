//! The journal Secret: rivals, foreigners, rights.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tandem::effects::{Error, Outcome};
use tandem::machine::{Journal, Loaded};
use tandem_lab::run;

use crate::scene::{PASSWORD, Scene, material};

/// A journal as it is read: with the time at which the API server took it.
fn as_read(journal: &Journal, secret: &Secret) -> Loaded {
    let entries = secret.metadata.managed_fields.iter().flatten();
    let times = entries.filter_map(|entry| entry.time.as_ref().map(|time| time.0));
    let mut read = journal.clone();
    if let Some(rotation) = &mut read.rotation {
        rotation.staged_at = times.max();
    }
    Loaded::Valid(Box::new(read))
}

#[test]
fn a_journal_is_made_filled_and_emptied_of_credentials() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let Scene { cluster, policy, .. } = &scene;
        let load = async || cluster.journal(&policy.name, &policy.uid).await;

        let first = Journal::new(&policy.uid);
        let absent = load().await?;
        assert_eq!(absent.loaded, Loaded::Absent);
        assert_eq!(
            cluster.record(policy, &absent, &first, None).await?,
            Outcome::Done
        );

        let empty = load().await?;
        assert_eq!(empty.loaded, Loaded::Absent);
        assert_eq!(cluster.record(policy, &empty, &first, None).await?, Outcome::Done);

        let adopted = load().await?;
        assert_eq!(adopted.loaded, Loaded::Valid(Box::new(first)));
        let rotating = scene.rotating(1);
        let outcome = cluster
            .record(policy, &adopted, &rotating, Some(&material()))
            .await?;
        assert_eq!(outcome, Outcome::Done);

        let staged = load().await?;
        let secret = scene.secrets().get("app-tandem").await?;
        assert_eq!(staged.loaded, as_read(&rotating, &secret));
        let found = staged.material.as_ref().unwrap();
        assert_eq!(found.pending_password.expose(), PASSWORD);
        assert_eq!(found.pending_verifier.expose(), "SCRAM-pending");
        assert_eq!(found.retiring_verifier.expose(), "SCRAM-retiring");
        assert_eq!(found.previous_password.as_ref().unwrap().expose(), "previous");

        let finished = Journal {
            rotation: None,
            ..rotating
        };
        let outcome = cluster
            .record(policy, &staged, &finished, staged.material.as_ref())
            .await?;
        assert_eq!(outcome, Outcome::Done);
        let ended = load().await?;
        assert_eq!(ended.loaded, Loaded::Valid(Box::new(finished)));
        assert!(ended.material.is_none());
        let secret = scene.secrets().get("app-tandem").await?;
        let keys: Vec<_> = secret.data.unwrap_or_default().into_keys().collect();
        assert_eq!(keys, ["journal.json"]);
        let owner = &secret.metadata.owner_references.unwrap_or_default()[0];
        assert_eq!(
            (owner.uid.as_str(), owner.controller),
            (policy.uid.as_str(), Some(true))
        );
        Ok(())
    });
}

#[test]
fn fm10_of_two_replicas_that_both_saw_no_journal_none_destroys_what_the_other_wrote() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let Scene { cluster, policy, .. } = &scene;
        let first = Journal::new(&policy.uid);
        let rival = cluster.journal(&policy.name, &policy.uid).await?;

        // One makes the journal and gets as far as a staged rotation …
        cluster.record(policy, &rival, &first, None).await?;
        let empty = cluster.journal(&policy.name, &policy.uid).await?;
        let rotating = scene.rotating(1);
        cluster
            .record(policy, &empty, &rotating, Some(&material()))
            .await?;
        let before = scene.secrets().get("app-tandem").await?;

        // … before the creation of the other arrives.
        assert_eq!(cluster.record(policy, &rival, &first, None).await?, Outcome::Done);
        let after = scene.secrets().get("app-tandem").await?;
        assert_eq!(after.data, before.data);
        // Nor does it write into the empty journal that it saw.
        let stale = cluster.record(policy, &empty, &first, None).await;
        assert!(matches!(stale, Err(Error::Conflict { .. })), "{stale:?}");
        let found = cluster.journal(&policy.name, &policy.uid).await?;
        assert_eq!(found.loaded, as_read(&rotating, &after));
        assert!(found.material.is_some());
        Ok(())
    });
}

#[test]
fn fm10_a_stale_replace_is_a_conflict() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let Scene { cluster, policy, .. } = &scene;
        let first = Journal::new(&policy.uid);
        let absent = cluster.journal(&policy.name, &policy.uid).await?;
        cluster.record(policy, &absent, &first, None).await?;
        let stale = cluster.journal(&policy.name, &policy.uid).await?;
        let second = Journal {
            handled: Some("a".to_owned()),
            ..first.clone()
        };
        cluster.record(policy, &stale, &second, None).await?;

        let late = Journal {
            handled: Some("b".to_owned()),
            ..first
        };
        let outcome = cluster.record(policy, &stale, &late, None).await;
        assert!(
            matches!(&outcome, Err(Error::Conflict { what }) if what.contains("app-tandem")),
            "{outcome:?}"
        );
        let found = cluster.journal(&policy.name, &policy.uid).await?;
        assert_eq!(found.loaded, Loaded::Valid(Box::new(second)));
        Ok(())
    });
}

#[test]
fn fm11_a_deleted_journal_is_absent_and_a_late_replace_does_not_bring_it_back() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let Scene { cluster, policy, .. } = &scene;
        let first = Journal::new(&policy.uid);
        let absent = cluster.journal(&policy.name, &policy.uid).await?;
        cluster.record(policy, &absent, &first, None).await?;
        let stale = cluster.journal(&policy.name, &policy.uid).await?;
        scene
            .secrets()
            .delete("app-tandem", &DeleteParams::default())
            .await?;

        let outcome = cluster.record(policy, &stale, &first, None).await;
        assert!(outcome.is_err(), "{outcome:?}");
        assert_eq!(
            cluster.journal(&policy.name, &policy.uid).await?.loaded,
            Loaded::Absent
        );
        let all = scene.secrets().list(&ListParams::default()).await?;
        assert!(all.items.is_empty());
        Ok(())
    });
}

#[test]
fn a_secret_of_that_name_which_is_no_journal_is_refused_and_left_alone() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let Scene { cluster, policy, .. } = &scene;
        let absent = cluster.journal(&policy.name, &policy.uid).await?;
        scene.namespace.secret("app-tandem", &[("mine", "keep")]).await?;
        let before = scene.secrets().get("app-tandem").await?;
        let first = Journal::new(&policy.uid);

        let found = cluster.journal(&policy.name, &policy.uid).await?;
        assert!(
            matches!(&found.loaded, Loaded::Corrupt(flaw) if flaw.contains("Opaque")),
            "{:?}",
            found.loaded
        );
        let outcome = cluster.record(policy, &found, &first, None).await;
        assert!(matches!(outcome, Err(Error::Unusable(_))), "{outcome:?}");
        // The replica that had not seen it yet.
        let outcome = cluster.record(policy, &absent, &first, None).await;
        assert!(!matches!(outcome, Ok(Outcome::Done)), "{outcome:?}");
        assert_eq!(scene.secrets().get("app-tandem").await?, before);
        Ok(())
    });
}

#[test]
fn the_journal_of_an_older_policy_with_the_same_name_is_refused_and_left_alone() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let Scene { cluster, policy, .. } = &scene;
        let absent = cluster.journal(&policy.name, &policy.uid).await?;
        // Its owner lives, lest the garbage collector takes it from under the test.
        scene.namespace.config_map("older", &[]).await?;
        let older: k8s_openapi::api::core::v1::ConfigMap = scene.namespace.api().get("older").await?;
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "app-tandem", "ownerReferences": [{
                "apiVersion": "v1", "kind": "ConfigMap", "name": "older", "uid": older.metadata.uid, "controller": true,
            }]},
            "type": "tandem.dev/journal",
        }))?;
        scene
            .secrets()
            .create(&kube::api::PostParams::default(), &secret)
            .await?;
        let before = scene.secrets().get("app-tandem").await?;

        let found = cluster.journal(&policy.name, &policy.uid).await?;
        assert!(
            matches!(&found.loaded, Loaded::Corrupt(flaw) if flaw.contains("older")),
            "{:?}",
            found.loaded
        );
        let outcome = cluster
            .record(policy, &absent, &Journal::new(&policy.uid), None)
            .await;
        assert!(
            matches!(outcome, Ok(Outcome::Refused(_)) | Err(Error::Conflict { .. })),
            "{outcome:?}"
        );
        assert_eq!(scene.secrets().get("app-tandem").await?, before);
        Ok(())
    });
}

#[test]
fn rights_on_the_one_name_are_enough_and_their_lack_is_told() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let rule = |verbs: &[&str]| json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["app-tandem"], "verbs": verbs}]);
        let policy = &scene.policy;
        let first = Journal::new(&policy.uid);

        let cluster = scene.restricted(rule(&["get"])).await?;
        let absent = cluster.journal(&policy.name, &policy.uid).await?;
        let Outcome::Refused(refused) = cluster.record(policy, &absent, &first, None).await? else {
            anyhow::bail!("it was not refused");
        };
        let said = format!("{refused:?}");
        assert!(
            said.contains("patch Secret") && said.contains("app-tandem") && said.contains("tandem rbac -f"),
            "{said}"
        );

        let cluster = scene
            .restricted(rule(&["get", "create", "patch", "update"]))
            .await?;
        assert_eq!(
            cluster.record(policy, &absent, &first, None).await?,
            Outcome::Done
        );
        let empty = cluster.journal(&policy.name, &policy.uid).await?;
        assert_eq!(cluster.record(policy, &empty, &first, None).await?, Outcome::Done);
        let found = cluster.journal(&policy.name, &policy.uid).await?;
        assert_eq!(found.loaded, Loaded::Valid(Box::new(first)));
        Ok(())
    });
}

#[test]
fn fm43_a_namespace_that_is_going_away_is_told_as_that() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let Scene {
            cluster,
            policy,
            namespace,
            ..
        } = &scene;
        let absent = cluster.journal(&policy.name, &policy.uid).await?;
        // Something in it that does not go at once.
        namespace.config_map("holder", &[]).await?;
        let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = namespace.api();
        let hold = |finalizers: serde_json::Value| {
            kube::api::Patch::Merge(json!({"metadata": {"finalizers": finalizers}}))
        };
        maps.patch(
            "holder",
            &kube::api::PatchParams::default(),
            &hold(json!(["test/hold"])),
        )
        .await?;
        let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(lab.admin());
        namespaces
            .delete(namespace.name(), &DeleteParams::default())
            .await?;

        let outcome = cluster
            .record(policy, &absent, &Journal::new(&policy.uid), None)
            .await;
        maps.patch("holder", &kube::api::PatchParams::default(), &hold(json!([])))
            .await?;
        let Ok(Outcome::Refused(refused)) = outcome else {
            anyhow::bail!("it was not refused: {outcome:?}");
        };
        let said = format!("{refused:?}");
        assert!(
            said.contains("NamespaceTerminating") && !said.contains("tandem rbac"),
            "{said}"
        );
        Ok(())
    });
}
