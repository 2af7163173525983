//! Values: `CreateSecret`, `GetSecretValue`, `PutSecretValue`, `UpdateSecret`, `BatchGetSecretValue`.

use anyhow::Context as _;
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};

use super::Line;
use crate::place::{failure, outcome, version};

const CREATE: &str = "API_CreateSecret";
const GET: &str = "API_GetSecretValue";
const PUT: &str = "API_PutSecretValue";
const UPDATE: &str = "API_UpdateSecret";
const BATCH: &str = "API_BatchGetSecretValue";

pub(super) fn lines() -> Vec<Line> {
    [made(), read(), put(), others()].into_iter().flatten().collect()
}

fn made() -> Vec<Line> {
    vec![
        line!(
            "a new secret's version is current",
            CREATE,
            "1:AWSCURRENT",
            |place| {
                place.create("one").await?;
                place.labels().await
            }
        ),
        line!("a name is taken", CREATE, "ResourceExistsException", |place| {
            place.create("one").await?;
            let again = place.client.create_secret().name(&place.secret);
            let again = again.client_request_token(version(2)).secret_string("one");
            Ok(outcome(again.send().await))
        }),
        line!(
            "the same creation again is no error",
            CREATE,
            "1:AWSCURRENT one",
            |place| {
                place.create("one").await?;
                place.create("one").await?;
                Ok(format!(
                    "{} {}",
                    place.labels().await?,
                    place.read(None, None).await
                ))
            }
        ),
        line!(
            "another creation with the same token is one",
            CREATE,
            "ResourceExistsException one",
            |place| {
                place.create("one").await?;
                let again = place.client.create_secret().name(&place.secret);
                let again = again.client_request_token(version(1)).secret_string("other");
                let again = outcome(again.send().await);
                Ok(format!("{again} {}", place.read(None, None).await))
            }
        ),
        line!(
            "a secret without a value has nothing to read",
            GET,
            "ResourceNotFoundException",
            |place| {
                let empty = place.client.create_secret().name(&place.secret);
                empty.send().await.context("cannot create the secret")?;
                Ok(place.read(None, None).await)
            }
        ),
    ]
}

fn read() -> Vec<Line> {
    vec![
        line!(
            "the version before can be read by its label, once there is one",
            GET,
            "ResourceNotFoundException one",
            |place| {
                place.create("one").await?;
                let before = place.read(None, Some("AWSPREVIOUS")).await;
                place.put(2, "two", &[]).await;
                Ok(format!(
                    "{before} {}",
                    place.read(None, Some("AWSPREVIOUS")).await
                ))
            }
        ),
        line!(
            "what is read is the current version, a label's or a version's own",
            GET,
            "one two two two",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                let seen = [
                    place.read(None, None).await,
                    place.read(None, Some("mine")).await,
                    place.read(Some(2), None).await,
                    place.read(Some(2), Some("mine")).await,
                ];
                Ok(seen.join(" "))
            }
        ),
        line!(
            "version and label have to be of one version",
            GET,
            "InvalidRequestException",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                Ok(place.read(Some(1), Some("mine")).await)
            }
        ),
        line!(
            "no such label, version or secret",
            GET,
            "ResourceNotFoundException ResourceNotFoundException ResourceNotFoundException",
            |place| {
                place.create("one").await?;
                let seen = [
                    place.read(None, Some("nobodys")).await,
                    place.read(Some(9), None).await,
                    place.read_by("nobodys", None, None).await,
                ];
                Ok(seen.join(" "))
            }
        ),
        line!(
            "an ARN will do, whole or without its end",
            GET,
            "one one",
            |place| {
                place.create("one").await?;
                let described = place
                    .client
                    .describe_secret()
                    .secret_id(&place.secret)
                    .send()
                    .await?;
                let arn = described.arn().context("no ARN")?;
                let partial = arn.rsplit_once('-').context("no end")?.0;
                let whole = place.read_by(arn, None, None).await;
                Ok(format!("{whole} {}", place.read_by(partial, None, None).await))
            }
        ),
        line!("bytes come as bytes", GET, "one binary [0, 255]", |place| {
            place.create("one").await?;
            let text = place.read(None, None).await;
            place.put_binary(2, &[0, 255]).await;
            Ok(format!("{text} {}", place.read(None, None).await))
        }),
        line!(
            "a get without a label, after a move, reads what is current now",
            GET,
            "two",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                place.move_stage("AWSCURRENT", Some(2), Some(1)).await;
                Ok(place.read(None, None).await)
            }
        )
        .but_moto_says("one"),
    ]
}

