//! What a request says. One shape for all actions: SQS names a thing alike in each.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Deserialize;

use super::error::Error;

/// The most entries of a batch, and the most messages of a receive (SQS API reference).
const MOST: usize = 10;
const LONGEST_WAIT: i64 = 20;
const LONGEST_VISIBILITY: i64 = 43_200;
const LONGEST_DELAY: i64 = 900;

/// The parameters of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Parameters {
    queue_url: Option<String>,
    queue_name: Option<String>,
    pub(crate) attributes: Option<BTreeMap<String, String>>,
    attribute_names: Option<Vec<String>>,
    message_system_attribute_names: Option<Vec<String>>,
    max_number_of_messages: Option<i64>,
    wait_time_seconds: Option<i64>,
    entries: Option<Vec<Entry>>,
    /// A single message is a batch of one, whose fields stand among the others.
    #[serde(skip)]
    pub(crate) single: Entry,
}

/// One message of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) receipt_handle: Option<String>,
    message_body: Option<String>,
    visibility_timeout: Option<i64>,
    delay_seconds: Option<i64>,
    message_attributes: Option<HashMap<String, serde_json::Value>>,
}

impl Parameters {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Error> {
        // Not by serde's `flatten`, which cannot read numbers where serde_json keeps all digits.
        let read = serde_json::from_slice(body).and_then(|mut parameters: Self| {
            if parameters.entries.is_none() {
                parameters.single = serde_json::from_slice(body)?;
            }
            Ok(parameters)
        });
        read.map_err(|error| Error::malformed(&error))
    }

    /// The queue that it is about: the last part of the URL is its name.
    pub(crate) fn queue(&self) -> Result<&str, Error> {
        let url = self.queue_url.as_deref().ok_or_else(|| Error::missing("QueueUrl"))?;
        Ok(url.rsplit('/').next().unwrap_or(url))
    }

    pub(crate) fn queue_name(&self) -> Result<&str, Error> {
        self.queue_name.as_deref().ok_or_else(|| Error::missing("QueueName"))
    }

    /// Attributes of a queue or of messages that are asked for.
    pub(crate) fn wants(&self, attribute: &str) -> bool {
        let names = [&self.attribute_names, &self.message_system_attribute_names];
        names.into_iter().flatten().flatten().any(|name| name == attribute || name == "All")
    }

    pub(crate) fn most(&self) -> Result<usize, Error> {
        let most = in_range("MaxNumberOfMessages", self.max_number_of_messages, 1, 10)?;
        Ok(most.and_then(|most| usize::try_from(most).ok()).unwrap_or(1))
    }

    pub(crate) fn wait(&self) -> Result<Option<Duration>, Error> {
        seconds("WaitTimeSeconds", self.wait_time_seconds, LONGEST_WAIT)
    }

    /// The entries of a batch, once it is found to be a proper one.
    pub(crate) fn batch(&self) -> Result<&[Entry], Error> {
        let entries = self.entries.as_deref().unwrap_or_default();
        if entries.is_empty() {
            return Err(Error::empty_batch());
        }
        if entries.len() > MOST {
            return Err(Error::too_many_entries(entries.len()));
        }
        for (index, entry) in entries.iter().enumerate() {
            let is_proper = (1..=80).contains(&entry.id.len())
                && entry
                    .id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if !is_proper {
                return Err(Error::invalid_entry_id());
            }
            if entries.iter().take(index).any(|other| other.id == entry.id) {
                return Err(Error::ids_not_distinct(&entry.id));
            }
        }
        Ok(entries)
    }

    /// Every entry, of a batch or the single one; unchecked, for scripts.
    pub(crate) fn entries(&self) -> &[Entry] {
        self.entries.as_deref().unwrap_or(std::slice::from_ref(&self.single))
    }
}

impl Entry {
    pub(crate) fn handle(&self) -> Result<&str, Error> {
        self.receipt_handle.as_deref().ok_or_else(|| Error::missing("ReceiptHandle"))
    }

    pub(crate) fn visibility(&self) -> Result<Option<Duration>, Error> {
        seconds("VisibilityTimeout", self.visibility_timeout, LONGEST_VISIBILITY)
    }

    pub(crate) fn delay(&self) -> Result<Option<Duration>, Error> {
        seconds("DelaySeconds", self.delay_seconds, LONGEST_DELAY)
    }

    /// The body to send. Message attributes are refused, since they would be lost.
    pub(crate) fn body(&self) -> Result<&str, Error> {
        if self.message_attributes.as_ref().is_some_and(|attributes| !attributes.is_empty()) {
            return Err(Error::unsupported("the stub keeps no message attributes"));
        }
        let body = self.message_body.as_deref().unwrap_or_default();
        if body.is_empty() { Err(Error::missing("MessageBody")) } else { Ok(body) }
    }
}

fn in_range(name: &str, value: Option<i64>, from: i64, to: i64) -> Result<Option<i64>, Error> {
    match value {
        Some(value) if !(from..=to).contains(&value) => {
            Err(Error::out_of_range(name, value, from, to))
        }
        value => Ok(value),
    }
}

fn seconds(name: &str, value: Option<i64>, to: i64) -> Result<Option<Duration>, Error> {
    let value = in_range(name, value, 0, to)?;
    Ok(value.and_then(|value| u64::try_from(value).ok()).map(Duration::from_secs))
}
