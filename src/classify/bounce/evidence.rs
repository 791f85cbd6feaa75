//! What an event says about the reason of a bounce, normalised for the rules.

/// How much of a server's text is looked at, in bytes. The longest one seen has 400; a server
/// that writes much more must not cost more.
const MOST_READ: usize = 2048;
/// The most bytes of the normalised text.
const MOST_BYTES: usize = 1024;
/// The placeholder for a missing word.
const NOTHING: &str = "-";

/// What an event says about why one recipient's mail bounced or was delayed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// `bounceType`, or [`crate::row::AUTO_REPLY`].
    pub bounce_type: Option<&'a str>,
    /// `bounceSubType`.
    pub sub_type: Option<&'a str>,
    /// `delayType` of a delivery delay, which has neither of the two.
    pub delay_type: Option<&'a str>,
    /// The recipient's `status`: an enhanced status code.
    pub status: Option<&'a str>,
    /// The recipient's `diagnosticCode`: the server's answer.
    pub diagnostic: Option<&'a str>,
}

/// The same, normalised: in lower case, in two parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Normal {
    /// `TYPE/SUBTYPE REPLY CODE`, `-` for each missing word: `permanent/general 550 5.1.1` for a bounce,
    /// `delay/mailboxfull 452 4.2.2` for a delay.
    pub(super) head: String,
    /// The server's text: its lines joined, without `smtp;`, without the codes that each line
    /// repeats, and with `@` for each address, whose words mean nothing.
    pub(super) text: String,
}

impl Evidence<'_> {
    pub(super) fn normal(&self) -> Normal {
        let (kind, sub_type) = match self.delay_type {
            Some(delay_type) => ("delay", delay_type),
            None => (self.bounce_type.unwrap_or_default(), self.sub_type.unwrap_or_default()),
        };
        let said = Said::of(self.diagnostic.unwrap_or_default());
        let status = self.status.and_then(enhanced_code);
        // A general code in the answer says less than a specific status.
        let code = match (said.code, status) {
            (Some(said), Some(status)) if said.ends_with(".0.0") => Some(status),
            (said, status) => said.or(status),
        };
        let mut head = format!(
            "{}/{} {} {}",
            word_of_ses(kind),
            word_of_ses(sub_type),
            said.reply.unwrap_or(NOTHING),
            code.unwrap_or(NOTHING),
        );
        let mut text = String::with_capacity(MOST_BYTES);
        for word in said.words {
            push_word(&mut text, word);
        }
        text.truncate(text.floor_char_boundary(MOST_BYTES));
        head.make_ascii_lowercase();
        text.make_ascii_lowercase();
        Normal { head, text }
    }
}

/// The words of SES are letters; anything else could pass for a separator.
fn word_of_ses(name: &str) -> &str {
    let is_word = (1..=64).contains(&name.len());
    let is_word = is_word && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { name } else { NOTHING }
}

/// Without the address that a word may hold: `<jane@example.com>:` becomes `<@>:`.
fn push_word(text: &mut String, word: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    let Some((before, after)) = word.split_once('@') else {
        text.push_str(word);
        return;
    };
    let ends = |c: char| "<>()[]\"',;:=".contains(c);
    text.push_str(&before[..before.rfind(ends).map_or(0, |at| at + 1)]);
    text.push('@');
    text.push_str(&after[after.find(ends).unwrap_or(after.len())..]);
}

/// The parts of a server's answer.
struct Said<'a> {
    reply: Option<&'a str>,
    code: Option<&'a str>,
    words: Vec<&'a str>,
}

impl<'a> Said<'a> {
    fn of(diagnostic: &'a str) -> Self {
        let diagnostic = &diagnostic[..diagnostic.floor_char_boundary(MOST_READ)];
        let mut said = Self { reply: None, code: None, words: Vec::new() };
        // A reply code is at the beginning of an answer, which one server may quote from another.
        let mut begins = true;
        for word in without_type(diagnostic).split_whitespace() {
            let (reply, rest) = split_reply(word);
            let code = enhanced_code(rest);
            match reply {
                Some(reply) if said.reply.is_none() && (begins || code.is_some()) => {
                    said.reply = Some(reply);
                }
                Some(reply) if said.reply == Some(reply) => {}
                Some(_) => {
                    said.words.push(word);
                    continue;
                }
                None => {}
            }
            begins = rest.ends_with(':');
            if code.is_some() && said.code.is_none() {
                said.code = code;
            } else if !rest.is_empty() && (code.is_none() || code != said.code) {
                said.words.push(rest);
            }
        }
        said
    }
}

