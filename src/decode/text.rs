//! Text as the tables can hold it.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub(crate) use crate::row::columns::KIND;
pub use crate::row::columns::{ADDRESS, LABEL, MESSAGE_ID, SUBJECT};

/// Hex digits of the hash that ends a shortened value.
const HASH_DIGITS: usize = 16;

/// A value of at most `most` characters (as PostgreSQL's `varchar` counts them): itself, or its
/// start, `~`, and 16 hex digits of the SHA-256 of the whole, so that two long values never meet
/// and each can still be found. The SQL function `aws_report_shorten` computes the same.
#[must_use]
pub fn shorten(value: &str, most: usize) -> Cow<'_, str> {
    // A byte is at least as long as a character, so most values need no count.
    if value.len() <= most || value.chars().count() <= most {
        return Cow::Borrowed(value);
    }
    let mut short: String = value.chars().take(most - HASH_DIGITS - 1).collect();
    short.push('~');
    for byte in Sha256::digest(value.as_bytes()).iter().take(HASH_DIGITS / 2) {
        // Writing to a String cannot fail.
        let _ = write!(short, "{byte:02x}");
    }
    Cow::Owned(short)
}

/// U+0000, which neither `text` nor `jsonb` can hold, becomes U+FFFD in every string and key.
pub(crate) fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) => {
            if text.contains('\0') {
                *text = text.replace('\0', "\u{fffd}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(map) => {
            if map.keys().any(|key| key.contains('\0')) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(key, item)| (key.replace('\0', "\u{fffd}"), item))
                    .collect();
            }
            map.values_mut().for_each(replace_nul);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces escapes that PostgreSQL cannot hold by `\ufffd`: U+0000, and `\ud800`-like halves that
/// are no part of a pair (a sender that cuts a subject through an emoji produces them). Strict JSON
/// readers refuse the whole text for the latter.
#[must_use]
pub(crate) fn repair_escapes(json: &str) -> Cow<'_, str> {
    let is_suspect = |(at, _): (usize, &str)| {
        matches!(
            json.as_bytes().get(at + 2..at + 6),
            Some(b"0000" | [b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', _, _])
        )
    };
    if json.match_indices("\\u").any(is_suspect) {
        Cow::Owned(repaired(json))
    } else {
        Cow::Borrowed(json)
    }
}

fn repaired(json: &str) -> String {
    let mut repaired = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        repaired.push_str(before);
        let taken = match (surrogate(escape), surrogate(escape.get(6..).unwrap_or(""))) {
            (Some(Half::High), Some(Half::Low)) => 12,
            (Some(_), _) => {
                repaired.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            (None, _) if escape.starts_with("\\u0000") => {
                repaired.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            // An escape and what it escapes stay together, so that `\\ud800` is left alone.
            (None, _) => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        repaired.push_str(&escape[..taken]);
        rest = &escape[taken..];
    }
    repaired.push_str(rest);
    repaired
}

enum Half {
    High,
    Low,
}

fn surrogate(escape: &str) -> Option<Half> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::High),
        0xdc00..=0xdfff => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn short_values_stay() {
        assert_eq!(shorten("é".repeat(200).as_str(), SUBJECT), "é".repeat(200));
    }

    proptest! {
        #[test]
        fn shortened_values_fit_and_differ(a in "\\PC{101,300}", b in "\\PC{101,300}") {
            let (short_a, short_b) = (shorten(&a, ADDRESS), shorten(&b, ADDRESS));
            prop_assert_eq!(short_a.chars().count(), ADDRESS);
            prop_assert_eq!(a == b, short_a == short_b);
        }

        #[test]
        fn repairing_leaves_good_json_alone(text in "[^\0]*") {
            let json = json!([text]).to_string();
            prop_assert_eq!(repaired(&json), json);
        }

        #[test]
        fn what_is_suspect_is_found(text in "(\\\\|\\\\u0000|\\\\ud83d|\\\\ude00|\\\\n|u0000|x)*") {
            prop_assert_eq!(repair_escapes(&text), repaired(&text));
        }
    }

    #[test]
    fn nul_is_replaced_everywhere() {
        let mut value = json!({"a\0": ["b\0", {"c": "\0"}], "d": 1});
        replace_nul(&mut value);
        assert_eq!(value, json!({"a\u{fffd}": ["b\u{fffd}", {"c": "\u{fffd}"}], "d": 1}));
    }

    #[test]
    fn nul_and_lone_surrogates_are_repaired_and_pairs_kept() {
        for (json, repaired) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\udc00\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d \" \ud83dx""#, r#""\\ud83d \" \ufffdx""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""a\u0000\\u0000\\\u0000""#, r#""a\ufffd\\u0000\\\ufffd""#),
        ] {
            assert_eq!(repair_escapes(json), repaired);
        }
    }
}
