//! The one form in which recipients are compared.
//!
//! SES passes on what other systems wrote: display names, comments, the types of delivery reports,
//! groups, quotes that were escaped once too often, invisible characters. All of that is removed. The
//! SQL function `aws_report_address` does the same, step by step; an integration test compares them.

use super::domain;

/// Characters that end no domain, and that sentences and lists leave behind addresses.
const TRAILING: &str = "!\"#$%&'()*+,-./:;<=>?[\\]^_`{|}~\u{ab}\u{bb}\u{2018}\u{2019}\u{201c}\u{201d}\u{201e}\u{2026}\u{3001}\u{3002}\u{ff0c}\u{ff1b}";
/// Quotation marks that begin no local part.
const LEADING: &str = "\u{ab}\u{bb}\u{2018}\u{2019}\u{201c}\u{201d}\u{201e}";
/// An address that is quoted more often than this is left as it is.
const MOST_QUOTINGS: usize = 3;

/// An address as reports hold it: lower case, the domain in ASCII, without display name, comment or
/// angle brackets; `None` where nothing is left.
///
/// SES writes `Jane <jane@example.com>`, `"Doe, J" <…>`, encoded words (RFC 2047) before the
/// brackets, quoted local parts (`"j."@example.com`, which keep their quotes) and bare addresses;
/// delivery reports write `rfc822;jane@example.com`, `<jane@example.com> (expanded from <all@…>)`
/// and much more.
#[must_use]
pub fn normalise(address: &str) -> Option<String> {
    if is_plain(address) {
        return Some(address.to_owned());
    }
    let mut text = unescaped(visible(address));
    for _ in 0..MOST_QUOTINGS {
        let parts = parts(&text);
        let segment = trimmed(segment(&parts)?);
        if !segment.contains(&"@") {
            match segment {
                // The whole address is quoted.
                [quoted] if quoted.len() > 2 && quoted.contains('@') && quoted.starts_with('"') => {
                    text = unescaped(quoted[1..quoted.len() - 1].trim().to_owned());
                    continue;
                }
                _ => return Some(segment.concat().to_lowercase()).filter(|left| !left.is_empty()),
            }
        }
        return Some(addr_spec(&without_blanks_around_at(segment)));
    }
    Some(text.to_lowercase()).filter(|left| !left.is_empty())
}

/// Most addresses are what they become: there is nothing to clean.
fn is_plain(address: &str) -> bool {
    let is_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_local = |byte: u8| is_domain(byte) || b"!#$%&*+/=?^_{|}~.".contains(&byte);
    address.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && local.bytes().all(is_local)
            && domain.bytes().all(|byte| is_domain(byte) || byte == b'.')
            && domain.ends_with(|last: char| last.is_ascii_alphanumeric())
    })
}

/// White space of any kind becomes a blank; controls, marks of direction and characters without a
/// width go.
fn visible(address: &str) -> String {
    let seen = |c: char| match c {
        '\t'..='\r'
        | '\u{85}'
        | '\u{a0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200a}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202f}'
        | '\u{205f}'
        | '\u{3000}' => Some(' '),
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' => None,
        _ => Some(c),
    };
    address.chars().filter_map(seen).collect()
}

/// A text whose first quote is escaped was escaped as a whole, once or more often.
fn unescaped(mut text: String) -> String {
    while text.find('"').is_some_and(|at| text[..at].ends_with('\\')) {
        let mut once = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            once.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
        }
        text = once;
    }
    text
}

/// The characters outside quotes and comments, each quoted string as one. A quote or a comment that
/// does not close hides nothing that could be an address: its sign goes, or after an `@` the rest.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut scan = Scan::new(text);
    let mut has_at = false;
    while let Some((part, kind)) = scan.next() {
        match kind {
            Part::Quoted => parts.push(part),
            Part::Unclosed if part == "(" && has_at => break,
            Part::Comment | Part::Unclosed => {}
            Part::Character if part == ")" => {}
            Part::Character => {
                has_at |= part == "@";
                parts.push(part);
            }
        }
    }
    parts
}

