//! Finds the message bodies in an archive, whatever joins them: lines, nothing (Firehose writes
//! records without separators unless it is told to), white space, or an array around them.
//!
//! A body that begins with `{` or `[` ends where its JSON does, on whichever line. What is not JSON
//! is a separate body: its line, with the lines after it that are indented deeper or close its
//! brackets. So a broken line in an archive of lines costs no other line.

use std::io::{self, Read};

use serde::de::IgnoredAny;

/// The longest body. SQS takes 1 MiB.
pub(crate) const LONGEST: usize = 16 * 1024 * 1024;
/// How much is read at a time.
const READ: usize = 256 * 1024;
/// A byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The content of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A body.
    Body {
        /// The line on which it begins, from 1.
        line: u64,
        /// As it is written, without white space around it.
        text: Vec<u8>,
    },
    /// A line of more than [`LONGEST`] bytes, which no body is: it is passed over.
    TooLong {
        /// Its number, from 1.
        line: u64,
    },
}

/// The bodies of one archive, one after another. Holds twice the longest of them at most, and never
/// much more than twice [`LONGEST`].
#[derive(Debug)]
pub(crate) struct Bodies<R> {
    input: R,
    read: usize,
    buffer: Vec<u8>,
    /// What lies before it is taken.
    start: usize,
    state: State,
    line: u64,
    /// White space between the start of the line and what comes next.
    indentation: usize,
    in_array: bool,
    /// Then a comma is no body.
    after_value: bool,
}

/// How far the input is read.
#[derive(Debug)]
enum State {
    Unread,
    Open,
    /// What is in the buffer came before.
    Failed(io::Error),
    Ended,
}

/// How an attempt to read JSON has ended.
enum Attempt {
    /// After this many bytes.
    Complete(usize),
    Broken,
    Endless,
}

impl<R: Read> Bodies<R> {
    /// The bodies of some text.
    pub(crate) fn new(input: R) -> Self {
        Self::reading(input, READ)
    }

    fn reading(input: R, read: usize) -> Self {
        Self {
            input,
            read,
            buffer: Vec::new(),
            start: 0,
            state: State::Unread,
            line: 1,
            indentation: 0,
            in_array: false,
            after_value: false,
        }
    }

