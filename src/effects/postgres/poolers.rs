//! Poolers: a login through one proves neither that the server takes the password nor that it refuses it (R27). So the
//! servers are asked directly, and a pooler besides: whether applications get through, and who is still there.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::SimpleQueryRow;

use super::classify::Failure;
use super::connect::{Purpose, Session};
use super::preflight::Wanted;
use super::replicas::{Source, of_other_cluster};
use super::server::{Credential, Server};
use super::words::{blocker, quoted};
use crate::machine::endpoints::Door;
use crate::machine::facts::{Finding, Laggard};
use crate::machine::userlists::POOLER_REFUSES;
use crate::policy::target::RoleName;

const LIMIT: Duration = Duration::from_mins(1);
/// The database of the console.
const CONSOLE: &str = "pgbouncer";
/// What the pooler's own connections to the server are called in a list of sessions.
const OWN: &str = "the pooler's own connections";

/// Tries the pending credential through a pooler. Whatever it refuses says nothing of the password.
pub async fn pooler(
    server: &Server,
    pending: &Credential,
    effective_role: Option<&RoleName>,
    source: &Source,
) -> Door {
    through(server, pending, effective_role, source)
        .await
        .map_or_else(Door::Refused, |()| Door::Open)
}

/// What a pooler is asked before a rotation: whether the active credential gets through it to this cluster, and
/// whether its console answers, where there is one, and lets it be told to read its list, where it has one.
pub async fn pooler_findings(
    server: &Server,
    console: Option<&Credential>,
    has_list: bool,
    wanted: Wanted<'_>,
    source: &Source,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(active) = wanted.active {
        let through = through(server, active, wanted.effective_role, source).await;
        findings.extend(through.err());
    }
    if let Some(console) = console {
        findings.extend(clients(server, console, &console.user).await.err());
        if has_list && findings.is_empty() {
            findings.extend(may_reload(server, console).await.err());
        }
    }
    findings
}

/// Lets a pooler read its settings and its list of passwords, as the operating system's signal would.
///
/// # Errors
/// A finding, when its console does not take the command.
pub async fn reload(server: &Server, console: &Credential) -> Result<(), Finding> {
    ask_console(server, console, "RELOAD").await.map(drop)
}

/// Only an administrator of the pooler may, and trying it would be a change.
async fn may_reload(server: &Server, console: &Credential) -> Result<(), Finding> {
    let settings = ask_console(server, console, "SHOW CONFIG").await?;
    let mut admins = settings
        .iter()
        .filter(|row| row.get("key") == Some("admin_users"))
        .flat_map(|row| row.get("value").unwrap_or_default().split([',', ' ']));
    if admins.any(|admin| admin == console.user.as_str()) {
        return Ok(());
    }
    Err(blocker(
        "PoolerConsoleFailed",
        format!(
            "the console of the pooler at {} does not let {} tell it to read its list of passwords (RELOAD): that is for its admin_users. Put it there in pgbouncer.ini, or name one of them in the Secret of {}.console.secretRef",
            server.at(),
            quoted(&console.user),
            server.field()
        ),
    ))
}

/// Who is at the pooler as this user: its clients, whether they have a connection to the server just now or not, and
/// the connections to the server that it keeps for them.
///
/// # Errors
/// A finding, when its console does not tell.
pub async fn clients(
    server: &Server,
    console: &Credential,
    user: &RoleName,
) -> Result<Vec<Laggard>, Finding> {
    let mut laggards: Vec<Laggard> = Vec::new();
    for (question, ours) in [("SHOW CLIENTS", false), ("SHOW SERVERS", true)] {
        let rows = ask_console(server, console, question).await?;
        for row in rows.iter().filter(|row| row.get("user") == Some(user.as_str())) {
            // The address of a connection of its own is the server's.
            let (application_name, client_address) = if ours {
                (OWN.to_owned(), server.target())
            } else {
                (text(row, "application_name"), text(row, "addr"))
            };
            let known = laggards.iter_mut().find(|laggard| {
                laggard.application_name == application_name && laggard.client_address == client_address
            });
            match known {
                Some(laggard) => laggard.count = laggard.count.saturating_add(1),
                None => laggards.push(Laggard {
                    application_name,
                    client_address,
                    pod: String::new(),
                    endpoint: server.endpoint_name().map(ToOwned::to_owned),
                    count: 1,
                }),
            }
        }
    }
    Ok(laggards)
}

async fn ask_console(
    server: &Server,
    console: &Credential,
    command: &str,
) -> Result<Vec<SimpleQueryRow>, Finding> {
    let at_console = server.asked_for(CONSOLE);
    let failed = |failure: &Failure| {
        blocker(
            "PoolerConsoleFailed",
            format!(
                "the console of the pooler at {} does not answer {} to {command} ({}). The login in {}.console.secretRef must be one of its admin_users or, where it has no list of passwords, its stats_users; try it: {}",
                server.at(),
                quoted(&console.user),
                failure.label(),
                server.field(),
                at_console.psql(&console.user)
            ),
        )
    };
    let until = Instant::now() + LIMIT;
    let mut session = Session::open(&at_console, console, Purpose::Pooled, until)
        .await
        .map_err(|failure| failed(&failure))?;
    let rows = session.simple(command).await;
    rows.map_err(|trouble| failed(&trouble.failure()))
}

/// In one message and without prepared statements: a pooler may give each of several to another connection.
async fn through(
    server: &Server,
    credential: &Credential,
    effective_role: Option<&RoleName>,
    source: &Source,
) -> Result<(), Finding> {
    const WHO: &str = "SELECT session_user AS session_user, current_user AS current_user, (SELECT system_identifier FROM pg_catalog.pg_control_system()) AS system";
    let user = &credential.user;
    let refused = |failure: &Failure| {
        blocker(
            POOLER_REFUSES,
            format!(
                "the pooler at {} does not let {} through ({}). The server itself takes the password, so the pooler's list of passwords is older than the server's, its auth_query does not find the user, or it still waits after a login that failed (server_login_retry). Look at its log; try it: {}",
                server.at(),
                quoted(user),
                failure.label(),
                server.psql(user)
            ),
        )
    };
    let until = Instant::now() + LIMIT;
    let mut session = Session::open(server, credential, Purpose::Pooled, until)
        .await
        .map_err(|failure| refused(&failure))?;
    let rows = session.simple(WHO).await;
    let rows = rows.map_err(|trouble| refused(&trouble.failure()))?;
    let row = rows.first().ok_or_else(|| refused(&Failure::NotPostgres))?;
    if row.get("session_user") != Some(user.as_str()) {
        return Err(blocker(
            "PoolerChangesUser",
            format!(
                "a login as {} at {} ends as {:?}: the pooler logs in with a user of its own, which no rotation of this pair changes. Take user= out of its [databases] line, or remove the endpoint",
                quoted(user),
                server.at(),
                text(row, "session_user")
            ),
        ));
    }
    if let Some(role) = effective_role
        && row.get("current_user") != Some(role.as_str())
    {
        return Err(blocker(
            "EffectiveRoleDiffers",
            format!(
                "{} becomes {:?} after login at {}, not spec.database.effectiveRole; let the pooler's server_reset_query be DISCARD ALL",
                quoted(user),
                text(row, "current_user"),
                server.at()
            ),
        ));
    }
    of_other_cluster(server, user, row.get("system").unwrap_or_default(), source)
}

fn text(row: &SimpleQueryRow, column: &str) -> String {
    row.get(column).unwrap_or_default().to_owned()
}
