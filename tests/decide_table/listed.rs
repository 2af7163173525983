//! The parts of a row about a pooler that has a list of passwords.

use tandem::api::endpoint::EndpointRole;
use tandem::machine::Facts;
use tandem::machine::userlists::{List, ListSeen};
use tandem::policy::target::SecretName;
use tandem::policy::{Policy, SecretKeyPair, Userlist};

use crate::fixtures::{PolicyVerbs as _, policy};

/// The second of its endpoints is a pooler with a list.
pub(crate) fn pooled() -> Policy {
    with_list(policy())
}

/// The same of another policy.
pub(crate) fn with_list(policy: Policy) -> Policy {
    let mut policy = policy.reading();
    let pooler = &mut policy.endpoints[1];
    pooler.role = EndpointRole::Pooler;
    pooler.console = Some(SecretKeyPair {
        secret: SecretName::new("console").unwrap(),
        username_key: "username".into(),
        password_key: "password".into(),
    });
    pooler.userlist = Some(Userlist {
        secret: list_secret(),
        key: "userlist.txt".into(),
    });
    policy
}

pub(crate) fn list_secret() -> SecretName {
    SecretName::new("pgbouncer-userlist").unwrap()
}

/// What the list has of both users.
pub(crate) fn listing(has_pending: bool, has_retiring: bool) -> List {
    List::Known {
        version: "uid/7".into(),
        has_pending,
        has_retiring,
    }
}

pub(crate) trait ListVerbs {
    fn lists(self, list: List) -> Self;
    fn enlisted(self) -> Self;
    fn reloaded(self) -> Self;
}

impl ListVerbs for Facts {
    fn lists(self, list: List) -> Self {
        let endpoint = "far".to_owned();
        Self {
            lists: Some(vec![ListSeen { endpoint, list }]),
            ..self
        }
    }

    fn enlisted(self) -> Self {
        Self {
            enlisted: true,
            ..self
        }
    }

    fn reloaded(self) -> Self {
        Self {
            reloaded: vec!["far".to_owned()],
            ..self
        }
    }
}