    /// The next body; `None` at the end.
    ///
    /// # Errors
    /// When the archive cannot be read any further.
    pub(crate) fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        if matches!(self.state, State::Unread) {
            self.state = State::Open;
            while self.rest().len() < MARK.len() && self.fill()? {}
            if self.rest().starts_with(MARK) {
                self.start = MARK.len();
            }
        }
        loop {
            let Some(byte) = self.next_byte()? else {
                return Ok(None);
            };
            match byte {
                b',' if self.after_value => self.skip_one(),
                b']' if self.in_array => {
                    self.in_array = false;
                    self.skip_one();
                }
                b'[' if !self.in_array && self.opens_array()? => {
                    self.in_array = true;
                    self.skip_one();
                }
                b'{' | b'[' => return self.value().map(Some),
                b'"' if self.in_array => return self.value().map(Some),
                _ => return self.text_line().map(Some),
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Reads at least as much as is there already, so that looking again costs little; false at the
    /// end.
    fn fill(&mut self) -> io::Result<bool> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Unread | State::Open => {}
            State::Failed(error) => return Err(error),
            State::Ended => return Ok(false),
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let before = self.buffer.len();
        let most = u64::try_from(self.read.max(before)).unwrap_or(u64::MAX);
        let result = (&mut self.input).take(most).read_to_end(&mut self.buffer);
        let has_more = self.buffer.len() > before;
        match result {
            // What came before it is read first.
            Err(error) if has_more => self.state = State::Failed(error),
            Err(error) => return Err(error),
            Ok(_) if has_more => self.state = State::Open,
            Ok(_) => {}
        }
        Ok(has_more)
    }

    /// The next byte that is not white space; it is not consumed.
    fn next_byte(&mut self) -> io::Result<Option<u8>> {
        loop {
            let blank = self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.skip_blank(blank);
            match self.rest().first().copied() {
                Some(byte) => return Ok(Some(byte)),
                None if self.fill()? => {}
                None => return Ok(None),
            }
        }
    }

    fn skip_blank(&mut self, count: usize) {
        let (mut line, mut indentation) = (self.line, self.indentation);
        for byte in self.rest().iter().take(count) {
            if *byte == b'\n' {
                line += 1;
                indentation = 0;
            } else {
                indentation += 1;
            }
        }
        (self.line, self.indentation) = (line, indentation);
        self.start += count;
    }

    fn skip_one(&mut self) {
        self.start += 1;
        self.indentation += 1;
        self.after_value = true;
    }

    /// Whether an array of bodies follows: `[` and then an object, a string or nothing.
    fn opens_array(&mut self) -> io::Result<bool> {
        let mut at = 1;
        loop {
            match self.rest().get(at).copied() {
                Some(byte) if byte.is_ascii_whitespace() && at < LONGEST => at += 1,
                Some(byte) => return Ok(matches!(byte, b'{' | b'"' | b']')),
                None if self.fill()? => {}
                None => return Ok(false),
            }
        }
    }

    fn take(&mut self, bytes: usize) -> Piece {
        let line = self.line;
        let text = self.rest().get(..bytes).unwrap_or_default().to_vec();
        self.line += text.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        self.start += bytes;
        self.after_value = true;
        Piece::Body { line, text: text.trim_ascii_end().to_vec() }
    }

    /// One JSON value, or whatever is in its place.
    fn value(&mut self) -> io::Result<Piece> {
        match self.attempt()? {
            Attempt::Complete(bytes) => Ok(self.take(bytes)),
            Attempt::Broken => {
                let bytes = self.broken_block()?;
                if bytes > LONGEST { self.skip_line() } else { Ok(self.take(bytes)) }
            }
            Attempt::Endless if self.rest().iter().take(LONGEST).any(|byte| *byte == b'\n') => {
                Err(io::Error::other(format!(
                    "the text that begins on line {} does not end within {LONGEST} bytes, so it is not a body; the rest is not read",
                    self.line
                )))
            }
            Attempt::Endless => self.skip_line(),
        }
    }

    fn attempt(&mut self) -> io::Result<Attempt> {
        loop {
            let mut values =
                serde_json::Deserializer::from_slice(self.rest()).into_iter::<IgnoredAny>();
            match values.next() {
                Some(Ok(_)) if values.byte_offset() <= LONGEST => {
                    return Ok(Attempt::Complete(values.byte_offset()));
                }
                Some(Ok(_)) => return Ok(Attempt::Endless),
                Some(Err(error)) if error.is_eof() => {
                    if self.rest().len() > LONGEST {
                        return Ok(Attempt::Endless);
                    }
                    if !self.fill()? {
                        return Ok(Attempt::Broken);
                    }
                }
                // A number that is cut looks broken.
                Some(Err(_)) if self.ends_in_number() && self.fill()? => {}
                Some(Err(_)) | None => return Ok(Attempt::Broken),
            }
        }
    }

    fn ends_in_number(&self) -> bool {
        self.rest().len() <= LONGEST
            && self.rest().last().is_some_and(|byte| b"+-.eE0123456789".contains(byte))
    }

    /// The bytes of a line and of the lines after it that belong to the same broken value.
    fn broken_block(&mut self) -> io::Result<usize> {
        let mut end = self.line_end(0)?;
        loop {
            // Looks at the start of the next line.
            let mut at = end + 1;
            let first = loop {
                match self.rest().get(at).copied() {
                    Some(b' ' | b'\t') => at += 1,
                    Some(byte) => break Some(byte),
                    None if self.fill()? => {}
                    None => break None,
                }
            };
            let indentation = at - (end + 1);
            let closes = matches!(first, Some(b'}' | b']')) && indentation >= self.indentation;
            let goes_on = first.is_some() && (indentation > self.indentation || closes);
            if !goes_on || at > LONGEST {
                return Ok(end.min(self.rest().len()));
            }
            end = self.line_end(at)?;
        }
    }

    /// Where the line ends that holds a place: at its newline, or at the end of all.
    fn line_end(&mut self, from: usize) -> io::Result<usize> {
        let mut at = from;
        loop {
            let rest = self.rest().get(at..).unwrap_or_default();
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                return Ok(at + length);
            }
            at = self.rest().len();
            if at > from + LONGEST || !self.fill()? {
                return Ok(at);
            }
        }
    }

