//! Every door, on every major version, with every kind of administrator: whole rotations with applications that log in all
//! the time.
//!
//! The doors are side by side in one rotation, each with an application of its own, so that one rotation is seven cells of
//! the matrix. Without `TANDEM_MATRIX=all` each version has one kind of administrator, and with it all three.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tandem::manifest::sql;
use tandem_lab::{
    ADMIN_SECRET, CONSOLE_SECRET, Consumer, ConsumerOptions, ControllerOptions, KnownBy, Lab, Login,
    PgBouncer, PgBouncerOptions, PoolMode, PostgresOptions, Tally, USERLIST_SECRET,
};

use crate::scene::{Scene, direct, merge, unharmed};

const VERSIONS: [u32; 5] = [14, 15, 16, 17, 18];
const MODES: [PoolMode; 2] = [PoolMode::Session, PoolMode::Transaction];

/// Who changes passwords.
#[derive(Clone, Copy, Debug)]
enum Administrator {
    CreateRole,
    Function,
    Superuser,
}

const ADMINISTRATORS: [Administrator; 3] = [
    Administrator::CreateRole,
    Administrator::Function,
    Administrator::Superuser,
];

/// Which of them a version has: without being asked for more, one, each of the three at one version or more.
fn administrators(version: usize) -> Vec<Administrator> {
    let all = std::env::var("TANDEM_MATRIX").is_ok_and(|wanted| wanted == "all");
    let chosen = ADMINISTRATORS.into_iter().enumerate();
    let chosen = chosen.filter(|(number, _)| all || *number == version % ADMINISTRATORS.len());
    chosen.map(|(_, administrator)| administrator).collect()
}

#[test]
fn at_every_door_nobody_is_refused() {
    tandem_lab::run(|lab| async move {
        let mut rows = Vec::new();
        for (number, version) in VERSIONS.into_iter().enumerate() {
            rows.extend(cells(&lab, version, &administrators(number)).await?);
        }
        eprintln!("{}", rows.join("\n"));
        ensure!(rows.len() >= VERSIONS.len(), "a version has no row");
        Ok(())
    });
}

/// One version's part of the matrix.
async fn cells(lab: &Lab, version: u32, administrators: &[Administrator]) -> Result<Vec<String>> {
    let namespace = lab.namespace(&format!("doors-{version}")).await?;
    let stage = namespace
        .stage(PostgresOptions::named("db").version(version))
        .await?;
    let asks = stage.pgbouncer(central("asks", KnownBy::AuthQuery)).await?;
    let listed = stage.pgbouncer(central("listed", KnownBy::Userlist)).await?;
    let usual = direct(&stage);
    let scene = Scene::on(stage, usual, ControllerOptions::default()).await?;
    let endpoints = json!({"spec": {"database": {"endpoints": [
        endpoint(&asks, &json!({})),
        endpoint(&listed, &json!({"userlist": {"secretRef": {"name": USERLIST_SECRET}}})),
    ]}}});
    scene.apply(endpoints.clone()).await?;
    let doors = doors(&scene, &asks, &listed).await?;
    let mut rows = Vec::new();
    for administrator in administrators {
        let mut policy = endpoints.clone();
        merge(&mut policy, &scene.administered(*administrator).await?);
        scene.apply(policy).await?;
        scene.ready().await?;
        let before = scene.credential().await?;
        let counted: Vec<_> = doors.iter().map(Consumer::tally).collect::<Result<_>>()?;
        scene.rotate().await?;
        scene.sound(&before, &[]).await?;
        let now = scene.credential().await?;
        let mut row = format!("PostgreSQL {version}, {administrator:?}:");
        for (door, counted) in doors.iter().zip(&counted) {
            let tally = door.tally()?;
            let cell = cell(&tally, counted, &before, &now);
            let cell = cell.with_context(|| format!("{row} {}", door.name()))?;
            write!(row, " {cell} {}", door.name())?;
        }
        rows.push(row);
    }
    let rotations = u32::try_from(administrators.len())?;
    for door in &doors {
        unharmed(&door.tally()?).with_context(|| format!("PostgreSQL {version}, {}", door.name()))?;
        let revision = scene.revision(door.name()).await?;
        ensure!(
            revision == rotations + 1,
            "{} has revision {revision}",
            door.name()
        );
        // The next version has the machine to itself.
        door.delete().await?;
    }
    Ok(rows)
}

