//! What happens besides the controller's own work: life goes on, faults strike, people meddle.

use std::fmt;
use std::sync::Arc;

use super::answers::{report_count, session_count};
use super::data::{Content, Credential, Pod, Reader, Role, Source, State, Version, Workload};
use super::failover::{Age, ages, befall, come_back, forget, point_back};
use super::pooler::{self, pool, pooled_count};
use super::reloader::{is_busy, once, reload, turn};
use super::rules::{Broken, everybody_logs_in, excuse, one_pending, working};
use super::start::{FIRST, NEVER};
use super::writes::{ask, land, promote, put_secret, reconnect, restart_by_hand, sync, undo, write_version};

/// Anything that a plan can put before or into a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Costs nothing: it is nobody's fault.
    Life(Life),
    /// Costs one of the budget.
    Fault(Fault),
}

/// What happens at any time by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Kubernetes replaces a pod: the new one loads what the Secret says now, the old one begins to terminate.
    Replace { workload: usize, pod: usize },
    /// A terminating pod is gone.
    Gone { workload: usize, pod: usize },
    /// One pod more is wanted (fm42).
    Spawn { workload: usize },
    /// An application that reads the Secret again opens a new session.
    Relogin { workload: usize, pod: usize },
    /// A write that its sender had given up lands.
    Land(usize),
    /// The operator copies the store's current version into the Secret, asked or not.
    Sync,
    /// The same, and the store still shows it the version before.
    SyncLate,
    /// Reloader deals with a change of the Secret.
    Reload,
    /// The replica replays what the primary has written.
    Replay,
    /// The report there ends.
    EndReport,
    /// What was to befall the server does.
    Befall(Age),
    /// The server is there again.
    Back,
    /// The pooler's list comes to where it is mounted.
    Mount,
    /// The pooler's client leaves.
    Leave,
    /// The pooler closes a connection that has been idle for too long.
    Close(usize),
    /// The finalizer is taken off a deleted policy; its journal goes with it.
    Finalize,
    /// Somebody gives the running rotation up.
    Abort,
}

/// The ten kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The process ends just before the write.
    CrashBefore,
    /// The process ends just after it.
    CrashAfter,
    /// An error, and nothing was changed.
    NotApplied,
    /// An error, and yet it landed.
    Applied,
    /// It is applied twice, and the second answer is heard.
    Twice,
    /// It is given up and may land later.
    Late,
    /// The cluster is read as it was so many writes ago.
    Stale(usize),
    /// A person does something and the watch event is lost.
    Missed(Meddle),
    /// Another replica, whose lease has run out without its noticing, takes a turn here; what it loads first is so
    /// many writes old.
    Rival(usize),
    /// This process is frozen at its write; another takes the lease, and some time the write goes out after all.
    Paused,
    /// A person, or the surroundings, change something.
    Meddle(Meddle),
}

/// What people and surroundings do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Meddle {
    Suspend,
    Resume,
    RotateNow,
    ForgetRotateNow,
    SwapUsers,
    BreakSpec,
    MendSpec,
    DeletePolicy,
    DeleteJournal,
    CorruptJournal,
    DeleteSecret,
    /// Somebody replaces the Secret by its first manifest (fm30).
    RevertSecret,
    /// A person asks for what the last rotation had set to be set once more.
    Reapply,
    /// Somebody applies the first manifest, as `GitOps` does: annotations that it does not know stay.
    ReapplySecret,
    RenameSecretUser,
    UnmarkSecret,
    /// `kubectl rollout undo` (fm35).
    UndoRollout(usize),
    /// `kubectl rollout restart`.
    RestartByHand(usize),
    ScaleToZero(usize),
    /// What kept new pods from becoming ready is mended.
    MendPods,
    ChangePassword(usize),
    /// The replica is promoted; what it had not replayed is lost (fm21).
    Promote,
    DatabaseDown,
    DatabaseUp,
    /// A person points the database's name back to the cluster that it led to.
    PointBack,
    /// The pooler is restarted.
    RestartPooler,
    /// Somebody else lets the pooler read its list.
    RereadList,
    /// A person writes into the list what the server has.
    MendList,
    StoreDown,
    StoreUp,
    /// The operator stops; what was asked meanwhile it finds when it is back.
    OperatorDown,
    OperatorUp,
    /// Reloader ends, and what it had seen and not done is lost; nor does it see what changes meanwhile.
    ReloaderDown,
    ReloaderUp,
    /// A person asks the operator to sync.
    AskSync,
    /// Somebody makes the version before current again.
    MoveBack,
    /// Somebody writes other properties of the document: a new current version with the same credential.
    PutOther,
}

