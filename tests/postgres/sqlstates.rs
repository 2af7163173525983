//! What each SQLSTATE is taken for, row by row: every one is brought about on real servers, by the right password and by
//! a wrong one, since the order of the server's checks is what the verdict on the password rests on.
//!
//! Elsewhere: what comes without a code (`logins.rs`, `trust.rs`), a standby and a server that takes no writes
//! (`changes.rs`), a missing right (`rights.rs`), a password check (`changes.rs`).
#![expect(
    clippy::print_stdout,
    reason = "the table is to be read, and not only to hold"
)]

use std::time::Duration;

use anyhow::Result;
use tandem::effects::Error;
use tandem::effects::postgres::{Credential, Server, Verifier, change, login, previous};
use tandem::machine::facts::{Login, Previous};
use tandem_lab::{KnownBy, PgBouncerOptions, PostgresOptions, eventually, run};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls};

use crate::scene::{Scene, change_of, credential, on_every_version, reason, server};

const SOON: Duration = Duration::from_secs(20);

/// What an answer says about the password that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Right,
    Wrong,
    Nothing,
}
use Said::{Nothing, Right, Wrong};

impl Said {
    fn by(answer: &Previous) -> Self {
        match answer {
            Previous::Accepted => Right,
            Previous::Refused => Wrong,
            Previous::Unreachable(_) | Previous::Unknown => Nothing,
        }
    }
}

/// SQLSTATE, reason, and what that says about the password.
type Row = (&'static str, &'static str, Said);

/// What is done to the role or its database, what comes of it, and how it is undone.
const LOGINS: [(&str, Row, &str); 8] = [
    (
        "ALTER ROLE app_b VALID UNTIL '2020-01-01'",
        ("28P01", "PasswordExpired", Wrong),
        "ALTER ROLE app_b VALID UNTIL 'infinity'",
    ),
    (
        "SET password_encryption = 'md5'; ALTER ROLE app_b PASSWORD '$password'",
        ("28P01", "(wrong password)", Wrong),
        "ALTER ROLE app_b PASSWORD '$kept'",
    ),
    (
        "ALTER ROLE app_b PASSWORD NULL",
        ("28P01", "(wrong password)", Wrong),
        "ALTER ROLE app_b PASSWORD '$kept'",
    ),
    (
        "ALTER ROLE app_b NOLOGIN",
        ("28000", "NoLogin", Right),
        "ALTER ROLE app_b LOGIN",
    ),
    (
        "REVOKE CONNECT ON DATABASE appdb FROM PUBLIC; REVOKE app_owner FROM app_b",
        ("42501", "NoConnectPrivilege", Right),
        "GRANT CONNECT ON DATABASE appdb TO PUBLIC; GRANT app_owner TO app_b",
    ),
    (
        "ALTER DATABASE appdb ALLOW_CONNECTIONS false",
        ("55000", "DatabaseClosed", Right),
        "ALTER DATABASE appdb ALLOW_CONNECTIONS true",
    ),
    (
        "ALTER ROLE app_b CONNECTION LIMIT 0",
        ("53300", "RoleConnectionLimit", Right),
        "ALTER ROLE app_b CONNECTION LIMIT -1",
    ),
    (
        "ALTER DATABASE appdb CONNECTION LIMIT 0",
        ("53300", "DatabaseConnectionLimit", Right),
        "ALTER DATABASE appdb CONNECTION LIMIT -1",
    ),
];

/// What each message that stands in the way has at its end: something to type.
const COMMANDS: [&str; 4] = ["run: ", "psql ", "SELECT ", "pg_isready "];

const USUAL: &str = "hostssl all all all scram-sha-256";

/// What the server itself answers; nothing when it accepts, or has no code for it.
fn code(answer: Result<Client>) -> String {
    let error = answer.err();
    let error = error
        .as_ref()
        .and_then(|error| error.downcast_ref::<tokio_postgres::Error>());
    let code = error.and_then(tokio_postgres::Error::code);
    code.map_or_else(|| "none".to_owned(), |code| code.code().to_owned())
}