/// Without the type of the diagnostic (RFC 3464): `smtp;`, `X-Postfix;`.
fn without_type(diagnostic: &str) -> &str {
    match diagnostic.split_once(';') {
        Some((name, rest))
            if name.trim().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') =>
        {
            rest
        }
        _ => diagnostic,
    }
}

/// A reply code that begins a word, and what follows it: `550`, `550-5.1.1`, `550-Requested`.
fn split_reply(word: &str) -> (Option<&str>, &str) {
    let Some((reply, rest)) = word.split_at_checked(3) else { return (None, word) };
    let is_reply = matches!(reply.as_bytes(), [b'4' | b'5', b'0'..=b'5', b'0'..=b'9']);
    match rest.strip_prefix(['-', ':', ',']) {
        Some(rest) if is_reply => (Some(reply), rest),
        None if is_reply && rest.is_empty() => (Some(reply), rest),
        _ => (None, word),
    }
}

/// The enhanced status code of a failure, with or without punctuation around it: `5.1.1`, `#5.1.1`, `(5.1.1)`.
fn enhanced_code(word: &str) -> Option<&str> {
    let code = word.trim_matches(|c: char| !c.is_ascii_digit());
    let wrapping = word.len() - code.len();
    let mut parts = code.split('.');
    let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let is_code = matches!(class, "4" | "5") && is_number(subject) && is_number(detail);
    (is_code && parts.next().is_none() && wrapping <= 4).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(diagnostic: &str, status: &str) -> String {
        let status = Some(status).filter(|status| !status.is_empty());
        let evidence = Evidence {
            bounce_type: Some("Permanent"),
            sub_type: Some("General"),
            status,
            diagnostic: Some(diagnostic),
            ..Evidence::default()
        };
        let Normal { head, text } = evidence.normal();
        format!("{head} {text}").trim_end().to_owned()
    }

    #[test]
    fn codes_and_text_are_found_however_they_are_written() {
        for (diagnostic, status, expected) in [
            ("smtp; 550 5.1.1 User unknown", "5.1.1", "550 5.1.1 user unknown"),
            ("smtp;550 5.1.1 <jane@example.com>... User", "", "550 5.1.1 <@>... user"),
            (
                "SMTP; 550-5.1.1 No such\n550-5.1.1 user. See\r\n550 5.1.1  there",
                "5.0.0",
                "550 5.1.1 no such user. see there",
            ),
            ("550 Requested action not taken", "5.5.0", "550 5.5.0 requested action not taken"),
            ("550-Mailbox unknown\n550 jane@example.com", "", "550 - mailbox unknown @"),
            ("smtp; 550 #5.1.0 Address rejected.", "5.0.0", "550 5.1.0 address rejected."),
            ("554 rejected (#5.7.1)", "", "554 5.7.1 rejected"),
            (
                "X-Postfix; host mx.example.com[192.0.2.1] said: 552-5.2.2 full",
                "",
                "552 5.2.2 host mx.example.com[192.0.2.1] said: full",
            ),
            (
                "smtp; 554 4.4.7 Message expired.<421 4.4.2 Connection timed out>",
                "",
                "554 4.4.7 message expired.<421 4.4.2 connection timed out>",
            ),
            ("550 5.0.0 no", "5.2.1", "550 5.2.1 no"),
            ("", "4.4.7", "- 4.4.7"),
            ("", "all well", "- -"),
            (
                "not at 5.1.1.1, nor in 250 2.1.5, took 421 ms",
                "",
                "- - not at 5.1.1.1, nor in 250 2.1.5, took 421 ms",
            ),
            ("550 5.7.515 Access denied", "", "550 5.7.515 access denied"),
            ("Nutzer unbekannt: M\u{fc}ller", "", "- - nutzer unbekannt: m\u{fc}ller"),
        ] {
            assert_eq!(
                normal(diagnostic, status),
                format!("permanent/general {expected}"),
                "{diagnostic}"
            );
        }
    }

    #[test]
    fn what_is_no_word_of_ses_is_nothing() {
        let evidence =
            Evidence { bounce_type: Some("a b"), sub_type: Some(""), ..Evidence::default() };
        assert_eq!(evidence.normal().head, "-/- - -");
        let evidence = Evidence { delay_type: Some("MailboxFull"), ..Evidence::default() };
        assert_eq!(evidence.normal().head, "delay/mailboxfull - -");
    }

    #[test]
    fn a_text_without_end_makes_a_short_one() {
        for hostile in ["\u{1f600}".repeat(100_000), "5.1.1 ".repeat(100_000), "a ".repeat(100_000)]
        {
            assert!(normal(&hostile, "").len() <= MOST_BYTES + 40);
        }
    }
}
