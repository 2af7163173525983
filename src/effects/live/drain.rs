//! Whether anybody still has a session of the old user.

use std::time::Duration;

use tokio::time::Instant;

use super::Live;
use super::endpoints::sessions_at;
use crate::effects::{Error, World as _};
use crate::machine::facts::{Finding, Laggard, Sessions};
use crate::machine::poll_interval;
use crate::policy::Policy;
use crate::policy::target::RoleName;

impl Live<'_> {
    async fn count(&self, policy: &Policy, user: &RoleName) -> Result<Result<Vec<Laggard>, Finding>, Error> {
        let (server, admin) = match self.administered(policy).await? {
            Ok(both) => both,
            Err(finding) => return Ok(Err(finding)),
        };
        let mut laggards = match self.everywhere(policy, server, &admin.user).await? {
            Ok(servers) => match sessions_at(&servers, &admin, user).await {
                Ok(laggards) => laggards,
                Err(finding) => return Ok(Err(finding)),
            },
            Err(finding) => return Ok(Err(finding)),
        };
        Ok(self.clients(policy, &admin.user, user).await?.map(|clients| {
            laggards.extend(clients);
            laggards
        }))
    }

    pub(super) async fn sessions(&self, policy: &Policy) -> Result<Sessions, Error> {
        let (journal, rotation, _) = self.running()?;
        let began = Instant::now();
        let counted = self.count(policy, &rotation.retiring).await;
        // Whatever the reason, nobody has looked: what came and went meanwhile is not known.
        if !matches!(counted, Ok(Ok(_))) {
            self.hands.series.end(&policy.uid);
        }
        let mut laggards = match counted? {
            Ok(laggards) => laggards,
            Err(finding) => return Ok(Sessions::Unreachable(finding)),
        };
        if !laggards.is_empty() {
            let workloads = self.cluster.workloads().await?;
            for laggard in &mut laggards {
                laggard.pod = workloads.locate(&laggard.client_address);
            }
        }
        // Generous, since a pass looks at other things too; far less than a client needs to come, work and go unseen twice.
        let gap = Duration::try_from(poll_interval(policy.drain.quiet_for) * 2).unwrap_or_default()
            + Duration::from_secs(5);
        let quiet = self.hands.series.poll(
            &policy.uid,
            journal.number,
            laggards.is_empty(),
            (began, gap),
            self.now(),
        );
        Ok(Sessions::Counted { laggards, quiet })
    }
}
