//! The safety rules, checked after every single write, apart from the machine and from its own guards.

use std::collections::BTreeSet;

use tandem::api::spec::{OnActiveSessions, RestartMode};
use tandem::api::{RotationPolicyStatus, condition};
use tandem::machine::Phase;
use tandem::machine::QUIET_POLLS;
use tandem::policy::RotateMode;

use super::answers::{View, session_count};
use super::data::{Credential, Source, State, Write, user_index};
use super::failover::left_alone;
use super::hands::Turn;

/// A rule that did not hold. The text begins with the name of the rule.
pub type Broken = String;

/// Every credential that a consumer has been told: what the Secret names, and what a pod has loaded.
pub fn told(state: &State) -> BTreeSet<Credential> {
    let pods = state
        .cluster
        .workloads
        .iter()
        .filter(|workload| !workload.rereads)
        .flat_map(|workload| &workload.pods);
    let mut told: BTreeSet<_> = pods.map(|pod| pod.credential).collect();
    told.extend(state.cluster.secret.map(|secret| secret.credential));
    if let Some(source) = &state.cluster.source {
        told.insert(source.told());
        // Whoever reads it a moment after a move may still be shown what was current before.
        if state.now < source.seen_late_until {
            told.insert(source.versions[source.previous].credential);
        }
    }
    told
}

fn failing(state: &State) -> BTreeSet<Credential> {
    told(state)
        .into_iter()
        .filter(|credential| !state.database.works(*credential))
        .collect()
}

/// What logged in before a person or a failover changed something, of all that was told or is about to be.
pub fn working(state: &State) -> Working {
    let known: BTreeSet<_> = told(state)
        .into_iter()
        .chain(state.ledger.proven.iter().copied())
        .collect();
    let works = |credential: &&Credential| state.database.works(**credential);
    let logs_in = |credential: &&Credential| state.database.logs_in(**credential);
    Working {
        everywhere: known.iter().filter(works).copied().collect(),
        at_the_server: known.iter().filter(logs_in).copied().collect(),
    }
}

/// See [`working`]. What is about to be told is proven at the server before it is anywhere else.
pub struct Working {
    everywhere: BTreeSet<Credential>,
    at_the_server: BTreeSet<Credential>,
}

/// After a person or a failover has changed something: what they broke, and what they told the applications although
/// it does not work, is their doing, and is not held against Tandem until it has worked again. Whatever breaks later
/// is Tandem's doing, or is judged to be.
pub fn excuse(state: &mut State, worked: &Working) {
    let mut broken = failing(state);
    let Working {
        everywhere,
        at_the_server,
    } = worked;
    broken.extend(everywhere.iter().filter(|c| !state.database.works(**c)));
    broken.extend(at_the_server.iter().filter(|c| !state.database.logs_in(**c)));
    broken.append(&mut doomed(state));
    state.ledger.excused.append(&mut broken);
    forsake(state);
}

/// The two places where Tandem cannot keep what it promises, because people took away what it remembers by.
///
/// - The journal is gone, and the Secret is not as Tandem delivered it (other content, or no mark). Then nothing tells
///   any more which password the pods hold, and the next rotation is free to change it. One of the two is enough.
/// - The journal is gone while a delivery made from it is still on its way: it may land after the standby got another
///   password.
pub fn forsake(state: &mut State) {
    let secret = state.cluster.secret;
    let lost = state
        .cluster
        .journal
        .as_ref()
        .is_none_or(|kept| kept.journal().is_none());
    let delivered = state.ledger.delivered;
    let as_delivered = match &state.cluster.source {
        Some(source) => {
            let current = source.versions[source.current];
            current.name.is_some() && Some(current.credential) == delivered
        }
        None => secret.is_some_and(|s| s.delivered.is_some() && Some(s.credential) == delivered),
    };
    if lost && delivered.is_some() && !as_delivered {
        state.ledger.meddled = true;
        let told = told(state);
        state.ledger.forsaken.extend(told);
    }
    let kept = state.cluster.journal.as_ref();
    let kept = kept.map_or([None, None], |kept| [kept.pending, kept.previous]);
    for flight in &state.flights {
        if let Write::Secret { credential, .. } | Write::Promote { credential, .. } = &flight.write
            && !kept.contains(&Some(credential.password))
        {
            state.ledger.forsaken.insert(*credential);
        }
    }
}

