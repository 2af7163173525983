//! The places of the rotations under way: so many in a namespace, and so many at a database server. They live in the
//! process and are made from the journals: after a start none is given before each journal that counts has been read.

mod ledger;

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::Stream;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use jiff::Timestamp;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::RotationPolicy;
use crate::effects::ambient::Ambient;
use crate::machine::Loaded;
use crate::machine::place::{Place, at_most, kept_until};
use crate::policy::Policy;
use ledger::{Ledger, Seat};

/// How many rotations may disturb applications at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In one namespace.
    pub per_namespace: NonZeroUsize,
    /// At one database server.
    pub per_server: NonZeroUsize,
}

/// All policies that are watched, and the places of those that rotate.
pub struct Places {
    policies: Store<RotationPolicy>,
    calls: UnboundedSender<ObjectRef<RotationPolicy>>,
    ledger: Mutex<Ledger>,
}

impl Places {
    /// No place is taken yet. The stream names each policy for which there is one, when it had to wait.
    pub fn new(
        policies: Store<RotationPolicy>,
        limits: Limits,
    ) -> (
        Self,
        impl Stream<Item = ObjectRef<RotationPolicy>> + Send + 'static,
    ) {
        let (calls, called) = unbounded();
        let ledger = Mutex::new(Ledger::new(limits));
        let places = Self {
            policies,
            calls,
            ledger,
        };
        (places, called)
    }

    /// All policies that are watched.
    pub(super) fn policies(&self) -> &Store<RotationPolicy> {
        &self.policies
    }

    /// The stand of one policy, for one turn.
    pub(super) fn stand(&self, policy: &RotationPolicy) -> Stand<'_> {
        Stand {
            places: self,
            seat: Seat::of(policy),
            end: End::Leaves,
        }
    }

    /// A policy that nobody gets to, so that its neighbours do not wait for its journal.
    pub(super) fn unreached(&self, policy: &RotationPolicy) {
        let seat = Seat::of(policy);
        self.change(|ledger| ledger.read(&seat));
    }

    /// Changes the ledger, and calls those who can have a place by that.
    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = self.lock();
        let changed = change(&mut ledger);
        for next in ledger.next(Ambient.now()) {
            // Whoever would listen is gone only when the process ends.
            drop(self.calls.unbounded_send(next.clone()));
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one policy stands in one turn. At the turn's end it keeps only what it needs: a policy that was given a place and
/// could not begin leaves it to others, and one that asked for nothing waits for nothing.
pub(super) struct Stand<'a> {
    places: &'a Places,
    seat: Seat,
    end: End,
}

/// What becomes of it at the end of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has asked for nothing.
    Leaves,
    /// It has a place, and no rotation yet.
    GivesBack,
    /// It waits in the line, or rotates.
    Stays,
}

impl Stand<'_> {
    /// Its journal could not be read: what is known of it stays.
    pub(super) fn unreadable(&self) {
        self.places.change(|ledger| ledger.read(&self.seat));
    }

    /// Takes in what its journal says; nothing when the policy is gone.
    pub(super) fn read(&mut self, object: Option<&RotationPolicy>, journal: &Loaded) {
        let kept = object.and_then(|object| kept(object, journal));
        self.end = if kept.is_some() { End::Stays } else { End::Leaves };
        self.places.change(|ledger| {
            ledger.read(&self.seat);
            match kept {
                Some(until) => ledger.keep(&self.seat, until),
                None => ledger.give_back(&self.seat),
            }
        });
    }

    /// Whether a rotation may begin now.
    pub(super) fn ask(&mut self, policy: &Policy, now: Timestamp) -> Place {
        let until = at_most(policy, now);
        let all = self.places.policies.state();
        let place = self.places.lock().ask(&self.seat, &all, until, now);
        self.end = match &place {
            Place::Had => End::GivesBack,
            Place::Taken(_) => End::Stays,
            Place::Unread(_) => End::Leaves,
        };
        place
    }

    /// Its rotation is about to be written down. Whether it was is found out by reading, in the next turn if need be.
    pub(super) fn begins(&mut self) {
        self.end = End::Stays;
    }
}

impl Drop for Stand<'_> {
    fn drop(&mut self) {
        let (seat, end) = (&self.seat, self.end);
        self.places.change(|ledger| match end {
            End::Stays => {}
            End::Leaves => ledger.leave_line(seat),
            End::GivesBack => ledger.give_back(seat),
        });
    }
}

/// Until when the rotation in this journal keeps its place, by the snapshot that it runs on.
fn kept(object: &RotationPolicy, journal: &Loaded) -> Option<Timestamp> {
    let Loaded::Valid(journal) = journal else {
        return None;
    };
    let rotation = journal.rotation.as_ref()?;
    let policy = Policy::parse_as(object, &rotation.spec).ok()?;
    kept_until(&policy, rotation)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use kube::runtime::reflector;

    use super::ledger::tests::policy;
    use super::*;

    #[test]
    fn a_turn_keeps_only_what_it_needs_and_the_next_is_called() {
        let (store, _) = reflector::store();
        let limits = Limits {
            per_namespace: NonZeroUsize::MIN,
            per_server: NonZeroUsize::MIN,
        };
        let (places, mut called) = Places::new(store, limits);
        let mut called = || called.next().now_or_never().flatten().map(|next| next.name);
        let [a, b] = ["a", "b"].map(|name| policy("shop", name, "db"));
        let asks = |stand: &mut Stand<'_>, object| {
            let place = stand.ask(&Policy::parse(object).unwrap(), Ambient.now());
            place == Place::Had
        };

        let mut first = places.stand(&a);
        assert!(asks(&mut first, &a));
        let mut second = places.stand(&b);
        assert!(!asks(&mut second, &b));
        drop(second);
        assert_eq!(called(), None, "it waits on");
        drop(first);
        assert_eq!(called().as_deref(), Some("b"), "the first could not begin");

        let mut second = places.stand(&b);
        assert!(asks(&mut second, &b));
        second.begins();
        drop(second);
        let mut first = places.stand(&a);
        assert!(
            !asks(&mut first, &a),
            "perhaps the rotation of b was written down"
        );
        drop(first);
        // It asks for nothing any more, and what it asked for is forgotten.
        drop(places.stand(&a));
        places.stand(&b).read(Some(&b), &Loaded::Absent);
        assert_eq!(called(), None, "nobody waits");
        assert!(asks(&mut places.stand(&a), &a), "b has no rotation");
    }
}
