//! Replicas: a changed password counts on one when it has been replayed there, not when it was received (R17).

use std::time::Duration;

use tokio::time::Instant;

use super::classify::{Failure, Silence};
use super::connect::{Purpose, Session, Trouble, addresses};
use super::preflight::Wanted;
use super::probe::{become_user, rehearse, system, unidentified};
use super::server::{Credential, Server};
use super::sessions::administer;
use super::words::{blocker, run};
use crate::machine::endpoints::{Door, Lag};
use crate::machine::facts::Finding;
use crate::policy::target::RoleName;

const LIMIT: Duration = Duration::from_mins(1);

/// Every server behind a name. One of them that is late, or not what it should be, is enough to lock out whom the name
/// leads there.
///
/// # Errors
/// A finding, when the name leads nowhere.
pub async fn behind_name(server: &Server, admin: &RoleName) -> Result<Vec<Server>, Finding> {
    let found = addresses(server, Instant::now() + LIMIT).await;
    let found = found.map_err(|failure| failure.finding(server, admin))?;
    if found.is_empty() {
        return Err(Failure::Unreachable(Silence::NoSuchName).finding(server, admin));
    }
    Ok(found.into_iter().map(|address| server.pinned(address)).collect())
}

/// The cluster that replicas must be of, and what they must have replayed.
#[derive(Clone, Debug)]
pub struct Source {
    system: String,
    written: String,
}

/// Asks the primary. Its log ends behind every change that was acknowledged before.
///
/// # Errors
/// A finding, when it could not be asked.
pub async fn source(primary: &Server, admin: &Credential) -> Result<Source, Finding> {
    const WRITTEN: &str = "SELECT pg_current_wal_insert_lsn()::text";
    let mut session = administer(primary, admin).await?;
    let system = system(&mut session)
        .await
        .map_err(|trouble| unidentified(primary, &admin.user, &trouble))?;
    let row = session.row(WRITTEN, &[]).await;
    let row = row.map_err(|trouble| trouble.failure().finding(primary, &admin.user))?;
    Ok(Source {
        system,
        written: row.get(0),
    })
}

/// Tries the pending credential on one replica, as on the primary. The login is the judge: nobody but Tandem knows the
/// password, so a replica that takes it has replayed the change. Where it does not, the log tells why.
pub async fn replica(
    server: &Server,
    pending: &Credential,
    effective_role: Option<&RoleName>,
    smoke_query: Option<&str>,
    admin: &Credential,
    source: &Source,
) -> Door {
    let try_it = async || {
        let mut session = Session::open(server, pending, Purpose::Prove, Instant::now() + LIMIT).await?;
        Ok(prove(
            &mut session,
            server,
            &pending.user,
            effective_role,
            smoke_query,
            source,
        )
        .await)
    };
    let refused = |failure: Failure| Door::Refused(failure.finding(server, &pending.user));
    match try_it().await {
        Ok(proof) => return proof.map_or_else(Door::Refused, |()| Door::Open),
        Err(Failure::WrongPassword) => {}
        Err(failure) => return refused(failure),
    }
    match lag(server, admin, source).await {
        Err(finding) => Door::Refused(finding),
        Ok(Some(lag)) => Door::Behind(vec![lag]),
        // It has come in meanwhile, and then it is the replica's to know the password.
        Ok(None) => match try_it().await {
            Ok(proof) => proof.map_or_else(Door::Refused, |()| Door::Open),
            Err(failure) => refused(failure),
        },
    }
}

/// What a replica is asked before a rotation: whether it is one of this cluster, whether the administrator can count
/// sessions there, and whether the active credential works.
pub async fn replica_findings(
    server: &Server,
    admin: &Credential,
    wanted: Wanted<'_>,
    source: &Source,
) -> Vec<Finding> {
    if let Err(finding) = lag(server, admin, source).await {
        return vec![Finding {
            message: format!("{}: {}", server.field(), finding.message),
            ..finding
        }];
    }
    let Some(active) = wanted.active else {
        return Vec::new();
    };
    let user = &active.user;
    let proof = match Session::open(server, active, Purpose::Check, Instant::now() + LIMIT).await {
        Ok(mut session) => {
            let (role, query) = (wanted.effective_role, wanted.smoke_query);
            prove(&mut session, server, user, role, query, source).await
        }
        Err(failure) => Err(failure.finding(server, user)),
    };
    let failed = |finding: Finding| {
        blocker(
            "EndpointLoginFailed",
            format!(
                "the credential in the application Secret does not work at {}: {}",
                server.field(),
                finding.message
            ),
        )
    };
    proof.err().map(failed).into_iter().collect()
}

