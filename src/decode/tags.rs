//! The message tags that reports keep.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::json::Object;
use super::text::{self, shorten};
use crate::row::Tags;

/// Most tags of a report: every row of a batch holds its values.
const MOST_TAGS: usize = 10;
/// Most characters of a name, as in SES.
const MOST_NAME: usize = 256;

/// The names of the message tags that reports keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReportTags(BTreeSet<String>);

impl FromStr for ReportTags {
    type Err = String;

    /// Reads names that are separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let names: BTreeSet<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.contains("") {
            return Err("a name is empty; separate names by one comma".to_owned());
        }
        if names.iter().any(|name| name.chars().count() > MOST_NAME) {
            return Err(format!("a name has more than {MOST_NAME} characters"));
        }
        if names.len() > MOST_TAGS {
            return Err(format!("more than {MOST_TAGS} tags"));
        }
        Ok(Self(names))
    }
}

impl ReportTags {
    /// Their values among the tags of a mail, the first value of each.
    pub(super) fn among(&self, tags: Option<&Object<'_>>) -> Option<Tags> {
        let tags = tags.filter(|_| !self.0.is_empty())?;
        let value = |name: &str| {
            let value = tags.get(name)?.first_non_empty_str()?;
            Some(shorten(&value, text::LABEL).into_owned())
        };
        let kept = self.0.iter().filter_map(|name| Some((name.clone(), value(name)?)));
        Some(Tags(kept.collect())).filter(|tags| !tags.0.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::json::Json;

    fn among(names: &str, tags: &str) -> Option<String> {
        let names: ReportTags = names.parse().expect("names of tags");
        let tags = Json::parse(tags).expect("JSON").as_object();
        names.among(tags.as_ref()).map(|tags| tags.to_json())
    }

    #[test]
    fn lists_are_read_and_wrong_ones_say_what_is_wrong() {
        let names = |text: &str| text.parse::<ReportTags>();
        assert_eq!(names("campaign, variant,campaign"), names("variant,campaign"));
        let ten: Vec<_> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(names(&ten.join(",")).map(|names| names.0.len()), Ok(10));
        for (wrong, says) in [
            (format!("{},ten", ten.join(",")), "more than 10 tags"),
            ("campaign,,variant".to_owned(), "empty"),
            ("campaign,".to_owned(), "empty"),
            (" ".to_owned(), "empty"),
            ("x".repeat(257), "256 characters"),
        ] {
            assert!(names(&wrong).is_err_and(|error| error.contains(says)), "{wrong}");
        }
    }

    #[test]
    fn the_tags_that_are_named_are_kept_with_their_first_values() {
        let tags = r#"{"campaign": ["spring", "summer"], "Variant": ["b"], "ses:tenant-name": ["t-1"], "other": ["x"]}"#;
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(among("campaign,variant", tags), some(r#"{"campaign":"spring"}"#));
        assert_eq!(among("ses:tenant-name", tags), some(r#"{"ses:tenant-name":"t-1"}"#));
        assert_eq!(among("absent", tags), None);
        assert_eq!(among("campaign", r#"{"campaign": [" "]}"#), None);
        assert_eq!(
            among("a,b,c", r#"{"a": "plain", "b": [], "c": [1]}"#),
            some(r#"{"a":"plain"}"#)
        );
        let long = "x".repeat(201);
        let short = shorten(&long, text::LABEL);
        assert_eq!(
            among("a", &format!(r#"{{"a": ["{long}"]}}"#)),
            some(&format!(r#"{{"a":"{short}"}}"#))
        );
    }
}
