//! Who has a place and who waits for one. Nothing here but counting: the time is given.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use super::Limits;
use crate::api::RotationPolicy;
use crate::machine::place::{Place, Shared, Taken};

type Name = ObjectRef<RotationPolicy>;

/// A policy, and what it shares with others.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) policy: Name,
    namespace: String,
    server: String,
}

impl Seat {
    pub(super) fn of(policy: &RotationPolicy) -> Self {
        let namespace = policy.namespace().unwrap_or_default();
        let database = &policy.spec.database;
        // One server, however its name is written.
        let host = database.host.trim_end_matches('.').to_ascii_lowercase();
        Self {
            policy: ObjectRef::new(&policy.name_any()).within(&namespace),
            namespace,
            server: format!("{host}:{}", database.port),
        }
    }

    fn key(&self, shared: Shared) -> &str {
        match shared {
            Shared::Namespace => &self.namespace,
            Shared::Server => &self.server,
        }
    }

    fn neighbours(&self, other: &Self) -> bool {
        Shared::ALL
            .iter()
            .any(|shared| self.key(*shared) == other.key(*shared))
    }
}

/// A policy that has a place.
#[derive(Debug)]
struct Holder {
    seat: Seat,
    until: Timestamp,
}

/// A policy that waits for one.
#[derive(Debug)]
struct Waiter {
    seat: Seat,
    /// It was told that there is one.
    called: bool,
}

#[derive(Debug)]
pub(super) struct Ledger {
    limits: Limits,
    /// Policies whose journal was read, or was tried to; none any more when those of all policies were.
    read: Option<HashSet<Name>>,
    holders: HashMap<Name, Holder>,
    /// Who came first is first.
    line: Vec<Waiter>,
}

impl Ledger {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            read: Some(HashSet::new()),
            holders: HashMap::new(),
            line: Vec::new(),
        }
    }

    /// The journal of a policy was read, or tried to.
    pub(super) fn read(&mut self, seat: &Seat) {
        if let Some(read) = &mut self.read {
            read.insert(seat.policy.clone());
        }
    }

    /// It rotates.
    pub(super) fn keep(&mut self, seat: &Seat, until: Timestamp) {
        self.leave_line(seat);
        let seat = seat.clone();
        self.holders.insert(seat.policy.clone(), Holder { seat, until });
    }

    /// It has no place any more, if it had one.
    pub(super) fn give_back(&mut self, seat: &Seat) {
        self.holders.remove(&seat.policy);
    }

    /// It does not wait any more, if it did.
    pub(super) fn leave_line(&mut self, seat: &Seat) {
        self.line.retain(|waiter| waiter.seat.policy != seat.policy);
    }

    /// Gives a place, or one in the line. Who waits at one limit holds up nobody who is not waiting at it: each is
    /// overtaken only by as many as are due, and each of those only once.
    pub(super) fn ask(
        &mut self,
        seat: &Seat,
        all: &[Arc<RotationPolicy>],
        until: Timestamp,
        now: Timestamp,
    ) -> Place {
        let unread = self.unread(seat, all);
        if unread > 0 {
            return Place::Unread(unread);
        }
        match self
            .line
            .iter_mut()
            .find(|waiter| waiter.seat.policy == seat.policy)
        {
            Some(waiter) => waiter.called = false,
            None => self.line.push(Waiter {
                seat: seat.clone(),
                called: false,
            }),
        }
        let free = self.free(now);
        if free.iter().any(|waiter| waiter.seat.policy == seat.policy) {
            self.keep(seat, until);
            return Place::Had;
        }
        Place::Taken(self.taken(seat, now))
    }

    /// Those in the line for whom there is a place, and who have not been told yet.
    pub(super) fn next(&mut self, now: Timestamp) -> Vec<Name> {
        let free: Vec<Name> = self
            .free(now)
            .into_iter()
            .map(|waiter| waiter.seat.policy.clone())
            .collect();
        let mut next = Vec::new();
        for waiter in self.line.iter_mut().filter(|waiter| !waiter.called) {
            if free.contains(&waiter.seat.policy) {
                waiter.called = true;
                next.push(waiter.seat.policy.clone());
            }
        }
        next
    }

    /// How many policies could have a place that nobody knows of.
    fn unread(&mut self, seat: &Seat, all: &[Arc<RotationPolicy>]) -> usize {
        let Some(read) = &self.read else { return 0 };
        let unread: Vec<Seat> = all
            .iter()
            // Of one that is being deleted nothing more is done, and it may have no turn any more.
            .filter(|policy| policy.metadata.deletion_timestamp.is_none())
            .map(|policy| Seat::of(policy))
            .filter(|other| !read.contains(&other.policy))
            .collect();
        if unread.is_empty() {
            self.read = None;
        }
        unread.iter().filter(|other| seat.neighbours(other)).count()
    }

    /// Those in the line for whom there is a place, when it is given to who came first.
    fn free(&self, now: Timestamp) -> Vec<&Waiter> {
        let mut used: HashMap<(Shared, &str), usize> = HashMap::new();
        for holder in self.holders(now) {
            for shared in Shared::ALL {
                *used.entry((shared, holder.seat.key(shared))).or_default() += 1;
            }
        }
        let mut free = Vec::new();
        for waiter in &self.line {
            let keys = Shared::ALL.map(|shared| (shared, waiter.seat.key(shared)));
            let full = |key: &(Shared, &str)| used.get(key).copied().unwrap_or_default() >= self.most(key.0);
            if keys.iter().any(full) {
                continue;
            }
            for key in keys {
                *used.entry(key).or_default() += 1;
            }
            free.push(waiter);
        }
        free
    }

    /// What a policy in the line waits for: the limit that leaves the fewer places.
    fn taken(&self, seat: &Seat, now: Timestamp) -> Taken {
        let at = |shared: Shared| {
            let sharing = |other: &Seat| other.key(shared) == seat.key(shared);
            let mut holders: Vec<String> = self
                .holders(now)
                .filter(|holder| sharing(&holder.seat))
                .map(|holder| name(&holder.seat))
                .collect();
            holders.sort_unstable();
            let first = self
                .line
                .iter()
                .take_while(|waiter| waiter.seat.policy != seat.policy);
            Taken {
                shared,
                most: self.most(shared),
                ahead: first.filter(|waiter| sharing(&waiter.seat)).count(),
                holders,
            }
        };
        let [namespace, server] = [at(Shared::Namespace), at(Shared::Server)];
        let over = |taken: &Taken| (taken.holders.len() + taken.ahead).checked_sub(taken.most);
        if over(&server) > over(&namespace) {
            server
        } else {
            namespace
        }
    }

    fn holders(&self, now: Timestamp) -> impl Iterator<Item = &Holder> {
        self.holders.values().filter(move |holder| holder.until > now)
    }

    fn most(&self, shared: Shared) -> usize {
        match shared {
            Shared::Namespace => self.limits.per_namespace.get(),
            Shared::Server => self.limits.per_server.get(),
        }
    }
}

