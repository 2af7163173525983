//! Where explorations start, and the policies they start with.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tandem::api::{
    ABORT, REAPPLY, ROTATE_MODE, ROTATE_NOW, RotationPolicy, RotationPolicySpec, RotationPolicyStatus,
};
use tandem::machine::Journal;
use tandem::machine::facts::Identity;
use tandem::machine::journal::{Kept, ScheduleMark};
use tandem::policy::target::RoleName;
use tandem::policy::{Policy, RotateMode};

use super::answers::{SYSTEM, nonce};
use super::data::{
    AppSecret, Cluster, Content, Controller, Credential, Database, Delivery, EPOCH, Guards, JournalSecret,
    Ledger, Object, Outsider, Pod, Role, Source, State, UID, USERS, Version, Workload, time,
};
use super::failover::{Fate, fated};
use super::pooler::pooled;
use super::reader::reading;
use super::reloader::{after_reloader, beside_reloader};

/// The first password of each user.
pub const FIRST: [Credential; 2] = [
    Credential { user: 0, password: 1 },
    Credential { user: 1, password: 2 },
];
/// A schedule that the schema takes and that means nothing.
pub const NEVER: &str = "whenever you like";

/// A policy with one idle Deployment, adopted never, and asked to rotate: the plainest start there is.
pub fn fresh() -> State {
    let mut web = workload("web", true);
    web.graceful = true;
    start(&spec(&json!({})), vec![web])
}

/// Somebody gives the rotation up at any time. That is no fault, so every write of the way back meets every fault.
fn given_up(mut state: State) -> State {
    state.abortable = true;
    state
}

fn elastic() -> State {
    let mut web = workload("web", true);
    web.elastic = true;
    start(&spec(&json!({})), vec![web])
}

/// Every start of the exploration, by name.
pub fn starts() -> Vec<(&'static str, State)> {
    vec![
        ("fresh policy, one idle Deployment", fresh()),
        ("an elastic Deployment", elastic()),
        ("two Deployments, one at a time", two_in_turn()),
        ("applications that read the Secret again", rereading()),
        ("retired users may not log in", no_login()),
        ("a stubborn stranger, terminated", stranger()),
        ("mid-schedule, nobody asks", scheduled()),
        ("a rollout that fails, and is rolled back", failing("RollBack")),
        ("a rollout that fails, and is mended", failing("Hold")),
        ("through a store", through_a_store()),
        ("a password that has leaked", leaked()),
        ("reading at a replica", reading()),
        ("through a pooler with a list", pooled()),
        ("the primary is lost at any time", fated(Fate::Failover)),
        ("a snapshot is put back at any time", fated(Fate::Restore)),
        ("another cluster at any time", fated(Fate::OtherCluster)),
        ("beside Reloader", beside_reloader()),
        ("a second writer, and nobody asks", drifted(Loss::Writer, None)),
        (
            "a second writer, undone when asked",
            drifted(Loss::Writer, Some(1)),
        ),
        (
            "restored from before the rotation",
            drifted(Loss::Restore, Some(1)),
        ),
        ("given up", given_up(fresh())),
        ("given up through a store", given_up(through_a_store())),
        ("given up beside Reloader", given_up(after_reloader())),
    ]
}

fn two_in_turn() -> State {
    let spec = spec(&json!({"restart": {"maxConcurrent": 1}}));
    start(&spec, vec![workload("web", false), workload("worker", true)])
}

fn rereading() -> State {
    let mut app = workload("web", false);
    app.rereads = true;
    start(&spec(&json!({"restart": {"mode": "None"}})), vec![app])
}

fn no_login() -> State {
    start(
        &spec(&json!({"retire": {"mode": "NoLogin"}})),
        vec![workload("web", false)],
    )
}

fn stranger() -> State {
    let drain = json!({"drain": {"quietFor": "1s", "timeout": "2s", "onActiveSessions": "Terminate"}});
    let mut state = start(&spec(&drain), vec![workload("web", true)]);
    state.database.outsider = Some(Outsider {
        credential: FIRST[0],
        session: true,
        stubborn: true,
    });
    state
}