/// What a corrupt journal holds; nobody must ever see it again (S6).
pub const SENTINEL: &str = "hunter2-sentinel";
const CORRUPT: &str = "{\"schema\":1,\"policy\":\"hunter2-sentinel\",\"number\":\"hunter2-sentinel\"}";

/// Everything that can happen by itself now.
pub fn lives(state: &State) -> Vec<Life> {
    let mut lives = Vec::new();
    for (w, workload) in state.cluster.workloads.iter().enumerate() {
        for (p, pod) in workload.pods.iter().enumerate() {
            if pod.terminating {
                lives.push(Life::Gone { workload: w, pod: p });
            } else if can_replace(state, workload, pod) {
                lives.push(Life::Replace { workload: w, pod: p });
            }
            if workload.rereads
                && state
                    .cluster
                    .secret
                    .is_some_and(|s| pod.credential != s.credential && state.database.logs_in(s.credential))
            {
                lives.push(Life::Relogin { workload: w, pod: p });
            }
        }
        if workload.elastic
            && rotating(state)
            && workload.replicas == 1
            && workload.pods.len() == 1
            && state.cluster.secret.is_some()
        {
            lives.push(Life::Spawn { workload: w });
        }
    }
    lives.extend((0..state.flights.len()).map(Life::Land));
    if let Some(source) = &state.cluster.source
        && source.up
        && source.operator
    {
        let differs = |credential| {
            state
                .cluster
                .secret
                .is_none_or(|secret| secret.credential != credential)
        };
        if source.asked || differs(source.told()) {
            lives.push(Life::Sync);
        }
        // Who has seen a move is not shown what was before it again.
        if state.now < source.seen_late_until && differs(source.told()) {
            lives.push(Life::SyncLate);
        }
    }
    if is_busy(state) {
        lives.push(Life::Reload);
    }
    if state.database.is_late() {
        lives.push(Life::Replay);
    }
    if state
        .database
        .reader
        .is_some_and(|reader| reader.report.is_some())
    {
        lives.push(Life::EndReport);
    }
    lives.extend(ages(state).into_iter().map(Life::Befall));
    if state.database.away {
        lives.push(Life::Back);
    }
    if let Some(pooler) = state.database.pooler {
        if state.cluster.list.is_some_and(|list| list.entries != pooler.file) {
            lives.push(Life::Mount);
        }
        if pooler.client.is_some() {
            lives.push(Life::Leave);
        }
        let open = (0..pooler.connections.len()).filter(|user| pooler.connections[*user]);
        lives.extend(open.map(Life::Close));
    }
    if state
        .cluster
        .policy
        .as_ref()
        .is_some_and(|policy| policy.deleting)
    {
        lives.push(Life::Finalize);
    }
    let asked = state.cluster.policy.as_ref().map(|policy| policy.abort.is_some());
    if state.abortable && asked == Some(false) && rotating(state) {
        lives.push(Life::Abort);
    }
    lives
}

fn can_replace(state: &State, workload: &Workload, pod: &Pod) -> bool {
    if workload.rereads {
        return false;
    }
    if workload.rejects.is_some() || workload.pods.iter().any(|pod| !pod.ready) {
        return rolls(state, workload, pod).is_some();
    }
    let live = workload.pods.iter().filter(|pod| !pod.terminating).count();
    if live > workload.replicas {
        return true;
    }
    let current = |credential| {
        pod.mark == workload.mark && pod.reloaded == workload.reloaded && pod.credential == credential
    };
    workload.pods.len() < 3
        && state
            .cluster
            .secret
            .is_some_and(|secret| !current(secret.credential))
}

