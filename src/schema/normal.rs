//! One spelling for definitions that PostgreSQL spells in two ways.

use std::fmt::Write as _;

/// Brings a definition from the catalog to the spelling that a dump and its restoring leave: `pg_dump`
/// casts the elements of an array where `IN` had cast the array.
pub(super) fn normalised(definition: &str) -> String {
    let mut text = String::with_capacity(definition.len());
    let mut rest = definition;
    while let Some(at) = rest.find(ARRAY) {
        text.push_str(&rest[..at]);
        let inside = &rest[at + ARRAY.len()..];
        if let Some((elements, kind, after)) = cast_array(inside) {
            let cast = elements.iter().map(|element| format!("({element})::{kind}"));
            let all = cast.collect::<Vec<_>>().join(", ");
            let _ = write!(text, "ARRAY[{all}]");
            rest = after;
        } else {
            text.push_str(ARRAY);
            rest = inside;
        }
    }
    text + rest
}

const ARRAY: &str = "(ARRAY[";

/// Reads `a, b])::kind[]`; returns the elements, their kind and what follows.
fn cast_array(text: &str) -> Option<(Vec<&str>, &str, &str)> {
    let (mut elements, mut begin, mut depth, mut is_quoted) = (Vec::new(), 0, 0, false);
    for (at, char) in text.char_indices() {
        match char {
            '\'' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' | '[' => depth += 1,
            ']' if depth == 0 => {
                elements.push(text[begin..at].trim());
                let cast = text[at + 1..].strip_prefix(")::")?;
                let (kind, after) = cast.split_once("[]")?;
                let is_name = |char: char| char.is_ascii_alphanumeric() || " _.\"".contains(char);
                return kind.chars().all(is_name).then_some((elements, kind, after));
            }
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                elements.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_cast_array_are_one() {
        let made = "WHERE ((t)::text = ANY ((ARRAY['a, ]'::character varying, 'it''s'::character varying])::text[])) AND b";
        let restored = "WHERE ((t)::text = ANY (ARRAY[('a, ]'::character varying)::text, ('it''s'::character varying)::text])) AND b";
        assert_eq!(normalised(made), restored);
        assert_eq!(normalised(restored), restored);
    }

    #[test]
    fn what_differs_stays_different() {
        for text in [
            "WHERE (t = ANY (ARRAY['a'::text, 'b'::text]))",
            "SELECT (ARRAY[1, 2])",
            "SELECT (ARRAY[1, 2",
            "(ARRAY[1, (2 + 3)])::bigint",
        ] {
            assert_eq!(normalised(text), text);
        }
        let cast = |kind: &str| normalised(&format!("(ARRAY['a'])::{kind}[]"));
        assert_ne!(cast("text"), cast("bytea"));
    }
}
