//! The Lease that decides which of several replicas works.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep};

use super::{FIELD_MANAGER, Program};

const NAME: &str = "stakater-reloader-lock";
const RETRY: Duration = Duration::from_secs(2);
const RENEW_WITHIN: Duration = Duration::from_secs(10);
const LASTS: Duration = Duration::from_secs(15);

/// Returns when this replica holds the Lease.
///
/// How long another's holds is counted from when it was last seen to change, since clocks differ. A leader that ends does
/// not give it back.
pub(super) async fn until_held(program: &Program) {
    let mut seen: Option<(Option<LeaseSpec>, Instant)> = None;
    loop {
        program.pass().await;
        match leases(program).get_opt(NAME).await {
            Ok(None) => {
                let lease = lease(program, None);
                if leases(program).create(&params(), &lease).await.is_ok() {
                    return;
                }
            }
            Ok(Some(found)) => {
                let since = match &seen {
                    Some((spec, since)) if *spec == found.spec => *since,
                    Some(_) | None => Instant::now(),
                };
                let (ours, over) = (is_ours(program, &found), since.elapsed() >= LASTS);
                seen = Some((found.spec.clone(), since));
                if (ours || over) && put(program, found).await {
                    return;
                }
            }
            Err(error) => program.log.say(&format!("cannot read the Lease {NAME}: {error}")),
        }
        sleep(RETRY).await;
    }
}

/// Renews the Lease, and returns when that has not succeeded for too long.
pub(super) async fn until_lost(program: &Program) {
    let mut renewed = Instant::now();
    while renewed.elapsed() < RENEW_WITHIN {
        sleep(RETRY).await;
        program.pass().await;
        let found = leases(program).get(NAME).await;
        let Some(found) = found.ok().filter(|found| is_ours(program, found)) else {
            continue;
        };
        if put(program, found).await {
            renewed = Instant::now();
        }
    }
}

async fn put(program: &Program, found: Lease) -> bool {
    let lease = lease(program, Some(found));
    leases(program).replace(NAME, &params(), &lease).await.is_ok()
}

/// The Lease as this replica would have it, over the one that was found.
fn lease(program: &Program, found: Option<Lease>) -> Lease {
    let held = found.as_ref().is_some_and(|found| is_ours(program, found));
    let mut lease = found.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let now = Some(MicroTime(Timestamp::now()));
    let old = lease.spec.take();
    let transitions = old.as_ref().and_then(|old| old.lease_transitions);
    lease.spec = Some(LeaseSpec {
        holder_identity: program.variable("POD_NAME").map(str::to_owned),
        lease_duration_seconds: Some(15),
        acquire_time: old
            .as_ref()
            .and_then(|old| old.acquire_time.clone())
            .filter(|_| held)
            .or_else(|| now.clone()),
        renew_time: now,
        lease_transitions: Some(match transitions {
            Some(transitions) if !held => transitions + 1,
            Some(transitions) => transitions,
            None => 0,
        }),
        ..LeaseSpec::default()
    });
    lease
}

fn is_ours(program: &Program, lease: &Lease) -> bool {
    let holder = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref());
    holder == program.variable("POD_NAME")
}

fn leases(program: &Program) -> Api<Lease> {
    Api::namespaced(
        program.client.clone(),
        program.variable("POD_NAMESPACE").unwrap_or_default(),
    )
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
