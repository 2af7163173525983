//! Logging in to find out: does this password work, as whom, and on which server?

use std::time::Duration;

use tokio::time::Instant;

use super::classify::{Failure, Verdict};
use super::connect::{Purpose, Session, Trouble};
use super::server::{Credential, Server};
use super::words::{blocker, quoted, run};
use crate::machine::facts::{Finding, Identity, Login, Previous};
use crate::policy::target::RoleName;

/// No caller's lease depends on a login; its own limits hold.
const AMPLE: Duration = Duration::from_mins(1);

/// Logs in with the pending credential and does what the application would: becomes the role that it expects, and runs
/// the smoke query. The administrator is asked only when the password is refused, for the server says the same of a
/// role that is missing or has expired.
pub async fn login(
    server: &Server,
    pending: &Credential,
    effective_role: Option<&RoleName>,
    smoke_query: Option<&str>,
    admin: Option<&Credential>,
) -> Login {
    match Session::open(server, pending, Purpose::Prove, Instant::now() + AMPLE).await {
        Ok(mut session) => {
            match prove(&mut session, server, &pending.user, effective_role, smoke_query).await {
                Ok(identity) => Login::Accepted(identity),
                Err(finding) => Login::Refused(finding),
            }
        }
        Err(Failure::WrongPassword) => match admin {
            Some(admin) => refused(server, &pending.user, admin).await,
            None => Login::WrongPassword,
        },
        Err(failure) => Login::Refused(failure.finding(server, &pending.user)),
    }
}

/// Logs in once with the retiring user's last password (R15).
pub async fn previous(server: &Server, last: &Credential) -> Previous {
    let session = Session::open(server, last, Purpose::Check, Instant::now() + AMPLE).await;
    let Err(failure) = session else {
        return Previous::Accepted;
    };
    match failure.verdict() {
        Verdict::Wrong => Previous::Refused,
        // Refused for now, and only for a reason that can go away: the password is still the role's.
        Verdict::Right => Previous::Accepted,
        Verdict::Unknown => Previous::Unreachable(failure.finding(server, &last.user)),
    }
}

/// What must hold after a login besides that it succeeded. The assertions are in one place, for the standby before the
/// flip and for the active user in preflight.
pub(super) async fn prove(
    session: &mut Session,
    server: &Server,
    user: &RoleName,
    effective_role: Option<&RoleName>,
    smoke_query: Option<&str>,
) -> Result<Identity, Finding> {
    if become_user(session, server, user, effective_role).await? {
        return Err(Failure::Standby.finding(server, user));
    }
    let identity = identity(session)
        .await
        .map_err(|trouble| unidentified(server, user, &trouble))?;
    rehearse(session, server, user, smoke_query).await?;
    Ok(identity)
}

/// Whether the login ended as the role that was meant, and asked for the password at all. Answers whether the server is
/// a standby.
pub(super) async fn become_user(
    session: &mut Session,
    server: &Server,
    user: &RoleName,
    effective_role: Option<&RoleName>,
) -> Result<bool, Finding> {
    let failed = |trouble: &Trouble| trouble.failure().finding(server, user);
    // Without TLS nothing else tells a line `trust` from a password that was checked.
    let asked = if session.major() >= 16 && !session.bound() {
        "system_user IS NOT NULL"
    } else {
        "true"
    };
    let sql =
        format!("SELECT session_user::text, current_user::text, pg_catalog.pg_is_in_recovery(), {asked}");
    let row = session.row(&sql, &[]).await.map_err(|trouble| failed(&trouble))?;
    let (session_user, current_user): (String, String) = (row.get(0), row.get(1));
    if !row.get::<_, bool>(3) {
        return Err(no_password_asked(server, user));
    }
    if session_user != user.as_str() {
        return Err(blocker(
            "OtherUser",
            format!(
                "a login as {} at {} ends as {session_user:?}: a pooler or a map in pg_ident.conf changes the user. Set spec.database.host to the server itself",
                quoted(user),
                server.at()
            ),
        ));
    }
    // A setting `role` without the membership is skipped silently at login, so this is the only way to notice (R11).
    if let Some(role) = effective_role
        && current_user != role.as_str()
    {
        return Err(blocker(
            "EffectiveRoleDiffers",
            format!(
                "{} becomes {current_user:?} after login at {}, not spec.database.effectiveRole; {}",
                quoted(user),
                server.at(),
                run(&format!(
                    "GRANT {role} TO {user}; ALTER ROLE {user} SET role = {role}",
                    role = quoted(role),
                    user = quoted(user)
                ))
            ),
        ));
    }
    Ok(row.get(2))
}

