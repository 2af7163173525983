//! Poolers: asked besides the servers, and never instead of them.

use std::time::Duration;

use anyhow::Result;
use tandem::api::endpoint::EndpointRole;
use tandem::effects::Outcome;
use tandem::effects::postgres::{
    Credential, Server, Verifier, change, clients, pooler, pooler_findings, reload, sessions, source,
};
use tandem::machine::endpoints::Door;
use tandem::machine::facts::{Finding, Login};
use tandem::policy::{Endpoint, Tls};
use tandem_lab::{CONSOLE_SECRET, KnownBy, PgBouncer, PgBouncerOptions, PostgresOptions, eventually, run};

use crate::scene::{Scene, change_of, credential, described, trust};

/// The endpoint `pgbouncer` at this pooler.
fn endpoint(scene: &Scene, pooler: &PgBouncer) -> Server {
    let endpoint = Endpoint {
        name: "pgbouncer".into(),
        role: EndpointRole::Pooler,
        host: pooler.host(),
        port: pooler.port(),
        tls: Tls::VerifyFull(trust()),
        console: None,
        userlist: None,
    };
    let ca = scene.lab.ca_pem().as_bytes();
    Server::endpoint(&described("db", 5432, "appdb", true), &endpoint, Some(ca), None).unwrap()
}

async fn door(scene: &Scene, server: &Server, pending: &Credential) -> Door {
    let source = source(&scene.server, &scene.admin).await.unwrap();
    pooler(server, pending, Some(&scene.owner), &source).await
}

async fn console(scene: &Scene) -> Result<Credential> {
    let login = scene.stage.namespace.read_secret(CONSOLE_SECRET).await?;
    Ok(credential(&login["username"], &login["password"]))
}

async fn alter(scene: &Scene, pending: &Credential) -> Result<()> {
    let verifier = Verifier::compute(&pending.password);
    let outcome = change(&scene.server, &scene.admin, change_of(&pending.user, &verifier)).await?;
    assert_eq!(outcome, Outcome::Done);
    Ok(())
}

fn refusal(door: &Door) -> &Finding {
    match door {
        Door::Refused(finding) => finding,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fm24_a_pooler_that_asks_the_server_opens_at_once_and_tells_of_clients_that_no_server_sees() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let options = PgBouncerOptions::known_by(KnownBy::AuthQuery).setting("server_idle_timeout", "1");
        let bouncer = scene.stage.pgbouncer(options).await?;
        let server = endpoint(&scene, &bouncer);
        let console = console(&scene).await?;
        let source = source(&scene.server, &scene.admin).await.unwrap();
        let findings = pooler_findings(&server, Some(&console), false, scene.wanted(), &source).await;
        assert_eq!(findings, []);

        let pending = credential("app_b", "a second password of the standby");
        let closed = door(&scene, &server, &pending).await;
        assert_eq!(refusal(&closed).reason, "PoolerRefuses");
        assert!(refusal(&closed).message.contains("auth_query"), "{closed:?}");
        alter(&scene, &pending).await?;
        assert_eq!(door(&scene, &server, &pending).await, Door::Open);

        // A client that does nothing: its pooler has given up the connection to the server long ago.
        let a = &scene.stage.pair.a;
        let idle = bouncer.connect_as(&a.user, &a.password, "appdb").await?;
        idle.simple_query("SELECT 1").await?;
        let user = &scene.a.user;
        eventually("the server to see nobody", Duration::from_secs(20), async || {
            let seen = sessions(&scene.server, &scene.admin, user).await.unwrap();
            Ok(seen.is_empty().then_some(()))
        })
        .await?;
        let found = clients(&server, &console, user).await.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|l| (l.application_name.as_str(), l.endpoint.as_deref(), l.count))
            .collect();
        assert_eq!(found, [("tandem-lab", Some("pgbouncer"), 1)]);
        drop(idle);
        eventually("the client to be gone", Duration::from_secs(10), async || {
            Ok(clients(&server, &console, user)
                .await
                .unwrap()
                .is_empty()
                .then_some(()))
        })
        .await?;

        let wrong = credential(console.user.as_str(), "wrong");
        let findings = pooler_findings(&server, Some(&wrong), false, scene.wanted(), &source).await;
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings[0].reason, "PoolerConsoleFailed");
        assert!(
            findings[0]
                .message
                .contains("spec.database.endpoints[pgbouncer].console.secretRef"),
            "{}",
            findings[0].message
        );
        Ok(())
    });
}

#[test]
fn fm24_what_a_pooler_takes_proves_nothing_and_what_it_refuses_neither() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let bouncer = scene
            .stage
            .pgbouncer(PgBouncerOptions::known_by(KnownBy::Userlist).setting("stats_users", "app_a"))
            .await?;
        let server = endpoint(&scene, &bouncer);
        let old = scene.b.clone();
        assert_eq!(door(&scene, &server, &old).await, Door::Open);
        // Whoever it was for, the connection to the server stays.
        let console = console(&scene).await?;
        let found = clients(&server, &console, &old.user).await.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|l| (l.application_name.as_str(), l.count))
            .collect();
        assert_eq!(found, [("the pooler's own connections", 1)]);
        let pending = credential("app_b", "a second password of the standby");
        alter(&scene, &pending).await?;
        // Its list is older than the server: it serves who the server refuses, and refuses who the server serves.
        assert_eq!(door(&scene, &server, &old).await, Door::Open);
        assert_eq!(scene.login(&old).await, Login::WrongPassword);
        let closed = door(&scene, &server, &pending).await;
        assert_eq!(refusal(&closed).reason, "PoolerRefuses");
        let proven = scene.login(&pending).await;
        assert!(matches!(proven, Login::Accepted(_)), "{proven:?}");

        // Who may ask it may not tell it anything.
        let source = source(&scene.server, &scene.admin).await.unwrap();
        let findings =
            async |console| pooler_findings(&server, Some(console), true, scene.wanted(), &source).await;
        assert_eq!(findings(&console).await, []);
        let found = findings(&scene.a).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].reason, "PoolerConsoleFailed");
        assert!(found[0].message.contains("admin_users"), "{}", found[0].message);
        assert_eq!(reload(&server, &console).await, Ok(()));
        let refused = reload(&server, &scene.a).await.unwrap_err();
        assert_eq!(refused.reason, "PoolerConsoleFailed");
        Ok(())
    });
}
