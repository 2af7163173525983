//! Staging labels: `UpdateSecretVersionStage`, `ListSecretVersionIds`.

use super::Line;

const MOVE: &str = "API_UpdateSecretVersionStage";
const VERSIONS: &str =
    "https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version";
const LIST: &str = "API_ListSecretVersionIds";

pub(super) fn lines() -> Vec<Line> {
    [moved(), refused(), listed()].into_iter().flatten().collect()
}

fn moved() -> Vec<Line> {
    vec![
        line!(
            "AWSCURRENT moves, AWSPREVIOUS comes to where it was, other labels stay",
            MOVE,
            "ok 1:AWSPREVIOUS 2:AWSCURRENT+mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                let moved = place.move_stage("AWSCURRENT", Some(2), Some(1)).await;
                Ok(format!("{moved} {}", place.labels().await?))
            }
        ),
        line!(
            "AWSPREVIOUS leaves the version that had it",
            MOVE,
            "2:AWSPREVIOUS 3:AWSCURRENT+mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &[]).await;
                place.put(3, "three", &["mine"]).await;
                place.move_stage("AWSCURRENT", Some(3), Some(2)).await;
                place.labels().await
            }
        )
        .but_moto_says("1: 2:AWSPREVIOUS 3:AWSCURRENT+mine"),
        line!(
            "a move back exchanges the two",
            MOVE,
            "ok 1:AWSCURRENT 2:AWSPREVIOUS",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &[]).await;
                let back = place.move_stage("AWSCURRENT", Some(1), Some(2)).await;
                Ok(format!("{back} {}", place.labels().await?))
            }
        ),
        line!(
            "another label's move leaves AWSPREVIOUS alone",
            MOVE,
            "ok 1:AWSPREVIOUS+mine 2:AWSCURRENT 3:other",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &[]).await;
                place.put(3, "three", &["mine", "other"]).await;
                let moved = place.move_stage("mine", Some(1), Some(3)).await;
                Ok(format!("{moved} {}", place.labels().await?))
            }
        ),
        line!(
            "a label that no version has needs no version to be removed from",
            MOVE,
            "ok 1:AWSCURRENT+mine",
            |place| {
                place.create("one").await?;
                let added = place.move_stage("mine", Some(1), None).await;
                Ok(format!("{added} {}", place.labels().await?))
            }
        ),
        line!(
            "nor does a label that is there already",
            MOVE,
            "ok 1:AWSCURRENT",
            |place| {
                place.create("one").await?;
                let again = place.move_stage("AWSCURRENT", Some(1), None).await;
                Ok(format!("{again} {}", place.labels().await?))
            }
        )
        .but_moto_says("InvalidParameterException 1:AWSCURRENT"),
        line!("a label can be removed", MOVE, "ok 1:AWSCURRENT", |place| {
            place.create("one").await?;
            place.put(2, "two", &["mine"]).await;
            let removed = place.move_stage("mine", None, Some(2)).await;
            Ok(format!("{removed} {}", place.labels().await?))
        })
        .but_moto_says("ok 1:AWSCURRENT 2:"),
    ]
}

fn refused() -> Vec<Line> {
    vec![
        line!(
            "a label that is elsewhere needs to be removed from there",
            MOVE,
            "InvalidParameterException 1:AWSCURRENT 2:mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                let moved = place.move_stage("AWSCURRENT", Some(2), None).await;
                Ok(format!("{moved} {}", place.labels().await?))
            }
        ),
        line!(
            "and so does a label of one's own",
            MOVE,
            "InvalidParameterException 1:AWSCURRENT 2:mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                let moved = place.move_stage("mine", Some(1), None).await;
                Ok(format!("{moved} {}", place.labels().await?))
            }
        )
        .but_moto_says("ok 1:AWSCURRENT+mine 2:mine"),
        line!(
            "a move from where the label is not fails and moves nothing",
            MOVE,
            "InvalidParameterException 1:AWSPREVIOUS 2:AWSCURRENT 3:mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &[]).await;
                place.put(3, "three", &["mine"]).await;
                let moved = place.move_stage("AWSCURRENT", Some(3), Some(1)).await;
                Ok(format!("{moved} {}", place.labels().await?))
            }
        ),
        line!(
            "the same move a second time fails, for the label is there no more",
            MOVE,
            "InvalidParameterException 1:AWSPREVIOUS 2:AWSCURRENT+mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                place.move_stage("AWSCURRENT", Some(2), Some(1)).await;
                let again = place.move_stage("AWSCURRENT", Some(2), Some(1)).await;
                Ok(format!("{again} {}", place.labels().await?))
            }
        ),
        line!(
            "AWSCURRENT cannot be removed",
            VERSIONS,
            "InvalidParameterException 1:AWSCURRENT",
            |place| {
                place.create("one").await?;
                let removed = place.move_stage("AWSCURRENT", None, Some(1)).await;
                Ok(format!("{removed} {}", place.labels().await?))
            }
        )
        .but_moto_says("ok 1:AWSPREVIOUS"),
        line!(
            "there is no such version to move to",
            MOVE,
            "refused 1:AWSCURRENT",
            |place| {
                place.create("one").await?;
                // The page has two errors that it can be.
                let moved = match place.move_stage("AWSCURRENT", Some(9), Some(1)).await.as_str() {
                    "ResourceNotFoundException" | "InvalidParameterException" => "refused".to_owned(),
                    other => other.to_owned(),
                };
                Ok(format!("{moved} {}", place.labels().await?))
            }
        )
        .but_moto_says("refused 1:"),
        line!(
            "nor is a label removed without saying from where",
            MOVE,
            "InvalidParameterException",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                Ok(place.move_stage("mine", None, None).await)
            }
        )
        .but_moto_says("ok"),
    ]
}

fn listed() -> Vec<Line> {
    vec![
        line!(
            "versions without labels are listed when they are asked for",
            LIST,
            "2 3, 1 2 3",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &[]).await;
                place.put(3, "three", &[]).await;
                Ok(format!(
                    "{}, {}",
                    place.listed(false).await?,
                    place.listed(true).await?
                ))
            }
        )
        .but_moto_says("1 2 3, 1 2 3"),
        line!("a list comes in pages", LIST, "1:1 more, 1:2 no more", |place| {
            place.create("one").await?;
            place.put(2, "two", &["mine"]).await;
            let (mut pages, mut token) = (Vec::new(), None);
            for _ in 0..2 {
                let call = place.client.list_secret_version_ids().secret_id(&place.secret);
                let page = call.max_results(1).set_next_token(token).send().await?;
                token = page.next_token.clone().filter(|token| !token.is_empty());
                let more = if token.is_some() { "more" } else { "no more" };
                let ids: Vec<_> = page
                    .versions()
                    .iter()
                    .filter_map(|entry| entry.version_id())
                    .collect();
                pages.push(format!("{}:{} {more}", ids.len(), ids[0].trim_start_matches('0')));
            }
            Ok(pages.join(", "))
        })
        .but_moto_says("2:1 no more, 2:1 no more"),
        line!("and can still be read", LIST, "one", |place| {
            place.create("one").await?;
            place.put(2, "two", &[]).await;
            place.put(3, "three", &[]).await;
            Ok(place.read(Some(1), None).await)
        }),
    ]
}
