//! Single requests. Answers are read here and not by the client, which logs a body that it cannot read: the body may
//! be a Secret's.

use std::time::Duration;

use kube::api::{GetParams, ListParams, ObjectList, Patch, PatchParams, PostParams, Request};
use kube::core::{NamespaceResourceScope, Status};
use kube::{Resource, Result as Answer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::Cluster;
use crate::effects::Error;
use crate::machine::facts::Finding;

/// No call lasts longer, whatever the client does beneath it.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// How the API server is made to allow what a policy needs.
pub(super) const RBAC_COMMAND: &str = "tandem rbac -f policy.yaml | kubectl apply -f -";

impl Cluster {
    /// Reads one object past every cache: without a resourceVersion the answer is the newest there is.
    pub(super) async fn get<K: Named>(&self, name: &str) -> Result<Option<K>, Error> {
        let what = format!("read {}", self.named(&kind::<K>(), name));
        let request = self.requests::<K>().get(name, &GetParams::default());
        let answer = self
            .text(&what, request.map(|r| self.client.request_text(r)))
            .await;
        match answer {
            Ok(text) => parse(&what, &text).map(Some),
            Err(Error::Kubernetes { source, .. }) if is_missing(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all objects of a kind.
    pub(super) async fn list<K: Named + Clone>(&self) -> Result<Vec<K>, Error> {
        let what = format!("list {} in {}", K::plural(&()), self.namespace);
        let request = self.requests::<K>().list(&ListParams::default());
        let text = self
            .text(&what, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&what, &text).map(|list: ObjectList<K>| list.items)
    }

    /// Patches an object.
    pub(super) async fn patch<K: Named, T: DeserializeOwned>(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch<impl Serialize>,
    ) -> Result<T, Error> {
        let what = format!("patch {}", self.named(&kind::<K>(), name));
        let request = self.requests::<K>().patch(name, params, patch);
        let text = self
            .text(&what, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&what, &text)
    }

    /// Patches an object's status.
    pub(super) async fn patch_status<K: Named, T: DeserializeOwned>(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch<impl Serialize>,
    ) -> Result<T, Error> {
        let what = format!("patch the status of {}", self.named(&kind::<K>(), name));
        let request = self
            .requests::<K>()
            .patch_subresource("status", name, params, patch);
        let text = self
            .text(&what, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&what, &text)
    }

    /// Replaces an object; its resourceVersion is the guard.
    pub(super) async fn replace<K: Named + Serialize, T: DeserializeOwned>(
        &self,
        name: &str,
        params: &PostParams,
        object: &K,
    ) -> Result<T, Error> {
        let what = format!("update {}", self.named(&kind::<K>(), name));
        let body = Zeroizing::new(serde_json::to_vec(object).map_err(|e| unreadable(&what, &e))?);
        let request = self.requests::<K>().replace(name, params, body.to_vec());
        let text = self
            .text(&what, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&what, &text)
    }

    /// Puts a question to the API server that is an object without a name.
    pub(super) async fn ask<K>(&self, question: &K) -> Result<K, Error>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let what = format!("create {}", K::kind(&()));
        let body = serde_json::to_vec(question).map_err(|e| unreadable(&what, &e))?;
        let request = Request::new(K::url_path(&(), None)).create(&PostParams::default(), body);
        let text = self
            .text(&what, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&what, &text)
    }

    fn requests<K: Named>(&self) -> Request {
        Request::new(K::url_path(&(), Some(&self.namespace)))
    }

    async fn text(
        &self,
        what: &str,
        call: Result<impl Future<Output = Answer<String>>, kube::core::request::Error>,
    ) -> Result<Zeroizing<String>, Error> {
        let answer = match call {
            Ok(call) => timeout(LIMIT, call).await,
            Err(error) => Ok(Err(kube::Error::BuildRequest(error))),
        };
        match answer {
            Ok(Ok(text)) => Ok(Zeroizing::new(text)),
            Ok(Err(error)) => Err(meaning(what, error)),
            Err(_) => Err(Error::TimedOut {
                what: format!("the call to {what}"),
                seconds: LIMIT.as_secs(),
            }),
        }
    }
}

/// Kinds that live in a namespace.
pub(super) trait Named:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned
{
}

impl<K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned> Named for K {}

/// Whether the API server says that there is no such object.
pub(super) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

fn kind<K: Named>() -> String {
    K::kind(&()).into_owned()
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| unreadable(what, &error))
}

/// The position, and not serde's message: that could repeat what stands there.
fn unreadable(what: &str, error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    Error::Unusable(format!(
        "the answer to {what} cannot be read: line {line}, column {column}"
    ))
}

fn meaning(what: &str, error: kube::Error) -> Error {
    if let kube::Error::Api(status) = &error {
        // A patch that names another uid than the object has is not a conflict to the server, but an attempt to
        // change it.
        if status.is_conflict() || blames(status, "metadata.uid") {
            return Error::Conflict {
                what: object(what).to_owned(),
            };
        }
        if status.is_forbidden() {
            return Error::Refused(forbidden(what, status));
        }
        if status.is_invalid() || status.code == 413 {
            return Error::Refused(Finding {
                blocks: true,
                reason: "ApiServerRefused",
                message: format!("the API server refused to {what}: {}", status.message),
            });
        }
    }
    Error::Kubernetes {
        what: what.to_owned(),
        source: Box::new(error),
    }
}

/// Whether a refusal is about this field.
fn blames(status: &Status, field: &str) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.field == field)
}

/// The object without the verb.
fn object(what: &str) -> &str {
    what.split_once(' ').map_or(what, |(_, object)| object)
}

/// The authoriser, an admission plugin and a namespace that is going away all answer 403.
fn forbidden(what: &str, status: &Status) -> Finding {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let terminating = causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating");
    let (reason, remedy) = if terminating {
        (
            "NamespaceTerminating",
            "it goes on when the namespace stays, and ends with it".to_owned(),
        )
    } else if status.message.contains("cannot") {
        (
            "AccessDenied",
            format!("allow exactly what the policy needs with: {RBAC_COMMAND}"),
        )
    } else {
        (
            "AdmissionDenied",
            "ask the owner of that rule for an exception".to_owned(),
        )
    };
    Finding {
        blocks: true,
        reason,
        message: format!("not allowed to {what}: {}; {remedy}", status.message),
    }
}
