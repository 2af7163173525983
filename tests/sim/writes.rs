//! Writes: from an action to what is sent, and what happens when it lands.

use std::sync::Arc;

use tandem::api::spec::RetireMode;
use tandem::effects::Error;
use tandem::machine::Action;
use tandem::machine::facts::Restarter;
use tandem::machine::step::Entry;
use tandem::policy::target::RoleName;

use super::answers::{View, landed, restart_mark};
use super::data::{
    AppSecret, BY_HAND, Content, Credential, Delivery, Id, JournalSecret, Mark, Name, Request, Role,
    SQL_DEADLINE, STORE_LAG, Source, State, Version, Write, user_index,
};
use super::failover::{expected, system};
use super::pooler;
use super::reloader::{self, restarter};
use super::rules::told;

impl Write {
    /// One word for stories.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Journal { entry, .. } => entry,
            Self::Secret { .. } | Self::Promote { .. } => "flip",
            Self::Propose { .. } => "propose",
            Self::Sync { .. } => "sync",
            Self::Restart { .. } | Self::StandIn { .. } => "restart",
            Self::Role { retire: true, .. } => "retire",
            Self::Role { .. } => "set_verifier",
            Self::List { retire: true, .. } => "strike",
            Self::List { .. } => "enlist",
            Self::Reload => "reload",
            Self::Terminate { .. } => "terminate",
            Self::Status { .. } => "publish",
        }
    }
}

