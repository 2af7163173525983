//! Pulse: what makes the machine turn. One leader watches the policies and takes a turn whenever one changes or is due.

pub mod leader;
mod reconcile;
mod retry;
pub mod turn;

use std::net::SocketAddr;
#[cfg(feature = "fault-injection")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use kube::runtime::controller::Config as Pace;
use kube::runtime::{Controller, Predicate as _, WatchStreamExt as _, predicates, reflector, watcher};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::RotationPolicy;
use crate::effects::live::Hands;
use crate::effects::places::{Limits, Places};
use crate::effects::store::Stores;
use crate::telemetry::http::{self, Readiness};
use crate::telemetry::metrics::Metrics;
use leader::Election;
use reconcile::{Context, on_error, reconcile};

/// How many policies have their turn at the same time; each is short.
const CONCURRENT: u16 = 32;
/// How long turns under way may take to stop after a signal.
const GRACE: Duration = Duration::from_secs(20);

/// What [`run`] needs to know.
#[derive(Debug)]
pub struct Settings {
    /// Namespace whose policies are watched; all when absent.
    pub namespace: Option<String>,
    /// Namespace of the lease.
    pub lease_namespace: String,
    /// Name of the lease.
    pub lease_name: String,
    /// Name of this replica.
    pub identity: String,
    /// How many rotations may be under way at once.
    pub limits: Limits,
    /// Where health and metrics are served.
    pub http_address: SocketAddr,
    /// See [`crate::effects::fault`].
    #[cfg(feature = "fault-injection")]
    pub fault_file: Option<PathBuf>,
}

/// Runs until a signal, or until the lease is lost: then the process ends and begins anew without any memory.
///
/// # Errors
/// When it cannot begin, or the lease was lost.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut config = Config::infer()
        .await
        .context("failed to find the API server; run in a cluster or set KUBECONFIG")?;
    // Retries beneath us would replay writes for minutes; the next turn looks first and then decides.
    config.default_retry = false;
    let client = Client::try_from(config).context("failed to make a client for the API server")?;
    let metrics = Arc::new(Metrics::default());
    let readiness = Readiness::default();
    #[expect(
        clippy::disallowed_methods,
        reason = "the one task besides the turns; it lives as long as the process"
    )]
    let server = tokio::spawn(http::serve(
        settings.http_address,
        readiness.clone(),
        Arc::clone(&metrics),
    ));
    let policies: Api<RotationPolicy> = match &settings.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.lease_namespace);
    let (mut election, leadership) = Election::new(leases, &settings.lease_name, &settings.identity);
    let stop = stop_signal()?;
    tokio::pin!(stop);

    let work = async {
        until_known(&policies).await;
        readiness.set(true);
        leadership.won().await;
        metrics.lead(true);
        tracing::info!(identity = settings.identity, "leading");
        let (reader, writer) = reflector::store();
        let changes = watcher(policies, watcher::Config::default())
            // Turns read the policy afresh; the copies here only say which are there and what they speak of.
            .modify(|policy| {
                policy.metadata.managed_fields = None;
                policy.status = None;
            })
            .default_backoff()
            .reflect(writer)
            .applied_objects()
            // Our own status patches are no news. Deletion changes the generation and, later, the finalizers.
            .predicate_filter(
                predicates::generation::<RotationPolicy>
                    .combine(predicates::annotations)
                    .combine(predicates::finalizers),
                kube::runtime::PredicateConfig::default(),
            );
        let (places, called) = Places::new(reader.clone(), settings.limits);
        let hands = Hands::new(
            &client,
            &settings.identity,
            leadership.clone(),
            places,
            Stores::from_environment(Arc::clone(&metrics)).await,
            Arc::clone(&metrics),
            #[cfg(feature = "fault-injection")]
            crate::effects::fault::Fault::new(settings.fault_file.clone()),
        );
        let context = Arc::new(Context::new(client.clone(), hands, Arc::clone(&metrics)));
        let ending = leadership.clone();
        Controller::for_stream(changes, reader)
            .reconcile_on(called)
            .with_config(Pace::default().concurrency(CONCURRENT))
            .graceful_shutdown_on(async move { ending.ended().await })
            .run(reconcile, on_error, context)
            .for_each(|_| std::future::ready(()))
            .await;
    };
    tokio::pin!(work);

    let result = tokio::select! {
        () = election.run() => Ok(()),
        ended = server => ended.context("the health server ended")?,
        () = &mut work => Err(anyhow::anyhow!("the lease was lost; ending, to begin anew without any memory")),
        () = &mut stop => {
            tracing::info!("stopping between two steps");
            leadership.stop();
            if leadership.leads() {
                // Turns end at their next write; what is under way is waited for.
                drop(tokio::time::timeout(GRACE, &mut work).await);
            }
            Ok(())
        }
    };
    leadership.stop();
    election.vacate().await;
    result
}

/// Waits until the API server lists policies: until then nothing can be done, and readiness says so.
async fn until_known(policies: &Api<RotationPolicy>) {
    while let Err(error) = policies.list(&ListParams::default().limit(1)).await {
        tracing::warn!(%error, "failed to list rotationpolicies.tandem.dev; is the CRD installed? tandem crd | kubectl apply -f -");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
