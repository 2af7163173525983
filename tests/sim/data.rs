//! Everything there is, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tandem::api::{RotationPolicySpec, RotationPolicyStatus};
use tandem::machine::Journal;
use tandem::policy::RotateMode;

use super::failover::Fate;
use super::pooler::{Pooler, Userlist};
use super::reloader::Reloader;

/// A password, or its verifier.
pub type Id = u32;

/// The names of the pair, and a stranger.
pub const USERS: [&str; 3] = ["app_a", "app_b", "stranger"];
/// Uid of the policy.
pub const UID: &str = "3d9f1a52-0c1e-4b57-9d6a-5f1f6e0000aa";
/// The beginning of time: a Sunday.
pub const EPOCH: i64 = 1_772_323_200_000;
/// After so long a change of a role that was sent is refused by the server.
pub const SQL_DEADLINE: i64 = 10_000;
/// A new process waits so long before it writes.
pub const LEASE: i64 = 15_000;
/// After so long every reader of the store sees a move. Time passes here only between two turns, so what can happen before
/// the next one can happen in it; and no drain is shorter, not even one with no quiet time.
pub const STORE_LAG: i64 = 1;
/// A turn that failed is tried again after so long.
pub const RETRY: i64 = 1_000;
/// A write to the API server that was given up can still land for so long.
pub const API_DEADLINE: i64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Credential {
    /// Index into [`USERS`].
    pub user: usize,
    pub password: Id,
}

#[derive(Clone, Debug)]
pub struct State {
    /// Milliseconds since [`EPOCH`].
    pub now: i64,
    pub cluster: Cluster,
    pub database: Database,
    /// Writes that were given up and have not landed yet.
    pub flights: Vec<Flight>,
    pub controller: Controller,
    /// The cluster before the last write and before the one before it, for reads from an old API server.
    pub recent: Vec<Arc<Cluster>>,
    /// Whether somebody may give the rotation up.
    pub abortable: bool,
    pub ledger: Ledger,
    pub guards: Guards,
    pub next_id: Id,
}

#[derive(Clone, Debug)]
pub struct Cluster {
    pub policy: Option<Object>,
    pub journal: Option<JournalSecret>,
    pub secret: Option<AppSecret>,
    /// With store-first delivery.
    pub source: Option<Source>,
    pub reloader: Option<Reloader>,
    /// With a pooler that has one.
    pub list: Option<Userlist>,
    pub workloads: Vec<Workload>,
    /// The last resourceVersion that was given out.
    pub revision: u32,
}

#[derive(Clone, Debug)]
pub struct Object {
    pub revision: u32,
    pub spec: Arc<RotationPolicySpec>,
    pub generation: i64,
    pub deleting: bool,
    pub rotate_now: Option<u32>,
    pub abort: Option<u32>,
    pub reapply: Option<u32>,
    /// What stands beside the rotate-now value.
    pub mode: RotateMode,
    pub status: Arc<RotationPolicyStatus>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JournalSecret {
    pub revision: u32,
    /// When it was written, to the second.
    pub written: i64,
    pub content: Content,
    pub pending: Option<Id>,
    pub retiring: Option<Id>,
    pub previous: Option<Id>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The first write makes the Secret, and nothing in it: the second fills it.
    Empty,
    Written(Arc<Journal>),
    /// What a person or another release left there.
    Raw(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppSecret {
    pub revision: u32,
    pub credential: Credential,
    /// When it was written, to the second.
    pub written: i64,
    pub delivered: Option<Delivery>,
}

/// The secret in the store, and the operator that copies it into the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Whether the store answers.
    pub up: bool,
    /// Every version that was ever written, by its index.
    pub versions: Vec<Version>,
    pub current: usize,
    /// What was current before.
    pub previous: usize,
    /// Until then readers may still be shown the previous version: a move is seen late.
    pub seen_late_until: i64,
    /// Whether the operator runs.
    pub operator: bool,
    /// The resourceVersion of the object on which it is asked to sync.
    pub revision: u32,
    pub request: Option<Request>,
    /// The request has not been answered yet.
    pub asked: bool,
}

/// One version of the secret in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// What it is called, when Tandem wrote it.
    pub name: Option<Name>,
    pub credential: Credential,
}

/// What a proposed version is called: no two proposals of one rotation, made from one version, differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    pub number: u64,
    pub rejected: u32,
    pub base: usize,
}

