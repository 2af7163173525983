//! Status and Events on a real API server.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use tandem::api::RotationPolicy;
use tandem::api::condition::condition;
use tandem::api::status::{ConsumerStatus, RotationPolicyStatus, RotationStatus};
use tandem::effects::Error;
use tandem::machine::project::{Notice, Projection};
use tandem_lab::{eventually, run};

use crate::scene::Scene;

fn notice(reason: &'static str, note: &str, warning: bool) -> Notice {
    Notice {
        reason,
        note: note.to_owned(),
        warning,
    }
}

fn busy() -> RotationPolicyStatus {
    let now: Timestamp = "2026-11-20T03:00:00Z".parse().unwrap();
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
    let consumer = |name: &str| ConsumerStatus {
        kind: "Deployment".into(),
        name: name.into(),
        restarted_by: None,
        old_pods: 1,
        ready: 0,
    };
    RotationPolicyStatus {
        active_user: Some("app_a".into()),
        rotation: Some(RotationStatus {
            number: 1,
            trigger: "RotateNow".into(),
            phase: "Staged".into(),
            mode: None,
            undoing: None,
            started_at: time,
            message: "waiting".into(),
        }),
        consumers: vec![consumer("a"), consumer("b")],
        conditions: vec![
            condition("Ready", false, "Rotating", "going on", 1, now),
            condition("Odd", true, "Odd", "", 1, now),
        ],
        ..RotationPolicyStatus::default()
    }
}

#[test]
fn a_status_is_replaced_whole_and_what_vanished_is_gone() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let policies: Api<RotationPolicy> = scene.namespace.api();
        let projection = Projection {
            status: busy(),
            notices: Vec::new(),
        };
        scene
            .cluster
            .publish(&scene.object, &projection, "tandem-0")
            .await?;
        let shown = policies.get("app").await?;
        assert_eq!(shown.status, Some(busy()));

        let mut calm = RotationPolicyStatus {
            active_user: Some("app_b".into()),
            ..RotationPolicyStatus::default()
        };
        calm.conditions = vec![condition("Ready", true, "Idle", "", 1, Timestamp::UNIX_EPOCH)];
        scene
            .cluster
            .publish(
                &shown,
                &Projection {
                    status: calm.clone(),
                    notices: Vec::new(),
                },
                "tandem-0",
            )
            .await?;
        assert_eq!(policies.get("app").await?.status, Some(calm));
        Ok(())
    });
}

#[test]
fn fm10_a_former_leader_shows_nothing_and_tells_nothing() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let policies: Api<RotationPolicy> = scene.namespace.api();
        let annotate = Patch::Merge(json!({"metadata": {"annotations": {"tandem.dev/rotate-now": "x"}}}));
        policies.patch("app", &PatchParams::default(), &annotate).await?;
        let projection = Projection {
            status: busy(),
            notices: vec![notice("StandbyVerified", "late", false)],
        };
        let outcome = scene
            .cluster
            .publish(&scene.object, &projection, "tandem-0")
            .await;
        assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
        assert_eq!(policies.get("app").await?.status, None);
        let events: Api<Event> = scene.namespace.api();
        assert!(events.list(&ListParams::default()).await?.items.is_empty());

        // Nor does it bring a deleted policy back.
        policies.delete("app", &DeleteParams::default()).await?;
        assert!(
            scene
                .cluster
                .publish(&scene.object, &projection, "tandem-0")
                .await
                .is_err()
        );
        assert!(policies.get_opt("app").await?.is_none());
        Ok(())
    });
}

#[test]
fn every_notice_is_an_event_of_its_own_however_soon_the_next_rotation_comes() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let long = format!("rotation 2: {}", "ä".repeat(2000));
        let notices = [
            notice("StandbyVerified", "rotation 1: done", false),
            notice("StandbyVerified", &long, false),
            notice("DrainOverdue", "look", true),
        ];
        scene.cluster.tell(&scene.object, &notices, "tandem-0").await;
        let events: Api<Event> = scene.namespace.api();
        let mut found = eventually("three Events", Duration::from_secs(10), async || {
            let found = events.list(&ListParams::default()).await?.items;
            anyhow::ensure!(found.len() == 3, "{} Events", found.len());
            Ok(Some(found))
        })
        .await?;
        found.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
        let notes: Vec<_> = found
            .iter()
            .map(|event| event.note.clone().unwrap_or_default())
            .collect();
        assert_eq!(notes[0], "rotation 1: done");
        assert!(notes[1].starts_with("rotation 2: ä") && notes[1].ends_with('…') && notes[1].len() <= 1024);
        assert_eq!(found[2].type_.as_deref(), Some("Warning"));
        let regarding = found[0].regarding.clone().context("it is about the policy")?;
        assert_eq!(
            (regarding.kind.as_deref(), regarding.uid.as_deref()),
            (Some("RotationPolicy"), Some(scene.policy.uid.as_str()))
        );
        let told = lab.kubectl(&["-n", scene.namespace.name(), "describe", "rotpol", "app"])?;
        assert!(told.contains("rotation 1: done"), "{told}");
        Ok(())
    });
}
