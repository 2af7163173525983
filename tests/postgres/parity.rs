//! Whether the two users are alike: each kind of difference is planted by itself, found, and mended by the very statement
//! that is told.

use anyhow::{Context as _, Result};
use tandem::effects::postgres::{Compared, Credential, Server, parity};
use tandem::machine::facts::Finding;
use tandem::policy::Pair;
use tandem_lab::{PostgresOptions, run};

use crate::scene::{Scene, command, credential, on_every_version, role};

/// One kind of difference. `$me` has it, `$peer` does not.
struct Case {
    /// The first version that has it.
    since: u32,
    plant: &'static str,
    told: &'static str,
    /// Whether it stands in the way when the standby lacks it, and when only the standby has it.
    blocks: (bool, bool),
}

const fn case(plant: &'static str, told: &'static str) -> Case {
    Case {
        since: 14,
        plant,
        told,
        blocks: (true, false),
    }
}

const fn since(since: u32, plant: &'static str, told: &'static str) -> Case {
    Case {
        since,
        ..case(plant, told)
    }
}

const fn weighed(plant: &'static str, told: &'static str, blocks: (bool, bool)) -> Case {
    Case {
        blocks,
        ..case(plant, told)
    }
}

const CASES: &[Case] = &[
    // Attributes. A limit is no right: whoever has the lower one is the poorer.
    weighed("ALTER ROLE $me BYPASSRLS", "BYPASSRLS", (true, true)),
    case("ALTER ROLE $me CREATEDB", "CREATEDB"),
    case("ALTER ROLE $me CREATEROLE", "CREATEROLE"),
    case("ALTER ROLE $peer NOINHERIT", "INHERIT"),
    case("ALTER ROLE $peer CONNECTION LIMIT 7", "in CONNECTION LIMIT"),
    case("ALTER ROLE $peer VALID UNTIL '2101-01-01'", "in VALID UNTIL"),
    // Memberships and members.
    case("GRANT report TO $me", "membership in report"),
    case(
        "GRANT app_owner TO $me WITH ADMIN OPTION",
        "the ADMIN option of the membership in app_owner",
    ),
    since(
        16,
        "GRANT app_owner TO $peer WITH INHERIT FALSE",
        "the INHERIT option of the membership in app_owner",
    ),
    since(
        16,
        "GRANT report TO $me, $peer; GRANT report TO $peer WITH SET FALSE",
        "the SET option of the membership in report",
    ),
    weighed("GRANT $me TO auditor", "the member auditor", (false, false)),
    // Settings.
    weighed(
        "ALTER ROLE $me SET search_path = s, \"$user\", \"Odd one\"",
        "setting search_path",
        (true, true),
    ),
    weighed(
        "ALTER ROLE $me IN DATABASE appdb SET statement_timeout = 5000",
        "setting statement_timeout in database appdb",
        (true, true),
    ),
    weighed(
        "ALTER ROLE $me SET app.token = 'hunter2''s \"%s\"'",
        "setting app.token",
        (true, true),
    ),
    weighed(
        "ALTER ROLE $me SET work_mem = '8MB'; ALTER ROLE $peer SET work_mem = '9MB'",
        "in setting work_mem",
        (true, true),
    ),
    // Privileges on objects.
    case(
        "GRANT SELECT, INSERT ON t TO $me",
        "INSERT, SELECT on table public.t",
    ),
    case(
        "GRANT SELECT ON \"T %s x\" TO $me",
        "SELECT on table public.\"T %s x\"",
    ),
    case(
        "GRANT UPDATE (who), SELECT (id) ON t TO $me",
        "SELECT (id), UPDATE (who) on table public.t",
    ),
    case(
        "GRANT SELECT ON t TO $me, $peer; GRANT SELECT ON t TO $me WITH GRANT OPTION",
        "the grant option of SELECT on table public.t",
    ),
    case(
        "GRANT INSERT ON t TO auditor WITH GRANT OPTION; SET ROLE auditor; GRANT INSERT ON t TO $me; RESET ROLE",
        "INSERT on table public.t",
    ),
    case(
        "GRANT USAGE ON SEQUENCE numbers TO $me",
        "USAGE on sequence public.numbers",
    ),
    case("GRANT CREATE ON SCHEMA s TO $me", "CREATE on schema s"),
    case(
        "GRANT EXECUTE ON FUNCTION f(int) TO $me",
        "EXECUTE on routine public.f(integer)",
    ),
    case(
        "GRANT EXECUTE ON PROCEDURE p() TO $me",
        "EXECUTE on routine public.p()",
    ),
    case(
        "GRANT USAGE ON TYPE pair_of TO $me",
        "USAGE on type public.pair_of",
    ),
    case("GRANT USAGE ON DOMAIN small TO $me", "USAGE on type public.small"),
    case(
        "GRANT TEMPORARY ON DATABASE appdb TO $me",
        "TEMPORARY on database appdb",
    ),
    case("GRANT USAGE ON LANGUAGE sql TO $me", "USAGE on language sql"),
    case(
        "GRANT USAGE ON FOREIGN DATA WRAPPER w TO $me",
        "USAGE on foreign data wrapper w",
    ),
    case(
        "GRANT USAGE ON FOREIGN SERVER far TO $me",
        "USAGE on foreign server far",
    ),
    case(
        "GRANT CREATE ON TABLESPACE pg_default TO $me",
        "CREATE on tablespace pg_default",
    ),
    case(
        "GRANT SELECT ON LARGE OBJECT 4242 TO $me",
        "SELECT on large object 4242",
    ),
    since(
        15,
        "GRANT SET ON PARAMETER work_mem TO $me",
        "SET on parameter work_mem",
    ),
    since(
        15,
        "GRANT SET ON PARAMETER work_mem TO $me, $peer; GRANT SET ON PARAMETER work_mem TO $me WITH GRANT OPTION",
        "the grant option of SET on parameter work_mem",
    ),
    weighed(
        "GRANT SELECT ON t TO $me, $peer WITH GRANT OPTION; SET ROLE $me; GRANT SELECT ON t TO report; RESET ROLE",
        "SELECT on table public.t to report",
        (false, false),
    ),
    // What is still to be made.
    case(
        "ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA s GRANT SELECT ON TABLES TO $me",
        "SELECT on future tables of app_owner in schema s",
    ),
    case(
        "ALTER DEFAULT PRIVILEGES FOR ROLE $me IN SCHEMA s GRANT SELECT ON TABLES TO report",
        "SELECT for report on the tables that it makes in schema s",
    ),
    case(
        "ALTER DEFAULT PRIVILEGES FOR ROLE $me GRANT USAGE ON SEQUENCES TO $peer WITH GRANT OPTION",
        "USAGE for its partner on the sequences that it makes with grant option",
    ),
    case(
        "ALTER DEFAULT PRIVILEGES FOR ROLE $me REVOKE EXECUTE ON ROUTINES FROM PUBLIC",
        "no EXECUTE for PUBLIC on the routines that it makes",
    ),
    // What belongs to one of them.
    case(
        "CREATE TABLE $t (id int); ALTER TABLE $t OWNER TO $me",
        "table public.of_",
    ),
    case("CREATE SCHEMA $t; ALTER SCHEMA $t OWNER TO $me", "schema of_"),
    case(
        "CREATE PUBLICATION $t; ALTER PUBLICATION $t OWNER TO $me",
        "publication of_",
    ),
    case("CREATE DATABASE $t OWNER $me", "database of_"),
    since(
        16,
        "CREATE SUBSCRIPTION $t CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE); ALTER SUBSCRIPTION $t OWNER TO $me",
        "subscription of_",
    ),
    case(
        "CREATE EVENT TRIGGER $t ON ddl_command_end EXECUTE FUNCTION nothing(); ALTER ROLE $me SUPERUSER; ALTER EVENT TRIGGER $t OWNER TO $me; ALTER ROLE $me NOSUPERUSER",
        "event trigger of_",
    ),
    weighed("CREATE POLICY $t ON t TO report, $me", "policy of_", (true, true)),
    weighed("CREATE POLICY $t ON t TO $me", "policy of_", (true, true)),
    case(
        "CREATE USER MAPPING FOR $me SERVER far OPTIONS (\"user\" 'x', password 'hunter2%''s')",
        "the user mapping for server far",
    ),
];

