//! What a rotation costs: `cargo bench`. Figures are printed, never asserted; those that compare are of one run.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::items_after_statements,
    reason = "a benchmark prints, and fails by panicking"
)]

mod resident;
#[allow(
    dead_code,
    reason = "the scene of the cluster tests, of which a benchmark needs less"
)]
#[path = "../cluster/scene.rs"]
mod scene;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tandem::api::RotationPolicy;
use tandem::machine::{Facts, Journal, Loaded, decide};
use tandem::policy::Policy;
use tandem_lab::{ADMIN_SECRET, CA_CONFIG_MAP, Lab};

use resident::resident;
use scene::Scene;

const QUIET_FOR: Duration = Duration::from_secs(1);
const MANY: usize = 1_000;
const IDLE: Duration = Duration::from_mins(1);

fn main() {
    decisions();
    tandem_lab::run(|lab| async move {
        one_rotation(&lab).await?;
        many_policies(&lab).await
    });
}

fn decisions() {
    const ROUNDS: u32 = 200_000;
    let text = include_str!("../../deploy/examples/direct.yaml");
    let object: RotationPolicy = serde_saphyr::from_str(text).expect("the example is a policy");
    let policy = Policy::parse(&object).expect("the example means something");
    let journal = Loaded::Valid(Box::new(Journal::new(&policy.uid)));
    let (facts, now) = (Facts::default(), Timestamp::UNIX_EPOCH);
    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(decide(
            black_box(&policy),
            black_box(&journal),
            black_box(&facts),
            now,
        ));
    }
    let each = started.elapsed() / ROUNDS;
    println!(
        "decide: {} ns (profile: {})",
        each.as_nanos(),
        if cfg!(debug_assertions) { "dev" } else { "release" }
    );
}

async fn one_rotation(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, "cost", json!({})).await?;
    let app = scene.app("app", 3).await?;
    let (mut restarts, mut rotations) = (Duration::ZERO, Duration::ZERO);
    const ROUNDS: u32 = 3;
    for round in 1..=ROUNDS {
        let started = Instant::now();
        app.restart().await?;
        app.wait_until_ready().await?;
        restarts += started.elapsed();

        let audit = lab
            .audit()
            .from_here()?
            .service_account(scene.controller.namespace(), scene.controller.service_account());
        let started = Instant::now();
        scene.rotate().await?;
        rotations += started.elapsed();
        let writes: Vec<_> = audit
            .read()?
            .into_iter()
            .filter(|r| r.is_write() && r.resource != "leases")
            .collect();
        let status = writes
            .iter()
            .filter(|r| r.subresource.as_deref() == Some("status"))
            .count();
        let events = writes.iter().filter(|r| r.resource == "events").count();
        let asked = writes
            .iter()
            .filter(|r| r.resource.starts_with("selfsubject"))
            .count();
        println!(
            "rotation {round}: {} API writes of its own (journal, Secret, 1 consumer), {status} status patches, {events} Events, {asked} access reviews",
            writes.len() - status - events - asked
        );
    }
    let (restart, rotation) = (restarts / ROUNDS, rotations / ROUNDS);
    let added = rotation.saturating_sub(restart + QUIET_FOR);
    println!(
        "3 pods, mean of {ROUNDS}: rollout restart {restart:.1?}, rotation {rotation:.1?}, quiet time {QUIET_FOR:.1?}: adds {added:.1?}"
    );
    println!("resident memory with 1 policy: {} KiB", resident()?);
    Ok(())
}

async fn many_policies(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, "many", json!({})).await?;
    let roles = format!(
        "DO $$ BEGIN FOR i IN 1..{MANY} LOOP
           EXECUTE format('CREATE ROLE many_%s_a LOGIN PASSWORD ''many''', i);
           EXECUTE format('CREATE ROLE many_%s_b LOGIN', i);
         END LOOP; END $$"
    );
    scene.stage.postgres.sql("postgres", &roles).await?;
    let names: Vec<usize> = (1..=MANY).collect();
    let secrets: Api<Secret> = scene.stage.namespace.api();
    let policies: Vec<Value> = names.iter().map(|i| policy(&scene, *i)).collect();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "many"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch", "update"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "many"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "many"},
        "subjects": [{"kind": "ServiceAccount", "name": scene.controller.service_account(), "namespace": scene.controller.namespace()}],
    });
    for object in [role, binding] {
        lab.apply(Some(scene.namespace()), &object.to_string()).await?;
    }
    let (secrets, scene_policies) = (&secrets, &scene.policies);
    futures::stream::iter(&policies)
        .map(|policy| async move {
            let name = policy["metadata"]["name"].as_str().unwrap_or_default();
            let user = &policy["spec"]["users"][0];
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                "stringData": {"username": user, "password": "many"},
            });
            let params = PatchParams::apply("bench");
            secrets.patch(name, &params, &Patch::Apply(secret)).await?;
            scene_policies.patch(name, &params, &Patch::Apply(policy)).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await?;
    tandem_lab::eventually(
        "all policies to have been looked at",
        Duration::from_mins(10),
        async || {
            let all = scene.policies.list(&kube::api::ListParams::default()).await?;
            let seen = all
                .items
                .iter()
                .filter(|p| p.status.as_ref().is_some_and(|s| !s.conditions.is_empty()))
                .count();
            anyhow::ensure!(seen > MANY, "{seen} of {}", MANY + 1);
            Ok(Some(()))
        },
    )
    .await?;
    let all = scene.policies.list(&kube::api::ListParams::default()).await?;
    let ready = |p: &RotationPolicy| {
        p.status.as_ref().is_some_and(|s| {
            s.conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True")
        })
    };
    println!(
        "{} policies, {} of them ready",
        all.items.len(),
        all.items.iter().filter(|p| ready(p)).count()
    );
    println!(
        "resident memory with {} policies: {} KiB",
        all.items.len(),
        resident()?
    );
    let audit = lab
        .audit()
        .from_here()?
        .service_account(scene.controller.namespace(), scene.controller.service_account());
    tokio::time::sleep(IDLE).await;
    let requests = audit.read()?;
    let leases = requests.iter().filter(|r| r.resource == "leases").count();
    println!(
        "idle for {} s: {leases} requests for the lease, {} others",
        IDLE.as_secs(),
        requests.len() - leases
    );
    Ok(())
}

fn policy(scene: &Scene, i: usize) -> Value {
    json!({
        "apiVersion": "tandem.dev/v1alpha1", "kind": "RotationPolicy", "metadata": {"name": format!("many-{i}")},
        "spec": {
            "users": [format!("many_{i}_a"), format!("many_{i}_b")],
            "database": {
                "host": scene.stage.postgres.host(), "name": "appdb",
                "admin": {"secretRef": {"name": ADMIN_SECRET}},
                "tls": {"caRef": {"kind": "ConfigMap", "name": CA_CONFIG_MAP}},
            },
            "delivery": {"secret": {"name": format!("many-{i}")}},
        }
    })
}