/// What came of an action before anything was sent.
pub enum Made {
    /// It is to be sent.
    Write(Write),
    /// It is refused for good, for this reason.
    Refused(&'static str),
    /// The password is refused; another may do.
    Another,
}

impl Made {
    #[expect(clippy::unnecessary_wraps, reason = "it ends functions that can fail")]
    fn send(write: Write) -> Result<Self, Error> {
        Ok(Self::Write(write))
    }
}

/// Makes up the write for an action, with everything that the effects check before they send it.
pub fn make(state: &mut State, view: &View, action: &Action) -> Result<Made, Error> {
    match action {
        Action::Record { entry, next } => {
            let kept = view.journal.as_ref();
            if kept.is_some_and(|kept| matches!(kept.content, Content::Raw(_))) {
                return Err(unusable("the journal is corrupt"));
            }
            let (pending, retiring, previous) = match entry {
                Entry::Adopt => (None, None, None),
                Entry::Accept => {
                    let kept = kept.ok_or_else(|| conflict("journal"))?;
                    let watched = next.kept.as_ref().is_some_and(|kept| kept.retired.is_some());
                    (kept.pending, kept.retiring, kept.previous.filter(|_| watched))
                }
                Entry::Stage => (
                    Some(state.fresh_id()),
                    Some(state.fresh_id()),
                    truth(state).map(|c| c.password),
                ),
                Entry::Regenerate => (
                    Some(state.fresh_id()),
                    kept.and_then(|k| k.retiring),
                    kept.and_then(|k| k.previous),
                ),
                Entry::Recover => {
                    let carried = truth(state).ok_or_else(|| conflict("Secret"))?;
                    let rotation = next.rotation.as_ref().ok_or_else(|| conflict("journal"))?;
                    if carried.user != user_index(rotation.pending.as_str()) {
                        return Err(conflict("Secret"));
                    }
                    (Some(carried.password), Some(state.fresh_id()), None)
                }
                Entry::RollBack => {
                    let kept = kept.ok_or_else(|| conflict("journal"))?;
                    let before = kept.previous.ok_or_else(|| unusable("nobody knows it"))?;
                    (Some(before), Some(state.fresh_id()), kept.pending)
                }
                Entry::Reschedule
                | Entry::Deliver
                | Entry::Withdraw
                | Entry::RollOut
                | Entry::CallOff
                | Entry::Reapply
                | Entry::Finish => {
                    let kept = kept.ok_or_else(|| conflict("journal"))?;
                    (kept.pending, kept.retiring, kept.previous)
                }
            };
            let content = Content::Written(Arc::new(next.as_ref().clone()));
            Made::send(Write::Journal {
                expected: kept.map(|k| k.revision),
                new: JournalSecret {
                    revision: 0,
                    written: 0,
                    content,
                    pending,
                    retiring,
                    previous,
                },
                entry: action.label(),
            })
        }
        Action::SetVerifier { user } => {
            // A machine that sets a verifier without a journal gets what a careless effect would give it.
            let password = match view.brought() {
                Some(brought) => brought.password,
                None => state.fresh_id(),
            };
            let user = user_index(user.as_str());
            let back = view.retire_mode() == Some(RetireMode::NoLogin);
            let login = back || state.database.primary[user].login;
            role(
                state,
                view,
                user,
                Role {
                    verifier: password,
                    login,
                },
                false,
            )
        }
        Action::Retire { user, mode } => {
            let verifier = match view.journal.as_ref().and_then(|kept| kept.retiring) {
                Some(id) => id,
                None => state.fresh_id(),
            };
            let user = user_index(user.as_str());
            let login = *mode == RetireMode::Scramble && state.database.primary[user].login;
            role(state, view, user, Role { verifier, login }, true)
        }
        Action::Propose { base } => {
            let (name, credential) = proposal(view, base)?;
            let source = reachable(state)?;
            let taken = source.named(name).map(|index| source.versions[index].credential);
            if taken.is_some_and(|taken| taken != credential) {
                return Ok(Made::Another);
            }
            Made::send(Write::Propose { name, credential })
        }
        Action::Sync { version, times } => {
            let (number, _) = view.pending().ok_or_else(|| unusable("no rotation is running"))?;
            Made::send(Write::Sync {
                expected: version.parse().unwrap(),
                request: Request {
                    number,
                    times: *times,
                    at: state.second(),
                },
            })
        }
        // The user that is put back may be the one whose retirement was on its way.
        Action::Flip { .. } if view.undoes() && is_unsettled(state) => Err(unsettled()),
        Action::Flip { version } if state.cluster.source.is_some() => {
            let (name, credential) = proposal(view, version)?;
            Made::send(Write::Promote {
                from: name.base,
                name,
                credential,
            })
        }
        Action::Flip { version } => {
            let (number, credential) = view.pending().ok_or_else(|| unusable("no rotation is running"))?;
            let nonce = view.journal.as_ref().and_then(|kept| {
                kept.journal()?
                    .handled
                    .as_ref()?
                    .strip_prefix("nonce-")?
                    .parse()
                    .ok()
            });
            Made::send(Write::Secret {
                expected: version.parse().unwrap(),
                credential,
                number,
                nonce,
            })
        }
        Action::Restart { consumer, form, .. } => {
            let workload = state
                .cluster
                .workloads
                .iter()
                .position(|workload| workload.name == consumer.name)
                .ok_or_else(|| conflict("workload"))?;
            if *form == Restarter::Reloader {
                let left = state.cluster.workloads[workload].left;
                if restarter(&state.cluster, left, false) == Restarter::Tandem {
                    return Err(conflict("workload"));
                }
                let credential = named(state).ok_or_else(|| conflict("Secret"))?;
                return Made::send(Write::StandIn { workload, credential });
            }
            let number = view.pending().map_or(0, |(number, _)| number);
            // Gone since it was looked at: it will be delivered again, and a restart before that would be one too many.
            let delivered = landed(&state.cluster, view.journal.as_ref());
            let delivered = delivered.ok_or_else(|| conflict("Secret"))?;
            Made::send(Write::Restart {
                workload,
                mark: restart_mark(state.guards, number, Some(delivered)),
            })
        }
        Action::Enlist { user, version, .. } => entry(state, view, user, version, false),
        Action::Strike { user, version, .. } => entry(state, view, user, version, true),
        Action::Reload { .. } => Made::send(Write::Reload),
        Action::Terminate { user } => {
            if !state.database.up {
                return Ok(Made::Refused("DatabaseUnreachable"));
            }
            Made::send(Write::Terminate {
                user: user_index(user.as_str()),
            })
        }
    }
}

fn is_unsettled(state: &State) -> bool {
    state.guards.settle && state.now < state.controller.unsettled_until
}

fn unsettled() -> Error {
    Error::TimedOut {
        what: "the change of a role before this one".into(),
        seconds: 10,
    }
}

fn role(state: &State, view: &View, user: usize, role: Role, retire: bool) -> Result<Made, Error> {
    if is_unsettled(state) {
        return Err(unsettled());
    }
    if let Some(refused) = in_use(state, view, user, retire) {
        return Ok(refused);
    }
    if !state.database.up {
        return Ok(Made::Refused("DatabaseUnreachable"));
    }
    // Asked in the very session that would change it.
    if expected(view).is_some_and(|expected| expected != system(state)) {
        return Ok(Made::Refused("OtherServer"));
    }
    Made::send(Write::Role { user, role, retire })
}

/// An entry of the pooler's list, under the same rule.
fn entry(state: &State, view: &View, user: &RoleName, version: &str, retire: bool) -> Result<Made, Error> {
    let user = user_index(user.as_str());
    if let Some(refused) = in_use(state, view, user, retire) {
        return Ok(refused);
    }
    let kept = view.journal.as_ref();
    let verifier = kept.and_then(|kept| if retire { kept.retiring } else { kept.pending });
    Made::send(Write::List {
        expected: version.parse().unwrap(),
        user,
        verifier: verifier.ok_or_else(|| unusable("no rotation is running"))?,
        retire,
    })
}

/// The effects' own rule, whatever the machine asked for: about the Secret, and about the store.
fn in_use(state: &State, view: &View, user: usize, retire: bool) -> Option<Made> {
    if state.cluster.source.as_ref().is_some_and(|source| !source.up) {
        return Some(Made::Refused("StoreUnreachable"));
    }
    let safe = |told: Credential| {
        let carried = view.brought() == Some(told);
        if retire {
            carried && told.user != user
        } else {
            carried || told.user != user
        }
    };
    let stored = state.cluster.source.as_ref().map(Source::told);
    // A Secret that is gone tells nobody anything; where the store comes first, it comes back from there.
    let secret = named(state).map_or(stored.is_some() && !retire, safe);
    let safe = secret && stored.is_none_or(safe);
    (state.guards.named && !safe).then_some(Made::Refused("UserInUse"))
}

/// Whoever was told of this user is refused from now on, where that was asked for.
fn given_up(state: &mut State, user: usize) {
    if state.ledger.emergency {
        let held = told(state).into_iter().filter(|held| held.user == user);
        state.ledger.forsaken.extend(held);
    }
}

fn proposal(view: &View, base: &str) -> Result<(Name, Credential), Error> {
    let (number, credential) = view.pending().ok_or_else(|| unusable("no rotation is running"))?;
    let kept = view.journal.as_ref();
    let rejected = kept.and_then(|kept| Some(kept.journal()?.rotation.as_ref()?.rejected));
    let name = Name {
        number,
        rejected: rejected.unwrap_or(0),
        base: base.parse().unwrap(),
    };
    Ok((name, credential))
}

/// The source of truth: the store, where that comes first.
fn truth(state: &State) -> Option<Credential> {
    match &state.cluster.source {
        Some(source) => Some(source.told()),
        None => named(state),
    }
}

fn unusable(what: &str) -> Error {
    Error::Unusable(what.into())
}

fn named(state: &State) -> Option<Credential> {
    state.cluster.secret.map(|secret| secret.credential)
}

/// What a guard that did not hold answers.
pub fn conflict(what: &str) -> Error {
    Error::Conflict { what: what.into() }
}

/// Lets a write land, if its guard holds now.
pub fn land(state: &mut State, write: &Write) -> Result<(), Error> {
    match write {
        Write::Journal { expected, new, .. } => {
            let found = state.cluster.journal.as_ref().map(|kept| kept.revision);
            // The write that makes the Secret has no guard and needs none: it changes nothing in one that is there.
            let making = expected.is_none();
            if state.cluster.policy.is_none() || (state.guards.version && !making && found != *expected) {
                return Err(conflict("journal"));
            }
            if making && found.is_some() {
                return Ok(());
            }
            state.about_to_change();
            let mut new = JournalSecret {
                revision: state.cluster.revision,
                written: state.second(),
                ..new.clone()
            };
            if making {
                new = JournalSecret {
                    content: Content::Empty,
                    pending: None,
                    retiring: None,
                    previous: None,
                    ..new
                };
            }
            state.cluster.journal = Some(new);
        }
        Write::Secret {
            expected,
            credential,
            number,
            nonce,
        } => {
            let found = state.cluster.secret.map(|secret| secret.revision);
            if found.is_none() || (state.guards.version && found != Some(*expected)) {
                return Err(conflict("Secret"));
            }
            // The mark names the version that it replaces, so even the same delivery once more is a change.
            let delivered = Delivery {
                number: *number,
                nonce: *nonce,
                replaced: *expected,
                at: state.second(),
            };
            put_secret(state, *credential, Some(delivered));
            state.ledger.delivered = Some(*credential);
        }
        Write::Propose { name, credential } => {
            let source = reachable(state)?;
            match source.named(*name) {
                Some(index) if source.versions[index].credential == *credential => {}
                Some(_) => return Err(conflict("version")),
                None => write_version(
                    state,
                    Version {
                        name: Some(*name),
                        credential: *credential,
                    },
                ),
            }
        }
        Write::Promote {
            from,
            name,
            credential,
        } => {
            let source = reachable(state)?;
            let Some(to) = source.named(*name) else {
                return Err(conflict("version"));
            };
            if source.versions[to].credential != *credential {
                return Err(conflict("version"));
            }
            if source.current == to {
                return Ok(());
            }
            if source.current != *from {
                return Err(conflict("secret in the store"));
            }
            promote(state, to);
            let late = state.now + STORE_LAG;
            if let Some(source) = &mut state.cluster.source {
                source.seen_late_until = late;
            }
            state.ledger.delivered = Some(*credential);
        }
        Write::Sync { expected, request } => {
            let found = state.cluster.source.as_ref().map(|source| source.revision);
            if state.guards.version && found != Some(*expected) {
                return Err(conflict("ExternalSecret"));
            }
            ask(state, Some(*request));
        }
        Write::Restart { workload, mark } => restart(state, *workload, *mark),
        Write::StandIn { workload, credential } => reloader::mark(state, *workload, *credential),
        Write::Role { user, role, retire } => {
            if !state.database.up {
                return Err(Error::Postgres {
                    what: "connect".into(),
                    detail: "connection refused".into(),
                });
            }
            if *retire {
                given_up(state, *user);
            }
            if state
                .database
                .primary
                .get(*user)
                .is_some_and(|found| found != role)
            {
                state.database.behind = state.database.primary;
                state.database.primary[*user] = *role;
            }
        }
        Write::List {
            expected,
            user,
            verifier,
            ..
        } => {
            let list = state.cluster.list.ok_or_else(|| conflict("list"))?;
            if state.guards.version && list.revision != *expected {
                return Err(conflict("list"));
            }
            let mut entries = list.entries;
            entries[*user] = *verifier;
            pooler::put(state, entries);
        }
        Write::Reload => pooler::reread(state),
        Write::Terminate { user } => terminate(state, *user),
        Write::Status { expected, status } => {
            let found = state.cluster.policy.as_ref().map(|policy| policy.revision);
            if found.is_none() || (state.guards.version && found != Some(*expected)) {
                return Err(conflict("policy"));
            }
            // No stale read is about the status, so it leaves no memory.
            state.cluster.revision += 1;
            let revision = state.cluster.revision;
            if let Some(policy) = &mut state.cluster.policy {
                policy.revision = revision;
                policy.status = Arc::clone(status);
            }
        }
    }
    Ok(())
}

fn reachable(state: &State) -> Result<&Source, Error> {
    let source = state.cluster.source.as_ref().filter(|source| source.up);
    source.ok_or_else(|| unusable("the store cannot be reached"))
}

/// Writes a version that nobody reads yet.
pub fn write_version(state: &mut State, version: Version) {
    state.about_to_change();
    if let Some(source) = &mut state.cluster.source {
        source.versions.push(version);
    }
}

/// Makes another version current. Only a flip of Tandem's is seen late: people are not that quick.
pub fn promote(state: &mut State, to: usize) {
    state.about_to_change();
    if let Some(source) = &mut state.cluster.source {
        source.previous = source.current;
        source.current = to;
        source.seen_late_until = 0;
        state.ledger.told.insert(source.versions[to].credential);
    }
}

/// Asks the operator to sync.
pub fn ask(state: &mut State, request: Option<Request>) {
    state.about_to_change();
    let revision = state.cluster.revision;
    if let Some(source) = &mut state.cluster.source {
        source.revision = revision;
        source.request = request.or(source.request);
        source.asked = true;
    }
}

/// The operator copies what the store shows it.
pub fn sync(state: &mut State, late: bool) {
    let Some(source) = &mut state.cluster.source else {
        return;
    };
    source.asked = false;
    source.seen_late_until = 0;
    let shown = if late { source.previous } else { source.current };
    let credential = source.versions[shown].credential;
    if state
        .cluster
        .secret
        .is_none_or(|secret| secret.credential != credential)
    {
        put_secret(state, credential, None);
    }
}

/// Gives the Secret another content.
pub fn put_secret(state: &mut State, credential: Credential, delivered: Option<Delivery>) {
    state.about_to_change();
    for workload in &mut state.cluster.workloads {
        workload.turned = 0;
    }
    if named(state) != Some(credential) {
        reloader::notice(state, credential);
    }
    state.cluster.secret = Some(AppSecret {
        revision: state.cluster.revision,
        credential,
        written: state.second(),
        delivered,
    });
    state.ledger.told.insert(credential);
}

/// Gives a pod template another mark.
fn restart(state: &mut State, workload: usize, mark: Mark) {
    if state.cluster.workloads[workload].mark == Some(mark) {
        return;
    }
    state.about_to_change();
    let workload = &mut state.cluster.workloads[workload];
    workload.mark = Some(mark);
    workload.turned += 1;
}

/// A person restarts by hand.
pub fn restart_by_hand(state: &mut State, workload: usize) {
    restart(state, workload, BY_HAND);
    state.cluster.workloads[workload].turned = 0;
}

/// Gives a pod template back as it was before every rotation.
pub fn undo(state: &mut State, workload: usize) {
    state.about_to_change();
    let workload = &mut state.cluster.workloads[workload];
    workload.taken_back = workload.mark.or(workload.taken_back);
    workload.undone = workload.reloaded.or(workload.undone);
    workload.mark = None;
    workload.reloaded = None;
    workload.turned = 0;
}

fn terminate(state: &mut State, user: usize) {
    for workload in &mut state.cluster.workloads {
        for pod in workload.pods.iter_mut().filter(|pod| pod.credential.user == user) {
            pod.session = false;
        }
    }
    if let Some(outsider) = &mut state.database.outsider
        && outsider.credential.user == user
    {
        outsider.session = false;
    }
    pooler::pool(state, |pooler| {
        pooler.connections[user] = false;
    });
    reconnect(state);
}

/// Every application that lost its session logs in again at once, as connection pools do.
pub fn reconnect(state: &mut State) {
    let secret = named(state);
    for workload in state
        .cluster
        .workloads
        .iter_mut()
        .filter(|workload| !workload.idle)
    {
        for pod in workload
            .pods
            .iter_mut()
            .filter(|pod| !pod.session && !pod.terminating)
        {
            if workload.rereads
                && let Some(credential) = secret
            {
                pod.credential = credential;
            }
            pod.session = state.database.logs_in(pod.credential);
        }
    }
    if let Some(mut outsider) = state.database.outsider {
        outsider.session |= outsider.stubborn && state.database.logs_in(outsider.credential);
        state.database.outsider = Some(outsider);
    }
}

/// How long a write that was given up can still land.
pub fn lifetime(state: &State, write: &Write) -> i64 {
    match write {
        Write::Role { .. } | Write::Terminate { .. } if state.guards.deadline => SQL_DEADLINE,
        Write::Role { .. }
        | Write::Terminate { .. }
        | Write::Journal { .. }
        | Write::Secret { .. }
        | Write::Propose { .. }
        | Write::Promote { .. }
        | Write::Sync { .. }
        | Write::Restart { .. }
        | Write::StandIn { .. }
        | Write::List { .. }
        | Write::Reload
        | Write::Status { .. } => super::data::API_DEADLINE,
    }
}

/// Materials of the journal, for tests that look inside.
pub fn materials(state: &State) -> Option<(Id, Id)> {
    let kept = state.cluster.journal.as_ref()?;
    Some((kept.pending?, kept.retiring?))
}