/// What applications were told although its retirement is on its way to the server already.
fn doomed(state: &State) -> BTreeSet<Credential> {
    let mut doomed = BTreeSet::new();
    for flight in &state.flights {
        if let Write::Role {
            user,
            role,
            retire: true,
        } = &flight.write
        {
            doomed.extend(
                told(state)
                    .into_iter()
                    .filter(|c| c.user == *user && c.password != role.verifier),
            );
        }
    }
    doomed
}

/// S1: whatever a consumer has been told logs in now.
pub fn everybody_logs_in(state: &mut State) -> Option<Broken> {
    let failing = failing(state);
    let doomed = doomed(state);
    let database = &state.database;
    state
        .ledger
        .excused
        .retain(|credential| !database.works(*credential) || doomed.contains(credential));
    let ledger = &state.ledger;
    let broken = failing
        .iter()
        .find(|c| !ledger.excused.contains(c) && !ledger.forsaken.contains(c))?;
    Some(format!(
        "S1: a consumer was told {broken:?}, and it does not log in"
    ))
}

/// What must hold of a write when it is sent, judged by the world as it is then.
pub fn sending(state: &State, turn: &Turn, write: &Write) -> Option<Broken> {
    let view = &turn.view;
    let object = view.object.as_ref()?;
    if !matches!(write, Write::Status { .. }) && (object.spec.suspend || object.deleting) {
        return Some("S7: a suspended or deleted policy was acted on".into());
    }
    if let Some(broken) = left_alone(state, turn, write) {
        return Some(broken);
    }
    let schedule = object.spec.schedule.as_ref();
    if !matches!(write, Write::Status { .. })
        && schedule.is_some_and(|s| s.cron.as_deref() == Some(super::start::NEVER))
    {
        return Some("S7: an invalid policy was acted on".into());
    }
    match write {
        Write::Journal { entry: "finish", .. } => finish(state, turn),
        Write::Journal {
            entry: "roll_back", ..
        } => {
            (!turn.way_back).then(|| "S9: a credential is to be put back that was not seen to log in".into())
        }
        // A pooler that reads its list does what its file says already.
        Write::Journal { .. } | Write::Status { .. } | Write::Reload => None,
        Write::Terminate { user } => {
            (view.retiring()?.0 != *user).then(|| "S3: sessions of the wrong user are ended".into())
        }
        Write::Role { user, role, retire } if view.pending().is_none() => {
            once_more(turn, *user, role.verifier, *retire)
        }
        Write::Role {
            user,
            role,
            retire: false,
        } => {
            let durable = view
                .journal
                .as_ref()
                .is_some_and(|kept| kept.pending == Some(role.verifier));
            let right = view.pending().is_some_and(|(_, pending)| pending.user == *user);
            (!durable || !right)
                .then(|| "S2: a verifier is set before its password is durable in the journal".into())
        }
        Write::Role {
            user, retire: true, ..
        } => retire(state, turn, *user),
        Write::List {
            user,
            verifier,
            retire,
            ..
        } => enter(turn, *user, *verifier, *retire),
        Write::Secret { credential, .. }
        | Write::Propose { credential, .. }
        | Write::Promote { credential, .. } => (!turn.proven.contains(credential)
            || !(view.carried || puts_back(view) || everywhere(state, turn, *credential)))
        .then(|| "S5: the source of truth is to name an unproven credential".into()),
        Write::Sync { .. } => (!view.flipped)
            .then(|| "S5: a sync is asked for before the store names the new credential".into()),
        Write::Restart { .. } | Write::StandIn { .. } if !view.carried => {
            Some("S5: consumers are restarted before the Secret carries the new credential".into())
        }
        Write::Restart { workload, .. } | Write::StandIn { workload, .. } => view
            .reverted
            .contains(&state.cluster.workloads[*workload].name)
            .then(|| "S9: a restart that somebody took back is made again".into()),
    }
}

