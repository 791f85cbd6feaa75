//! A body in the forms that answers carry.

use bytes::Bytes;
use md5::{Digest as _, Md5};

/// A message body, escaped and digested once, when it is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    json: Bytes,
    md5: String,
}

impl Body {
    /// Takes a body as the sender wrote it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        // Writing a string cannot fail: it has no keys that are no strings.
        let json = serde_json::to_vec(text).unwrap_or_default();
        Self { json: Bytes::from(json), md5: hex(&Md5::digest(text.as_bytes())) }
    }

    /// As a JSON string, quotes included.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// `MD5OfBody`, in hexadecimal: most SDKs compare it (Rust's does not).
    #[must_use]
    pub fn md5(&self) -> &str {
        &self.md5
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_what_was_sent_and_the_json_says_the_same() {
        let body = Body::new("{\"a\": \"ß\n\"}");
        assert_eq!(body.md5().len(), 32);
        assert_eq!(Body::new("hello").md5(), "5d41402abc4b2a76b9719d911017c592");
        let text: String = serde_json::from_slice(body.json()).expect("a string");
        assert_eq!(text, "{\"a\": \"ß\n\"}");
    }
}
