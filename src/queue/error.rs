//! What the SDK's errors mean to a worker.

use std::error::Error as StdError;

use aws_sdk_sqs::error::{BuildError, ProvideErrorMetadata, SdkError};

use crate::causes;

/// A call to SQS that failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What to do about it.
    pub trouble: Trouble,
    /// One line for a person: SQS's code and message, or the cause below it.
    pub message: String,
}

/// The two classes of errors by what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Time: throttling, 5xx, no connection, no answer.
    Unavailable,
    /// A person: no such queue, no permission, no credentials, a key that cannot be used.
    Refused,
}

impl Error {
    pub(super) fn from_sdk<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
        SdkError<E, R>: StdError,
    {
        let Some(service) = error.as_service_error() else {
            return of_causes(&causes::in_one_line(error));
        };
        let code = service.code().unwrap_or("unknown error");
        let message = match service.message() {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        };
        Self { trouble: trouble_of_code(code), message }
    }

    pub(super) fn silence(patience: std::time::Duration) -> Self {
        let message = format!("no answer within {} s", patience.as_secs());
        Self { trouble: Trouble::Unavailable, message }
    }

    pub(super) fn from_build(error: &BuildError) -> Self {
        Self { trouble: Trouble::Unavailable, message: error.to_string() }
    }
}

/// Everything that is not known to heal is a person's business: it is asked for slowly.
fn trouble_of_code(code: &str) -> Trouble {
    let heals = [
        "Throttl",
        "OverLimit",
        "TooManyRequests",
        "RequestLimitExceeded",
        "SlowDown",
        "Internal",
        "ServiceUnavailable",
        "RequestTimeout",
        "unknown error",
        "ServiceFailure",
        "ServerException",
    ];
    if heals.iter().any(|part| code.contains(part)) {
        Trouble::Unavailable
    } else {
        Trouble::Refused
    }
}

/// What failed before a service could answer. The SDK tells a missing setting by its text alone.
fn of_causes(message: &str) -> Error {
    let refused =
        |mend: &str| Error { trouble: Trouble::Refused, message: format!("{mend} ({message})") };
    if message.contains("missing signing region") {
        refused("no region: set AWS_REGION")
    } else if message.contains("credentials") {
        refused(
            "no credentials: give the worker a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    } else {
        Error { trouble: Trouble::Unavailable, message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fall_into_their_class() {
        for code in [
            "ThrottlingException",
            "RequestThrottled",
            "AWS.SimpleQueueService.OverLimit",
            "OverLimit",
            "InternalFailure",
            "ServiceUnavailable",
        ] {
            assert_eq!(trouble_of_code(code), Trouble::Unavailable, "{code}");
        }
        for code in [
            "AccessDenied",
            "AccessDeniedException",
            "AWS.SimpleQueueService.NonExistentQueue",
            "InvalidClientTokenId",
            "ExpiredToken",
            "KMS.AccessDeniedException",
        ] {
            assert_eq!(trouble_of_code(code), Trouble::Refused, "{code}");
        }
    }
}
