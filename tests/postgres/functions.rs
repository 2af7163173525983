//! The function that changes passwords in the administrator's stead, and the least that an administrator needs.

use anyhow::Result;
use tandem::effects::Outcome;
use tandem::effects::postgres::{
    Change, Credential, Means, Verifier, Wanted, change, login, preflight, previous, sessions,
};
use tandem::machine::facts::{Finding, Login, Previous};
use tandem::manifest::sql;
use tandem::policy::target::FunctionName;
use tandem_lab::{PostgresOptions, run};

use crate::scene::{Scene, change_of, command, credential, on_every_version, refusal};

const FUNCTION: &str = "rotation.set_verifier";
const POLICY: &str = "
apiVersion: tandem.dev/v1alpha1
kind: RotationPolicy
metadata: {name: app-db, namespace: production}
spec:
  users: [app_a, app_b]
  database:
    host: db.example
    name: appdb
    admin: {secretRef: {name: db-admin}, function: rotation.set_verifier}
  delivery: {secret: {name: db-credentials}}
";

fn function() -> FunctionName {
    FunctionName::new(FUNCTION).unwrap()
}

fn script(admin: &str) -> String {
    sql::install(POLICY, admin).unwrap()
}

async fn found(scene: &Scene, admin: &Credential, function: Option<&FunctionName>) -> Vec<Finding> {
    let wanted = Wanted {
        function,
        ..scene.wanted()
    };
    let (found, _) = preflight(&scene.server, admin, wanted).await;
    // What the server logs is another matter.
    found
        .into_iter()
        .filter(|finding| finding.reason != "VerifiersVisible")
        .collect()
}

/// One whole change of the pair: the standby gets a password and is proven, the other one is counted and retired.
async fn change_both(scene: &Scene, admin: &Credential, means: Means<'_>) -> Result<()> {
    let (new, nobody) = (credential("app_b", "Pending1"), credential("app_a", "Nobody1"));
    for (user, of) in [(&scene.b.user, &new), (&scene.a.user, &nobody)] {
        let verifier = Verifier::compute(&of.password);
        let wanted = Change {
            means,
            ..change_of(user, &verifier)
        };
        assert_eq!(change(&scene.server, admin, wanted).await?, Outcome::Done);
        assert_eq!(scene.kept(user).await?, verifier.sensitive().expose());
        let proven = login(&scene.server, &new, Some(&scene.owner), None, Some(admin)).await;
        assert!(matches!(proven, Login::Accepted(_)), "{proven:?}");
        assert_eq!(sessions(&scene.server, admin, &scene.a.user).await.unwrap(), []);
    }
    assert_eq!(previous(&scene.server, &scene.a).await, Previous::Refused);
    Ok(())
}

#[test]
fn the_least_that_is_documented_is_enough_for_a_whole_change() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let before = [scene.kept(&scene.a.user).await?, scene.kept(&scene.b.user).await?];
            let restore = format!(
                "ALTER ROLE app_a PASSWORD '{}'; ALTER ROLE app_b PASSWORD '{}'",
                before[0], before[1]
            );
            let name = function();
            let by_statement = Means::AlterRole { login: None };
            let change_right = if version >= 16 {
                "GRANT app_a, app_b TO $ WITH ADMIN TRUE, INHERIT FALSE, SET FALSE; ALTER ROLE $ CREATEROLE"
            } else {
                "ALTER ROLE $ CREATEROLE"
            };
            let statistics = "GRANT pg_read_all_stats TO $";
            // Each as its maker's manual makes the role that customers get; rds_password as RDS asks for it.
            let kinds: [(&str, String, Means<'_>); 6] = [
                ("root", "ALTER ROLE $ SUPERUSER".into(), by_statement),
                ("plain", format!("{change_right}; {statistics}"), by_statement),
                ("through", script("through"), Means::Function(&name)),
                (
                    "rds",
                    format!("CREATE ROLE rds_superuser NOLOGIN; CREATE ROLE rds_password NOLOGIN; ALTER ROLE $ SET rds.restrict_password_commands = on; GRANT rds_password TO $; {change_right}; {statistics}"),
                    by_statement,
                ),
                (
                    "cloud",
                    format!("CREATE ROLE cloudsqlsuperuser NOLOGIN CREATEROLE CREATEDB; GRANT cloudsqlsuperuser TO $; {change_right}; {statistics}"),
                    by_statement,
                ),
                (
                    "azure",
                    format!("CREATE ROLE azure_pg_admin NOLOGIN; GRANT azure_pg_admin TO $; {change_right}; {statistics}"),
                    by_statement,
                ),
            ];
            for (user, rights, means) in kinds {
                scene.sql(&format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'")).await?;
                let admin = credential(user, "secret");
                let function = match means {
                    Means::Function(function) => Some(function),
                    Means::AlterRole { .. } => None,
                };
                let lacking = found(&scene, &admin, function).await;
                assert!(lacking.iter().any(|finding| finding.blocks), "{version} {user}: {lacking:#?}");
                scene.sql(&rights.replace('$', if rights.contains("$tandem$") { "$" } else { user })).await?;
                assert_eq!(found(&scene, &admin, function).await, [], "{version} {user}");
                change_both(&scene, &admin, means).await?;
                scene.sql(&restore).await?;
            }
            Ok(())
        })
        .await
    });
}

