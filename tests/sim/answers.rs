//! What the world answers when it is looked at.

use tandem::effects::{Error, Fresh, Seen};
use tandem::machine::facts::{
    Asked, Consumer, Delivered, Failing, Finding, Identity, KeptSeen, Laggard, Login, OperatorSeen,
    Preflight, Previous, Quiet, Room, SecretSeen, Sessions, StoreSeen,
};
use tandem::machine::journal::Landing;
use tandem::machine::place::Place;
use tandem::machine::project::ACTIVE_LOGIN_FAILED;
use tandem::machine::{Loaded, Query};
use tandem::policy::target::{ConsumerKind, ConsumerRef, RoleName};

use super::data::{
    Cluster, Content, Credential, Guards, JournalSecret, Mark, MarkBy, Object, Pod, State, Streak, UID,
    USERS, millis, time, user_index,
};
use super::failover::system;
use super::pooler::{self, POOLER, lists, pooled_count};
use super::reader::{self, READER};
use super::reloader::{delivered_again, proves, restarter, returned};
use super::start::object;

/// The one cluster that there is.
pub const SYSTEM: &str = "7000000000000000001";

/// What one turn has loaded: the materials that its writes are made of.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub journal: Option<JournalSecret>,
    pub object: Option<Object>,
    /// The Secret was seen to carry the pending credential.
    pub carried: bool,
    /// The store was seen to carry the pending credential.
    pub flipped: bool,
    /// The consumers whose restarts were seen to be taken back.
    pub reverted: Vec<&'static str>,
}

impl View {
    /// The rotation that was loaded, by number and pending credential.
    pub fn pending(&self) -> Option<(u64, Credential)> {
        let kept = self.journal.as_ref()?;
        let journal = kept.journal()?;
        let user = user_index(journal.rotation.as_ref()?.pending.as_str());
        Some((
            journal.number,
            Credential {
                user,
                password: kept.pending?,
            },
        ))
    }

    /// What applications are told by that rotation, or by the one that ended last.
    pub fn brought(&self) -> Option<Credential> {
        if let Some((_, pending)) = self.pending() {
            return Some(pending);
        }
        let kept = self.journal.as_ref()?;
        Some(Credential {
            user: user_index(kept.journal()?.kept.as_ref()?.active.as_str()),
            password: kept.pending?,
        })
    }

    /// The user that the rotation before has retired, and its last password.
    pub fn retired(&self) -> Option<Credential> {
        let kept = self.journal.as_ref()?;
        let user = kept.journal()?.kept.as_ref()?.retired.as_ref()?;
        Some(Credential {
            user: user_index(user.as_str()),
            password: kept.previous?,
        })
    }

    /// Whether somebody asks for what that rotation had set to be set once more.
    pub fn reapplies(&self) -> bool {
        let asked = self.object.as_ref().and_then(|object| object.reapply);
        let journal = self.journal.as_ref().and_then(|kept| kept.journal());
        asked.is_some_and(|asked| {
            journal.is_some_and(|journal| journal.reapplied.as_ref() != Some(&nonce(asked)))
        })
    }

    /// Whether the rotation that was loaded takes another one back.
    pub fn undoes(&self) -> bool {
        let journal = self.journal.as_ref().and_then(|kept| kept.journal());
        let rotation = journal.and_then(|journal| journal.rotation.as_ref());
        rotation.is_some_and(|rotation| rotation.undoes.is_some())
    }

    /// What becomes of the user that goes.
    pub fn retire_mode(&self) -> Option<tandem::api::spec::RetireMode> {
        let kept = self.journal.as_ref()?;
        Some(kept.journal()?.rotation.as_ref()?.spec.retire.mode)
    }

    /// The retiring user and its last password.
    pub fn retiring(&self) -> Option<(usize, Option<Credential>)> {
        let kept = self.journal.as_ref()?;
        let user = user_index(kept.journal()?.rotation.as_ref()?.retiring.as_str());
        Some((user, kept.previous.map(|password| Credential { user, password })))
    }
}

