//! Sentences for the person on call: what happened, to which object, and the next command to type.

use super::drift_words::drift_words;
use super::place::{Shared, Taken};
use super::step::{Behind, Crowded, NoWayBack, Waiting};
use super::{endpoints, listed};
use crate::api::spec::TargetKind;
use crate::api::{self, journal_name};
use crate::policy::target::{ConsumerKind, ConsumerRef};
use crate::policy::{Policy, RotateMode, Route};

/// How much somebody has to care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It goes on by itself.
    Progress,
    /// It may go on by itself, and deserves a look.
    Trouble,
    /// It does not go on until somebody acts, or takes far too long.
    Stalled,
}

/// A waiting state in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Stable `CamelCase` reason.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// How much somebody has to care.
    pub weight: Weight,
}

/// Puts a waiting state into words.
#[must_use]
#[expect(
    clippy::too_many_lines,
    reason = "one arm for each state, side by side, is how it is read"
)]
pub fn words(policy: &Policy, why: &Waiting) -> Words {
    let Policy { name, namespace, .. } = policy;
    let secret = &policy.delivery.target.secret;
    let (reason, weight, message) = match why {
        Waiting::Suspended => (
            "Suspended",
            Weight::Progress,
            format!(
                "suspended before the next side effect; go on with: kubectl -n {namespace} patch rotpol {name} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'"
            ),
        ),
        Waiting::UnknownMode(text) => (
            "UnknownRotateMode",
            Weight::Trouble,
            format!(
                "a rotation is asked for with {key}={text:?}, which is none of Graceful, Urgent and Immediate; correct it: kubectl -n {namespace} annotate --overwrite rotpol {name} {key}=Graceful",
                key = api::ROTATE_MODE
            ),
        ),
        Waiting::JournalCorrupt(flaw) => (
            "JournalCorrupt",
            Weight::Stalled,
            format!(
                "journal Secret {namespace}/{journal} cannot be trusted: {flaw}. Nothing is changed on guesses. Restore it from a backup, or give it up with: kubectl -n {namespace} delete secret {journal}; a rotation that had not reached Secret {secret} then starts over, one that had is finished from it",
                journal = journal_name(name)
            ),
        ),
        Waiting::Preflight(findings) => {
            let lines: Vec<_> = findings
                .iter()
                .filter(|f| f.blocks)
                .map(|f| f.message.as_str())
                .collect();
            let reason = findings
                .iter()
                .find(|f| f.blocks)
                .map_or("PreflightFailed", |f| f.reason);
            (
                reason,
                Weight::Stalled,
                format!(
                    "nothing has been changed; before a rotation can start: {}",
                    lines.join("; ")
                ),
            )
        }
        Waiting::Window(opens) => (
            "WaitingForWindow",
            Weight::Progress,
            format!("the schedule's window opens at {opens}"),
        ),
        Waiting::Place(taken) => ("WaitingForPlace", Weight::Progress, taken_words(policy, taken)),
        Waiting::Journals(policies) => (
            "ReadingJournals",
            Weight::Progress,
            format!(
                "the controller has just started: the rotation begins when the journals have been read of {policies} other policies of namespace {namespace} or server {}:{}",
                policy.database.host, policy.database.port
            ),
        ),
        Waiting::Refused(finding) => (finding.reason, Weight::Trouble, finding.message.clone()),
        Waiting::NotAccepted => (
            "PendingPasswordNotAccepted",
            Weight::Trouble,
            format!(
                "the server took a new password for the standby user and refuses a login with it: somebody else may be changing it, or {}:{} leads to several servers. The credential in Secret {namespace}/{secret} is untouched; look at the server's log for the standby's failed logins",
                policy.database.host, policy.database.port
            ),
        ),
        Waiting::OtherServer { expected, found } => (
            "OtherServer",
            Weight::Stalled,
            format!(
                "{}:{} is now the cluster with system identifier {found}; the rotation began on {expected}. If that is meant (a restore, a move), start over with: kubectl -n {namespace} delete secret {}; else point the name back",
                policy.database.host,
                policy.database.port,
                journal_name(name)
            ),
        ),
        Waiting::Drift(drift) => return drift_words(policy, drift),
        Waiting::Replay { behind, overdue } => (
            if *overdue {
                "ReplicaOverdue"
            } else {
                "WaitingForReplica"
            },
            if *overdue {
                Weight::Stalled
            } else {
                Weight::Progress
            },
            format!(
                "both credentials stay valid until every endpoint takes the new password: {}",
                endpoints::behind_words(behind)
            ),
        ),
        Waiting::List {
            endpoint,
            secret,
            overdue,
        } => (
            if *overdue {
                "PoolerOverdue"
            } else {
                "WaitingForPooler"
            },
            if *overdue {
                Weight::Stalled
            } else {
                Weight::Progress
            },
            format!(
                "both credentials stay valid until the pooler of endpoint {endpoint} knows the new password: Secret {namespace}/{secret} has it, and the pooler was told to read its list (RELOAD). A changed Secret comes to where it is mounted within some minute, and never where it is mounted with subPath. If it stays so, see whether its auth_file is that file, and what it has: kubectl -n {namespace} get secret {secret} -o jsonpath='{{.metadata.resourceVersion}}'; and look at the pooler's log"
            ),
        ),
        Waiting::PasswordsRejected(finding) => (
            "PasswordsRejected",
            Weight::Stalled,
            format!(
                "the server refused every password that was made: {}. Adjust spec.password or the server's policy, then delete Secret {namespace}/{} to start over",
                finding.message,
                journal_name(name)
            ),
        ),
        Waiting::SecretMissing => (
            "SecretMissing",
            Weight::Stalled,
            format!(
                "Secret {namespace}/{secret} is gone, and with it the only place that says which user is active. Both users' passwords are still valid. Apply its manifest again; the rotation goes on from there"
            ),
        ),
        Waiting::SecretChanged(user) => (
            "SecretChanged",
            Weight::Stalled,
            format!(
                "Secret {namespace}/{secret} was changed by somebody else: it names {} with a password that Tandem did not put there. See who: kubectl -n {namespace} get secret {secret} --show-managed-fields -o jsonpath='{{.metadata.managedFields[*].manager}}'. Put the previous credential back, or accept it by deleting Secret {namespace}/{}",
                user.as_ref()
                    .map_or_else(|| "no user".to_owned(), |user| format!("user {user}")),
                journal_name(name)
            ),
        ),
        Waiting::StoreChanged(user) => (
            "StoreChanged",
            Weight::Stalled,
            format!(
                "{} was changed by somebody else: its current version names {} with a password that Tandem did not put there. See who: look for PutSecretValue and UpdateSecretVersionStage in CloudTrail. Make the previous version current again, or accept this one by deleting Secret {namespace}/{}",
                stored(policy),
                user.as_ref()
                    .map_or_else(|| "no user of the pair".to_owned(), |user| format!("user {user}")),
                journal_name(name)
            ),
        ),
        Waiting::Sync { times, trouble } => (
            "WaitingForSync",
            if trouble.is_some() || *times > 3 {
                Weight::Trouble
            } else {
                Weight::Progress
            },
            format!(
                "{} has the new credential, and Secret {namespace}/{secret} does not carry it yet; External Secrets Operator was asked {times} times and is asked again. Both credentials are valid{}",
                stored(policy),
                match trouble {
                    Some(finding) => format!(". {}", finding.message),
                    None => format!(
                        "; see: kubectl -n {namespace} describe externalsecret {}",
                        external_secret(policy)
                    ),
                }
            ),
        ),
        Waiting::Reloader { left, until, overdue } => {
            let (reason, weight) = if *overdue {
                ("RestartOverdue", Weight::Stalled)
            } else {
                ("WaitingForReloader", Weight::Progress)
            };
            let then = match until {
                Some(until) => format!("Tandem restarts in its stead from {until} on"),
                None => format!(
                    "with spec.restart.mode Reloader, Tandem never does; restart by hand with: {}",
                    restart_commands(namespace, left)
                ),
            };
            (
                reason,
                weight,
                format!(
                    "{}; Reloader has not restarted {} yet, {then}",
                    validity(policy),
                    listed(left)
                ),
            )
        }
        Waiting::Rollout {
            behind,
            overdue,
            no_way_back,
        } => (
            if *overdue {
                "RolloutOverdue"
            } else {
                "WaitingForRollout"
            },
            if *overdue {
                Weight::Stalled
            } else {
                Weight::Progress
            },
            format!(
                "{} until no pod holds the old one: {}{}",
                validity(policy),
                behind_words(namespace, behind),
                no_way_back.map(no_way_back_words).unwrap_or_default()
            ),
        ),
        Waiting::Room(Crowded {
            consumer,
            pods,
            each,
            limit,
        }) => (
            "WaitingForRoom",
            Weight::Trouble,
            format!(
                "a restart of {consumer} brings up to {pods} pods more for a time, with some {each} connections each, and {} allows {}, of which {} are taken; {}. Raise it, let fewer be idle, or lower the rollout's maxSurge; or restart it yourself, at your risk: kubectl -n {namespace} rollout restart {consumer}",
                limit.what,
                limit.most,
                limit.used,
                validity(policy)
            ),
        ),
        Waiting::Sessions { laggards, overdue } => {
            let list: Vec<_> = laggards
                .iter()
                .map(|l| {
                    let application = if l.application_name.is_empty() {
                        "(no application name)"
                    } else {
                        &l.application_name
                    };
                    let from = if l.pod.is_empty() {
                        &l.client_address
                    } else {
                        &l.pod
                    };
                    if from.is_empty() && l.application_name.is_empty() {
                        // What PostgreSQL tells of a session to those who may not see it: that it is there.
                        return format!(
                            "{} of which the administrator may see no more (the Preflight condition has the GRANT)",
                            l.count
                        );
                    }
                    let at = l
                        .endpoint
                        .as_ref()
                        .map(|endpoint| format!(" at endpoint {endpoint}"))
                        .unwrap_or_default();
                    format!("{} of {application} from {from}{at}", l.count)
                })
                .collect();
            (
                if *overdue {
                    "DrainOverdue"
                } else {
                    "WaitingForSessions"
                },
                if *overdue {
                    Weight::Stalled
                } else {
                    Weight::Progress
                },
                format!(
                    "the old user still has sessions: {}. Restart or close these clients, or set drain.onActiveSessions to Terminate",
                    list.join(", ")
                ),
            )
        }
        Waiting::Quiet => (
            "WaitingForQuiet",
            Weight::Progress,
            "no session of the old user; looking until the quiet time is over".into(),
        ),
        Waiting::RetireAfter(until) => (
            "KeepingOldCredential",
            Weight::Progress,
            format!("the old credential stays valid until {until} (retire.after)"),
        ),
        Waiting::NotRetired => (
            "OldPasswordStillAccepted",
            Weight::Trouble,
            format!(
                "the server took another password for the old user and still accepts the old one: {}:{} may lead to several servers, or a pg_hba line may trust it. Setting it again; look at pg_hba_file_rules and at the address behind the name",
                policy.database.host, policy.database.port
            ),
        ),
    };
    Words {
        reason,
        message,
        weight,
    }
}

