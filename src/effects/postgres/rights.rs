//! What the administrator must be allowed, and what to type when it is not (R6).

use super::connect::{Session, Trouble};
use super::function;
use super::preflight::Wanted;
use super::server::Server;
use super::words::{blocker, quoted, run};
use crate::api::spec::OnActiveSessions;
use crate::machine::facts::Finding;
use crate::policy::Pair;
use crate::policy::target::RoleName;

/// What a rotation will do, and what the catalog says of it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) wanted: &'a Wanted<'a>,
    /// The administrator may change both.
    pub(super) may_change: bool,
    /// It may end the sessions of both.
    pub(super) may_terminate: bool,
}

/// Whether the administrator may do what a rotation does (R6).
pub(super) async fn rights(
    session: &mut Session,
    server: &Server,
    admin: &RoleName,
    asked: Asked<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), Trouble> {
    // On Amazon RDS password commands may be reserved for a role of its own.
    const RIGHTS: &str = "
        SELECT pg_has_role('pg_read_all_stats', 'USAGE'),
               coalesce(current_setting('rds.restrict_password_commands', true) IN ('on', '1', 'true'), false)
                 AND NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'rds_password' AND pg_has_role(oid, 'MEMBER'))";
    let at = server.at();
    let major = session.major();
    let name = quoted(admin);
    let Asked {
        wanted,
        may_change,
        may_terminate,
    } = asked;
    let Pair(one, other) = wanted.pair;
    if let Some(function) = wanted.function {
        findings.extend(function::findings(session, server, admin, wanted.pair, function).await?);
    }
    let mut lacks = |what: &str, sql: &str| {
        findings.push(blocker(
            "AdminLacksRights",
            format!("the administrator {name} may not {what} at {at}; {}", run(sql)),
        ));
    };
    if wanted.function.is_none() && !may_change {
        let what = format!("change the passwords of {} and {}", quoted(one), quoted(other));
        lacks(&what, &change_right(major, admin, &[one, other]));
    }
    let row = session.row(RIGHTS, &[]).await?;
    if !row.get::<_, bool>(0) {
        lacks(
            "see where sessions come from (pg_read_all_stats)",
            &grant_with_inheritance(major, "pg_read_all_stats", admin),
        );
    }
    if wanted.function.is_none() && row.get(1) {
        lacks(
            "change passwords, which rds.restrict_password_commands reserves",
            &format!("GRANT rds_password TO {name}"),
        );
    }
    if wanted.on_active == OnActiveSessions::Terminate && !may_terminate {
        lacks(
            "end sessions, as spec.drain.onActiveSessions Terminate or tandem.dev/rotate-mode asks",
            &terminate_right(major, admin),
        );
    }
    Ok(())
}

/// What lets the administrator change these roles.
pub(super) fn change_right(major: u32, admin: &RoleName, users: &[&RoleName]) -> String {
    let admin = quoted(admin);
    if major < 16 {
        return format!("ALTER ROLE {admin} CREATEROLE");
    }
    let users: Vec<_> = users.iter().map(|user| quoted(user)).collect();
    format!(
        "ALTER ROLE {admin} CREATEROLE; GRANT {} TO {admin} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
        users.join(", ")
    )
}

/// What lets the administrator end sessions.
pub(super) fn terminate_right(major: u32, admin: &RoleName) -> String {
    grant_with_inheritance(major, "pg_signal_backend", admin)
}

/// Membership alone is not enough for a role that does not inherit.
fn grant_with_inheritance(major: u32, role: &str, admin: &RoleName) -> String {
    let admin = quoted(admin);
    if major < 16 {
        format!("GRANT {role} TO {admin}; ALTER ROLE {admin} INHERIT")
    } else {
        format!("GRANT {role} TO {admin} WITH INHERIT TRUE")
    }
}
