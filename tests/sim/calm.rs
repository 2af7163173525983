//! Eventually stable: from any world, once no fault strikes any more, the goal is reached and kept; or, where only a
//! person can help, the policy says so, and everybody can still log in.

use std::collections::HashSet;

use tandem::api::condition;
use tandem::controller::turn::Mind;

use super::answers::nonce;
use super::data::{Credential, Source, State};
use super::events::{Event, Life, Meddle, live, lives, meddle};
use super::explore::{Move, awake};
use super::hands::take;
use super::key::key;
use super::rules::{Broken, told};
use super::start::{FIRST, object};

/// Within so many turns it rests.
const TURNS: usize = 240;
/// A pause from which on nothing more is to be done.
const REST: i64 = 3_600_000;
/// People who help, one after the other, until the goal is reached.
const HELP: usize = 4;

/// Follows the world without further faults to its end.
///
/// # Errors
/// Says what does not end as it must.
pub fn converges(
    mind: &impl Mind,
    state: &State,
    good: &mut HashSet<u64>,
) -> Result<(), (Broken, Vec<Move>)> {
    let mut moves = Vec::new();
    end(mind, state, good, &mut moves).map_err(|broken| (broken, moves))
}

fn end(
    mind: &impl Mind,
    state: &State,
    good: &mut HashSet<u64>,
    moves: &mut Vec<Move>,
) -> Result<(), Broken> {
    let mut state = state.clone();
    let mut path = Vec::new();
    state.recent.clear();
    if !state.database.up {
        help(&mut state, Meddle::DatabaseUp);
        moves.push(Move::Help(Meddle::DatabaseUp));
    }
    if let Some(source) = &state.cluster.source {
        let (up, operator) = (source.up, source.operator);
        for (is, what) in [(up, Meddle::StoreUp), (operator, Meddle::OperatorUp)] {
            if !is {
                help(&mut state, what);
                moves.push(Move::Help(what));
            }
        }
    }
    for _ in 0..=HELP {
        if settle(mind, &mut state, &mut path, good, moves)? {
            break;
        }
        let Some(what) = stands(&state)? else {
            stays(mind, &state)?;
            good.extend(path);
            return Ok(());
        };
        help(&mut state, what);
        moves.push(Move::Help(what));
    }
    if path.last().is_some_and(|last| good.contains(last)) {
        good.extend(path);
        return Ok(());
    }
    Err(format!(
        "L: {HELP} times somebody did as told, and still {}",
        situation(&state)
    ))
}

/// Takes turns until nothing is left to do. True when a world was met that is known to end well.
fn settle(
    mind: &impl Mind,
    state: &mut State,
    path: &mut Vec<u64>,
    good: &HashSet<u64>,
    moves: &mut Vec<Move>,
) -> Result<bool, Broken> {
    let mut same = 0;
    let mut before = 0;
    for _ in 0..TURNS {
        everything_happens(state, moves)?;
        let now = key(state, false);
        path.push(now);
        if good.contains(&now) {
            return Ok(true);
        }
        if state.controller.wake.is_none() {
            return Ok(false);
        }
        moves.push(Move::Turn(Vec::new()));
        let took = take(mind, awake(state), &Vec::new());
        if let Some(broken) = took.broken {
            return Err(broken);
        }
        *state = took.state;
        let after = key(state, false);
        // A wait that looks again and again and finds nothing new stands still; one for the operator only when it has
        // outlasted every pause between two requests, and one for Reloader when it has outlasted the time given to it.
        let patience = if state.cluster.source.is_some() || state.cluster.reloader.is_some() {
            60
        } else {
            12
        };
        same = if after == before && took.writes.is_empty() {
            same + 1
        } else {
            0
        };
        before = after;
        if same >= patience {
            return Ok(false);
        }
    }
    Err(format!(
        "L: after {TURNS} turns it does not rest: {}",
        situation(state)
    ))
}

/// Late writes land, and every pod is replaced that will be.
fn everything_happens(state: &mut State, moves: &mut Vec<Move>) -> Result<(), Broken> {
    for _ in 0..40 {
        // The operator comes by itself only once in a refresh interval, which is too late for everything here.
        let comes = state.cluster.source.as_ref().is_some_and(|source| source.asked)
            || state.cluster.secret.is_none();
        let next = lives(state).into_iter().find(|life| match life {
            Life::Spawn { .. } | Life::SyncLate | Life::Abort | Life::Befall(_) => false,
            Life::Sync => comes,
            Life::Replace { .. }
            | Life::Gone { .. }
            | Life::Relogin { .. }
            | Life::Land(_)
            | Life::Reload
            | Life::Replay
            | Life::EndReport
            | Life::Back
            | Life::Mount
            | Life::Leave
            | Life::Close(_)
            | Life::Finalize => true,
        });
        let Some(life) = next else { return Ok(()) };
        moves.push(Move::Event(Event::Life(life)));
        if let Some(broken) = live(state, life) {
            return Err(broken);
        }
    }
    Err("L: the pods never come to rest".into())
}