    fn text_line(&mut self) -> io::Result<Piece> {
        let end = self.line_end(0)?;
        if end > LONGEST {
            return self.skip_line();
        }
        Ok(self.take(end))
    }

    /// Skips the rest of a line, however long.
    fn skip_line(&mut self) -> io::Result<Piece> {
        let line = self.line;
        loop {
            if let Some(length) = self.rest().iter().position(|byte| *byte == b'\n') {
                self.start += length;
                return Ok(Piece::TooLong { line });
            }
            self.start = self.buffer.len();
            if !self.fill()? {
                return Ok(Piece::TooLong { line });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::bufread::MultiGzDecoder;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn pieces(text: &[u8], read: usize) -> Vec<Piece> {
        let mut bodies = Bodies::reading(text, read);
        std::iter::from_fn(|| bodies.next_piece().expect("memory can be read")).collect()
    }

    fn texts(text: &str) -> Vec<String> {
        pieces(text.as_bytes(), READ)
            .into_iter()
            .map(|piece| match piece {
                Piece::Body { text, .. } => String::from_utf8(text).expect("UTF-8"),
                Piece::TooLong { line } => panic!("line {line} is too long"),
            })
            .collect()
    }

    #[test]
    fn lines_are_bodies_whatever_they_say() {
        assert_eq!(
            texts("\u{feff}{\"a\": 1}\r\n\n  \nplain text\n{\"a\": {\"b\":\n{\"c\": 2}\n[1] x\n7"),
            ["{\"a\": 1}", "plain text", "{\"a\": {\"b\":", "{\"c\": 2}", "[1]", "x", "7"]
        );
        assert_eq!(texts("{\"cut\": \"in the\n{\"a\": 1}"), ["{\"cut\": \"in the", "{\"a\": 1}"]);
        assert_eq!(texts("{\"a\": 1},\n{\"a\": 2},\n"), ["{\"a\": 1}", "{\"a\": 2}"]);
        assert_eq!(texts(""), [""; 0]);
        assert_eq!(texts(" \r\n"), [""; 0]);
    }

    #[test]
    fn a_broken_body_of_many_lines_is_one() {
        let broken = "{\n  \"a\": [\n    {}\n  ],\n  oops\n}";
        assert_eq!(texts(broken), [broken]);
        assert_eq!(texts(&format!("{broken}\n{{\"b\": 1}}")), [broken, "{\"b\": 1}"]);
        let cut = "{\n  \"a\": {\n    \"b\": 1";
        assert_eq!(texts(cut), [cut]);
        let array = "[\n  {\"a\": 1},\n  {oops},\n  {\"a\": 2}\n]\n{\"a\": 3}";
        assert_eq!(texts(array), ["{\"a\": 1}", "{oops},", "{\"a\": 2}", "{\"a\": 3}"]);
    }

    #[test]
    fn an_array_is_opened() {
        assert_eq!(texts("[ {\"a\": 1}, \"text\" ,[2]]\n[]"), ["{\"a\": 1}", "\"text\"", "[2]"]);
    }

    #[test]
    fn bodies_know_their_lines() {
        let lines: Vec<u64> = pieces(b"{\n}\n\n{}{}\nx\r\n  {\"a\":\n1}{}", 2)
            .into_iter()
            .map(|piece| match piece {
                Piece::Body { line, .. } | Piece::TooLong { line } => line,
            })
            .collect();
        assert_eq!(lines, [1, 4, 4, 5, 6, 7]);
    }

    #[test]
    fn an_endless_line_is_passed_over() {
        let long = "x".repeat(LONGEST + 1);
        for long in [&long, &format!("{{\"a\": \"{long}\"}}"), &format!("{{\"a\": \"{long}")] {
            let text = format!("{{}}\n{long}\n{{\"b\": 1}}");
            let pieces = pieces(text.as_bytes(), READ);
            assert_eq!(pieces.len(), 3);
            assert_eq!(pieces[1], Piece::TooLong { line: 2 });
            assert_eq!(pieces[2], Piece::Body { line: 3, text: b"{\"b\": 1}".to_vec() });
        }
    }

    #[test]
    fn a_value_of_endless_lines_ends_the_reading() {
        let text = format!("{{\"a\": [\n{}", "1,\n".repeat(LONGEST / 2));
        let error = Bodies::new(text.as_bytes()).next_piece().expect_err("no body");
        assert!(error.to_string().contains("line 1"), "{error}");
    }

    fn body() -> impl Strategy<Value = Value> {
        let text = prop_oneof![".{0,8}", Just("}{ ][ \\ \" \n , é 😀 \u{feff}".to_owned())];
        let leaf = prop_oneof![
            text.prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            Just(json!(null)),
            Just(json!([])),
            Just(json!({}))
        ];
        let value = leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{1,3}", inner, 0..3)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        });
        value.prop_map(|value| json!({"event": value}))
    }

    fn gzip(text: &[u8], members: usize) -> Vec<u8> {
        let size = (text.len() / members).max(1);
        let parts = if text.is_empty() { vec![text] } else { text.chunks(size).collect() };
        parts
            .into_iter()
            .flat_map(|part| {
                let mut member = GzEncoder::new(Vec::new(), Compression::fast());
                member.write_all(part).expect("memory");
                member.finish().expect("memory")
            })
            .collect()
    }

    proptest! {
        #[test]
        fn however_they_are_joined_the_bodies_are_the_same(
            bodies in proptest::collection::vec((body(), any::<bool>(), "\n|\r\n|| |\n\n|\t"), 0..8),
            in_array in any::<bool>(),
            has_mark in any::<bool>(),
            read in 1_usize..40,
            members in 1_usize..5,
        ) {
            let mut text = if has_mark { "\u{feff}".to_owned() } else { String::new() };
            text += if in_array { "[" } else { "" };
            for (index, (body, is_pretty, separator)) in bodies.iter().enumerate() {
                text += if in_array && index > 0 { "," } else { "" };
                text += separator;
                text += &if *is_pretty { serde_json::to_string_pretty(body) } else { serde_json::to_string(body) }.expect("JSON");
            }
            text += if in_array { "]" } else { "" };
            let expected: Vec<&Value> = bodies.iter().map(|(body, ..)| body).collect();
            let zipped = gzip(text.as_bytes(), members);
            let inputs: [Box<dyn Read>; 2] =
                [Box::new(text.as_bytes()), Box::new(MultiGzDecoder::new(zipped.as_slice()))];
            for input in inputs {
                let mut found = Bodies::reading(input, read);
                let mut values = Vec::new();
                while let Some(piece) = found.next_piece().expect("memory can be read") {
                    let Piece::Body { text, .. } = piece else { panic!("too long") };
                    values.push(serde_json::from_slice::<Value>(&text).expect("JSON"));
                }
                prop_assert_eq!(values.iter().collect::<Vec<_>>(), expected.clone());
            }
        }

        #[test]
        fn no_line_is_lost_beside_broken_ones(
            lines in proptest::collection::vec(prop_oneof![
                body().prop_map(|body| body.to_string()),
                "[a-z][ -~]{0,20}[a-z]",
                Just("{\"event\": {\"cut".to_owned()),
                Just("{\"event\":".to_owned()),
            ], 0..12),
            read in 1_usize..40,
        ) {
            // What ends in a colon takes the next value, and is broken only by what follows.
            let text = lines.join("\n");
            let found: Vec<u8> = pieces(text.as_bytes(), read).into_iter().flat_map(|piece| match piece {
                Piece::Body { text, .. } => text,
                Piece::TooLong { .. } => Vec::new(),
            }).collect();
            let all: Vec<u8> = lines.concat().into_bytes();
            prop_assert_eq!(
                found.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>(),
                all.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>()
            );
        }
    }
}
