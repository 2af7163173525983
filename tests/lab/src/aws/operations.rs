//! The actions: who may ask for them, and which function does each.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::action::Action;
use super::iam::Principal;
use super::refusal::{Outcome, Refusal};
use super::store::{Store, arn_of};
use super::{reads, writes};

/// Who asks, where and when.
pub(super) struct Caller<'a> {
    pub(super) principal: &'a Principal,
    pub(super) region: &'a str,
    pub(super) now: Timestamp,
}

impl Caller<'_> {
    /// Whether the caller may do this to a secret, which need not exist.
    pub(super) fn may(&self, action: Action, store: &Store, id: &str) -> Outcome<()> {
        let permission = action.permission();
        match store.get(self.region, id) {
            Some(secret) => {
                let policy = secret.policy.as_ref().map(|(_, policy)| policy);
                self.principal.may(&permission, &secret.arn, policy)
            }
            None if id.starts_with("arn:") => self.principal.may(&permission, id, None),
            None => self.principal.may(&permission, &arn_of(self.region, id), None),
        }
    }
}

/// Does what was asked, if the caller may.
pub(super) fn perform(store: &mut Store, caller: &Caller<'_>, action: Action, body: &Json) -> Outcome<Json> {
    match secret_of(body) {
        Some(id) => caller.may(action, store, id)?,
        None => caller.principal.may(&action.permission(), "*", None)?,
    }
    match action {
        Action::BatchGetSecretValue => reads::batch(store, caller, &parse(body)?),
        Action::CreateSecret => writes::create(store, caller, parse(body)?),
        Action::DeleteResourcePolicy => writes::delete_policy(store, caller, &parse(body)?),
        Action::DeleteSecret => writes::delete(store, caller, &parse(body)?),
        Action::DescribeSecret => reads::describe(store, caller, &parse(body)?),
        Action::GetResourcePolicy => reads::policy(store, caller, &parse(body)?),
        Action::GetSecretValue => reads::value(store, caller, &parse(body)?),
        Action::ListSecretVersionIds => reads::versions(store, caller, &parse(body)?),
        Action::ListSecrets => reads::list(store, caller, &parse(body)?),
        Action::PutResourcePolicy => writes::put_policy(store, caller, parse(body)?),
        Action::PutSecretValue => writes::put(store, caller, parse(body)?),
        Action::RestoreSecret => writes::restore(store, caller, &parse(body)?),
        Action::TagResource => writes::tag(store, caller, parse(body)?),
        Action::UntagResource => writes::untag(store, caller, &parse(body)?),
        Action::UpdateSecret => writes::update(store, caller, parse(body)?),
        Action::UpdateSecretVersionStage => writes::move_stage(store, caller, &parse(body)?),
    }
}

/// The secret that a request is about, by whatever it calls it.
pub(super) fn secret_of(body: &Json) -> Option<&str> {
    body.get("SecretId").or_else(|| body.get("Name"))?.as_str()
}

/// A request that only says which secret it means.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct OnlyId {
    pub(super) secret_id: String,
}

/// The number that dates are on the wire: seconds, with a fraction.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit")]
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// Parameters that the emulator does not know are refused and not passed over.
fn parse<T: DeserializeOwned>(body: &Json) -> Outcome<T> {
    T::deserialize(body).map_err(|error| Refusal::not_emulated(&format!("such a request ({error})")))
}
