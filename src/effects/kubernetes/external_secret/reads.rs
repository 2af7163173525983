//! Reading External Secrets Operator's objects, in whichever version the API server has them.

use std::collections::BTreeMap;

use super::objects::{ClusterExternalSecret, ExternalSecret, Kind, PushSecret, Store, StoreRef};
use crate::api::OPERATOR_GROUP as GROUP;
use crate::effects::Error;
use crate::effects::kubernetes::Cluster;
use crate::effects::kubernetes::wire::{Place, is_missing};
use crate::machine::facts::Finding;

/// Versions of the `ExternalSecret` and of the stores, the newest first. Releases up to 0.15 serve only the second, those
/// from 0.17 on only the first.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// The only version of the `PushSecret` there is.
const PUSH_VERSION: &str = "v1alpha1";

/// What was found under the name of an `ExternalSecret`.
pub(super) enum Found {
    /// It is there, in this version of the API.
    There(&'static str, Box<ExternalSecret>),
    /// It is not there.
    Missing,
    /// There is no such kind: External Secrets Operator is not installed.
    Unknown,
}

/// The stores that were looked for. One that is not in it could not be read.
pub(super) type Stores = BTreeMap<StoreRef, Option<Store>>;

impl Cluster {
    /// Most clusters serve the newest version, so that is tried first: what an API server serves is asked only when
    /// nothing is found there, and never remembered, because the operator may be upgraded at any time.
    pub(super) async fn external_secret(&self, name: &str) -> Result<Found, Error> {
        let [newest, older] = VERSIONS;
        if let Some(found) = self.external_secret_in(newest, name).await? {
            return Ok(found);
        }
        let served = self.versions(GROUP).await?;
        let has = |version: &str| served.iter().any(|served| served == version);
        if has(newest) {
            return Ok(Found::Missing);
        }
        if !has(older) {
            return Ok(Found::Unknown);
        }
        let found = self.external_secret_in(older, name).await?;
        Ok(found.unwrap_or(Found::Missing))
    }

    async fn external_secret_in(&self, version: &'static str, name: &str) -> Result<Option<Found>, Error> {
        let found = self
            .get_at(&self.place_of(version, Kind::ExternalSecret), name)
            .await?;
        Ok(found.map(|object| Found::There(version, Box::new(object))))
    }

    pub(super) async fn cluster_external_secret(
        &self,
        version: &str,
        name: &str,
    ) -> Result<Option<ClusterExternalSecret>, Error> {
        let place = self.place_of(version, Kind::ClusterExternalSecret);
        self.get_at(&place, name).await
    }

    /// Adds stores to those that are known, and what the API server refuses to tell to the findings.
    pub(super) async fn read_stores(
        &self,
        version: &str,
        wanted: impl IntoIterator<Item = &StoreRef>,
        stores: &mut Stores,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        for store in wanted {
            if stores.contains_key(store) || store.name.is_empty() {
                continue;
            }
            let place = self.place_of(version, store.kind());
            if let Some(found) = told(self.get_at(&place, &store.name).await, findings)? {
                stores.insert(store.clone(), found);
            }
        }
        Ok(())
    }

    pub(super) async fn external_secrets(&self, version: &str) -> Result<Vec<ExternalSecret>, Error> {
        self.list_at(&self.place_of(version, Kind::ExternalSecret)).await
    }

    /// None, where the kind is not installed.
    pub(super) async fn push_secrets(&self) -> Result<Vec<PushSecret>, Error> {
        match self.list_at(&self.place_of(PUSH_VERSION, Kind::PushSecret)).await {
            Err(Error::Kubernetes { source, .. }) if is_missing(&source) => Ok(Vec::new()),
            result => result,
        }
    }

    pub(super) fn place_of(&self, version: &str, kind: Kind) -> Place {
        let namespace = kind.is_namespaced().then(|| self.namespace.clone());
        let within = namespace.as_ref().map(|name| format!("namespaces/{name}/"));
        Place {
            path: format!(
                "/apis/{GROUP}/{version}/{}{}",
                within.unwrap_or_default(),
                kind.plural()
            ),
            kind: kind.name().into(),
            plural: kind.plural().into(),
            namespace,
        }
    }
}

/// The answer; or nothing, when the API server does not allow the question and says so among the findings.
pub(super) fn told<T>(answer: Result<T, Error>, findings: &mut Vec<Finding>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Refused(finding)) => {
            findings.push(finding);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
