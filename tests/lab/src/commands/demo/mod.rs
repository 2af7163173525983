//! `lab demo`: what people do today, and the same with Tandem, counted.

mod delivery;
mod failover;
mod rotation;
mod today;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tandem_lab::{Consumer, ConsumerOptions, Lab, PostgresOptions, Tally};

use delivery::{Delivery, Route};
use rotation::{Doors, Rotation};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How the credential comes to the application
    #[arg(long, value_enum, default_value_t = Delivery::Secret)]
    delivery: Delivery,
    /// Lose the primary in the middle of a rotation, and nothing else
    #[arg(long, conflicts_with = "delivery")]
    failover: bool,
}

/// Logins of the application are watched for this long before and after each part, so that a count of zero failures
/// is a count of something.
const CALM: Duration = Duration::from_secs(2);

/// Runs the demo; says whether not a single login failed under Tandem.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let controller = tandem_lab::controller_binary()?;
    let (delivery, failover) = (arguments.delivery, arguments.failover);
    tandem_lab::within(async move |lab| {
        if failover {
            failover::play(&lab, &controller).await
        } else {
            play(&lab, &controller, delivery).await
        }
    })
}

/// What happened to the application's logins in one part of the demo.
struct Score {
    title: String,
    took: Duration,
    attempted: u64,
    failed: usize,
}

async fn play(lab: &Lab, controller: &Path, delivery: Delivery) -> Result<bool> {
    say(
        "Setting the stage: PostgreSQL 15 with two users, and an application of 3 pods that logs in all the time.",
    );
    let namespace = lab.namespace("demo").await?;
    let stage = namespace.stage(PostgresOptions::named("db")).await?;
    if delivery == Delivery::ExternalSecret {
        say("Before its Secret: AWS Secrets Manager, emulated, and the real External Secrets Operator.");
    }
    let route = delivery.set_up(lab, &stage).await?;
    let app = namespace
        .consumer(ConsumerOptions::of(&stage.postgres).replicas(3))
        .await?;
    let mut scores = Vec::new();

    say(match &route {
        Route::Direct => {
            "\nFirst as it is done today: one user. ALTER ROLE, patch the Secret, rollout restart."
        }
        Route::Stored(_) => {
            "\nFirst as it is done today: one user. ALTER ROLE, aws secretsmanager put-secret-value, wait for the operator's refreshInterval (15 s here, an hour by default), rollout restart."
        }
    });
    let today = scored("one user, by hand", &app, today::rotate(&stage, &route, &app)).await?;
    say(&format!(
        "  {} of {} logins failed.",
        today.1.failed, today.1.attempted
    ));
    scores.push(today.1);

    say("\nNow Tandem: two users that alternate. The controller runs as its shipped Deployment.");
    route.settle().await?;
    let tandem = rotation::install(lab, &stage, &Doors::of(&stage.postgres), &route, controller).await?;
    let mut rotations = Vec::new();
    for title in ["Tandem, first rotation", "Tandem, second rotation"] {
        say(&format!(
            "\n{title}: kubectl annotate rotpol app-db tandem.dev/rotate-now=…"
        ));
        let (rotation, score) = scored(title, &app, tandem.rotate(&stage, &route, &app)).await?;
        scores.push(score);
        rotations.push(rotation);
    }
    report(&rotations, &scores);
    Ok(scores.iter().skip(1).all(|score| score.failed == 0) && rotations.iter().all(Rotation::is_sound))
}

/// Counts the application's logins while something is done, and for a moment before and after.
async fn scored<T>(title: &str, app: &Consumer, work: impl Future<Output = Result<T>>) -> Result<(T, Score)> {
    let before = app.tally()?;
    tokio::time::sleep(CALM).await;
    let started = Instant::now();
    let result = work.await.with_context(|| title.to_owned())?;
    let took = started.elapsed();
    tokio::time::sleep(CALM).await;
    let after = app.tally()?;
    let score = Score {
        title: title.to_owned(),
        took,
        attempted: after.attempts - before.attempts,
        failed: failed(&after) - failed(&before),
    };
    Ok((result, score))
}

fn failed(tally: &Tally) -> usize {
    tally.failed_logins() + usize::try_from(tally.more_failures).unwrap_or(usize::MAX)
}

fn report(rotations: &[Rotation], scores: &[Score]) {
    say("\nphase            seconds until it held");
    for phase in rotation::PHASES {
        let times: Vec<_> = rotations
            .iter()
            .map(|rotation| {
                rotation
                    .reached(phase)
                    .map_or_else(|| "     -".to_owned(), |at| format!("{:6.1}", at.as_secs_f64()))
            })
            .collect();
        say(&format!("{phase:<16} {}", times.join("  ")));
    }
    say(&format!(
        "\n{:<26} {:>8} {:>16} {:>13}",
        "", "seconds", "logins attempted", "logins failed"
    ));
    for score in scores {
        let Score {
            title,
            took,
            attempted,
            failed,
        } = score;
        say(&format!(
            "{title:<26} {:>8.1} {attempted:>16} {failed:>13}",
            took.as_secs_f64()
        ));
    }
    say("");
    for (index, rotation) in rotations.iter().enumerate() {
        say(&format!(
            "rotation {}: {} API writes ({} of them status patches and Events){}; old password refused: {}",
            index + 1,
            rotation.writes,
            rotation.told,
            rotation
                .calls
                .map_or_else(String::new, |calls| format!(", {calls} calls to the store")),
            if rotation.old_refused { "yes" } else { "NO" }
        ));
    }
}

/// The demo speaks on standard output: it is what the command was called for.
#[expect(clippy::print_stdout, reason = "this is a program's output")]
fn say(text: &str) {
    println!("{text}");
}
