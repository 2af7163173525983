//! What an error of AWS or of the way to it means, by its code. Of its message nothing is repeated but who was denied:
//! a message may repeat what was sent.

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::RequestId as _;

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it means.
    pub(super) kind: Kind,
    /// AWS's own word for it.
    pub(super) code: Option<String>,
    /// Under which AWS has it in its logs.
    pub(super) request: Option<String>,
    /// Who was denied, when AWS says so.
    pub(super) principal: Option<String>,
}

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is no such secret, or no such version of it, in this region of this account.
    NotFound,
    /// A right is missing.
    Denied,
    /// The right to use the key is missing.
    KeyDenied,
    /// The key that encrypts the secret cannot be used.
    KeyUnusable,
    /// The secret is in a state in which it cannot be used: deleted, or managed by another service.
    WrongState,
    /// The call was not understood, or its guard did not hold.
    Parameter,
    /// There is a version of this name with another content.
    Exists,
    /// A quota is used up.
    Limit,
    /// AWS does not know the credentials, or they have expired.
    BadCredentials,
    /// There are none.
    NoCredentials,
    /// AWS gives out none for the role.
    RoleDenied,
    /// Whoever gives them out did not answer.
    CredentialsSilent,
    /// Too many calls.
    Throttled,
    /// AWS failed; a write may have been made.
    ServerFault,
    /// Nothing came back in time; a write may have been made.
    NoAnswer,
    /// There is no connection, or it broke off; a write may have been made.
    Unreachable,
    /// Whoever answers shows no certificate that is trusted here; nothing was sent.
    Untrusted,
    /// What answers is not AWS.
    NotAws,
    /// The call could not even be put together.
    NotSent,
    /// Something else, with the code as it came.
    Other,
}

impl Kind {
    /// Bounded label for metrics.
    #[must_use]
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::KeyDenied => "key_denied",
            Self::KeyUnusable => "key_unusable",
            Self::WrongState => "wrong_state",
            Self::Parameter => "parameter",
            Self::Exists => "exists",
            Self::Limit => "limit",
            Self::BadCredentials => "bad_credentials",
            Self::NoCredentials => "no_credentials",
            Self::RoleDenied => "role_denied",
            Self::CredentialsSilent => "credentials_silent",
            Self::Throttled => "throttled",
            Self::ServerFault => "server_fault",
            Self::NoAnswer => "no_answer",
            Self::Unreachable => "unreachable",
            Self::Untrusted => "untrusted",
            Self::NotAws => "not_aws",
            Self::NotSent => "not_sent",
            Self::Other => "other",
        }
    }

    /// Whether it may pass without anybody's doing, or a write may have been made all the same. Else AWS has refused
    /// the call and nothing was changed.
    #[must_use]
    pub(super) fn passes(self) -> bool {
        match self {
            Self::CredentialsSilent
            | Self::Throttled
            | Self::ServerFault
            | Self::NoAnswer
            | Self::Unreachable
            | Self::NotAws => true,
            Self::NotFound
            | Self::Denied
            | Self::KeyDenied
            | Self::KeyUnusable
            | Self::WrongState
            | Self::Parameter
            | Self::Exists
            | Self::Limit
            | Self::BadCredentials
            | Self::NoCredentials
            | Self::RoleDenied
            | Self::Untrusted
            | Self::NotSent
            | Self::Other => false,
        }
    }
}

impl From<Kind> for Failure {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            code: None,
            request: None,
            principal: None,
        }
    }
}

