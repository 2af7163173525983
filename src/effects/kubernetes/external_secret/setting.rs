//! All of the operator's objects that belong to one policy.

use super::objects::{ClusterExternalSecret, Condition, ExternalSecret, Kind, PushSecret, StoreRef};
use super::reads::{Found, Stores, told};
use super::sources;
use crate::api::{FORCE_SYNC, OPERATOR_GROUP as GROUP};
use crate::effects::Error;
use crate::effects::kubernetes::Cluster;
use crate::machine::facts::Finding;
use crate::policy::{Policy, Route, StoredSecret};

/// What was read for one policy.
pub(super) struct Setting<'a> {
    pub(super) policy: &'a Policy,
    /// The secret in the store.
    pub(super) source: &'a StoredSecret,
    /// Version of the API in which these objects are.
    pub(super) version: &'static str,
    pub(super) external: Box<ExternalSecret>,
    /// The `ClusterExternalSecret` that made it.
    pub(super) owner: Option<Box<ClusterExternalSecret>>,
    pub(super) stores: Stores,
    /// The other `ExternalSecret`s of the namespace.
    pub(super) others: Vec<ExternalSecret>,
    /// The `PushSecret`s of the namespace.
    pub(super) pushes: Vec<PushSecret>,
}

impl Cluster {
    /// The `ExternalSecret` of a policy and the `ClusterExternalSecret` that made it; a finding when one is missing.
    pub(super) async fn setting<'a>(
        &self,
        policy: &'a Policy,
    ) -> Result<Result<Setting<'a>, Finding>, Error> {
        let Route::StoreFirst {
            external_secret: name,
            source,
        } = &policy.delivery.route
        else {
            let policy = self.named("RotationPolicy", &policy.name);
            return Err(Error::Unusable(format!("{policy} names no ExternalSecret")));
        };
        let namespace = &self.namespace;
        let (version, external) = match self.external_secret(name).await? {
            Found::There(version, external) => (version, external),
            Found::Missing => {
                return Ok(Err(Finding {
                    blocks: true,
                    reason: "ExternalSecretMissing",
                    message: format!(
                        "ExternalSecret {namespace}/{name} does not exist. Apply its manifest, or name the right one in spec.delivery.externalSecret.name. See: kubectl -n {namespace} get externalsecrets.{GROUP}"
                    ),
                }));
            }
            Found::Unknown => {
                return Ok(Err(Finding {
                    blocks: true,
                    reason: "OperatorNotInstalled",
                    message: format!(
                        "ExternalSecret {namespace}/{name} cannot exist: the API server serves none of the versions v1 and v1beta1 of {GROUP}. Install External Secrets Operator. See: kubectl get crd externalsecrets.{GROUP}"
                    ),
                }));
            }
        };
        let owner = match external.owner() {
            None => None,
            Some(owner) => {
                let found = self.cluster_external_secret(version, owner).await?;
                let Some(found) = found else {
                    return Ok(Err(Finding {
                        blocks: true,
                        reason: "ClusterExternalSecretMissing",
                        message: format!(
                            "ClusterExternalSecret {owner} is gone, and ExternalSecret {namespace}/{name}, which it made, will follow. Apply its manifest again. See: kubectl get clusterexternalsecrets.{GROUP}"
                        ),
                    }));
                };
                Some(Box::new(found))
            }
        };
        Ok(Ok(Setting {
            policy,
            source,
            version,
            external,
            owner,
            stores: Stores::new(),
            others: Vec::new(),
            pushes: Vec::new(),
        }))
    }

    /// Adds the stores that the `ExternalSecret` reads.
    pub(super) async fn add_stores(
        &self,
        setting: &mut Setting<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let Setting {
            version,
            external,
            stores,
            ..
        } = setting;
        self.read_stores(version, external.stores(), stores, findings)
            .await
    }

    /// Adds what else could write the Secret or the store, and the stores through which it would.
    pub(super) async fn add_neighbours(
        &self,
        setting: &mut Setting<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let version = setting.version;
        let all = told(self.external_secrets(version).await, findings)?.unwrap_or_default();
        let us = setting.external.name();
        setting.others = all.into_iter().filter(|other| other.name() != us).collect();
        let all = told(self.push_secrets().await, findings)?.unwrap_or_default();
        // Only the end of the name counts yet: a store may put a prefix before it.
        let id = &setting.source.id;
        setting.pushes = all
            .into_iter()
            .filter(|push| push.keys().any(|key| sources::may_be(key, id)))
            .collect();
        let of_others = setting.sharing().flat_map(ExternalSecret::stores).cloned();
        let of_pushes = setting
            .pushes
            .iter()
            .flat_map(|push| &push.spec.secret_store_refs)
            .cloned();
        let wanted: Vec<_> = of_others.chain(of_pushes).collect();
        self.read_stores(version, &wanted, &mut setting.stores, findings)
            .await
    }
}

