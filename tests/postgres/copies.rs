//! Who else keeps a password of the pair: found, never shown, and said where it cannot be seen.

use anyhow::Result;
use tandem::effects::postgres::{Credential, Wanted, preflight};
use tandem::machine::facts::Finding;
use tandem::policy::Pair;
use tandem_lab::{PostgresOptions, run};

use crate::scene::{Scene, command, credential, on_every_version, role};

/// What logs in as one of them, and beside it what only looks so. The jobs are in a table like that of `pg_cron`, which the
/// lab's servers do not have.
const KEPT: &str = "
    CREATE ROLE report NOLOGIN; CREATE ROLE reader NOLOGIN; CREATE EXTENSION dblink;
    CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
    CREATE USER MAPPING FOR report SERVER far OPTIONS (\"user\" 'app_a', password 'hunter2');
    CREATE USER MAPPING FOR reader SERVER far OPTIONS (\"user\" 'app_ab', password 'hunter2');
    CREATE FUNCTION fetched() RETURNS SETOF record LANGUAGE plpgsql AS
      $$ BEGIN RETURN QUERY SELECT * FROM dblink('host=db user=app_b password=hunter2', 'SELECT 1') AS t (id int); END $$;
    CREATE FUNCTION other() RETURNS text LANGUAGE sql AS $$ SELECT 'user=app_bc password=hunter2' $$;
    CREATE FUNCTION names() RETURNS text LANGUAGE sql AS $$ SELECT usename FROM pg_user WHERE usename = 'app_b' $$;
    CREATE VIEW far_away AS
      SELECT id FROM dblink('postgresql://app_a:hunter2@db/appdb', 'SELECT 1') AS t (id int);
    CREATE SUBSCRIPTION news CONNECTION 'host=db user=app_b password=hunter2' PUBLICATION p
      WITH (connect = false, slot_name = NONE);
    CREATE SCHEMA cron;
    CREATE TABLE cron.job (jobid bigint, schedule text, command text, nodename text, nodeport int, database text,
                           username text, active bool, jobname text);
    INSERT INTO cron.job VALUES (7, '* * * * *', 'SELECT 1', 'localhost', 5432, 'appdb', 'app_a', true, 'nightly'),
                                (8, '* * * * *', 'SELECT 1', 'localhost', 5432, 'appdb', 'report', true, 'other')";

const EACH: [&str; 5] = [
    "job 7 of pg_cron as app_a",
    "routine public.fetched() as app_b",
    "subscription news in database appdb as app_b",
    "the user mapping of report for server far as app_a",
    "view public.far_away as app_a",
];

/// What of it preflight tells, in its order.
async fn told(scene: &Scene, admin: &Credential, pair: &Pair) -> Vec<Finding> {
    let wanted = Wanted {
        pair,
        active: None,
        ..scene.wanted()
    };
    let (mut findings, _) = preflight(&scene.server, admin, wanted).await;
    findings.retain(|finding| ["PasswordKeptElsewhere", "CopiesNotChecked"].contains(&finding.reason));
    for finding in &findings {
        assert!(!finding.blocks, "{finding:?}");
        assert!(!finding.message.contains("hunter2"), "{}", finding.message);
    }
    findings
}

#[test]
fn fm20_whatever_else_logs_in_as_one_of_them_is_warned_of_as_far_as_it_can_be_seen() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            assert_eq!(told(&scene, &scene.admin, &scene.pair).await, [], "{version}");
            scene.sql(KEPT).await?;

            let seen = told(&scene, &scene.admin, &scene.pair).await;
            let [kept, unseen] = &seen[..] else {
                panic!("{version}: {seen:#?}")
            };
            assert_eq!(
                (kept.reason, unseen.reason),
                ("PasswordKeptElsewhere", "CopiesNotChecked"),
                "{version}"
            );
            let told_of = |finding: &Finding| EACH.map(|each| finding.message.contains(each));
            assert_eq!(
                told_of(kept),
                [false, true, false, false, true],
                "{version}: {kept:?}"
            );
            for what in [
                "the options of user mappings",
                "the connections of subscriptions",
                "the jobs of pg_cron",
            ] {
                assert!(unseen.message.contains(what), "{version}: {}", unseen.message);
            }
            // What a superuser is told to run shows the three, and no password.
            let rows = scene.stage.postgres.sql("appdb", command(unseen)).await?;
            assert_eq!(rows.len(), 3, "{version}: {}", command(unseen));
            let mut values = rows
                .iter()
                .flat_map(|row| (0..row.len()).filter_map(|column| row.get(column)));
            assert!(
                !values.any(|value| value.contains("hunter2")),
                "{version}: {rows:?}"
            );

            all_of_it(&scene, version).await
        })
        .await
    });
}

/// What a superuser sees, and that a name is no pattern.
async fn all_of_it(scene: &Scene, version: u32) -> Result<()> {
    let root = scene.stage.postgres.superuser();
    let root = credential(&root.user, &root.password);
    let seen = told(scene, &root, &scene.pair).await;
    let [kept] = &seen[..] else {
        panic!("{version}: {seen:#?}")
    };
    for each in EACH {
        assert!(kept.message.contains(each), "{version}: {each}: {}", kept.message);
    }
    assert!(!kept.message.contains("more"), "{version}: {}", kept.message);

    scene
        .sql(
            "CREATE ROLE \"o.b\" LOGIN; CREATE ROLE \"o'c\" LOGIN;
             CREATE FUNCTION like_it() RETURNS text LANGUAGE sql AS $$ SELECT 'user=oxb password=hunter2' $$;
             CREATE FUNCTION dotted() RETURNS text LANGUAGE sql AS $$ SELECT 'user = o.b password = hunter2' $$",
        )
        .await?;
    let pair = Pair(role("o.b"), role("o'c"));
    let seen = told(scene, &root, &pair).await;
    let [kept] = &seen[..] else {
        panic!("{version}: {seen:#?}")
    };
    let (_, list) = kept.message.split_once("\": ").unwrap();
    assert!(
        list.starts_with("routine public.dotted() as \"o.b\"; let each"),
        "{version}: {list}"
    );
    Ok(())
}