/// The secret in the store, as messages name it.
pub(super) fn stored(policy: &Policy) -> String {
    match policy.delivery.source() {
        Some(source) => format!("secret {} in region {}", source.id, source.region),
        None => "the store".to_owned(),
    }
}

fn external_secret(policy: &Policy) -> &str {
    match &policy.delivery.route {
        Route::Direct { .. } => "",
        Route::StoreFirst { external_secret, .. } => external_secret,
    }
}

fn taken_words(policy: &Policy, taken: &Taken) -> String {
    let (at, see) = match taken.shared {
        Shared::Namespace => (
            format!("in namespace {}", policy.namespace),
            format!("-n {}", policy.namespace),
        ),
        Shared::Server => (
            format!("at server {}:{}", policy.database.host, policy.database.port),
            "-A".to_owned(),
        ),
    };
    let ahead = match taken.ahead {
        0 => "it is the next".to_owned(),
        ahead => format!("{ahead} that wait come first"),
    };
    format!(
        "nothing has been changed; at most {} rotations may be under way at once {at}, and these are: {}; {ahead}. See how far they are: kubectl get rotpol {see}; a higher limit is the controller's flag {}",
        taken.most,
        taken.holders.join(", "),
        taken.shared.flag()
    )
}

/// How the applications fare while something is waited for after the delivery.
fn validity(policy: &Policy) -> &'static str {
    match policy.mode() {
        RotateMode::Graceful | RotateMode::Urgent => "both credentials stay valid",
        RotateMode::Immediate => "the old password is refused already, and so is who holds it",
    }
}

