//! The requests: from the wire to an answer and into the log.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use serde_json::{Value as Json, json};

use super::action::Action;
use super::calls::Call;
use super::faults::{Faults, How};
use super::iam::{Iam, Principal};
use super::operations::{Caller, perform, secret_of};
use super::refusal::{Outcome, Refusal};
use super::store::{Secret, Store, Until};
use super::{signature, sts};

const LARGEST_BODY: usize = 1 << 20;
const SERVICE: &str = "secretsmanager";

/// Everything that the emulator remembers.
#[derive(Default)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) people: Iam,
    pub(super) faults: Faults,
    pub(super) calls: Vec<Call>,
}

/// A lock that a failed test cannot spoil for the others.
pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers a request of either service that is spoken here.
pub(super) async fn answer(state: &Mutex<State>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return refuse(
            &Refusal::new("RequestEntityTooLargeException", "The request is too large.").with_status(413),
        );
    };
    match target(&parts) {
        None => sts::answer(state, &parts, &body),
        Some(name) => match secrets_manager(state, &parts, &body, name).await {
            Ok(answer) => json_answer(200, &answer),
            Err(refusal) => refuse(&refusal),
        },
    }
}

/// The action that a request asks for, if it speaks Secrets Manager's protocol.
fn target(request: &Parts) -> Option<&str> {
    request
        .headers
        .get("x-amz-target")?
        .to_str()
        .ok()?
        .split_once('.')
        .map(|(_, name)| name)
}

async fn secrets_manager(state: &Mutex<State>, request: &Parts, body: &Bytes, name: &str) -> Outcome<Json> {
    let now = Timestamp::now();
    let signed = signature::read(&request.headers);
    let region = signed.as_ref().map_or("", |signed| signed.region);
    let key = signed.as_ref().map_or("", |signed| signed.key);
    let asked: Json = serde_json::from_slice(body).unwrap_or_default();
    let entry = {
        let mut state = lock(state);
        let secret = secret_of(&asked).map(|id| {
            let known = state.store.get(region, id);
            known.map_or(id, |secret| secret.name.as_str()).to_owned()
        });
        state.calls.push(Call::new(now, key, name, secret, &asked));
        state.calls.len() - 1
    };
    let outcome = async {
        let signed = signed?;
        let principal = signature::check(&signed, request, body, SERVICE, &lock(state).people, now)?;
        let action =
            Action::named(name).ok_or_else(|| Refusal::not_emulated(&format!("the action {name}")))?;
        let caller = Caller {
            principal: &principal,
            region,
            now,
        };
        with_fault(state, &caller, key, action, &asked).await
    }
    .await;
    if let Some(call) = lock(state).calls.get_mut(entry) {
        call.status = Some(outcome.as_ref().map_or_else(|refusal| refusal.status, |_| 200));
        call.error = outcome.as_ref().err().map(|refusal| refusal.code.to_owned());
    }
    outcome
}

/// Does what was asked, or what a fault makes of it.
async fn with_fault(
    state: &Mutex<State>,
    caller: &Caller<'_>,
    key: &str,
    action: Action,
    asked: &Json,
) -> Outcome<Json> {
    let id = secret_of(asked).unwrap_or_default();
    let (name, fault) = {
        let mut state = lock(state);
        let known = state.store.get(caller.region, id);
        let name = known.map_or(id, |secret| secret.name.as_str()).to_owned();
        let fault = state.faults.take(&name, key, action);
        (name, fault)
    };
    let now_or_never = || perform(&mut lock(state).store, caller, action, asked);
    let Some(how) = fault else {
        return now_or_never();
    };
    match how {
        How::Throttle => Err(Refusal::throttled()),
        How::ServerErrorBefore => Err(Refusal::internal()),
        How::ServerErrorAfter => now_or_never().and(Err(Refusal::internal())),
        How::Deny => Err(denied(caller.principal, action, &name)),
        How::Hang(time) => {
            tokio::time::sleep(time).await;
            now_or_never()
        }
        How::HangAfter(time) => {
            let outcome = now_or_never();
            tokio::time::sleep(time).await;
            outcome
        }
        How::ReadersSeeItAfter(time) => {
            let end = caller.now + SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
            hidden(state, caller, action, asked, &name, Until::Time(end))
        }
        How::ReadersMissIt(reads) => hidden(state, caller, action, asked, &name, Until::Reads(reads)),
    }
}

/// Does what was asked and goes on showing readers what was before.
fn hidden(
    state: &Mutex<State>,
    caller: &Caller<'_>,
    action: Action,
    asked: &Json,
    name: &str,
    until: Until,
) -> Outcome<Json> {
    let mut state = lock(state);
    let before: Option<Secret> = state.store.get(caller.region, name).cloned();
    let outcome = perform(&mut state.store, caller, action, asked)?;
    state.store.show_before(caller.region, name, before, until);
    Ok(outcome)
}

fn denied(principal: &Principal, action: Action, secret: &str) -> Refusal {
    let action = action.permission();
    Refusal::denied(format!(
        "User: {} is not authorized to perform: {action} on resource: {secret} because no identity-based policy allows the {action} action",
        principal.arn
    ))
}

fn refuse(refusal: &Refusal) -> Response {
    json_answer(
        refusal.status,
        &json!({"__type": refusal.code, "Message": refusal.message, "message": refusal.message}),
    )
}

fn json_answer(status: u16, body: &Json) -> Response {
    response(status, "application/x-amz-json-1.1", body.to_string())
}

/// An answer with a request id, by which the real service's support would find it.
pub(super) fn response(status: u16, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(&request_id()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

/// A random UUID.
pub(super) fn request_id() -> String {
    let bytes: [u8; 16] = rand::rng().random();
    let text = hex::encode(bytes);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
