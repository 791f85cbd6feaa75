//! The one form in which recipients are compared.

/// What is cut from both ends: the white space of RFC 5322 and its kin. Not every Unicode space,
/// so that the SQL function `aws_report_address` can say the same.
const BLANKS: [char; 6] = [' ', '\t', '\r', '\n', '\u{b}', '\u{c}'];

/// An address as reports hold it: lower case, without display name or angle brackets; `None` where
/// nothing is left.
///
/// SES writes `Jane <jane@example.com>`, `"Doe, J" <…>`, encoded words (RFC 2047) before the
/// brackets, quoted local parts (`"j."@example.com`, which keep their quotes) and bare addresses.
/// The SQL function `aws_report_address` computes the same; an integration test compares them.
#[must_use]
pub fn normalise(address: &str) -> Option<String> {
    let bare = in_brackets(address).or_else(|| at_the_end(address)).unwrap_or(address);
    let bare = bare.trim_matches(BLANKS);
    (!bare.is_empty()).then(|| bare.to_lowercase())
}

/// The addresses that stand in one string, divided by commas outside quotes and brackets: one,
/// unless every part holds an `@`.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    let divides = parts(text).all(|part| part.contains('@'));
    let whole = (!divides).then_some(text);
    whole.into_iter().chain(divides.then(|| parts(text)).into_iter().flatten())
}

/// What stands between commas outside quotes.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        if let End::Stop(at) = end_of_run(text, ',') {
            rest = Some(&text[at + 1..]);
            Some(&text[..at])
        } else {
            rest = None;
            Some(text)
        }
    })
}

/// What stands between the first `<` and the next `>` (or the end), both outside quotes.
fn in_brackets(address: &str) -> Option<&str> {
    let End::Stop(at) = end_of_run(address, '<') else {
        return None;
    };
    let inside = &address[at + 1..];
    Some(match end_of_run(inside, '>') {
        End::Stop(at) | End::OpenQuote(at) => &inside[..at],
        End::Text => inside,
    })
}

/// The last `<…>` at the very end: for a display name whose quotes do not close.
fn at_the_end(address: &str) -> Option<&str> {
    let (_, inside) = address.trim_end_matches(BLANKS).strip_suffix('>')?.rsplit_once('<')?;
    (!inside.contains('>')).then_some(inside)
}

/// Where a run of characters and quoted strings ends.
enum End {
    /// At the character that was looked for.
    Stop(usize),
    /// At a quote that does not close.
    OpenQuote(usize),
    /// With the text.
    Text,
}

/// Looks for the first `stop` outside quoted strings (RFC 5322 section 3.2.4).
fn end_of_run(text: &str, stop: char) -> End {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote.is_some() => escaped = true,
            '"' => quote = if quote.is_some() { None } else { Some(at) },
            _ if c == stop && quote.is_none() => return End::Stop(at),
            _ => {}
        }
    }
    quote.map_or(End::Text, End::OpenQuote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn becomes(address: &str, expected: &str) {
        assert_eq!(normalise(address).as_deref(), Some(expected), "from {address:?}");
    }

    #[test]
    fn bare_addresses_are_trimmed_and_lower_cased() {
        becomes("jane@example.com", "jane@example.com");
        becomes(" Jane+Tag@EXAMPLE.com\n", "jane+tag@example.com");
        becomes("JÖRG@Bücher.example", "jörg@bücher.example");
    }

    #[test]
    fn display_names_and_brackets_go() {
        becomes("Jane Doe <jane@example.com>", "jane@example.com");
        becomes("<jane@example.com>", "jane@example.com");
        becomes(r#""Doe, Jane <VIP>" <Jane@example.com>"#, "jane@example.com");
        becomes(r#""a \" < b" <jane@example.com>"#, "jane@example.com");
        becomes("=?UTF-8?Q?J=C3=B6rg?= <joerg@example.com>", "joerg@example.com");
        becomes("Jane <jane@example.com> (work)", "jane@example.com");
        becomes("Jane <jane@example.com", "jane@example.com");
    }

    #[test]
    fn quoted_local_parts_stay_quoted() {
        becomes(r#""Test."@example.com"#, r#""test."@example.com"#);
        becomes(r#""a<b>c"@example.com"#, r#""a<b>c"@example.com"#);
        becomes(r#"X <"a>b"@example.com>"#, r#""a>b"@example.com"#);
    }

    #[test]
    fn an_open_quote_does_not_hide_the_address() {
        becomes(r#""Jane <jane@example.com>"#, "jane@example.com");
    }

    #[test]
    fn several_addresses_in_one_string_are_divided() {
        let split = |text| split(text).collect::<Vec<_>>();
        assert_eq!(split("a@x.example, B <b@x.example>"), ["a@x.example", " B <b@x.example>"]);
        for one in ["a@x.example", "Doe, Jane <jane@x.example>", r#""Doe, J@" <j@x.example>"#, ""] {
            assert_eq!(split(one), [one]);
        }
    }

    #[test]
    fn nothing_is_none() {
        for nothing in ["", "  ", "<>", "Jane <>", "\t<\r\n>"] {
            assert_eq!(normalise(nothing), None, "from {nothing:?}");
        }
    }
}