/// The old user is not to be waited for.
fn leaked() -> State {
    let mut state = start(&spec(&json!({})), vec![workload("web", false)]);
    if let Some(policy) = &mut state.cluster.policy {
        policy.mode = RotateMode::Immediate;
    }
    state.ledger.emergency = true;
    state
}

/// New pods cannot work with what the rotation brings.
pub fn failing(on_failure: &str) -> State {
    let mut web = workload("web", true);
    web.rejects = Some(1);
    let restart = json!({"onFailure": on_failure, "timeout": "1s"});
    start(&spec(&json!({"restart": restart})), vec![web])
}

/// As the plainest start, with a store and an operator before the Secret.
pub fn through_a_store() -> State {
    let mut web = workload("web", true);
    web.graceful = true;
    let delivery = json!({"delivery": {"externalSecret": {
        "name": "db-credentials",
        "awsSecretsManager": {"secretId": "app/db", "region": "eu-central-1"},
    }}});
    let mut state = start(&spec(&delivery), vec![web]);
    state.cluster.source = Some(Source {
        up: true,
        versions: vec![Version {
            name: None,
            credential: FIRST[0],
        }],
        current: 0,
        previous: 0,
        seen_late_until: 0,
        operator: true,
        revision: 1,
        request: None,
        asked: false,
    });
    state
}

/// How a server loses what a rotation has left there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Somebody gives the active user another password.
    Writer,
    /// A backup from before is restored.
    Restore,
}

/// The first rotation ended two hours ago, and since then the server has lost what it had set.
fn drifted(loss: Loss, reapply: Option<u32>) -> State {
    const BEFORE: i64 = -7_200_000;
    let (active, retiring, foreign) = (Credential { user: 1, password: 3 }, 4, 5);
    let mut web = workload("web", true);
    for pod in &mut web.pods {
        pod.credential = active;
    }
    let mut state = start(&spec(&json!({})), vec![web]);
    state.next_id = foreign;
    let role = |user| RoleName::new(USERS[user]).unwrap();
    let identity = Identity {
        system: SYSTEM.into(),
        timeline: 1,
    };
    let mut journal = Journal::new(UID);
    journal.number = 1;
    journal.handled = Some(nonce(1));
    journal.kept = Some(Kept {
        active: role(1),
        retired: Some(role(0)),
        identity: Some(identity),
        since: time(BEFORE),
    });
    state.cluster.journal = Some(JournalSecret {
        revision: 1,
        written: BEFORE,
        content: Content::Written(Arc::new(journal)),
        pending: Some(active.password),
        retiring: Some(retiring),
        previous: Some(FIRST[0].password),
    });
    if let Some(policy) = &mut state.cluster.policy {
        policy.reapply = reapply;
    }
    let delivered = Delivery {
        number: 1,
        nonce: Some(1),
        replaced: 1,
        at: BEFORE,
    };
    state.cluster.secret = Some(AppSecret {
        revision: 1,
        credential: active,
        written: BEFORE,
        delivered: Some(delivered),
    });
    match loss {
        Loss::Writer => {
            state.database.primary[0].verifier = retiring;
            state.database.primary[1].verifier = foreign;
        }
        Loss::Restore => state.database.timeline = 2,
    }
    state.database.replica = state.database.primary;
    state.ledger.told = [FIRST[0], active].into();
    state.ledger.delivered = Some(active);
    state.ledger.staged.insert(1, active.password);
    state.ledger.excused.insert(active);
    state.ledger.meddled = true;
    state
}

/// Days between two rotations of the policy with a schedule.
pub const PERIOD: i64 = 90;

/// The schedule was adopted long ago, and is due in an hour.
fn scheduled() -> State {
    let mut state = start(
        &spec(&json!({"schedule": {"every": "90d"}})),
        vec![workload("web", true)],
    );
    let mut journal = Journal::new(UID);
    if let Some(policy) = &mut state.cluster.policy {
        policy.rotate_now = None;
        let schedule = Policy::parse(&object(policy)).unwrap().schedule.unwrap();
        let since = time(3_600_000 - PERIOD * 86_400_000);
        journal.schedule = Some(ScheduleMark {
            text: schedule.text().to_owned(),
            since,
        });
    }
    let content = Content::Written(Arc::new(journal));
    state.cluster.journal = Some(JournalSecret {
        revision: 1,
        written: -7_200_000,
        content,
        pending: None,
        retiring: None,
        previous: None,
    });
    state
}

