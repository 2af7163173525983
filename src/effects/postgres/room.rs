//! How many more connections there is room for.

use super::connect::Trouble;
use super::server::{Credential, Server};
use super::sessions::{administer, role};
use crate::machine::facts::{Finding, Limit, Room};
use crate::policy::target::RoleName;

/// The limits that the next connection of `user` meets, each with what is used of it, and how many connections the
/// pair has now.
///
/// By `datid` and `usesysid` alone, since most other columns are empty for who may not see them (R7): walsenders and
/// most background processes lack one of the two, and do not count. Parallel workers do, for the time that they work.
///
/// # Errors
/// A finding, when it could not be asked.
pub async fn room(
    server: &Server,
    admin: &Credential,
    (user, other): (&RoleName, &RoleName),
) -> Result<Room, Finding> {
    // `reserved_connections` is there since 16.
    const ROOM: &str = "
        WITH backends AS (
            SELECT datid, usesysid FROM pg_stat_activity
             WHERE datid IS NOT NULL AND usesysid IS NOT NULL AND pid <> pg_backend_pid())
        SELECT current_setting('max_connections')::int
                 - current_setting('superuser_reserved_connections')::int
                 - coalesce(current_setting('reserved_connections', true), '0')::int,
               (SELECT count(*) FROM backends),
               datconnlimit,
               (SELECT count(*) FROM backends WHERE backends.datid = pg_database.oid),
               (SELECT rolconnlimit FROM pg_roles WHERE oid = $1),
               (SELECT count(*) FROM backends WHERE usesysid = $1),
               (SELECT count(*) FROM backends WHERE usesysid IN ($1, $2))
          FROM pg_database WHERE datname = current_database()";
    let mut session = administer(server, admin).await?;
    let failed = |trouble: Trouble| trouble.failure().finding(server, &admin.user);
    let oid = role(&mut session, server, user).await.map_err(failed)??.oid;
    let other = role(&mut session, server, other).await.map_err(failed)??.oid;
    let row = session.row(ROOM, &[&oid, &other]).await.map_err(failed)?;
    let count = |column| u32::try_from(row.get::<_, i64>(column)).unwrap_or(u32::MAX);
    let limit = |what: String, most: i32, used| {
        // A negative limit is none.
        let most = u32::try_from(most).ok()?;
        Some(Limit { what, most, used })
    };
    let limits = [
        limit(
            "max_connections less the reserved ones".to_owned(),
            row.get(0),
            count(1),
        ),
        limit(
            format!("the connection limit of database {}", server.database()),
            row.get(2),
            count(3),
        ),
        limit(
            format!("the connection limit of role {user}"),
            row.get(4),
            count(5),
        ),
    ];
    Ok(Room {
        limits: limits.into_iter().flatten().collect(),
        connections: count(6),
    })
}
