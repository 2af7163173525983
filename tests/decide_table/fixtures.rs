//! The parts of a row: a policy, what is remembered, what was seen, and what is to be done about it.

use std::fmt::Display;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tandem::api::RotationPolicy;
use tandem::api::endpoint::EndpointRole;
use tandem::api::spec::{OnActiveSessions, OnFailure, RestartMode, RetireMode, TargetKind};
use tandem::machine::endpoints::{Door, EndpointSeen};
use tandem::machine::facts::{
    Asked, Consumer, Delivered, Failing, Finding, Identity, KeptSeen, Laggard, Login, OperatorSeen,
    Preflight, Previous, Quiet, Refused, Restarter, SecretSeen, Sessions, StoreSeen,
};
use tandem::machine::journal::{Finished, Kept, Landing, Rotation, ScheduleMark, Trigger, Undone};
use tandem::machine::place::Place;
use tandem::machine::step::{Behind, Entry, Waiting};
use tandem::machine::{Action, Decision, Facts, Journal, Loaded, Phase, Query, Step};
use tandem::policy::schedule::Schedule;
use tandem::policy::target::{ConsumerKind, ConsumerRef, RoleName};
use tandem::policy::{Endpoint, Policy, RotateMode, Route, StoredSecret, Tls, Trust};

/// Uid of the policy; its last part makes the jitter.
pub(crate) const UID: &str = "8d0f3a52-4b0e-4f3e-9a55-00000000002a";
/// The user that the application Secret names before the flip.
pub(crate) const ACTIVE: &str = "app_a";
/// The user that takes over.
pub(crate) const STANDBY: &str = "app_b";
/// Names of the endpoints of [`PolicyVerbs::reading`].
const ENDPOINTS: [&str; 2] = ["near", "far"];
/// Number of the last rotation that ended.
pub(crate) const LAST: u64 = 7;

/// The time of every row: midday, nine hours after [`PolicyVerbs::nightly`].
pub(crate) fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// So long before [`now`].
pub(crate) fn ago(duration: SignedDuration) -> Timestamp {
    now() - duration
}

/// So long after [`now`].
pub(crate) fn later(duration: SignedDuration) -> Timestamp {
    now() + duration
}

