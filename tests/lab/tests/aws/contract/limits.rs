//! Limits: sizes, lengths and numbers.

use super::Line;
use crate::place::outcome;

const PUT: &str = "API_PutSecretValue";
const LIMITS: &str = "https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html";
const YOUNG: &str = "its versions have no age";

pub(super) fn lines() -> Vec<Line> {
    vec![
        line!(
            "a value has up to 65536 bytes, in either form",
            PUT,
            "ok ValidationException ok ValidationException",
            |place| {
                place.create("one").await?;
                let (largest, larger) = ("x".repeat(65_536), "x".repeat(65_537));
                let seen = [
                    place.put(2, &largest, &[]).await,
                    place.put(3, &larger, &[]).await,
                    place.put_binary(4, largest.as_bytes()).await,
                    place.put_binary(5, larger.as_bytes()).await,
                ];
                Ok(seen.join(" "))
            }
        )
        .but_moto_says("ok ok ok ok"),
        line!(
            "a token has 32 to 64 characters",
            PUT,
            "refused ok ok refused",
            |place| {
                place.create("one").await?;
                let mut seen = Vec::new();
                for length in [31, 32, 64, 65] {
                    let call = place.client.put_secret_value().secret_id(&place.secret);
                    let call = call.client_request_token("t".repeat(length)).secret_string("two");
                    // The page gives the lengths and not the error: there are two that it can be.
                    seen.push(match outcome(call.send().await).as_str() {
                        "ValidationException" | "InvalidParameterException" => "refused".to_owned(),
                        other => other.to_owned(),
                    });
                }
                Ok(seen.join(" "))
            }
        ),
        line!(
            "a secret has up to 20 labels",
            LIMITS,
            "ok LimitExceededException LimitExceededException",
            |place| {
                place.create("one").await?;
                let labels: Vec<_> = (1..=19).map(|number| format!("label-{number}")).collect();
                let labels: Vec<_> = labels.iter().map(String::as_str).collect();
                let seen = [
                    place.put(2, "two", &labels).await,
                    place.put(3, "three", &["one-more"]).await,
                    place.move_stage("one-more", Some(1), None).await,
                ];
                Ok(seen.join(" "))
            }
        )
        .but_moto_says("ok ok ok"),
        line!(
            "a secret has up to 100 versions of one day",
            LIMITS,
            "99 LimitExceededException, again ok",
            |place| {
                place.create("one").await?;
                let mut done = 0;
                for number in 2..=100 {
                    done += usize::from(place.put(number, "next", &[]).await == "ok");
                }
                let refused = place.put(101, "one too many", &[]).await;
                let again = place.put(100, "next", &[]).await;
                Ok(format!("{done} {refused}, again {again}"))
            }
        )
        .but_moto_says("99 ok, again ok"),
        line!(
            "older ones without labels make room, and those with labels never do",
            LIMITS,
            "ok 2:mine 100:AWSPREVIOUS 101:AWSCURRENT, 1 gone",
            |place, aws| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                for number in 3..=100 {
                    place.put(number, "next", &[]).await;
                }
                aws.age(&place.secret, std::time::Duration::from_hours(25))?;
                let put = place.put(101, "not too many", &[]).await;
                let gone = place.read(Some(1), None).await == "ResourceNotFoundException";
                Ok(format!(
                    "{put} {}, {} gone",
                    place.labels().await?,
                    u8::from(gone)
                ))
            }
        )
        .not_for_moto(YOUNG),
    ]
}
