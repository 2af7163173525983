//! Whether the server has room for the connections that a rollout adds: the new pods connect while those before them
//! still do.

use super::after_delivery::is_rolling;
use super::facts::Consumer;
use super::phase::Phase;
use super::rotation::Pass;
use super::step::{Crowded, Decision, Query, Waiting};

impl Pass<'_> {
    /// Nothing, when there is room for one more restart beside those that run already. What these still add is counted
    /// as if none of it were there yet.
    ///
    /// # Errors
    /// What comes first, when the room is not known.
    pub(super) fn crowded(
        &self,
        consumers: &[Consumer],
        next: &Consumer,
    ) -> Result<Option<Crowded>, Decision> {
        if next.surge == 0 {
            return Ok(None);
        }
        let phase = Phase::Delivered;
        let room = match &self.facts.room {
            None => return Err(Decision::look(phase, Query::Room)),
            Some(Err(finding)) => return Err(self.wait(phase, Waiting::Refused(finding.clone()))),
            Some(Ok(room)) => room,
        };
        let rolling = consumers.iter().filter(|consumer| is_rolling(consumer));
        let pods = rolling
            .map(|consumer| consumer.surge)
            .fold(next.surge, u32::saturating_add);
        let present = consumers
            .iter()
            .map(|c| {
                u32::try_from(c.old_pods.len())
                    .unwrap_or(u32::MAX)
                    .saturating_add(c.ready)
            })
            .fold(0, u32::saturating_add);
        // A mean: pods differ. One that has not connected yet will do so.
        let each = room.connections.div_ceil(present.max(1)).max(1);
        let needed = pods.saturating_mul(each);
        let limit = room
            .limits
            .iter()
            .find(|limit| limit.most.saturating_sub(limit.used) < needed);
        Ok(limit.map(|limit| Crowded {
            consumer: next.reference.clone(),
            pods,
            each,
            limit: limit.clone(),
        }))
    }
}