/// Whether the smoke query succeeds.
pub(super) async fn rehearse(
    session: &mut Session,
    server: &Server,
    user: &RoleName,
    smoke_query: Option<&str>,
) -> Result<(), Finding> {
    let Some(query) = smoke_query else {
        return Ok(());
    };
    let rehearsed = session.rehearse(query).await;
    rehearsed.map_err(|trouble| smoke(server, user, &trouble))
}

/// Which server this is, and which of its lives (R22). The log's position tells the timeline at once; the last
/// checkpoint, where a managed service offers nothing else, tells it a little late.
pub(super) async fn identity(session: &mut Session) -> Result<Identity, Trouble> {
    const LOG: &str =
        "SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)";
    const CHECKPOINT: &str = "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()";
    let system = system(session).await?;
    let by_log = session.row(LOG, &[]).await;
    let by_log = by_log
        .ok()
        .and_then(|row| u32::from_str_radix(row.get(0), 16).ok());
    let timeline = match by_log {
        Some(timeline) => timeline,
        None => session
            .row(CHECKPOINT, &[])
            .await?
            .get::<_, i32>(0)
            .cast_unsigned(),
    };
    Ok(Identity { system, timeline })
}

/// Which cluster this is: replicas and backups have it in common with their origin.
pub(super) async fn system(session: &mut Session) -> Result<String, Trouble> {
    const SYSTEM: &str = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
    Ok(session.row(SYSTEM, &[]).await?.get(0))
}

pub(super) fn unidentified(server: &Server, user: &RoleName, trouble: &Trouble) -> Finding {
    let failure = trouble.failure();
    if failure != Failure::PermissionDenied {
        return failure.finding(server, user);
    }
    blocker(
        "IdentityHidden",
        format!(
            "{} may not ask {} which server it is; {}",
            quoted(user),
            server.at(),
            run("GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() TO PUBLIC")
        ),
    )
}

/// What the finding of a login without a password check says.
pub(super) fn no_password_asked(server: &Server, user: &RoleName) -> Finding {
    blocker(
        "NoPasswordAsked",
        format!(
            "{} lets {} in without asking for the password, so no login proves anything; let the line of pg_hba.conf say scram-sha-256: {}",
            server.at(),
            quoted(user),
            run("SELECT line_number, type, database, user_name, address, auth_method FROM pg_hba_file_rules")
        ),
    )
}

/// The smoke query is the user's own text and no secret, so the server's first line on it may be shown.
fn smoke(server: &Server, user: &RoleName, trouble: &Trouble) -> Finding {
    match trouble.db() {
        Some(db) => blocker(
            "SmokeQueryFailed",
            format!(
                "spec.database.smokeQuery fails as {} at {}: {} (SQLSTATE {}); grant what is missing to the role that both users share",
                quoted(user),
                server.at(),
                db.message(),
                db.code().code()
            ),
        ),
        None => trouble.failure().finding(server, user),
    }
}

/// Why the server refused the password. `NOLOGIN` and connection limits are not looked at: the server checks them
/// after the password, so behind this answer they are no reason.
async fn refused(server: &Server, user: &RoleName, admin: &Credential) -> Login {
    const ROLE: &str = "SELECT rolvaliduntil <= clock_timestamp() FROM pg_roles WHERE rolname = $1";
    let session = Session::open(server, admin, Purpose::Administer, Instant::now() + AMPLE).await;
    let mut session = match session {
        Ok(session) => session,
        Err(failure) => return Login::Refused(failure.finding(server, &admin.user)),
    };
    let rows = match session.query(ROLE, &[&user.as_str()]).await {
        Ok(rows) => rows,
        Err(trouble) => return Login::Refused(trouble.failure().finding(server, &admin.user)),
    };
    match rows.first().map(|row| row.get::<_, Option<bool>>(0)) {
        None => Login::Refused(Failure::NoSuchRole.finding(server, user)),
        Some(Some(true)) => Login::Refused(Failure::Expired.finding(server, user)),
        Some(Some(false) | None) => Login::WrongPassword,
    }
}
