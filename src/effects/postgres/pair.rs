//! How the two users differ in what any role may read of them: a first look, not the proof of equal rights.

use super::connect::{Session, Trouble};
use super::server::Server;
use super::words::{quoted, warning};
use crate::machine::facts::Finding;
use crate::policy::Pair;

/// Values are compared and never shown: a setting may hold a secret.
const DIFFERENCES: &str = "
WITH u AS (
  SELECT r.rolname = $1 AS first, r.* FROM pg_roles r WHERE r.rolname IN ($1, $2)
), facts (first, label, value) AS (
  SELECT first, 'attribute ' || k, v FROM u, LATERAL (VALUES
    ('INHERIT', rolinherit::text), ('CREATEROLE', rolcreaterole::text), ('CREATEDB', rolcreatedb::text),
    ('BYPASSRLS', rolbypassrls::text), ('CONNECTION LIMIT', rolconnlimit::text),
    ('VALID UNTIL', coalesce(nullif(rolvaliduntil, 'infinity')::text, 'never'))) x (k, v)
  UNION ALL
  -- The options came with 16; read as JSON, their absence is no error.
  SELECT first, 'membership in ' || m.roleid::regrole::text, concat_ws(' ', bool_or(m.admin_option),
         bool_or((to_jsonb(m) ->> 'inherit_option')::bool), bool_or((to_jsonb(m) ->> 'set_option')::bool))
    FROM u JOIN pg_auth_members m ON m.member = u.oid GROUP BY first, m.roleid
  UNION ALL
  SELECT first, 'setting ' || split_part(c, '=', 1) || coalesce(' in database ' || d.datname, ''), c
    FROM u JOIN pg_db_role_setting s ON s.setrole = u.oid CROSS JOIN LATERAL unnest(s.setconfig) x (c)
    LEFT JOIN pg_database d ON d.oid = s.setdatabase
), lone (label, first) AS (
  SELECT label, bool_or(first) FROM facts GROUP BY label, value HAVING count(DISTINCT first) = 1
)
SELECT label, bool_or(first), bool_or(NOT first) FROM lone GROUP BY label ORDER BY label";

/// More would not be read.
const SHOWN: usize = 10;

/// A warning that lists the differences, if there are any. Both roles exist.
pub(super) async fn differences(
    session: &mut Session,
    server: &Server,
    pair: &Pair,
) -> Result<Option<Finding>, Trouble> {
    let Pair(one, other) = pair;
    let rows = session
        .query(DIFFERENCES, &[&one.as_str(), &other.as_str()])
        .await?;
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| match (row.get::<_, &str>(0), row.get(1), row.get(2)) {
            (label, true, false) => format!("only {} has {label}", quoted(one)),
            (label, false, true) => format!("only {} has {label}", quoted(other)),
            (label, true, true) | (label, false, false) => format!("they differ in {label}"),
        })
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Ok(Some(warning(
        "PairDiffers",
        format!(
            "{} and {} are not alike at {}, so the application may notice which of them it is: {}; make them alike with GRANT, REVOKE and ALTER ROLE, best by one owner role that both are members of",
            quoted(one),
            quoted(other),
            server.at(),
            lines.join(", ")
        ),
    )))
}