#[test]
fn fm17_a_function_that_is_not_what_it_should_be_is_refused_before_it_is_needed() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let name = function();
            scene.sql("CREATE ROLE \"Cal ler\" LOGIN PASSWORD 'secret'; CREATE ROLE stranger; GRANT pg_read_all_stats TO \"Cal ler\"").await?;
            let caller = credential("Cal ler", "secret");
            let reasons = async |expected: &[(&str, bool)], what: &str| {
                let found = found(&scene, &caller, Some(&name)).await;
                let reasons: Vec<_> = found.iter().map(|finding| (finding.reason, finding.blocks)).collect();
                assert_eq!(reasons, expected, "{version} {what}: {found:#?}");
                found
            };
            let missing = reasons(&[("FunctionMissing", true)], "none").await;
            assert!(missing[0].message.ends_with("tandem sql install --filename policy.yaml --admin 'Cal ler'"), "{missing:?}");
            let verifier = Verifier::compute(&scene.b.password);
            let through = Change {
                means: Means::Function(&name),
                ..change_of(&scene.b.user, &verifier)
            };
            let before = scene.kept(&scene.b.user).await?;
            assert_eq!(refusal(change(&scene.server, &caller, through).await).0, "FunctionRefused", "{version}");

            scene.sql(&script("Cal ler")).await?;
            reasons(&[], "installed").await;
            let it = "FUNCTION rotation.set_verifier(name, text)";
            let harms = [
                ("ALTER $ SECURITY INVOKER", vec![("FunctionUnsafe", true)]),
                ("ALTER $ RESET search_path", vec![("FunctionUnsafe", true)]),
                ("ALTER $ SET search_path = public, pg_catalog", vec![("FunctionUnsafe", true)]),
                ("ALTER $ OWNER TO \"Cal ler\"", vec![("FunctionUnsafe", true)]),
                // A function of its own is also more than the other one has.
                ("ALTER $ OWNER TO app_a", vec![("FunctionUnsafe", true), ("PairDiffers", true)]),
                ("ALTER $ OWNER TO stranger", vec![("FunctionUnsafe", true)]),
                ("REVOKE EXECUTE ON $ FROM \"Cal ler\"", vec![("AdminLacksRights", true)]),
                ("REVOKE USAGE ON SCHEMA rotation FROM \"Cal ler\"", vec![("AdminLacksRights", true)]),
                ("GRANT EXECUTE ON $ TO PUBLIC", vec![("FunctionOpen", false)]),
                ("GRANT EXECUTE ON $ TO stranger", vec![("FunctionOpen", false)]),
            ];
            for (harm, expected) in harms {
                scene.sql(&harm.replace('$', it)).await?;
                let found = reasons(&expected, harm).await;
                scene.sql(command(&found[0])).await?;
                if harm.ends_with("OWNER TO \"Cal ler\"") {
                    // An owner needs no grant, so it has none when it is the owner no more.
                    let found = reasons(&[("AdminLacksRights", true)], harm).await;
                    scene.sql(command(&found[0])).await?;
                }
                reasons(&[], harm).await;
            }
            assert_eq!(scene.kept(&scene.b.user).await?, before, "{version}: nothing was changed");

            // One for other users may be as good, and nobody can tell.
            let other = script("Cal ler").replace("'app_a'", "'somebody'").replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION");
            scene.sql(&other).await?;
            reasons(&[("FunctionUnknown", false)], "for others").await;
            let retired = Change {
                user: &scene.a.user,
                ..through
            };
            let (reason, message) = refusal(change(&scene.server, &caller, retired).await);
            assert_eq!(reason, "FunctionRefused", "{version}: {message}");
            scene.sql(&sql::uninstall(POLICY, "Cal ler").unwrap()).await?;
            reasons(&[("FunctionMissing", true)], "uninstalled").await;
            Ok(())
        })
        .await
    });
}

