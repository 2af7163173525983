//! The part of the Security Token Service that hands out sessions of roles: the query protocol, answered in XML.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::body::Bytes;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::calls::Call;
use super::iam::{Iam, Principal, Session, Trust};
use super::refusal::{Outcome, Refusal};
use super::server::{State, lock, request_id, response};
use super::signature;

const SERVICE: &str = "sts";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// Whom a token has to be for.
const AUDIENCE: &str = "sts.amazonaws.com";
const USUAL_SESSION: i64 = 3600;

type Form = BTreeMap<String, String>;

/// Answers a request and logs it; the log has the role's name where there would be a secret's.
pub(super) fn answer(state: &Mutex<State>, request: &Parts, body: &Bytes) -> Response {
    let now = Timestamp::now();
    let form: Form = form_urlencoded::parse(body).into_owned().collect();
    let action = form.get("Action").map_or("", String::as_str);
    let signed = signature::read(&request.headers);
    let key = signed.as_ref().map_or("", |signed| signed.key);
    let mut call = Call::new(
        now,
        key,
        action,
        form.get("RoleArn").cloned(),
        &serde_json::Value::Null,
    );
    let mut state = lock(state);
    let caller = |people: &Iam| signature::check(&signed.clone()?, request, body, SERVICE, people, now);
    let outcome = match action {
        "AssumeRole" => caller(&state.people)
            .and_then(|caller| assume(&mut state.people, &caller, &form, now))
            .map(|session| session_answer(action, &session)),
        "AssumeRoleWithWebIdentity" => {
            assume_with_token(&mut state.people, &form, now).map(|session| session_answer(action, &session))
        }
        "GetCallerIdentity" => caller(&state.people).map(|caller| identity_answer(&caller)),
        _ => Err(Refusal::not_emulated(&format!("the action {action}"))),
    };
    let outcome = outcome.map_err(in_query_words);
    call.status = Some(outcome.as_ref().map_or_else(|refusal| refusal.status, |_| 200));
    call.error = outcome.as_ref().err().map(|refusal| refusal.code.to_owned());
    state.calls.push(call);
    match outcome {
        Ok(body) => response(200, "text/xml", body),
        Err(refusal) => response(refusal.status, "text/xml", error_answer(&refusal)),
    }
}

/// `AssumeRole`. Who may not, and who does not know the external id, is not told whether there is such a role.
fn assume(people: &mut Iam, caller: &Principal, form: &Form, now: Timestamp) -> Outcome<Session> {
    let arn = field(form, "RoleArn")?;
    let denied = || {
        Refusal::denied(format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
            caller.arn
        ))
    };
    caller.may("sts:AssumeRole", arn, None).map_err(|_| denied())?;
    match people.find_role(arn).map(|role| &role.trust) {
        Some(Trust::Account { external_id: None }) => {}
        Some(Trust::Account { external_id }) if form.get("ExternalId") == external_id.as_ref() => {}
        Some(Trust::Account { .. } | Trust::WebIdentity { .. }) | None => return Err(denied()),
    }
    start(people, form, now)
}

/// `AssumeRoleWithWebIdentity`, which nobody signs.
fn assume_with_token(people: &mut Iam, form: &Form, now: Timestamp) -> Outcome<Session> {
    let claims = claims(field(form, "WebIdentityToken")?).ok_or_else(|| {
        Refusal::new(
            "InvalidIdentityToken",
            "The ID Token provided is not a valid JWT.",
        )
    })?;
    if !claims.aud.iter().any(|audience| audience == AUDIENCE) {
        return Err(Refusal::new("InvalidIdentityToken", "Incorrect token audience"));
    }
    if claims.exp <= now.as_second() {
        return Err(Refusal::new("ExpiredTokenException", "Token expired"));
    }
    match people.find_role(field(form, "RoleArn")?).map(|role| &role.trust) {
        Some(Trust::WebIdentity { subject }) if *subject == claims.sub => start(people, form, now),
        Some(Trust::Account { .. } | Trust::WebIdentity { .. }) | None => Err(Refusal::denied(
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        )),
    }
}

fn start(people: &mut Iam, form: &Form, now: Timestamp) -> Outcome<Session> {
    let seconds = form
        .get("DurationSeconds")
        .map_or(Ok(USUAL_SESSION), |text| text.parse());
    let seconds = seconds
        .ok()
        .filter(|seconds| (900..=43_200).contains(seconds))
        .ok_or_else(|| Refusal::new("ValidationError", "DurationSeconds must be between 900 and 43200"))?;
    let expires = now + SignedDuration::from_secs(seconds);
    let name = field(form, "RoleSessionName")?;
    people
        .session(field(form, "RoleArn")?, name, expires)
        .ok_or_else(Refusal::internal)
}

fn field<'a>(form: &'a Form, name: &str) -> Outcome<&'a str> {
    form.get(name)
        .map(String::as_str)
        .ok_or_else(|| Refusal::new("ValidationError", format!("{name} must not be null")))
}

/// What a token says of itself.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: Audience,
    exp: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn iter(&self) -> impl Iterator<Item = &String> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
        .iter()
    }
}

fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn session_answer(action: &str, session: &Session) -> String {
    let Session {
        key,
        token,
        arn,
        expires,
    } = session;
    let name = arn.rsplit('/').next().unwrap_or_default();
    let (id, secret, arn, name) = (
        escaped(&key.id),
        escaped(&key.secret),
        escaped(arn),
        escaped(name),
    );
    wrapped(
        action,
        &format!(
            "<AssumedRoleUser><AssumedRoleId>AROALAB:{name}</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
             <SessionToken>{token}</SessionToken><Expiration>{expires:.0}</Expiration></Credentials>"
        ),
    )
}

fn identity_answer(caller: &Principal) -> String {
    let arn = escaped(&caller.arn);
    let account = super::iam::ACCOUNT;
    wrapped(
        "GetCallerIdentity",
        &format!("<Arn>{arn}</Arn><UserId>{arn}</UserId><Account>{account}</Account>"),
    )
}

fn wrapped(action: &str, result: &str) -> String {
    let id = request_id();
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
    )
}

fn error_answer(refusal: &Refusal) -> String {
    let (code, message, id) = (refusal.code, escaped(&refusal.message), request_id());
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The older protocol has other names for what both have, and status 403 for it.
fn in_query_words(refusal: Refusal) -> Refusal {
    let code = match refusal.code {
        "AccessDeniedException" => "AccessDenied",
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "IncompleteSignatureException" => "IncompleteSignature",
        _ => return refusal,
    };
    Refusal { code, ..refusal }.with_status(403)
}
