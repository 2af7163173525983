//! One leader by Lease. What the election finds is published as [`Leadership`].

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::effects::ambient::Ambient;
use crate::effects::leadership::Leadership;

/// How long a lease is valid after its last renewal.
const VALID: Duration = Duration::from_secs(15);
/// How often the leader renews it and the others look at it.
const RENEW: Duration = Duration::from_secs(5);
/// No single call may use up the time that is left for another try.
const CALL: Duration = Duration::from_secs(4);

/// Takes part in the election for one lease.
pub struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    until: watch::Sender<Option<Instant>>,
    /// The lease as it was when it last changed, and when that was by our own clock: another's clock is not trusted.
    seen: Option<(Lease, Instant)>,
}

impl Election {
    /// An election for the lease of this name, which exists already (the manifests bring it).
    #[must_use]
    pub fn new(leases: Api<Lease>, name: &str, identity: &str) -> (Self, Leadership) {
        let (until, receiver) = watch::channel(None);
        let election = Self {
            leases,
            name: name.to_owned(),
            identity: identity.to_owned(),
            until,
            seen: None,
        };
        (election, Leadership::new(receiver))
    }

    /// Wins, renews, and tries again, for ever.
    pub async fn run(&mut self) {
        loop {
            if let Err(error) = self.turn().await {
                tracing::warn!(lease = self.name, %error, "failed to win or renew the lease");
            }
            sleep(RENEW).await;
        }
    }

    /// Gives the lease up, so that another replica need not wait for it to run out.
    pub async fn vacate(&mut self) {
        let Some((lease, _)) = self.seen.take() else {
            return;
        };
        if holder(&lease) != Some(&self.identity) {
            return;
        }
        self.until.send_replace(None);
        let spec = LeaseSpec {
            holder_identity: None,
            renew_time: None,
            ..lease.spec.clone().unwrap_or_default()
        };
        if let Err(error) = self
            .replace(Lease {
                spec: Some(spec),
                ..lease
            })
            .await
        {
            tracing::warn!(lease = self.name, %error, "failed to give the lease up; it runs out by itself");
        }
    }

    async fn turn(&mut self) -> Result<(), kube::Error> {
        let lease = match &self.seen {
            // Our own lease needs no look: the guard of the write tells when somebody took it.
            Some((lease, _)) if holder(lease) == Some(&self.identity) => lease.clone(),
            Some(_) | None => {
                let lease = within(self.leases.get(&self.name)).await?;
                let changed = self.seen.as_ref().is_none_or(|(seen, _)| {
                    seen.metadata.resource_version != lease.metadata.resource_version
                });
                if changed {
                    self.seen = Some((lease.clone(), Instant::now()));
                }
                lease
            }
        };
        let held_by_other = holder(&lease).is_some_and(|holder| *holder != self.identity);
        let fresh = self.seen.as_ref().is_some_and(|(_, at)| at.elapsed() < VALID);
        if held_by_other && fresh {
            return Ok(());
        }
        // Counted from before the request: the server may have taken it at once.
        let started = Instant::now();
        match self.replace(claim(&lease, &self.identity)).await {
            Ok(lease) => {
                self.seen = Some((lease, started));
                self.until.send_replace(Some(started + VALID));
                Ok(())
            }
            Err(error) => {
                // Whatever happened, the next turn looks before it writes.
                self.seen = self
                    .seen
                    .take()
                    .filter(|(lease, _)| holder(lease) != Some(&self.identity));
                Err(error)
            }
        }
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, kube::Error> {
        within(self.leases.replace(&self.name, &PostParams::default(), &lease)).await
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease
        .spec
        .as_ref()?
        .holder_identity
        .as_ref()
        .filter(|holder| !holder.is_empty())
}

fn claim(lease: &Lease, identity: &str) -> Lease {
    let old = lease.spec.clone().unwrap_or_default();
    let now = MicroTime(Ambient.now());
    let ours = holder(lease).is_some_and(|holder| holder == identity);
    let spec = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(VALID.as_secs()).ok(),
        renew_time: Some(now.clone()),
        acquire_time: if ours { old.acquire_time.clone() } else { Some(now) },
        lease_transitions: Some(old.lease_transitions.unwrap_or(0) + i32::from(!ours)),
        ..old
    };
    Lease {
        spec: Some(spec),
        ..lease.clone()
    }
}

async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    timeout(CALL, call)
        .await
        .unwrap_or_else(|_| Err(kube::Error::Service("no answer in time".into())))
}
