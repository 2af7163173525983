//! Reloader's rules, case by case, on running workloads: who is left to it, and who would be forgotten by it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tandem_lab::{Consumer, ConsumerOptions, ReloaderOptions};

use crate::beside::{AUTO, Beside, Mark, NAMED};

const EXCLUDE: &str = "secrets.exclude.reloader.stakater.com/reload";
const SEARCH: &str = "reloader.stakater.com/search";
const MATCH: &str = "reloader.stakater.com/match";

impl Beside {
    /// An application with annotations on its pod template too.
    async fn inside(
        &self,
        name: &str,
        annotations: &[(&str, &str)],
        inside: &[(&str, &str)],
    ) -> Result<Consumer> {
        let template: serde_json::Map<String, Value> = inside
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let mut options = ConsumerOptions::of(&self.stage.postgres)
            .named(name)
            .replicas(1)
            .patch(json!({"spec": {"template": {"metadata": {"annotations": template}}}}));
        for (key, value) in annotations {
            options = options.annotation(key, value);
        }
        self.stage.namespace.consumer(options).await
    }

    /// A Deployment without pods that refers to nothing.
    async fn unrelated(&self, name: &str, annotations: &Value) -> Result<()> {
        let pod = json!({"containers": [{"name": "main", "image": "lab.local/empty:1"}]});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {
                "replicas": 0, "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
            },
        });
        self.stage.namespace.apply(&deployment.to_string()).await
    }

    /// The same scene, with another Reloader.
    async fn with(self, options: ReloaderOptions) -> Result<Self> {
        let Self { scene, reloader } = self;
        reloader.uninstall().await?;
        Self::of(scene, options).await
    }
}

#[test]
fn case23_case24_case25_case26_who_is_left_to_reloader_is_what_reloader_restarts() {
    tandem_lab::run(|lab| async move {
        let beside = Beside::new(&lab, "rules", json!({}), ReloaderOptions::default()).await?;
        let inside = beside.inside("inside", &[], &[(NAMED, "db-credentials")]).await?;
        let excluded_inside = [(EXCLUDE, "db-credentials")];
        let included = beside
            .inside("included", &[(AUTO, "true")], &excluded_inside)
            .await?;
        let listed = beside.annotated("listed", &[(NAMED, "other, db-.*")]).await?;
        let shorter = beside.annotated("shorter", &[(NAMED, "db")]).await?;
        let searching = beside.annotated("searching", &[(SEARCH, "true")]).await?;
        let plain = beside.annotated("plain", &[]).await?;
        // Of those that refer to nothing, Reloader restarts the one that names the Secret.
        beside
            .unrelated("named", &json!({NAMED: "db-credentials"}))
            .await?;
        beside
            .unrelated("nothing", &json!({AUTO: "true", SEARCH: "true"}))
            .await?;

        beside.annotate_secret(json!({MATCH: "true"})).await?;
        let found = [
            (&inside, Mark::Variable),
            (&included, Mark::Variable),
            (&listed, Mark::Variable),
            (&shorter, Mark::Own),
            (&searching, Mark::Variable),
            (&plain, Mark::Own),
        ];
        beside.rotates(&found).await?;
        for (name, rollouts) in [("named", 2), ("nothing", 1)] {
            let is = beside.revision(name).await?;
            ensure!(is == rollouts, "{name} was rolled out {} times", is - 1);
        }

        // To search is nothing without what is to be found.
        beside.annotate_secret(json!({MATCH: null})).await?;
        beside
            .rotates(&[(&searching, Mark::Own), (&plain, Mark::Own)])
            .await?;
        Ok(())
    });
}

#[test]
fn case30_case31_case32_a_reloader_that_looks_elsewhere_is_not_waited_for() {
    tandem_lab::run(|lab| async move {
        let elsewhere = ReloaderOptions::default().arg("--resource-label-selector=reload=yes");
        let beside = Beside::new(&lab, "elsewhere", json!({}), elsewhere).await?;
        let web = beside.annotated("web", &[(NAMED, "db-credentials")]).await?;
        let api = beside
            .annotated("api", &[("x.io/reload", "db-credentials")])
            .await?;
        beside.rotates(&[(&web, Mark::Own), (&api, Mark::Own)]).await?;

        let renamed = ReloaderOptions::default().arg("--secret-annotation=x.io/reload");
        let beside = beside.with(renamed).await?;
        beside
            .rotates(&[(&web, Mark::Own), (&api, Mark::Variable)])
            .await?;

        let blind = ReloaderOptions::default()
            .arg("--secret-annotation=x.io/reload")
            .arg("--resources-to-ignore=secrets");
        let beside = beside.with(blind).await?;
        beside.rotates(&[(&web, Mark::Own), (&api, Mark::Own)]).await?;
        Ok(())
    });
}
