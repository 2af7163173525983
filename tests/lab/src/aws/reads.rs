//! The actions that read.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::action::Action;
use super::answer::Answer;
use super::operations::{Caller, OnlyId, seconds};
use super::refusal::{Outcome, Refusal};
use super::store::{Secret, Store};
use super::versions::{Value, Version};

const LARGEST_BATCH: usize = 20;
const LARGEST_PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetValue {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

/// `GetSecretValue`
pub(super) fn value(store: &mut Store, caller: &Caller<'_>, input: &GetValue) -> Outcome<Json> {
    let secret = store.read(caller.region, &input.secret_id, caller.now)?.live()?;
    let found = secret
        .versions
        .find(input.version_id.as_deref(), input.version_stage.as_deref())?;
    Ok(entry(secret, found).into())
}

fn entry(secret: &Secret, version: &Version) -> Answer {
    let answer = Answer::about(secret)
        .with("VersionId", &version.id)
        .with("CreatedDate", seconds(version.created))
        .with_some("VersionStages", labels(version));
    match &version.value {
        Value::Text(text) => answer.with("SecretString", text),
        Value::Binary(bytes) => answer.with("SecretBinary", BASE64_STANDARD.encode(bytes)),
    }
}

fn labels(version: &Version) -> Option<&BTreeSet<String>> {
    Some(&version.stages).filter(|stages| !stages.is_empty())
}

/// `DescribeSecret`, which also works on a secret that is scheduled for deletion.
pub(super) fn describe(store: &mut Store, caller: &Caller<'_>, input: &OnlyId) -> Outcome<Json> {
    let secret = store.read(caller.region, &input.secret_id, caller.now)?;
    Ok(description(secret, "VersionIdsToStages").into())
}

fn description(secret: &Secret, stages: &str) -> Answer {
    let labelled = secret.versions.0.iter();
    let labelled = labelled.filter_map(|version| Some((version.id.clone(), json!(labels(version)?))));
    let labelled: Map<_, _> = labelled.collect();
    let tags = secret.tags.iter();
    let tags: Vec<_> = tags
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Answer::about(secret)
        .with("CreatedDate", seconds(secret.created))
        .with("LastChangedDate", seconds(secret.changed))
        .with_some("Description", secret.description.as_ref())
        .with_some("KmsKeyId", secret.kms_key.as_ref())
        .with_some("RotationEnabled", secret.rotation)
        .with_some("DeletedDate", secret.deletion.map(seconds))
        .with_some("Tags", Some(tags).filter(|tags| !tags.is_empty()))
        .with_some(stages, Some(labelled).filter(|labelled| !labelled.is_empty()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ListVersions {
    secret_id: String,
    #[serde(default)]
    include_deprecated: bool,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// `ListSecretVersionIds`
pub(super) fn versions(store: &mut Store, caller: &Caller<'_>, input: &ListVersions) -> Outcome<Json> {
    let secret = store.read(caller.region, &input.secret_id, caller.now)?;
    let wanted = secret.versions.0.iter();
    let wanted = wanted.filter(|version| input.include_deprecated || !version.stages.is_empty());
    let all: Vec<_> = wanted.map(listed).collect();
    let answer = Answer::about(secret);
    let page = page(all, input.max_results, input.next_token.as_deref(), LARGEST_PAGE)?;
    Ok(page.put_into(answer, "Versions"))
}

fn listed(version: &Version) -> Json {
    Answer::default()
        .with("VersionId", &version.id)
        .with("CreatedDate", seconds(version.created))
        .with("KmsKeyIds", ["DefaultEncryptionKey"])
        .with_some("VersionStages", labels(version))
        .into()
}

/// `GetResourcePolicy`
pub(super) fn policy(store: &mut Store, caller: &Caller<'_>, input: &OnlyId) -> Outcome<Json> {
    let secret = store.read(caller.region, &input.secret_id, caller.now)?.live()?;
    let document = secret.policy.as_ref().map(|(document, _)| document);
    Ok(Answer::about(secret).with_some("ResourcePolicy", document).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct List {
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    include_planned_deletion: bool,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// `ListSecrets`
pub(super) fn list(store: &mut Store, caller: &Caller<'_>, input: &List) -> Outcome<Json> {
    let mut all = Vec::new();
    for name in matching(store, caller, &input.filters)? {
        if let Ok(secret) = store.read(caller.region, &name, caller.now)
            && (input.include_planned_deletion || secret.deletion.is_none())
        {
            all.push(description(secret, "SecretVersionsToStages").into());
        }
    }
    let page = page(all, input.max_results, input.next_token.as_deref(), LARGEST_PAGE)?;
    Ok(page.put_into(Answer::default(), "SecretList"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Batch {
    secret_id_list: Option<Vec<String>>,
    filters: Option<Vec<Filter>>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// `BatchGetSecretValue`: what cannot be read is told beside what can.
pub(super) fn batch(store: &mut Store, caller: &Caller<'_>, input: &Batch) -> Outcome<Json> {
    let ids = match (&input.secret_id_list, &input.filters) {
        (Some(ids), None) if ids.len() <= LARGEST_BATCH => ids.clone(),
        (None, Some(filters)) => {
            caller
                .principal
                .may(&Action::ListSecrets.permission(), "*", None)?;
            matching(store, caller, filters)?
        }
        (Some(_), None) => {
            return Err(Refusal::constraint(
                "secretIdList",
                "have length less than or equal to 20",
            ));
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::invalid_parameter(
                "Either 'SecretIdList' or 'Filters' must be provided, but not both.",
            ));
        }
    };
    let page = page(ids, input.max_results, input.next_token.as_deref(), LARGEST_BATCH)?;
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for id in &page.items {
        match one_of_batch(store, caller, id) {
            Ok(entry) => values.push(entry),
            Err(refusal) => errors.push(json!({
                "SecretId": id,
                "ErrorCode": refusal.code,
                "Message": refusal.message,
            })),
        }
    }
    let answer = Answer::default().with("Errors", errors);
    let page = Page {
        items: values,
        next: page.next,
    };
    Ok(page.put_into(answer, "SecretValues"))
}

fn one_of_batch(store: &mut Store, caller: &Caller<'_>, id: &str) -> Outcome<Json> {
    caller.may(Action::GetSecretValue, store, id)?;
    let secret = store.read(caller.region, id, caller.now)?.live()?;
    Ok(entry(secret, secret.versions.find(None, None)?).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    key: String,
    values: Vec<String>,
}

/// The names of the secrets that all filters let through; a filter lets through what any of its values begins.
fn matching(store: &Store, caller: &Caller<'_>, filters: &[Filter]) -> Outcome<Vec<String>> {
    let known = ["name", "tag-key", "tag-value"];
    if let Some(filter) = filters
        .iter()
        .find(|filter| !known.contains(&filter.key.as_str()))
    {
        return Err(Refusal::not_emulated(&format!("the filter {}", filter.key)));
    }
    let secrets = store.in_region(caller.region);
    let wanted = secrets.filter(|secret| filters.iter().all(|filter| filter.lets_through(secret)));
    Ok(wanted.map(|secret| secret.name.clone()).collect())
}

impl Filter {
    fn lets_through(&self, secret: &Secret) -> bool {
        let begins = |value: &str| match self.key.as_str() {
            "tag-key" => secret.tags.keys().any(|key| key.starts_with(value)),
            "tag-value" => secret.tags.values().any(|tag| tag.starts_with(value)),
            _ => secret.name.starts_with(value),
        };
        self.values.iter().any(|value| match value.strip_prefix('!') {
            Some(value) => !begins(value),
            None => begins(value),
        })
    }
}

/// A part of a longer answer, and where the next one starts.
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

fn page<T>(all: Vec<T>, size: Option<usize>, token: Option<&str>, largest: usize) -> Outcome<Page<T>> {
    let size = size.unwrap_or(largest).min(largest);
    let start = token
        .map_or(Ok(0), str::parse::<usize>)
        .map_err(|_| Refusal::new("InvalidNextTokenException", "The NextToken value is invalid."))?;
    let end = start.saturating_add(size);
    let next = (all.len() > end).then(|| end.to_string());
    let items = all.into_iter().skip(start).take(size).collect();
    Ok(Page { items, next })
}

impl Page<Json> {
    fn put_into(self, answer: Answer, name: &str) -> Json {
        answer
            .with(name, self.items)
            .with_some("NextToken", self.next)
            .into()
    }
}