pub(crate) const fn secs(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

pub(crate) const fn mins(n: i64) -> SignedDuration {
    SignedDuration::from_mins(n)
}

pub(crate) const fn hours(n: i64) -> SignedDuration {
    SignedDuration::from_hours(n)
}

pub(crate) fn role(name: &str) -> RoleName {
    RoleName::new(name).unwrap()
}

/// A policy with every default, and the pair [`ACTIVE`] and [`STANDBY`].
pub(crate) fn policy() -> Policy {
    let object: RotationPolicy = serde_json::from_value(json!({
        "apiVersion": "tandem.dev/v1alpha1",
        "kind": "RotationPolicy",
        "metadata": {"name": "shop", "namespace": "web", "uid": UID, "generation": 1},
        "spec": {
            "users": [ACTIVE, STANDBY],
            "database": {"host": "db", "name": "shop", "admin": {"secretRef": {"name": "admin"}}},
            "delivery": {"secret": {"name": "shop-db"}},
        },
    }))
    .unwrap();
    Policy::parse(&object).unwrap()
}

pub(crate) trait PolicyVerbs {
    fn suspended(self) -> Self;
    fn deleted(self) -> Self;
    fn asked(self, nonce: &str) -> Self;
    fn aborting(self, value: &str) -> Self;
    fn reapplying(self, value: &str) -> Self;
    fn accepting(self, value: &str) -> Self;
    fn rolling_back(self) -> Self;
    fn scheduled(self, schedule: Schedule) -> Self;
    fn nightly(self) -> Self;
    fn nightly_window(self) -> Self;
    fn at_once(self, workloads: usize) -> Self;
    fn restarting_nothing(self) -> Self;
    fn restarted_by(self, mode: RestartMode) -> Self;
    fn keeping_the_old_for(self, after: SignedDuration) -> Self;
    fn terminating(self) -> Self;
    fn taking_the_login(self) -> Self;
    fn remembering(self, rotations: usize) -> Self;
    fn of_strangers(self) -> Self;
    fn reading(self) -> Self;
    fn store_first(self) -> Self;
}

impl PolicyVerbs for Policy {
    fn suspended(self) -> Self {
        Self {
            suspended: true,
            ..self
        }
    }

    fn deleted(self) -> Self {
        Self {
            deleting: true,
            ..self
        }
    }

    fn asked(self, nonce: &str) -> Self {
        Self {
            rotate_now: Some(nonce.to_owned()),
            ..self
        }
    }

    fn aborting(self, value: &str) -> Self {
        Self {
            abort: Some(value.to_owned()),
            ..self
        }
    }

    fn reapplying(self, value: &str) -> Self {
        Self {
            reapply: Some(value.to_owned()),
            ..self
        }
    }

    fn accepting(self, value: &str) -> Self {
        Self {
            accept: Some(value.to_owned()),
            ..self
        }
    }

    fn rolling_back(mut self) -> Self {
        self.restart.on_failure = OnFailure::RollBack;
        self
    }

    fn scheduled(self, schedule: Schedule) -> Self {
        Self {
            schedule: Some(schedule),
            ..self
        }
    }

    /// Its applications read at two endpoints besides.
    fn reading(mut self) -> Self {
        self.endpoints = ENDPOINTS
            .map(|name| Endpoint {
                name: name.to_owned(),
                role: EndpointRole::Replica,
                host: format!("{name}.example.com"),
                port: 5432,
                tls: Tls::VerifyFull(Trust::default()),
                console: None,
                userlist: None,
            })
            .into();
        self
    }

    /// At three in the morning, UTC.
    fn nightly(self) -> Self {
        self.scheduled(Schedule::cron("0 3 * * *", "UTC").unwrap())
    }

    /// The same, and only until five.
    fn nightly_window(self) -> Self {
        let schedule = Schedule::cron("0 3 * * *", "UTC").unwrap();
        self.scheduled(schedule.with(Some(hours(2)), SignedDuration::ZERO, false, UID))
    }

    fn at_once(mut self, workloads: usize) -> Self {
        self.restart.max_concurrent = workloads;
        self
    }

    fn restarting_nothing(mut self) -> Self {
        self.restart.mode = RestartMode::None;
        self
    }

    fn restarted_by(mut self, mode: RestartMode) -> Self {
        self.restart.mode = mode;
        self
    }

    fn keeping_the_old_for(mut self, after: SignedDuration) -> Self {
        self.retire.after = after;
        self
    }

    fn terminating(mut self) -> Self {
        self.drain.on_active = OnActiveSessions::Terminate;
        self
    }

    fn taking_the_login(mut self) -> Self {
        self.retire.mode = RetireMode::NoLogin;
        self
    }

    fn remembering(self, rotations: usize) -> Self {
        Self {
            history_limit: rotations,
            ..self
        }
    }

    /// An edit that replaces both users.
    fn of_strangers(mut self) -> Self {
        self.pair = tandem::policy::Pair(role("other_a"), role("other_b"));
        self
    }

    /// The credential comes through a store and an operator.
    fn store_first(mut self) -> Self {
        self.delivery.route = Route::StoreFirst {
            external_secret: "shop-db".into(),
            source: StoredSecret {
                id: "shop/db".into(),
                region: "eu-central-1".into(),
                username_key: "username".into(),
                password_key: "password".into(),
                role_arn: None,
                external_id: None,
            },
        };
        self
    }
}

/// A policy that has never rotated.
pub(crate) fn fresh() -> Journal {
    Journal::new(UID)
}

/// No rotation runs; [`LAST`] was the last.
pub(crate) fn resting() -> Journal {
    Journal {
        number: LAST,
        handled: Some("old".into()),
        history: vec![finished(LAST)],
        ..fresh()
    }
}

/// The next rotation runs since thirty seconds.
pub(crate) fn running() -> Journal {
    Journal {
        number: LAST + 1,
        rotation: Some(Rotation {
            trigger: Trigger::RotateNow("new".into()),
            mode: RotateMode::Graceful,
            started_at: ago(secs(30)),
            spec: policy().snapshot,
            pending: role(STANDBY),
            retiring: role(ACTIVE),
            identity: Some(server()),
            staged_at: None,
            undoes: None,
            rejected: 0,
            delivered: None,
            first: None,
            rolled_out_at: None,
        }),
        handled: Some("new".into()),
        ..resting()
    }
}

pub(crate) fn finished(number: u64) -> Finished {
    Finished {
        number,
        trigger: Trigger::RotateNow("old".into()),
        user: role(ACTIVE),
        started_at: ago(hours(49)),
        finished_at: ago(hours(48)),
        rolled_out_at: Some(ago(hours(48))),
        undone: None,
    }
}

pub(crate) trait JournalVerbs {
    fn nightly_since(self, since: Timestamp) -> Self;
    fn numbered(self, number: u64) -> Self;
    fn answering(self, nonce: &str) -> Self;
    fn aborted(self, value: &str) -> Self;
    fn taken_back(self, trigger: Trigger) -> Self;
    fn over(self, version: &str) -> Self;
    fn with(self, change: impl FnOnce(&mut Rotation)) -> Self;
    fn started(self, at: Timestamp) -> Self;
    fn rejected(self, times: u32) -> Self;
    fn landed(self) -> Self;
    fn rolled_out(self, at: Timestamp) -> Self;
    fn ended(self) -> Self;
    fn recalling(self, history: Vec<Finished>) -> Self;
    fn valid(self) -> Loaded;
}

impl JournalVerbs for Journal {
    fn nightly_since(self, since: Timestamp) -> Self {
        let text = "0 3 * * * UTC".to_owned();
        let schedule = Some(ScheduleMark { text, since });
        Self { schedule, ..self }
    }

    fn numbered(self, number: u64) -> Self {
        Self { number, ..self }
    }

    fn answering(self, nonce: &str) -> Self {
        Self {
            handled: Some(nonce.to_owned()),
            ..self
        }
    }

    fn aborted(self, value: &str) -> Self {
        Self {
            aborted: Some(value.to_owned()),
            ..self
        }
    }

    /// The roll-back that takes the place of this rotation now, before it has delivered anything.
    fn taken_back(mut self, trigger: Trigger) -> Self {
        let undone = match &trigger {
            Trigger::RollBack(why) => why.clone(),
            Trigger::Abort(value) => format!("tandem.dev/abort={value}"),
            other => panic!("{other:?} takes nothing back"),
        };
        let gone = self.rotation.take().expect("a rotation to take back");
        let ended = Finished {
            number: self.number,
            trigger: gone.trigger,
            user: gone.retiring.clone(),
            started_at: gone.started_at,
            finished_at: now(),
            rolled_out_at: gone.rolled_out_at,
            undone: Some(undone),
        };
        self.history.insert(0, ended);
        self.rotation = Some(Rotation {
            trigger,
            mode: RotateMode::Graceful,
            started_at: now(),
            pending: gone.retiring,
            retiring: gone.pending,
            staged_at: None,
            undoes: Some(Undone {
                number: self.number,
                staged_at: gone.staged_at,
            }),
            delivered: None,
            first: Some("41".into()),
            rolled_out_at: None,
            spec: gone.spec,
            identity: gone.identity,
            rejected: 0,
        });
        self.number += 1;
        self
    }

    /// Its first delivery is made over this version of the Secret.
    fn over(self, version: &str) -> Self {
        self.with(|r| r.first = Some(version.into()))
    }

    fn with(mut self, change: impl FnOnce(&mut Rotation)) -> Self {
        change(self.rotation.as_mut().expect("a rotation to change"));
        self
    }

    fn started(self, at: Timestamp) -> Self {
        self.with(|r| r.started_at = at)
    }

    fn rejected(self, times: u32) -> Self {
        self.with(|r| r.rejected = times)
    }

    /// The credential has come through the store into the Secret, ten seconds ago.
    fn landed(self) -> Self {
        self.with(|r| r.delivered = Some(landing(ago(secs(10)))))
    }

    fn rolled_out(self, at: Timestamp) -> Self {
        self.with(|r| r.rolled_out_at = Some(at))
    }

    /// What it leaves was proven a moment ago, on the server that it began on.
    fn ended(mut self) -> Self {
        self.kept = self.rotation.take().map(|ended| Kept {
            active: ended.pending,
            retired: Some(ended.retiring),
            identity: Some(server()),
            since: now(),
        });
        self
    }

    fn recalling(self, history: Vec<Finished>) -> Self {
        Self { history, ..self }
    }

    fn valid(self) -> Loaded {
        Loaded::Valid(Box::new(self))
    }
}

/// The server that every rotation begins on.
pub(crate) fn server() -> Identity {
    Identity {
        system: "7001".into(),
        timeline: 1,
    }
}

pub(crate) fn trouble() -> Finding {
    Finding {
        blocks: true,
        reason: "Unreachable",
        message: "no route to db:5432; see: kubectl get endpoints db".into(),
    }
}

pub(crate) fn warning() -> Finding {
    Finding {
        blocks: false,
        reason: "LoggedStatements",
        message: "log_statement is ddl".into(),
    }
}

/// The Secret names this user, with a password that is not the journal's pending one.
pub(crate) fn naming(user: &str) -> SecretSeen {
    SecretSeen::Present {
        user: Some(role(user)),
        carries_pending: false,
        version: "uid/41".into(),
        landing: None,
        delivered: None,
    }
}

pub(crate) fn naming_nobody() -> SecretSeen {
    SecretSeen::Present {
        user: None,
        carries_pending: false,
        version: "uid/41".into(),
        landing: None,
        delivered: None,
    }
}

/// The Secret carries the pending credential, since ten seconds.
pub(crate) fn carrying_pending() -> SecretSeen {
    carrying_pending_since(ago(secs(10)))
}

pub(crate) fn carrying_pending_since(at: Timestamp) -> SecretSeen {
    SecretSeen::Present {
        user: Some(role(STANDBY)),
        carries_pending: true,
        version: "uid/42".into(),
        landing: Some(landing(at)),
        delivered: Some(mark(LAST + 1)),
    }
}

/// The Secret names this user and has the mark of this rotation.
pub(crate) fn delivered_by(number: u64, user: &str) -> SecretSeen {
    SecretSeen::Present {
        user: Some(role(user)),
        carries_pending: false,
        version: "uid/43".into(),
        landing: Some(landing(ago(mins(5)))),
        delivered: Some(mark(number)),
    }
}

fn mark(number: u64) -> Delivered {
    Delivered {
        number,
        nonce: Some("new".into()),
    }
}

pub(crate) fn landing(at: Timestamp) -> Landing {
    Landing { at, id: "41".into() }
}

/// The Secret carries the pending credential, and the operator has put it there.
pub(crate) fn synced() -> SecretSeen {
    SecretSeen::Present {
        user: Some(role(STANDBY)),
        carries_pending: true,
        version: "uid/42".into(),
        landing: Some(landing(ago(secs(10)))),
        delivered: None,
    }
}

/// The current version names this user, with a password that is not the journal's pending one.
pub(crate) fn storing(user: &str) -> StoreSeen {
    StoreSeen::Present {
        user: Some(role(user)),
        carries_pending: false,
        version: "v1".into(),
        number: None,
    }
}

/// The current version carries the pending credential.
pub(crate) fn storing_pending() -> StoreSeen {
    StoreSeen::Present {
        user: Some(role(STANDBY)),
        carries_pending: true,
        version: "v2".into(),
        number: Some(LAST + 1),
    }
}

/// The operator, asked so often, the last time so long ago.
pub(crate) fn asked(times: u32, before: SignedDuration) -> OperatorSeen {
    OperatorSeen::Present {
        version: "es/7".into(),
        asked: Some(Asked {
            times,
            at: ago(before),
        }),
        trouble: None,
    }
}

pub(crate) fn never_asked() -> OperatorSeen {
    OperatorSeen::Present {
        version: "es/7".into(),
        asked: None,
        trouble: None,
    }
}

pub(crate) fn passed() -> Preflight {
    Preflight {
        active: Some(role(ACTIVE)),
        identity: Some(server()),
        consumers: Vec::new(),
        findings: vec![warning()],
    }
}

pub(crate) fn failed() -> Preflight {
    Preflight {
        active: Some(role(ACTIVE)),
        identity: None,
        consumers: Vec::new(),
        findings: vec![trouble(), warning()],
    }
}

/// Nothing has been looked at.
pub(crate) fn nothing() -> Facts {
    Facts::default()
}

/// Before the flip, nothing known but the Secret.
pub(crate) fn staged() -> Facts {
    nothing().secret(naming(ACTIVE))
}

/// After the flip, the new credential proven a moment ago.
pub(crate) fn delivered() -> Facts {
    nothing().secret(carrying_pending()).pending(accepted())
}

/// After the rollout: no pod holds the old credential.
pub(crate) fn podless() -> Facts {
    delivered().consumers([])
}

pub(crate) fn accepted() -> Login {
    Login::Accepted(server())
}

/// The server has what the last rotation left there, and this process has not seen preflight yet.
pub(crate) fn in_order() -> KeptSeen {
    KeptSeen {
        active: Some(accepted()),
        retired: Previous::Refused,
        identity: Some(server()),
        preflight_at: None,
    }
}

pub(crate) trait FactVerbs {
    fn secret(self, secret: SecretSeen) -> Self;
    fn store(self, store: StoreSeen) -> Self;
    fn operator(self, operator: OperatorSeen) -> Self;
    fn proposed(self) -> Self;
    fn place(self, place: Place) -> Self;
    fn preflight(self, preflight: Preflight) -> Self;
    fn pending(self, login: Login) -> Self;
    fn endpoints(self, doors: [Door; 2]) -> Self;
    fn previous(self, previous: Previous) -> Self;
    fn kept(self, kept: KeptSeen) -> Self;
    fn consumers<const N: usize>(self, consumers: [Consumer; N]) -> Self;
    fn sessions(self, sessions: Sessions) -> Self;
    fn altered(self) -> Self;
    fn retired(self) -> Self;
    fn terminated(self) -> Self;
    fn refused(self, refused: Refused) -> Self;
}

impl FactVerbs for Facts {
    fn secret(self, secret: SecretSeen) -> Self {
        Self {
            secret: Some(secret),
            ..self
        }
    }

    fn store(self, store: StoreSeen) -> Self {
        Self {
            store: Some(store),
            ..self
        }
    }

    fn operator(self, operator: OperatorSeen) -> Self {
        Self {
            operator: Some(operator),
            ..self
        }
    }

    fn proposed(self) -> Self {
        Self {
            proposed: true,
            ..self
        }
    }

    fn place(self, place: Place) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    fn preflight(self, preflight: Preflight) -> Self {
        Self {
            preflight: Some(preflight),
            ..self
        }
    }

    fn pending(self, login: Login) -> Self {
        Self {
            pending: Some(login),
            ..self
        }
    }

    /// At those of [`PolicyVerbs::reading`].
    fn endpoints(self, doors: [Door; 2]) -> Self {
        let seen = |(name, door): (&str, Door)| EndpointSeen {
            name: name.to_owned(),
            door,
        };
        Self {
            endpoints: Some(ENDPOINTS.into_iter().zip(doors).map(seen).collect()),
            ..self
        }
    }

    fn previous(self, previous: Previous) -> Self {
        Self {
            previous: Some(previous),
            ..self
        }
    }

    fn kept(self, kept: KeptSeen) -> Self {
        Self {
            kept: Some(kept),
            ..self
        }
    }

    fn consumers<const N: usize>(self, consumers: [Consumer; N]) -> Self {
        Self {
            consumers: Some(consumers.into()),
            ..self
        }
    }

    fn sessions(self, sessions: Sessions) -> Self {
        Self {
            sessions: Some(sessions),
            ..self
        }
    }

    fn altered(self) -> Self {
        Self {
            altered: true,
            ..self
        }
    }

    fn retired(self) -> Self {
        Self {
            retired: true,
            ..self
        }
    }

    fn terminated(self) -> Self {
        Self {
            terminated: true,
            ..self
        }
    }

    fn refused(self, refused: Refused) -> Self {
        Self {
            refused: Some(refused),
            ..self
        }
    }
}

pub(crate) fn deployment(name: &str) -> Consumer {
    consumer(ConsumerKind::Workload(TargetKind::Deployment), name)
}

/// A consumer with one old pod and no mark.
pub(crate) fn consumer(kind: ConsumerKind, name: &str) -> Consumer {
    Consumer {
        reference: ConsumerRef {
            kind,
            name: name.to_owned(),
        },
        uid: format!("uid-of-{name}"),
        marked: false,
        restarter: Restarter::Tandem,
        reverted: false,
        old_pods: vec![format!("{name}-1")],
        ready: 0,
        surge: 0,
        obstacle: None,
        failing: None,
    }
}

pub(crate) trait ConsumerVerbs {
    fn marked(self) -> Self;
    fn left(self) -> Self;
    fn reverted(self) -> Self;
    fn renewed(self) -> Self;
    fn stuck(self, obstacle: &str) -> Self;
    fn failing(self, failing: Failing) -> Self;
}

impl ConsumerVerbs for Consumer {
    fn marked(self) -> Self {
        Self { marked: true, ..self }
    }

    /// Left to Reloader.
    fn left(self) -> Self {
        Self {
            restarter: Restarter::Reloader,
            ..self
        }
    }

    fn reverted(self) -> Self {
        Self {
            reverted: true,
            ..self
        }
    }

    fn renewed(self) -> Self {
        Self {
            old_pods: Vec::new(),
            ready: 1,
            surge: 0,
            ..self
        }
    }

    fn stuck(self, obstacle: &str) -> Self {
        Self {
            obstacle: Some(obstacle.to_owned()),
            ..self
        }
    }

    fn failing(self, failing: Failing) -> Self {
        Self {
            failing: Some(failing),
            ..self
        }
    }
}

pub(crate) fn laggard() -> Laggard {
    Laggard {
        application_name: "psql".into(),
        client_address: "10.0.0.9".into(),
        pod: String::new(),
        endpoint: None,
        count: 2,
    }
}

pub(crate) fn left() -> Sessions {
    Sessions::Counted {
        laggards: vec![laggard()],
        quiet: None,
    }
}

/// So many polls that saw nothing, the first of them then.
pub(crate) fn quiet(polls: u32, since: Timestamp) -> Sessions {
    Sessions::Counted {
        laggards: Vec::new(),
        quiet: Some(Quiet { since, polls }),
    }
}

/// One edge: its name, what goes in, and what must come out.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) policy: Policy,
    pub(crate) journal: Loaded,
    pub(crate) facts: Facts,
    pub(crate) expected: Decision,
}