/// A request to sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub number: u64,
    pub times: u32,
    pub at: i64,
}

/// What a delivery writes on the Secret beside the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    pub number: u64,
    pub nonce: Option<u32>,
    /// The resourceVersion that it replaced: no two deliveries have the same.
    pub replaced: u32,
    /// To the second, as the API server keeps times.
    pub at: i64,
}

/// What a restart writes on a pod template: the number of the rotation, and which of its deliveries it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    pub number: u64,
    pub delivery: Option<i64>,
}

/// What a restart by hand writes there.
pub const BY_HAND: Mark = Mark {
    number: u64::MAX,
    delivery: None,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    pub name: &'static str,
    pub mark: Option<Mark>,
    /// It is annotated for Reloader.
    pub left: bool,
    /// The content that Reloader's mark on its template was made of.
    pub reloaded: Option<Credential>,
    /// How many times its template has changed since the Secret was written.
    pub turned: u8,
    /// The last content whose mark somebody took away again.
    pub undone: Option<Credential>,
    /// The last mark that somebody took away again.
    pub taken_back: Option<Mark>,
    pub replicas: usize,
    /// Its pods hold the credential and open no session.
    pub idle: bool,
    /// Its pods read the Secret again at each login.
    pub rereads: bool,
    /// More pods can be wanted at any time (fm42).
    pub elastic: bool,
    /// Its pods take their time to end.
    pub graceful: bool,
    /// New pods with a credential of this user never become ready.
    pub rejects: Option<usize>,
    pub pods: Vec<Pod>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pod {
    pub credential: Credential,
    /// To the second.
    pub created: i64,
    pub mark: Option<Mark>,
    pub reloaded: Option<Credential>,
    pub terminating: bool,
    pub session: bool,
    pub ready: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Database {
    pub up: bool,
    pub timeline: u32,
    pub primary: [Role; 2],
    /// What a promotion would bring: the roles as they were when the present turn began.
    pub replica: [Role; 2],
    /// The roles before Tandem's last change of one.
    pub behind: [Role; 2],
    /// What is to befall it.
    pub fate: Option<Fate>,
    /// It has befallen it, and there is no server for a moment.
    pub away: bool,
    /// It has befallen it, and changes of roles were lost.
    pub set_back: bool,
    /// The roles of the cluster that the name led to before it led to another.
    pub own: Option<[Role; 2]>,
    /// From which applications read.
    pub reader: Option<Reader>,
    /// Through which applications log in.
    pub pooler: Option<Pooler>,
    /// A client that nobody manages.
    pub outsider: Option<Outsider>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    pub verifier: Id,
    pub login: bool,
}

/// A replica that applications use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reader {
    /// What it has replayed.
    pub roles: [Role; 2],
    /// Whose report runs there, and ends some time.
    pub report: Option<Credential>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outsider {
    pub credential: Credential,
    pub session: bool,
    /// Logs in again whenever its session is ended.
    pub stubborn: bool,
}

/// The memory of one controller process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Controller {
    /// When it takes its next turn; none when only a change wakes it.
    pub wake: Option<i64>,
    /// Not before then does it lead: the lease of the process before it must run out.
    pub leads_from: i64,
    pub streak: Option<Streak>,
    /// Until then a change of a role may still land.
    pub unsettled_until: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Streak {
    pub number: u64,
    pub since: i64,
    pub polls: u32,
}

/// A write that its sender has given up and that can still land.
#[derive(Clone, Debug)]
pub struct Flight {
    pub write: Write,
    pub expires: i64,
}

/// One write, made up completely: it can be applied at once, twice, later or never.
#[derive(Clone, Debug)]
pub enum Write {
    Journal {
        expected: Option<u32>,
        new: JournalSecret,
        entry: &'static str,
    },
    Secret {
        expected: u32,
        credential: Credential,
        number: u64,
        nonce: Option<u32>,
    },
    Propose {
        name: Name,
        credential: Credential,
    },
    Promote {
        from: usize,
        name: Name,
        credential: Credential,
    },
    Sync {
        expected: u32,
        request: Request,
    },
    Restart {
        workload: usize,
        mark: Mark,
    },
    /// The same in Reloader's stead.
    StandIn {
        workload: usize,
        credential: Credential,
    },
    Role {
        user: usize,
        role: Role,
        retire: bool,
    },
    /// An entry of the pooler's list.
    List {
        expected: u32,
        user: usize,
        verifier: Id,
        retire: bool,
    },
    /// The pooler is told to read its list.
    Reload,
    Terminate {
        user: usize,
    },
    Status {
        expected: u32,
        status: Arc<RotationPolicyStatus>,
    },
}

/// What the rules must remember of the past.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Credentials that a person or a failover broke, and not Tandem.
    pub excused: BTreeSet<Credential>,
    /// Credentials that nobody can know of any more, because people took away every trace of them: see
    /// [`super::rules::forsake`].
    pub forsaken: BTreeSet<Credential>,
    /// Credentials that were seen to log in.
    pub proven: BTreeSet<Credential>,
    /// What Tandem delivered last.
    pub delivered: Option<Credential>,
    /// Every credential that the Secret ever named.
    pub told: BTreeSet<Credential>,
    /// The pending password of each rotation, until the journal is lost or the server refuses it.
    pub staged: BTreeMap<u64, Id>,
    /// Somebody changed what only Tandem should change; the old passwords are not its doing alone.
    pub meddled: bool,
    /// Somebody asked for the old credential to be refused at once, and knows that applications are until they are
    /// restarted. A retirement that is on its way may still land when the policy is gone.
    pub emergency: bool,
}

/// Each guard that the real effects have. All of them hold, but in tests that show what one is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guards {
    /// The resourceVersion on journal and Secret.
    pub version: bool,
    /// The deadline that the server checks.
    pub deadline: bool,
    /// No second change of a role before the deadline of one whose outcome is unknown.
    pub settle: bool,
    /// The user that the Secret names is not changed.
    pub named: bool,
    /// The restart mark tells deliveries of one rotation apart.
    pub mark: MarkBy,
}

