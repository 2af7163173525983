//! A drift in words: what is not as it was, since when, whose doing it may be, and the two ways out.

use super::drift::{Cause, Drift};
use super::words::{Weight, Words, annotate_command, stored};
use crate::api::{self, journal_name};
use crate::policy::Policy;

/// Puts a drift into words.
pub(super) fn drift_words(policy: &Policy, drift: &Drift) -> Words {
    let Policy { namespace, .. } = policy;
    let secret = &policy.delivery.target.secret;
    let at = format!("{}:{}", policy.database.host, policy.database.port);
    let (reapply, accept) = (
        annotate_command(policy, api::REAPPLY),
        annotate_command(policy, api::ACCEPT),
    );
    let message = match drift {
        Drift::OtherServer { expected, found } => format!(
            "{at} is now the cluster with system identifier {found}; the last rotation ended on {expected}. Nothing is changed there. If that is meant (a restore, a move), say so: {accept}; else point the name back"
        ),
        Drift::ActiveRefused {
            user,
            cause: Cause::Told,
            ..
        } => format!(
            "{at} refuses the password of {user} that applications are told, so those that log in now are refused; it is not the one that the last rotation delivered: {} was changed by somebody else. See who: kubectl -n {namespace} get secret {secret} --show-managed-fields -o yaml. Put back what was delivered: it is in Secret {namespace}/{}, under pending-password",
            told(policy),
            journal_name(&policy.name)
        ),
        Drift::ActiveRefused { user, cause, since } => format!(
            "{at} refuses the password of {user} that applications are told, so those that log in now are refused. {}. Set the password of {} once more: {reapply}; or accept the server's, by writing it there",
            cause_words(*cause, &since.to_string()),
            told(policy),
        ),
        Drift::RetiredAccepted { user, cause, since } => format!(
            "{at} takes the password of {user} again that had been retired; the active user logs in all the same. {}. Have it refused once more: {reapply}; or accept that it is valid: {accept}; the next rotation replaces it in any case",
            cause_words(*cause, &since.to_string()),
        ),
    };
    Words {
        reason: drift.reason(),
        message,
        weight: Weight::Stalled,
    }
}

/// Where applications are told their password.
fn told(policy: &Policy) -> String {
    match policy.delivery.source() {
        Some(_) => stored(policy),
        None => format!("Secret {}/{}", policy.namespace, policy.delivery.target.secret),
    }
}

fn cause_words(cause: Cause, since: &str) -> String {
    match cause {
        Cause::Told => {
            format!("It was in order at {since}; since then somebody has changed what applications are told")
        }
        Cause::Failover { from, to } => format!(
            "It was in order at {since} on timeline {from}, and the server is on timeline {to} now: likely a standby that lacked the change was promoted, or a backup from before it was restored"
        ),
        Cause::Writer => format!(
            "It was in order at {since}, and the server is on the same timeline still: likely a second writer (a person, Terraform, Vault, an operator) has set another password, or a snapshot of the server's disk was put back. PostgreSQL keeps no record of who did it; with log_statement = ddl its log does"
        ),
        Cause::Unknown => format!(
            "It was in order at {since}; a second writer, a failover or a restore may have changed it"
        ),
    }
}
