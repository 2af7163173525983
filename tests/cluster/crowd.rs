//! Many policies that are due at the same moment.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tandem::machine::{Journal, Loaded};
use tandem_lab::{Postgres, PostgresOptions, eventually};

use crate::scene::{LIMIT, POLICY, Scene, direct, merge, mortal};

/// Policies at each of the two servers, the usual one included.
const POLICIES: usize = 12;
/// Rotations that may be under way at once in their namespace.
const PER_NAMESPACE: usize = 4;
/// And at each server: the two together are more than the namespace allows.
const PER_SERVER: usize = 3;

/// A pair of its own for each policy but the usual one, with the password `first`.
fn roles(number: usize, owner: &str, version: u32) -> String {
    let (a, b) = (format!("u{number}_a"), format!("u{number}_b"));
    // Before, the right to create roles was the right to change all of them.
    let administered = if version >= 16 {
        format!("GRANT {a}, {b} TO rotator WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;")
    } else {
        String::new()
    };
    format!(
        "CREATE ROLE {a} LOGIN PASSWORD 'first' IN ROLE {owner}; CREATE ROLE {b} LOGIN IN ROLE {owner};
         ALTER ROLE {a} SET role = '{owner}'; ALTER ROLE {b} SET role = '{owner}'; {administered}"
    )
}

/// The policy of such a pair, and its Secret.
fn documents(usual: &Value, host: &str, name: &str, number: usize) -> [Value; 2] {
    let mut policy = usual.clone();
    merge(
        &mut policy,
        &json!({
            "metadata": {"name": name, "annotations": {"tandem.dev/rotate-now": "midnight"}},
            "spec": {
                "users": [format!("u{number}_a"), format!("u{number}_b")],
                "database": {"host": host},
                "delivery": {"secret": {"name": name}},
            },
        }),
    );
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": {"username": format!("u{number}_a"), "password": "first"},
    });
    [policy, secret]
}

/// When a rotation was under way, and at which server.
#[derive(Clone, Copy)]
struct Span {
    server: usize,
    from: Timestamp,
    to: Timestamp,
}

/// When each rotation was under way, as its journal says, and that there was one of each policy.
async fn spans(scene: &Scene, servers: &BTreeMap<String, usize>) -> Result<Vec<Span>> {
    let secrets: Api<Secret> = scene.stage.namespace.api();
    let mut spans = Vec::new();
    for policy in scene.policies.list(&ListParams::default()).await?.items {
        let (name, uid) = (policy.metadata.name, policy.metadata.uid);
        let name = name.context("a policy without a name")?;
        let journal = secrets.get(&format!("{name}-tandem")).await?;
        let text = journal.data.unwrap_or_default().remove("journal.json");
        let Loaded::Valid(journal) = Journal::load(&text.context("no journal")?.0, &uid.unwrap_or_default())
        else {
            bail!("the journal of {name} is not valid");
        };
        ensure!(journal.number == 1, "{name} rotated {} times", journal.number);
        let [finished] = journal.history.as_slice() else {
            bail!("{name} has not rotated once: {:?}", journal.history);
        };
        spans.push(Span {
            server: servers[&name],
            from: finished.started_at,
            to: finished.finished_at,
        });
    }
    Ok(spans)
}

/// How many were under way at the busiest moment, which is when one of them began.
fn peak(spans: &[Span]) -> usize {
    let at = |moment| {
        spans
            .iter()
            .filter(|span| span.from <= moment && moment < span.to)
            .count()
    };
    spans.iter().map(|span| at(span.from)).max().unwrap_or_default()
}

/// A message of a policy that waits for its place, when one does.
async fn waiting(scene: &Scene) -> Result<Option<String>> {
    let all = scene.policies.list(&ListParams::default()).await?.items;
    let conditions = all
        .into_iter()
        .filter_map(|policy| Some(policy.status?.conditions));
    Ok(conditions
        .flatten()
        .find(|c| c.reason == "WaitingForPlace" && c.message.contains("rotations may be under way"))
        .map(|condition| condition.message))
}

/// The two servers, and at which of them each policy is.
struct Crowd {
    postgres: [Postgres; 2],
    servers: BTreeMap<String, usize>,
}