/// What the cases are about. None of it belongs to a pair.
const OBJECTS: &str = "
    CREATE ROLE report NOLOGIN; CREATE ROLE auditor NOLOGIN;
    CREATE TABLE t (id int, who text); CREATE TABLE \"T %s x\" (id int); CREATE SCHEMA s; CREATE SEQUENCE numbers;
    CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE TYPE pair_of AS (a int, b int); CREATE DOMAIN small AS int;
    CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
    SELECT lo_create(4242)";

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Two users whose names need every care, and how SQL names them.
fn named(name: &str) -> (Pair, [String; 2]) {
    let names = [format!("{name} \"a\" %s'"), format!("{name} \"b\" %s'")];
    let pair = Pair(role(&names[0]), role(&names[1]));
    (pair, names.map(|name| quoted(&name)))
}

/// Makes them as they should be.
fn like(users: &[String; 2]) -> String {
    let one = |user: &String| {
        format!(
            "CREATE ROLE {user} LOGIN; GRANT app_owner TO {user}; ALTER ROLE {user} SET role = 'app_owner'"
        )
    };
    format!("{}; {}", one(&users[0]), one(&users[1]))
}

async fn pair(scene: &Scene, name: &str) -> Result<Pair> {
    let (pair, users) = named(name);
    scene.sql(&like(&users)).await?;
    Ok(pair)
}

