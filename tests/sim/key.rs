//! What makes two worlds the same for everything that can still happen: times as far as they decide, passwords,
//! versions and marks by what they equal, not by what they are.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use tandem::api::{RotationPolicySpec, RotationPolicyStatus};
use tandem::machine::Journal;

use super::answers::{is_old, landed, restart_mark, spared_before};
use super::data::{Cluster, Credential, Id, JournalSecret, Mark, Source, State, Write, millis};
use super::pooler::Userlist;
use super::reloader::{GRACE, Reloader, proves, returned};

/// Two worlds with the same key go on in the same way. `memory` includes what old reads would show, which matters
/// only while a fault can still strike.
pub fn key(state: &State, memory: bool) -> u64 {
    let mut canon = Canon::default();
    canon.database(state);
    canon.cluster(state, &state.cluster);
    let controller = &state.controller;
    canon.put(controller.wake.map(|wake| (wake - state.now).clamp(-1, 60_000)));
    canon.put(remaining(controller.leads_from - state.now));
    canon.put(
        controller
            .streak
            .map(|s| (s.number, s.polls.min(9), (state.now - s.since).min(1_000))),
    );
    canon.put(remaining(controller.unsettled_until - state.now));
    for flight in &state.flights {
        canon.put(remaining(flight.expires - state.now));
        canon.write(state, &flight.write);
    }
    canon.ledger(state);
    canon.put(state.guards);
    if memory {
        for old in &state.recent {
            canon.old(state, old);
        }
    }
    canon.hasher.finish()
}

/// Steps of five seconds; nothing is waited for more finely.
fn remaining(millis: i64) -> i64 {
    (millis.max(0) + 4_999) / 5_000
}

#[derive(Default)]
struct Canon {
    hasher: DefaultHasher,
    ids: HashMap<Id, u32>,
    revisions: HashMap<u32, u32>,
    marks: HashMap<Mark, u32>,
}

impl Canon {
    fn put(&mut self, value: impl Hash) {
        value.hash(&mut self.hasher);
    }

    fn name(&mut self, id: Id) -> u32 {
        let next = u32::try_from(self.ids.len()).unwrap();
        *self.ids.entry(id).or_insert(next)
    }

    fn id(&mut self, id: Option<Id>) {
        let name = id.map(|id| self.name(id));
        self.put(name);
    }

    fn credential(&mut self, credential: Credential) {
        self.put(credential.user);
        self.id(Some(credential.password));
    }

    fn revision(&mut self, revision: Option<u32>) {
        let next = u32::try_from(self.revisions.len()).unwrap();
        let name = revision.map(|revision| *self.revisions.entry(revision).or_insert(next));
        self.put(name);
    }

    fn mark(&mut self, mark: Option<Mark>) {
        let next = u32::try_from(self.marks.len()).unwrap();
        let name = mark.map(|mark| *self.marks.entry(mark).or_insert(next));
        self.put(name);
    }

    fn database(&mut self, state: &State) {
        let database = &state.database;
        self.put((database.up, database.timeline > 1));
        self.put((
            database.fate,
            database.away,
            database.set_back,
            database.own.is_some(),
        ));
        let behind = database.fate.map(|_| database.behind);
        let elsewhere = [behind, database.own].into_iter().flatten().flatten();
        for role in elsewhere {
            self.id(Some(role.verifier));
            self.put(role.login);
        }
        for role in database.primary.iter().chain(&database.replica) {
            self.id(Some(role.verifier));
            self.put(role.login);
        }
        if let Some(reader) = database.reader {
            for role in reader.roles {
                self.id(Some(role.verifier));
                self.put(role.login);
            }
            self.put(reader.report.is_some());
        }
        if let Some(pooler) = database.pooler {
            for id in pooler.file.into_iter().chain(pooler.memory) {
                self.id(Some(id));
            }
            self.put((pooler.client.is_some(), pooler.connections));
        }
        if let Some(outsider) = database.outsider {
            self.credential(outsider.credential);
            self.put((outsider.session, outsider.stubborn));
        }
    }