/// The rows of one server.
struct Table {
    scene: Scene,
    version: u32,
}

impl Table {
    /// One row in the application's database.
    async fn row(&self, what: &str, tried: &Credential, expected: Row) -> Result<()> {
        self.row_at(&self.scene.server, "appdb", what, tried, expected)
            .await
    }

    async fn row_at(
        &self,
        server: &Server,
        database: &str,
        what: &str,
        tried: &Credential,
        expected: Row,
    ) -> Result<()> {
        let postgres = &self.scene.stage.postgres;
        let answer = postgres.connect_as(tried.user.as_str(), tried.password.expose(), database);
        self.compare(server, code(answer.await), what, tried, expected)
            .await
    }

    async fn compare(
        &self,
        server: &Server,
        code: String,
        what: &str,
        tried: &Credential,
        expected: Row,
    ) -> Result<()> {
        let version = self.version;
        let outcome = login(server, tried, None, None, Some(&self.scene.admin)).await;
        let said = Said::by(&previous(server, tried).await);
        println!("{version} | {what} | {code} | {} | {said:?}", reason(&outcome));
        let found = (code.as_str(), reason(&outcome), said);
        assert_eq!(found, expected, "{version}: {what}: {outcome:?}");
        if let Login::Refused(finding) = &outcome {
            let message = &finding.message;
            let named = message.contains(&self.scene.stage.postgres.host());
            let next = COMMANDS.iter().any(|command| message.contains(command));
            assert!(named && next, "{version}: {what}: {message}");
        }
        let wrong = credential(tried.user.as_str(), "wrong");
        let met = previous(server, &wrong).await;
        match said {
            // A wrong password does not come so far.
            Right => assert_eq!(met, Previous::Refused, "{version}: {what}"),
            Wrong => {}
            Nothing => match met {
                Previous::Unreachable(met) => assert_eq!(met.reason, expected.1, "{version}: {what}"),
                other => panic!("{version}: {what}: a wrong password meets {other:?}"),
            },
        }
        Ok(())
    }

    /// One change that waits for somebody's lock, and what is done meanwhile to the backend that makes it.
    async fn change(&self, what: &str, holder: &Client, meddle: &str, expected: &str) -> Result<()> {
        let (scene, version) = (&self.scene, self.version);
        holder
            .batch_execute("BEGIN; ALTER ROLE app_b CONNECTION LIMIT 50")
            .await?;
        let verifier = Verifier::compute(&scene.b.password);
        let waiting = change(&scene.server, &scene.admin, change_of(&scene.b.user, &verifier));
        let meddling = async {
            let pid = eventually("the waiting change", SOON, || self.waiting()).await?;
            let meddle = meddle.replace("$pid", &pid);
            // That of the holder may be the last thing that it does.
            if meddle.starts_with("COMMIT") {
                holder.batch_execute(&meddle).await?;
            } else if !meddle.is_empty() {
                scene.sql(&meddle).await.ok();
            }
            anyhow::Ok(())
        };
        let (outcome, meddled) = tokio::join!(waiting, meddling);
        meddled?;
        let Err(Error::Postgres { what: told, detail }) = outcome else {
            panic!("{version}: {what}: {outcome:?}")
        };
        println!("{version} | {what} | {detail} | {told}");
        assert_eq!(detail, expected, "{version}: {what}");
        let named = told.contains("\"app_b\"") && told.contains(&scene.stage.postgres.host());
        assert!(named, "{version}: {what}: {told}");
        Ok(())
    }

    async fn waiting(&self) -> Result<Option<String>> {
        const WAITING: &str =
            "SELECT pid FROM pg_stat_activity WHERE usename = 'rotator' AND wait_event_type = 'Lock'";
        self.scene.stage.postgres.value("postgres", WAITING).await
    }
}

