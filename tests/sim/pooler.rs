//! A pooler with a memory of its own: it has read its list of passwords some time ago, keeps connections to the server
//! for whoever used them, and so lets in whom the server refuses, and refuses whom the server lets in.
//!
//! Two things are not here: the time for which it lets everybody wait after a login of its own has failed, and lists with
//! another verifier of the same password.

use jiff::Timestamp;
use serde_json::json;
use tandem::machine::endpoints::{Door, EndpointSeen};
use tandem::machine::facts::{Finding, Identity, Login, SecretSeen};
use tandem::machine::userlists::{List, ListSeen, POOLER_REFUSES};
use tandem::machine::{Action, Decision, Facts, Loaded, Query, Step, decide};
use tandem::policy::Policy;

use super::answers::{View, unreachable};
use super::data::{Cluster, Credential, Database, Id, State};
use super::mutants::{Mutant, act, rotation};
use super::reader::forget_the_others;
use super::start::{FIRST, spec, start, workload};

/// Name of the endpoint.
pub const POOLER: &str = "pgbouncer";

/// The Secret with the pooler's list of passwords: an entry for each of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Userlist {
    pub revision: u32,
    pub entries: [Id; 2],
}

/// Its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pooler {
    /// The list where it is mounted, which changes some time after its Secret.
    pub file: [Id; 2],
    /// What it has read.
    pub memory: [Id; 2],
    /// A client of it, which asks for nothing just now and needs no session on the server for that.
    pub client: Option<Credential>,
    /// For which users it keeps a connection to the server.
    pub connections: [bool; 2],
}

/// Every write of one undisturbed rotation there. At first the list has not come to where it is mounted.
pub const HAPPY_WRITES_WITH_A_POOLER: [&str; 13] = [
    "adopt",
    "adopt",
    "stage",
    "enlist",
    "set_verifier",
    "reload",
    "reload",
    "flip",
    "restart",
    "roll_out",
    "retire",
    "strike",
    "finish",
];

/// As the plainest start, with a pooler that has a client, and connections for both users: the standby served before.
pub fn pooled() -> State {
    let endpoints = json!([{
        "name": POOLER, "role": "Pooler", "host": "pgbouncer.example.com", "port": 6432,
        "console": {"secretRef": {"name": "pgbouncer-console"}},
        "userlist": {"secretRef": {"name": "pgbouncer-userlist", "key": "userlist.txt"}},
    }]);
    let mut spec = spec(&json!({}));
    spec.database.endpoints = serde_json::from_value(endpoints).unwrap();
    let mut state = start(&spec, vec![workload("web", true)]);
    let entries = FIRST.map(|credential| credential.password);
    state.cluster.list = Some(Userlist { revision: 1, entries });
    state.database.pooler = Some(Pooler {
        file: entries,
        memory: entries,
        client: Some(FIRST[0]),
        connections: [true, true],
    });
    state
}

impl Database {
    /// Whether the pooler, where there is one, lets this credential through.
    pub fn passes(&self, credential: Credential) -> bool {
        self.pooler
            .is_none_or(|pooler| pooler.lets_through(self, credential))
    }
}

impl Pooler {
    /// Who knows what it has read is let in, and gets as far as there is a connection, or one can be made with the same.
    fn lets_through(&self, database: &Database, credential: Credential) -> bool {
        let Credential { user, password } = credential;
        self.memory.get(user) == Some(&password)
            && (self.connections.get(user) == Some(&true) || database.logs_in(credential))
    }

    /// How many clients and connections of a user there are.
    fn count(&self, user: usize) -> usize {
        let client = self.client.is_some_and(|client| client.user == user);
        usize::from(client) + usize::from(self.connections.get(user) == Some(&true))
    }
}

/// What comes of trying the pending credential there.
pub fn door(state: &State, pending: Credential) -> Option<EndpointSeen> {
    state.database.pooler?;
    let door = if !state.database.up {
        Door::Refused(unreachable())
    } else if state.database.passes(pending) {
        Door::Open
    } else {
        Door::Refused(refuses())
    };
    let name = POOLER.into();
    Some(EndpointSeen { name, door })
}

/// What is said of a credential that it does not let through.
pub fn refuses() -> Finding {
    Finding {
        blocks: true,
        reason: POOLER_REFUSES,
        message: "the pooler does not let it through".into(),
    }
}

/// What its list has, as the Secret shows.
pub fn lists(cluster: &Cluster, view: &View) -> Vec<ListSeen> {
    let Some(found) = cluster.list else {
        return Vec::new();
    };
    let has = |user: usize, id: Option<Id>| found.entries.get(user).copied() == id && id.is_some();
    let retiring = view.journal.as_ref().and_then(|kept| kept.retiring);
    let list = List::Known {
        version: found.revision.to_string(),
        has_pending: view
            .pending()
            .is_some_and(|(_, pending)| has(pending.user, Some(pending.password))),
        has_retiring: view.retiring().is_some_and(|(user, _)| has(user, retiring)),
    };
    let endpoint = POOLER.into();
    vec![ListSeen { endpoint, list }]
}

