//! Who else logs in as one of the pair, with a password that is kept on the server and that no rotation reaches (R33):
//! user mappings, subscriptions, texts for dblink, and jobs of `pg_cron`. As far as can be seen, and never in the way.

use postgres_protocol::escape::escape_literal;

use super::classify::Failure;
use super::connect::{Session, Trouble};
use super::server::Server;
use super::words::{quoted, run, warning};
use crate::machine::facts::Finding;
use crate::policy::Pair;
use crate::policy::target::RoleName;

/// More would not be listed.
const SHOWN: i64 = 5;

/// What the administrator may look at, and what there is that it may not. All of it by catalogs that anybody may read.
const SIGHT: &str = "
    SELECT has_column_privilege('pg_subscription', 'subconninfo', 'SELECT'),
           EXISTS (SELECT FROM pg_subscription),
           NOT me.rolsuper AND EXISTS (SELECT FROM pg_user_mappings WHERE umoptions IS NULL),
           job.oid IS NOT NULL,
           coalesce(has_schema_privilege(job.relnamespace, 'USAGE') AND has_table_privilege(job.oid, 'SELECT')
                    AND NOT row_security_active(job.oid), false)
      FROM pg_roles me
      LEFT JOIN pg_class job ON job.relname = 'job' AND job.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'cron')
     WHERE me.rolname = current_user";

/// How a text names one of the two as who logs in, and that it says so with a password. A regular expression, in which
/// the name has none of its own.
const NAMES: &str = "
    WITH names AS (
      SELECT me, format('(^|[^[:alnum:]_])user\\s*=\\s*[''\"]*%s($|[^[:alnum:]_])', plain) AS named,
             format('://%s(:|@)', plain) AS in_uri
        FROM unnest(ARRAY[$1::text, $2::text]) me, LATERAL (SELECT regexp_replace(me, '([^[:alnum:]_])', '\\\\\\1', 'g') AS plain) p
    )";

/// In this database. Foreign servers' options are read as they are; the rest is text that somebody wrote.
const HERE: &str = "
    SELECT n.me, format('the user mapping of %I for server %I', m.usename, m.srvname) AS what
      FROM names n JOIN pg_user_mappings m ON 'user=' || n.me = ANY (m.umoptions)
    UNION ALL
    SELECT n.me, format('routine %s', r.oid::regprocedure)
      FROM names n JOIN pg_proc r ON true
      JOIN pg_namespace s ON s.oid = r.pronamespace AND s.nspname NOT IN ('pg_catalog', 'information_schema')
      JOIN pg_language l ON l.oid = r.prolang AND l.lanname NOT IN ('c', 'internal')
     CROSS JOIN LATERAL (SELECT CASE WHEN r.prosqlbody IS NULL THEN r.prosrc ELSE pg_get_function_sqlbody(r.oid) END AS text) t
     WHERE t.text ~* 'password\\s*=' AND t.text ~ n.named OR t.text ~ n.in_uri
    UNION ALL
    SELECT DISTINCT n.me, format('view %s', w.ev_class::regclass)
      FROM names n JOIN pg_proc f ON f.proname LIKE 'dblink%'
      JOIN pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = f.oid AND d.classid = 'pg_rewrite'::regclass
      JOIN pg_rewrite w ON w.oid = d.objid
     CROSS JOIN LATERAL (SELECT pg_get_viewdef(w.ev_class) AS text) t
     WHERE t.text ~* 'password\\s*=' AND t.text ~ n.named OR t.text ~ n.in_uri";

/// Of all databases.
const SUBSCRIPTIONS: &str = "
    UNION ALL
    SELECT n.me, format('subscription %I in database %I', s.subname, d.datname)
      FROM names n JOIN pg_subscription s ON s.subconninfo ~ n.named OR s.subconninfo ~ n.in_uri
      JOIN pg_database d ON d.oid = s.subdbid";

/// These log in as whom they are of, with a password that a file on the server has.
const JOBS: &str = "
    UNION ALL
    SELECT n.me, format('job %s of pg_cron', j.jobid) FROM names n JOIN cron.job j ON j.username = n.me";

/// What of it there is, and the administrator may not see.
struct Sight {
    subscriptions: bool,
    mappings: bool,
    jobs: bool,
    /// What can be asked, in one statement.
    statement: String,
}