async fn prove(
    session: &mut Session,
    server: &Server,
    user: &RoleName,
    effective_role: Option<&RoleName>,
    smoke_query: Option<&str>,
    source: &Source,
) -> Result<(), Finding> {
    if !become_user(session, server, user, effective_role).await? {
        return Err(no_replica(server));
    }
    same_cluster(session, server, user, source).await?;
    rehearse(session, server, user, smoke_query).await
}

/// How far the replica is behind; nothing when it has replayed all that is asked for.
async fn lag(server: &Server, admin: &Credential, source: &Source) -> Result<Option<Lag>, Finding> {
    // Who may not see the receiver sees a row without values, and only whether there is one counts.
    const POSITION: &str = "
        SELECT pg_last_wal_replay_lsn()::text,
               pg_wal_lsn_diff($1::text::pg_lsn, pg_last_wal_replay_lsn())::int8,
               pg_is_wal_replay_paused(),
               current_setting('recovery_min_apply_delay'),
               EXISTS (SELECT 1 FROM pg_stat_wal_receiver)";
    let mut session = administer(server, admin).await?;
    same_cluster(&mut session, server, &admin.user, source).await?;
    let failed = |trouble: Trouble| trouble.failure().finding(server, &admin.user);
    let row = session.row(POSITION, &[&source.written]).await.map_err(failed)?;
    let bytes = row.get::<_, Option<i64>>(1);
    if bytes.is_some_and(|bytes| bytes <= 0) {
        return Ok(None);
    }
    let (paused, delay, receives): (bool, String, bool) = (row.get(2), row.get(3), row.get(4));
    let cause = if paused {
        Some(format!(
            "its replay is paused, {}",
            run("SELECT pg_wal_replay_resume()")
        ))
    } else if !receives {
        Some(format!(
            "it receives nothing from its primary, {}",
            run("SELECT application_name, state FROM pg_stat_replication")
        ))
    } else if delay != "0" {
        Some(format!("its recovery_min_apply_delay is {delay}"))
    } else {
        None
    };
    Ok(Some(Lag {
        endpoint: server.endpoint_name().unwrap_or_default().to_owned(),
        at: server.at(),
        written: source.written.clone(),
        replayed: row.get(0),
        bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        cause,
    }))
}

async fn same_cluster(
    session: &mut Session,
    server: &Server,
    user: &RoleName,
    source: &Source,
) -> Result<(), Finding> {
    let found = system(session)
        .await
        .map_err(|trouble| unidentified(server, user, &trouble))?;
    of_other_cluster(server, user, &found, source)
}

/// A finding, unless the cluster that was found is the primary's.
pub(super) fn of_other_cluster(
    server: &Server,
    user: &RoleName,
    found: &str,
    source: &Source,
) -> Result<(), Finding> {
    if found == source.system {
        return Ok(());
    }
    Err(blocker(
        "EndpointOfOtherCluster",
        format!(
            "{} is the cluster with system identifier {found}, and spec.database.host that with {}: a password changed there never comes here. Point {}.host to it, or remove the endpoint; ask both: {} -c 'SELECT system_identifier FROM pg_control_system()'",
            server.at(),
            source.system,
            server.field(),
            server.psql(user)
        ),
    ))
}

/// An endpoint that should lead to replicas, and leads to a primary.
pub(super) fn no_replica(server: &Server) -> Finding {
    blocker(
        "EndpointNotAReplica",
        format!(
            "{} is no replica: it takes writes. It was promoted, or {}.host leads to a primary, and what is changed at spec.database.host may never come there. Look at the addresses behind the name, and ask each: SELECT pg_is_in_recovery()",
            server.at(),
            server.field()
        ),
    )
}