/// S11: outside a rotation only what the last one had set is set once more, when somebody asks and it was seen to be lost.
fn once_more(turn: &Turn, user: usize, verifier: u32, retire: bool) -> Option<Broken> {
    let view = &turn.view;
    let Some(brought) = view.brought() else {
        return Some("S2: a role is changed, and no credential is durable in the journal".into());
    };
    if !view.reapplies() {
        return Some("S11: a role is changed outside a rotation, and nobody asks for it".into());
    }
    let right = if retire {
        let retired = view.retired().is_some_and(|last| last.user == user);
        retired && user != brought.user && turn.way_back && turn.proven.contains(&brought)
    } else {
        user == brought.user && verifier == brought.password && turn.lost
    };
    (!right).then(|| "S11: what was not seen to be lost is set once more".into())
}

/// The end of a rotation is the end of the old password, at the server and in the pooler's list.
fn finish(state: &State, turn: &Turn) -> Option<Broken> {
    if !turn.refused {
        return Some(
            "S8: a rotation is recorded as ended without proof that the old password is refused".into(),
        );
    }
    let (user, previous) = turn.view.retiring()?;
    let left = state.cluster.list?.entries.get(user).copied();
    (left == previous?.password.into())
        .then(|| "S8: a rotation is recorded as ended, and the pooler's list has the old password".into())
}

/// What may be written into the pooler's list: what is durable, and of the old user nothing before the server has refused it.
fn enter(turn: &Turn, user: usize, verifier: u32, retire: bool) -> Option<Broken> {
    let kept = turn.view.journal.as_ref()?;
    let (right, durable) = if retire {
        let retiring = turn.view.retiring().map(|(user, _)| user);
        (retiring, kept.retiring)
    } else {
        let pending = turn.view.pending().map(|(_, pending)| pending.user);
        (pending, kept.pending)
    };
    if durable != Some(verifier) || right != Some(user) {
        return Some("S2: a pooler is told a verifier that is not durable in the journal".into());
    }
    (retire && !turn.refused).then(|| "S1: a pooler forgets the old password before the server does".into())
}

/// Whether it is a roll-back, which puts back what has worked everywhere.
fn puts_back(view: &View) -> bool {
    let kept = view.journal.as_ref().and_then(|kept| kept.journal());
    kept.and_then(|journal| journal.rotation.as_ref())
        .is_some_and(|rotation| rotation.undoes.is_some())
}

/// Whether the credential was seen to work at the replica and through the pooler, where there is one.
fn everywhere(state: &State, turn: &Turn, credential: Credential) -> bool {
    let alone = state.database.reader.is_none() && state.database.pooler.is_none();
    alone || turn.proven_everywhere.contains(&credential)
}

fn retire(state: &State, turn: &Turn, user: usize) -> Option<Broken> {
    let (number, pending) = turn.view.pending()?;
    if pending.user == user {
        return Some("S1: the pending user is to be retired".into());
    }
    if !turn.proven.contains(&pending) {
        return Some("S1: one user is to be retired before the other was proven once more".into());
    }
    let rotation = turn.view.journal.as_ref()?.journal()?.rotation.as_ref()?;
    if rotation.mode == RotateMode::Immediate {
        return None;
    }
    if !everywhere(state, turn, pending) {
        return Some(
            "S1: one user is to be retired before the other was proven at every endpoint once more".into(),
        );
    }
    let spec = &rotation.spec;
    if spec.restart.mode != RestartMode::None && pods_hold(state, user) {
        return Some("S3: a pod still holds the old credential".into());
    }
    if spec.drain.on_active_sessions == OnActiveSessions::Terminate && turn.terminated {
        return None;
    }
    let streak = state.controller.streak;
    let quiet = streak.is_some_and(|streak| streak.number == number && streak.polls >= QUIET_POLLS);
    let sessions = session_count(state, user);
    (!quiet || sessions > 0).then(|| format!("S3: the drain is not proven, {sessions} sessions are left"))
}

