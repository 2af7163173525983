//! The primary is lost in the middle of a rotation.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tandem_lab::{ConsumerOptions, Lab, Servers};

use super::delivery::Route;
use super::rotation::{self, Doors};
use super::{CALM, failed, say};

/// Plays it; says whether no password was refused but the old one.
pub(super) async fn play(lab: &Lab, controller: &Path) -> Result<bool> {
    say(
        "Setting the stage: PostgreSQL 15 with a standby, the name db-rw that leads to the primary and db-ro that leads to the standby, and an application of 3 pods that logs in at db-rw all the time.",
    );
    let namespace = lab.namespace("demo").await?;
    let stage = namespace.stage(Servers::options(&namespace)).await?;
    let mut servers = Servers::of(&stage).await?;
    let options = ConsumerOptions {
        host: servers.writer(),
        ..ConsumerOptions::of(&stage.postgres).replicas(3)
    };
    let app = namespace.consumer(options).await?;
    say("The controller runs as its shipped Deployment; the standby is named among the policy's endpoints.");
    let doors = Doors {
        host: servers.writer(),
        endpoints: json!([{"name": "reader", "role": "Replica", "host": servers.reader()}]),
    };
    let route = Route::Direct;
    let tandem = rotation::install(lab, &stage, &doors, &route, controller).await?;

    let before = app.tally()?;
    tokio::time::sleep(CALM).await;
    say("\nA rotation, and in the middle of it the primary is evicted:");
    let (mut rotation, without) = tokio::try_join!(tandem.watch(&stage, &route, &app), async {
        tandem.reached("Restarted").await?;
        lose_primary(&mut servers).await
    })?;
    rotation.try_old(servers.primary(), &stage.pair.database).await;
    tokio::time::sleep(CALM).await;

    let after = app.tally()?;
    let refused = after.refused_logins() - before.refused_logins();
    let (attempted, failed) = (after.attempts - before.attempts, failed(&after) - failed(&before));
    say(&format!(
        "\n{attempted} logins attempted: {} found no server in the {:.1} s without one, {refused} were refused for their password",
        failed - refused,
        without.as_secs_f64(),
    ));
    say(&format!(
        "old password refused by {}, which leads now: {}",
        servers.primary().name(),
        if rotation.old_refused { "yes" } else { "NO" }
    ));
    Ok(refused == 0 && rotation.is_sound())
}

/// How long there was no primary.
async fn lose_primary(servers: &mut Servers) -> Result<Duration> {
    let (lost, started) = (servers.primary().name().to_owned(), Instant::now());
    say(&format!("  -- {lost} is evicted"));
    servers.fail_over().await?;
    let without = started.elapsed();
    let leads = servers.primary().name().to_owned();
    say(&format!("  -- {leads} is promoted, and db-rw leads to it"));
    servers.replenish().await?;
    let follows = servers.standby()?.name();
    say(&format!(
        "  -- {follows} is a fresh copy of it, and db-ro leads to that"
    ));
    Ok(without)
}
