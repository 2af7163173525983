//! The actions that write.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::action::Action;
use super::answer::Answer;
use super::operations::{Caller, OnlyId, seconds};
use super::policy::Policy;
use super::refusal::{Outcome, Refusal};
use super::store::Store;
use super::versions::{Value, check_token, in_use};

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Create {
    name: String,
    client_request_token: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// `CreateSecret`: the same request again, told by its token, is no error.
pub(super) fn create(store: &mut Store, caller: &Caller<'_>, input: Create) -> Outcome<Json> {
    let value = given(input.secret_string, input.secret_binary)?;
    let token = required(input.client_request_token)?;
    if let Some(secret) = store.get(caller.region, &input.name)
        && secret.deletion.is_none()
        && let Ok(version) = secret.versions.find(Some(&token), None)
    {
        if Some(&version.value) != value.as_ref() {
            return Err(in_use(&token, &secret.arn));
        }
        return Ok(Answer::about(secret).with("VersionId", token).into());
    }
    if input.name.contains('!') {
        return Err(Refusal::new(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@",
        ));
    }
    if let Some(value) = &value {
        value.check()?;
    }
    if !input.tags.is_empty() {
        caller.may(Action::TagResource, store, &input.name)?;
    }
    let secret = store.create(caller.region, &input.name, caller.now)?;
    secret.description = input.description;
    secret.kms_key = input.kms_key_id;
    secret.tags = input.tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
    let answer = Answer::about(secret);
    let Some(value) = value else {
        return Ok(answer.into());
    };
    secret
        .versions
        .put(&secret.arn, &token, value, None, caller.now)?;
    Ok(answer.with("VersionId", token).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Put {
    secret_id: String,
    client_request_token: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    version_stages: Option<Vec<String>>,
}

/// `PutSecretValue`
pub(super) fn put(store: &mut Store, caller: &Caller<'_>, input: Put) -> Outcome<Json> {
    let secret = store.get_mut(caller.region, &input.secret_id)?;
    secret.live()?;
    let token = required(input.client_request_token)?;
    let value = given(input.secret_string, input.secret_binary)?
        .ok_or_else(|| Refusal::invalid_request("You must provide either SecretString or SecretBinary."))?;
    let stages = input.version_stages.as_deref();
    let version = secret
        .versions
        .put(&secret.arn, &token, value, stages, caller.now)?;
    let stages = json!(version.stages);
    secret.changed = caller.now;
    let answer = Answer::about(secret).with("VersionId", token);
    Ok(answer.with("VersionStages", stages).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Update {
    secret_id: String,
    client_request_token: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
}

/// `UpdateSecret`: with a value it makes a version that is current at once. A token that was used before is an error
/// here, even with the same value.
pub(super) fn update(store: &mut Store, caller: &Caller<'_>, input: Update) -> Outcome<Json> {
    let secret = store.get_mut(caller.region, &input.secret_id)?;
    secret.live()?;
    let value = given(input.secret_string, input.secret_binary)?;
    let mut answer = Answer::about(secret);
    if let Some(value) = value {
        let token = required(input.client_request_token)?;
        if secret.versions.find(Some(&token), None).is_ok() {
            return Err(in_use(&token, &secret.arn));
        }
        secret
            .versions
            .put(&secret.arn, &token, value, None, caller.now)?;
        answer = answer.with("VersionId", token);
    }
    secret.description = input.description.or_else(|| secret.description.take());
    secret.kms_key = input.kms_key_id.or_else(|| secret.kms_key.take());
    secret.changed = caller.now;
    Ok(answer.into())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MoveStage {
    secret_id: String,
    version_stage: String,
    move_to_version_id: Option<String>,
    remove_from_version_id: Option<String>,
}

/// `UpdateSecretVersionStage`
pub(super) fn move_stage(store: &mut Store, caller: &Caller<'_>, input: &MoveStage) -> Outcome<Json> {
    let secret = store.get_mut(caller.region, &input.secret_id)?;
    secret.live()?;
    secret.versions.move_stage(
        &input.version_stage,
        input.move_to_version_id.as_deref(),
        input.remove_from_version_id.as_deref(),
    )?;
    secret.changed = caller.now;
    Ok(Answer::about(secret).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct TagThem {
    secret_id: String,
    tags: Vec<Tag>,
}

/// `TagResource`
pub(super) fn tag(store: &mut Store, caller: &Caller<'_>, input: TagThem) -> Outcome<Json> {
    let secret = store.get_mut(caller.region, &input.secret_id)?;
    secret.live()?;
    secret
        .tags
        .extend(input.tags.into_iter().map(|tag| (tag.key, tag.value)));
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct UntagThem {
    secret_id: String,
    tag_keys: Vec<String>,
}

/// `UntagResource`
pub(super) fn untag(store: &mut Store, caller: &Caller<'_>, input: &UntagThem) -> Outcome<Json> {
    let secret = store.get_mut(caller.region, &input.secret_id)?;
    secret.live()?;
    secret.tags.retain(|key, _| !input.tag_keys.contains(key));
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct PutPolicy {
    secret_id: String,
    resource_policy: String,
    /// The documents that are read strictly let nobody in from outside the account anyway.
    #[serde(rename = "BlockPublicPolicy")]
    _block_public_policy: Option<bool>,
}

/// `PutResourcePolicy`
pub(super) fn put_policy(store: &mut Store, caller: &Caller<'_>, input: PutPolicy) -> Outcome<Json> {
    let secret = store.get_mut(caller.region, &input.secret_id)?;
    secret.live()?;
    let document: Json = serde_json::from_str(&input.resource_policy).map_err(|_| {
        Refusal::new(
            "MalformedPolicyDocumentException",
            "This resource policy contains invalid Json.",
        )
    })?;
    let policy = Policy::parse(&document)
        .map_err(|error| Refusal::new("MalformedPolicyDocumentException", error.to_string()))?;
    secret.policy = Some((input.resource_policy, policy));
    Ok(Answer::about(secret).into())
}

/// `DeleteResourcePolicy`
pub(super) fn delete_policy(store: &mut Store, caller: &Caller<'_>, input: &OnlyId) -> Outcome<Json> {
    let secret = store.get_mut(caller.region, &input.secret_id)?;
    secret.live()?;
    secret.policy = None;
    Ok(Answer::about(secret).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Delete {
    secret_id: String,
    recovery_window_in_days: Option<i32>,
    #[serde(default)]
    force_delete_without_recovery: bool,
}

/// `DeleteSecret`: after the window, or at once and without a complaint about what is not there.
pub(super) fn delete(store: &mut Store, caller: &Caller<'_>, input: &Delete) -> Outcome<Json> {
    if input.force_delete_without_recovery {
        if input.recovery_window_in_days.is_some() {
            return Err(Refusal::invalid_parameter(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        let answer = match store.remove(caller.region, &input.secret_id) {
            Some(secret) => Answer::about(&secret),
            None => Answer::default().with("Name", &input.secret_id),
        };
        return Ok(answer.with("DeletionDate", seconds(caller.now)).into());
    }
    let days = input.recovery_window_in_days.unwrap_or(30);
    if !(7..=30).contains(&days) {
        return Err(Refusal::invalid_parameter(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        ));
    }
    let secret = store.get_mut(caller.region, &input.secret_id)?;
    secret.live()?;
    let end = caller.now + DAY * days;
    secret.deletion = Some(end);
    let answer = Answer::about(secret).with("DeletionDate", seconds(end));
    Ok(answer.into())
}

/// `RestoreSecret`
pub(super) fn restore(store: &mut Store, caller: &Caller<'_>, input: &OnlyId) -> Outcome<Json> {
    let secret = store.get_mut(caller.region, &input.secret_id)?;
    secret.deletion = None;
    Ok(Answer::about(secret).into())
}

/// A value comes in one of two forms.
fn given(text: Option<String>, binary: Option<String>) -> Outcome<Option<Value>> {
    match (text, binary) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(Value::Text(text))),
        (None, Some(encoded)) => BASE64_STANDARD
            .decode(encoded)
            .map(|bytes| Some(Value::Binary(bytes)))
            .map_err(|_| Refusal::new("SerializationException", "SecretBinary is not Base64")),
        (Some(_), Some(_)) => Err(Refusal::invalid_parameter(
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        )),
    }
}

/// The SDKs make a token where their caller gives none; a raw request has to bring one.
fn required(token: Option<String>) -> Outcome<String> {
    let token = token.ok_or_else(|| {
        Refusal::invalid_request(
            "You must provide a ClientRequestToken value. We recommend a UUID-type value.",
        )
    })?;
    check_token(&token)?;
    Ok(token)
}
