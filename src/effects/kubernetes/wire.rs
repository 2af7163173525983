//! Single requests. Answers are read here and not by the client, which logs a body that it cannot read: the body may
//! be a Secret's.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResourceList};
use kube::api::{GetParams, ListParams, ObjectList, Patch, PatchParams, PostParams, Request};
use kube::core::{NamespaceResourceScope, Selector, Status};
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
        self.get_at(&self.place::<K>(), name).await
    }

    /// The same, of a kind that is known by its place only.
    pub(super) async fn get_at<T: DeserializeOwned>(
        &self,
        place: &Place,
        name: &str,
    ) -> Result<Option<T>, Error> {
        let call = place.call("read", name);
        let request = place.requests().get(name, &GetParams::default());
        match self
            .text(&call, request.map(|r| self.client.request_text(r)))
            .await
        {
            Ok(text) => parse(&call, &text).map(Some),
            Err(Error::Kubernetes { source, .. }) if is_missing(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all objects of a kind.
    pub(super) async fn list<K: Named + Clone>(&self) -> Result<Vec<K>, Error> {
        self.list_at(&self.place::<K>()).await
    }

    /// Reads all objects of one name and with these labels, in every namespace. The name is asked for as a field, so that
    /// a right to objects of this name is enough.
    pub(super) async fn everywhere<K: Named + Clone>(
        &self,
        name: &str,
        labels: &str,
    ) -> Result<Vec<K>, Error> {
        let call = Call::new(format!("list {} named {name} in all namespaces", K::plural(&())));
        let params = ListParams::default()
            .fields(&format!("metadata.name={name}"))
            .labels(labels);
        let request = Request::new(K::url_path(&(), None)).list(&params);
        let text = self
            .text(&call, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&call, &text).map(|list: ObjectList<K>| list.items)
    }

    /// Reads those objects of a kind that a selector chooses.
    pub(super) async fn list_chosen<K: Named + Clone>(&self, selector: &Selector) -> Result<Vec<K>, Error> {
        let chosen = ListParams::default().labels_from(selector);
        self.list_by(&self.place::<K>(), &chosen).await
    }

    /// Reads all objects of a kind that is known by its place only.
    pub(super) async fn list_at<T: DeserializeOwned + Clone>(&self, place: &Place) -> Result<Vec<T>, Error> {
        self.list_by(place, &ListParams::default()).await
    }

    async fn list_by<T: DeserializeOwned + Clone>(
        &self,
        place: &Place,
        which: &ListParams,
    ) -> Result<Vec<T>, Error> {
        let call = Call::new(format!("list {} in {}", place.plural, self.namespace));
        let request = place.requests().list(which);
        let text = self
            .text(&call, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&call, &text).map(|list: ObjectList<T>| list.items)
    }

    /// Patches an object.
    pub(super) async fn patch<K: Named, T: DeserializeOwned>(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch<impl Serialize>,
    ) -> Result<T, Error> {
        self.patch_at(&self.place::<K>(), name, params, patch).await
    }

    /// The same, of a kind that is known by its place only.
    pub(super) async fn patch_at<T: DeserializeOwned>(
        &self,
        place: &Place,
        name: &str,
        params: &PatchParams,
        patch: &Patch<impl Serialize>,
    ) -> Result<T, Error> {
        let call = place.call("patch", name);
        let request = place.requests().patch(name, params, patch);
        let text = self
            .text(&call, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&call, &text)
    }

    /// Patches an object's status.
    pub(super) async fn patch_status<K: Named, T: DeserializeOwned>(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch<impl Serialize>,
    ) -> Result<T, Error> {
        let place = self.place::<K>();
        let call = place.call("patch the status of", name);
        let request = place.requests().patch_subresource("status", name, params, patch);
        let text = self
            .text(&call, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&call, &text)
    }

    /// Replaces an object; its resourceVersion is the guard.
    pub(super) async fn replace<K: Named + Serialize, T: DeserializeOwned>(
        &self,
        name: &str,
        params: &PostParams,
        object: &K,
    ) -> Result<T, Error> {
        let place = self.place::<K>();
        let call = place.call("update", name);
        let body = Zeroizing::new(serde_json::to_vec(object).map_err(|e| unreadable(&call, &e))?);
        let request = place.requests().replace(name, params, body.to_vec());
        let text = self
            .text(&call, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&call, &text)
    }

    /// Puts a question to the API server that is an object without a name.
    pub(super) async fn ask<K>(&self, question: &K) -> Result<K, Error>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let call = Call::new(format!("create {}", K::kind(&())));
        let body = serde_json::to_vec(question).map_err(|e| unreadable(&call, &e))?;
        let request = Request::new(K::url_path(&(), None)).create(&PostParams::default(), body);
        let text = self
            .text(&call, request.map(|r| self.client.request_text(r)))
            .await?;
        parse(&call, &text)
    }

    /// The versions of an API group that the API server serves; none when it does not know the group.
    pub(super) async fn versions(&self, group: &str) -> Result<Vec<String>, Error> {
        let call = Call::new(format!("read the versions of the API group {group}"));
        let request = Request::new("/apis").get(group, &GetParams::default());
        match self
            .text(&call, request.map(|r| self.client.request_text(r)))
            .await
        {
            Ok(text) => {
                let group: APIGroup = parse(&call, &text)?;
                Ok(group
                    .versions
                    .into_iter()
                    .map(|version| version.version)
                    .collect())
            }
            Err(Error::Kubernetes { source, .. }) if is_missing(&source) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether the API server knows a resource.
    pub(super) async fn serves(&self, group: &str, version: &str, plural: &str) -> Result<bool, Error> {
        let call = Call::new(format!("read the resources of the API group {group}"));
        let request = Request::new(format!("/apis/{group}")).get(version, &GetParams::default());
        match self
            .text(&call, request.map(|r| self.client.request_text(r)))
            .await
        {
            Ok(text) => {
                let known: APIResourceList = parse(&call, &text)?;
                Ok(known.resources.iter().any(|resource| resource.name == plural))
            }
            Err(Error::Kubernetes { source, .. }) if is_missing(&source) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn place<K: Named>(&self) -> Place {
        Place {
            path: K::url_path(&(), Some(&self.namespace)),
            kind: K::kind(&()),
            plural: K::plural(&()),
            namespace: Some(self.namespace.clone()),
        }
    }

    /// Where the objects of a kind are that is in no namespace.
    pub(super) fn of_cluster<K: Resource<DynamicType = ()>>() -> Place {
        Place {
            path: K::url_path(&(), None),
            kind: K::kind(&()),
            plural: K::plural(&()),
            namespace: None,
        }
    }

    async fn text(
        &self,
        call: &Call,
        request: Result<impl Future<Output = Answer<String>>, kube::core::request::Error>,
    ) -> Result<Zeroizing<String>, Error> {
        let answer = match request {
            Ok(request) => timeout(LIMIT, request).await,
            Err(error) => Ok(Err(kube::Error::BuildRequest(error))),
        };
        match answer {
            Ok(Ok(text)) => Ok(Zeroizing::new(text)),
            Ok(Err(error)) => Err(meaning(call, error)),
            Err(_) => Err(Error::TimedOut {
                what: format!("the call to {}", call.what),
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

/// Where the objects of one kind are.
pub(super) struct Place {
    /// Path of all of them.
    pub(super) path: String,
    /// The kind, as messages name it.
    pub(super) kind: Cow<'static, str>,
    /// The resource, as rights name it.
    pub(super) plural: Cow<'static, str>,
    /// The namespace, for kinds that live in one.
    pub(super) namespace: Option<String>,
}

impl Place {
    /// One object, as messages name it.
    pub(super) fn named(&self, name: &str) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{name}", self.kind),
            None => format!("{} {name}", self.kind),
        }
    }

    fn requests(&self) -> Request {
        Request::new(&self.path)
    }

    fn call(&self, verb: &str, name: &str) -> Call {
        let call = Call::new(format!("{verb} {}", self.named(name)));
        match self.namespace {
            Some(_) => call,
            None => Call {
                grant: rbac_command_for(&self.plural, name),
                ..call
            },
        }
    }
}

/// What is asked, in words, and how it is allowed.
struct Call {
    what: String,
    grant: String,
}

impl Call {
    fn new(what: String) -> Self {
        Self {
            what,
            grant: RBAC_COMMAND.to_owned(),
        }
    }
}

/// How the API server is made to allow what a policy needs of an object that is in no namespace.
pub(super) fn rbac_command_for(plural: &str, name: &str) -> String {
    format!("tandem rbac -f policy.yaml --cluster-object {plural}/{name} | kubectl apply -f -")
}

/// Whether the API server says that there is no such object. Of a kind that it does not know it says so in plain text,
/// from which the client makes no reason; only the code is the same.
pub(super) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn parse<T: DeserializeOwned>(call: &Call, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| unreadable(call, &error))
}

/// The position, and not serde's message: that could repeat what stands there.
fn unreadable(call: &Call, error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    Error::Unusable(format!(
        "the answer to {} cannot be read: line {line}, column {column}",
        call.what
    ))
}

fn meaning(call: &Call, error: kube::Error) -> Error {
    let what = &call.what;
    if let kube::Error::Api(status) = &error {
        // A patch that names another uid than the object has is not a conflict to the server, but an attempt to
        // change it.
        if status.is_conflict() || blames(status, "metadata.uid") {
            return Error::Conflict {
                what: object(what).to_owned(),
            };
        }
        if status.is_forbidden() {
            return Error::Refused(forbidden(call, status));
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
        what: what.clone(),
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
fn forbidden(call: &Call, status: &Status) -> Finding {
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
            format!("allow exactly what the policy needs with: {}", call.grant),
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
        message: format!("not allowed to {}: {}; {remedy}", call.what, status.message),
    }
}
