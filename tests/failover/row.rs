//! One rotation in which the primary is replaced at a chosen moment, and what came of it.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use tandem_lab::{Consumer, ConsumerOptions, Lab, Login, Postgres, Servers, Stage, eventually};

use crate::outage::{Failed, Outage, judged};
use crate::scene::{FAULT, LIMIT, Scene, direct, mortal};

/// When the primary is replaced.
pub(crate) struct Row {
    /// What holds then.
    pub(crate) phase: &'static str,
    /// How the rotation is kept there.
    pub(crate) held: Held,
    /// What the standby lacks.
    pub(crate) standby: Standby,
}

/// How a rotation is kept in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The controller stands still before or after its n-th write, and is killed while the standby takes over.
    Killed(&'static str, usize),
    /// Its change of the role waits for somebody else's.
    Lock,
    /// The replica that is named in the policy is late.
    Replica,
    /// A session of the old user is left.
    Session,
}

/// What the standby lacks of what was written to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standby {
    /// Nothing.
    Synced,
    /// Everything since before the rotation.
    Behind,
    /// Everything since the delivery.
    BehindSinceDelivery,
}

/// What came of it.
pub(crate) struct Played {
    pub(crate) failed: Failed,
    /// How long the application could not log in, in seconds.
    pub(crate) lasted: f64,
    /// Whether the standby lacked a change of a password.
    pub(crate) lost: bool,
}

/// Plays one row. In the end everybody can log in at the server that is left, the old password is refused there, and
/// there was exactly one rotation.
pub(crate) async fn play(
    scene: &mut Scene,
    servers: &mut Servers,
    app: &Consumer,
    row: &Row,
) -> Result<Played> {
    let before = scene.credential().await?;
    let (began, revision, number) = (
        Timestamp::now(),
        scene.revision(app.name()).await?,
        number(scene).await?,
    );
    if let Held::Killed(when, write) = row.held {
        scene.fault(when, write)?;
    }
    if row.standby == Standby::Behind {
        servers.standby()?.cut_off().await?;
    }
    let held = holding(row, servers, scene, &before).await?;
    let nonce = scene.ask().await?;
    if row.standby == Standby::BehindSinceDelivery {
        delivered(scene, &before).await?;
        servers.standby()?.cut_off().await?;
    }
    reached(scene, row).await?;
    let lost = row.standby != Standby::Synced && differ(servers).await?;

    let from = Timestamp::now();
    let killed = async {
        match row.held {
            Held::Killed(..) => scene.kill().await,
            Held::Lock | Held::Replica | Held::Session => Ok(()),
        }
    };
    let (promoted, killed) = tokio::join!(servers.fail_over(), killed);
    promoted?;
    killed?;
    drop(held);
    scene.stage.postgres = servers.primary().clone();
    let (outage, replenished) = tokio::join!(Outage::since(from, app), servers.replenish());
    replenished?;
    let outage = outage?;

    let status = scene.completed(&nonce).await?;
    scene.ready().await?;
    scene.sound(&before, &[]).await?;
    let now = scene.credential().await?;
    at_the_standby(servers, &now, &before).await?;
    let (ended, restarts) = (
        status.last_rotation.map(|last| last.number),
        scene.revision(app.name()).await? - revision,
    );
    ensure!(ended == Some(number + 1), "{ended:?} follows {number}");
    ensure!(restarts == 1, "the application was restarted {restarts} times");
    Ok(Played {
        failed: judged(app, began, &[outage])?,
        lasted: outage.lasted(),
        lost,
    })
}

/// The session that keeps a rotation where it is, for as long as it lives.
async fn holding(
    row: &Row,
    servers: &Servers,
    scene: &Scene,
    before: &Login,
) -> Result<Option<tokio_postgres::Client>> {
    let (server, pair) = (servers.primary(), &scene.stage.pair);
    match row.held {
        Held::Killed(..) | Held::Replica => Ok(None),
        Held::Session => {
            let (user, password) = (&before.user, &before.password);
            server.connect_as(user, password, &pair.database).await.map(Some)
        }
        Held::Lock => {
            let mut users = [&pair.a.user, &pair.b.user].into_iter();
            let standby = users
                .find(|user| **user != before.user)
                .context("a pair is two")?;
            let root = server.superuser();
            let client = server
                .connect_as(&root.user, &root.password, &pair.database)
                .await?;
            let lock = format!("BEGIN; ALTER ROLE {standby} CONNECTION LIMIT -1");
            client.batch_execute(&lock).await?;
            Ok(Some(client))
        }
    }
}

/// Waits until the rotation is kept where it should be.
async fn reached(scene: &Scene, row: &Row) -> Result<()> {
    match row.held {
        Held::Killed(..) => stands_still(scene).await,
        Held::Replica => scene.reason("WaitingForReplica").await.map(drop),
        Held::Session => scene.reason("WaitingForSessions").await.map(drop),
        Held::Lock => {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'rotator' AND wait_event_type = 'Lock'";
            eventually("the change to wait for the lock", LIMIT, async || {
                let waiting = scene.stage.postgres.value("postgres", waits).await?;
                Ok((waiting.as_deref() == Some("1")).then_some(()))
            })
            .await
        }
    }
}

