//! Text of others on a terminal: a forged body must not move the cursor or hide a line.

/// The text in one line: control characters, which a terminal may obey, become `?`, and so do those
/// that reverse the direction of writing.
pub(super) fn printable(text: &str) -> String {
    text.replace(is_harmful, "?")
}

/// The same for text of several lines.
pub(super) fn printable_lines(text: &str) -> String {
    text.replace(|char| is_harmful(char) && !matches!(char, '\n' | '\t'), "?")
}

fn is_harmful(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_reaches_a_terminal() {
        let forged = "a\u{1b}[2J\u{9b}K\u{7f}\u{202e}\r\n\tä 😀";
        assert_eq!(printable(forged), "a?[2J?K?????ä 😀");
        assert_eq!(printable_lines(forged), "a?[2J?K???\n\tä 😀");
    }
}