async fn asked(server: &Server, admin: &Credential, pair: &Pair) -> Vec<Finding> {
    let owner = role("app_owner");
    let compared = Compared {
        pair,
        active: Some(&pair.0),
        effective_role: Some(&owner),
    };
    parity(server, admin, compared).await.expect("the server answers")
}

fn root(scene: &Scene) -> Credential {
    let root = scene.stage.postgres.superuser();
    credential(&root.user, &root.password)
}

#[test]
fn fm20_each_kind_of_difference_is_found_and_mended_by_what_is_told() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            scene.sql(OBJECTS).await?;
            each(&scene, version, 0).await?;
            // What is taken away again is the same on all versions but for memberships, which changed with 16.
            if [14, 18].contains(&version) {
                each(&scene, version, 1).await?;
            }
            Ok(())
        })
        .await
    });
}

/// Plants each kind in a pair of its own: the active user has it, or the standby.
async fn each(scene: &Scene, version: u32, which: usize) -> Result<()> {
    let root = root(scene);
    let client = scene
        .stage
        .postgres
        .connect_as(root.user.as_str(), root.password.expose(), "appdb")
        .await?;
    for (number, case) in CASES.iter().enumerate() {
        if version < case.since {
            continue;
        }
        // Only to a superuser are the options of both shown, and with them that they are the same.
        let admin = if case.plant.contains("USER MAPPING") {
            &root
        } else {
            &scene.admin
        };
        let name = format!("of_{number}_{which}");
        let (pair, users) = named(&name);
        client.batch_execute(&like(&users)).await?;
        if number == 0 {
            assert_eq!(asked(&scene.server, admin, &pair).await, [], "a clean pair");
        }
        let plant = case
            .plant
            .replace("$me", &users[which])
            .replace("$peer", &users[1 - which])
            .replace("$t", &name);
        client
            .batch_execute(&plant)
            .await
            .with_context(|| plant.clone())?;

        let findings = asked(&scene.server, admin, &pair).await;
        let [finding] = &findings[..] else {
            panic!("{version} {plant}: {findings:#?}")
        };
        let blocks = if which == 0 { case.blocks.0 } else { case.blocks.1 };
        let judged = (finding.reason, finding.blocks);
        assert_eq!(judged, ("PairDiffers", blocks), "{version} {plant}: {finding:?}");
        let (told, mend) = finding.message.split_once("run: ").unwrap();
        assert!(told.contains(case.told), "{version} {plant}: {told}");
        assert!(!finding.message.contains("hunter2"), "{}", finding.message);
        client
            .batch_execute(mend)
            .await
            .with_context(|| mend.to_owned())?;
        assert_eq!(
            asked(&scene.server, admin, &pair).await,
            [],
            "{version} {plant}: {mend}"
        );
    }
    Ok(())
}