/// Where the world has come to rest: at the goal, or where a person must help; then what the condition tells them to
/// do.
fn stands(state: &State) -> Result<Option<Meddle>, Broken> {
    let Some(policy) = &state.cluster.policy else {
        return everybody(state).map(|()| None);
    };
    let status = &policy.status;
    let holds = |name: &str| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == name && c.status == "True")
    };
    let reason = status
        .conditions
        .iter()
        .find(|c| c.type_ == condition::READY)
        .map_or("", |c| c.reason.as_str());
    if policy.spec.suspend && reason == "Suspended" {
        everybody(state)?;
        return Ok(Some(Meddle::Resume));
    }
    // Whoever took a restart back is told that any other will do. In a roll-back a mark of Reloader's proves none.
    let kept = state.cluster.journal.as_ref().and_then(|kept| kept.journal());
    let rotation = kept.and_then(|journal| journal.rotation.as_ref());
    let undoes = rotation.is_some_and(|rotation| rotation.undoes.is_some());
    let taken_back = |w: &super::data::Workload| {
        w.mark.is_none() && (w.reloaded.is_none() || undoes) && (w.taken_back.is_some() || w.undone.is_some())
    };
    if matches!(reason, "WaitingForRollout" | "RolloutOverdue")
        && let Some(workload) = state.cluster.workloads.iter().position(taken_back)
    {
        everybody(state)?;
        return Ok(Some(Meddle::RestartByHand(workload)));
    }
    // Whether it stands still, or is refused again and again.
    if matches!(reason, "OtherServer" | "ServerReplaced") {
        everybody(state)?;
        return Ok(Some(Meddle::PointBack));
    }
    if holds(condition::STALLED) {
        everybody(state)?;
        return match reason {
            "InvalidSpec" => Ok(Some(Meddle::MendSpec)),
            "JournalCorrupt" | "SecretChanged" | "StoreChanged" => Ok(Some(Meddle::DeleteJournal)),
            "SecretBehindStore" => Ok(Some(Meddle::AskSync)),
            "SecretMissing" | "UnknownUser" => Ok(Some(Meddle::RevertSecret)),
            "RolloutOverdue" => Ok(Some(Meddle::MendPods)),
            "PoolerRefuses" => Ok(Some(Meddle::MendList)),
            "RetiredPasswordAccepted" => Ok(Some(Meddle::Reapply)),
            "ActiveLoginFailed" | "ActivePasswordRefused" => Ok(Some(Meddle::ChangePassword(0))),
            reason => Err(format!(
                "L: stalled for {reason:?}, which no person can mend: {}",
                situation(state)
            )),
        };
    }
    goal(state).map(|()| None)
}

/// Does what the message asks for.
pub fn help(state: &mut State, help: Meddle) {
    let worked = super::rules::working(state);
    if let Meddle::ChangePassword(_) = help {
        // The person gives the role the password that applications are told.
        let stored = state.cluster.source.as_ref().map(Source::told);
        let secret = state.cluster.secret.map(|secret| secret.credential);
        if let Some(told) = stored.or(secret)
            && let Some(role) = state.database.primary.get_mut(told.user)
        {
            role.verifier = told.password;
            role.login = true;
            state.ledger.meddled = true;
        }
    } else if help == Meddle::RevertSecret && !state.database.logs_in(FIRST[0]) {
        // The first manifest is out of date by now; a person puts back what works.
        let works = state
            .ledger
            .told
            .iter()
            .copied()
            .find(|credential| state.database.logs_in(*credential));
        super::writes::put_secret(state, works.unwrap_or(FIRST[0]), None);
        state.ledger.meddled = true;
    } else {
        meddle(state, help);
    }
    super::rules::excuse(state, &worked);
    let wake = state.now + 1;
    state.controller.wake = Some(state.controller.wake.map_or(wake, |at| at.min(wake)));
}

/// Everybody can log in, but for what a person or a failover broke.
fn everybody(state: &State) -> Result<(), Broken> {
    let ledger = &state.ledger;
    let locked_out = |c: &Credential| {
        !state.database.logs_in(*c) && !ledger.excused.contains(c) && !ledger.forsaken.contains(c)
    };
    match told(state).into_iter().find(locked_out) {
        Some(credential) => Err(format!("L: it stands still where {credential:?} does not log in")),
        None => Ok(()),
    }
}

