//! What an action answers: only what has a value is in it.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::store::Secret;

/// An answer in the making.
#[derive(Default)]
pub(super) struct Answer(Map<String, Json>);

impl Answer {
    /// Says which secret was meant.
    pub(super) fn about(secret: &Secret) -> Self {
        Self::default()
            .with("ARN", &secret.arn)
            .with("Name", &secret.name)
    }

    pub(super) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.0.insert(name.to_owned(), json!(value));
        self
    }

    pub(super) fn with_some(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl From<Answer> for Json {
    fn from(answer: Answer) -> Self {
        Self::Object(answer.0)
    }
}