fn behind_words(namespace: &str, behind: &[Behind]) -> String {
    let each = behind.iter().map(|b| {
        let obstacle = b.obstacle.as_ref().map(|o| format!(" ({o})")).unwrap_or_default();
        if b.old_pods.is_empty() {
            return format!("{} has a new pod that is not ready{obstacle}", b.consumer);
        }
        let (number, pods) = (b.old_pods.len(), listed(&b.old_pods));
        format!("{} has {number} old: {pods}{obstacle}", b.consumer)
    });
    let first = behind
        .first()
        .map(|b| format!("; see: kubectl -n {namespace} describe {}", b.consumer))
        .unwrap_or_default();
    format!("{}{first}", listed(each))
}

/// How a person has all pods of these workloads replaced.
#[must_use]
pub fn restart_commands(namespace: &str, left: &[ConsumerRef]) -> String {
    let (rollouts, others): (Vec<_>, Vec<_>) = left
        .iter()
        .partition(|consumer| consumer.kind == ConsumerKind::Workload(TargetKind::Rollout));
    let others: Vec<_> = others.iter().map(ToString::to_string).collect();
    let plain =
        (!others.is_empty()).then(|| format!("kubectl -n {namespace} rollout restart {}", others.join(" ")));
    let rollouts = rollouts
        .iter()
        .map(|rollout| restart_rollout_command(namespace, &rollout.name));
    plain.into_iter().chain(rollouts).collect::<Vec<_>>().join("; ")
}

