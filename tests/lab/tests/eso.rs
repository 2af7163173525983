//! The real External Secrets Operator in the lab.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tandem_lab::aws::{Action, Fault, How, Value};
use tandem_lab::{Aws, Eso, EsoOptions, Lab, Namespace, eventually, run, within};

const SOON: Duration = Duration::from_secs(30);
/// As long as something is watched that is not to happen. An operator that is to do it needs a fraction of this.
const QUIET: Duration = Duration::from_secs(3);
const SECRET: &str = "orders/db";

fn store() -> Result<Aws> {
    let aws = Aws::start(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    aws.create(SECRET, password("first"))?;
    Ok(aws)
}

fn password(password: &str) -> Value {
    Value::Text(json!({"username": "app_a", "password": password}).to_string())
}

/// An operator, with an `ExternalSecret` named `db` of the store's one secret.
async fn scene(namespace: &Namespace, aws: &Aws) -> Result<Eso> {
    let eso = namespace.eso(EsoOptions::of(aws)).await?;
    eso.keys(aws.key()).await?;
    let objects = [
        eso.secret_store("aws"),
        eso.external_secret("db", "aws", SECRET, &["username", "password"]),
    ];
    eso.apply(&objects).await?;
    Ok(eso)
}

async fn until_secret_has(namespace: &Namespace, secret: &str, password: &str) -> Result<()> {
    eventually(format_args!("{secret} to have {password}"), SOON, async || {
        let data = namespace.read_secret(secret).await?;
        ensure!(
            data.get("password").is_some_and(|found| found == password),
            "it has {:?}",
            data.get("password")
        );
        Ok(Some(()))
    })
    .await
}

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
fn an_external_secret_becomes_a_secret_and_an_annotation_brings_what_the_store_has_now() {
    run(|lab: Lab| async move {
        let (namespace, aws) = (lab.namespace("eso").await?, store()?);
        let eso = scene(&namespace, &aws).await?;
        until_secret_has(&namespace, "db", "first").await?;
        let first = eventually("the status", SOON, async || {
            Ok(Some(eso.synced("db").await?).filter(|synced| synced.at.is_some()))
        });
        let first = first.await?;
        assert_eq!((first.ready, first.reason.as_str()), (Some(true), "SecretSynced"));
        assert_eq!(first.secret.as_deref(), Some("db"));

        aws.put(SECRET, password("second"))?;
        tokio::time::sleep(QUIET).await;
        assert_eq!(namespace.read_secret("db").await?["password"], "first");
        assert_eq!(eso.synced("db").await?, first);
        eso.annotate("db", "1").await?;
        until_secret_has(&namespace, "db", "second").await?;
        let moved = eventually("the status to follow", SOON, async || {
            let synced = eso.synced("db").await?;
            Ok((synced.version != first.version).then_some(synced))
        });
        assert_eq!(moved.await?.ready, Some(true));
        assert_eq!(namespace.read_secret("db").await?["username"], "app_a");
        Ok(())
    });
}

#[test]
fn a_stopped_operator_does_nothing_and_a_started_one_catches_up() {
    run(|lab: Lab| async move {
        let (namespace, aws) = (lab.namespace("eso").await?, store()?);
        let mut eso = scene(&namespace, &aws).await?;
        until_secret_has(&namespace, "db", "first").await?;
        eso.stop().await?;
        assert!(processes(namespace.name()).is_empty());
        aws.put(SECRET, password("second"))?;
        let asked = aws.calls(SECRET).len();
        eso.annotate("db", "1").await?;
        tokio::time::sleep(QUIET).await;
        assert_eq!(namespace.read_secret("db").await?["password"], "first");
        assert_eq!(aws.calls(SECRET).len(), asked);
        eso.start().await?;
        until_secret_has(&namespace, "db", "second").await
    });
}

#[test]
fn a_store_that_refuses_is_said_and_the_secret_stays() {
    run(|lab: Lab| async move {
        let (namespace, aws) = (lab.namespace("eso").await?, store()?);
        let eso = scene(&namespace, &aws).await?;
        until_secret_has(&namespace, "db", "first").await?;
        aws.fault(SECRET, Fault::always(Action::GetSecretValue, How::Deny));
        eso.annotate("db", "1").await?;
        let failed = eventually("the failure to be said", SOON, async || {
            Ok(Some(eso.synced("db").await?).filter(|synced| synced.ready == Some(false)))
        });
        assert_eq!(failed.await?.reason, "SecretSyncedError");
        assert_eq!(namespace.read_secret("db").await?["password"], "first");
        let mut refused = aws.calls(SECRET).into_iter().filter_map(|call| call.error);
        assert_eq!(refused.next_back().as_deref(), Some("AccessDeniedException"));
        Ok(())
    });
}

#[test]
fn two_operators_leave_each_others_objects_alone() {
    run(|lab: Lab| async move {
        let aws = store()?;
        let (one, other) = (lab.namespace("eso").await?, lab.namespace("eso").await?);
        let (audit, mut first) = (lab.audit().from_here()?, scene(&one, &aws).await?);
        let second = scene(&other, &aws).await?;
        until_secret_has(&one, "db", "first").await?;
        until_secret_has(&other, "db", "first").await?;
        first.stop().await?;
        aws.put(SECRET, password("second"))?;
        first.annotate("db", "1").await?;
        second.annotate("db", "1").await?;
        until_secret_has(&other, "db", "second").await?;
        assert_eq!(one.read_secret("db").await?["password"], "first");
        for (namespace, eso) in [(&one, &first), (&other, &second)] {
            let requests = audit
                .clone()
                .service_account(namespace.name(), eso.service_account())
                .read()?;
            let writes: Vec<_> = requests.iter().filter(|request| request.is_write()).collect();
            assert!(!writes.is_empty());
            for request in writes {
                let place = request.namespace.as_deref();
                assert_eq!(place, Some(namespace.name()), "{request:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_cluster_external_secret_brings_a_secret_through_a_store_with_a_prefix() {
    run(|lab: Lab| async move {
        let (namespace, aws) = (lab.namespace("eso").await?, store()?);
        let options = EsoOptions::of(&aws).with_cluster_external_secrets();
        let eso = namespace.eso(options).await?;
        eso.keys(aws.key()).await?;
        let name = namespace.name();
        eso.apply(&[
            eso.cluster_secret_store(name, "orders/"),
            eso.cluster_external_secret("db", name, "db", &["password"]),
        ])
        .await?;
        until_secret_has(&namespace, "db", "first").await?;
        aws.put(SECRET, password("second"))?;
        lab.kubectl(&[
            "annotate",
            "clusterexternalsecret",
            name,
            "external-secrets.io/force-sync=1",
        ])?;
        until_secret_has(&namespace, "db", "second").await
    });
}

#[test]
fn a_push_secret_writes_to_the_store() {
    run(|lab: Lab| async move {
        let (namespace, aws) = (lab.namespace("eso").await?, store()?);
        let eso = scene(&namespace, &aws).await?;
        namespace.secret("source", &[("password", "pushed")]).await?;
        let push = eso.push_secret("push", "aws", "source", "orders/pushed", &["password"]);
        eso.apply(&[push]).await?;
        let pushed = eventually("the store to have it", SOON, async || {
            Ok(aws.current("orders/pushed"))
        });
        assert_eq!(pushed.await?.bytes(), br#"{"password":"pushed"}"#);
        Ok(())
    });
}

#[test]
fn an_operator_that_cannot_start_says_why() {
    run(|lab: Lab| async move {
        let (namespace, aws) = (lab.namespace("eso").await?, store()?);
        let options = EsoOptions::of(&aws).arg("--nonsense");
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
fn what_an_operator_made_goes_with_its_test() {
    let name = within(|lab: Lab| async move {
        let (namespace, aws) = (lab.namespace("eso").await?, store()?);
        let (name, options) = (namespace.name(), EsoOptions::of(&aws));
        let eso = namespace.eso(options.with_cluster_external_secrets()).await?;
        eso.keys(aws.key()).await?;
        eso.apply(&[
            eso.secret_store("aws"),
            eso.external_secret("db", "aws", SECRET, &["password"]),
            eso.cluster_secret_store(name, "orders/"),
            eso.cluster_external_secret("wide", name, "db", &["password"]),
            eso.push_secret("push", "aws", "db", "orders/pushed", &["password"]),
        ])
        .await?;
        until_secret_has(&namespace, "db", "first").await?;
        until_secret_has(&namespace, "wide", "first").await?;
        assert_eq!(processes(name).len(), 1);
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

#[test]
fn an_operator_that_nobody_stops_ends_with_the_thread_of_its_test() {
    let name = within(|lab: Lab| async move {
        let (namespace, aws) = (lab.namespace("eso").await?, store()?);
        let eso = namespace.eso(EsoOptions::of(&aws)).await?;
        assert_eq!(processes(namespace.name()).len(), 1);
        // As when the test is killed: nothing is dropped.
        std::mem::forget(eso);
        Ok(namespace.name().to_owned())
    });
    let name = name.unwrap();
    let deadline = Instant::now() + SOON;
    while !processes(&name).is_empty() {
        assert!(Instant::now() < deadline, "it goes on");
        std::thread::sleep(Duration::from_millis(100));
    }
}
