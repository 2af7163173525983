//! Which namespaces a Reloader is for, and what they have to do with each other.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use serde_json::{Value, json};
use tandem_lab::{Lab, ReloaderOptions, run};

use crate::corner::Corner;
use crate::given::deployment;
use crate::promptly::promptly;

const SOON: Duration = Duration::from_secs(20);

async fn published(corner: &Corner) -> Result<Value> {
    let api: Api<ConfigMap> = corner.namespace.api();
    let data = api.get("reloader-meta-info").await?.data.unwrap_or_default();
    Ok(serde_json::from_str(&data["reloaderOptions"])?)
}

#[test]
fn case101_an_event_of_another_namespace_waits_until_the_one_before_it_is_done() {
    run(|lab: Lab| async move {
        let (crowd, other) = (Corner::new(&lab).await?, Corner::new(&lab).await?);
        let names: Vec<String> = (10..25).map(|number| format!("w-{number}")).collect();
        for name in &names {
            crowd.add(&deployment(name.clone().leak()).named("db")).await?;
        }
        for corner in [&crowd, &other] {
            corner.label("team", Some(crowd.name())).await?;
        }
        let options = ReloaderOptions::in_labelled_namespaces(&format!("team={}", crowd.name()));
        let _reloader = crowd.namespace.reloader(options.bare()).await?;
        crowd.change("p1").await?;
        other.change("p1").await?;
        other.until_handled("p1").await?;
        for name in &names {
            assert!(crowd.variable(name).await?.is_some(), "{name} was overtaken");
        }
        crowd.until_handled("p1").await
    });
}

#[test]
fn case108_and_134_to_136_a_selector_selects_as_namespaces_are_at_that_moment() {
    run(|lab: Lab| async move {
        let (here, ignored, late) = (
            Corner::new(&lab).await?,
            Corner::new(&lab).await?,
            Corner::new(&lab).await?,
        );
        let bad = Corner::with(&lab, deployment("bad").named("db-(")).await?;
        for corner in [&here, &ignored, &bad] {
            corner.label("team", Some(here.name())).await?;
        }
        // The quotes are there as the chart renders them.
        let selector = format!("\"team={}\"", here.name());
        let options = ReloaderOptions::in_labelled_namespaces(&selector).bare();
        let options = options.arg(&format!("--namespaces-to-ignore={}", ignored.name()));
        let mut reloader = here.namespace.reloader(options).await?;
        let options = published(&here).await?;
        assert_eq!(
            options["namespaceSelectors"],
            json!([format!("team={}", here.name())])
        );
        assert_eq!(options["namespacesToIgnore"], json!([ignored.name()]));

        ignored.change("p1").await?;
        late.change("p1").await?;
        here.change("p1").await?;
        here.until_handled("p1").await?;
        assert_eq!((ignored.writes().await?, late.writes().await?), (0, 0));

        late.label("team", Some(here.name())).await?;
        let mut number = 1;
        let seen = promptly("the label to be seen", SOON, async || {
            number += 1;
            let password = format!("p{number}");
            late.change(&password).await?;
            here.change(&password).await?;
            here.until_handled(&password).await?;
            Ok((late.writes().await? > 0).then_some(()))
        });
        seen.await?;
        late.label("team", None).await?;
        let unseen = promptly("the label not to be seen", SOON, async || {
            number += 1;
            let (password, before) = (format!("p{number}"), late.writes().await?);
            late.change(&password).await?;
            here.change(&password).await?;
            here.until_handled(&password).await?;
            Ok((late.writes().await? == before).then_some(()))
        });
        unseen.await?;
        assert_eq!(ignored.writes().await?, 0);

        // A list that is none harms nobody in other namespaces.
        assert_eq!(reloader.exit()?, None);
        bad.change("p1").await?;
        let ended = promptly("Reloader to end", SOON, async || reloader.exit());
        assert_eq!(ended.await?, 2);
        Ok(())
    });
}

#[test]
fn case146_the_variable_of_the_chart_names_the_only_namespace() {
    run(|lab: Lab| async move {
        let (here, there) = (Corner::new(&lab).await?, Corner::new(&lab).await?);
        let _reloader = here.namespace.reloader(ReloaderOptions::default().bare()).await?;
        there.change("p1").await?;
        here.change("p1").await?;
        here.until_handled("p1").await?;
        assert_eq!(there.writes().await?, 0);
        assert!(!published(&here).await?.to_string().contains(here.name()));
        Ok(())
    });
}

#[test]
fn case125_and_147_a_list_of_namespaces_is_stronger_than_one_of_those_to_ignore() {
    run(|lab: Lab| async move {
        let (here, there) = (Corner::new(&lab).await?, Corner::new(&lab).await?);
        let names = [here.name(), there.name()];
        let options = ReloaderOptions::in_namespaces(&names).arg("--reload-on-create=true");
        let options = options.arg(&format!("--namespaces-to-ignore={}", here.name()));
        let mut reloader = here.namespace.reloader(options.bare()).await?;
        for _ in 0..2 {
            reloader.start().await?;
        }
        for corner in [&here, &there] {
            corner.change("p1").await?;
            corner.until_handled("p1").await?;
            assert_eq!(corner.writes().await?, 1);
        }
        let options = published(&here).await?;
        assert_eq!(options["namespacesToIgnore"], json!([here.name()]));
        assert!(!options.to_string().contains(there.name()));
        Ok(())
    });
}
