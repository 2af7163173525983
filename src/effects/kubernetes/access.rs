//! Whether this process may do what a rotation will need, asked before it is needed.

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};

use super::Cluster;
use super::wire::{RBAC_COMMAND, rbac_command_for};
use crate::api::spec::{RestartMode, TargetKind};
use crate::api::{OPERATOR_GROUP, ROLLOUTS_GROUP, journal_name};
use crate::effects::Error;
use crate::machine::facts::{Consumer, Finding};
use crate::policy::target::ConsumerKind;
use crate::policy::{Policy, Route};

/// One right: a verb on a resource, perhaps on one object only.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    name: String,
    /// Whether the resource lives in a namespace.
    namespaced: bool,
}

impl Cluster {
    /// What this process may not do and the rotation will need; one finding names all of it.
    ///
    /// # Errors
    /// When the API server could not be asked.
    pub async fn access(&self, policy: &Policy, consumers: &[Consumer]) -> Result<Vec<Finding>, Error> {
        let rights = needed(policy, consumers);
        let mut denied = Vec::new();
        for (right, allowed) in rights
            .iter()
            .zip(join_all(rights.iter().map(|right| self.may(right))).await)
        {
            if !allowed? {
                denied.push(right.words());
            }
        }
        Ok(finding(&self.namespace, &denied).into_iter().collect())
    }

    /// The same for one write of an object of External Secrets Operator that is in no namespace.
    pub(super) async fn cluster_access(
        &self,
        verb: &'static str,
        resource: &'static str,
        name: &str,
    ) -> Result<Option<Finding>, Error> {
        let right = Right {
            verb,
            group: OPERATOR_GROUP,
            resource,
            name: name.to_owned(),
            namespaced: false,
        };
        let allowed = self.may(&right).await?;
        Ok((!allowed).then(|| Finding {
            blocks: true,
            reason: "AccessDenied",
            message: format!(
                "Tandem is not allowed to {}. Allow exactly what the policy needs with: {}",
                right.words(),
                rbac_command_for(resource, name)
            ),
        }))
    }

    async fn may(&self, right: &Right) -> Result<bool, Error> {
        let question = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: right.namespaced.then(|| self.namespace.clone()),
                    verb: Some(right.verb.to_owned()),
                    group: Some(right.group.to_owned()),
                    resource: Some(right.resource.to_owned()),
                    name: Some(right.name.clone()).filter(|name| !name.is_empty()),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SelfSubjectAccessReview::default()
        };
        Ok(self
            .ask(&question)
            .await?
            .status
            .is_some_and(|status| status.allowed))
    }
}

/// Only writes: whatever must be read has been read when this is asked, and a refusal has been told.
fn needed(policy: &Policy, consumers: &[Consumer]) -> Vec<Right> {
    let secret = |verb, name: &str| Right {
        verb,
        group: "",
        resource: "secrets",
        name: name.to_owned(),
        namespaced: true,
    };
    let journal = journal_name(&policy.name);
    let mut rights = vec![
        // The journal is made by a patch, for which the server asks for `create` as well.
        secret("create", &journal),
        secret("patch", &journal),
        secret("update", &journal),
    ];
    match &policy.delivery.route {
        Route::Direct { .. } => rights.push(secret("patch", policy.delivery.target.secret.as_str())),
        Route::StoreFirst { external_secret, .. } => rights.push(Right {
            verb: "patch",
            group: OPERATOR_GROUP,
            resource: "externalsecrets",
            name: external_secret.clone(),
            namespaced: true,
        }),
    }
    let lists = policy
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.userlist.as_ref());
    rights.extend(lists.map(|list| secret("patch", list.secret.as_str())));
    if matches!(policy.restart.mode, RestartMode::Auto | RestartMode::Controller) {
        let found = [
            (TargetKind::Deployment, "apps", "deployments"),
            (TargetKind::StatefulSet, "apps", "statefulsets"),
            (TargetKind::DaemonSet, "apps", "daemonsets"),
            (TargetKind::Rollout, ROLLOUTS_GROUP, "rollouts"),
        ];
        for (kind, group, resource) in found {
            if consumers
                .iter()
                .any(|c| c.reference.kind == ConsumerKind::Workload(kind))
            {
                rights.push(Right {
                    verb: "patch",
                    group,
                    resource,
                    name: String::new(),
                    namespaced: true,
                });
            }
        }
    }
    rights
}

fn finding(namespace: &str, denied: &[String]) -> Option<Finding> {
    (!denied.is_empty()).then(|| Finding {
        blocks: true,
        reason: "AccessDenied",
        message: format!(
            "in namespace {namespace} Tandem is not allowed to {}. Allow exactly what the policy needs with: {RBAC_COMMAND}",
            denied.join(", ")
        ),
    })
}

impl Right {
    fn words(&self) -> String {
        let Self {
            verb, resource, name, ..
        } = self;
        if name.is_empty() {
            format!("{verb} {resource}")
        } else {
            format!("{verb} {resource}/{name}")
        }
    }
}
