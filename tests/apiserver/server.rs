//! An API server that answers what it was told to answer, and remembers what it was asked.

use std::pin::pin;

use http::{Request, Response, StatusCode};
use k8s_openapi::ByteString;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tandem::api::RotationPolicy;
use tandem::effects::kubernetes::Cluster;
use tandem::policy::Policy;
use tandem::sensitive::Sensitive;

/// A password that must be seen nowhere.
pub(crate) const PASSWORD: &str = "Sentinel-7f3a-Passwort";

/// What a request was.
#[derive(Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<String>,
    pub(crate) content: String,
    pub(crate) body: Value,
}

/// Lets the effects ask, gives these answers in turn, and returns what was asked. An answer too many or too few fails.
/// A string is sent as plain text.
pub(crate) async fn asked<T>(
    answers: Vec<(u16, Value)>,
    ask: impl AsyncFnOnce(Cluster) -> T,
) -> (T, Vec<Asked>) {
    let texts = answers
        .into_iter()
        .map(|(code, body)| {
            (
                code,
                body.as_str().map_or_else(|| body.to_string(), str::to_owned),
            )
        })
        .collect();
    asked_for_text(texts, ask).await
}

pub(crate) async fn asked_for_text<T>(
    answers: Vec<(u16, String)>,
    ask: impl AsyncFnOnce(Cluster) -> T,
) -> (T, Vec<Asked>) {
    let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let server = async move {
        let mut handle = pin!(handle);
        let mut all = Vec::new();
        let mut answers = answers.into_iter();
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let header = parts.headers.get(http::header::CONTENT_TYPE);
            all.push(Asked {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts
                    .uri
                    .query()
                    .unwrap_or_default()
                    .split('&')
                    .filter(|q| !q.is_empty())
                    .map(Into::into)
                    .collect(),
                content: header
                    .map(|value| value.to_str().unwrap().to_owned())
                    .unwrap_or_default(),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            });
            let (code, text) = answers.next().expect("no more requests than answers");
            let answer = Response::builder().status(StatusCode::from_u16(code).unwrap());
            send.send_response(answer.body(Body::from(text.into_bytes())).unwrap());
        }
        assert_eq!(answers.count(), 0, "every answer is asked for");
        all
    };
    tokio::join!(ask(Cluster::new(Client::new(service, "default"), "shop")), server)
}

pub(crate) fn object() -> RotationPolicy {
    serde_json::from_value(json!({
        "apiVersion": "tandem.dev/v1alpha1",
        "kind": "RotationPolicy",
        "metadata": {"name": "app", "namespace": "shop", "uid": "uid-1", "resourceVersion": "41"},
        "spec": {
            "users": ["app_a", "app_b"],
            "database": {"host": "db", "name": "appdb", "admin": {"secretRef": {"name": "admin"}}},
            "delivery": {"secret": {"name": "db", "templates": {"URL": "postgresql://{username}:{password:uri}@db"}}},
            "restart": {},
        },
    }))
    .unwrap()
}

pub(crate) fn policy() -> Policy {
    Policy::parse(&object()).unwrap()
}

/// A policy that delivers through the store, with `ExternalSecret` `db`.
pub(crate) fn store_first() -> Policy {
    let mut object = serde_json::to_value(object()).unwrap();
    let source = json!({"secretId": "shop/db", "region": "eu-central-1"});
    object["spec"]["delivery"] = json!({"externalSecret": {"name": "db", "awsSecretsManager": source}});
    Policy::parse(&serde_json::from_value(object).unwrap()).unwrap()
}

pub(crate) fn sensitive(text: &str) -> Sensitive {
    Sensitive::new(text.to_owned())
}

pub(crate) fn base64(text: &str) -> Value {
    serde_json::to_value(ByteString(text.as_bytes().to_vec())).unwrap()
}

pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, status)
}
