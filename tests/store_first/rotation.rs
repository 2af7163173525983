//! One whole rotation: store, operator, Secret, pods, and nobody notices.

use anyhow::{Result, ensure};

use crate::place::{Place, STORED, Setup};

#[test]
fn a_rotation_goes_through_the_store_and_the_operator_and_nobody_notices() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "first", Setup::default()).await?;
        let app = place.app("app", 2).await?;
        for number in 1..=2 {
            let (before, revision) = (place.before().await?, place.revision("app").await?);
            let calls = place.aws.calls(STORED).len();
            let status = place.rotate().await?;
            place.rotated(&before, &[&app]).await?;
            ensure!(
                place.revision("app").await? == revision + 1,
                "the application was not restarted exactly once"
            );
            ensure!(
                status.last_rotation.map(|last| last.number) == Some(number),
                "this is rotation {number}"
            );
            for call in &place.aws.calls(STORED)[calls..] {
                eprintln!("{call:?}");
            }
        }
        Ok(())
    });
}