fn goal(state: &State) -> Result<(), Broken> {
    let wrong = |what: &str| Err(format!("L: it rests, and {what}: {}", situation(state)));
    let Some(policy) = &state.cluster.policy else {
        return Ok(());
    };
    if policy.deleting {
        return everybody(state);
    }
    let Some(secret) = state.cluster.secret else {
        return wrong("the Secret is gone");
    };
    if let Some(source) = &state.cluster.source
        && source.told() != secret.credential
    {
        return wrong("the store names another credential");
    }
    if !state.database.works(secret.credential) {
        return wrong("the Secret's credential does not log in everywhere");
    }
    let Some(journal) = state.cluster.journal.as_ref().and_then(|kept| kept.journal()) else {
        return wrong("there is no journal");
    };
    if journal.rotation.is_some() {
        return wrong("a rotation is not finished");
    }
    if policy
        .rotate_now
        .map(nonce)
        .is_some_and(|asked| journal.handled.as_ref() != Some(&asked))
    {
        return wrong("rotate-now was not answered");
    }
    if policy
        .reapply
        .map(nonce)
        .is_some_and(|asked| journal.reapplied.as_ref() != Some(&asked))
    {
        return wrong("reapply was not answered");
    }
    if policy
        .abort
        .map(nonce)
        .is_some_and(|asked| journal.aborted.as_ref() != Some(&asked))
    {
        return wrong("abort was not answered");
    }
    if state.controller.wake.is_some_and(|wake| wake - state.now < REST) {
        return wrong("it goes on looking");
    }
    for name in [condition::READY, condition::CREDENTIALS_IN_SYNC] {
        if !policy
            .status
            .conditions
            .iter()
            .any(|c| c.type_ == name && c.status == "True")
        {
            return wrong("the status does not say that all is well");
        }
    }
    if policy.status.active_user
        != object(policy)
            .spec
            .users
            .iter()
            .find(|u| **u == super::data::USERS[secret.credential.user])
            .cloned()
    {
        return wrong("the status names another user");
    }
    let pods = state
        .cluster
        .workloads
        .iter()
        .filter(|w| !w.rereads && w.replicas > 0)
        .flat_map(|w| &w.pods);
    if pods.clone().any(|pod| pod.credential != secret.credential) {
        return wrong("a pod holds another credential");
    }
    if state.ledger.meddled {
        return Ok(());
    }
    let mut old = state.ledger.told.iter().filter(|c| **c != secret.credential);
    if old.clone().any(|c| state.database.logs_in(*c)) {
        return wrong("an old password outlives its rotation");
    }
    let listed = |c: &Credential| {
        let list = state.cluster.list;
        list.is_some_and(|list| list.entries.get(c.user) == Some(&c.password))
    };
    if old.any(listed) {
        return wrong("an old password outlives its rotation in the pooler's list");
    }
    Ok(())
}

/// Fifty turns more, each at its time, and nothing changes. A turn that finds nothing to do writes nothing.
fn stays(mind: &impl Mind, state: &State) -> Result<(), Broken> {
    let mut state = state.clone();
    let rested = key(&state, false);
    for _ in 0..50 {
        // Also a wake that nobody asked for changes nothing.
        state.controller.wake.get_or_insert(state.now + 1_000);
        let took = take(mind, awake(&state), &Vec::new());
        if let Some(broken) = took.broken {
            return Err(broken);
        }
        if !took.writes.is_empty() {
            return Err(format!("L: it rested, and then wrote {:?}", took.writes));
        }
        state = took.state;
    }
    if state.cluster.revision > 0 && rested == 0 {
        return Err("L: unreachable".into());
    }
    Ok(())
}

/// Where the world stands, in a line.
pub fn situation(state: &State) -> String {
    let policy = state.cluster.policy.as_ref();
    let conditions = policy.map(|policy| {
        let shown = policy
            .status
            .conditions
            .iter()
            .map(|c| format!("{}={}/{}", c.type_, c.status, c.reason));
        shown.collect::<Vec<_>>().join(" ")
    });
    let journal = state.cluster.journal.as_ref().and_then(|kept| kept.journal());
    format!(
        "{:?} rotation {:?} secret {:?} store {:?} roles {:?} pods {:?} wake {:?} now {}",
        conditions.unwrap_or_default(),
        journal.map(|journal| (journal.number, journal.rotation.is_some())),
        state.cluster.secret.map(|secret| secret.credential),
        state
            .cluster
            .source
            .as_ref()
            .map(|source| (source.told(), source.versions.len(), source.asked)),
        state.database.primary,
        state
            .cluster
            .workloads
            .iter()
            .flat_map(|w| &w.pods)
            .collect::<Vec<_>>(),
        state.controller.wake,
        state.now,
    )
}