/// What a rolling update does to a pod, where new ones may not become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Roll {
    /// It goes, and another comes.
    Exchange,
    /// Another comes, which is not ready, so it stays.
    Surge,
    /// It goes.
    Remove,
}

fn rolls(state: &State, workload: &Workload, pod: &Pod) -> Option<Roll> {
    let secret = state.cluster.secret?.credential;
    let comes_up = workload.rejects != Some(secret.user);
    let live = workload.pods.iter().filter(|pod| !pod.terminating);
    let surplus = live.clone().count() > workload.replicas;
    let of_template = |pod: &Pod| pod.mark == workload.mark;
    let others_ready = live.clone().filter(|other| other.ready).count() > usize::from(pod.ready);
    let current = of_template(pod) && pod.credential == secret;
    let room = workload.pods.len() < 3;
    if surplus && others_ready && !(current && pod.ready) && (!of_template(pod) || comes_up) {
        let replaced = live.clone().any(|other| other.ready && of_template(other));
        return (replaced || !pod.ready).then_some(Roll::Remove);
    }
    if current && (pod.ready || !comes_up) || !room {
        return None;
    }
    if comes_up || !pod.ready {
        return Some(Roll::Exchange);
    }
    let stuck = live.clone().any(|other| !other.ready && of_template(other));
    (!stuck).then_some(Roll::Surge)
}

/// Lets it happen, and judges what came of it.
pub fn live(state: &mut State, life: Life) -> Option<Broken> {
    let late = match life {
        Life::Land(index) => state.flights.get(index).map(|flight| flight.write.clone()),
        _ => None,
    };
    let running = rotating(state);
    let landed = happen(state, life);
    let s4 = late
        .filter(|_| landed)
        .and_then(|write| one_pending(state, running, &write));
    everybody_logs_in(state).or(s4).or_else(|| once(state))
}

/// Whether the journal holds a rotation.
pub fn rotating(state: &State) -> bool {
    let journal = state.cluster.journal.as_ref().and_then(|kept| kept.journal());
    journal.is_some_and(|journal| journal.rotation.is_some())
}

fn happen(state: &mut State, life: Life) -> bool {
    match life {
        Life::Replace { workload, pod } => {
            let set = &state.cluster.workloads[workload];
            let live = set.pods.iter().filter(|pod| !pod.terminating).count();
            let careful = set.rejects.is_some() || set.pods.iter().any(|pod| !pod.ready);
            let roll = match careful {
                true => rolls(state, set, &set.pods[pod]),
                false if live > set.replicas => Some(Roll::Remove),
                false => Some(Roll::Exchange),
            };
            state.cluster.workloads[workload].pods[pod].terminating = roll != Some(Roll::Surge);
            if roll != Some(Roll::Remove) {
                spawn(state, workload);
            }
            if !state.cluster.workloads[workload].graceful {
                state.cluster.workloads[workload]
                    .pods
                    .retain(|pod| !pod.terminating);
            }
        }
        Life::Gone { workload, pod } => {
            state.cluster.workloads[workload].pods.remove(pod);
        }
        Life::Spawn { workload } => {
            state.cluster.workloads[workload].replicas = 2;
            spawn(state, workload);
        }
        Life::Relogin { workload, pod } => {
            state.cluster.workloads[workload].pods[pod].session = false;
            reconnect(state);
        }
        Life::Land(index) => {
            let flight = state.flights.remove(index);
            if state.now <= flight.expires {
                // Nobody hears the answer any more.
                return land(state, &flight.write).is_ok();
            }
        }
        Life::Sync => sync(state, false),
        Life::SyncLate => sync(state, true),
        Life::Reload => reload(state),
        Life::Replay => {
            let written = state.database.primary;
            read(state, |reader| reader.roles = written);
        }
        Life::EndReport => read(state, |reader| reader.report = None),
        Life::Befall(age) => befall(state, age),
        Life::Back => come_back(state),
        Life::Mount => pooler::mount(state),
        Life::Leave => pool(state, |pooler| pooler.client = None),
        Life::Close(user) => pool(state, |pooler| pooler.connections[user] = false),
        Life::Finalize => {
            state.about_to_change();
            state.cluster.policy = None;
            state.cluster.journal = None;
            state.controller.wake = None;
        }
        Life::Abort => {
            state.about_to_change_policy();
            if let Some(policy) = &mut state.cluster.policy {
                policy.abort = Some(1);
            }
            state.controller.wake = Some(state.now);
        }
    }
    false
}

