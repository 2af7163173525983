//! Poolers in the lab, and the traps that they are there to show.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tandem_lab::{
    KnownBy, Lab, PgBouncer, PgBouncerOptions, PostgresOptions, Stage, USERLIST_SECRET, eventually, run,
};

async fn stage(lab: &Lab, options: PgBouncerOptions) -> Result<(Stage, PgBouncer)> {
    let stage = lab
        .namespace("pooler")
        .await?
        .stage(PostgresOptions::default())
        .await?;
    let pooler = stage.pgbouncer(options).await?;
    Ok((stage, pooler))
}

/// Who is at the pooler, by its own account.
async fn clients(pooler: &PgBouncer) -> Result<Vec<String>> {
    let rows = pooler.show("CLIENTS").await?;
    let users = rows
        .iter()
        .filter_map(|row| row.get("user").map(ToOwned::to_owned));
    Ok(users.filter(|user| user.starts_with("app_")).collect())
}

#[test]
fn one_that_asks_the_server_takes_a_new_password_at_once_and_tells_who_is_there() {
    run(|lab: Lab| async move {
        let (stage, pooler) = stage(&lab, PgBouncerOptions::known_by(KnownBy::AuthQuery).session()).await?;
        let (a, b) = (&stage.pair.a, &stage.pair.b);
        let client = pooler.connect_as(&a.user, &a.password, "appdb").await?;
        let row = client
            .query_one("SELECT session_user::text, current_user::text", &[])
            .await?;
        assert_eq!((row.get(0), row.get(1)), (a.user.as_str(), "app_owner"));
        assert_eq!(clients(&pooler).await?, ["app_a"]);
        assert!(!pooler.show("SERVERS").await?.is_empty());

        stage
            .postgres
            .sql("postgres", "ALTER ROLE app_b PASSWORD 'another'")
            .await?;
        pooler.connect_as(&b.user, "another", "appdb").await?;
        assert!(pooler.connect_as(&b.user, &b.password, "appdb").await.is_err());
        drop(client);
        eventually("the clients to be gone", Duration::from_secs(10), async || {
            Ok(clients(&pooler).await?.is_empty().then_some(()))
        })
        .await
    });
}

#[test]
fn one_with_a_list_knows_the_old_password_until_the_list_is_changed_and_read_again() {
    run(|lab: Lab| async move {
        let (stage, pooler) = stage(&lab, PgBouncerOptions::known_by(KnownBy::Userlist)).await?;
        let a = &stage.pair.a;
        let held = pooler.connect_as(&a.user, &a.password, "appdb").await?;
        held.simple_query("SELECT 1").await?;
        stage
            .postgres
            .sql("postgres", "ALTER ROLE app_a PASSWORD 'another'")
            .await?;
        // It serves who knows the old password, by a connection that it has, and refuses who knows the new one.
        let late = pooler.connect_as(&a.user, &a.password, "appdb").await?;
        late.simple_query("SELECT 1").await?;
        assert!(
            stage
                .postgres
                .connect_as(&a.user, &a.password, "appdb")
                .await
                .is_err()
        );
        assert!(pooler.connect_as(&a.user, "another", "appdb").await.is_err());

        let kept = "SELECT rolpassword FROM pg_authid WHERE rolname = 'app_a'";
        let kept = stage
            .postgres
            .value("postgres", kept)
            .await?
            .context("no password")?;
        let list = stage.namespace.read_secret(USERLIST_SECRET).await?;
        let mut lines: Vec<_> = list["userlist.txt"]
            .lines()
            .filter(|line| !line.starts_with("\"app_a\""))
            .collect();
        let new = format!("\"app_a\" \"{kept}\"");
        lines.push(&new);
        let list = lines.join("\n") + "\n";
        stage
            .namespace
            .secret(USERLIST_SECRET, &[("userlist.txt", &list)])
            .await?;
        eventually("the new password to work", Duration::from_secs(30), async || {
            pooler.command("RELOAD").await?;
            pooler.connect_as(&a.user, "another", "appdb").await.map(Some)
        })
        .await?;
        assert!(pooler.connect_as(&a.user, &a.password, "appdb").await.is_err());
        Ok(())
    });
}