impl Failure {
    /// Why a call failed.
    pub(super) fn of<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata,
    {
        match error {
            SdkError::ServiceError(answer) => Self::said(answer.err().meta(), answer.raw().status().as_u16()),
            SdkError::ResponseError(answer) => {
                let status = answer.raw().status().as_u16();
                Self {
                    code: Some(format!("HTTP {status}")),
                    ..Self::from(if status >= 500 {
                        Kind::ServerFault
                    } else {
                        Kind::NotAws
                    })
                }
            }
            SdkError::TimeoutError(_) => Kind::NoAnswer.into(),
            SdkError::DispatchFailure(way) => {
                let cause = way.as_connector_error().and_then(Error::source);
                match cause.and_then(|cause| cause.downcast_ref()) {
                    Some(error) => Self::of_credentials(error),
                    None if way.is_timeout() => Kind::NoAnswer.into(),
                    None if cause.is_some_and(is_tls) => Kind::Untrusted.into(),
                    None if way.is_io() => Kind::Unreachable.into(),
                    None => Self::from(before_the_call(cause)),
                }
            }
            SdkError::ConstructionFailure(_) | _ => Kind::NotSent.into(),
        }
    }

    /// AWS has answered.
    fn said(said: &ErrorMetadata, status: u16) -> Self {
        let message = said.message().unwrap_or_default();
        // AWS always gives a code; proxies do not.
        let known = said.code().map_or(Kind::NotAws, |code| row(code, message));
        // Of a code that is not in the table, the status tells whose fault it was.
        let unknown = [Kind::Other, Kind::NotAws].contains(&known);
        let kind = match status {
            500.. if unknown => Kind::ServerFault,
            429 if unknown => Kind::Throttled,
            _ => known,
        };
        Self {
            kind,
            code: said.code().and_then(word),
            request: said.request_id().and_then(word),
            principal: principal(message),
        }
    }

    /// There are no credentials to call with.
    fn of_credentials(error: &CredentialsError) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(said) = error.downcast_ref::<ErrorMetadata>() {
                let failure = Self::said(said, 0);
                return Self {
                    kind: if failure.kind.passes() {
                        Kind::CredentialsSilent
                    } else {
                        Kind::RoleDenied
                    },
                    ..failure
                };
            }
            cause = error.source();
        }
        match error {
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
                Kind::NoCredentials.into()
            }
            CredentialsError::ProviderTimedOut(_)
            | CredentialsError::ProviderError(_)
            | CredentialsError::Unhandled(_)
            | _ => Kind::CredentialsSilent.into(),
        }
    }
}

/// Whether it was TLS that failed. An I/O error hides what it wraps from those who ask it for its source.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    });
    chain.any(<dyn Error>::is::<rustls::Error>)
}

