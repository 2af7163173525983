//! Policy documents, as far as the lab's are written: who may do what with which secret.
//!
//! Documents are read strictly. What is not understood, a `Condition` above all, is an error and never ignored:
//! a rule that were passed over would make a test pass that fails at AWS.

use serde::Deserialize;
use serde_json::Value as Json;

/// A policy document of an identity or of a secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Policy {
    #[serde(default, rename = "Version")]
    _version: Option<String>,
    #[serde(default, rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<Statement>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(default, rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    #[serde(default)]
    principal: Option<Principals>,
    action: OneOrMany<String>,
    resource: OneOrMany<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Principals {
    Anybody(String),
    These(These),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct These {
    #[serde(rename = "AWS")]
    aws: OneOrMany<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn iter(&self) -> impl Iterator<Item = &T> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        }
        .iter()
    }
}

/// What a policy says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Allow,
    Deny,
    Nothing,
}

impl Policy {
    pub(super) fn parse(document: &Json) -> Result<Self, serde_json::Error> {
        serde_json::from_value(document.clone())
    }

    /// An explicit deny wins over any allow. A statement that names principals needs one of the caller's names.
    pub(super) fn says(&self, caller: &[String], action: &str, resource: &str) -> Says {
        let mut said = Says::Nothing;
        for statement in self.statement.iter() {
            let matches = statement.is_about(caller)
                && statement.action.iter().any(|pattern| is_like(pattern, action))
                && statement
                    .resource
                    .iter()
                    .any(|pattern| is_like(pattern, resource));
            match (matches, statement.effect) {
                (true, Effect::Deny) => return Says::Deny,
                (true, Effect::Allow) => said = Says::Allow,
                (false, _) => {}
            }
        }
        said
    }
}

impl Statement {
    fn is_about(&self, caller: &[String]) -> bool {
        match &self.principal {
            None => true,
            Some(Principals::Anybody(pattern)) => pattern == "*",
            Some(Principals::These(These { aws })) => {
                aws.iter().any(|name| name == "*" || caller.contains(name))
            }
        }
    }
}

/// `*` stands for any text and `?` for any one character.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match (rest.next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            let after = rest.as_str();
            text.char_indices()
                .any(|(at, _)| is_like(after, text.get(at..).unwrap_or_default()))
                || is_like(after, "")
        }
        (Some(wanted), Some(found)) => {
            (wanted == '?' || wanted == found)
                && is_like(rest.as_str(), text.get(found.len_utf8()..).unwrap_or_default())
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn says(statement: &Json, action: &str, resource: &str) -> Says {
        let policy = Policy::parse(&json!({"Version": "2012-10-17", "Statement": statement})).unwrap();
        policy.says(&["me".to_owned()], action, resource)
    }

    #[test]
    fn wildcards_are_those_of_iam() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("orders-??????", "orders-AbCdEf", true),
            ("orders-??????", "orders-AbCdE", false),
            ("secret:orders*", "secret:orders/db-1", true),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_deny_wins_and_silence_is_neither() {
        let both = json!([
            {"Effect": "Deny", "Action": "s:Put*", "Resource": "*"},
            {"Effect": "Allow", "Action": ["s:*"], "Resource": ["r"]},
        ]);
        assert_eq!(says(&both, "s:PutIt", "r"), Says::Deny);
        assert_eq!(says(&both, "s:GetIt", "r"), Says::Allow);
        assert_eq!(says(&both, "s:GetIt", "other"), Says::Nothing);
    }

    #[test]
    fn a_statement_is_for_those_whom_it_names() {
        let statement = |principal: Json| json!([{"Effect": "Deny", "Principal": principal, "Action": "*", "Resource": "*"}]);
        for (principal, expected) in [
            (json!("*"), Says::Deny),
            (json!({"AWS": ["me", "you"]}), Says::Deny),
            (json!({"AWS": "you"}), Says::Nothing),
        ] {
            assert_eq!(says(&statement(principal), "a", "r"), expected);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let statement = json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {}});
        assert!(Policy::parse(&json!({"Statement": statement})).is_err());
    }
}