/// How many of a user's clients and connections are there.
pub fn pooled_count(state: &State, user: usize) -> usize {
    state.database.pooler.map_or(0, |pooler| pooler.count(user))
}

pub fn pool(state: &mut State, change: impl FnOnce(&mut Pooler)) {
    if let Some(pooler) = &mut state.database.pooler {
        change(pooler);
    }
}

/// Its Secret comes to where it is mounted.
pub fn mount(state: &mut State) {
    if let Some(list) = state.cluster.list {
        pool(state, |pooler| pooler.file = list.entries);
    }
}

/// It reads its list, and keeps its connections.
pub fn reread(state: &mut State) {
    pool(state, |pooler| pooler.memory = pooler.file);
}

/// Another takes its place: it reads its list and has no connection. Its client comes back, if it can.
pub fn restart(state: &mut State) {
    reread(state);
    pool(state, |pooler| pooler.connections = [false; 2]);
    let client = state.database.pooler.and_then(|pooler| pooler.client);
    let client = client.filter(|client| state.database.up && state.database.passes(*client));
    pool(state, |pooler| {
        pooler.client = client;
        if let Some(client) = client {
            pooler.connections[client.user] = true;
        }
    });
}

/// A person gives the list, and the pooler, what the server has.
pub fn mend(state: &mut State) {
    let entries = state.database.primary.map(|role| role.verifier);
    put(state, entries);
    mount(state);
    reread(state);
}

/// Gives the list other entries.
pub fn put(state: &mut State, entries: [Id; 2]) {
    state.about_to_change();
    let revision = state.cluster.revision;
    state.cluster.list = Some(Userlist { revision, entries });
}

/// Minds that take the pooler for something else than it is.
pub const POOLER_MUTANTS: [Mutant; 5] = [
    Mutant {
        name: "trusts the pooler",
        breaks: "S5",
        think: trust_the_pooler,
    },
    Mutant {
        name: "flips before the pooler has read its list",
        breaks: "S5",
        think: never_ask_the_pooler,
    },
    Mutant {
        name: "forgets the pooler's clients in the drain",
        breaks: "S3",
        think: forget_the_others,
    },
    Mutant {
        name: "strikes before the retirement",
        breaks: "S1",
        think: strike_first,
    },
    Mutant {
        name: "leaves the old password in the list",
        breaks: "S8",
        think: never_strike,
    },
];

fn all_open(facts: &Facts) -> Facts {
    Facts {
        endpoints: Some(vec![EndpointSeen {
            name: POOLER.into(),
            door: Door::Open,
        }]),
        ..facts.clone()
    }
}

/// Whom the pooler lets through before the flip, the server would let in, it says.
fn trust_the_pooler(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    let before = matches!(
        facts.secret,
        Some(SecretSeen::Present {
            carries_pending: false,
            ..
        })
    );
    let looks = before && matches!(right.step, Step::Look(Query::Pending));
    let identity: Option<Identity> = rotation(journal).and_then(|(_, rotation)| rotation.identity.clone());
    let (true, Some(identity)) = (looks, identity) else {
        return right;
    };
    match &facts.endpoints {
        None => Decision {
            phase: right.phase,
            step: Step::Look(Query::Endpoints),
        },
        Some(seen) if seen.iter().all(|seen| seen.door == Door::Open) => {
            let pending = Some(Login::Accepted(identity));
            let facts = facts.clone();
            decide(policy, journal, &Facts { pending, ..facts }, now)
        }
        Some(_) => right,
    }
}

fn never_ask_the_pooler(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match (&right.step, decide(policy, journal, &all_open(facts), now).step) {
        (Step::Look(Query::Endpoints), Step::Act(flip @ Action::Flip { .. })) => act(right.phase, flip),
        _ => right,
    }
}

fn strike_first(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    let Step::Act(Action::Retire { user, .. }) = &right.step else {
        return right;
    };
    let Some(lists) = &facts.lists else {
        return Decision {
            phase: right.phase,
            step: Step::Look(Query::Lists),
        };
    };
    let known = lists.iter().find_map(|seen| match &seen.list {
        List::Known {
            version,
            has_retiring: false,
            ..
        } => Some((seen.endpoint.clone(), version.clone())),
        List::Known { .. } | List::Unusable(_) => None,
    });
    match known {
        Some((endpoint, version)) => {
            let user = user.clone();
            act(
                right.phase,
                Action::Strike {
                    endpoint,
                    user,
                    version,
                },
            )
        }
        None => right,
    }
}

fn never_strike(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    for seen in facts.lists.iter_mut().flatten() {
        if let List::Known { has_retiring, .. } = &mut seen.list {
            *has_retiring = true;
        }
    }
    decide(policy, journal, &facts, now)
}
