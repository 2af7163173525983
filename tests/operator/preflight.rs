//! What is refused before anything is changed, on objects that the real operator has looked at.

use anyhow::Result;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tandem::effects::kubernetes::Cluster;
use tandem_lab::{Lab, eventually, run};

use crate::scene::{ID, NEW, OLD, SOON, Scene, over};

fn data(more: &Value) -> Value {
    let entry = |property: &str| {
        let reference = json!({"key": ID, "property": property});
        json!({"secretKey": property, "remoteRef": over(reference, more.clone())})
    };
    json!({"data": [entry("username"), entry("password")]})
}

#[test]
fn what_cannot_follow_a_rotation_is_refused_each_with_its_reason() {
    run(|lab: Lab| async move {
        let scene = Scene::empty(&lab).await?.by_admin();
        let version = scene.aws.labelled(ID, "AWSCURRENT").unwrap().id;
        scene.aws.create("orders/other", crate::scene::stored("x", "y"))?;
        let generator = json!({
            "apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Password",
            "metadata": {"name": "random"}, "spec": {"length": 20, "digits": 4, "symbols": 0, "noUpper": false, "allowRepeat": true},
        });
        scene.eso.apply(&[generator]).await?;
        let random = json!({"generatorRef": {"apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Password", "name": "random"}});
        let url = "postgres://app_a:{{ .password }}@db";
        let block = |reason| vec![(reason, true)];
        let shapes = [
            ("right", json!({}), vec![]),
            (
                "extract",
                json!({"data": [], "dataFrom": [{"extract": {"key": ID}}]}),
                vec![],
            ),
            (
                "find",
                json!({"data": [], "dataFrom": [{"find": {"name": {"regexp": "^orders/db$"}}}]}),
                vec![],
            ),
            (
                "pinned",
                data(&json!({"version": format!("uuid/{version}")})),
                block("ExternalSecretPinned"),
            ),
            (
                "decoded",
                data(&json!({"decodingStrategy": "Auto"})),
                block("ExternalSecretDecodes"),
            ),
            (
                "elsewhere",
                data(&json!({"key": "orders/other"})),
                block("ExternalSecretElsewhere"),
            ),
            (
                "generated",
                json!({"dataFrom": [{"sourceRef": random}]}),
                block("ExternalSecretGenerates"),
            ),
            (
                "fixed",
                json!({"target": {"template": {"data": {"URL": url}}}}),
                block("TemplateNamesUser"),
            ),
            (
                "deletes",
                json!({"target": {"deletionPolicy": "Delete"}}),
                vec![("ExternalSecretDeletes", false)],
            ),
            (
                "none",
                json!({"target": {"creationPolicy": "None"}}),
                vec![("ExternalSecretMakesNone", true), ("SecretMissing", true)],
            ),
        ];
        for (name, change, _) in &shapes {
            scene.external(name, change.clone()).await?;
        }
        for (name, _, expected) in &shapes {
            let policy = scene.policy(json!({"name": name}))?;
            scene.until_found(&policy, expected).await?;
        }
        let right = scene.policy(json!({"name": "right"}))?;
        let found = scene.findings_of(&right).await?;
        assert!(
            found.iter().any(|f| f.reason == "StoreAlsoRead" && !f.blocks),
            "{found:#?}"
        );
        // The name of the Secret is another.
        let policy = scene.policy(json!({"name": "right", "secretName": "extract"}))?;
        let found = scene.findings_of(&policy).await?;
        assert!(
            found.iter().any(|f| f.reason == "ExternalSecretTargetElsewhere"),
            "{found:#?}"
        );
        let far = scene.policy(json!({"name": "right", "awsSecretsManager": {"region": "eu-west-1"}}))?;
        scene.until_found(&far, &[("StoreElsewhere", true)]).await?;
        Ok(())
    });
}

#[test]
fn seen_40_a_secret_that_somebody_made_immutable_is_refused_and_the_command_makes_it_anew() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        scene.meddle(json!({"immutable": true})).await?;
        scene
            .until_found(&scene.policy, &[("SecretImmutable", true)])
            .await?;
        let found = scene.findings().await?;
        assert!(
            found[0].message.contains("delete secret db && kubectl -n"),
            "{}",
            found[0].message
        );
        scene.secrets().delete("db", &DeleteParams::default()).await?;
        scene.request(1).await?;
        scene.until_found(&scene.policy, &[]).await
    });
}

#[test]
fn seen_66_69_a_push_secret_on_the_same_secret_would_undo_a_rotation_and_is_refused() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        scene.aws.tag(ID, "managed-by", "external-secrets")?;
        let push = scene
            .eso
            .push_secret("push", "aws", "db", ID, &["username", "password"]);
        scene.eso.apply(&[push]).await?;
        scene
            .until_found(&scene.policy, &[("PushSecretOnSource", true)])
            .await?;
        // Had it not been refused: the old credential comes back over the new one.
        eventually("the first push", SOON, async || {
            let pushes = scene.objects_in("v1alpha1", "PushSecret").get("push").await?;
            Ok(pushes.data["status"]["refreshTime"].as_str().map(drop))
        })
        .await?;
        scene.flip()?;
        let arguments = [
            "annotate",
            "pushsecret",
            "push",
            "force-sync=1",
            "--namespace",
            scene.namespace.name(),
        ];
        lab.kubectl(&arguments)?;
        eventually("the old one to come back", SOON, async || {
            let now = String::from_utf8(scene.aws.current(ID).unwrap().bytes().to_vec())?;
            Ok((now.contains(OLD) && !now.contains(NEW)).then_some(()))
        })
        .await?;
        scene
            .objects_in("v1alpha1", "PushSecret")
            .delete("push", &DeleteParams::default())
            .await?;
        scene.until_found(&scene.policy, &[]).await
    });
}

#[test]
fn seen_71_without_rights_each_is_named_and_preflight_goes_on() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "app-tandem"},
            "rules": [{"apiGroups": ["external-secrets.io"], "resources": ["externalsecrets"], "resourceNames": ["db"], "verbs": ["get"]}],
        });
        scene.namespace.apply(&role.to_string()).await?;
        let name = scene.namespace.name();
        let client = lab.client_as(name, "tandem").await?;
        let cluster = Cluster::new(client, name);
        let denied = eventually("the refusals", SOON, async || -> Result<_> {
            let found = cluster.operator_findings(&scene.policy, None).await?;
            let denied: Vec<_> = found.into_iter().filter(|f| f.reason == "AccessDenied").collect();
            Ok((denied.len() == 3).then_some(denied))
        })
        .await?;
        for (finding, what) in
            denied
                .iter()
                .zip(["read SecretStore", "list externalsecrets", "list pushsecrets"])
        {
            assert!(
                finding.message.contains(&format!("not allowed to {what}"))
                    && finding.message.contains("tandem rbac -f"),
                "{}",
                finding.message
            );
        }
        let refused = scene.ask(&scene.guard().await?, 1).await?;
        assert!(
            format!("{refused:?}").contains("not allowed to patch ExternalSecret"),
            "{refused:?}"
        );
        Ok(())
    });
}

#[test]
fn before_the_operator_is_known_that_is_what_is_refused() {
    run(|lab: Lab| async move {
        let scene = Scene::empty(&lab).await?;
        let found = scene.findings().await?;
        let reasons: Vec<_> = found.iter().map(|f| f.reason).collect();
        assert_eq!(reasons, ["ExternalSecretMissing"]);
        Ok(())
    });
}