/// Policy and journal, as a read of this cluster gives them.
pub fn load(cluster: &Cluster) -> (Option<Fresh>, View) {
    let Some(policy) = &cluster.policy else {
        return (None, View::default());
    };
    let journal = match cluster.journal.as_ref().map(|kept| (&kept.content, kept.written)) {
        None | Some((Content::Empty, _)) => Loaded::Absent,
        Some((Content::Written(journal), written)) => {
            let mut journal = journal.as_ref().clone();
            if let Some(rotation) = &mut journal.rotation {
                rotation.staged_at.get_or_insert(time(written));
            }
            Loaded::Valid(Box::new(journal))
        }
        Some((Content::Raw(text), _)) => tandem::machine::Journal::load(text.as_bytes(), UID),
    };
    let view = View {
        journal: cluster.journal.clone(),
        object: Some(policy.clone()),
        ..View::default()
    };
    (
        Some(Fresh {
            object: object(policy),
            journal,
        }),
        view,
    )
}

/// Answers one question. `cluster` is what the API server shows, which may be old; the database is asked itself.
pub fn look(state: &mut State, cluster: &Cluster, view: &mut View, query: Query) -> Result<Seen, Error> {
    Ok(match query {
        Query::Secret => {
            view.carried = cluster
                .secret
                .is_some_and(|secret| view.brought() == Some(secret.credential));
            Seen::Secret(secret(cluster, view))
        }
        Query::Store => {
            let seen = store(cluster, view);
            view.flipped = matches!(
                seen,
                StoreSeen::Present {
                    carries_pending: true,
                    ..
                }
            );
            Seen::Store(seen)
        }
        Query::Operator => Seen::Operator(operator(cluster, view)?),
        Query::Preflight => Seen::Preflight(preflight(state, cluster)),
        Query::Pending => {
            let (_, credential) = view.pending().ok_or_else(no_rotation)?;
            let login = pending(state, credential);
            if matches!(login, Login::Accepted(_)) {
                state.ledger.proven.insert(credential);
            }
            Seen::Pending(login)
        }
        Query::Endpoints => {
            let (_, credential) = view.pending().ok_or_else(no_rotation)?;
            let doors = [reader::door(state, credential), pooler::door(state, credential)];
            Seen::Endpoints(doors.into_iter().flatten().collect())
        }
        Query::Lists => Seen::Lists(lists(cluster, view)),
        Query::Previous => {
            let (_, previous) = view.retiring().ok_or_else(no_rotation)?;
            Seen::Previous(match previous {
                None => Previous::Unknown,
                Some(_) if !state.database.up => Previous::Unreachable(unreachable()),
                // With NOLOGIN too: the password is right, and the right to log in can come back.
                Some(credential) if state.database.knows(credential) => Previous::Accepted,
                Some(_) => Previous::Refused,
            })
        }
        Query::Kept => {
            let seen = kept(state, cluster, view);
            if let (Some(Login::Accepted(_)), Some(told)) = (&seen.active, told(cluster)) {
                state.ledger.proven.insert(told);
            }
            Seen::Kept(seen)
        }
        Query::Consumers => {
            let seen = consumers(state, cluster, view);
            let workloads = cluster.workloads.iter().zip(&seen);
            view.reverted = workloads
                .filter(|(_, consumer)| consumer.reverted)
                .map(|(workload, _)| workload.name)
                .collect();
            Seen::Consumers(seen)
        }
        // One policy alone is in nobody's way.
        Query::Place => Seen::Place(Place::Had),
        // There is always room here: no login depends on it.
        Query::Room if !state.database.up => Seen::Room(Err(unreachable())),
        Query::Room => Seen::Room(Ok(Room {
            limits: Vec::new(),
            connections: 0,
        })),
        Query::Sessions => {
            let (number, _) = view.pending().ok_or_else(no_rotation)?;
            let (user, _) = view.retiring().ok_or_else(no_rotation)?;
            Seen::Sessions(sessions(state, number, user))
        }
    })
}

fn no_rotation() -> Error {
    Error::Unusable("the journal that was loaded holds no rotation".into())
}

pub fn unreachable() -> Finding {
    Finding {
        blocks: true,
        reason: "DatabaseUnreachable",
        message: "the database cannot be reached".into(),
    }
}

