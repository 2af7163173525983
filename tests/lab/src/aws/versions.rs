//! The versions of one secret and their staging labels: the rules of `PutSecretValue`, `UpdateSecretVersionStage`
//! and `GetSecretValue`, as their pages in the API reference state them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::refusal::{Outcome, Refusal};

/// The label of the version that readers get when they ask for none.
pub(super) const CURRENT: &str = "AWSCURRENT";
/// The label of the version that was current before.
pub(super) const PREVIOUS: &str = "AWSPREVIOUS";

const LARGEST_VALUE: usize = 65_536;
const MOST_VERSIONS: usize = 100;
const MOST_LABELS: usize = 20;
/// Versions younger than this are never removed.
const KEPT: Duration = Duration::from_hours(24);

/// What a version holds.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// `SecretString`.
    Text(String),
    /// `SecretBinary`.
    Binary(Vec<u8>),
}

impl Value {
    /// The bytes, in either form.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    pub(super) fn check(&self) -> Outcome<()> {
        let parameter = match self {
            Self::Text(_) => "secretString",
            Self::Binary(_) => "secretBinary",
        };
        match self.bytes().len() {
            0 => Err(Refusal::constraint(
                parameter,
                "have length greater than or equal to 1",
            )),
            1..=LARGEST_VALUE => Ok(()),
            _ => Err(Refusal::constraint(
                parameter,
                "have length less than or equal to 65536",
            )),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self {
            Self::Text(_) => "Text",
            Self::Binary(_) => "Binary",
        };
        write!(f, "{form}({} bytes)", self.bytes().len())
    }
}

/// One version of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What the writer gave as `ClientRequestToken`.
    pub id: String,
    /// What it holds; it never changes.
    pub value: Value,
    /// The staging labels on it; without any it is deprecated.
    pub stages: BTreeSet<String>,
    /// When it was made.
    pub created: Timestamp,
}

/// All versions of a secret, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions(pub(super) Vec<Version>);

impl Versions {
    /// Makes a version. Without labels it becomes the current one, and so does a secret's first version.
    ///
    /// A token that was used before, with the same value, is the same request again, and nothing happens.
    pub(super) fn put(
        &mut self,
        arn: &str,
        token: &str,
        value: Value,
        stages: Option<&[String]>,
        now: Timestamp,
    ) -> Outcome<&Version> {
        check_token(token)?;
        value.check()?;
        let labels = wanted(stages, self.0.is_empty())?;
        if let Some(at) = self.position(token) {
            let version = self.0.get(at).filter(|version| version.value == value);
            return version.ok_or_else(|| in_use(token, arn));
        }
        if self.labels().union(&labels).count() > MOST_LABELS {
            return Err(Refusal::limit(
                "You can't attach more than 20 staging labels to the versions of a secret.",
            ));
        }
        self.make_room(now)?;
        self.0.push(Version {
            id: token.to_owned(),
            value,
            stages: BTreeSet::new(),
            created: now,
        });
        for label in &labels {
            self.attach(label, token);
        }
        self.find(Some(token), None)
    }

    /// Old versions without labels make room for new ones, but not those of the last day: a writer in a hurry gets
    /// to the limit.
    fn make_room(&mut self, now: Timestamp) -> Outcome<()> {
        while self.0.len() >= MOST_VERSIONS {
            let removable = self.0.iter().position(|version| {
                version.stages.is_empty() && now.duration_since(version.created).unsigned_abs() >= KEPT
            });
            let Some(removable) = removable else {
                return Err(Refusal::limit(
                    "You've exceeded the number of versions allowed for a secret.",
                ));
            };
            self.0.remove(removable);
        }
        Ok(())
    }

