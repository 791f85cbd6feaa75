//! How much of the link of a click is kept: it may hold credentials.

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::json::{Json, Object, Writer};
use super::kind::{self, Kind};
use crate::row::Milestone;

const LINK: &str = "link";
/// The event's own object of a click, folded.
const CLICK: &str = "click";

/// How much of a click's link the details keep. Their ids are computed from the whole link in any case, so
/// that the same click has the same id under every setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClickLinks {
    /// As SES sends it
    #[default]
    Whole,
    /// Without query, fragment, user and password
    NoQuery,
    /// Not at all
    None,
}

impl ClickLinks {
    /// The fields of an event's object in which links have to be changed; `None` if it stays as it is.
    pub(super) fn fields<'a>(self, kind: &Kind, key: &str, value: Json<'a>) -> Option<Object<'a>> {
        if self == Self::Whole || !may_hold_link(kind, key) { None } else { value.as_object() }
    }

    /// Writes a field of such an object.
    pub(super) fn write(self, fields: &mut Writer, key: &str, value: Json<'_>) {
        if key != LINK {
            fields.field(key, value);
        } else if let Some(kept) = value.as_str().and_then(|link| self.kept(&link)) {
            fields.string(key, &kept);
        }
    }

    /// The same for an event that a table holds which was created by hand, whose fields may have lost the
    /// object around them.
    pub(super) fn apply(self, kind: &Kind, info: &mut Map<String, Value>) {
        if self == Self::Whole {
            return;
        }
        for (key, value) in &mut *info {
            if let Some(object) = value.as_object_mut().filter(|_| may_hold_link(kind, key)) {
                self.apply_to(object);
            }
        }
        if is_click(kind) {
            self.apply_to(info);
        }
    }

    fn apply_to(self, object: &mut Map<String, Value>) {
        if let Some(link) = object.remove(LINK)
            && let Some(kept) = link.as_str().and_then(|link| self.kept(link))
        {
            object.insert(LINK.to_owned(), kept.into());
        }
    }

    /// What is kept of a link.
    fn kept(self, link: &str) -> Option<String> {
        match self {
            Self::Whole => Some(link.to_owned()),
            Self::NoQuery => Some(without_query(link)),
            Self::None => None,
        }
    }
}

fn is_click(kind: &Kind) -> bool {
    *kind == Kind::Known(Milestone::Click)
}

/// Whether an object of an event may hold the link of a click.
fn may_hold_link(kind: &Kind, key: &str) -> bool {
    is_click(kind) || kind::folded(key) == CLICK
}

/// A link without query and fragment, and without user and password. The rest stays as it is written:
/// a parser would refuse what is no URL, and write another form of what is one. In doubt more is left out:
/// without `//` a scheme and a user look alike.
fn without_query(link: &str) -> String {
    let link = link.split(['?', '#']).next().unwrap_or_default();
    let is_slash = |char| matches!(char, '/' | '\\');
    let before_slash = link.split(is_slash).next().unwrap_or_default();
    let scheme_len = match before_slash.split_once(':') {
        Some(_) if before_slash.len() < link.len() && before_slash.ends_with(':') => {
            before_slash.len()
        }
        Some((scheme, _)) if is_web(scheme) => scheme.len() + 1,
        _ => 0,
    };
    let (scheme, rest) = link.split_at(scheme_len);
    let after_slashes = rest.trim_start_matches(is_slash);
    let (slashes, after_slashes) = rest.split_at(rest.len() - after_slashes.len());
    let end = after_slashes.find(is_slash).unwrap_or(after_slashes.len());
    let (authority, path) = after_slashes.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    [scheme, slashes, host, path].concat()
}