#[test]
fn fm20_a_difference_in_another_database_is_found_from_here() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let pair = pair(&scene, "far").await?;
            scene.sql("CREATE DATABASE elsewhere").await?;
            scene
                .sql("REVOKE CONNECT ON DATABASE elsewhere FROM PUBLIC")
                .await?;
            let there = async |sql: &str| scene.stage.postgres.sql("elsewhere", sql).await;
            let user = quoted(pair.0.as_str());
            there(&format!("CREATE TABLE t (id int); GRANT SELECT ON t TO {user}")).await?;

            let unseen = asked(&scene.server, &scene.admin, &pair).await;
            let [finding] = &unseen[..] else {
                panic!("{version}: {unseen:#?}")
            };
            assert_eq!(
                (finding.reason, finding.blocks),
                ("ParityNotChecked", false),
                "{version}"
            );
            scene.sql(command(finding)).await?;
            let seen = asked(&scene.server, &scene.admin, &pair).await;
            let [finding] = &seen[..] else {
                panic!("{version}: {seen:#?}")
            };
            assert_eq!(
                (finding.reason, finding.blocks),
                ("PairDiffers", true),
                "{version}"
            );
            assert!(
                finding.message.contains("in database \"elsewhere\""),
                "{}",
                finding.message
            );
            there(command(finding)).await?;
            assert_eq!(asked(&scene.server, &scene.admin, &pair).await, [], "{version}");
            Ok(())
        })
        .await
    });
}

#[test]
fn what_depends_on_the_name_of_the_login_is_warned_of() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            scene
                .sql(
                    "CREATE TABLE t (id int, who text DEFAULT current_user);
                     CREATE POLICY own ON t USING (who = current_user);
                     CREATE VIEW mine AS SELECT id FROM t WHERE who = user;
                     CREATE FUNCTION me() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN CURRENT_USER; END'",
                )
                .await?;
            let pair = pair(&scene, "named").await?;
            // Both become the owner, so it is the same for both.
            assert_eq!(asked(&scene.server, &scene.admin, &pair).await, [], "{version}");
            let users = [quoted(pair.0.as_str()), quoted(pair.1.as_str())];
            scene
                .sql(&format!(
                    "ALTER ROLE {} RESET role; ALTER ROLE {} RESET role",
                    users[0], users[1]
                ))
                .await?;
            let named = asked(&scene.server, &scene.admin, &pair).await;
            let [finding] = &named[..] else {
                panic!("{version}: {named:#?}")
            };
            assert_eq!(
                (finding.reason, finding.blocks),
                ("PairByName", false),
                "{version}"
            );
            for what in [
                "policy own on public.t",
                "column public.t.who",
                "view public.mine",
                "routine public.me()",
                "and 1 more",
            ] {
                assert!(
                    finding.message.contains(what),
                    "{version}: {what}: {}",
                    finding.message
                );
            }
            scene.sql(command(finding)).await?;
            assert_eq!(asked(&scene.server, &scene.admin, &pair).await, [], "{version}");
            // Who logged in stays what it is.
            scene
                .sql("ALTER TABLE t ALTER who SET DEFAULT session_user")
                .await?;
            let named = asked(&scene.server, &scene.admin, &pair).await;
            let [finding] = &named[..] else {
                panic!("{version}: {named:#?}")
            };
            assert_eq!(
                (finding.reason, finding.blocks),
                ("PairByName", false),
                "{version}"
            );
            assert!(
                finding.message.contains("asks for session_user"),
                "{}",
                finding.message
            );
            Ok(())
        })
        .await
    });
}