impl Sight {
    async fn of(session: &mut Session) -> Result<Self, Trouble> {
        let row = session.row(SIGHT, &[]).await?;
        let (subscriptions, jobs): (bool, bool) = (row.get(0), row.get(4));
        let mut found = HERE.to_owned();
        if subscriptions {
            found.push_str(SUBSCRIPTIONS);
        }
        if jobs {
            found.push_str(JOBS);
        }
        Ok(Self {
            subscriptions: !subscriptions && row.get::<_, bool>(1),
            mappings: row.get(2),
            jobs: row.get::<_, bool>(3) && !jobs,
            statement: format!(
                "{NAMES}, found AS ({found}) SELECT format('%s as %I', what, me), count(*) OVER () FROM found ORDER BY 1 LIMIT {SHOWN}"
            ),
        })
    }

    /// What was not looked at, and what shows it to who may see it.
    fn unseen(&self, Pair(one, other): &Pair) -> Vec<(&'static str, String)> {
        let pair = format!(
            "({}, {})",
            escape_literal(one.as_str()),
            escape_literal(other.as_str())
        );
        let mut unseen = Vec::new();
        if self.mappings {
            unseen.push((
                "the options of user mappings",
                format!(
                    "SELECT srvname, usename FROM pg_user_mappings, unnest(umoptions) o WHERE split_part(o, '=', 1) = 'user' AND substr(o, 6) IN {pair}"
                ),
            ));
        }
        if self.subscriptions {
            unseen.push((
                "the connections of subscriptions",
                "SELECT subname, regexp_replace(subconninfo, '(password *= *|://[^:]*:)[^ @]*', '\\1...') FROM pg_subscription".to_owned(),
            ));
        }
        if self.jobs {
            unseen.push((
                "the jobs of pg_cron",
                format!("SELECT jobid, jobname, username FROM cron.job WHERE username IN {pair}"),
            ));
        }
        unseen
    }
}

/// Warns of each, and of what could not be seen.
pub(super) async fn copies(
    session: &mut Session,
    server: &Server,
    admin: &RoleName,
    pair: &Pair,
) -> Result<Vec<Finding>, Trouble> {
    let Pair(one, other) = pair;
    let sight = match Sight::of(session).await {
        Ok(sight) => sight,
        Err(trouble) => return hidden(server, admin, pair, trouble),
    };
    let found = session
        .query(&sight.statement, &[&one.as_str(), &other.as_str()])
        .await;
    let rows = match found {
        Ok(rows) => rows,
        Err(trouble) => return hidden(server, admin, pair, trouble),
    };
    let at = format!("{} in database {:?}", server.at(), server.database());
    let (one, other) = (quoted(one), quoted(other));
    let mut findings = Vec::new();
    if let Some(first) = rows.first() {
        let more = first.get::<_, i64>(1) - SHOWN;
        let mut list: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if more > 0 {
            list.push(format!("and {more} more"));
        }
        findings.push(warning(
            "PasswordKeptElsewhere",
            format!(
                "where these lead to this server they are refused after a rotation, since none changes the passwords that are kept for them, at {at}: {}; let each log in as a role of its own, which no policy names; see docs/parity.md",
                list.join(", ")
            ),
        ));
    }
    let unseen = sight.unseen(pair);
    if !unseen.is_empty() {
        let (what, see): (Vec<_>, Vec<_>) = unseen.into_iter().unzip();
        findings.push(warning(
            "CopiesNotChecked",
            format!(
                "whether something else logs in as {one} or {other} at {at} was not checked (privilege): {} may not see {}; {}",
                quoted(admin),
                what.join(", "),
                run(&see.join("; "))
            ),
        ));
    }
    Ok(findings)
}

/// Of a server that hides its catalogs nothing can be said.
fn hidden(
    server: &Server,
    admin: &RoleName,
    Pair(one, other): &Pair,
    trouble: Trouble,
) -> Result<Vec<Finding>, Trouble> {
    if trouble.failure() != Failure::PermissionDenied {
        return Err(trouble);
    }
    Ok(vec![warning(
        "CopiesNotChecked",
        format!(
            "whether something else logs in as {} or {} was not checked (privilege): {}",
            quoted(one),
            quoted(other),
            trouble.failure().finding(server, admin).message
        ),
    )])
}