/// A scheme that browsers read without slashes too.
fn is_web(scheme: &str) -> bool {
    ["http", "https"].iter().any(|web| scheme.trim().eq_ignore_ascii_case(web))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn query_fragment_user_and_password_are_left_out_of_any_link() {
        for (link, kept) in [
            ("https://shop.example/a/b?token=x&y=1#top", "https://shop.example/a/b"),
            ("https://shop.example/a#token=x?y", "https://shop.example/a"),
            ("https://shop.example?token=x", "https://shop.example"),
            ("https://jane:s3cret@shop.example:8443/a", "https://shop.example:8443/a"),
            ("https://jane@s3cret@shop.example", "https://shop.example"),
            ("HTTPS://s3cret@shop.example/@jane", "HTTPS://shop.example/@jane"),
            (r"https:\\jane:s3cret@shop.example\a?b", r"https:\\shop.example\a"),
            ("https:/jane:s3cret@shop.example/a", "https:/shop.example/a"),
            ("https:jane:s3cret@shop.example/a", "https:shop.example/a"),
            ("//jane:s3cret@shop.example/a", "//shop.example/a"),
            ("jane:s3cret@shop.example/a?b", "shop.example/a"),
            ("jane:s3cret/x@shop.example", "jane:s3cret/x@shop.example"),
            ("shop.example/a:b?token=x", "shop.example/a:b"),
            ("app:open?token=x", "app:open"),
            ("mailto:jane@example.com?subject=x", "example.com"),
            ("?token=x", ""),
            ("#", ""),
            ("", ""),
            ("https://b\u{fc}cher.example/\u{e9}?\u{e9}", "https://b\u{fc}cher.example/\u{e9}"),
        ] {
            assert_eq!(without_query(link), kept, "{link}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_is_left_out_of_a_url(
            scheme in "[a-z][a-z0-9+.-]{0,9}", user in "([^/\\\\?#]{0,9}@)?", host in "[a-z0-9.-]{1,9}(:[0-9]{1,4})?",
            path in "(/[^?#\0]{0,20})?", query in "(\\?[^#]{0,20})?", fragment in "(#.{0,20})?",
        ) {
            let kept = without_query(&format!("{scheme}://{user}{host}{path}{query}{fragment}"));
            prop_assert_eq!(kept, format!("{scheme}://{host}{path}"));
        }

        #[test]
        fn whatever_a_link_is_no_query_and_no_user_stay(link in "\\PC{0,40}|[a-z:/@?#\\\\]{0,20}") {
            let kept = without_query(&link);
            prop_assert!(!kept.contains(['?', '#']), "{}", kept);
            // A URL with a scheme and a host.
            let before_slash = kept.split(['/', '\\']).next().unwrap_or_default();
            if before_slash.ends_with(':') {
                let after = kept[before_slash.len()..].trim_start_matches(['/', '\\']);
                let host = after.split(['/', '\\']).next().unwrap_or_default();
                prop_assert!(!host.contains('@'), "{}", kept);
            }
        }
    }

    #[test]
    fn rows_of_tables_created_by_hand_lose_it_wherever_it_is() {
        let click = Kind::from_name("click");
        let changed = |links: ClickLinks, kind: &Kind, info: Value| {
            let Value::Object(mut info) = info else { panic!("an object") };
            links.apply(kind, &mut info);
            Value::Object(info)
        };
        let link = "https://shop.example/a?token=x";
        for (info, no_query, none) in [
            (
                json!({"click": {"link": link, "linkTags": null}}),
                json!({"click": {"link": "https://shop.example/a", "linkTags": null}}),
                json!({"click": {"linkTags": null}}),
            ),
            (json!({"link": link}), json!({"link": "https://shop.example/a"}), json!({})),
            (json!({"link": [link]}), json!({}), json!({})),
        ] {
            assert_eq!(changed(ClickLinks::Whole, &click, info.clone()), info);
            assert_eq!(changed(ClickLinks::NoQuery, &click, info.clone()), no_query);
            assert_eq!(changed(ClickLinks::None, &click, info), none);
        }
        let other = json!({"link": link, "Click": {"link": link}});
        let kept = json!({"link": link, "Click": {}});
        assert_eq!(changed(ClickLinks::None, &Kind::from_name("Open"), other), kept);
    }
}
