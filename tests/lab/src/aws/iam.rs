//! Who there is: access keys, roles and sessions, and what their policies let them do.

use std::collections::BTreeMap;
use std::fmt;

use aws_credential_types::Credentials;
use jiff::Timestamp;
use rand::RngExt as _;
use rand::distr::Alphanumeric;
use serde_json::{Value as Json, json};

use super::policy::{Policy, Says};
use super::refusal::{Outcome, Refusal};

/// The account that everything is in.
pub(super) const ACCOUNT: &str = "123456789012";

/// An access key of a user, to sign requests with.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Who may assume a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Everybody in the account who has the permission, and who knows the external id if there is one.
    Account {
        /// `sts:ExternalId`.
        external_id: Option<String>,
    },
    /// Bearers of a token for this subject, such as `system:serviceaccount:<namespace>:<name>`.
    ///
    /// The token's subject, audience and end are looked at, its signature is not.
    WebIdentity {
        /// The token's `sub`.
        subject: String,
    },
}

/// A role that can be assumed.
pub(super) struct Role {
    pub(super) name: String,
    pub(super) trust: Trust,
    policy: Policy,
}

/// Whoever makes a request.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    /// As errors name it.
    pub(super) arn: String,
    /// All names by which a secret's policy may mean it.
    names: Vec<String>,
    policy: Policy,
}

/// A key and whose it is.
pub(super) struct Identity {
    key: AccessKey,
    pub(super) session_token: Option<String>,
    pub(super) expires: Option<Timestamp>,
    pub(super) principal: Principal,
}

impl Identity {
    pub(super) fn credentials(&self) -> Credentials {
        Credentials::new(
            &self.key.id,
            &self.key.secret,
            self.session_token.clone(),
            None,
            "lab",
        )
    }
}

/// A session of a role, as STS hands it out.
pub(super) struct Session {
    pub(super) key: AccessKey,
    pub(super) token: String,
    pub(super) arn: String,
    pub(super) expires: Timestamp,
}

/// All keys and roles of the account.
#[derive(Default)]
pub(super) struct Iam {
    identities: BTreeMap<String, Identity>,
    roles: BTreeMap<String, Role>,
}

impl Iam {
    /// A new user with one key.
    pub(super) fn user(&mut self, policy: &Json) -> Result<AccessKey, serde_json::Error> {
        let key = AccessKey {
            id: format!("AKIA{}", letters(16).to_uppercase()),
            secret: letters(40),
        };
        let arn = format!("arn:aws:iam::{ACCOUNT}:user/{}", key.id.to_lowercase());
        let principal = Principal {
            names: vec![arn.clone(), account()],
            arn,
            policy: Policy::parse(policy)?,
        };
        self.add(key.clone(), None, None, principal);
        Ok(key)
    }

    /// Another policy for whom a key belongs to; whether there is somebody.
    pub(super) fn permit(&mut self, key: &str, policy: &Json) -> Result<bool, serde_json::Error> {
        let policy = Policy::parse(policy)?;
        let identity = self.identities.get_mut(key);
        Ok(identity
            .map(|identity| identity.principal.policy = policy)
            .is_some())
    }

    /// A new role, or another one under the same name.
    pub(super) fn role(
        &mut self,
        name: &str,
        trust: Trust,
        policy: &Json,
    ) -> Result<String, serde_json::Error> {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/{name}");
        let role = Role {
            name: name.to_owned(),
            trust,
            policy: Policy::parse(policy)?,
        };
        self.roles.insert(arn.clone(), role);
        Ok(arn)
    }

    pub(super) fn identity(&self, key: &str) -> Option<&Identity> {
        self.identities.get(key)
    }

    pub(super) fn find_role(&self, arn: &str) -> Option<&Role> {
        self.roles.get(arn)
    }

    /// Starts a session of a role.
    pub(super) fn session(&mut self, role_arn: &str, name: &str, expires: Timestamp) -> Option<Session> {
        let role = self.roles.get(role_arn)?;
        let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/{name}", role.name);
        let principal = Principal {
            arn: arn.clone(),
            names: vec![arn.clone(), role_arn.to_owned(), account()],
            policy: role.policy.clone(),
        };
        let key = AccessKey {
            id: format!("ASIA{}", letters(16).to_uppercase()),
            secret: letters(40),
        };
        let token = letters(200);
        self.add(key.clone(), Some(token.clone()), Some(expires), principal);
        Some(Session {
            key,
            token,
            arn,
            expires,
        })
    }

    /// Lets all sessions end now.
    pub(super) fn end_sessions(&mut self, now: Timestamp) {
        for identity in self.identities.values_mut() {
            if identity.expires.is_some() {
                identity.expires = Some(now);
            }
        }
    }

    fn add(
        &mut self,
        key: AccessKey,
        session_token: Option<String>,
        expires: Option<Timestamp>,
        principal: Principal,
    ) {
        let identity = Identity {
            key,
            session_token,
            expires,
            principal,
        };
        self.identities.insert(identity.key.id.clone(), identity);
    }
}

impl Principal {
    /// Whether it may, by its own policy and by that of the secret; in one account either can allow and both can deny.
    pub(super) fn may(&self, action: &str, resource: &str, of_secret: Option<&Policy>) -> Outcome<()> {
        let own = self.policy.says(&self.names, action, resource);
        let other = of_secret.map_or(Says::Nothing, |policy| policy.says(&self.names, action, resource));
        let why = match (own, other) {
            (Says::Deny, _) => "with an explicit deny in an identity-based policy".to_owned(),
            (_, Says::Deny) => "with an explicit deny in a resource-based policy".to_owned(),
            (Says::Allow, _) | (_, Says::Allow) => return Ok(()),
            (Says::Nothing, Says::Nothing) => {
                format!("because no identity-based policy allows the {action} action")
            }
        };
        Err(Refusal::denied(format!(
            "User: {} is not authorized to perform: {action} on resource: {resource} {why}",
            self.arn
        )))
    }
}

/// The policy of those who may do everything.
pub(super) fn everything() -> Json {
    json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
}

fn account() -> String {
    format!("arn:aws:iam::{ACCOUNT}:root")
}

fn letters(count: usize) -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(count)
        .map(char::from)
        .collect()
}
