//! Where a server would write the statement that contains a verifier, and how to stop it for one transaction.

use super::connect::{Session, Trouble};
use super::server::Server;
use super::words::{quoted, run, warning};
use crate::machine::facts::Finding;
use crate::policy::target::RoleName;

/// What would write the verifier somewhere, and the value that stops it. Sampling of whole transactions is decided
/// when one begins, so it is beyond reach here.
const HUSH: [(&str, &str); 5] = [
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_min_duration_sample", "-1"),
    ("log_min_error_statement", "panic"),
    ("pg_stat_statements.track_utility", "off"),
];

/// Whether the administrator may set the parameter `name`. Asked for, not tried: a refused SET would end the
/// transaction, and stand in the log. Before 15 only superusers may, and that could not be granted.
fn may_set(session: &Session) -> &'static str {
    if session.major() >= 15 {
        "has_parameter_privilege(name, 'SET')"
    } else {
        "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
    }
}

/// What to add to the start of a transaction so that it is written nowhere, as far as the administrator may.
pub(super) async fn hush(session: &mut Session) -> Result<String, Trouble> {
    let sql = format!(
        "SELECT name FROM unnest($1::text[]) AS p (name) WHERE current_setting(name, true) IS NOT NULL AND {}",
        may_set(session)
    );
    let names: Vec<&str> = HUSH.iter().map(|(name, _)| *name).collect();
    let rows = session.query(&sql, &[&names]).await?;
    let allowed: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let set = HUSH
        .iter()
        .filter(|(name, _)| allowed.contains(name))
        .map(|(name, value)| format!("; SET LOCAL {name} = '{value}'"));
    Ok(set.collect::<Vec<_>>().concat())
}

/// Whether verifiers would be written where others read them. A warning: a verifier is no password, but from one that
/// leaks, a weak password could be guessed.
pub(super) async fn visible(
    session: &mut Session,
    server: &Server,
    admin: &RoleName,
    by_function: bool,
) -> Result<Option<Finding>, Trouble> {
    // Settings that write as they are now, and that the administrator may not change for its transaction. The call of a
    // function is no DDL, and what it does inside is counted among the statements only when all are.
    let sql = format!(
        "SELECT name FROM unnest($1::text[], $2::text[]) AS p (name, quiet)
          WHERE name <> 'log_min_error_statement' AND current_setting(name, true) <> quiet AND NOT {}
            AND NOT ($3 AND (name = 'log_statement' AND current_setting(name) <> 'all'
                  OR name = 'pg_stat_statements.track_utility'
                     AND current_setting('pg_stat_statements.track', true) IS DISTINCT FROM 'all'))",
        may_set(session)
    );
    let (names, quiet): (Vec<&str>, Vec<&str>) = HUSH.into_iter().unzip();
    let rows = session.query(&sql, &[&names, &quiet, &by_function]).await?;
    let loud: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    if loud.is_empty() {
        return Ok(None);
    }
    let loud = loud.join(", ");
    let mend = if session.major() >= 15 {
        // An error would write the statement too, whatever the others say.
        let admin = quoted(admin);
        run(&format!(
            "GRANT SET ON PARAMETER {loud}, log_min_error_statement TO {admin}"
        ))
    } else {
        "from PostgreSQL 15 on, GRANT SET ON PARAMETER lets Tandem silence them".into()
    };
    Ok(Some(warning(
        "VerifiersVisible",
        format!(
            "{} writes the SCRAM verifiers that Tandem sets to its log or statistics ({loud}); {mend}",
            server.at()
        ),
    )))
}
