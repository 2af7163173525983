//! Meaning: the spec parsed once into types that cannot be wrong. After this nobody reads the spec.

mod database;
mod delivery;
mod endpoint;
mod mode;
pub mod password;
pub mod schedule;
pub mod target;
pub mod template;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use crate::api::spec::{
    CatchUp, OnActiveSessions, OnFailure, RestartMode, RetireMode, RotationPolicySpec, ScheduleSpec,
    TargetSpec,
};
use crate::api::{self, RotationPolicy};
pub use database::{Admin, CaSource, Database, SecretKeyPair, Tls, Trust};
pub use delivery::{Delivery, Route, StoredSecret};
pub use endpoint::{Endpoint, Userlist};
pub use mode::RotateMode;

use database::parse_database;
use delivery::parse_delivery;
use endpoint::{parse_endpoints, parse_soak};
use password::Recipe;
use schedule::Schedule;
use target::{RoleName, SecretName, Target};

/// A policy whose every part has been understood.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Name of the object.
    pub name: String,
    /// Namespace of the object, and of every Secret and workload it speaks of.
    pub namespace: String,
    /// Identity of the object; with a rotation's number it makes the rotation id.
    pub uid: String,
    /// Generation of the spec that was parsed.
    pub generation: i64,
    /// When the object was created.
    pub created_at: Timestamp,
    /// Stand still before the next side effect.
    pub suspended: bool,
    /// The object is being deleted.
    pub deleting: bool,
    /// Value of the rotate-now annotation.
    pub rotate_now: Option<String>,
    /// How much the rotation that is asked for, or that runs, may disturb; else what the annotation says instead.
    pub rotate_mode: Result<RotateMode, String>,
    /// Value of the abort annotation.
    pub abort: Option<String>,
    /// Value of the reapply annotation.
    pub reapply: Option<String>,
    /// Value of the accept annotation.
    pub accept: Option<String>,
    /// How often it is checked while no rotation runs.
    pub check_every: SignedDuration,
    /// The two users.
    pub pair: Pair,
    /// The server.
    pub database: Database,
    /// Everywhere else that applications log in.
    pub endpoints: Vec<Endpoint>,
    /// What generated passwords look like.
    pub password: Recipe,
    /// The application Secret.
    pub delivery: Delivery,
    /// When to rotate.
    pub schedule: Option<Schedule>,
    /// Who restarts consumers, and how.
    pub restart: Restart,
    /// The proof that nothing uses the old user.
    pub drain: Drain,
    /// What happens to it then.
    pub retire: Retire,
    /// How many finished rotations are kept.
    pub history_limit: usize,
    /// The spec that all this was parsed from, for the journal to keep as the snapshot a rotation ends on.
    pub snapshot: RotationPolicySpec,
}

/// The two users of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair(pub RoleName, pub RoleName);

impl Pair {
    /// The other one of the two; nothing for a stranger.
    #[must_use]
    pub fn other(&self, user: &RoleName) -> Option<&RoleName> {
        if *user == self.0 {
            Some(&self.1)
        } else if *user == self.1 {
            Some(&self.0)
        } else {
            None
        }
    }

    /// Whether the user is one of the two.
    #[must_use]
    pub fn contains(&self, user: &RoleName) -> bool {
        self.other(user).is_some()
    }
}

/// Who restarts consumers, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Whether anybody does.
    pub mode: RestartMode,
    /// Workloads besides those found by themselves.
    pub targets: Vec<Target>,
    /// How many roll at once.
    pub max_concurrent: usize,
    /// When a rollout counts as stalled.
    pub timeout: SignedDuration,
    /// What happens when one fails.
    pub on_failure: OnFailure,
}

/// The proof that nothing uses the old user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long nothing may be seen.
    pub quiet_for: SignedDuration,
    /// When sessions count as stalled.
    pub timeout: SignedDuration,
    /// What happens to them then.
    pub on_active: OnActiveSessions,
}

/// What happens to the old user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retire {
    /// How it is retired.
    pub mode: RetireMode,
    /// How long it is kept valid after the rollout.
    pub after: SignedDuration,
}

/// A policy that the schema let through and that still cannot mean anything. The message names the field and what
/// to write instead.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("spec.{field}: {problem}")]
pub struct Invalid {
    /// Path of the field below `spec`.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl Invalid {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl Policy {
    /// How much the rotation that is asked for, or that runs, may disturb.
    #[must_use]
    pub fn mode(&self) -> RotateMode {
        *self.rotate_mode.as_ref().unwrap_or(&RotateMode::Graceful)
    }

    /// What happens to sessions of the old user at the deadline.
    #[must_use]
    pub fn on_active(&self) -> OnActiveSessions {
        match self.mode() {
            RotateMode::Graceful => self.drain.on_active,
            RotateMode::Urgent | RotateMode::Immediate => OnActiveSessions::Terminate,
        }
    }

    /// Parses the object as it is now.
    ///
    /// # Errors
    /// Names the first field that cannot mean anything.
    pub fn parse(object: &RotationPolicy) -> Result<Self, Invalid> {
        Self::parse_as(object, &object.spec)
    }