/// What an application counted during one rotation: as both users, and none refused.
fn cell(tally: &Tally, before: &Tally, old: &Login, new: &Login) -> Result<String> {
    unharmed(tally)?;
    let as_user =
        |tally: &Tally, login: &Login| tally.attempts_as.get(&login.user).copied().unwrap_or_default();
    let logins = tally.attempts - before.attempts;
    for login in [old, new] {
        let counted = as_user(tally, login) - as_user(before, login);
        ensure!(counted > 0, "never as {} in {logins} logins", login.user);
    }
    Ok(format!("0/{logins}"))
}

fn central(name: &str, known_by: KnownBy) -> PgBouncerOptions {
    let pooler = PgBouncerOptions::known_by(known_by)
        .named(name)
        .setting("server_idle_timeout", "1");
    MODES
        .into_iter()
        .fold(pooler, |pooler, mode| pooler.database(mode.as_str(), mode))
}

fn endpoint(pooler: &PgBouncer, more: &Value) -> Value {
    let mut endpoint = json!({
        "name": pooler.name(), "role": "Pooler", "host": pooler.host(), "port": pooler.port(),
        "console": {"secretRef": {"name": CONSOLE_SECRET}},
    });
    merge(&mut endpoint, more);
    endpoint
}

/// One application for each door and mode.
async fn doors(scene: &Scene, asks: &PgBouncer, listed: &PgBouncer) -> Result<Vec<Consumer>> {
    let usual = || ConsumerOptions {
        login_every: std::time::Duration::from_millis(200),
        wait: false,
        ..ConsumerOptions::of(&scene.stage.postgres).replicas(1)
    };
    let mut all = vec![usual().named("direct")];
    for mode in MODES {
        let name = mode.as_str();
        all.push(usual().named(&format!("sidecar-{name}")).pooled_within(mode));
        all.extend([asks, listed].map(|pooler| ConsumerOptions {
            host: pooler.host(),
            port: pooler.port(),
            database: name.to_owned(),
            ..usual().named(&format!("{}-{name}", pooler.name()))
        }));
    }
    let mut doors = Vec::new();
    for options in all {
        doors.push(scene.stage.namespace.consumer(options).await?);
    }
    for door in &doors {
        door.wait_until_ready().await?;
    }
    Ok(doors)
}

impl Scene {
    /// Makes this kind of administrator the policy's, and returns what the policy says of it.
    async fn administered(&self, administrator: Administrator) -> Result<Value> {
        const FUNCTION: &str = "rotation.set_verifier";
        let through = json!({"spec": {"database": {"admin": {"function": FUNCTION}}}});
        let (login, change) = match administrator {
            Administrator::CreateRole => (self.stage.pair.admin.clone(), json!({})),
            Administrator::Superuser => (self.stage.postgres.superuser(), json!({})),
            Administrator::Function => {
                let login = Login::new("caller", "the caller of one function");
                let role = format!("CREATE ROLE {} LOGIN PASSWORD '{}'", login.user, login.password);
                self.stage.postgres.sql("postgres", &role).await?;
                let mut policy: Value = serde_json::from_str(&self.policy_text())?;
                merge(&mut policy, &through);
                let script = sql::install(&policy.to_string(), &login.user)?;
                self.stage
                    .postgres
                    .sql(&self.stage.pair.database, &script)
                    .await?;
                (login, through)
            }
        };
        let data = [("username", &*login.user), ("password", &login.password)];
        self.stage.namespace.secret(ADMIN_SECRET, &data).await?;
        Ok(change)
    }
}
