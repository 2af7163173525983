//! The function that changes a password in the administrator's stead (R4): calling it, and whether it is safe to call.

use postgres_protocol::escape::escape_identifier;

use super::connect::{Session, Trouble};
use super::server::{Credential, Server};
use super::words::{blocker, quoted, run, warning};
use crate::effects::shell;
use crate::machine::facts::Finding;
use crate::manifest::sql::{body, named, signature};
use crate::policy::Pair;
use crate::policy::target::{FunctionName, RoleName};

/// What a function with its owner's rights needs: nothing that a caller could put before the catalog.
const SEARCH_PATH: &str = "search_path=pg_catalog, pg_temp";
/// SQLSTATEs of a function, or its schema, that is not there.
const MISSING: [&str; 2] = ["42883", "3F000"];

/// The call. With both types given, no function that somebody puts beside it can be meant.
pub(super) fn call(function: &FunctionName) -> String {
    format!("SELECT {}($1::name, $2::text)", named(function))
}

/// Whether the function was not there when it was called.
pub(super) fn is_missing(trouble: &Trouble) -> bool {
    trouble.db().is_some_and(|db| MISSING.contains(&db.code().code()))
}

/// What a call that was denied says.
pub(super) fn refusal(
    server: &Server,
    admin: &Credential,
    user: &RoleName,
    function: &FunctionName,
) -> Finding {
    blocker(
        "FunctionRefused",
        format!(
            "{} (spec.database.admin.function) in database {:?} at {} does not let {} change {}; {}",
            named(function),
            server.database(),
            server.at(),
            quoted(&admin.user),
            quoted(user),
            reinstall(&admin.user)
        ),
    )
}

fn reinstall(admin: &RoleName) -> String {
    format!(
        "print it, and have a superuser, or whoever may change both users, run what is printed: tandem sql install --filename policy.yaml --admin {}",
        shell::word(admin.as_str())
    )
}

/// Everything that could be wrong with the function, before it is needed.
pub(super) async fn findings(
    session: &mut Session,
    server: &Server,
    admin: &RoleName,
    pair: &Pair,
    function: &FunctionName,
) -> Result<Vec<Finding>, Trouble> {
    let (name, signature) = (named(function), signature(function));
    let at = format!("database {:?} at {}", server.database(), server.at());
    let Some(found) = Found::read(session, pair, function).await? else {
        return Ok(vec![blocker(
            "FunctionMissing",
            format!(
                "there is no function {signature} (spec.database.admin.function) in {at}; {}",
                reinstall(admin)
            ),
        )]);
    };
    let mut findings = Vec::new();
    let mut unsafe_to_call = |what: &str, mend: String| {
        findings.push(blocker(
            "FunctionUnsafe",
            format!("function {name} in {at} {what}; {}", run(&mend)),
        ));
    };
    if !found.definer {
        unsafe_to_call(
            "runs with the rights of its caller, who has none",
            format!("ALTER FUNCTION {signature} SECURITY DEFINER"),
        );
    }
    if !found.pinned {
        unsafe_to_call(
            "takes the search path of its caller, who could put functions of its own in the way",
            format!("ALTER FUNCTION {signature} SET search_path = pg_catalog, pg_temp"),
        );
    }
    if !found.owner_may {
        let owner = escape_identifier(&found.owner);
        unsafe_to_call(
            &format!("belongs to {owner}, who may not change both users, or is one of them"),
            format!(
                "ALTER FUNCTION {signature} OWNER TO {}",
                escape_identifier(&found.superuser)
            ),
        );
    }
    if !found.callable {
        let admin = quoted(admin);
        findings.push(blocker(
            "AdminLacksRights",
            format!(
                "the administrator {admin} may not call function {name} in {at}; {}",
                run(&format!(
                    "GRANT USAGE ON SCHEMA {} TO {admin}; GRANT EXECUTE ON FUNCTION {signature} TO {admin}",
                    escape_identifier(function.schema())
                )),
            ),
        ));
    }
    if !found.others.is_empty() {
        findings.push(warning(
            "FunctionOpen",
            format!(
                "function {name} in {at} can be called by {others} too; {}",
                run(&format!(
                    "REVOKE ALL ON FUNCTION {signature} FROM {others}",
                    others = found.others.join(", ")
                )),
                others = found.others.join(", "),
            ),
        ));
    }
    if found.source != body(pair) {
        findings.push(warning(
            "FunctionUnknown",
            format!(
                "function {name} in {at} is not the one that is printed for this policy, so what it does is not known; compare the two, or replace it: {}",
                reinstall(admin)
            ),
        ));
    }
    Ok(findings)
}

/// The function as it is in the database.
#[expect(clippy::struct_excessive_bools, reason = "each is a column")]
struct Found {
    definer: bool,
    pinned: bool,
    owner: String,
    owner_may: bool,
    superuser: String,
    callable: bool,
    others: Vec<String>,
    source: String,
}

impl Found {
    async fn read(
        session: &mut Session,
        pair: &Pair,
        function: &FunctionName,
    ) -> Result<Option<Self>, Trouble> {
        const FUNCTION: &str = "
            SELECT p.prosecdef, coalesce($3 = ANY (p.proconfig), false), o.rolname::text,
                   (o.rolsuper OR o.rolcreaterole AND ($4::int4 < 16 OR (
                      SELECT bool_and(pg_has_role(o.oid, r.oid, 'MEMBER WITH ADMIN OPTION')) FROM pg_roles r WHERE r.rolname IN ($5, $6))))
                     AND o.rolname NOT IN ($5, $6),
                   (SELECT rolname::text FROM pg_roles WHERE oid = 10),
                   has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'),
                   ARRAY(SELECT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END
                           FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) e
                          WHERE e.grantee <> p.proowner AND e.grantee <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
                          ORDER BY 1),
                   p.prosrc
              FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner
             WHERE n.nspname = $1 AND p.proname = $2 AND p.pronargs = 2
               AND p.proargtypes[0] = 'name'::regtype AND p.proargtypes[1] = 'text'::regtype";
        let Pair(one, other) = pair;
        let rows = session
            .query(
                FUNCTION,
                &[
                    &function.schema(),
                    &function.name(),
                    &SEARCH_PATH,
                    &session.major().cast_signed(),
                    &one.as_str(),
                    &other.as_str(),
                ],
            )
            .await?;
        Ok(rows.first().map(|row| Self {
            definer: row.get(0),
            pinned: row.get(1),
            owner: row.get(2),
            owner_may: row.get(3),
            superuser: row.get(4),
            callable: row.get(5),
            others: row.get(6),
            source: row.get(7),
        }))
    }
}
