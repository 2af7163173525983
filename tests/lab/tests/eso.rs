//! The real External Secrets Operator in the lab.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use tandem_lab::{EsoOptions, Lab, eventually, run, within};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";
const SOON: Duration = Duration::from_secs(30);

/// The processes of an operator, whether or not anybody knows of them.
fn processes(namespace: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let flag = format!("--namespace={namespace}");
    names
        .filter(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&flag)
        })
        .collect()
}

#[test]
fn an_operator_that_cannot_start_says_why() {
    run(|lab: Lab| async move {
        let namespace = lab.namespace("eso").await?;
        let options = EsoOptions::new(NOWHERE).arg("--nonsense");
        let refused = namespace.eso(options).await.map(|_| ()).unwrap_err();
        let said = format!("{refused:#}");
        assert!(
            said.contains("exited with 1") && said.contains("--nonsense"),
            "{said}"
        );
        Ok(())
    });
}

#[test]
fn what_an_operator_made_goes_with_its_test_even_when_nobody_stops_it() {
    let name = within(|lab: Lab| async move {
        let namespace = lab.namespace("eso").await?;
        let (name, options) = (namespace.name(), EsoOptions::new(NOWHERE));
        let eso = namespace.eso(options.with_cluster_external_secrets()).await?;
        eso.keys("id", "key").await?;
        eso.apply(&[
            eso.secret_store("aws"),
            eso.external_secret("db", "aws", "db", &["password"]),
            eso.cluster_secret_store(name, "orders/"),
            eso.cluster_external_secret("wide", name, "db", &["password"]),
            eso.push_secret("push", "aws", "db", "db", &["password"]),
        ])
        .await?;
        for external_secret in ["db", "wide"] {
            let said = eventually("the operator to fail", SOON, async || {
                let synced = eso.synced(external_secret).await?;
                ensure!(synced.ready.is_some(), "{synced:?}");
                Ok(Some(synced))
            });
            assert_eq!(said.await?.reason, "SecretSyncedError");
        }
        assert_eq!(processes(name).len(), 1);
        // As when the test is killed: nothing is dropped.
        std::mem::forget(eso);
        Ok(name.to_owned())
    })
    .unwrap();
    run(|lab: Lab| async move {
        let gone = eventually("all of it to go", SOON, async || {
            let processes = processes(&name);
            ensure!(processes.is_empty(), "processes {processes:?}");
            for kinds in [
                "namespaces",
                "clusterroles,clusterrolebindings",
                "clustersecretstores,clusterexternalsecrets",
            ] {
                let found = lab.kubectl(&["get", kinds, "--output", "name"])?;
                ensure!(!found.contains(&name), "{found}");
            }
            Ok(Some(()))
        });
        gone.await
    });
}