impl Setting<'_> {
    /// Whether the operator says that its last sync succeeded.
    pub(super) fn is_ready(&self) -> bool {
        self.external.status.ready().is_some_and(Condition::holds)
    }

    /// Those of the others that make the same Secret.
    pub(super) fn sharing(&self) -> impl Iterator<Item = &ExternalSecret> {
        let target = self.external.target();
        self.others.iter().filter(move |other| other.target() == target)
    }

    /// What was asked of the object on which a sync is asked. Where a `ClusterExternalSecret` made the
    /// `ExternalSecret`, that is the former: it takes every annotation off what it made, and passes on its own
    /// (external-secrets-observed 62, 63).
    pub(super) fn request(&self) -> Option<&str> {
        match &self.owner {
            Some(owner) => owner.annotation(FORCE_SYNC),
            None => self.external.annotation(FORCE_SYNC),
        }
    }

    /// Which object that is, and in which version; none of the parts holds a slash.
    pub(super) fn guard(&self) -> String {
        let (kind, metadata) = match &self.owner {
            Some(owner) => (Kind::ClusterExternalSecret, &owner.metadata),
            None => (Kind::ExternalSecret, &self.external.metadata),
        };
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let (name, uid) = (part(&metadata.name), part(&metadata.uid));
        let resource_version = part(&metadata.resource_version);
        format!(
            "{}/{}/{name}/{uid}/{resource_version}",
            self.version,
            kind.plural()
        )
    }

    /// As messages name it.
    pub(super) fn this(&self) -> String {
        format!(
            "ExternalSecret {}/{}",
            self.policy.namespace,
            self.external.name()
        )
    }

    /// Command that changes the spec, where it is written.
    pub(super) fn mend(&self, spec: &str) -> String {
        match &self.owner {
            Some(owner) => format!(
                "kubectl patch clusterexternalsecrets.{GROUP} {} --type=merge -p '{{\"spec\":{{\"externalSecretSpec\":{spec}}}}}'",
                owner.name()
            ),
            None => format!(
                "kubectl -n {} patch externalsecrets.{GROUP} {} --type=merge -p '{{\"spec\":{spec}}}'",
                self.policy.namespace,
                self.external.name()
            ),
        }
    }

    /// Command with which a person changes the spec.
    pub(super) fn edit(&self) -> String {
        match &self.owner {
            Some(owner) => format!("kubectl edit clusterexternalsecrets.{GROUP} {}", owner.name()),
            None => self.command("edit"),
        }
    }

    /// Command that does something with the `ExternalSecret`.
    pub(super) fn command(&self, verb: &str) -> String {
        let (namespace, name) = (&self.policy.namespace, self.external.name());
        format!("kubectl -n {namespace} {verb} externalsecrets.{GROUP} {name}")
    }

    /// Command with which a person asks for a sync.
    pub(super) fn sync_command(&self) -> String {
        let annotation = format!("{FORCE_SYNC}=$(date +%s)");
        match &self.owner {
            Some(owner) => format!(
                "kubectl annotate --overwrite clusterexternalsecrets.{GROUP} {} {annotation}",
                owner.name()
            ),
            None => format!("{} {annotation}", self.command("annotate --overwrite")),
        }
    }

    /// A store, as messages name it.
    pub(super) fn store_name(&self, store: &StoreRef) -> String {
        let kind = store.kind();
        if kind.is_namespaced() {
            format!("{} {}/{}", kind.name(), self.policy.namespace, store.name)
        } else {
            format!("{} {}", kind.name(), store.name)
        }
    }

    /// Command that shows a store.
    pub(super) fn store_command(&self, store: &StoreRef) -> String {
        let kind = store.kind();
        let (plural, name) = (kind.plural(), &store.name);
        if kind.is_namespaced() {
            format!(
                "kubectl -n {} describe {plural}.{GROUP} {name}",
                self.policy.namespace
            )
        } else {
            format!("kubectl describe {plural}.{GROUP} {name}")
        }
    }
}

/// What [`Setting::guard`] said: version of the API, kind, name, uid and resourceVersion.
pub(super) fn read_guard(guard: &str) -> Option<(&str, Kind, &str, &str, &str)> {
    let mut parts = guard.split('/');
    let mut part = || parts.next().filter(|part| !part.is_empty());
    let (version, plural) = (part()?, part()?);
    let kind = [Kind::ExternalSecret, Kind::ClusterExternalSecret]
        .into_iter()
        .find(|kind| kind.plural() == plural)?;
    let (name, uid, resource_version) = (part()?, part()?, part()?);
    Some((version, kind, name, uid, resource_version))
}
