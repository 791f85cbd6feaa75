//! What the bytes of an archive are. They are recognised by their beginning, whatever the name of the
//! file is. Text is read as it is, and formats that are known are decompressed. Nothing is read from any
//! other file, because the lines of a compressed file are not message bodies.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use snap::read::FrameDecoder;

use super::snappy::{self, Chunks, Framing};

/// How much of the beginning is looked at. The mark of tar ends at byte 262.
const HEAD: u64 = 512;
/// How often something may be compressed: once by its writer, and once more by the archive.
const MOST_LAYERS: usize = 2;
const BUFFER: usize = 256 * 1024;

/// What an archive holds.
pub(super) enum Content {
    /// Text, which is decompressed as it is read.
    Text(Box<dyn Read>),
    /// Something that cannot be read, and what it looks like, in one line.
    Unreadable(String),
}

/// What some bytes begin.
#[derive(Debug, Clone, Copy)]
enum Format {
    Text,
    Gzip,
    FramedSnappy,
    Snappy(Framing),
    /// Nothing that can be read, and what it looks like.
    Other(&'static str),
}

/// Bytes that no text begins with.
const MARKS: &[(&[u8], Format)] = &[
    (b"\x1f\x8b", Format::Gzip),
    (b"\xff\x06\x00\x00sNaPpY", Format::FramedSnappy),
    (snappy::JAVA, Format::Snappy(Framing::Java)),
    (b"PK\x03\x04", Format::Other(ZIP)),
    (b"PK\x05\x06", Format::Other(ZIP)),
    (b"PK\x07\x08", Format::Other("a ZIP archive in several files")),
    (b"\x28\xb5\x2f\xfd", Format::Other("zstd")),
    (b"\xfd7zXZ\x00", Format::Other("xz")),
    (b"\x5d\x00\x00", Format::Other("LZMA")),
    (b"\x1f\x9d", Format::Other("compress (.Z)")),
    (b"\x89LZO\x00", Format::Other("lzop")),
    (b"7z\xbc\xaf\x27\x1c", Format::Other("7-Zip")),
    (b"\x04\x22\x4d\x18", Format::Other("LZ4")),
    (b"\x02\x21\x4c\x18", Format::Other("LZ4")),
    (b"Obj\x01", Format::Other("Avro")),
    (b"Rar!\x1a\x07", Format::Other("RAR")),
    (b"SQLite format 3\x00", Format::Other("SQLite")),
    (b"\xff\xfe\x00\x00", Format::Other(UTF_32)),
    (b"\x00\x00\xfe\xff", Format::Other(UTF_32)),
    (b"\xff\xfe", Format::Other(UTF_16)),
    (b"\xfe\xff", Format::Other(UTF_16)),
];
/// Letters with which text may begin too: they are a mark only where the bytes after them are no text.
const LETTERS: &[(&[u8], &str)] = &[
    (b"BZh", "bzip2"),
    (b"PAR1", "Parquet"),
    (b"ORC", "ORC"),
    (b"ARROW1", "Arrow"),
    (b"LZIP", "lzip"),
    (b"PGDMP", "a dump of PostgreSQL"),
    (b"x\x01", "zlib"),
    (b"x\x5e", "zlib"),
    (b"x\x9c", "zlib"),
    (b"x\xda", "zlib"),
];
const ZIP: &str = "a ZIP archive inside of something else; give the ZIP file itself";
const UTF_16: &str = "text in UTF-16; convert it to UTF-8";
const UTF_32: &str = "text in UTF-32; convert it to UTF-8";

impl Format {
    fn of(head: &[u8]) -> Self {
        let begins = |mark: &[u8]| head.starts_with(mark);
        if let Some((_, format)) = MARKS.iter().find(|(mark, _)| begins(mark)) {
            return *format;
        }
        if head.get(257..262) == Some(b"ustar") {
            return Self::Other("tar");
        }
        let is_control = |byte: &&u8| matches!(byte, 0..=8 | 14..=26 | 28..=31);
        let controls = head.iter().filter(is_control).count();
        let is_utf8 = match std::str::from_utf8(head) {
            Ok(_) => true,
            // The head may end within a character.
            Err(error) => error.error_len().is_none(),
        };
        if is_utf8 && controls == 0 {
            return Self::Text;
        }
        if snappy::begins_hadoop(head) {
            return Self::Snappy(Framing::Hadoop);
        }
        if snappy::begins_raw(head) {
            return Self::Snappy(Framing::Raw);
        }
        if let Some((_, what)) = LETTERS.iter().find(|(letters, _)| begins(letters)) {
            return Self::Other(what);
        }
        // A line that is broken or in an old encoding costs no more than itself.
        if controls == 0 || (is_utf8 && controls * 16 <= head.len()) {
            return Self::Text;
        }
        Self::Other(if is_utf16(head) { UTF_16 } else { "binary data" })
    }
}

/// Whether nearly each second byte is zero, and hardly any other: JSON in UTF-16.
fn is_utf16(head: &[u8]) -> bool {
    let zeros = |skipped| head.iter().skip(skipped).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    even.max(odd) * 4 >= head.len() && even.min(odd) * 16 <= head.len()
}

/// What some bytes hold, decompressed if need be.
///
/// # Errors
/// When their beginning cannot be read.
pub(super) fn content(mut input: Box<dyn Read>) -> io::Result<Content> {
    for _ in 0..=MOST_LAYERS {
        let mut head = Vec::new();
        match (&mut input).take(HEAD).read_to_end(&mut head) {
            Err(error) if head.is_empty() => return Err(error),
            // What came before it is read first.
            Err(error) => input = Box::new(Failing(Some(error))),
            Ok(_) => {}
        }
        let format = Format::of(&head);
        let whole = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(input));
        input = match format {
            Format::Text => return Ok(Content::Text(Box::new(whole))),
            // That text is in it is seen without decompressing all of it.
            Format::Snappy(Framing::Raw) => {
                return Ok(Content::Text(Box::new(Chunks::new(whole, Framing::Raw))));
            }
            // Firehose writes one member after another.
            Format::Gzip => Box::new(MultiGzDecoder::new(whole)),
            Format::FramedSnappy => Box::new(FrameDecoder::new(whole)),
            Format::Snappy(framing) => Box::new(Chunks::new(whole, framing)),
            Format::Other(what) => return Ok(Content::Unreadable(unreadable(what))),
        };
    }
    Ok(Content::Unreadable(unreadable("something that is compressed again and again")))
}