#[test]
fn fm27_a_user_that_is_a_member_of_the_other_is_refused() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let pair = pair(&scene, "nested").await?;
            let users = [quoted(pair.0.as_str()), quoted(pair.1.as_str())];
            for (member, of) in [(0, 1), (1, 0)] {
                scene
                    .sql(&format!("GRANT {} TO {}", users[of], users[member]))
                    .await?;
                let nested = asked(&scene.server, &scene.admin, &pair).await;
                let [finding] = &nested[..] else {
                    panic!("{version}: {nested:#?}")
                };
                assert_eq!(
                    (finding.reason, finding.blocks),
                    ("PairNested", true),
                    "{version}"
                );
                scene.sql(command(finding)).await?;
                assert_eq!(asked(&scene.server, &scene.admin, &pair).await, [], "{version}");
            }
            Ok(())
        })
        .await
    });
}

#[test]
fn what_cannot_be_seen_is_said_and_what_is_long_is_cut() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let pair = pair(&scene, "long").await?;
        let user = quoted(pair.0.as_str());
        scene
            .sql(&format!(
                "DO $$ BEGIN FOR i IN 10..29 LOOP EXECUTE format('CREATE TABLE many_%s (id int); GRANT SELECT ON many_%s TO %s', i, i, '{}'); END LOOP; END $$",
                user.replace('\'', "''")
            ))
            .await?;
        for left in [20, 15, 10, 5] {
            let many = asked(&scene.server, &scene.admin, &pair).await;
            let [finding] = &many[..] else { panic!("{many:#?}") };
            let listed = finding.message.matches("SELECT on table public.many_").count();
            assert_eq!(listed, 5, "{}", finding.message);
            let more = finding.message.contains(&format!("and {} more", left - 5));
            assert_eq!(more, left > 5, "{}", finding.message);
            scene.sql(command(finding)).await?;
        }
        assert_eq!(asked(&scene.server, &scene.admin, &pair).await, []);

        scene
            .sql("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; REVOKE SELECT ON pg_policy, pg_rewrite FROM PUBLIC")
            .await?;
        let unseen = asked(&scene.server, &scene.admin, &pair).await;
        let [finding] = &unseen[..] else {
            panic!("{unseen:#?}")
        };
        assert_eq!((finding.reason, finding.blocks), ("ParityNotChecked", false));
        scene.sql(command(finding)).await?;
        assert_eq!(asked(&scene.server, &scene.admin, &pair).await, []);
        let other = quoted(pair.1.as_str());
        scene
            .sql(&format!(
                "CREATE USER MAPPING FOR {user} SERVER far OPTIONS (password 'one'); CREATE USER MAPPING FOR {other} SERVER far OPTIONS (password 'two')"
            ))
            .await?;
        let unseen = asked(&scene.server, &scene.admin, &pair).await;
        let [finding] = &unseen[..] else {
            panic!("{unseen:#?}")
        };
        assert_eq!((finding.reason, finding.blocks), ("ParityNotChecked", false));
        scene.sql(command(finding)).await?;
        let seen = asked(&scene.server, &root(&scene), &pair).await;
        let [finding] = &seen[..] else { panic!("{seen:#?}") };
        assert_eq!((finding.reason, finding.blocks), ("PairDiffers", true));
        scene.sql(command(finding)).await?;
        assert_eq!(asked(&scene.server, &root(&scene), &pair).await, []);
        Ok(())
    });
}
