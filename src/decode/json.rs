//! JSON that stays text: values are slices of the body, split into fields and items only when
//! they are read, and strings are copied only where they hold escapes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Checks that a text is one JSON value. Unlike `serde_json::Value` it may nest as deep as it likes.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Self(raw.get()))
    }

    /// The value as it is written, without white space around it.
    pub(super) fn as_written(self) -> &'a str {
        self.0
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(super) fn is_string(self) -> bool {
        self.0.starts_with('"')
    }

    pub(super) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    pub(super) fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// The value of a string.
    pub(super) fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            unescaped(inner).map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        }
    }

    /// A string that says something: trimmed, and `None` where nothing is left.
    pub(super) fn non_empty_str(self) -> Option<Cow<'a, str>> {
        let text = match self.as_str()? {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        };
        (!text.is_empty()).then_some(text)
    }

    /// The fields of an object.
    pub(super) fn as_object(self) -> Option<Object<'a>> {
        if self.is_object() { serde_json::from_str(self.0).ok() } else { None }
    }

    /// The items of an array.
    pub(super) fn as_array(self) -> Option<Vec<Json<'a>>> {
        if !self.is_array() {
            return None;
        }
        let items: Vec<&RawValue> = serde_json::from_str(self.0).ok()?;
        Some(items.into_iter().map(|item| Self(item.get())).collect())
    }

    /// A string, or the first of a list: tags are lists of one string.
    pub(super) fn first_non_empty_str(self) -> Option<Cow<'a, str>> {
        if self.is_array() {
            self.as_array()?.first()?.non_empty_str()
        } else {
            self.non_empty_str()
        }
    }
}

/// The fields of an object, in the order of the text. If several have the same name, the last one counts,
/// as for PostgreSQL's `jsonb`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    pub(super) fn get(&self, key: &str) -> Option<Json<'a>> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// A field whose value is a string that says something.
    pub(super) fn non_empty_str(&self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key)?.non_empty_str()
    }

    pub(super) fn object(&self, key: &str) -> Option<Object<'a>> {
        self.get(key)?.as_object()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(12);
                while let Some((Name(name), value)) =
                    map.next_entry::<Name<'de>, &'de RawValue>()?
                {
                    fields.push((name, Json(value.get())));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Writes an object field by field. Values are taken as they are written.
#[derive(Debug, Clone)]
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes);
        text.push('{');
        Self(text)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == "{"
    }

    /// The fields of another one that is not ended.
    pub(super) fn fields_of(&mut self, other: &Self) {
        if !other.is_empty() {
            if !self.0.ends_with('{') {
                self.0.push(',');
            }
            self.0.push_str(&other.0[1..]);
        }
    }

    pub(super) fn field(&mut self, key: &str, value: Json<'_>) {
        self.key(key);
        self.0.push_str(value.as_written());
    }

    pub(super) fn list<'v>(&mut self, key: &str, items: impl IntoIterator<Item = Json<'v>>) {
        self.key(key);
        self.0.push('[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            self.0.push_str(item.as_written());
        }
        self.0.push(']');
    }

    pub(super) fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quoted(value);
    }

    pub(super) fn yes(&mut self, key: &str) {
        self.key(key);
        self.0.push_str("true");
    }

    pub(super) fn object(&mut self, key: &str, fields: impl FnOnce(&mut Writer)) {
        self.key(key);
        let mut inner = Self(std::mem::take(&mut self.0));
        inner.0.push('{');
        fields(&mut inner);
        self.0 = inner.end();
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn key(&mut self, key: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        self.quoted(key);
        self.0.push(':');
    }

    fn quoted(&mut self, text: &str) {
        let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        if text.bytes().all(plain) {
            self.0.push('"');
            self.0.push_str(text);
            self.0.push('"');
        } else {
            // Display of a JSON string escapes it.
            self.0.push_str(&serde_json::Value::from(text).to_string());
        }
    }
}

/// The most bytes that a text takes as a JSON string.
pub(super) fn quoted_len(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        0..=0x1f => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.bytes().map(escaped).sum::<usize>() + 2
}

/// The text between the quotes of a string, with its escapes resolved; `None` for half a surrogate pair,
/// which is no character. Written into memory of the right size at once: a message is a string in a
/// string, and full of escapes.
fn unescaped(inner: &str) -> Option<String> {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let mut escaped = escape.chars();
        text.push(match escaped.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (character, after) = code_point(escape.get(1..)?)?;
                escaped = after.chars();
                character
            }
            itself => itself,
        });
        rest = escaped.as_str();
    }
    text.push_str(rest);
    Some(text)
}

/// The character that the digits after `\u` name, with those of its second half, and what follows.
fn code_point(digits: &str) -> Option<(char, &str)> {
    let unit = |text: &str| u16::from_str_radix(text.get(..4)?, 16).ok();
    let (first, rest) = (unit(digits)?, digits.get(4..)?);
    if let Some(character) = char::from_u32(first.into()) {
        return Some((character, rest));
    }
    let second = rest.strip_prefix("\\u")?;
    let pair = [first, unit(second)?];
    let character = char::decode_utf16(pair).next()?.ok()?;
    Some((character, second.get(4..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn fields_are_found_and_the_last_of_a_name_counts() {
        let object = Json::parse(r#" {"a": 1, "b\"": "x\n", "a" : [ "y" ]} "#)
            .ok()
            .and_then(Json::as_object)
            .expect("an object");
        assert_eq!(object.get("a").map(Json::as_written), Some(r#"[ "y" ]"#));
        assert_eq!(object.non_empty_str("b\"").as_deref(), Some("x"));
        assert_eq!(object.get("a").and_then(Json::first_non_empty_str).as_deref(), Some("y"));
        assert_eq!(object.get("c"), None);
    }

    #[test]
    fn depth_is_no_limit() {
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(Json::parse(&deep).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "[1,]", "{\"a\":}", "nul", "\"\u{1}\"", "1 2", "\"\\x\""] {
            assert!(Json::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn strings_are_read_as_serde_json_reads_them(
            inner in r#"([a-zé😀]|\\["\\/bfnrt]|\\u00[0-7][0-9a-fA-F]|\\u[dD][89ab][0-9A-F]{2}|\\u[dD][cdef][0-9A-F]{2}){0,12}"#,
        ) {
            let text = format!("\"{inner}\"");
            let read = Json::parse(&text).ok().and_then(Json::as_str).map(Cow::into_owned);
            prop_assert_eq!(read, serde_json::from_str::<String>(&text).ok());
        }

        #[test]
        fn what_is_written_is_read(fields in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..5)) {
            let mut writer = Writer::with_capacity(0);
            for (key, value) in &fields {
                writer.string(key, value);
            }
            writer.object("{}", |inner| inner.yes("{"));
            let text = writer.end();
            let mut expected = json!(fields);
            expected["{}"] = json!({"{": true});
            prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), expected);
            let object = Json::parse(&text).ok().and_then(Json::as_object).expect("an object");
            for (key, value) in fields.iter().filter(|(key, _)| *key != "{}") {
                let read = object.get(key).and_then(Json::as_str);
                prop_assert_eq!(read.as_deref(), Some(value.as_str()));
            }
        }
    }
}
