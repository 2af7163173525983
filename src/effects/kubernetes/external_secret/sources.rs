//! Which of an `ExternalSecret`'s entries read the policy's secret, and whether they bring what is current there.

use super::objects::{ExternalSecret, RemoteRef, SourceRef, Store, StoreRef};
use super::setting::Setting;
use crate::effects::kubernetes::conditions::blocker;
use crate::machine::facts::Finding;
use crate::policy::SecretKeyPair;

/// What a reference says without naming a stage.
const CURRENT: &str = "AWSCURRENT";
/// Starts a reference to one version.
const PIN: &str = "uuid/";

/// Where an entry of an `ExternalSecret` leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// To the policy's secret.
    Here,
    /// To a secret of that name in another store or region.
    OtherStore,
    /// To another secret.
    Elsewhere,
    /// The store could not be read, which is another finding.
    Unknown,
}

/// Every rule about where the `ExternalSecret` points.
pub(super) fn findings(setting: &Setting<'_>) -> Vec<Finding> {
    let leads: Vec<Lead> = references(&setting.external)
        .map(|(reference, source)| setting.lead(&setting.external, reference, source))
        .collect();
    if leads.contains(&Lead::Unknown) {
        return Vec::new();
    }
    if !leads.contains(&Lead::Here) && !finds(&setting.external) {
        return vec![if leads.contains(&Lead::OtherStore) {
            setting.other_store()
        } else {
            setting.elsewhere()
        }];
    }
    let target = &setting.policy.delivery.target;
    let source = setting.source;
    let username = setting.brings(&target.username_key, &source.username_key);
    let password = setting.brings(&target.password_key, &source.password_key);
    // One mistake in both entries is one thing to mend.
    let mut findings: Vec<Finding> = username.into_iter().chain(password).collect();
    findings.dedup_by(|a, b| a.message == b.message);
    findings
}

/// Whether an `ExternalSecret` reads what is current of the policy's secret.
pub(super) fn reads(setting: &Setting<'_>, external: &ExternalSecret) -> bool {
    references(external).any(|(reference, source)| {
        is_current(reference) && setting.lead(external, reference, source) == Lead::Here
    })
}

/// Whether an entry of a `PushSecret` writes the policy's secret through this store.
pub(super) fn is_pushed(setting: &Setting<'_>, key: &str, store: &StoreRef) -> bool {
    match setting.stores.get(store) {
        Some(Some(found)) => {
            is_here(setting, found) && same_secret(&full_key(found, key), &setting.source.id)
        }
        Some(None) => false,
        // It names its stores by labels, or this one could not be read.
        None => same_secret(key, &setting.source.id),
    }
}

/// Whether a key of the application Secret is filled from another version than the current one, the one before it for
/// example: it carries another password, and rightly so (compatibility cases 12 and 13).
pub(super) fn is_other_version(external: &ExternalSecret, key: &str, target: &SecretKeyPair) -> bool {
    let data = external.spec.data.iter();
    let others = data.filter(|data| !is_current(&data.remote_ref));
    let template = external.spec.target.template.as_ref();
    let text = template.and_then(|template| template.data.get(key));
    let mut variables = others.map(|data| data.secret_key.as_str());
    let filled = variables.any(|name| name == key || text.is_some_and(|text| mentions(text, name)));
    // Under which names an extract brings its properties, its rewrites say.
    let extracts = external
        .spec
        .data_from
        .iter()
        .filter_map(|from| from.extract.as_ref());
    let extracted = extracts.into_iter().any(|extract| !is_current(extract));
    filled || extracted && key != target.username_key && key != target.password_key
}