impl Crowd {
    /// Makes all policies, each due as soon as somebody looks.
    async fn gather(scene: &Scene, other: &Postgres, usual: &Value) -> Result<Self> {
        let mut first = usual.clone();
        merge(
            &mut first,
            &json!({"metadata": {"annotations": {"tandem.dev/rotate-now": "midnight"}}}),
        );
        let (mut policies, mut secrets) = (vec![first], Vec::new());
        let postgres = [scene.stage.postgres.clone(), other.clone()];
        let mut servers = BTreeMap::from([(POLICY.to_owned(), 0)]);
        for (server, postgres) in postgres.iter().enumerate() {
            let numbers = usize::from(server == 0)..POLICIES;
            let owner = &scene.stage.pair.owner;
            let version = postgres.version();
            let sql: Vec<String> = numbers.clone().map(|n| roles(n, owner, version)).collect();
            postgres.sql("postgres", &sql.join("\n")).await?;
            for number in numbers {
                let name = format!("{}-{number}", postgres.name());
                let [policy, secret] = documents(usual, &postgres.host(), &name, number);
                policies.push(policy);
                secrets.push(secret);
                servers.insert(name, server);
            }
        }
        let yaml = |documents: &[Value]| {
            let documents: Vec<_> = documents.iter().map(Value::to_string).collect();
            documents.join("\n---\n")
        };
        let text = yaml(&policies);
        scene.controller.grant(scene.namespace(), &text).await?;
        let all = yaml(&[secrets, policies].concat());
        scene.stage.namespace.apply(&all).await?;
        Ok(Self { postgres, servers })
    }

    /// Waits until every policy has rotated.
    async fn rotated(&self, scene: &Scene) -> Result<()> {
        eventually("all rotations", LIMIT, async || {
            let all = scene.policies.list(&ListParams::default()).await?.items;
            let done = all.iter().filter(|policy| {
                let status = policy.status.as_ref();
                status.is_some_and(|s| s.rotation.is_none() && s.last_rotation.is_some())
            });
            let (done, all) = (done.count(), self.servers.len());
            ensure!(done == all, "{done} of {all} have rotated");
            Ok(Some(()))
        })
        .await
    }

    /// Every Secret but the application's names the other user now, who logs in.
    async fn sound(&self, scene: &Scene) -> Result<()> {
        let made = self.servers.iter().filter(|(name, _)| *name != POLICY);
        try_join_all(made.map(async |(name, server)| {
            let data = scene.stage.namespace.read_secret(name).await?;
            let (user, password) = (&data["username"], &data["password"]);
            ensure!(user.ends_with("_b"), "{name} still names {user}");
            let database = &scene.stage.pair.database;
            let login = self.postgres[*server].connect_as(user, password, database);
            login.await.with_context(|| format!("{name} cannot log in"))
        }))
        .await?;
        Ok(())
    }
}

/// fm49: also when the controller is killed in the midst of it, and begins anew with no memory.
#[test]
fn fm49_of_many_policies_that_are_due_at_once_only_so_many_rotate_at_a_time_and_each_does_once() {
    tandem_lab::run(|lab| async move {
        let namespace = lab.namespace("crowd").await?;
        let (stage, other) = tokio::try_join!(
            namespace.stage(PostgresOptions::named("db")),
            namespace.postgres(PostgresOptions::named("other")),
        )?;
        other.pair(&stage.pair).await?;
        let usual = direct(&stage);
        let asleep = mortal()
            .replicas(0)
            .env("TANDEM_MAX_ROTATIONS_PER_NAMESPACE", &PER_NAMESPACE.to_string())
            .env("TANDEM_MAX_ROTATIONS_PER_SERVER", &PER_SERVER.to_string());
        let scene = Scene::on(stage, usual.clone(), asleep).await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        let crowd = Crowd::gather(&scene, &other, &usual).await?;

        // Some of the many writes in, with rotations at every stage.
        scene.fault("after", 60)?;
        scene.controller.scale(1).await?;
        let message = eventually("a policy that waits for its place", LIMIT, async || {
            waiting(&scene).await
        })
        .await?;
        for part in ["at most", "kubectl get rotpol", "--max-rotations-per-"] {
            ensure!(message.contains(part), "{part:?} is not in: {message}");
        }
        scene.kill().await?;
        crowd.rotated(&scene).await?;

        let spans = spans(&scene, &crowd.servers).await?;
        ensure!(spans.len() == 2 * POLICIES, "{} policies", spans.len());
        let most = peak(&spans);
        ensure!(most == PER_NAMESPACE, "{most} rotations were under way at once");
        for server in 0..2 {
            let here: Vec<_> = spans.iter().copied().filter(|s| s.server == server).collect();
            let most = peak(&here);
            ensure!(most <= PER_SERVER, "{most} were under way at server {server}");
        }
        crowd.sound(&scene).await?;
        ensure!(scene.revision("app").await? == 2, "not restarted once");
        scene.sound(&before, &[&app]).await
    });
}