/// Of the stretches between angle brackets the first after a `<` that holds an `@`, else the first
/// before one, else what is inside the brackets.
fn segment<'p, 't>(parts: &'p [&'t str]) -> Option<&'p [&'t str]> {
    let is_bracket = |part: &&str| *part == "<" || *part == ">";
    let opened = parts.iter().position(|part| *part == "<");
    let (before, after) = parts.split_at(opened.unwrap_or(parts.len()));
    let stretches = || after.split(is_bracket).chain(before.split(is_bracket));
    let has_at = |stretch: &&[&str]| stretch.contains(&"@");
    let is_blank = |stretch: &&[&str]| stretch.iter().all(|part| *part == " ");
    stretches().find(has_at).or_else(|| {
        let inside = if opened.is_some() { after } else { before };
        inside.split(is_bracket).find(|stretch| !is_blank(stretch))
    })
}

fn trimmed<'p, 't>(mut parts: &'p [&'t str]) -> &'p [&'t str] {
    while let [" ", rest @ ..] | [rest @ .., " "] = parts {
        parts = rest;
    }
    parts
}

/// RFC 5322 allows them, in its obsolete syntax.
fn without_blanks_around_at<'t>(parts: &[&'t str]) -> Vec<&'t str> {
    let mut kept: Vec<&str> = Vec::with_capacity(parts.len());
    for part in parts {
        if *part == "@" {
            while kept.last() == Some(&" ") {
                kept.pop();
            }
        }
        if *part != " " || kept.last() != Some(&"@") {
            kept.push(part);
        }
    }
    kept
}

/// The first word that holds an `@`, without the type or group before it, and without what follows it.
fn addr_spec(parts: &[&str]) -> String {
    let mut words = parts.split(|part| *part == " ");
    let word = words.find(|word| word.contains(&"@")).unwrap_or(parts);
    let first_at = word.iter().position(|part| *part == "@").unwrap_or(0);
    let divides = |part: &&str| [":", ";", ","].contains(part);
    let start = word[..first_at].iter().rposition(divides).map_or(0, |at| at + 1);
    let mut word = &word[start..];
    let at = word.iter().rposition(|part| *part == "@").unwrap_or(0);
    let is_literal = word[at..].contains(&"[");
    let mut is_quoted = false;
    while let [rest @ .., last] = word {
        let trails = last.chars().count() > 1 || TRAILING.contains(last);
        if rest.len() <= at || !trails || (is_literal && *last == "]") {
            break;
        }
        is_quoted |= *last == "'";
        word = rest;
    }
    while let [first, rest @ ..] = word {
        if !(LEADING.contains(first) || (is_quoted && *first == "'")) {
            break;
        }
        word = rest;
    }
    let at = word.iter().rposition(|part| *part == "@").unwrap_or(0);
    let local = word[..=at].concat().to_lowercase();
    local + &domain::to_ascii(&word[at + 1..].concat())
}

/// The addresses in one string, divided by commas and semicolons outside quotes and
/// comments, each of them with an `@` on both sides.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    let last_at = text.rfind('@').unwrap_or(0);
    let mut scan = Scan::new(text);
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        let mut has_at = false;
        while let Some((part, kind)) = scan.next() {
            let divides = matches!(kind, Part::Character) && (part == "," || part == ";");
            if divides && has_at && scan.at < last_at {
                start = Some(scan.at);
                return Some(&text[from..scan.at - 1]);
            }
            has_at |= !matches!(kind, Part::Comment) && part.contains('@');
        }
        start = None;
        Some(&text[from..])
    })
}

/// A walk over a text that takes quoted strings (RFC 5322 section 3.2.4) and comments as one.
struct Scan<'t> {
    text: &'t str,
    at: usize,
    /// Whether a quote or a comment was met that does not close: then no later one is looked for.
    open_quote: bool,
    open_comment: bool,
}

enum Part {
    Character,
    Quoted,
    Comment,
    /// The sign of a quote or a comment that does not close.
    Unclosed,
}