impl Setting<'_> {
    fn lead(&self, external: &ExternalSecret, reference: &RemoteRef, source: &SourceRef) -> Lead {
        let Some(Some(store)) = self.stores.get(external.store_of(source)) else {
            return Lead::Unknown;
        };
        if !same_secret(&full_key(store, &reference.key), &self.source.id) {
            Lead::Elsewhere
        } else if is_here(self, store) {
            Lead::Here
        } else {
            Lead::OtherStore
        }
    }

    /// What is wrong with how this property of the secret comes into the application Secret, under this key if it is
    /// filled directly.
    fn brings(&self, key: &str, property: &str) -> Option<Finding> {
        let external = &self.external;
        let here = |reference: &RemoteRef, source: &SourceRef| {
            self.lead(external, reference, source) == Lead::Here && reference.metadata_policy != "Fetch"
        };
        let raw = external.spec.target.template.as_ref();
        let raw =
            raw.is_none_or(|template| template.merge_policy == "Merge" && !template.data.contains_key(key));
        let direct = external
            .spec
            .data
            .iter()
            .find(|data| raw && data.secret_key == key);
        let references: Vec<&RemoteRef> = if let Some(data) = direct {
            let reference = &data.remote_ref;
            let right = here(reference, &data.source_ref) && reference.property == property;
            right.then_some(reference).into_iter().collect()
        } else {
            let data = external.spec.data.iter().filter(|data| {
                let read = &data.remote_ref.property;
                here(&data.remote_ref, &data.source_ref) && (read == property || read.is_empty())
            });
            let from = external.spec.data_from.iter().filter_map(|from| {
                let extract = from.extract.as_ref()?;
                here(extract, &from.source_ref).then_some(extract)
            });
            data.map(|data| &data.remote_ref).chain(from).collect()
        };
        if references.is_empty() {
            let found = direct.is_none() && finds(external);
            return (!found).then(|| self.not_brought(direct.map(|_| key), property));
        }
        let current: Vec<_> = references
            .iter()
            .copied()
            .filter(|reference| is_current(reference))
            .collect();
        if current.is_empty() {
            return references.first().map(|reference| self.other_version(reference));
        }
        let plain = |reference: &&RemoteRef| matches!(reference.decoding_strategy.as_str(), "" | "None");
        if !current.iter().any(plain) {
            return current.first().map(|reference| self.decoded(reference));
        }
        None
    }

    fn elsewhere(&self) -> Finding {
        let external = &self.external;
        let mut read: Vec<String> = references(external)
            .map(|(reference, source)| {
                let store = external.store_of(source);
                format!("{:?} through {}", reference.key, self.store(store))
            })
            .collect();
        read.dedup();
        let read = if read.is_empty() {
            "nothing".to_owned()
        } else {
            read.join(", ")
        };
        blocker(
            "ExternalSecretElsewhere",
            format!(
                "{} does not read the policy's secret {:?}: it reads {read}. Name the right secret in spec.delivery.externalSecret.awsSecretsManager.secretId, or change what it reads: {}",
                self.this(),
                self.source.id,
                self.edit()
            ),
        )
    }

    fn other_store(&self) -> Finding {
        let stores: Vec<_> = self
            .external
            .stores()
            .into_iter()
            .map(|store| self.store(store))
            .collect();
        blocker(
            "StoreElsewhere",
            format!(
                "{} reads a secret of that name through {}, and the policy's secret {:?} is in AWS Secrets Manager in region {}. Mend the region in spec.delivery.externalSecret.awsSecretsManager.region, or name another store: {}",
                self.this(),
                stores.join(", "),
                self.source.id,
                self.source.region,
                self.edit()
            ),
        )
    }

    fn not_brought(&self, key: Option<&str>, property: &str) -> Finding {
        let (this, id, edit) = (self.this(), &self.source.id, self.edit());
        let what = match key {
            Some(key) => format!("fills the key {key:?} with something else than"),
            None => "does not read".to_owned(),
        };
        blocker(
            "ExternalSecretPropertyMissing",
            format!(
                "{this} {what} the property {property:?} of the secret {id:?}, and both user name and password change with a rotation. Make it read that property: {edit}"
            ),
        )
    }

    fn other_version(&self, reference: &RemoteRef) -> Finding {
        let (this, edit) = (self.this(), self.edit());
        let (key, version) = (&reference.key, &reference.version);
        if version.starts_with(PIN) {
            return blocker(
                "ExternalSecretPinned",
                format!(
                    "{this} reads {key:?} in one version only, {version}, and will not follow a rotation. Take remoteRef.version out: {edit}"
                ),
            );
        }
        blocker(
            "ExternalSecretOtherStage",
            format!(
                "{this} reads {key:?} at the stage {version} and not at {CURRENT}, which applications are to follow. Take remoteRef.version out: {edit}"
            ),
        )
    }

    fn decoded(&self, reference: &RemoteRef) -> Finding {
        blocker(
            "ExternalSecretDecodes",
            format!(
                "{} decodes what it reads of {:?} (decodingStrategy {}): a generated password would be taken for Base64, and come out as something else. Set decodingStrategy to None: {}",
                self.this(),
                reference.key,
                reference.decoding_strategy,
                self.edit()
            ),
        )
    }

    /// A store in words.
    pub(super) fn store(&self, reference: &StoreRef) -> String {
        let aws = match self.stores.get(reference) {
            Some(Some(store)) => store.spec.provider.aws.as_ref(),
            Some(None) | None => return self.store_name(reference),
        };
        let what = match aws {
            None => "not of AWS".to_owned(),
            Some(aws) if aws.prefix.is_empty() => format!("AWS {} in {}", aws.service, aws.region),
            Some(aws) => format!("AWS {} in {}, prefix {:?}", aws.service, aws.region, aws.prefix),
        };
        format!("{} ({what})", self.store_name(reference))
    }
}