pub(crate) fn row(
    name: impl Display,
    policy: Policy,
    journal: impl Into<Remembered>,
    facts: Facts,
    expected: Decision,
) -> Row {
    Row {
        name: name.to_string(),
        policy,
        journal: journal.into().0,
        facts,
        expected,
    }
}

/// So that a row can say `running()` and `Loaded::Absent` in the same place.
pub(crate) struct Remembered(Loaded);

impl From<Journal> for Remembered {
    fn from(journal: Journal) -> Self {
        Self(journal.valid())
    }
}

impl From<Loaded> for Remembered {
    fn from(loaded: Loaded) -> Self {
        Self(loaded)
    }
}

pub(crate) fn looks(phase: Phase, query: Query) -> Decision {
    let step = Step::Look(query);
    Decision { phase, step }
}

pub(crate) fn acts(phase: Phase, action: Action) -> Decision {
    let step = Step::Act(action);
    Decision { phase, step }
}

pub(crate) fn records(phase: Phase, entry: Entry, next: Journal) -> Decision {
    let next = Box::new(next);
    acts(phase, Action::Record { entry, next })
}

pub(crate) fn waits(phase: Phase, pause: SignedDuration, why: Waiting) -> Decision {
    let step = Step::Wait {
        until: later(pause),
        why,
    };
    Decision { phase, step }
}