    fn cluster(&mut self, state: &State, cluster: &Cluster) {
        self.put(cluster.policy.is_some());
        if let Some(policy) = &cluster.policy {
            self.revision(Some(policy.revision));
            self.spec(&policy.spec);
            self.put((policy.deleting, policy.rotate_now, policy.abort, policy.reapply));
            self.status(&policy.status, policy.generation);
        }
        self.put(cluster.journal.is_some());
        if let Some(kept) = &cluster.journal {
            self.revision(Some(kept.revision));
            self.id(kept.pending);
            self.id(kept.retiring);
            self.id(kept.previous);
            self.put(matches!(kept.content, super::data::Content::Empty));
            match kept.journal() {
                Some(journal) => self.journal(state, journal),
                None => self.put("raw"),
            }
        }
        let number = cluster
            .journal
            .as_ref()
            .and_then(|kept| kept.journal())
            .map_or(0, |journal| journal.number);
        let delivered = cluster.secret.and_then(|secret| secret.delivered);
        let landed = landed(cluster, cluster.journal.as_ref());
        let mark = restart_mark(state.guards, number, landed);
        self.mark(Some(mark));
        let spared = spared_before(cluster.journal.as_ref());
        let began = cluster.journal.as_ref().and_then(began);
        if let Some(source) = &cluster.source {
            self.source(state, source);
        }
        if let Some(secret) = cluster.secret {
            self.revision(Some(secret.revision));
            self.credential(secret.credential);
            self.put(delivered.map(|d| (d.number, d.nonce, age(state.now - d.at))));
        }
        if let Some(list) = cluster.list {
            self.list(list);
        }
        if let Some(reloader) = &cluster.reloader {
            self.reloader(reloader);
            self.put(landed.map(|landed| remaining(landed.at + GRACE - state.now)));
        }
        let proves = proves(cluster, cluster.journal.as_ref());
        self.put(proves.is_some());
        self.put(returned(cluster, cluster.journal.as_ref()).is_some());
        for workload in &cluster.workloads {
            self.mark(workload.mark);
            self.reloaded(workload.reloaded);
            self.put(workload.turned);
            self.put(proves.is_some() && workload.reloaded != proves && workload.undone == proves);
            self.put(workload.mark != Some(mark) && workload.taken_back == Some(mark));
            self.put((workload.replicas, workload.pods.len(), workload.rejects));
            for pod in &workload.pods {
                self.credential(pod.credential);
                self.mark(pod.mark);
                self.put((
                    pod.terminating,
                    pod.session,
                    is_old(pod, mark, landed, spared, proves),
                ));
                self.put((pod.ready, began.is_some_and(|began| pod.created < began)));
                self.reloaded(pod.reloaded);
                // Where the landing is not recorded yet, what matters is how old the pod will be then.
                let written = cluster.secret.map(|secret| secret.written);
                let recorded = cluster.source.is_none() || landed.is_some();
                self.put(!recorded && written.is_some_and(|written| pod.created <= written));
            }
        }
    }

    fn list(&mut self, list: Userlist) {
        self.revision(Some(list.revision));
        for id in list.entries {
            self.id(Some(id));
        }
    }

    fn reloader(&mut self, reloader: &Reloader) {
        self.put((reloader.up, reloader.queue.len()));
        for credential in &reloader.queue {
            self.credential(*credential);
        }
    }

    fn reloaded(&mut self, credential: Option<Credential>) {
        self.put(credential.is_some());
        if let Some(credential) = credential {
            self.credential(credential);
        }
    }

    fn source(&mut self, state: &State, source: &Source) {
        self.put((source.up, source.operator, source.asked));
        self.put(state.now < source.seen_late_until);
        self.revision(Some(source.revision));
        self.put((source.current == source.previous, source.current));
        for version in &source.versions {
            self.put(version.name);
            self.credential(version.credential);
        }
        self.put(source.previous);
        let request = source.request;
        self.put(request.map(|r| (r.number, r.times.min(4), remaining(r.at + 30_000 - state.now))));
    }