/// Says what something looks like, and what is read instead.
fn unreadable(what: &str) -> String {
    format!(
        "it looks like {what}; only text can be read, as it is or compressed by gzip, ZIP or Snappy"
    )
}

/// Fails once, then is at its end.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use snap::write::FrameEncoder;

    use super::*;
    use crate::replay::snappy::tests::{hadoop, java, raw};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut member = GzEncoder::new(Vec::new(), Compression::fast());
        member.write_all(bytes).expect("memory");
        member.finish().expect("memory")
    }

    fn framed(bytes: &[u8]) -> Vec<u8> {
        let mut frames = FrameEncoder::new(Vec::new());
        frames.write_all(bytes).expect("memory");
        frames.into_inner().expect("memory")
    }

    fn text(bytes: Vec<u8>) -> Box<dyn Read> {
        match content(Box::new(Cursor::new(bytes))).expect("memory can be read") {
            Content::Text(text) => text,
            Content::Unreadable(why) => panic!("{why}"),
        }
    }

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        text(bytes).read_to_end(&mut found)?;
        Ok(found)
    }

    fn refused(bytes: Vec<u8>) -> String {
        match content(Box::new(Cursor::new(bytes))).expect("memory can be read") {
            Content::Text(_) => panic!("it is taken for text"),
            Content::Unreadable(why) => why,
        }
    }

    fn archive() -> Vec<u8> {
        let line = |number| {
            format!("{{\"eventType\":\"Send\",\"mail\":{{\"messageId\":\"{number}\"}}}}\n")
        };
        (0..20_000).map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn text_is_found_however_it_is_compressed() {
        for plain in
            [archive(), b"{}".to_vec(), Vec::new(), "ä\u{feff}ö".into(), b"PAR1 ORC".into()]
        {
            assert_eq!(read(plain.clone()).expect("text"), plain);
            assert_eq!(read(gzip(&plain)).expect("gzip"), plain);
            assert_eq!(
                read([gzip(&plain), gzip(b"{}")].concat()).expect("gzip"),
                [&plain[..], b"{}"].concat()
            );
            assert_eq!(read(framed(&plain)).expect("framed"), plain);
            assert_eq!(read(gzip(&framed(&plain))).expect("both"), plain);
        }
        let plain = archive();
        for compressed in [
            java(&plain, 32_768),
            java(&plain, 5_000_000),
            [java(&plain[..70_000], 32_768), java(&plain[70_000..], 10_000)].concat(),
            hadoop(&plain, 50_000, 7_000),
            hadoop(&plain, 5_000_000, 5_000_000),
            raw(&plain),
        ] {
            assert!(read(compressed.clone()).expect("Snappy") == plain);
            assert!(read(gzip(&compressed)).expect("Snappy in gzip") == plain);
        }
        // A body alone, and text that hardly compresses.
        let hardly: Vec<_> =
            (0..400_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
        let hardly = hardly.concat();
        for plain in [br#"{"eventType":"Send"}"#.to_vec(), format!("[\"{hardly}\"]").into_bytes()] {
            for compressed in [java(&plain, 32_768), hadoop(&plain, 300_000, 262_144)] {
                assert_eq!(read(compressed).expect("Snappy"), plain);
            }
        }
        for length in (128..40_000).step_by(401) {
            let plain = hardly.repeat(20).into_bytes()[..length].to_vec();
            assert!(read(raw(&plain)).expect("Snappy") == plain, "{length}");
        }
        // An old encoding, or a control character, costs the lines that use it, not the file.
        for odd in [&b"{\"a\":\"\xe4\"}\n{}"[..], b"{\"a\":\"and so on\"}\nwith a \0 in it\n{}"] {
            assert_eq!(read(odd.to_vec()).expect("text"), odd);
        }
    }

    #[test]
    fn what_is_cut_is_read_up_to_there_and_fails() {
        let plain = archive();
        for whole in [
            gzip(&plain),
            framed(&plain),
            java(&plain, 32_768),
            hadoop(&plain, 50_000, 7_000),
            raw(&plain),
        ] {
            assert!(read(whole[..whole.len() - 9].to_vec()).is_err());
        }
        let cut = gzip(b"{\"a\":1}\n{\"b\":2}");
        let mut bytes = Vec::new();
        let mut input = text(cut[..cut.len() - 2].to_vec());
        assert!(input.read_to_end(&mut bytes).is_err());
        assert_eq!(bytes, b"{\"a\":1}\n{\"b\":2}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let utf16 = |order: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
            format!("{mark}{{\"a\":\"ä\"}}").encode_utf16().flat_map(order).collect()
        };
        let mut tar = vec![0; 1024];
        tar[..5].copy_from_slice(b"a.txt");
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, what) in [
            (b"\x28\xb5\x2f\xfd\x04\x58".to_vec(), "zstd"),
            (b"\xfd7zXZ\x00\x00\x04".to_vec(), "xz"),
            (b"BZh91AY&SY\x01\x02".to_vec(), "bzip2"),
            (b"PAR1\x15\x04\x15".to_vec(), "Parquet"),
            (b"ORC\x0a\x03\x00".to_vec(), "ORC"),
            (b"Obj\x01\x04".to_vec(), "Avro"),
            (b"\x04\x22\x4d\x18\x64".to_vec(), "LZ4"),
            (b"x\x9c\x03\x00".to_vec(), "zlib"),
            (b"x\xda\x03\x00".to_vec(), "zlib"),
            (b"\x5d\x00\x00\x80\x00\xff".to_vec(), "LZMA"),
            (b"\x1f\x9d\x90{".to_vec(), "compress"),
            (b"LZIP\x01\x0c".to_vec(), "lzip"),
            (b"ARROW1\x00\x00".to_vec(), "Arrow"),
            (b"7z\xbc\xaf\x27\x1c\x00".to_vec(), "7-Zip"),
            (b"PK\x03\x04\x14".to_vec(), "ZIP"),
            (utf16(u16::to_le_bytes, "\u{feff}"), "UTF-16"),
            (utf16(u16::to_be_bytes, "\u{feff}"), "UTF-16"),
            (utf16(u16::to_le_bytes, ""), "UTF-16"),
            (utf16(u16::to_be_bytes, ""), "UTF-16"),
            (vec![0; 700], "binary data"),
            (b"\x7fELF\x02\x01".to_vec(), "binary data"),
            (tar, "tar"),
        ] {
            for bytes in [bytes.clone(), gzip(&bytes), framed(&bytes), java(&bytes, 32_768)] {
                let said = refused(bytes);
                assert!(said.contains(what) && said.lines().count() == 1, "{what}: {said}");
            }
        }
        let again = (0..9).fold(b"{}".to_vec(), |bytes, _| gzip(&bytes));
        assert!(refused(again).contains("again and again"));
    }
}