#[test]
fn fm15_fm16_fm18_every_row_of_the_table_on_real_servers() {
    run(|lab| async move {
        // Few connections, so that a test can take them all.
        let options = PostgresOptions::default()
            .setting("max_connections", "14")
            .setting("superuser_reserved_connections", "3");
        on_every_version(&lab, options, async |scene, version| {
            let accepted = scene.login(&scene.b).await;
            assert!(matches!(accepted, Login::Accepted(_)), "{version}");
            assert_eq!(Said::by(&previous(&scene.server, &scene.b).await), Right);
            let table = Table { scene, version };
            logins(&table).await?;
            lines(&table).await?;
            crowd(&table).await?;
            let undone = table.scene.login(&table.scene.b).await;
            assert!(matches!(undone, Login::Accepted(_)), "{version}: {undone:?}");
            changes(&table).await?;
            not_ready(&table).await
        })
        .await
    });
}

/// What the role, its password and its database let happen.
async fn logins(table: &Table) -> Result<()> {
    let scene = &table.scene;
    let wrong = ("28P01", "(wrong password)", Wrong);
    table
        .row("a wrong password", &credential("app_b", "wrong"), wrong)
        .await?;
    let nobody = credential("nobody", "wrong");
    table
        .row("an unknown role", &nobody, ("28P01", "NoSuchRole", Wrong))
        .await?;
    // Without an administrator nobody can tell the two apart.
    let alone = login(&scene.server, &nobody, None, None, None).await;
    assert_eq!(alone, Login::WrongPassword);

    let kept = scene.kept(&scene.b.user).await?;
    let fill = |sql: &str| {
        sql.replace("$kept", &kept)
            .replace("$password", scene.b.password.expose())
    };
    for (harm, expected, mend) in LOGINS {
        let postgres = &scene.stage.postgres;
        postgres.sql("postgres", &fill(harm)).await?;
        table.row(harm, &scene.b, expected).await?;
        postgres.sql("postgres", &fill(mend)).await?;
    }
    let missing = scene.database("no such database");
    let expected = ("3D000", "DatabaseMissing", Right);
    table
        .row_at(
            &missing,
            "no such database",
            "no such database",
            &scene.b,
            expected,
        )
        .await
}

/// What the lines of `pg_hba.conf` let happen.
async fn lines(table: &Table) -> Result<()> {
    let scene = &table.scene;
    let (postgres, b) = (&scene.stage.postgres, &scene.b);
    let rejected = ("28000", "HbaRejected", Nothing);
    for (what, lines) in [
        ("a line that rejects", "hostssl all app_b all reject\n$usual"),
        ("no line", "hostssl all app_a,rotator all scram-sha-256"),
    ] {
        postgres.set_hba(&lines.replace("$usual", USUAL)).await?;
        table.row(what, b, rejected).await?;
    }
    postgres.set_hba(USUAL).await?;

    let clear = server(&postgres.host(), postgres.port(), "appdb", None).unwrap();
    let mut config = tokio_postgres::Config::new();
    config
        .host(postgres.address())
        .port(postgres.port())
        .user(b.user.as_str())
        .password(b.password.expose())
        .dbname("appdb")
        .ssl_mode(SslMode::Disable);
    let answer = config.connect(NoTls).await.map(|(client, _)| client);
    let code = code(answer.map_err(Into::into));
    table
        .compare(&clear, code, "a line that asks for TLS", b, rejected)
        .await
}

/// Takes first the ordinary connections and then the last ones.
async fn crowd(table: &Table) -> Result<()> {
    let (scene, version) = (&table.scene, table.version);
    let (postgres, a) = (&scene.stage.postgres, &scene.stage.pair.a);
    let mut crowd = Vec::new();
    while let Ok(client) = postgres.connect_as(&a.user, &a.password, "appdb").await {
        crowd.push(client);
    }
    assert!(crowd.len() >= 5, "{version}: {} came in", crowd.len());
    let reserved = ("53300", "TooManyConnections", Right);
    table
        .row("only reserved connections left", &scene.b, reserved)
        .await?;

    let root = postgres.superuser();
    while let Ok(client) = postgres.connect_as(&root.user, &root.password, "appdb").await {
        crowd.push(client);
    }
    let none = ("53300", "TooManyConnections", Nothing);
    table.row("no connection left", &scene.b, none).await?;

    drop(crowd);
    eventually("room", SOON, async || {
        let rows = postgres
            .sql(
                "postgres",
                "SELECT 1 FROM pg_stat_activity WHERE usename = 'app_a'",
            )
            .await?;
        Ok(rows.is_empty().then_some(()))
    })
    .await
}

