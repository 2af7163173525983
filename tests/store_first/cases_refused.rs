//! The compatibility cases that cannot converge: refused before anything is changed, and mended by the very commands
//! that the refusal names.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tandem_lab::{aws, eventually};

use crate::place::{Place, STORE, STORED, Setup, document};
use crate::scene::LIMIT;
use crate::still::Still;

/// A number, what is wrong with the `ExternalSecret`, the reason that the condition gives, and what else it says.
type Case = (&'static str, Value, &'static str, &'static [&'static str]);

#[test]
fn case02_case04_case07_what_never_refreshes_is_refused_and_the_commands_in_the_refusal_mend_it() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "frozen", Setup::default()).await?;
        let app = place.app("app", 1).await?;
        let cases: [Case; 3] = [
            (
                "2",
                json!({"spec": {"refreshInterval": "0s"}}),
                "ExternalSecretIntervalZero",
                &["refreshInterval 0", "never looks at the store again"],
            ),
            (
                "4",
                json!({"spec": {"refreshPolicy": "CreatedOnce"}}),
                "ExternalSecretCreatedOnce",
                &["CreatedOnce", "never looks at the store again"],
            ),
            (
                "7",
                // What mended the one before stays otherwise.
                json!({"spec": {"refreshPolicy": "Periodic", "target": {"immutable": true}}}),
                "ExternalSecretTargetImmutable",
                &["spec.target.immutable", "reports success"],
            ),
        ];
        for (number, change, reason, says) in cases {
            let case = || format!("case {number}");
            let (before, still) = (place.before().await?, Still::of(&place).await?);
            place.change_external_secret(change).await?;
            let nonce = place.ask().await?;
            let message = refused(&place, reason, says).await.with_context(case)?;
            place.unchanged(&before).await.with_context(case)?;
            still.holds(&place).await.with_context(case)?;
            for command in commands(&message) {
                place
                    .lab
                    .kubectl(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
            // The rotation that was asked for begins by itself.
            place.completed(&nonce).await.with_context(case)?;
            place.rotated(&before, &[&app]).await.with_context(case)?;
        }
        Ok(())
    });
}

#[test]
fn case13_case14_what_follows_another_version_or_another_secret_is_refused() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "elsewhere", Setup::default()).await?;
        // There is something at the stage before, and a secret of the name without its prefix.
        let same = || anyhow::Ok(aws::Value::Text(document(&place.stored()?)));
        place.aws.put(STORED, same()?)?;
        place.aws.create("credentials", same()?)?;
        let pinned = format!("uuid/{}", place.labelled("AWSCURRENT")?.id);
        let cases: [Case; 3] = [
            (
                "13, pinned",
                entries(STORED, &pinned),
                "ExternalSecretPinned",
                &[STORED, "uuid/", "will not follow", "remoteRef.version"],
            ),
            (
                "13, another stage",
                entries(STORED, "AWSPREVIOUS"),
                "ExternalSecretOtherStage",
                &["AWSPREVIOUS", "AWSCURRENT", "remoteRef.version"],
            ),
            (
                "14, another key",
                entries("credentials", "AWSCURRENT"),
                "ExternalSecretElsewhere",
                &[STORED, "\"credentials\"", STORE],
            ),
        ];
        let (before, still) = (place.before().await?, Still::of(&place).await?);
        for (number, change, reason, says) in cases {
            let case = || format!("case {number}");
            place.change_external_secret(change).await?;
            place.ask().await?;
            let message = refused(&place, reason, says).await.with_context(case)?;
            ensure!(
                message.contains("kubectl -n"),
                "{} names no command: {message}",
                case()
            );
            place.unchanged(&before).await.with_context(case)?;
            still.holds(&place).await.with_context(case)?;
        }
        Ok(())
    });
}

fn entries(key: &str, version: &str) -> Value {
    let entries = ["username", "password"].map(
        |name| json!({"secretKey": name, "remoteRef": {"key": key, "property": name, "version": version}}),
    );
    json!({"spec": {"data": entries}})
}

/// Waits for this refusal, with no rotation begun, and returns what it says. What may follow from the same cause comes
/// after it, each on a line of its own.
async fn refused(place: &Place, reason: &str, says: &[&str]) -> Result<String> {
    let message = eventually(format!("the reason {reason}"), LIMIT, async || {
        let status = place.status().await?;
        ensure!(status.rotation.is_none(), "a rotation has begun");
        let preflight = status.conditions.into_iter().find(|c| c.type_ == "Preflight");
        let preflight = preflight.context("no condition Preflight")?;
        ensure!(
            preflight.status == "False" && preflight.reason == reason,
            "{}: {}",
            preflight.reason,
            preflight.message
        );
        Ok(preflight.message.lines().next().map(str::to_owned))
    })
    .await?;
    for part in says {
        ensure!(message.contains(part), "it does not say {part}: {message}");
    }
    Ok(message)
}

/// The commands in a message, without `kubectl`, word by word as a shell takes them.
fn commands(message: &str) -> Vec<Vec<String>> {
    let commands = message.split("kubectl ").skip(1);
    commands
        .map(|text| {
            let (mut words, mut quoted) = (vec![String::new()], false);
            for letter in text.chars() {
                match letter {
                    '\'' => quoted = !quoted,
                    ';' if !quoted => break,
                    ' ' if !quoted => words.push(String::new()),
                    _ => words
                        .iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|word| word.push(letter)),
                }
            }
            words
        })
        .collect()
}