fn spawn(state: &mut State, index: usize) {
    let Some(secret) = &state.cluster.secret else {
        return;
    };
    let workload = &state.cluster.workloads[index];
    let pod = Pod {
        credential: secret.credential,
        created: state.second(),
        mark: workload.mark,
        reloaded: workload.reloaded,
        terminating: false,
        session: !workload.idle && state.database.logs_in(secret.credential),
        ready: workload.rejects != Some(secret.credential.user),
    };
    let pods = &mut state.cluster.workloads[index].pods;
    pods.push(pod);
    pods.sort_unstable();
}

/// Everything that somebody could do now.
pub fn meddles(state: &State) -> Vec<Meddle> {
    let mut meddles = vec![
        Meddle::Promote,
        Meddle::ChangePassword(0),
        Meddle::ChangePassword(1),
    ];
    meddles.push(if state.database.up {
        Meddle::DatabaseDown
    } else {
        Meddle::DatabaseUp
    });
    if let Some(policy) = &state.cluster.policy
        && !policy.deleting
    {
        meddles.push(if policy.spec.suspend {
            Meddle::Resume
        } else {
            Meddle::Suspend
        });
        meddles.push(
            if policy.spec.schedule.as_ref().is_some_and(|s| s.cron.is_some()) {
                Meddle::MendSpec
            } else {
                Meddle::BreakSpec
            },
        );
        meddles.extend([Meddle::DeletePolicy, Meddle::SwapUsers]);
        if policy.rotate_now.is_none_or(|n| n < 2) {
            meddles.push(Meddle::RotateNow);
        }
        if policy.rotate_now.is_some() {
            meddles.push(Meddle::ForgetRotateNow);
        }
    }
    if state.cluster.journal.is_some() {
        meddles.extend([Meddle::DeleteJournal, Meddle::CorruptJournal]);
    }
    if let Some(source) = &state.cluster.source {
        store_meddles(state, source, &mut meddles);
    } else if let Some(secret) = &state.cluster.secret {
        meddles.extend([Meddle::DeleteSecret, Meddle::RenameSecretUser]);
        if secret.delivered.is_some() {
            meddles.push(Meddle::UnmarkSecret);
        }
    }
    if state.cluster.source.is_none()
        && state
            .cluster
            .secret
            .is_none_or(|secret| secret.credential != FIRST[0])
    {
        meddles.extend([Meddle::RevertSecret, Meddle::ReapplySecret]);
    }
    if let Some(pooler) = state.database.pooler {
        meddles.push(Meddle::RestartPooler);
        if pooler.memory != pooler.file {
            meddles.push(Meddle::RereadList);
        }
    }
    if let Some(reloader) = &state.cluster.reloader {
        if is_busy(state) {
            // Another takes its place at once, and does not know what it had seen.
            meddles.push(Meddle::ReloaderUp);
        }
        meddles.push(if reloader.up {
            Meddle::ReloaderDown
        } else {
            Meddle::ReloaderUp
        });
    }
    for (w, workload) in state.cluster.workloads.iter().enumerate() {
        if workload.mark.is_some() || workload.reloaded.is_some() {
            meddles.push(Meddle::UndoRollout(w));
        }
        if workload.replicas > 0 {
            meddles.push(Meddle::ScaleToZero(w));
        }
    }
    meddles
}