fn name(seat: &Seat) -> String {
    format!("{}/{}", seat.namespace, seat.policy.name)
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    pub(in super::super) fn policy(namespace: &str, name: &str, host: &str) -> RotationPolicy {
        serde_json::from_value(json!({
            "apiVersion": "tandem.dev/v1alpha1",
            "kind": "RotationPolicy",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "users": ["a", "b"],
                "database": {"host": host, "name": "db", "admin": {"secretRef": {"name": "admin"}}, "tls": {"mode": "Disable"}},
                "delivery": {"secret": {"name": "app"}},
            },
        }))
        .unwrap()
    }

    fn deleted(mut policy: RotationPolicy) -> RotationPolicy {
        policy.metadata.deletion_timestamp = Some(Time(NOW));
        policy
    }

    fn seat(namespace: &str, name: &str, host: &str) -> Seat {
        Seat::of(&policy(namespace, name, host))
    }

    fn ledger(per_namespace: usize, per_server: usize) -> Ledger {
        Ledger::new(Limits {
            per_namespace: per_namespace.try_into().unwrap(),
            per_server: per_server.try_into().unwrap(),
        })
    }

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn ask(ledger: &mut Ledger, seat: &Seat) -> Place {
        ledger.ask(seat, &[], Timestamp::MAX, NOW)
    }

    fn called(ledger: &mut Ledger) -> Vec<String> {
        ledger.next(NOW).into_iter().map(|policy| policy.name).collect()
    }

    fn taken(shared: Shared, most: usize, holders: &[&str], ahead: usize) -> Place {
        let holders = holders.iter().map(ToString::to_string).collect();
        Place::Taken(Taken {
            shared,
            most,
            holders,
            ahead,
        })
    }

    #[test]
    fn who_came_first_is_called_first_and_once() {
        let mut ledger = ledger(1, 9);
        let [a, b, c] = ["a", "b", "c"].map(|name| seat("shop", name, "db"));
        assert_eq!(ask(&mut ledger, &a), Place::Had);
        let held = |ahead| taken(Shared::Namespace, 1, &["shop/a"], ahead);
        assert_eq!(ask(&mut ledger, &b), held(0));
        assert_eq!(ask(&mut ledger, &c), held(1));
        assert_eq!(ask(&mut ledger, &b), held(0), "who asks again stays where it was");
        assert!(called(&mut ledger).is_empty());
        ledger.give_back(&a);
        assert_eq!(called(&mut ledger), ["b"]);
        assert!(called(&mut ledger).is_empty(), "told already");
        assert_eq!(
            ask(&mut ledger, &c),
            taken(Shared::Namespace, 1, &[], 1),
            "it is not c's yet"
        );
        assert_eq!(ask(&mut ledger, &b), Place::Had);
        ledger.leave_line(&c);
        ledger.give_back(&b);
        assert!(called(&mut ledger).is_empty(), "nobody waits any more");
    }

    #[test]
    fn each_limit_counts_by_itself_and_holds_up_nobody_else() {
        let mut ledger = ledger(2, 1);
        let here = seat("shop", "a", "DB.example.");
        assert_eq!(ask(&mut ledger, &here), Place::Had);
        let same_server = seat("hr", "b", "db.example");
        assert_eq!(
            ask(&mut ledger, &same_server),
            taken(Shared::Server, 1, &["shop/a"], 0),
            "one server, however it is written"
        );
        let behind = seat("hr", "c", "db.example");
        assert_eq!(
            ask(&mut ledger, &behind),
            taken(Shared::Server, 1, &["shop/a"], 1)
        );
        assert_eq!(ask(&mut ledger, &seat("hr", "d", "other")), Place::Had);
        assert_eq!(ask(&mut ledger, &seat("shop", "e", "third")), Place::Had);
        assert_eq!(
            ask(&mut ledger, &seat("shop", "f", "fourth")),
            taken(Shared::Namespace, 2, &["shop/a", "shop/e"], 0)
        );
        ledger.give_back(&here);
        assert_eq!(called(&mut ledger), ["b", "f"]);
    }

    #[test]
    fn a_rotation_that_takes_too_long_keeps_its_place_no_longer() {
        let mut ledger = ledger(1, 1);
        let (stuck, next) = (seat("shop", "stuck", "db"), seat("shop", "next", "db"));
        ledger.keep(&stuck, NOW + jiff::SignedDuration::from_mins(30));
        assert_eq!(
            ask(&mut ledger, &next),
            taken(Shared::Namespace, 1, &["shop/stuck"], 0)
        );
        let late = NOW + jiff::SignedDuration::from_mins(30);
        assert_eq!(ledger.next(late), std::slice::from_ref(&next.policy));
        assert_eq!(ledger.ask(&next, &[], Timestamp::MAX, late), Place::Had);
    }

    #[test]
    fn rotations_that_run_are_never_held_and_count() {
        let mut ledger = ledger(1, 9);
        let [a, b, c] = ["a", "b", "c"].map(|name| seat("shop", name, "db"));
        ledger.keep(&a, Timestamp::MAX);
        ledger.keep(&b, Timestamp::MAX);
        assert_eq!(
            ask(&mut ledger, &c),
            taken(Shared::Namespace, 1, &["shop/a", "shop/b"], 0)
        );
        ledger.give_back(&a);
        assert!(called(&mut ledger).is_empty(), "one is still one too many");
        ledger.give_back(&b);
        assert_eq!(called(&mut ledger), ["c"]);
    }

    #[test]
    fn after_a_start_nobody_begins_before_the_journals_of_its_neighbours_are_read() {
        let mut ledger = ledger(1, 1);
        let all = [
            policy("shop", "a", "db"),
            policy("shop", "b", "other"),
            policy("hr", "c", "db"),
            policy("hr", "d", "other"),
            deleted(policy("shop", "e", "db")),
        ]
        .map(Arc::new);
        let [a, b, c, d, _] = all.each_ref().map(|policy| Seat::of(policy));
        ledger.read(&a);
        assert_eq!(
            ledger.ask(&a, &all, Timestamp::MAX, NOW),
            Place::Unread(2),
            "d is no neighbour, and e has ended"
        );
        ledger.read(&b);
        ledger.read(&c);
        assert_eq!(ledger.ask(&a, &all, Timestamp::MAX, NOW), Place::Had);
        ledger.give_back(&a);
        ledger.read(&d);
        assert_eq!(ledger.ask(&a, &all, Timestamp::MAX, NOW), Place::Had);
        assert!(ledger.read.is_none(), "and then it is known for good");
    }
}