    /// Moves a label, adds one that no version has, or removes one.
    pub(super) fn move_stage(&mut self, stage: &str, to: Option<&str>, from: Option<&str>) -> Outcome<()> {
        check_label(stage)?;
        for id in [to, from].into_iter().flatten() {
            if self.position(id).is_none() {
                return Err(Refusal::not_found(format!(
                    "Secrets Manager can't find the specified secret value for VersionId: {id}"
                )));
            }
        }
        let holder = self.holder(stage).map(|version| version.id.clone());
        if let Some(from) = from
            && holder.as_deref() != Some(from)
        {
            return Err(Refusal::invalid_parameter(format!(
                "When you move staging label {stage}, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label {stage}."
            )));
        }
        match (to, from, holder) {
            (None, None, _) => Err(Refusal::invalid_parameter(
                "You must specify MoveToVersionId, RemoveFromVersionId, or both.",
            )),
            (None, Some(_), _) if stage == CURRENT => Err(Refusal::invalid_parameter(
                "You can only move staging label AWSCURRENT to a different secret version. It can\u{2019}t be completely removed.",
            )),
            (None, Some(from), _) => {
                self.detach(stage, from);
                Ok(())
            }
            (Some(to), None, Some(holder)) if holder != to => Err(Refusal::invalid_parameter(format!(
                "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
            ))),
            (Some(to), _, holder) => {
                if holder.is_none() && self.labels().len() >= MOST_LABELS {
                    return Err(Refusal::limit(
                        "You can't attach more than 20 staging labels to the versions of a secret.",
                    ));
                }
                self.attach(stage, to);
                Ok(())
            }
        }
    }

    /// The version that is meant; the current one when nothing is said.
    pub(super) fn find(&self, id: Option<&str>, stage: Option<&str>) -> Outcome<&Version> {
        let Some(id) = id else {
            let stage = stage.unwrap_or(CURRENT);
            return self.holder(stage).ok_or_else(|| {
                Refusal::not_found(format!(
                    "Secrets Manager can't find the specified secret value for staging label: {stage}"
                ))
            });
        };
        let version = self.0.iter().find(|version| version.id == id).ok_or_else(|| {
            Refusal::not_found(format!(
                "Secrets Manager can't find the specified secret value for VersionId: {id}"
            ))
        })?;
        match stage {
            Some(stage) if !version.stages.contains(stage) => Err(Refusal::invalid_request(
                "You provided a VersionStage that is not associated to the provided VersionId.",
            )),
            _ => Ok(version),
        }
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.0.iter().position(|version| version.id == id)
    }

    fn holder(&self, stage: &str) -> Option<&Version> {
        self.0.iter().find(|version| version.stages.contains(stage))
    }

    fn labels(&self) -> BTreeSet<String> {
        self.0.iter().flat_map(|version| version.stages.clone()).collect()
    }

    /// A label is on one version at a time. When AWSCURRENT leaves a version, AWSPREVIOUS comes to it.
    fn attach(&mut self, stage: &str, to: &str) {
        let left = self.holder(stage).map(|version| version.id.clone());
        if left.as_deref() == Some(to) {
            return;
        }
        if let Some(left) = &left {
            self.detach(stage, left);
        }
        for version in &mut self.0 {
            if version.id == to {
                version.stages.insert(stage.to_owned());
            }
        }
        if stage == CURRENT
            && let Some(left) = left
        {
            self.attach(PREVIOUS, &left);
        }
    }

    fn detach(&mut self, stage: &str, from: &str) {
        for version in &mut self.0 {
            if version.id == from {
                version.stages.remove(stage);
            }
        }
    }
}

/// The labels that a new version is to have.
fn wanted(stages: Option<&[String]>, is_first: bool) -> Outcome<BTreeSet<String>> {
    let mut labels: BTreeSet<String> = match stages {
        None => [CURRENT.to_owned()].into(),
        Some([]) => {
            return Err(Refusal::constraint(
                "versionStages",
                "have length greater than or equal to 1",
            ));
        }
        Some(stages) => stages.iter().cloned().collect(),
    };
    if labels.len() > MOST_LABELS {
        return Err(Refusal::constraint(
            "versionStages",
            "have length less than or equal to 20",
        ));
    }
    labels.iter().try_for_each(|label| check_label(label))?;
    if is_first {
        labels.insert(CURRENT.to_owned());
    }
    Ok(labels)
}

fn check_label(label: &str) -> Outcome<()> {
    match label.len() {
        1..=256 => Ok(()),
        _ => Err(Refusal::constraint(
            "versionStage",
            "have length between 1 and 256",
        )),
    }
}

/// A version cannot be changed, so another value cannot have its token.
pub(super) fn in_use(token: &str, arn: &str) -> Refusal {
    Refusal::exists(format!(
        "You can't use ClientRequestToken {token} because that value is already in use for a version of secret {arn}."
    ))
}

/// A token becomes the version's id.
pub(super) fn check_token(token: &str) -> Outcome<()> {
    match token.len() {
        0..32 => Err(Refusal::constraint(
            "clientRequestToken",
            "have length greater than or equal to 32",
        )),
        32..=64 => Ok(()),
        _ => Err(Refusal::constraint(
            "clientRequestToken",
            "have length less than or equal to 64",
        )),
    }
}