/// What can be done about the store and the operator. A Secret that the operator writes is put back by it at once when
/// somebody edits it, and made again when somebody deletes it.
fn store_meddles(state: &State, source: &Source, meddles: &mut Vec<Meddle>) {
    meddles.push(if source.up {
        Meddle::StoreDown
    } else {
        Meddle::StoreUp
    });
    meddles.push(if source.operator {
        Meddle::OperatorDown
    } else {
        Meddle::OperatorUp
    });
    if source.up {
        meddles.push(Meddle::PutOther);
        // Back and forth between two looks leaves no trace: a limit that docs/store-first.md names.
        if source.previous < source.current {
            meddles.push(Meddle::MoveBack);
        }
    }
    if state.cluster.secret.is_some() {
        meddles.push(Meddle::DeleteSecret);
    }
}

/// Does it, and says whether the controller's watch sees it.
pub fn meddle(state: &mut State, what: Meddle) -> bool {
    let worked = working(state);
    let wakes = apply(state, what);
    excuse(state, &worked);
    wakes
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm for each, side by side, is how it is read"
)]
fn apply(state: &mut State, what: Meddle) -> bool {
    match what {
        Meddle::Suspend => edit(state, |spec| spec.suspend = true),
        Meddle::Resume => edit(state, |spec| spec.suspend = false),
        Meddle::SwapUsers => edit(state, |spec| spec.users.reverse()),
        Meddle::BreakSpec => edit(state, |spec| {
            spec.schedule = Some(serde_json::from_value(serde_json::json!({"cron": NEVER})).unwrap());
        }),
        Meddle::MendSpec => edit(state, |spec| spec.schedule = None),
        Meddle::RotateNow => annotate(state, |n| Some(n.unwrap_or(0) + 1)),
        Meddle::ForgetRotateNow => annotate(state, |_| None),
        Meddle::MendPods => {
            state.about_to_change();
            for workload in &mut state.cluster.workloads {
                workload.rejects = None;
            }
            false
        }
        Meddle::DeletePolicy => {
            state.about_to_change_policy();
            state.ledger.meddled = true;
            if let Some(policy) = &mut state.cluster.policy {
                policy.deleting = true;
            }
            true
        }
        Meddle::DeleteJournal => {
            state.about_to_change();
            state.cluster.journal = None;
            forget(state);
            state.ledger.staged.clear();
            false
        }
        Meddle::CorruptJournal => {
            state.about_to_change();
            let revision = state.cluster.revision;
            if let Some(kept) = &mut state.cluster.journal {
                kept.revision = revision;
                kept.content = Content::Raw(CORRUPT);
            }
            forget(state);
            state.ledger.staged.clear();
            false
        }
        Meddle::Reapply => {
            state.about_to_change_policy();
            if let Some(policy) = &mut state.cluster.policy {
                policy.reapply = Some(policy.reapply.unwrap_or(0) + 1);
            }
            true
        }
        Meddle::DeleteSecret => {
            state.about_to_change();
            state.cluster.secret = None;
            false
        }
        Meddle::RevertSecret => {
            state.ledger.meddled = true;
            put_secret(state, FIRST[0], None);
            false
        }
        Meddle::ReapplySecret => {
            state.ledger.meddled = true;
            let delivered = state.cluster.secret.and_then(|secret| secret.delivered);
            put_secret(state, FIRST[0], delivered);
            false
        }
        Meddle::RenameSecretUser => {
            if let Some(secret) = state.cluster.secret {
                put_secret(
                    state,
                    Credential {
                        user: 2,
                        ..secret.credential
                    },
                    secret.delivered,
                );
                state.ledger.meddled = true;
            }
            false
        }
        Meddle::UnmarkSecret => {
            if let Some(secret) = state.cluster.secret {
                put_secret(state, secret.credential, None);
            }
            false
        }
        Meddle::UndoRollout(workload) => {
            undo(state, workload);
            false
        }
        Meddle::RestartByHand(workload) => {
            restart_by_hand(state, workload);
            false
        }
        Meddle::ScaleToZero(workload) => {
            state.about_to_change();
            state.cluster.workloads[workload].replicas = 0;
            false
        }
        Meddle::ChangePassword(user) => {
            let verifier = state.fresh_id();
            state.database.primary[user] = Role {
                verifier,
                login: true,
            };
            state.database.replica[user] = state.database.primary[user];
            state.ledger.meddled = true;
            false
        }
        Meddle::Promote => {
            state.database.timeline += 1;
            if state.database.primary != state.database.replica {
                state.ledger.meddled = true;
            }
            state.database.primary = state.database.replica;
            // It follows the new one, from where that stands.
            let promoted = state.database.primary;
            read(state, |reader| reader.roles = promoted);
            drop_sessions(state);
            false
        }
        Meddle::DatabaseDown => {
            state.database.up = false;
            drop_sessions(state);
            false
        }
        Meddle::DatabaseUp => {
            come_back(state);
            false
        }
        Meddle::PointBack => {
            point_back(state);
            false
        }
        Meddle::RestartPooler => {
            pooler::restart(state);
            false
        }
        Meddle::RereadList => {
            pooler::reread(state);
            false
        }
        Meddle::MendList => {
            pooler::mend(state);
            false
        }
        Meddle::StoreDown => source(state, |source| source.up = false),
        Meddle::StoreUp => source(state, |source| source.up = true),
        Meddle::OperatorDown => source(state, |source| source.operator = false),
        Meddle::OperatorUp => source(state, |source| source.operator = true),
        Meddle::ReloaderDown => {
            turn(state, false);
            false
        }
        Meddle::ReloaderUp => {
            turn(state, true);
            false
        }
        Meddle::AskSync => {
            ask(state, None);
            false
        }
        Meddle::MoveBack => {
            state.ledger.meddled = true;
            if let Some(previous) = state.cluster.source.as_ref().map(|source| source.previous) {
                promote(state, previous);
            }
            false
        }
        Meddle::PutOther => {
            if let Some(credential) = state.cluster.source.as_ref().map(Source::told) {
                let name = None;
                write_version(state, Version { name, credential });
                let newest = state
                    .cluster
                    .source
                    .as_ref()
                    .map_or(0, |source| source.versions.len() - 1);
                promote(state, newest);
            }
            false
        }
    }
}