/// How a person has all pods of a Rollout of Argo replaced: `kubectl rollout restart` does not know it.
#[must_use]
pub fn restart_rollout_command(namespace: &str, rollout: &str) -> String {
    format!(
        "kubectl -n {namespace} patch rollout {rollout} --type merge -p '{{\"spec\":{{\"restartAt\":\"'$(date -u +%FT%TZ)'\"}}}}'"
    )
}

fn no_way_back_words(why: NoWayBack) -> &'static str {
    match why {
        NoWayBack::RollBack => {
            ". This is a roll-back already, and is not rolled back; mend the rollout, and it goes on"
        }
        NoWayBack::Unknown => {
            ". The previous credential cannot be put back, since the journal that knew its password was lost; mend the rollout, and it goes on"
        }
        NoWayBack::Refused => {
            ". The previous credential cannot be put back, since the server refuses its password; mend the rollout, and it goes on"
        }
    }
}

/// What the rotate-now command looks like, for the messages of an idle policy.
#[must_use]
pub fn rotate_now_command(policy: &Policy) -> String {
    annotate_command(policy, api::ROTATE_NOW)
}

/// How a person gives an annotation of the policy a value that was never used.
pub(super) fn annotate_command(policy: &Policy, annotation: &str) -> String {
    format!(
        "kubectl -n {} annotate --overwrite rotpol {} {annotation}=$(date +%s)",
        policy.namespace, policy.name
    )
}