/// A spec with the changes that a test wants.
pub fn spec(changes: &serde_json::Value) -> RotationPolicySpec {
    let mut base = json!({
        "users": ["app_a", "app_b"],
        "database": {
            "host": "db.example.com", "name": "appdb",
            "admin": {"secretRef": {"name": "admin"}}, "tls": {"mode": "Disable"},
        },
        "delivery": {"secret": {"name": "db-credentials"}},
        // Three quiet polls are the least that proves a drain; more would only make the exploration longer.
        "drain": {"quietFor": "0s"},
    });
    for (key, value) in changes.as_object().unwrap() {
        base[key] = value.clone();
    }
    serde_json::from_value(base).unwrap()
}

/// A world in order: `app_a` is active, every pod has its password, and rotate-now asks for one rotation.
pub fn start(spec: &RotationPolicySpec, workloads: Vec<Workload>) -> State {
    let role = |credential: Credential| Role {
        verifier: credential.password,
        login: true,
    };
    let primary = FIRST.map(role);
    let database = Database {
        up: true,
        timeline: 1,
        primary,
        replica: primary,
        behind: primary,
        fate: None,
        away: false,
        set_back: false,
        own: None,
        reader: None,
        pooler: None,
        outsider: None,
    };
    let policy = Object {
        revision: 1,
        spec: Arc::new(spec.clone()),
        generation: 1,
        deleting: false,
        rotate_now: Some(1),
        abort: None,
        reapply: None,
        mode: RotateMode::Graceful,
        status: Arc::new(RotationPolicyStatus::default()),
    };
    let mut ledger = Ledger::default();
    ledger.told.insert(FIRST[0]);
    State {
        now: 0,
        cluster: Cluster {
            policy: Some(policy),
            journal: None,
            secret: Some(AppSecret {
                revision: 1,
                credential: FIRST[0],
                written: -7_200_000,
                delivered: None,
            }),
            source: None,
            reloader: None,
            list: None,
            workloads,
            revision: 1,
        },
        database,
        flights: Vec::new(),
        controller: Controller {
            wake: Some(0),
            ..Controller::default()
        },
        recent: Vec::new(),
        abortable: false,
        ledger,
        guards: Guards::ALL,
        next_id: 2,
    }
}

/// A Deployment of one pod, older than everything else.
pub fn workload(name: &'static str, idle: bool) -> Workload {
    let pod = Pod {
        credential: FIRST[0],
        created: -3_600_000,
        mark: None,
        reloaded: None,
        terminating: false,
        session: !idle,
        ready: true,
    };
    Workload {
        name,
        mark: None,
        left: false,
        reloaded: None,
        turned: 0,
        undone: None,
        taken_back: None,
        replicas: 1,
        idle,
        rereads: false,
        elastic: false,
        graceful: false,
        rejects: None,
        pods: vec![pod],
    }
}

/// The object as the API server gives it.
pub fn object(policy: &Object) -> RotationPolicy {
    let asked = [
        (ROTATE_NOW, policy.rotate_now),
        (ABORT, policy.abort),
        (REAPPLY, policy.reapply),
    ];
    let asked = asked
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), nonce(value?))));
    let mut annotations: BTreeMap<_, _> = asked.collect();
    annotations.insert(ROTATE_MODE.to_owned(), policy.mode.as_str().to_owned());
    RotationPolicy {
        metadata: ObjectMeta {
            name: Some("app-db".into()),
            namespace: Some("production".into()),
            uid: Some(UID.into()),
            generation: Some(policy.generation),
            creation_timestamp: Some(Time(jiff::Timestamp::from_millisecond(EPOCH).unwrap())),
            deletion_timestamp: policy.deleting.then(|| Time(time(0))),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: policy.spec.as_ref().clone(),
        status: Some(policy.status.as_ref().clone()),
    }
}
