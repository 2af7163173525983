//! Rights, asked for before they are needed.

use serde_json::{Value, json};
use tandem::effects::Error;
use tandem_lab::run;

use crate::scene::{SECRET, Scene, pod_spec};

fn rule(group: &str, resource: &str, names: &[&str], verbs: &[&str]) -> Value {
    let mut rule = json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

#[test]
fn fm43_every_missing_right_is_named_and_no_other() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene
            .workload("StatefulSet", "store", &pod_spec("env"), json!({"replicas": 0}))
            .await?;
        let consumers = scene.consumers("mark", None).await?;
        let policy = &scene.policy;

        let none = scene.restricted(json!([])).await?;
        let found = none.access(policy, &consumers).await?;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].blocks);
        for needed in [
            "create secrets/app-tandem",
            "patch secrets/app-tandem",
            "update secrets/app-tandem",
            &format!("patch secrets/{SECRET}"),
            "patch statefulsets",
            "tandem rbac -f",
        ] {
            assert!(
                found[0].message.contains(needed),
                "{needed}: {}",
                found[0].message
            );
        }
        assert!(!found[0].message.contains("deployments"), "{}", found[0].message);
        let unread = none.workloads().await;
        assert!(
            matches!(&unread, Err(Error::Refused(finding)) if finding.message.contains("list pods") && finding.message.contains("tandem rbac")),
            "{:?}",
            unread.map(|_| ())
        );

        let some = json!([
            rule("", "secrets", &["app-tandem"], &["create", "patch", "update"]),
            rule("", "secrets", &["another"], &["patch"]),
        ]);
        let found = scene.restricted(some).await?.access(policy, &consumers).await?;
        assert!(
            found[0].message.contains(&format!(
                "not allowed to patch secrets/{SECRET}, patch statefulsets."
            )),
            "{}",
            found[0].message
        );

        let all = json!([
            rule("", "secrets", &["app-tandem"], &["create", "patch", "update"]),
            rule("", "secrets", &[SECRET], &["patch"]),
            rule("apps", "statefulsets", &[], &["patch"]),
        ]);
        assert_eq!(scene.restricted(all).await?.access(policy, &consumers).await?, []);
        Ok(())
    });
}