fn secret(cluster: &Cluster, view: &View) -> SecretSeen {
    let Some(secret) = &cluster.secret else {
        return SecretSeen::Missing;
    };
    let landing = match (&cluster.source, secret.delivered) {
        (Some(_), _) => Some((secret.written, i64::from(secret.revision))),
        (None, Some(delivery)) => Some((delivery.at, i64::from(delivery.replaced))),
        (None, None) => None,
    };
    SecretSeen::Present {
        user: RoleName::new(USERS[secret.credential.user]).ok(),
        carries_pending: view.carried,
        version: secret.revision.to_string(),
        landing: landing.map(|(at, id)| Landing {
            at: time(at),
            id: id.to_string(),
        }),
        delivered: secret.delivered.map(|delivery| Delivered {
            number: delivery.number,
            nonce: delivery.nonce.map(nonce),
        }),
    }
}

fn store(cluster: &Cluster, view: &View) -> StoreSeen {
    let Some(source) = cluster.source.as_ref().filter(|source| source.up) else {
        return StoreSeen::Unusable(store_unreachable());
    };
    let credential = source.told();
    StoreSeen::Present {
        user: RoleName::new(USERS[credential.user]).ok(),
        carries_pending: view.brought() == Some(credential),
        version: source.current.to_string(),
        number: source.versions[source.current].name.map(|name| name.number),
    }
}

fn operator(cluster: &Cluster, view: &View) -> Result<OperatorSeen, Error> {
    let source = cluster.source.as_ref().ok_or_else(no_rotation)?;
    let (number, _) = view.pending().ok_or_else(no_rotation)?;
    let request = source.request.filter(|request| request.number == number);
    Ok(OperatorSeen::Present {
        version: source.revision.to_string(),
        asked: request.map(|request| Asked {
            times: request.times,
            at: time(request.at),
        }),
        trouble: None,
    })
}

fn store_unreachable() -> Finding {
    Finding {
        blocks: true,
        reason: "StoreUnreachable",
        message: "the store cannot be reached".into(),
    }
}

/// A rotate-now value.
pub fn nonce(number: u32) -> String {
    format!("nonce-{number}")
}

fn preflight(state: &State, cluster: &Cluster) -> Preflight {
    let blocker = |reason, message: &str| {
        vec![Finding {
            blocks: true,
            reason,
            message: message.into(),
        }]
    };
    let mut credential = cluster.secret.map(|secret| secret.credential);
    let mut stored = Vec::new();
    if let Some(source) = &cluster.source {
        if !source.up {
            stored = vec![store_unreachable()];
        } else if credential != Some(source.told()) {
            stored = blocker(
                "SecretBehindStore",
                "the application Secret does not carry what the store says is current",
            );
        }
        credential = credential.and(Some(source.told()));
    }
    let active = credential.filter(|c| c.user < 2);
    let findings = match (credential, active) {
        (Some(_), _) if !stored.is_empty() => stored,
        (None, _) => blocker("SecretMissing", "the application Secret is gone"),
        (Some(_), None) => blocker(
            "UnknownUser",
            "the application Secret names neither user of the pair",
        ),
        (Some(_), Some(_)) if !state.database.up => vec![unreachable()],
        (Some(_), Some(credential)) if !state.database.logs_in(credential) => blocker(
            ACTIVE_LOGIN_FAILED,
            "the credential in the application Secret does not log in",
        ),
        (Some(_), Some(credential)) if !state.database.passes(credential) => vec![pooler::refuses()],
        (Some(_), Some(credential)) if !state.database.works(credential) => blocker(
            "EndpointLoginFailed",
            "the credential in the application Secret does not work at the replica",
        ),
        (Some(_), Some(_)) => Vec::new(),
    };
    Preflight {
        active: active.and_then(|c| RoleName::new(USERS[c.user]).ok()),
        identity: state.database.up.then(|| identity(state)),
        consumers: Vec::new(),
        findings,
    }
}

/// What applications are told, when it is a credential of the pair.
fn told(cluster: &Cluster) -> Option<Credential> {
    let told = match &cluster.source {
        Some(source) => source.up.then(|| source.told()),
        None => cluster.secret.map(|secret| secret.credential),
    };
    told.filter(|told| told.user < 2)
}

