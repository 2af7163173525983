//! Who is still connected as a user, and ending that.

use std::time::Duration;

use tokio::time::Instant;

use super::classify::Failure;
use super::connect::{Purpose, Session, Trouble};
use super::replicas::no_replica;
use super::rights::terminate_right;
use super::roles::{CLOCK, unknown};
use super::server::{Credential, Server};
use super::words::{blocker, quoted, run};
use crate::effects::{Error, Outcome};
use crate::machine::facts::{Finding, Laggard, Refused};
use crate::policy::target::RoleName;

const LIMIT: Duration = Duration::from_mins(1);

/// The user's sessions on a server and, on the primary, its prepared transactions, grouped. In autocommit, since inside a transaction the
/// view is frozen; and by `usesysid` alone, since most other columns are empty for who may not see them, so that a
/// filter on them would find nobody (R7). Parallel workers are part of their leader. Prepared transactions belong to
/// the role that the session had become: those of a shared role can be ended by the other user, and do not count.
///
/// # Errors
/// A finding, when they could not be counted.
pub async fn sessions(server: &Server, admin: &Credential, user: &RoleName) -> Result<Vec<Laggard>, Finding> {
    const SESSIONS: &str = "
        SELECT coalesce(application_name, ''), coalesce(host(client_addr), ''), count(*)
          FROM pg_stat_activity
         WHERE usesysid = $1 AND pid <> pg_backend_pid() AND leader_pid IS NULL
         GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2";
    const PREPARED: &str = "SELECT gid FROM pg_prepared_xacts WHERE owner = $1 ORDER BY prepared";
    let mut session = administer(server, admin).await?;
    let failed = |trouble: Trouble| trouble.failure().finding(server, &admin.user);
    let role = role(&mut session, server, user).await.map_err(failed)??.oid;
    let mut laggards = Vec::new();
    for row in session.query(SESSIONS, &[&role]).await.map_err(failed)? {
        laggards.push(Laggard {
            application_name: row.get(0),
            client_address: row.get(1),
            pod: String::new(),
            endpoint: server.endpoint_name().map(ToOwned::to_owned),
            count: u32::try_from(row.get::<_, i64>(2)).unwrap_or(u32::MAX),
        });
    }
    // A standby knows those of its primary, and they are counted there.
    if server.is_replica() {
        return Ok(laggards);
    }
    for row in session.query(PREPARED, &[&user.as_str()]).await.map_err(failed)? {
        laggards.push(Laggard {
            application_name: format!("prepared transaction {}", row.get::<_, &str>(0)),
            client_address: String::new(),
            pod: String::new(),
            endpoint: None,
            count: 1,
        });
    }
    Ok(laggards)
}

/// Ends the user's sessions. Prepared transactions have none and stay. Whether all are gone is found out by counting
/// again.
///
/// # Errors
/// When it is unknown which were ended, and when the caller's time was over.
pub async fn terminate(
    server: &Server,
    admin: &Credential,
    user: &RoleName,
    time_left: Duration,
) -> Result<Outcome, Error> {
    let until = Instant::now() + time_left;
    let refused = |finding| Ok(Outcome::Refused(Refused::Otherwise(finding)));
    let mut session = match administer(server, admin).await {
        Ok(session) => session,
        Err(finding) => return refused(finding),
    };
    let what = || format!("end the sessions of {} at {}", quoted(user), server.at());
    let role = match role(&mut session, server, user).await {
        Ok(Ok(role)) => role,
        Ok(Err(finding)) => return refused(finding),
        Err(trouble) => return Err(unknown(what(), &trouble)),
    };
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Error::Fenced);
    }
    // The server looks at its own clock before each of them: the user may have become the active one meanwhile.
    let deadline = role
        .clock
        .saturating_add(i64::try_from(left.as_micros()).unwrap_or(i64::MAX));
    let terminate = format!(
        "SELECT count(pg_terminate_backend(pid)), {CLOCK} < $2 FROM pg_stat_activity
          WHERE usesysid = $1 AND pid <> pg_backend_pid() AND {CLOCK} < $2"
    );
    match session.row(&terminate, &[&role.oid, &deadline]).await {
        Ok(row) if row.get(1) => Ok(Outcome::Done),
        Ok(_) => Err(Error::Fenced),
        Err(trouble) if trouble.failure() == Failure::PermissionDenied => refused(blocker(
            "AdminLacksRights",
            format!(
                "{} may not end sessions of {} at {}; {}",
                quoted(&admin.user),
                quoted(user),
                server.at(),
                run(&terminate_right(session.major(), &admin.user))
            ),
        )),
        Err(trouble) => Err(unknown(what(), &trouble)),
    }
}

/// A session of the administrator, on a server that is what it is taken for: sessions on a standby are not seen from
/// elsewhere, and those of a primary not from a standby.
pub(super) async fn administer(server: &Server, admin: &Credential) -> Result<Session, Finding> {
    let until = Instant::now() + LIMIT;
    let failed = |failure: Failure| failure.finding(server, &admin.user);
    let mut session = Session::open(server, admin, Purpose::Administer, until)
        .await
        .map_err(failed)?;
    let recovering = session.row("SELECT pg_is_in_recovery()", &[]).await;
    let recovering = recovering.map_err(|trouble| failed(trouble.failure()))?.get(0);
    match (server.is_replica(), recovering) {
        (false, true) => Err(failed(Failure::Standby)),
        (true, false) => Err(no_replica(server)),
        (false, false) | (true, true) => Ok(session),
    }
}

/// A role's number, and the server's time.
pub(super) struct Role {
    pub(super) oid: u32,
    clock: i64,
}

/// Looks the role up. One that was dropped or renamed has no sessions under its name, and that must not pass for
/// drained.
pub(super) async fn role(
    session: &mut Session,
    server: &Server,
    user: &RoleName,
) -> Result<Result<Role, Finding>, Trouble> {
    let sql = format!("SELECT oid, {CLOCK} FROM pg_roles WHERE rolname = $1");
    let rows = session.query(&sql, &[&user.as_str()]).await?;
    let role = rows.first().map(|row| Role {
        oid: row.get(0),
        clock: row.get(1),
    });
    Ok(role.ok_or_else(|| Failure::NoSuchRole.finding(server, user)))
}
