//! The controller as it is shipped, in the lab.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use anyhow::Result;
use tandem_lab::{ControllerOptions, Lab, eventually, run};

/// The one that `cargo test` has built for the whole workspace, or else one of our own.
fn binary() -> std::path::PathBuf {
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("tandem");
    if built.exists() {
        built
    } else {
        tandem_lab::controller_binary().unwrap()
    }
}

#[test]
fn a_killed_leader_is_replaced() {
    run(|lab: Lab| async move {
        let namespace = lab.namespace("watched").await?;
        let options = ControllerOptions::watching(namespace.name()).replicas(2);
        let controller = lab.controller(&binary(), options).await?;
        let leader = eventually("a leader", Duration::from_secs(30), async || {
            controller.leader().await
        })
        .await?;
        assert_eq!(controller.kill_leader().await?, leader);
        let next = eventually("another leader", Duration::from_mins(1), async || {
            Ok(controller.leader().await?.filter(|next| *next != leader))
        });
        next.await?;
        controller.wait_until_available().await?;
        let logs: Result<String> = controller.logs();
        assert!(!logs?.is_empty());
        assert!(controller.metrics().await?.contains("# TYPE"));
        assert_eq!(controller.restarts().await?, 0);
        Ok(())
    });
}
