//! Three who look at one Secret: the External Secrets Operator, which writes it, Reloader, and Tandem.

use anyhow::Result;
use tandem_lab::ReloaderOptions;

use crate::beside::{Beside, Mark, NAMED};
use crate::place::{Place, Setup};

#[test]
fn case18_what_the_operator_writes_is_one_change_to_reloader_and_one_rollout_of_each_consumer() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "operator", Setup::default()).await?;
        // Both go on for as long as these two are kept.
        let Place {
            scene, aws, mut eso, ..
        } = place;
        let beside = Beside::of(scene, ReloaderOptions::default()).await?;
        let web = beside.annotated("web", &[(NAMED, "db-credentials")]).await?;
        let plain = beside.annotated("plain", &[]).await?;
        let marks = [(&web, Mark::Variable), (&plain, Mark::Own)];
        let before = beside.start(&marks).await?;
        let nonce = beside.ask().await?;
        beside.completed(&nonce).await?;
        beside.ended(&before, &marks).await?;
        // Also not when the operator looks again, and writes what is there.
        eso.annotate("db-credentials", "again").await?;
        beside.stays(&before, &marks).await?;
        eso.stop().await?;
        drop(aws);
        Result::Ok(())
    });
}
