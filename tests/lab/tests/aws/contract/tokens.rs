//! Tokens: what `PutSecretValue` does when it is called again.

use super::Line;

const PUT: &str = "API_PutSecretValue";

pub(super) fn lines() -> Vec<Line> {
    vec![
        line!(
            "the same put again is ignored",
            PUT,
            "ok 1:AWSCURRENT 2:mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                let again = place.put(2, "two", &["mine"]).await;
                Ok(format!("{again} {}", place.labels().await?))
            }
        ),
        line!(
            "the same put again is ignored after its version has become current",
            PUT,
            "ok 1:AWSPREVIOUS 2:AWSCURRENT+mine",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                place.move_stage("AWSCURRENT", Some(2), Some(1)).await;
                let again = place.put(2, "two", &["mine"]).await;
                Ok(format!("{again} {}", place.labels().await?))
            }
        ),
        line!(
            "another value cannot have the token of a version",
            PUT,
            "ResourceExistsException two",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                let again = place.put(2, "other", &["mine"]).await;
                Ok(format!("{again} {}", place.read(Some(2), None).await))
            }
        ),
        line!(
            "nor that of a pending version",
            PUT,
            "ResourceExistsException two",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["AWSPENDING"]).await;
                let again = place.put(2, "other", &["AWSPENDING"]).await;
                Ok(format!("{again} {}", place.read(Some(2), None).await))
            }
        )
        .but_moto_says("ok other"),
        line!(
            "nor the same bytes as text",
            PUT,
            "ResourceExistsException two",
            |place| {
                place.create("one").await?;
                place.put(2, "two", &["mine"]).await;
                let again = place.put_binary(2, b"two").await;
                Ok(format!("{again} {}", place.read(Some(2), None).await))
            }
        ),
    ]
}
