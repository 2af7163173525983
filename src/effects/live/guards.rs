//! The last question before a role's password is changed: is anybody told to use it?

use super::Live;
use crate::effects::{Error, Outcome};
use crate::machine::facts::{Finding, Refused, SecretSeen};
use crate::policy::target::RoleName;
use crate::policy::{Policy, StoredSecret};

/// What a role's password is changed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve: applications may be told it already, as long as they are told this very password.
    Serve,
    /// To be known to nobody: applications must be told the other user, and its password.
    Retire,
}

impl Live<'_> {
    /// Nothing, when the change locks nobody out; else why it is refused. The store is asked too, where it comes first:
    /// what it names reaches the applications sooner or later.
    pub(super) async fn in_use(
        &mut self,
        policy: &Policy,
        user: &RoleName,
        purpose: Purpose,
    ) -> Result<Option<Outcome>, Error> {
        let source = policy.delivery.source();
        let safe = match self.secret(policy).await?.0 {
            SecretSeen::Present {
                carries_pending,
                user: named,
                ..
            } => match purpose {
                // A Secret that names its user only inside a rendered value says nothing here, and its store does.
                Purpose::Serve if source.is_some() => carries_pending || named.as_ref() != Some(user),
                Purpose::Serve => carries_pending || named.is_some_and(|named| named != *user),
                Purpose::Retire if source.is_some() => carries_pending && named.as_ref() != Some(user),
                Purpose::Retire => carries_pending && named.is_some_and(|named| named != *user),
            },
            // It comes back from the store. Without one, it was the only place that says who is active.
            SecretSeen::Missing => source.is_some() && purpose == Purpose::Serve,
        };
        if !safe {
            return Ok(Some(named_by_secret(policy, user)));
        }
        match source {
            Some(source) => self.in_use_in_store(source, user, purpose).await,
            None => Ok(None),
        }
    }

    async fn in_use_in_store(
        &mut self,
        source: &StoredSecret,
        user: &RoleName,
        purpose: Purpose,
    ) -> Result<Option<Outcome>, Error> {
        let document = match self.document(source).await? {
            Ok(document) => document,
            Err(finding) => return Ok(Some(Outcome::Refused(Refused::Otherwise(finding)))),
        };
        let brought = self.brought();
        let carries = brought.is_some_and(|(user, password)| document.carries(user.as_str(), password));
        let other = document.user() != user.as_str();
        let safe = match purpose {
            Purpose::Serve => carries || other,
            Purpose::Retire => carries && other,
        };
        Ok((!safe).then(|| named_by_store(source, user)))
    }
}

fn named_by_secret(policy: &Policy, user: &RoleName) -> Outcome {
    let (namespace, secret) = (&policy.namespace, &policy.delivery.target.secret);
    refusal(format!(
        "refusing to change user {user}: Secret {namespace}/{secret} names it now, or carries a password that Tandem did not put there. See who wrote it: kubectl -n {namespace} get secret {secret} --show-managed-fields -o yaml"
    ))
}

fn named_by_store(source: &StoredSecret, user: &RoleName) -> Outcome {
    let StoredSecret { id, region, .. } = source;
    refusal(format!(
        "refusing to change user {user}: the current version of secret {id} in region {region} names it, or carries a password that Tandem did not put there. See its versions: aws secretsmanager list-secret-version-ids --region {region} --secret-id {id}"
    ))
}

fn refusal(message: String) -> Outcome {
    Outcome::Refused(Refused::Otherwise(Finding {
        blocks: true,
        reason: "UserInUse",
        message,
    }))
}