pub(crate) fn stands_still(phase: Phase) -> Decision {
    let step = Step::Wait {
        until: Timestamp::MAX,
        why: Waiting::Suspended,
    };
    Decision { phase, step }
}

pub(crate) fn rests(phase: Phase, next: Option<Timestamp>) -> Decision {
    let step = Step::Rest { next };
    Decision { phase, step }
}

pub(crate) fn sets() -> Action {
    Action::SetVerifier { user: role(STANDBY) }
}

pub(crate) fn flips() -> Action {
    Action::Flip {
        version: "uid/41".into(),
    }
}

pub(crate) fn restarts(consumer: &Consumer) -> Action {
    Action::Restart {
        consumer: consumer.reference.clone(),
        uid: consumer.uid.clone(),
        form: consumer.restarter,
    }
}

pub(crate) fn terminates() -> Action {
    Action::Terminate { user: role(ACTIVE) }
}

pub(crate) fn retires(mode: RetireMode) -> Action {
    let user = role(ACTIVE);
    Action::Retire { user, mode }
}

pub(crate) fn behind<const N: usize>(consumers: [&Consumer; N], overdue: bool) -> Waiting {
    let behind = consumers.map(|c| Behind {
        consumer: c.reference.clone(),
        old_pods: c.old_pods.clone(),
        obstacle: c.obstacle.clone(),
    });
    Waiting::Rollout {
        behind: behind.into(),
        overdue,
        no_way_back: None,
    }
}