#[test]
fn fm18_the_function_takes_verifiers_of_the_two_users_and_nothing_else() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            scene.sql(&script("rotator")).await?;
            let (kept_a, kept_b) = (scene.kept(&scene.a.user).await?, scene.kept(&scene.b.user).await?);
            let verifier = Verifier::compute(&scene.b.password);
            let verifier = verifier.sensitive().expose();
            let call = async |user: &str, text: &str| {
                scene
                    .sql(&format!("SELECT rotation.set_verifier({user}, {text})"))
                    .await
            };
            let good = format!("'{verifier}'");
            for (user, text) in [
                ("'rotator'", good.as_str()),
                ("'postgres'", &good),
                ("'APP_B'", &good),
                ("NULL", &good),
                ("'app_b'", "NULL"),
                ("'app_b'", "''"),
                ("'app_b'", "'in plain text'"),
                ("'app_b'", "'SCRAM-SHA-256$4096:notbase64'"),
                ("'app_b'", &format!("'{verifier}'' VALID UNTIL ''infinity'")),
                ("'app_b'", &format!("E'{verifier}\\n'")),
                ("'app_b'", &good.replace("$4096:", "$4096:A")),
                ("'app_b'", "'md53175bce1d3201d16594cebf9d7eb3f9d'"),
            ] {
                assert!(call(user, text).await.is_err(), "{version}: {user} {text}");
            }
            // What a caller can put in the way is not looked at, and neither is what it says of strings.
            scene.sql("CREATE SCHEMA trap; CREATE FUNCTION trap.format(text, name, text) RETURNS text LANGUAGE sql AS $$ SELECT 'ALTER ROLE rotator SUPERUSER' $$; GRANT USAGE ON SCHEMA trap TO PUBLIC").await?;
            scene
                .sql(&format!("SET search_path = trap, pg_catalog; SET standard_conforming_strings = off; SELECT rotation.set_verifier('app_b', {good})"))
                .await?;
            assert_eq!(scene.kept(&scene.b.user).await?, *verifier, "{version}");
            for power in ["SUPERUSER", "REPLICATION", "CREATEROLE"] {
                scene.sql(&format!("ALTER ROLE app_b {power}")).await?;
                assert!(call("'app_b'", &good).await.is_err(), "{version}: {power}");
                scene.sql(&format!("ALTER ROLE app_b NO{power}")).await?;
            }
            assert_eq!(scene.kept(&scene.a.user).await?, kept_a, "{version}");
            assert_ne!(scene.kept(&scene.b.user).await?, kept_b, "{version}");
            Ok(())
        })
        .await
    });
}

#[test]
fn fm28_a_verifier_that_goes_through_the_function_is_in_no_statement() {
    run(|lab| async move {
        let options = PostgresOptions::default().setting("log_statement", "ddl");
        on_every_version(&lab, options, async |scene, version| {
            scene.sql("CREATE ROLE caller LOGIN PASSWORD 'secret'").await?;
            scene.sql(&script("caller")).await?;
            let caller = credential("caller", "secret");
            let (name, verifier) = (function(), Verifier::compute(&scene.b.password));
            let wanted = Change {
                means: Means::Function(&name),
                ..change_of(&scene.b.user, &verifier)
            };
            assert_eq!(
                change(&scene.server, &caller, wanted).await?,
                Outcome::Done,
                "{version}"
            );
            let told = verifier.sensitive().expose();
            assert_eq!(scene.kept(&scene.b.user).await?, *told, "{version}");
            assert!(
                !scene.stage.postgres.server_log()?.contains(told),
                "{version}: the log"
            );
            let seen =
                format!("SELECT count(*) FROM pg_stat_statements WHERE position('{told}' IN query) > 0");
            let seen = scene.stage.postgres.value("appdb", &seen).await?;
            assert_eq!(seen.as_deref(), Some("0"), "{version}: pg_stat_statements");
            let counted = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%set_verifier%$1%'";
            let counted = scene.stage.postgres.value("appdb", counted).await?;
            assert_ne!(
                counted.as_deref(),
                Some("0"),
                "{version}: nothing would be seen there at all"
            );
            Ok(())
        })
        .await
    });
}
