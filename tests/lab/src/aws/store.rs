//! The secrets: their names, their life, and what readers see of it. Plain data; time is given.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt as _;
use rand::distr::Alphanumeric;

use super::iam::ACCOUNT;
use super::policy::Policy;
use super::refusal::{Outcome, Refusal};
use super::versions::Versions;

/// The end of an ARN, a hyphen and six characters that the service chooses.
const SUFFIX: usize = 7;
const LONGEST_NAME: usize = 512;

/// A secret without its versions' values.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) description: Option<String>,
    pub(super) kms_key: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) policy: Option<(String, Policy)>,
    pub(super) rotation: Option<bool>,
    pub(super) created: Timestamp,
    pub(super) changed: Timestamp,
    /// The end of the recovery window, when it is scheduled for deletion.
    pub(super) deletion: Option<Timestamp>,
    pub(super) versions: Versions,
}

impl Secret {
    fn has_id(&self, id: &str) -> bool {
        let partial = self
            .arn
            .len()
            .checked_sub(SUFFIX)
            .and_then(|end| self.arn.get(..end));
        self.name == id || self.arn == id || partial == Some(id)
    }

    /// Most calls are refused while a secret is scheduled for deletion.
    pub(super) fn live(&self) -> Outcome<&Self> {
        match self.deletion {
            None => Ok(self),
            Some(_) => Err(Refusal::marked_for_deletion()),
        }
    }
}

/// A secret is in one region; the same name in another is another secret.
type Key = (String, String);

/// What readers are still shown of a secret that has changed: its state before, or that it is not there.
#[derive(Debug)]
struct Shown {
    before: Option<Secret>,
    until: Until,
}

/// How long a change is not seen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    Time(Timestamp),
    Reads(u32),
}

/// All secrets of the account.
#[derive(Debug, Default)]
pub(super) struct Store {
    secrets: BTreeMap<Key, Secret>,
    shown: BTreeMap<Key, Shown>,
}

impl Store {
    /// A secret without a version, under a name that is free.
    pub(super) fn create(&mut self, region: &str, name: &str, now: Timestamp) -> Outcome<&mut Secret> {
        check_name(name)?;
        let key = (region.to_owned(), name.to_owned());
        match self.secrets.get(&key) {
            Some(Secret {
                deletion: Some(_), ..
            }) => {
                return Err(Refusal::invalid_request(
                    "You can't create this secret because a secret with this name is already scheduled for deletion.",
                ));
            }
            Some(_) => {
                return Err(Refusal::exists(format!(
                    "The operation failed because the secret {name} already exists."
                )));
            }
            None => {}
        }
        let secret = Secret {
            name: name.to_owned(),
            arn: format!("{}-{}", arn_of(region, name), suffix()),
            description: None,
            kms_key: None,
            tags: BTreeMap::new(),
            policy: None,
            rotation: None,
            created: now,
            changed: now,
            deletion: None,
            versions: Versions::default(),
        };
        Ok(self.secrets.entry(key).or_insert(secret))
    }

    /// The secret as it is, for those who decide and those who write.
    pub(super) fn get(&self, region: &str, id: &str) -> Option<&Secret> {
        self.in_region(region).find(|secret| secret.has_id(id))
    }

    pub(super) fn get_mut(&mut self, region: &str, id: &str) -> Outcome<&mut Secret> {
        self.secrets
            .iter_mut()
            .filter(|((of, _), _)| of == region)
            .map(|(_, secret)| secret)
            .find(|secret| secret.has_id(id))
            .ok_or_else(Refusal::no_such_secret)
    }

    /// The secret as readers see it, which may be as it was.
    pub(super) fn read(&mut self, region: &str, id: &str, now: Timestamp) -> Outcome<&Secret> {
        let key = self.key(region, id).ok_or_else(Refusal::no_such_secret)?;
        let old = match self.shown.get_mut(&key) {
            None => false,
            Some(Shown {
                until: Until::Time(end),
                ..
            }) => now < *end,
            Some(Shown {
                until: Until::Reads(left),
                ..
            }) => {
                let any = *left > 0;
                *left = left.saturating_sub(1);
                any
            }
        };
        let seen = if old {
            self.shown.get(&key).and_then(|shown| shown.before.as_ref())
        } else {
            self.shown.remove(&key);
            self.secrets.get(&key)
        };
        seen.ok_or_else(Refusal::no_such_secret)
    }

    /// Shows readers what was before the last change.
    pub(super) fn show_before(&mut self, region: &str, name: &str, before: Option<Secret>, until: Until) {
        let key = (region.to_owned(), name.to_owned());
        self.shown.insert(key, Shown { before, until });
    }

    pub(super) fn in_region(&self, region: &str) -> impl Iterator<Item = &Secret> {
        self.secrets
            .iter()
            .filter(move |((of, _), _)| of == region)
            .map(|(_, secret)| secret)
    }

    pub(super) fn remove(&mut self, region: &str, id: &str) -> Option<Secret> {
        let key = self.key(region, id)?;
        self.secrets.remove(&key)
    }

    /// Makes all versions of a secret older than they are.
    pub(super) fn age(&mut self, region: &str, id: &str, by: Duration) -> Outcome<()> {
        for version in &mut self.get_mut(region, id)?.versions.0 {
            version.created = version.created.checked_sub(by).unwrap_or(Timestamp::MIN);
        }
        Ok(())
    }

    fn key(&self, region: &str, id: &str) -> Option<Key> {
        let known = self.secrets.iter().map(|(key, secret)| (key, Some(secret)));
        let shown = self.shown.iter().map(|(key, shown)| (key, shown.before.as_ref()));
        known
            .chain(shown)
            .find(|((of, _), secret)| of == region && secret.is_some_and(|secret| secret.has_id(id)))
            .map(|(key, _)| key.clone())
    }
}

/// The ARN of a secret that does not exist, which is all of it but its end.
pub(super) fn arn_of(region: &str, name: &str) -> String {
    format!("arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{name}")
}

fn suffix() -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(SUFFIX - 1)
        .map(char::from)
        .collect()
}

fn check_name(name: &str) -> Outcome<()> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "/_+=.@-!".contains(letter);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(allowed) {
        return Err(Refusal::new(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ));
    }
    Ok(())
}
