//! The function that changes a password in the administrator's stead, so that the administrator can do nothing else
//! (R4): it takes two users and no other, a SCRAM verifier and nothing else, and runs with the rights of its owner.

use anyhow::Context as _;
use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::policy::target::{FunctionName, RoleName};
use crate::policy::{Pair, Policy};

/// The script that installs the functions of the policies in a YAML stream, for a person to run.
///
/// # Errors
/// When the text holds no policy, or one that means nothing or names no function.
pub fn install(policies: &str, admin: &str) -> anyhow::Result<String> {
    scripts(policies, admin, installation)
}

/// The script that takes them away again.
///
/// # Errors
/// As for [`install`].
pub fn uninstall(policies: &str, admin: &str) -> anyhow::Result<String> {
    scripts(policies, admin, |function, _, admin, database| {
        removal(function, admin, database)
    })
}

fn scripts(
    policies: &str,
    admin: &str,
    script: impl Fn(&FunctionName, &Pair, &RoleName, &str) -> String,
) -> anyhow::Result<String> {
    let admin = RoleName::new(admin)
        .map_err(anyhow::Error::msg)
        .context("--admin names no possible role")?;
    let one = |policy: &Policy| {
        let database = &policy.database;
        let function = database.function.as_ref().with_context(|| {
            format!(
                "policy {}: spec.database.admin.function is not set; write for example rotation.set_verifier",
                policy.name
            )
        })?;
        anyhow::ensure!(
            !policy.pair.contains(&admin),
            "policy {}: {admin} is one of spec.users; the administrator must be another role",
            policy.name
        );
        Ok(script(function, &policy.pair, &admin, &database.name))
    };
    super::policies(policies)?.iter().map(one).collect()
}

/// The function as SQL names it.
pub(crate) fn named(function: &FunctionName) -> String {
    let [schema, name] = [function.schema(), function.name()].map(escape_identifier);
    format!("{schema}.{name}")
}

/// The function as ALTER, GRANT and DROP name it.
pub(crate) fn signature(function: &FunctionName) -> String {
    format!("{}(name, text)", named(function))
}

/// The body. It is compared to the letter with what is found in a database.
pub(crate) fn body(pair: &Pair) -> String {
    let Pair(one, other) = pair;
    let [one, other] = [one, other].map(|user| escape_literal(user.as_str()));
    format!(
        "
BEGIN
  IF target IS NULL OR target NOT IN ({one}, {other}) THEN
    RAISE EXCEPTION 'this function changes other users only' USING ERRCODE = 'insufficient_privilege';
  END IF;
  -- Anything else would be taken for a password in plain text.
  IF verifier IS NULL OR verifier !~ '^SCRAM-SHA-256[$][1-9][0-9]{{3,5}}:([A-Za-z0-9+/]{{4}})*([A-Za-z0-9+/]{{4}}|[A-Za-z0-9+/]{{3}}=|[A-Za-z0-9+/]{{2}}==)[$][A-Za-z0-9+/]{{43}}=:[A-Za-z0-9+/]{{43}}=$' THEN
    RAISE EXCEPTION 'not a SCRAM-SHA-256 verifier' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- Whoever they have become since, more than an application's user is not changed here.
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = target AND (rolsuper OR rolreplication OR rolcreaterole)) THEN
    RAISE EXCEPTION 'this user has become too powerful to be changed here' USING ERRCODE = 'insufficient_privilege';
  END IF;
  EXECUTE format('ALTER ROLE %I PASSWORD %L', target, verifier);
END
"
    )
}

fn installation(function: &FunctionName, pair: &Pair, admin: &RoleName, database: &str) -> String {
    let (schema, signature) = (escape_identifier(function.schema()), signature(function));
    let (name, admin) = (named(function), escape_identifier(admin.as_str()));
    let body = body(pair);
    // A name may contain anything, the end of the body included.
    let mut quote = "$tandem$".to_owned();
    while body.contains(&quote) {
        quote.insert(1, '_');
    }
    format!(
        "-- Run this in database {database:?}, as a superuser or as a role that may change both users:
-- psql --set ON_ERROR_STOP=1
BEGIN;
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE FUNCTION {name}(target name, verifier text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS {quote}{body}{quote};
REVOKE ALL ON FUNCTION {signature} FROM PUBLIC;
GRANT USAGE ON SCHEMA {schema} TO {admin};
GRANT EXECUTE ON FUNCTION {signature} TO {admin};
-- To see where sessions come from, so that the old user is not retired too early.
GRANT pg_read_all_stats TO {admin};
COMMIT;
"
    )
}

fn removal(function: &FunctionName, admin: &RoleName, database: &str) -> String {
    format!(
        "-- Run this in database {database:?}, as the role that installed the function.
BEGIN;
DROP FUNCTION {};
REVOKE USAGE ON SCHEMA {schema} FROM {};
COMMIT;
-- When nothing else is in it: DROP SCHEMA {schema};
",
        signature(function),
        escape_identifier(admin.as_str()),
        schema = escape_identifier(function.schema()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(users: &str, function: &str) -> String {
        format!(
            "
apiVersion: tandem.dev/v1alpha1
kind: RotationPolicy
metadata: {{name: app-db}}
spec:
  users: {users}
  database: {{host: db.example, name: appdb, admin: {{secretRef: {{name: x}}{function}}}}}
  delivery: {{secret: {{name: y}}}}
"
        )
    }

    const FUNCTION: &str = ", function: Rotation.set_verifier";

    #[test]
    fn fm26_no_name_can_leave_its_place_in_the_script() {
        let users = r#"["o'b\\n", "$tandem$; DROP TABLE x; --"]"#;
        let script = install(&policy(users, FUNCTION), "rot\"ator").unwrap();
        assert!(
            script.contains(r"NOT IN ( E'o''b\\n', '$tandem$; DROP TABLE x; --')"),
            "{script}"
        );
        assert_eq!(script.matches("$_tandem$").count(), 2, "{script}");
        assert!(
            script.contains(r#"GRANT USAGE ON SCHEMA "Rotation" TO "rot""ator";"#),
            "{script}"
        );
        let script = uninstall(&policy(users, FUNCTION), "rot\"ator").unwrap();
        assert!(
            script.contains(r#"DROP FUNCTION "Rotation"."set_verifier"(name, text);"#),
            "{script}"
        );
    }

    #[test]
    fn what_would_be_no_use_is_not_printed() {
        let cases = [
            (
                "[app_a, app_b]",
                "",
                "rotator",
                "spec.database.admin.function is not set",
            ),
            (
                "[app_a, app_b]",
                FUNCTION,
                "app_b",
                "the administrator must be another role",
            ),
            ("[app_a, app_b]", FUNCTION, "", "--admin names no possible role"),
            (
                "[app_a, app_b]",
                ", function: set_verifier",
                "rotator",
                "write schema.name",
            ),
            (
                "[app_a, app_b]",
                ", function: a.b.c",
                "rotator",
                "write schema.name",
            ),
        ];
        for (users, function, admin, expected) in cases {
            let error = install(&policy(users, function), admin).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