/// No call was made. The SDK has no type for it when credentials take too long, only a constant text.
fn before_the_call(cause: Option<&(dyn Error + 'static)>) -> Kind {
    let late = |cause: &(dyn Error + 'static)| cause.to_string().starts_with("identity resolver timed out");
    if cause.is_some_and(late) {
        Kind::CredentialsSilent
    } else {
        Kind::NotSent
    }
}

/// The codes that Secrets Manager documents for the calls made here, those that every AWS service documents, and those
/// of the services that give out credentials. Of the message only one sentence is looked at, which AWS documents:
/// "Access to KMS is not allowed".
fn row(code: &str, message: &str) -> Kind {
    match code {
        "ResourceNotFoundException" => Kind::NotFound,
        "AccessDeniedException" | "AccessDenied" if message.contains("KMS") => Kind::KeyDenied,
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" => Kind::Denied,
        "DecryptionFailure"
        | "DecryptionFailureException"
        | "EncryptionFailure"
        | "EncryptionFailureException" => Kind::KeyUnusable,
        "InvalidRequestException" => Kind::WrongState,
        "InvalidParameterException"
        | "InvalidParameterCombination"
        | "InvalidParameterValue"
        | "ValidationError"
        | "ValidationException"
        | "SerializationException" => Kind::Parameter,
        "ResourceExistsException" => Kind::Exists,
        "LimitExceededException" => Kind::Limit,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Kind::BadCredentials,
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "TooManyRequestsException" => Kind::Throttled,
        "InternalFailure"
        | "InternalServerError"
        | "InternalServiceError"
        | "InternalServiceErrorException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException" => Kind::ServerFault,
        _ => Kind::Other,
    }
}

/// A code or an id, when it looks like one.
fn word(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!text.is_empty() && text.len() <= 64 && text.chars().all(plain)).then(|| text.to_owned())
}

/// Who was denied: `User: arn:aws:sts::123456789012:assumed-role/tandem/x is not authorized to perform: …`.
fn principal(message: &str) -> Option<String> {
    let name = message.strip_prefix("User: ")?.split_whitespace().next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/+=,@".contains(c);
    (name.starts_with("arn:") && name.len() <= 256 && name.chars().all(plain)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str, message: &str, status: u16) -> Failure {
        let said = ErrorMetadata::builder().code(code).message(message).build();
        Failure::said(&said, status)
    }

    #[test]
    fn fm33_every_row_of_the_table() {
        let table = [
            ("ResourceNotFoundException", 400, Kind::NotFound),
            ("AccessDeniedException", 400, Kind::Denied),
            ("AccessDenied", 403, Kind::Denied),
            ("DecryptionFailure", 400, Kind::KeyUnusable),
            ("EncryptionFailure", 400, Kind::KeyUnusable),
            ("InvalidRequestException", 400, Kind::WrongState),
            ("InvalidParameterException", 400, Kind::Parameter),
            ("ValidationException", 400, Kind::Parameter),
            ("ResourceExistsException", 400, Kind::Exists),
            ("LimitExceededException", 400, Kind::Limit),
            ("ExpiredTokenException", 400, Kind::BadCredentials),
            ("UnrecognizedClientException", 400, Kind::BadCredentials),
            ("InvalidSignatureException", 400, Kind::BadCredentials),
            ("ThrottlingException", 400, Kind::Throttled),
            ("TooManyRequestsException", 429, Kind::Throttled),
            ("InternalServiceError", 500, Kind::ServerFault),
            ("ServiceUnavailable", 503, Kind::ServerFault),
            ("SomethingNew", 400, Kind::Other),
            ("SomethingNew", 429, Kind::Throttled),
            ("SomethingNew", 502, Kind::ServerFault),
        ];
        for (code, status, kind) in table {
            let failure = said(code, "", status);
            assert_eq!((failure.kind, failure.code.as_deref()), (kind, Some(code)));
        }
        let kms = said("AccessDeniedException", "Access to KMS is not allowed", 400);
        assert_eq!(kms.kind, Kind::KeyDenied);
        let nobody = Failure::said(&ErrorMetadata::builder().build(), 403);
        assert_eq!(nobody.kind, Kind::NotAws, "a proxy");
    }

    #[test]
    fn fm28_of_a_message_nothing_is_repeated_but_who_was_denied() {
        let arn = "arn:aws:sts::123456789012:assumed-role/tandem/tandem";
        let cases = [
            (format!("User: {arn} is not authorized to perform: x"), Some(arn)),
            ("User: hunter2 is not authorized".to_owned(), None),
            ("User: arn:<hunter2> is not authorized".to_owned(), None),
            (
                format!("Value '{{\"password\":\"hunter2\"}}' of User: {arn}"),
                None,
            ),
        ];
        for (message, principal) in cases {
            let failure = said("AccessDeniedException", &message, 400);
            assert_eq!(failure.principal.as_deref(), principal, "{message}");
        }
        let code = said("{\"password\":\"hunter2\"}", "", 400).code;
        assert_eq!(code, None, "what is no word is not repeated");
    }

    #[test]
    fn what_may_have_been_done_is_never_called_refused() {
        let unclear = [
            Kind::Throttled,
            Kind::ServerFault,
            Kind::NoAnswer,
            Kind::Unreachable,
            Kind::NotAws,
        ];
        assert!(unclear.into_iter().all(Kind::passes));
    }
}