fn put() -> Vec<Line> {
    vec![
        line!(
            "a put without labels is current, and the one before is previous",
            PUT,
            "ok 1:AWSPREVIOUS 2:AWSCURRENT",
            |place| {
                place.create("one").await?;
                let put = place.put(2, "two", &[]).await;
                Ok(format!("{put} {}", place.labels().await?))
            }
        ),
        line!(
            "a put with a label of its own leaves the current version",
            PUT,
            "1:AWSCURRENT 2:mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                place.labels().await
            }
        ),
        line!(
            "a label that is put elsewhere leaves where it was",
            PUT,
            "1:AWSCURRENT 2:b 3:a",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["a", "b"]).await;
                place.put(3, "three", &["a"]).await;
                place.labels().await
            }
        ),
        line!(
            "a put that names AWSCURRENT moves AWSPREVIOUS too",
            PUT,
            "1:AWSPREVIOUS 2:AWSCURRENT+mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["AWSCURRENT", "mine"]).await;
                place.labels().await
            }
        ),
        line!(
            "a put after a move leaves AWSCURRENT on one version",
            PUT,
            "2:AWSPREVIOUS+mine 3:AWSCURRENT",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                place.move_stage("AWSCURRENT", Some(2), Some(1)).await;
                place.put(3, "three", &[]).await;
                place.labels().await
            }
        )
        .but_moto_says("1:AWSPREVIOUS 2:AWSCURRENT+mine 3:AWSCURRENT"),
        line!(
            "the first version is current, whatever it is called",
            PUT,
            "1:AWSCURRENT+mine",
            |place| {
                let empty = place.client.create_secret().name(&place.secret);
                empty.send().await.context("cannot create the secret")?;
                place.put(1, "one", &["mine"]).await;
                place.labels().await
            }
        ),
        line!(
            "there is nothing to put into",
            PUT,
            "ResourceNotFoundException",
            |place| { Ok(place.put(1, "one", &[]).await) }
        ),
        line!(
            "a put is text or bytes, not both and not neither",
            PUT,
            "refused refused",
            |place| {
                place.create("one").await?;
                let call = || place.client.put_secret_value().secret_id(&place.secret);
                let both = call().secret_string("two").secret_binary(Blob::new("two"));
                let refused = |outcome: String| match outcome.as_str() {
                    "InvalidParameterException" | "InvalidRequestException" => "refused".to_owned(),
                    _ => outcome,
                };
                let both = refused(outcome(both.send().await));
                Ok(format!("{both} {}", refused(outcome(call().send().await))))
            }
        )
        .but_moto_says("ok refused"),
    ]
}

fn others() -> Vec<Line> {
    vec![
        line!(
            "an update is current at once",
            UPDATE,
            "1:AWSPREVIOUS 2:AWSCURRENT",
            |place| {
                place.create("one").await?;
                let update = place.client.update_secret().secret_id(&place.secret);
                let update = update.client_request_token(version(2)).secret_string("two");
                update.send().await.context("cannot update")?;
                place.labels().await
            }
        ),
        line!(
            "an update wants a token of its own",
            UPDATE,
            "ResourceExistsException",
            |place| {
                place.create("one").await?;
                let update = place.client.update_secret().secret_id(&place.secret);
                let update = update.client_request_token(version(1)).secret_string("one");
                Ok(outcome(update.send().await))
            }
        )
        .but_moto_says("ok"),
        line!(
            "a batch tells what it could not read beside what it could",
            BATCH,
            "one nobodys:ResourceNotFoundException",
            |place| {
                place.create("one").await?;
                let batch = place.client.batch_get_secret_value();
                let batch = batch
                    .secret_id_list(&place.secret)
                    .secret_id_list("nobodys")
                    .send();
                let batch = batch.await?;
                let values = batch
                    .secret_values()
                    .iter()
                    .filter_map(|entry| entry.secret_string());
                let errors = batch.errors().iter().map(|error| {
                    format!(
                        "{}:{}",
                        error.secret_id().unwrap_or_default(),
                        error.error_code().unwrap_or_default()
                    )
                });
                let seen: Vec<_> = values.map(str::to_owned).chain(errors).collect();
                Ok(seen.join(" "))
            }
        ),
        line!(
            "a batch reads what its filters let through",
            BATCH,
            "one",
            |place| {
                place.create("one").await?;
                let filter = Filter::builder()
                    .key(FilterNameStringType::Name)
                    .values(&place.secret);
                let batch = place.client.batch_get_secret_value().filters(filter.build());
                let batch = batch.send().await?;
                let values = batch
                    .secret_values()
                    .iter()
                    .filter_map(|entry| entry.secret_string());
                Ok(values.collect::<Vec<_>>().join(" "))
            }
        ),
        line!(
            "a batch wants ids or filters",
            BATCH,
            "InvalidParameterException",
            |place| {
                let batch = place.client.batch_get_secret_value().send().await;
                Ok(batch.map_or_else(|error| failure(&error), |_| "ok".to_owned()))
            }
        )
        .but_moto_says("ok"),
    ]
}