fn read(state: &mut State, change: impl FnOnce(&mut Reader)) {
    if let Some(reader) = &mut state.database.reader {
        change(reader);
    }
}

fn source(state: &mut State, change: impl FnOnce(&mut Source)) -> bool {
    state.about_to_change();
    if let Some(source) = &mut state.cluster.source {
        change(source);
    }
    false
}

fn edit(state: &mut State, change: impl FnOnce(&mut tandem::api::RotationPolicySpec)) -> bool {
    state.about_to_change_policy();
    if let Some(policy) = &mut state.cluster.policy {
        change(Arc::make_mut(&mut policy.spec));
        policy.generation += 1;
    }
    true
}

fn annotate(state: &mut State, change: impl FnOnce(Option<u32>) -> Option<u32>) -> bool {
    state.about_to_change_policy();
    if let Some(policy) = &mut state.cluster.policy {
        policy.rotate_now = change(policy.rotate_now);
    }
    true
}

/// Every connection breaks; whoever can log in does so again.
pub fn drop_sessions(state: &mut State) {
    for pod in state
        .cluster
        .workloads
        .iter_mut()
        .flat_map(|workload| &mut workload.pods)
    {
        pod.session = false;
    }
    if let Some(outsider) = &mut state.database.outsider {
        outsider.session = false;
    }
    pool(state, |pooler| pooler.connections = [false; 2]);
    debug_assert_eq!(
        session_count(state, 0),
        report_count(state, 0) + pooled_count(state, 0)
    );
    if state.database.up {
        reconnect(state);
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Life(life) => write!(f, "{life:?}"),
            Self::Fault(Fault::Meddle(what)) => write!(f, "{what:?}"),
            Self::Fault(fault) => write!(f, "{fault:?}"),
        }
    }
}