    /// What an old read would show, where that is something else.
    fn old(&mut self, state: &State, old: &Cluster) {
        let current = &state.cluster;
        let seen = |c: &Cluster| {
            c.policy
                .as_ref()
                .map(|p| (p.generation, p.deleting, p.rotate_now, p.abort, p.reapply))
        };
        self.put(seen(current) == seen(old));
        if let (true, Some(policy)) = (seen(current) != seen(old), &old.policy) {
            self.spec(&policy.spec);
            self.put((policy.deleting, policy.rotate_now, policy.abort, policy.reapply));
        }
        let revision = |c: &Cluster| c.journal.as_ref().map(|kept| kept.revision);
        self.put(revision(current) == revision(old));
        if let (true, Some(kept)) = (revision(current) != revision(old), &old.journal) {
            self.revision(Some(kept.revision));
            self.id(kept.pending);
            if let Some(journal) = kept.journal() {
                self.journal(state, journal);
            }
        }
        self.put(current.secret == old.secret);
        if let (true, Some(secret)) = (current.secret != old.secret, old.secret) {
            self.revision(Some(secret.revision));
            self.credential(secret.credential);
        }
        self.put(current.source == old.source);
        if let (true, Some(source)) = (current.source != old.source, &old.source) {
            self.source(state, source);
        }
        self.put(current.reloader == old.reloader);
        if let (true, Some(reloader)) = (current.reloader != old.reloader, &old.reloader) {
            self.reloader(reloader);
        }
        self.put(current.list == old.list);
        if let (true, Some(list)) = (current.list != old.list, old.list) {
            self.list(list);
        }
        self.put(current.workloads == old.workloads);
        if current.workloads != old.workloads {
            let pods = old.workloads.iter().flat_map(|workload| &workload.pods);
            for pod in pods {
                self.credential(pod.credential);
                self.mark(pod.mark);
                self.reloaded(pod.reloaded);
            }
        }
    }

    fn journal(&mut self, state: &State, journal: &Journal) {
        self.put((
            journal.number,
            &journal.handled,
            &journal.aborted,
            journal.history.len(),
            journal.history.first().map(|f| f.number),
        ));
        let period = super::start::PERIOD * 86_400_000;
        let due = journal
            .schedule
            .as_ref()
            .map(|mark| millis(mark.since) + period - state.now);
        self.put(due.map(|due| (due <= 0, due <= 12 * 3_600_000)));
        let kept = journal.kept.as_ref();
        self.put(kept.map(|kept| {
            let due = state.now - millis(kept.since) >= 3_600_000;
            let timeline = kept
                .identity
                .as_ref()
                .map(|was| was.timeline == state.database.timeline);
            (kept.active.as_str(), kept.retired.is_some(), due, timeline)
        }));
        self.put((&journal.reapplied, &journal.accepted));
        self.put(journal.rotation.is_some());
        if let Some(rotation) = &journal.rotation {
            self.spec(&rotation.spec);
            self.put((
                rotation.pending.as_str(),
                rotation.trigger.as_str(),
                rotation.mode,
                rotation.rejected,
            ));
            self.put(age(state.now - millis(rotation.started_at)));
            let drain = match rotation.spec.drain.timeout.as_str() {
                "2s" => 2_000,
                _ => 7_200_000,
            };
            self.put((rotation.delivered.is_some(), rotation.undoes.is_some()));
            self.put(rotation.rolled_out_at.map(|at| state.now - millis(at) > drain));
        }
    }

    /// What people can change of a spec.
    fn spec(&mut self, spec: &RotationPolicySpec) {
        let cron = spec.schedule.as_ref().map(|schedule| schedule.cron.is_some());
        self.put((spec.suspend, &spec.users, cron));
    }