/// Everything that an `ExternalSecret` reads by name.
fn references(external: &ExternalSecret) -> impl Iterator<Item = (&RemoteRef, &SourceRef)> {
    let data = external.spec.data.iter();
    let data = data.map(|data| (&data.remote_ref, &data.source_ref));
    let from = external.spec.data_from.iter();
    let from = from.filter_map(|from| Some((from.extract.as_ref()?, &from.source_ref)));
    data.chain(from)
        .filter(|(_, source)| source.generator_ref.is_none())
}

/// Whether it also reads what it finds by a pattern. What that is only the store knows; the Secret's data will tell.
fn finds(external: &ExternalSecret) -> bool {
    external.spec.data_from.iter().any(|from| from.find.is_some())
}

fn is_current(reference: &RemoteRef) -> bool {
    reference.version.is_empty() || reference.version == CURRENT
}

fn is_here(setting: &Setting<'_>, store: &Store) -> bool {
    let aws = store.spec.provider.aws.as_ref();
    aws.is_some_and(|aws| aws.service == "SecretsManager" && aws.region == setting.source.region)
}

/// The store's prefix comes before every key, an ARN too.
fn full_key(store: &Store, key: &str) -> String {
    let prefix = store
        .spec
        .provider
        .aws
        .as_ref()
        .map_or("", |aws| aws.prefix.as_str());
    format!("{prefix}{key}")
}

/// Whether a store could make this key the policy's secret, by whichever prefix.
pub(super) fn may_be(key: &str, id: &str) -> bool {
    same_secret(key, id) || Names::of(id).all().any(|name| name.ends_with(key))
}

/// A secret's ARN ends in six characters that are not part of its name, and may be given without them.
fn same_secret(one: &str, other: &str) -> bool {
    let (one, other) = (Names::of(one), Names::of(other));
    let apart = one
        .account
        .zip(other.account)
        .is_some_and(|(one, other)| one != other);
    !apart && one.all().any(|name| other.all().any(|other| name == other))
}

/// What a secret can be called by.
struct Names<'a> {
    /// Of an ARN, everything before the name.
    account: Option<&'a str>,
    name: &'a str,
    /// Of an ARN, the name if its last six characters are no part of it.
    without_suffix: Option<&'a str>,
}

impl<'a> Names<'a> {
    fn of(id: &'a str) -> Self {
        let arn = id
            .split_once(":secret:")
            .filter(|(account, _)| account.starts_with("arn:"));
        let Some((account, name)) = arn else {
            return Self {
                account: None,
                name: id,
                without_suffix: None,
            };
        };
        let parts = name.rsplit_once('-');
        let suffixed = parts
            .filter(|(_, suffix)| suffix.len() == 6 && suffix.chars().all(|c| c.is_ascii_alphanumeric()));
        Self {
            account: Some(account),
            name,
            without_suffix: suffixed.map(|(name, _)| name),
        }
    }

    fn all(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        [self.name].into_iter().chain(self.without_suffix)
    }
}

/// Whether a template's text uses the variable.
fn mentions(text: &str, variable: &str) -> bool {
    text.match_indices(variable).any(|(at, _)| {
        let inside = |c: char| c.is_alphanumeric() || c == '_';
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text
            .get(at + variable.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}
