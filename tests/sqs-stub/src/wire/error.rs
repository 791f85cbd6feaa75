//! SQS's errors: a status, a type in the body, and the code of the old query protocol in a header,
//! which some SDKs show instead of the type.

use crate::fault::Refusal;
use crate::queue::Useless;

/// A call that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) status: u16,
    /// The full name of the type, namespace included.
    kind: &'static str,
    /// For the header `x-amzn-query-error`.
    pub(crate) query_code: Option<&'static str>,
    message: String,
}

impl Error {
    fn sender(kind: &'static str, query_code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, kind, query_code: Some(query_code), message: message.into() }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::json!({"__type": self.kind, "message": self.message}).to_string().into_bytes()
    }

    pub(crate) fn no_such_queue() -> Self {
        Self::sender(
            "com.amazonaws.sqs#QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue;Sender",
            "The specified queue does not exist.",
        )
    }

    pub(crate) fn empty_batch() -> Self {
        Self::sender(
            "com.amazonaws.sqs#EmptyBatchRequest",
            "AWS.SimpleQueueService.EmptyBatchRequest;Sender",
            "There should be at least one entry in the request.",
        )
    }

    pub(crate) fn too_many_entries(count: usize) -> Self {
        Self::sender(
            "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest;Sender",
            format!("Maximum number of entries per request are 10. You have sent {count}."),
        )
    }

    pub(crate) fn ids_not_distinct(id: &str) -> Self {
        Self::sender(
            "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct;Sender",
            format!("Id {id} repeated."),
        )
    }

    pub(crate) fn invalid_entry_id() -> Self {
        Self::sender(
            "com.amazonaws.sqs#InvalidBatchEntryId",
            "AWS.SimpleQueueService.InvalidBatchEntryId;Sender",
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
        )
    }

    pub(crate) fn out_of_range(name: &str, value: i64, from: i64, to: i64) -> Self {
        Self::invalid(format!(
            "Value {value} for parameter {name} is invalid. Reason: Must be between {from} and {to}, if provided."
        ))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::sender(
            "com.amazonaws.sqs#InvalidParameterValueException",
            "InvalidParameterValue;Sender",
            message,
        )
    }

    pub(crate) fn missing(name: &str) -> Self {
        Self::sender(
            "com.amazonaws.sqs#MissingRequiredParameterException",
            "MissingParameter;Sender",
            format!("The request must contain the parameter {name}."),
        )
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::sender(
            "com.amazonaws.sqs#UnsupportedOperation",
            "AWS.SimpleQueueService.UnsupportedOperation;Sender",
            message,
        )
    }

    pub(crate) fn malformed(error: &serde_json::Error) -> Self {
        Self {
            status: 400,
            kind: "com.amazon.coral.service#SerializationException",
            query_code: None,
            message: error.to_string(),
        }
    }

    pub(crate) fn useless(useless: Useless) -> Self {
        let FailedEntry { code, message } = FailedEntry::useless(useless);
        match useless {
            Useless::Invalid => Self::sender(
                "com.amazonaws.sqs#ReceiptHandleIsInvalid",
                "ReceiptHandleIsInvalid;Sender",
                message,
            ),
            Useless::NotInFlight => Self::sender(
                "com.amazonaws.sqs#MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight;Sender",
                message,
            ),
            Useless::NotAvailable => Self::invalid(format!("{code}: {message}")),
        }
    }

    pub(crate) fn refusal(refusal: Refusal) -> Self {
        let (status, kind, query_code, message) = match refusal {
            Refusal::AccessDenied => (
                403,
                "com.amazon.coral.service#AccessDeniedException",
                None,
                "User is not authorized to perform this action.",
            ),
            Refusal::InternalFailure => (
                500,
                "com.amazon.coral.service#InternalFailure",
                None,
                "The request processing has failed because of an unknown error.",
            ),
            Refusal::Throttled => (
                400,
                "com.amazonaws.sqs#RequestThrottled",
                Some("RequestThrottled;Sender"),
                "The request was denied due to request throttling.",
            ),
            Refusal::OverLimit => (
                400,
                "com.amazonaws.sqs#OverLimit",
                Some("OverLimit;Sender"),
                "The maximum number of in flight messages is reached.",
            ),
            Refusal::NoSuchQueue => return Self::no_such_queue(),
            Refusal::ExpiredToken => (
                403,
                "com.amazon.coral.service#ExpiredToken",
                None,
                "The security token included in the request is expired",
            ),
            Refusal::Skewed => (
                403,
                "com.amazon.coral.service#InvalidSignatureException",
                None,
                "Signature expired",
            ),
        };
        Self { status, kind, query_code, message: message.to_owned() }
    }
}

/// An entry of a batch that is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailedEntry {
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

impl FailedEntry {
    pub(crate) fn useless(useless: Useless) -> Self {
        match useless {
            Useless::Invalid => Self {
                code: "ReceiptHandleIsInvalid",
                message: "The input receipt handle is invalid.",
            },
            Useless::NotInFlight => Self {
                code: "AWS.SimpleQueueService.MessageNotInflight",
                message: "The specified message isn't in flight.",
            },
            Useless::NotAvailable => Self {
                code: "InvalidParameterValue",
                message: "Message does not exist or is not available for visibility timeout change.",
            },
        }
    }
}