/// Whether a pod holds a credential of the user, of which anybody can still know.
fn pods_hold(state: &State, user: usize) -> bool {
    let pods = state.cluster.workloads.iter().flat_map(|workload| &workload.pods);
    pods.map(|pod| pod.credential)
        .any(|held| held.user == user && !state.ledger.forsaken.contains(&held))
}

/// S4: a rotation has one pending credential, whoever proposes it and how often. `running` tells whether one was
/// pending before this write.
pub fn one_pending(state: &mut State, running: bool, write: &Write) -> Option<Broken> {
    // The write that makes the Secret keeps no credential.
    let Write::Journal {
        new,
        entry,
        expected: Some(_),
    } = write
    else {
        return None;
    };
    let journal = new.journal()?;
    journal.rotation.as_ref()?;
    let pending = new.pending?;
    if *entry == "stage" && running {
        return Some("S4: a second credential is staged while one is pending".into());
    }
    let known = state.ledger.staged.insert(journal.number, pending);
    let renewed = matches!(*entry, "regenerate" | "recover");
    (known.is_some_and(|known| known != pending) && !renewed)
        .then(|| format!("S4: rotation {} has two pending credentials", journal.number))
}

/// S8: the status claims no more than the world shows. Judged only where nothing happened between look and publish.
pub fn claims(state: &State, status: &RotationPolicyStatus) -> Option<Broken> {
    let lie = |claim: &str| {
        Some(format!(
            "S8: the status claims {claim}, and the world does not show it"
        ))
    };
    let secret = state.cluster.secret;
    let journal = state.cluster.journal.as_ref().and_then(|kept| kept.journal());
    let holds = |name: &str| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == name && c.status == "True")
    };
    let works = secret.is_some_and(|secret| state.database.works(secret.credential));
    if holds(condition::READY) && (!works || journal.is_some_and(|journal| journal.rotation.is_some())) {
        return lie("Ready");
    }
    // An invalid spec leaves the rest of the status as it was.
    if status.conditions.iter().any(|c| c.reason == "InvalidSpec") {
        return None;
    }
    if status.last_rotation.as_ref().map_or(0, |last| last.number)
        > journal
            .and_then(|journal| journal.history.first())
            .map_or(0, |last| last.number)
    {
        return lie("a finished rotation");
    }
    let Some(rotation) = &status.rotation else {
        return None;
    };
    let (Some(journal), Some(kept)) = (journal, &state.cluster.journal) else {
        return lie("a running rotation");
    };
    let (Some(running), Some(password)) = (&journal.rotation, kept.pending) else {
        return lie("a running rotation");
    };
    let phase = Phase::ALL
        .into_iter()
        .find(|phase| phase.as_str() == rotation.phase)?;
    let pending = Credential {
        user: user_index(running.pending.as_str()),
        password,
    };
    let retiring = user_index(running.retiring.as_str());
    let old_pods = pods_hold(state, retiring);
    if phase == Phase::Verified && !state.database.works(pending) {
        return lie("that the standby logs in");
    }
    let stored = state.cluster.source.as_ref().map(Source::told);
    if phase == Phase::Flipped && stored != Some(pending) {
        return lie("that the store names the standby");
    }
    if phase >= Phase::Delivered && secret.map(|secret| secret.credential) != Some(pending) {
        return lie("that the Secret carries the new credential");
    }
    if phase >= Phase::RolledOut && running.spec.restart.mode != RestartMode::None && old_pods {
        return lie("that no pod holds the old credential");
    }
    if phase >= Phase::Retired
        && kept.previous.is_some_and(|password| {
            state.database.logs_in(Credential {
                user: retiring,
                password,
            })
        })
    {
        return lie("that the old password is refused");
    }
    None
}
