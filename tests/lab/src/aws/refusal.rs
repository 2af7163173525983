//! The errors of the service, by their documented names and, where they are known, with the service's own words.

use std::fmt;

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The name that clients tell errors by.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// The status of the answer, as in HTTP.
    pub(super) status: u16,
}

pub(super) type Outcome<T> = Result<T, Refusal>;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Almost everything is refused with status 400, even what is not found or not allowed.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            status: 400,
        }
    }

    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    pub(super) fn no_such_secret() -> Self {
        Self::not_found("Secrets Manager can't find the specified secret.")
    }

    pub(super) fn exists(message: impl Into<String>) -> Self {
        Self::new("ResourceExistsException", message)
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new("InvalidRequestException", message)
    }

    pub(super) fn marked_for_deletion() -> Self {
        Self::invalid_request(
            "You can't perform this operation on the secret because it was marked for deletion.",
        )
    }

    pub(super) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", message)
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new("LimitExceededException", message)
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", message)
    }

    /// A parameter outside the limits that its page gives; the value is never repeated.
    pub(super) fn constraint(parameter: &str, constraint: &str) -> Self {
        Self::new(
            "ValidationException",
            format!(
                "1 validation error detected: Value at '{parameter}' failed to satisfy constraint: Member must {constraint}"
            ),
        )
    }

    pub(super) fn throttled() -> Self {
        Self::new("ThrottlingException", "Rate exceeded")
    }

    pub(super) fn internal() -> Self {
        Self::new(
            "InternalServiceError",
            "The service encountered an internal error. Retry your request.",
        )
        .with_status(500)
    }

    /// What the real service knows and this one does not: said aloud, so that nobody takes silence for an answer.
    pub(super) fn not_emulated(what: &str) -> Self {
        Self::new(
            "NotEmulated",
            format!("the lab's Secrets Manager does not know {what}"),
        )
    }
}
