//! Signature Version 4: a request is signed again with the secret of the key that it names, and compared.

use std::borrow::Cow;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::body::Bytes;
use http::HeaderMap;
use http::request::Parts;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::iam::{Iam, Principal};
use super::refusal::{Outcome, Refusal};

/// How far the clocks may be apart.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
const SCHEME: &str = "AWS4-HMAC-SHA256";

/// What a request says about its signature.
#[derive(Clone)]
pub(super) struct Signed<'a> {
    pub(super) key: &'a str,
    date: &'a str,
    pub(super) region: &'a str,
    service: &'a str,
    headers: Vec<&'a str>,
    signature: &'a str,
}

/// Reads the `Authorization` header.
pub(super) fn read(headers: &HeaderMap) -> Outcome<Signed<'_>> {
    let missing = || {
        Refusal::new(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )
    };
    let text = headers.get(http::header::AUTHORIZATION).ok_or_else(missing)?;
    let text = text.to_str().map_err(|_| missing())?;
    parse(text).ok_or_else(|| {
        Refusal::new(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders' parameters.",
        )
    })
}

fn parse(authorization: &str) -> Option<Signed<'_>> {
    let rest = authorization.strip_prefix(SCHEME)?;
    let part = |name: &str| {
        rest.split(',')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let mut scope = part("Credential")?.split('/');
    let signed = Signed {
        key: scope.next()?,
        date: scope.next()?,
        region: scope.next()?,
        service: scope.next()?,
        headers: part("SignedHeaders")?.split(';').collect(),
        signature: part("Signature")?,
    };
    (scope.next() == Some("aws4_request") && scope.next().is_none()).then_some(signed)
}

/// Finds out who signed a request, or refuses it.
pub(super) fn check(
    signed: &Signed<'_>,
    request: &Parts,
    body: &Bytes,
    service: &str,
    people: &Iam,
    now: Timestamp,
) -> Outcome<Principal> {
    let identity = people.identity(signed.key).ok_or_else(unknown)?;
    let given_token = header(request, "x-amz-security-token");
    if identity.session_token.as_deref() != given_token {
        return Err(unknown());
    }
    if identity.expires.is_some_and(|end| end <= now) {
        return Err(Refusal::new(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ));
    }
    let time = time(signed, request, now)?;
    if signed.service != service {
        return Err(mismatch(&format!(
            "Credential should be scoped to correct service: '{service}'."
        )));
    }
    must_be_signed(signed, request)?;
    let expected = sign_again(signed, request, body, identity.credentials(), time)?;
    if expected != signed.signature {
        return Err(mismatch(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
        ));
    }
    Ok(identity.principal.clone())
}

fn unknown() -> Refusal {
    Refusal::new(
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
}

fn mismatch(message: &str) -> Refusal {
    Refusal::new("InvalidSignatureException", message)
}

/// The time of signing, which has to be about now and on the day of the credential's scope.
fn time(signed: &Signed<'_>, request: &Parts, now: Timestamp) -> Outcome<SystemTime> {
    let text = header(request, "x-amz-date").unwrap_or_default();
    let format = "%Y%m%dT%H%M%SZ";
    let time = DateTime::strptime(format, text)
        .and_then(|time| time.to_zoned(TimeZone::UTC))
        .map_err(|_| {
            Refusal::new(
                "IncompleteSignatureException",
                "Date must be in ISO-8601 'basic format' in the header x-amz-date.",
            )
        })?
        .timestamp();
    if !text.starts_with(signed.date) || signed.date.len() != 8 {
        return Err(mismatch(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.",
        ));
    }
    let here = now.strftime(format);
    if time < now - SKEW {
        let limit = (now - SKEW).strftime(format);
        return Err(mismatch(&format!(
            "Signature expired: {text} is now earlier than {limit} ({here} - 5 min.)"
        )));
    }
    if time > now + SKEW {
        let limit = (now + SKEW).strftime(format);
        return Err(mismatch(&format!(
            "Signature not yet current: {text} is still later than {limit} ({here} + 5 min.)"
        )));
    }
    Ok(time.into())
}

/// The host and all headers of AWS's own have to be under the signature, or they could be changed on the way.
fn must_be_signed(signed: &Signed<'_>, request: &Parts) -> Outcome<()> {
    let own = request.headers.keys().map(http::HeaderName::as_str);
    let unsigned = own
        .filter(|name| *name == "host" || name.starts_with("x-amz-"))
        .find(|name| !signed.headers.contains(name));
    match unsigned {
        None => Ok(()),
        Some(name) => Err(mismatch(&format!(
            "'{name}' must be a 'SignedHeader' in the AWS Authorization."
        ))),
    }
}

fn sign_again(
    signed: &Signed<'_>,
    request: &Parts,
    body: &Bytes,
    credentials: Credentials,
    time: SystemTime,
) -> Outcome<String> {
    let broken = |_| mismatch("The request cannot be brought into its canonical form.");
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    // What the caller signed decides, not what the library would leave out.
    settings.excluded_headers = None;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(signed.region)
        .name(signed.service)
        .time(time)
        .settings(settings)
        .build()
        .map_err(|_| mismatch("The credential's scope is not complete."))?;
    let headers = signed
        .headers
        .iter()
        .filter_map(|name| Some((*name, header(request, name)?)));
    let uri: Cow<'_, str> = format!(
        "http://{}{}",
        header(request, "host").unwrap_or_default(),
        request.uri
    )
    .into();
    let again = SignableRequest::new(request.method.as_str(), uri, headers, SignableBody::Bytes(body));
    let output = sign(again.map_err(broken)?, &SigningParams::from(params)).map_err(broken)?;
    Ok(output.signature().to_owned())
}

fn header<'a>(request: &'a Parts, name: &str) -> Option<&'a str> {
    request.headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the documentation, «Signature Version 4 signing process», with its keys and its result.
    #[test]
    fn the_documented_example_has_the_documented_signature() {
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
            SignedHeaders=content-type;host;x-amz-date, \
            Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        let request = http::Request::get("/?Action=ListUsers&Version=2010-05-08")
            .header("host", "iam.amazonaws.com")
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .header("x-amz-date", "20150830T123600Z")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let key = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            None,
            None,
            "documentation",
        );
        let signed = parse(authorization).unwrap();
        let signing = "2015-08-30T12:36:00Z".parse::<Timestamp>().unwrap();
        let time = time(&signed, &parts, signing).unwrap();
        must_be_signed(&signed, &parts).unwrap();
        let again = sign_again(&signed, &parts, &Bytes::new(), key, time).unwrap();
        assert_eq!(again, signed.signature);
    }
}
