//! A secret's life: deletion, tags, policies, lists.

use anyhow::{Context as _, Result};
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};

use super::Line;
use crate::place::{Place, failure, outcome};

const CREATE: &str = "API_CreateSecret";
const DELETE: &str = "API_DeleteSecret";
const RESTORE: &str = "API_RestoreSecret";
const DESCRIBE: &str = "API_DescribeSecret";
const TAGS: &str = "API_TagResource";
const POLICY: &str = "API_PutResourcePolicy";
const LIST: &str = "API_ListSecrets";

pub(super) fn lines() -> Vec<Line> {
    [ended(), described()].into_iter().flatten().collect()
}

fn ended() -> Vec<Line> {
    vec![
        line!(
            "a secret that is to be deleted is neither read nor written",
            DELETE,
            "ok InvalidRequestException InvalidRequestException InvalidRequestException",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                let seen = [
                    place.delete(false).await,
                    place.read(None, None).await,
                    place.put(3, "three", &[]).await,
                    place.move_stage("AWSCURRENT", Some(2), Some(1)).await,
                ];
                Ok(seen.join(" "))
            }
        )
        .but_moto_says("ok InvalidRequestException ok InvalidParameterException"),
        line!(
            "but it is described, with the date",
            DESCRIBE,
            "no date, a date",
            |place| {
                place.create("one").await?;
                let before = deleted_date(&place).await?;
                place.delete(false).await;
                Ok(format!("{before}, {}", deleted_date(&place).await?))
            }
        ),
        line!(
            "its name is not free",
            CREATE,
            "InvalidRequestException",
            |place| {
                place.create("one").await?;
                place.delete(false).await;
                let again = place
                    .client
                    .create_secret()
                    .name(&place.secret)
                    .secret_string("two");
                Ok(outcome(again.send().await))
            }
        )
        .but_moto_says("ResourceExistsException"),
        line!(
            "restored, it is as it was",
            RESTORE,
            "one 1:AWSCURRENT no date",
            |place| {
                place.create("one").await?;
                place.delete(false).await;
                let restore = place.client.restore_secret().secret_id(&place.secret);
                restore.send().await.context("cannot restore")?;
                let (value, labels) = (place.read(None, None).await, place.labels().await?);
                Ok(format!("{value} {labels} {}", deleted_date(&place).await?))
            }
        ),
        line!(
            "deleted by force it is gone, and its name is free",
            DELETE,
            "ok ResourceNotFoundException one",
            |place| {
                place.create("one").await?;
                let deleted = place.delete(true).await;
                let read = place.read(None, None).await;
                place.create("one").await?;
                Ok(format!("{deleted} {read} {}", place.read(None, None).await))
            }
        ),
        line!(
            "what is not there can be deleted by force",
            DELETE,
            "ok ResourceNotFoundException",
            |place| {
                let forced = place.delete(true).await;
                Ok(format!("{forced} {}", place.delete(false).await))
            }
        ),
        line!(
            "the window has 7 to 30 days",
            DELETE,
            "InvalidParameterException InvalidParameterException",
            |place| {
                place.create("one").await?;
                let mut seen = Vec::new();
                for days in [6, 31] {
                    let call = place.client.delete_secret().secret_id(&place.secret);
                    seen.push(outcome(call.recovery_window_in_days(days).send().await));
                }
                Ok(seen.join(" "))
            }
        ),
    ]
}

fn described() -> Vec<Line> {
    vec![
        line!("tags come and go", TAGS, "a=1 b=2, b=3", |place| {
            place.create("one").await?;
            let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
            let tagging = place.client.tag_resource().secret_id(&place.secret);
            tagging.tags(tag("a", "1")).tags(tag("b", "2")).send().await?;
            let before = tags(&place).await?;
            let untagging = place.client.untag_resource().secret_id(&place.secret);
            untagging.tag_keys("a").send().await?;
            let tagging = place.client.tag_resource().secret_id(&place.secret);
            tagging.tags(tag("b", "3")).send().await?;
            Ok(format!("{before}, {}", tags(&place).await?))
        }),
        line!(
            "a policy comes and goes",
            POLICY,
            "none, the same, none",
            |place| {
                place.create("one").await?;
                let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}]}"#;
                let before = policy(&place, document).await?;
                let put = place.client.put_resource_policy().secret_id(&place.secret);
                put.resource_policy(document).send().await?;
                let between = policy(&place, document).await?;
                place
                    .client
                    .delete_resource_policy()
                    .secret_id(&place.secret)
                    .send()
                    .await?;
                Ok(format!(
                    "{before}, {between}, {}",
                    policy(&place, document).await?
                ))
            }
        ),
        line!(
            "a policy has to be one",
            POLICY,
            "MalformedPolicyDocumentException",
            |place| {
                place.create("one").await?;
                let put = place.client.put_resource_policy().secret_id(&place.secret);
                Ok(outcome(put.resource_policy("{").send().await))
            }
        )
        .but_moto_says("ok"),
        line!(
            "secrets are listed by how their names begin, but for those that are to be deleted",
            LIST,
            "found, not found",
            |place| {
                place.create("one").await?;
                let before = listed(&place).await;
                place.delete(false).await;
                Ok(format!("{before}, {}", listed(&place).await))
            }
        ),
    ]
}

async fn deleted_date(place: &Place) -> Result<&'static str> {
    let described = place
        .client
        .describe_secret()
        .secret_id(&place.secret)
        .send()
        .await;
    let date = described.context("cannot describe the secret")?.deleted_date;
    Ok(if date.is_some() { "a date" } else { "no date" })
}

async fn tags(place: &Place) -> Result<String> {
    let described = place
        .client
        .describe_secret()
        .secret_id(&place.secret)
        .send()
        .await?;
    let mut tags: Vec<_> = described
        .tags()
        .iter()
        .map(|tag| {
            format!(
                "{}={}",
                tag.key().unwrap_or_default(),
                tag.value().unwrap_or_default()
            )
        })
        .collect();
    tags.sort();
    Ok(tags.join(" "))
}

async fn policy(place: &Place, expected: &str) -> Result<&'static str> {
    let found = place
        .client
        .get_resource_policy()
        .secret_id(&place.secret)
        .send()
        .await?;
    Ok(match found.resource_policy() {
        None => "none",
        Some(found) if found == expected => "the same",
        Some(_) => "another",
    })
}

async fn listed(place: &Place) -> String {
    let filter = Filter::builder()
        .key(FilterNameStringType::Name)
        .values(&place.secret);
    match place.client.list_secrets().filters(filter.build()).send().await {
        Err(error) => failure(&error),
        Ok(list) if list.secret_list().is_empty() => "not found".to_owned(),
        Ok(_) => "found".to_owned(),
    }
}