/// Waits until the controller stands still where it was told to.
pub(crate) async fn stands_still(scene: &Scene) -> Result<()> {
    let reached = scene.controller.dir().join(FAULT).with_extension("reached");
    eventually("the controller to stand still", LIMIT, async || {
        Ok(reached.exists().then_some(()))
    })
    .await
}

/// Waits until the application Secret names the other user.
async fn delivered(scene: &Scene, before: &Login) -> Result<()> {
    eventually("the new credential", LIMIT, async || {
        Ok((scene.credential().await?.user != before.user).then_some(()))
    })
    .await
}

/// Whether a password of the pair is another one at the standby.
async fn differ(servers: &Servers) -> Result<bool> {
    let passwords = "SELECT string_agg(rolpassword, ' ' ORDER BY rolname) FROM pg_authid WHERE rolcanlogin";
    let of = async |server: &Postgres| {
        let all = server.value("postgres", passwords).await?;
        all.context("there are no passwords")
    };
    Ok(of(servers.primary()).await? != of(servers.standby()?).await?)
}

/// The standby that was made anew takes the new password and refuses the old one, too.
async fn at_the_standby(servers: &Servers, now: &Login, before: &Login) -> Result<()> {
    let standby = servers.standby()?;
    eventually("the standby to know the passwords", LIMIT, async || {
        standby.connect_as(&now.user, &now.password, "appdb").await?;
        let old = standby.connect_as(&before.user, &before.password, "appdb").await;
        ensure!(old.is_err(), "{} still logs in", before.user);
        Ok(Some(()))
    })
    .await
}

/// The number of the last rotation.
async fn number(scene: &Scene) -> Result<u64> {
    let last = scene.status().await?.last_rotation;
    Ok(last.map_or(0, |last| last.number))
}

/// A stage on the first of two servers.
pub(crate) async fn two_servers(lab: &Lab, name: &str) -> Result<(Stage, Servers)> {
    let namespace = lab.namespace(name).await?;
    let stage = namespace.stage(Servers::options(&namespace)).await?;
    let servers = Servers::of(&stage).await?;
    Ok((stage, servers))
}

/// A scene with direct delivery on two servers. It is ready.
pub(crate) async fn two_servers_scene(lab: &Lab, name: &str) -> Result<(Scene, Servers)> {
    let (stage, servers) = two_servers(lab, name).await?;
    let usual = direct(&stage);
    let scene = Scene::on(stage, usual, mortal()).await?;
    scene.apply(behind_names(&servers, true)).await?;
    scene.ready().await?;
    Ok((scene, servers))
}

/// An application that logs in by the name that moves.
pub(crate) async fn app(scene: &Scene, servers: &Servers, replicas: i32) -> Result<Consumer> {
    let options = ConsumerOptions {
        host: servers.writer(),
        ..ConsumerOptions::of(servers.primary()).replicas(replicas)
    };
    scene.stage.namespace.consumer(options).await
}

/// A policy whose primary is reached by the name that moves; and whose standby is named as an endpoint, or not.
pub(crate) fn behind_names(servers: &Servers, named: bool) -> Value {
    let reader = json!([{"name": "reader", "role": "Replica", "host": servers.reader()}]);
    let endpoints = if named { reader } else { Value::Null };
    json!({"spec": {"database": {"host": servers.writer(), "endpoints": endpoints}}})
}

/// The rows that were played, for people.
pub(crate) struct Matrix {
    title: &'static str,
    rows: Vec<String>,
}

impl Matrix {
    pub(crate) fn new(title: &'static str) -> Self {
        let rows = Vec::new();
        Self { title, rows }
    }

    /// Plays a row in which the standby has lost what it must have lost, and no password is refused.
    pub(crate) async fn play(
        &mut self,
        scene: &mut Scene,
        servers: &mut Servers,
        app: &Consumer,
        row: &Row,
        loses: bool,
    ) -> Result<()> {
        let played = self.note(scene, servers, app, row).await?;
        ensure!(
            played.lost == loses,
            "{}: the standby had lost {}",
            row.phase,
            played.lost
        );
        ensure!(
            played.failed.password_refused == 0,
            "{}: passwords were refused: {:?}",
            row.phase,
            played.failed
        );
        Ok(())
    }

    /// Plays a row, whatever comes of it for the application.
    pub(crate) async fn note(
        &mut self,
        scene: &mut Scene,
        servers: &mut Servers,
        app: &Consumer,
        row: &Row,
    ) -> Result<Played> {
        let Row { phase, held, standby } = row;
        let what = || format!("{phase}, {standby:?}, {held:?}");
        let played = play(scene, servers, app, row).await.with_context(what)?;
        let lost = if played.lost { "lost" } else { "kept" };
        let (standby, held) = (format!("{standby:?}"), format!("{held:?}"));
        let line = format!(
            "{phase:<10} {standby:<20} {held:<22} {lost:<5} {:>6.1} s {:>6} {:>6}",
            played.lasted, played.failed.without_server, played.failed.password_refused,
        );
        eprintln!("{}: {line}", self.title);
        self.rows.push(line);
        Ok(played)
    }

    /// All of them at once.
    pub(crate) fn print(&self) {
        eprintln!(
            "{}\nphase      standby              held by                change outage   without server, password refused\n{}",
            self.title,
            self.rows.join("\n")
        );
    }
}