fn kept(state: &State, cluster: &Cluster, view: &View) -> KeptSeen {
    let told = told(cluster);
    let up = state.database.up;
    let retired = view
        .retired()
        .filter(|last| told.is_some_and(|told| told.user != last.user));
    let retired = match retired {
        _ if !up => Previous::Unreachable(unreachable()),
        Some(last) if state.database.knows(last) => Previous::Accepted,
        Some(_) => Previous::Refused,
        None => Previous::Unknown,
    };
    KeptSeen {
        active: told.map(|told| pending(state, told)),
        retired,
        identity: up.then(|| identity(state)),
        // It is always looked at here: the process may have begun a moment ago.
        preflight_at: None,
    }
}

fn identity(state: &State) -> Identity {
    Identity {
        system: system(state).into(),
        timeline: state.database.timeline,
    }
}

fn pending(state: &State, credential: Credential) -> Login {
    if !state.database.up {
        return Login::Refused(unreachable());
    }
    let Some(role) = state.database.primary.get(credential.user) else {
        return Login::WrongPassword;
    };
    if role.verifier != credential.password {
        return Login::WrongPassword;
    }
    if !role.login {
        // The server says so only to somebody who knows the password.
        return Login::Refused(Finding {
            blocks: true,
            reason: "RoleMayNotLogIn",
            message: "the role has NOLOGIN".into(),
        });
    }
    Login::Accepted(identity(state))
}

/// The delivery that consumers are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landed {
    pub at: i64,
    pub id: i64,
}

/// What the mark on the Secret says of its delivery; where Tandem does not write the Secret, what the journal says.
pub fn landed(cluster: &Cluster, kept: Option<&JournalSecret>) -> Option<Landed> {
    if cluster.source.is_none() {
        let delivery = cluster.secret?.delivered?;
        return Some(Landed {
            at: delivery.at,
            id: i64::from(delivery.replaced),
        });
    }
    let delivered = kept?.journal()?.rotation.as_ref()?.delivered.as_ref()?;
    Some(Landed {
        at: millis(delivered.at),
        id: delivered.id.parse().ok()?,
    })
}

/// The mark with which consumers are restarted after the delivery that was seen.
pub fn restart_mark(guards: Guards, number: u64, landed: Option<Landed>) -> Mark {
    let delivery = landed.and_then(|landed| match guards.mark {
        MarkBy::Rotation => None,
        MarkBy::Second => Some(landed.at),
        MarkBy::Replaced => Some(landed.id),
    });
    Mark { number, delivery }
}

/// Whether a pod may hold the old credential, judged by what the API server shows of it. `proves` is the content of which
/// Reloader's mark counts.
pub fn is_old(
    pod: &Pod,
    mark: Mark,
    landed: Option<Landed>,
    spared_before: Option<i64>,
    proves: Option<Credential>,
) -> bool {
    let reloaded = proves.is_some() && pod.reloaded == proves;
    pod.mark != Some(mark)
        && !reloaded
        && landed.is_none_or(|landed| pod.created <= landed.at)
        && spared_before.is_none_or(|began| pod.created >= began)
}

/// In a roll-back, when the rotation that is taken back began.
pub fn spared_before(kept: Option<&JournalSecret>) -> Option<i64> {
    let undoes = kept?.journal()?.rotation.as_ref()?.undoes.as_ref()?;
    undoes.staged_at.map(millis)
}

/// How the name of a pod ends that is terminating, for the mind that forgets these.
pub const TERMINATING: &str = "-terminating";

