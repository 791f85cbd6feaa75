//! The AWS JSON protocol 1.0 as SQS speaks it.

mod action;
mod answer;
mod error;
mod parameters;

pub use action::Action;
pub(crate) use answer::{Batch, attributes, md5_of_body, messages, queue_url};
pub(crate) use error::{Error, FailedEntry};
pub(crate) use parameters::{Entry, Parameters};