impl<'t> Scan<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0, open_quote: false, open_comment: false }
    }

    fn next(&mut self) -> Option<(&'t str, Part)> {
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        let (len, kind) = match first {
            '"' => self.enclosed(rest, Part::Quoted),
            '(' => self.enclosed(rest, Part::Comment),
            other => (other.len_utf8(), Part::Character),
        };
        self.at += len;
        Some((&rest[..len], kind))
    }

    /// The quoted string or the comment with which the rest begins, or its sign alone.
    fn enclosed(&mut self, rest: &str, kind: Part) -> (usize, Part) {
        let (is_open, len): (_, fn(&str) -> Option<usize>) = match kind {
            Part::Comment => (&mut self.open_comment, comment),
            _ => (&mut self.open_quote, quoted),
        };
        let len = if *is_open { None } else { len(rest) };
        *is_open |= len.is_none();
        len.map_or((1, Part::Unclosed), |len| (len, kind))
    }
}

/// How long the quoted string is with which a text begins.
fn quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// How long the comment is with which a text begins; comments nest.
fn comment(text: &str) -> Option<usize> {
    let (mut depth, mut is_escaped) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn becomes(address: &str, expected: &str) {
        assert_eq!(normalise(address).as_deref(), Some(expected), "from {address:?}");
        // What is clean stays as it is.
        assert_eq!(normalise(expected).as_deref(), Some(expected), "from {expected:?}");
    }

    #[test]
    fn bare_addresses_are_trimmed_and_lower_cased() {
        becomes("jane@example.com", "jane@example.com");
        becomes(" Jane+Tag@EXAMPLE.com\n", "jane+tag@example.com");
        becomes("JÖRG@example.com", "jörg@example.com");
        becomes("o'neil@example.com", "o'neil@example.com");
        becomes("a@b@example.com", "a@b@example.com");
        becomes("jane", "jane");
        becomes("jane@[192.0.2.1]", "jane@[192.0.2.1]");
        becomes("jane@[IPv6:2001:db8::1]", "jane@[ipv6:2001:db8::1]");
    }

    #[test]
    fn domains_are_compared_in_ascii() {
        for domain in
            ["bücher.example", "BÜCHER.example", "bu\u{308}cher.example", "xn--bcher-kva.example"]
        {
            becomes(&format!("ada@{domain}"), "ada@xn--bcher-kva.example");
        }
        becomes("Ada <ada@例え。テスト>", "ada@xn--r8jz45g.xn--zckzah");
    }

    #[test]
    fn display_names_and_brackets_go() {
        becomes("Jane Doe <jane@example.com>", "jane@example.com");
        becomes("<jane@example.com>", "jane@example.com");
        becomes(r#""Doe, Jane <VIP>" <Jane@example.com>"#, "jane@example.com");
        becomes(r#""a \" < b" <jane@example.com>"#, "jane@example.com");
        becomes("=?UTF-8?Q?J=C3=B6rg?= <joerg@example.com>", "joerg@example.com");
        becomes("Jane <jane@example.com", "jane@example.com");
        becomes("Jane jane@example.com", "jane@example.com");
        becomes("jane@example.com <jane@example.com>", "jane@example.com");
        for doubled in [
            "<<jane@example.com>>",
            "< <jane@example.com> >",
            "Jane <<<jane@example.com",
            "jane@example.com>>",
        ] {
            becomes(doubled, "jane@example.com");
        }
    }

    #[test]
    fn comments_go_with_the_brackets_in_them() {
        for commented in [
            "Jane <jane@example.com> (work)",
            "jane@example.com (expanded from: <team@example.com>)",
            "<jane@example.com> (expanded from <team@example.com>)",
            "(was: <old@example.com>) jane@example.com",
            "jane@example.com (a (nested \\) one) <x@example.com>)",
            "jane@example.com (cut off <team@exa",
            "jane(her)@example.com(s)",
            "(jane@example.com",
            "(jane@example.com <",
            "jane@example.com)",
        ] {
            becomes(commented, "jane@example.com");
        }
    }

    #[test]
    fn types_and_groups_go() {
        for typed in [
            "rfc822;jane@example.com",
            "RFC822; <jane@example.com>",
            "rfc822 ; jane@example.com",
            "utf-8; jane@example.com",
            "smtp:jane@example.com",
            "mailto:jane@example.com",
            "<mailto:jane@example.com>",
            "Team: jane@example.com;",
            r#""The Team": Jane <jane@example.com>;"#,
        ] {
            becomes(typed, "jane@example.com");
        }
    }

    #[test]
    fn what_trails_goes() {
        for trail in [
            ">", ".", ",", ";", ":", "'", "\"", ")", "!", "?", "]", "\\", "...", ">.", ";>", "»",
            "”", " .",
        ] {
            becomes(&format!("jane@example.com{trail}"), "jane@example.com");
        }
        becomes("'jane@example.com'", "jane@example.com");
        becomes("“jane@example.com”", "jane@example.com");
        becomes("jane.@example.com", "jane.@example.com");
    }

    #[test]
    fn what_nobody_sees_goes() {
        for unseen in [
            "\u{200b}", "\u{feff}", "\u{a0}", "\u{ad}", "\u{200e}", "\u{202f}", "\u{3000}",
            "\u{2060}", "\u{1}",
        ] {
            becomes(&format!("jane@example.com{unseen}"), "jane@example.com");
            becomes(&format!("{unseen}jane@example.com"), "jane@example.com");
            becomes(
                &format!("Jane{unseen}Doe <{unseen}jane@example.com{unseen}>"),
                "jane@example.com",
            );
        }
        becomes("ja\u{200b}ne@exam\u{ad}ple.com", "jane@example.com");
        becomes("jane @ example.com", "jane@example.com");
    }

    #[test]
    fn quoted_local_parts_stay_quoted() {
        becomes(r#""Test."@example.com"#, r#""test."@example.com"#);
        becomes(r#""a<b>c"@example.com"#, r#""a<b>c"@example.com"#);
        becomes(r#"X <"a>b"@example.com>"#, r#""a>b"@example.com"#);
        becomes(r#""a b (c)"@example.com"#, r#""a b (c)"@example.com"#);
        becomes(r#""a\"b"@example.com"#, r#""a\"b"@example.com"#);
    }

    #[test]
    fn quotes_that_were_escaped_are_quotes() {
        becomes(r#"\"ada.\"@example.com"#, r#""ada."@example.com"#);
        becomes(r#"\\\"ada.\\\"@example.com"#, r#""ada."@example.com"#);
        becomes(r#"\"Doe, A\" <ada@example.com>"#, "ada@example.com");
        becomes(r#""ada@example.com""#, "ada@example.com");
        becomes(r#"\"ada@example.com\""#, "ada@example.com");
        becomes(r#"<"ada@example.com">"#, "ada@example.com");
    }

    #[test]
    fn an_open_quote_does_not_hide_the_address() {
        becomes(r#""Jane <jane@example.com>"#, "jane@example.com");
    }

    #[test]
    fn several_addresses_in_one_string_are_divided() {
        let split = |text| split(text).collect::<Vec<_>>();
        assert_eq!(split("a@x.example, B <b@x.example>"), ["a@x.example", " B <b@x.example>"]);
        assert_eq!(split("a@x.example;b@x.example;"), ["a@x.example", "b@x.example;"]);
        assert_eq!(split("T: a@x.example, b@x.example;"), ["T: a@x.example", " b@x.example;"]);
        assert_eq!(
            split("rfc822; a@x.example, rfc822; b@x.example"),
            ["rfc822; a@x.example", " rfc822; b@x.example"]
        );
        assert_eq!(
            split("Doe, J <j@x.example>, Roe, R <r@x.example>"),
            ["Doe, J <j@x.example>", " Roe, R <r@x.example>"]
        );
        for one in [
            "a@x.example",
            "Doe, Jane <jane@x.example>",
            r#""Doe, J@" <j@x.example>"#,
            "a@x.example (b@x.example, c@x.example)",
            "a@x.example;",
            "",
        ] {
            assert_eq!(split(one), [one]);
        }
    }

    #[test]
    fn nothing_is_none() {
        for nothing in ["", "  ", "<>", "Jane <>", "\t<\r\n>", "\u{a0}", "(nobody)", "\""] {
            assert_eq!(normalise(nothing), None, "from {nothing:?}");
        }
    }
}