    fn status(&mut self, status: &RotationPolicyStatus, generation: i64) {
        self.put((
            &status.active_user,
            status.observed_generation == Some(generation),
            &status.last_handled_rotate_now,
            &status.last_handled_abort,
            &status.last_handled_reapply,
        ));
        self.put(
            status
                .rotation
                .as_ref()
                .map(|rotation| (rotation.number, &rotation.phase)),
        );
        self.put(status.last_rotation.as_ref().map(|rotation| rotation.number));
        for condition in &status.conditions {
            self.put((&condition.type_, &condition.status, &condition.reason));
        }
    }

    fn write(&mut self, state: &State, write: &Write) {
        match write {
            Write::Journal { expected, new, entry } => {
                self.revision(*expected);
                self.id(new.pending);
                self.id(new.retiring);
                self.put(entry);
                if let Some(journal) = new.journal() {
                    self.journal(state, journal);
                }
            }
            Write::Secret {
                expected,
                credential,
                number,
                nonce,
            } => {
                self.revision(Some(*expected));
                self.credential(*credential);
                self.put((number, nonce));
            }
            Write::Propose { name, credential } => {
                self.put(name);
                self.credential(*credential);
            }
            Write::Promote {
                from,
                name,
                credential,
            } => {
                self.put((from, name));
                self.credential(*credential);
            }
            Write::Sync { expected, request } => {
                self.revision(Some(*expected));
                self.put((request.number, request.times));
            }
            Write::Restart { workload, mark } => {
                self.put(workload);
                self.mark(Some(*mark));
            }
            Write::StandIn { workload, credential } => {
                self.put(workload);
                self.credential(*credential);
            }
            Write::Role { user, role, retire } => {
                self.credential(Credential {
                    user: *user,
                    password: role.verifier,
                });
                self.put((role.login, retire));
            }
            Write::List {
                expected,
                user,
                verifier,
                retire,
            } => {
                self.revision(Some(*expected));
                self.credential(Credential {
                    user: *user,
                    password: *verifier,
                });
                self.put(retire);
            }
            Write::Reload => {}
            Write::Terminate { user } => self.put(user),
            Write::Status { expected, status } => {
                self.revision(Some(*expected));
                self.status(status, status.observed_generation.unwrap_or(0));
            }
        }
    }

    /// Of what the rules remember, only what they can still ask for.
    fn ledger(&mut self, state: &State) {
        let ledger = &state.ledger;
        self.put((ledger.meddled, ledger.emergency));
        self.put(ledger.delivered.is_some());
        self.put(ledger.delivered == state.cluster.secret.map(|secret| secret.credential));
        self.put(ledger.delivered == state.cluster.source.as_ref().map(Source::told));
        for credential in &ledger.excused {
            self.credential(*credential);
        }
        for credential in &ledger.forsaken {
            self.credential(*credential);
        }
        let mut known: Vec<_> = ledger
            .proven
            .iter()
            .filter_map(|credential| Some((credential.user, *self.ids.get(&credential.password)?)))
            .collect();
        known.sort_unstable();
        self.put(known);
        for credential in ledger
            .told
            .iter()
            .filter(|credential| state.database.logs_in(**credential))
        {
            self.credential(*credential);
        }
        let last = ledger.staged.iter().next_back();
        if let Some((number, id)) = last {
            self.put(number);
            self.id(Some(*id));
        }
    }
}

/// When the running rotation began, and in a roll-back the one that is taken back: by that time its pods are spared.
fn began(kept: &JournalSecret) -> Option<i64> {
    let rotation = kept.journal()?.rotation.as_ref()?;
    match &rotation.undoes {
        Some(undone) => undone.staged_at.map(millis),
        None => Some(rotation.staged_at.map_or(kept.written, millis)),
    }
}

/// How long ago something was, as far as the pace and the time limits tell.
fn age(millis: i64) -> u8 {
    match millis {
        ..60_000 => 0,
        60_000..600_000 => 1,
        600_000..1_800_000 => 2,
        _ => 3,
    }
}