fn consumers(state: &State, cluster: &Cluster, view: &View) -> Vec<Consumer> {
    let number = view.pending().map_or(0, |(number, _)| number);
    let delivered = landed(cluster, view.journal.as_ref());
    let mark = restart_mark(state.guards, number, delivered);
    let spared = spared_before(view.journal.as_ref());
    let proves = proves(cluster, view.journal.as_ref());
    let returned = returned(cluster, view.journal.as_ref());
    let again = delivered_again(cluster, view.journal.as_ref());
    cluster
        .workloads
        .iter()
        .map(|workload| {
            let is_old = |pod: &&Pod| is_old(pod, mark, delivered, spared, proves);
            let old: Vec<_> = workload.pods.iter().filter(is_old).collect();
            let name = |(i, pod): (usize, &&Pod)| {
                let state = if pod.terminating { TERMINATING } else { "" };
                format!("{}-{i}{state}", workload.name)
            };
            let back = |reloaded| returned.is_some() && reloaded == returned;
            let mut left_over = workload.pods.iter().filter(is_old);
            let left_over = back(workload.reloaded) && left_over.any(|pod| back(pod.reloaded));
            let stuck = |pod: &Pod| !pod.ready && !pod.terminating && !is_old(&pod);
            Consumer {
                reference: reference(workload.name),
                uid: format!("uid-{}", workload.name),
                marked: workload.mark == Some(mark)
                    || (proves.is_some() && workload.reloaded == proves)
                    || (back(workload.reloaded) && !left_over),
                restarter: restarter(cluster, workload.left, again || left_over),
                reverted: (workload.mark != Some(mark) && workload.taken_back == Some(mark))
                    || (proves.is_some() && workload.reloaded != proves && workload.undone == proves),
                old_pods: old.iter().enumerate().map(name).collect(),
                ready: u32::try_from(workload.pods.len() - old.len()).unwrap(),
                surge: 0,
                obstacle: None,
                failing: workload.pods.iter().any(stuck).then_some(Failing::Failure),
            }
        })
        .collect()
}

/// Names a workload.
pub fn reference(name: &str) -> ConsumerRef {
    ConsumerRef {
        kind: ConsumerKind::Workload(tandem::api::spec::TargetKind::Deployment),
        name: name.to_owned(),
    }
}

fn sessions(state: &mut State, number: u64, user: usize) -> Sessions {
    if !state.database.up {
        state.controller.streak = None;
        return Sessions::Unreachable(unreachable());
    }
    let count = session_count(state, user);
    if count > 0 {
        state.controller.streak = None;
        let (reports, pooled) = (report_count(state, user), pooled_count(state, user));
        let laggard = |(endpoint, count): (Option<&str>, usize)| Laggard {
            application_name: "app".into(),
            client_address: "10.0.0.1".into(),
            pod: String::new(),
            endpoint: endpoint.map(ToOwned::to_owned),
            count: u32::try_from(count).unwrap(),
        };
        let places = [
            (None, count - reports - pooled),
            (Some(READER), reports),
            (Some(POOLER), pooled),
        ];
        let there = places.into_iter().filter(|(_, count)| *count > 0);
        return Sessions::Counted {
            laggards: there.map(laggard).collect(),
            quiet: None,
        };
    }
    let now = state.now;
    let streak = state
        .controller
        .streak
        .filter(|streak| streak.number == number)
        .unwrap_or(Streak {
            number,
            since: now,
            polls: 0,
        });
    let streak = Streak {
        polls: streak.polls + 1,
        ..streak
    };
    state.controller.streak = Some(streak);
    Sessions::Counted {
        laggards: Vec::new(),
        quiet: Some(Quiet {
            since: time(streak.since),
            polls: streak.polls,
        }),
    }
}

/// How many sessions a user has.
pub fn session_count(state: &State, user: usize) -> usize {
    let pods = state.cluster.workloads.iter().flat_map(|workload| &workload.pods);
    let of_pods = pods
        .filter(|pod| pod.session && pod.credential.user == user)
        .count();
    let outsider = state
        .database
        .outsider
        .filter(|o| o.session && o.credential.user == user);
    of_pods + usize::from(outsider.is_some()) + report_count(state, user) + pooled_count(state, user)
}

/// How many of them are at the replica.
pub fn report_count(state: &State, user: usize) -> usize {
    let report = state.database.reader.and_then(|reader| reader.report);
    usize::from(report.is_some_and(|credential| credential.user == user))
}

/// When a rotation that was loaded began.
pub fn started_at(journal: &tandem::machine::Journal) -> Option<i64> {
    journal
        .rotation
        .as_ref()
        .map(|rotation| millis(rotation.started_at))
}