/// What a restart mark is made of, besides the number of the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkBy {
    /// Nothing.
    Rotation,
    /// The second of the delivery.
    Second,
    /// The resourceVersion that the delivery replaced.
    Replaced,
}

impl Guards {
    pub const ALL: Self = Self {
        version: true,
        deadline: true,
        settle: true,
        named: true,
        mark: MarkBy::Replaced,
    };
}

impl State {
    pub fn timestamp(&self) -> Timestamp {
        time(self.now)
    }

    /// The time as the API server writes it.
    pub fn second(&self) -> i64 {
        self.now.div_euclid(1000) * 1000
    }

    pub fn fresh_id(&mut self) -> Id {
        self.next_id += 1;
        self.next_id
    }

    /// Remembers the cluster as it is, for stale reads, before it is changed.
    pub fn about_to_change(&mut self) {
        self.recent.insert(0, Arc::new(self.cluster.clone()));
        self.recent.truncate(2);
        self.cluster.revision += 1;
    }

    /// The same for a change of the policy object itself.
    pub fn about_to_change_policy(&mut self) {
        self.about_to_change();
        let revision = self.cluster.revision;
        if let Some(policy) = &mut self.cluster.policy {
            policy.revision = revision;
        }
    }
}

impl Database {
    /// Whether the server takes the password, let the user in or not.
    pub fn knows(&self, credential: Credential) -> bool {
        self.primary
            .get(credential.user)
            .is_some_and(|role| role.verifier == credential.password)
    }

    pub fn logs_in(&self, credential: Credential) -> bool {
        self.primary
            .get(credential.user)
            .is_some_and(|role| role.login && role.verifier == credential.password)
    }
}

impl Source {
    /// What whoever reads the store is told.
    pub fn told(&self) -> Credential {
        self.versions[self.current].credential
    }

    /// The version of this name.
    pub fn named(&self, name: Name) -> Option<usize> {
        self.versions
            .iter()
            .position(|version| version.name == Some(name))
    }
}

impl JournalSecret {
    pub fn journal(&self) -> Option<&Journal> {
        match &self.content {
            Content::Written(journal) => Some(journal),
            Content::Empty | Content::Raw(_) => None,
        }
    }
}

pub fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(EPOCH + millis).unwrap()
}

pub fn millis(at: Timestamp) -> i64 {
    at.as_millisecond() - EPOCH
}

pub fn user_index(name: &str) -> usize {
    USERS.iter().position(|user| *user == name).unwrap()
}