/// What may happen to a change on its way.
async fn changes(table: &Table) -> Result<()> {
    let postgres = &table.scene.stage.postgres;
    let root = postgres.superuser();
    let holder = postgres.connect_as(&root.user, &root.password, "appdb").await?;
    for (what, meddle, expected) in [
        ("lock_timeout", "", "server_timeout (SQLSTATE 55P03)"),
        (
            "a statement that is cancelled, as by statement_timeout",
            "SELECT pg_cancel_backend($pid)",
            "server_timeout (SQLSTATE 57014)",
        ),
        (
            "a backend that is terminated",
            "SELECT pg_terminate_backend($pid)",
            "ended (SQLSTATE 57P01)",
        ),
    ] {
        table.change(what, &holder, meddle, expected).await?;
        holder.batch_execute("ROLLBACK").await?;
    }
    let concurrent = "concurrent_update (SQLSTATE XX000)";
    table
        .change("a concurrent change", &holder, "COMMIT", concurrent)
        .await?;

    let victim = postgres.connect_as(&root.user, &root.password, "appdb").await?;
    // The others are told by a warning (57P02) and not by an error, and then nothing comes any more.
    let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let kill = format!("COPY (SELECT 1) TO PROGRAM 'read -r x; kill -KILL {pid}'");
    table
        .change(
            "a peer that crashes",
            &holder,
            &kill,
            "broken_off (SQLSTATE none)",
        )
        .await?;
    eventually("the server to recover", SOON, async || {
        Ok(postgres.sql("postgres", "SELECT 1").await.is_ok().then_some(()))
    })
    .await
}

/// A server that waits for its last sessions, and one that waits for what it should replay.
async fn not_ready(table: &Table) -> Result<()> {
    let scene = &table.scene;
    let (postgres, a) = (&scene.stage.postgres, &scene.stage.pair.a);
    let not_ready = ("57P03", "ServerNotReady", Nothing);
    let last = postgres.connect_as(&a.user, &a.password, "appdb").await?;
    // Nobody may look at it as a standby, so it is starting up for as long as it runs.
    scene.sql("ALTER SYSTEM SET hot_standby = off").await?;
    let stop = "COPY (SELECT 1) TO PROGRAM 'read -r x; : > standby.signal; read -r pid < postmaster.pid; kill -TERM $pid'";
    scene.sql(stop).await?;
    eventually("the server to shut down", SOON, async || {
        let log = postgres.server_log()?;
        Ok(log.contains("received smart shutdown request").then_some(()))
    })
    .await?;
    table.row("shutting down", &scene.b, not_ready).await?;
    drop(last);
    eventually("the server to start", SOON, async || {
        let log = postgres.server_log()?;
        Ok(log.contains("entering standby mode").then_some(()))
    })
    .await?;
    table.row("starting up", &scene.b, not_ready).await
}

#[test]
fn fm24_what_a_pooler_says_of_a_login_is_taken_for_a_poolers_word() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let bouncer = scene
            .stage
            .pgbouncer(PgBouncerOptions::known_by(KnownBy::Userlist))
            .await?;
        let server = server(&bouncer.host(), bouncer.port(), "appdb", Some(lab.ca_pem())).unwrap();
        let wrong = credential("app_b", "wrong");
        let answer = bouncer
            .connect_as(wrong.user.as_str(), wrong.password.expose(), "appdb")
            .await;
        assert_eq!(code(answer), "08P01");
        match previous(&server, &wrong).await {
            Previous::Unreachable(finding) => {
                assert_eq!(finding.reason, "PoolerAnswered");
                assert!(
                    finding.message.contains(&bouncer.host()) && finding.message.contains("psql "),
                    "{}",
                    finding.message
                );
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    });
}