    /// Parses the object with another spec in place of its own: the snapshot that a running rotation ends on.
    /// What a person says *about* the rotation (suspend, rotate-now, abort, reapply, accept, deletion, history, checks) stays that of the object.
    ///
    /// # Errors
    /// Names the first field that cannot mean anything.
    pub fn parse_as(object: &RotationPolicy, spec: &RotationPolicySpec) -> Result<Self, Invalid> {
        let meta = &object.metadata;
        let uid = meta.uid.clone().unwrap_or_default();
        let asked = |key: &str| {
            let value = meta.annotations.as_ref()?.get(key)?;
            (!value.is_empty()).then(|| value.clone())
        };
        let schedule = spec
            .schedule
            .as_ref()
            .map(|s| parse_schedule(s, &uid))
            .transpose()?;
        Ok(Self {
            name: meta.name.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            created_at: meta
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            suspended: object.spec.suspend,
            deleting: meta.deletion_timestamp.is_some(),
            rotate_now: asked(api::ROTATE_NOW),
            rotate_mode: RotateMode::read(asked(api::ROTATE_MODE)),
            abort: asked(api::ABORT),
            reapply: asked(api::REAPPLY),
            accept: asked(api::ACCEPT),
            check_every: parse_check(&object.spec.check_every)?,
            pair: parse_pair(&spec.users)?,
            database: parse_database(spec)?,
            endpoints: parse_endpoints(&spec.database)?,
            password: Recipe::new(spec.password.length, spec.password.symbols)
                .map_err(|problem| Invalid::new("password.length", problem))?,
            delivery: parse_delivery(&spec.delivery)?,
            schedule,
            restart: Restart {
                mode: spec.restart.mode,
                targets: spec
                    .restart
                    .targets
                    .iter()
                    .map(parse_target)
                    .collect::<Result<_, _>>()?,
                max_concurrent: spec.restart.max_concurrent.max(1) as usize,
                timeout: duration("restart.timeout", &spec.restart.timeout)?,
                on_failure: spec.restart.on_failure,
            },
            drain: Drain {
                // Where nobody can say whom a pooler holds, only time can.
                quiet_for: duration("drain.quietFor", &spec.drain.quiet_for)?
                    .max(parse_soak(&spec.database)?),
                timeout: duration("drain.timeout", &spec.drain.timeout)?,
                on_active: spec.drain.on_active_sessions,
            },
            retire: Retire {
                mode: spec.retire.mode,
                after: duration("retire.after", &spec.retire.after)?,
            },
            history_limit: object.spec.history_limit as usize,
            snapshot: spec.clone(),
            uid,
        })
    }
}

fn parse_pair(users: &[String]) -> Result<Pair, Invalid> {
    let [first, second] = users else {
        return Err(Invalid::new("users", "name exactly two login roles"));
    };
    let role = |name: &str| RoleName::new(name).map_err(|problem| Invalid::new("users", problem));
    if first == second {
        return Err(Invalid::new(
            "users",
            format!("both are {first:?}; name two different login roles"),
        ));
    }
    Ok(Pair(role(first)?, role(second)?))
}

fn secret_name(field: &str, name: &str) -> Result<SecretName, Invalid> {
    SecretName::new(name).map_err(|problem| Invalid::new(field, problem))
}

/// A check leaves a refused login in the server's log, and there are alarms for many of those.
fn parse_check(text: &str) -> Result<SignedDuration, Invalid> {
    let every = duration("checkEvery", text)?;
    if every < SignedDuration::from_secs(10) || every > SignedDuration::from_hours(24) {
        return Err(Invalid::new(
            "checkEvery",
            format!("{text:?} is not between 10s and 24h"),
        ));
    }
    Ok(every)
}

fn parse_target(target: &TargetSpec) -> Result<Target, Invalid> {
    match (&target.name, &target.match_labels) {
        (Some(name), None) => Ok(Target::Named(target.kind, name.clone())),
        (None, Some(labels)) if !labels.is_empty() => Ok(Target::Labelled(target.kind, labels.clone())),
        (None | Some(_), _) => Err(Invalid::new(
            "restart.targets",
            "give each target either a name or matchLabels",
        )),
    }
}

fn parse_schedule(spec: &ScheduleSpec, uid: &str) -> Result<Schedule, Invalid> {
    let window = spec
        .window
        .as_deref()
        .map(|w| duration("schedule.window", w))
        .transpose()?;
    if window.is_some_and(|w| w < SignedDuration::from_mins(1)) {
        return Err(Invalid::new(
            "schedule.window",
            "a window is at least one minute long",
        ));
    }
    if window.is_some() && spec.cron.is_none() {
        return Err(Invalid::new(
            "schedule.window",
            "a window needs cron: an interval has no time of day",
        ));
    }
    let jitter = spec
        .jitter
        .as_deref()
        .map(|j| duration("schedule.jitter", j))
        .transpose()?;
    let schedule = match (&spec.cron, &spec.every) {
        (Some(cron), None) => Schedule::cron(cron, spec.time_zone.as_deref().unwrap_or("UTC"))?,
        (None, Some(every)) => Schedule::every(duration("schedule.every", every)?)?,
        (None, None) | (Some(_), Some(_)) => {
            return Err(Invalid::new("schedule", "give exactly one of cron and every"));
        }
    };
    Ok(schedule.with(
        window,
        jitter.unwrap_or(SignedDuration::ZERO),
        spec.catch_up == CatchUp::Skip,
        uid,
    ))
}

/// Days, hours, minutes and seconds, a day being 24 hours.
fn duration(field: &str, text: &str) -> Result<SignedDuration, Invalid> {
    let wrong = |_| {
        Invalid::new(
            field,
            format!("{text:?} is not a duration; write for example 90s, 30m, 2h or 30d"),
        )
    };
    let span: Span = text.parse().map_err(wrong)?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(wrong)?;
    if duration.is_negative() {
        return Err(Invalid::new(field, format!("{text:?} is negative")));
    }
    Ok(duration)
}
