//! Standbys that no endpoint names: what a failover to one of them could lose is not waited for.

use std::net::IpAddr;

use super::connect::Trouble;
use super::server::{Credential, Server};
use super::sessions::administer;
use super::words::warning;
use crate::machine::facts::Finding;

/// More would not be read.
const SHOWN: usize = 5;

/// A server that follows the primary.
struct Standby {
    name: String,
    address: Option<IpAddr>,
}

/// Warns where the primary streams to more standbys than there are addresses behind the endpoints of replicas. Whether
/// one of them could take over only a person knows, so this never stands in the way.
///
/// Who may not see where others come from sees no standby here; that the right is missing has been told before.
pub async fn unnamed_standbys(primary: &Server, admin: &Credential, replicas: &[&Server]) -> Option<Finding> {
    match standbys(primary, admin).await {
        Ok(standbys) => told(primary, &standbys, replicas),
        // That it was not looked at, and why.
        Err(finding) => Some(Finding {
            blocks: false,
            ..finding
        }),
    }
}

async fn standbys(primary: &Server, admin: &Credential) -> Result<Vec<Standby>, Finding> {
    // Subscribers have a logical slot, and who only keeps the log replays nothing: neither can be promoted.
    const STANDBYS: &str = "
        SELECT application_name, client_addr FROM pg_stat_replication r
         WHERE state = 'streaming' AND replay_lsn IS NOT NULL
           AND NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
         ORDER BY application_name, client_addr";
    let mut session = administer(primary, admin).await?;
    let failed = |trouble: Trouble| trouble.failure().finding(primary, &admin.user);
    let rows = session.query(STANDBYS, &[]).await.map_err(failed)?;
    let standby = |row: &tokio_postgres::Row| Standby {
        name: row.get(0),
        address: row.get(1),
    };
    Ok(rows.iter().map(standby).collect())
}

fn told(primary: &Server, standbys: &[Standby], replicas: &[&Server]) -> Option<Finding> {
    if standbys.len() <= replicas.len() {
        return None;
    }
    // An address of a Service is not the one that its server comes from, so none is left out for sure.
    let unnamed: Vec<_> = standbys
        .iter()
        .filter(|standby| {
            replicas
                .iter()
                .all(|replica| replica.address() != standby.address)
        })
        .collect();
    let mut list: Vec<_> = unnamed
        .iter()
        .take(SHOWN)
        .map(|standby| standby.shown())
        .collect();
    if unnamed.len() > SHOWN {
        list.push(format!("{} more", unnamed.len() - SHOWN));
    }
    Some(warning(
        "StandbyNotNamed",
        format!(
            "{} streams to more standbys ({}) than endpoints of role Replica lead to ({}): {} may be missing there. Nobody waits until such a one has replayed a changed password; promoted before, it refuses applications for some seconds. Where it could take over, name it in spec.database.endpoints, by a name that leads to every one of them; see which they are: SELECT application_name, client_addr, state, replay_lag FROM pg_stat_replication",
            primary.at(),
            standbys.len(),
            replicas.len(),
            list.join(", ")
        ),
    ))
}

impl Standby {
    fn shown(&self) -> String {
        match self.address {
            Some(address) => format!("{:?} at {address}", self.name),
            None => format!("{:?}", self.name),
        }
    }
}
