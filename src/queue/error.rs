//! What the SDK's errors mean to a worker.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{BuildError, ProvideErrorMetadata, SdkError};

use crate::causes;

/// A call to SQS that failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What to do about it.
    pub kind: ErrorKind,
    /// One line for a person: SQS's code and message, or the cause below it.
    pub message: String,
    /// Whether SQS does not accept the credentials, or there are none.
    pub concerns_credentials: bool,
}

/// The two kinds of errors by what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Time: throttling, 5xx, no connection, no answer.
    Transient,
    /// A person: no such queue, no permission, no credentials, a key that cannot be used.
    Permanent,
}

impl Error {
    pub(super) fn from_sdk<E, R: 'static>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
        SdkError<E, R>: StdError,
    {
        let Some(service) = error.as_service_error() else {
            return Self::from_causes(error);
        };
        let code = service.code().unwrap_or("unknown error");
        let message = match service.message() {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        };
        Self { kind: kind_of_code(code), message, concerns_credentials: is_about_credentials(code) }
    }

    /// What failed before a service could answer.
    fn from_causes(error: &(dyn StdError + 'static)) -> Self {
        let message = causes::in_one_line(error);
        match credentials_error(error) {
            Some(
                CredentialsError::CredentialsNotLoaded(_)
                | CredentialsError::InvalidConfiguration(_),
            ) => Self {
                kind: ErrorKind::Permanent,
                message: format!(
                    "no credentials: give the worker a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({message})"
                ),
                concerns_credentials: true,
            },
            // Who gives them does not answer, or not well.
            Some(_) => Self::transient(format!("no credentials yet: {message}")),
            None => Self::transient(message),
        }
    }

    pub(super) fn silence(patience: std::time::Duration) -> Self {
        Self::transient(format!("no answer within {} s", patience.as_secs()))
    }

    pub(super) fn from_build(error: &BuildError) -> Self {
        Self::transient(error.to_string())
    }

    /// A setting that is missing or wrong.
    pub(super) fn setting(message: String) -> Self {
        Self { kind: ErrorKind::Permanent, message, concerns_credentials: false }
    }

    fn transient(message: String) -> Self {
        Self { kind: ErrorKind::Transient, message, concerns_credentials: false }
    }
}

/// That of the credentials' provider, where it is a cause.
fn credentials_error<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e CredentialsError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Everything that is not known to heal is a person's business: it is asked for slowly.
fn kind_of_code(code: &str) -> ErrorKind {
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
        ErrorKind::Transient
    } else {
        ErrorKind::Permanent
    }
}

/// Whether other credentials would help: these are no longer, or never were, good ones.
fn is_about_credentials(code: &str) -> bool {
    [
        "ExpiredToken",
        "InvalidClientTokenId",
        "UnrecognizedClient",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "SignatureDoesNotMatch",
        "InvalidSignature",
        "TokenRefreshRequired",
    ]
    .iter()
    .any(|part| code.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use aws_sdk_sqs::operation::receive_message::ReceiveMessageError;

    #[test]
    fn codes_fall_into_their_kind() {
        for code in [
            "ThrottlingException",
            "RequestThrottled",
            "AWS.SimpleQueueService.OverLimit",
            "OverLimit",
            "InternalFailure",
            "ServiceUnavailable",
        ] {
            assert_eq!(kind_of_code(code), ErrorKind::Transient, "{code}");
            assert!(!is_about_credentials(code), "{code}");
        }
        for (code, other_credentials_help) in [
            ("AccessDenied", false),
            ("AccessDeniedException", false),
            ("AWS.SimpleQueueService.NonExistentQueue", false),
            ("KMS.AccessDeniedException", false),
            ("InvalidClientTokenId", true),
            ("ExpiredToken", true),
            ("ExpiredTokenException", true),
            ("UnrecognizedClientException", true),
        ] {
            assert_eq!(kind_of_code(code), ErrorKind::Permanent, "{code}");
            assert_eq!(is_about_credentials(code), other_credentials_help, "{code}");
        }
    }

    #[test]
    fn credentials_that_come_late_are_waited_for_and_missing_ones_are_a_persons_business() {
        let kind = |error: CredentialsError| {
            let error: SdkError<ReceiveMessageError> = SdkError::construction_failure(error);
            Error::from_sdk(&error).kind
        };
        for late in [
            CredentialsError::provider_timed_out(Duration::from_secs(5)),
            CredentialsError::provider_error("the credentials endpoint says 503"),
            CredentialsError::unhandled("its answer is no JSON"),
        ] {
            let text = late.to_string();
            assert_eq!(kind(late), ErrorKind::Transient, "{text}");
        }
        for missing in [
            CredentialsError::not_loaded("no providers in chain provided credentials"),
            CredentialsError::invalid_configuration("the profile refers to itself"),
        ] {
            let text = missing.to_string();
            assert_eq!(kind(missing), ErrorKind::Permanent, "{text}");
        }
    }
}
