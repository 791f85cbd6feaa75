//! Snappy as it is found in archives, besides its own framing: the stream of snappy-java, which
//! Firehose writes as `Snappy`; the blocks of Hadoop, which it writes as `HADOOP_SNAPPY`; and a single
//! raw block. Only the first of them begins with a signature.

use std::io::{self, Read};

use snap::raw::{Decoder, decompress_len, max_compress_len};

/// The longest chunk, which is decompressed in memory. Firehose writes at most 128 MiB into an object;
/// snappy-java's own chunks have 32 KiB, and Hadoop's 256 KiB.
const LONGEST_CHUNK: usize = 128 * 1024 * 1024;
/// A raw block that is shorter cannot be told from other bytes.
const SHORTEST_RAW: usize = 128;
/// How the stream of snappy-java begins. Two version numbers follow.
pub(super) const JAVA: &[u8] = b"\x82SNAPPY\0";
const VERSIONS: usize = 8;
/// The most bytes that the length of a chunk takes.
const LENGTH: usize = 5;
/// The kind of a piece of a chunk that is copied as it is, in the lowest two bits of its tag.
const LITERAL: u8 = 0;

fn broken(says: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("its Snappy cannot be read: {says}"))
}

fn word(bytes: &[u8]) -> Option<usize> {
    let word = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    usize::try_from(word).ok()
}

/// Whether these bytes begin a block of Hadoop's: its length, the length of a chunk, and a chunk of
/// text that fits in both.
pub(super) fn begins_hadoop(head: &[u8]) -> bool {
    let lengths = || Some((word(head)?, word(head.get(4..)?)?, begin_of_chunk(head.get(8..)?)?));
    lengths().is_some_and(|(block, compressed, plain)| {
        plain <= block && (1..=max_compress_len(plain)).contains(&compressed)
    })
}

/// Whether these bytes begin a raw block of text.
pub(super) fn begins_raw(head: &[u8]) -> bool {
    begin_of_chunk(head).is_some_and(|plain| plain >= SHORTEST_RAW)
}

/// The length of the text of which this is the beginning in Snappy: a length, and then a literal, which
/// is copied as it is.
fn begin_of_chunk(head: &[u8]) -> Option<usize> {
    let plain = decompress_len(head).ok().filter(|plain| (1..=LONGEST_CHUNK).contains(plain))?;
    // A byte of the length that is not the last has its highest bit set.
    let tag_at = head.iter().position(|byte| *byte < 0x80)? + 1;
    let tag = *head.get(tag_at)?;
    let is_literal = tag & 0b11 == LITERAL;
    // A literal of up to 60 bytes has its length in the tag, a longer one in 1 to 4 bytes after it.
    let length = usize::from(tag >> 2) + 1;
    let text_at = tag_at + 1 + length.saturating_sub(60);
    let seen = if length > 60 { usize::MAX } else { length };
    let text = head.get(text_at..)?;
    let is_text = !text.is_empty()
        && text
            .iter()
            .take(seen.min(8))
            .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte >= 0x80);
    (is_literal && is_text).then_some(plain)
}

fn decompress(compressed: &[u8], longest: usize) -> io::Result<Vec<u8>> {
    check_length(compressed, longest)?;
    Decoder::new().decompress_vec(compressed).map_err(|error| broken(&error.to_string()))
}

/// How long a chunk will be, told by its beginning.
fn check_length(head: &[u8], longest: usize) -> io::Result<usize> {
    match decompress_len(head) {
        Ok(plain) if plain > longest => Err(broken("a chunk is longer than it may be")),
        Ok(plain) => Ok(plain),
        Err(error) => Err(broken(&error.to_string())),
    }
}

/// How chunks follow each other, each behind its compressed length.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    /// Behind a mark, which may come again where streams were joined.
    Java,
    /// Until they are as long as their block says, whose length is before them.
    Hadoop,
    /// There is only one, and its length is not written.
    Raw,
}

/// Decompresses chunks, one at a time.
pub(super) struct Chunks<R> {
    input: R,
    framing: Framing,
    /// How much of Hadoop's block is still to come.
    left: usize,
    chunk: Vec<u8>,
    /// How much of the chunk is taken.
    taken: usize,
}

impl<R: Read> Chunks<R> {
    pub(super) fn new(input: R, framing: Framing) -> Self {
        Self { input, framing, left: 0, chunk: Vec::new(), taken: 0 }
    }

    /// At most this many bytes, fewer at the end. Memory is taken only for bytes that are there.
    fn bytes(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        (&mut self.input).take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// `None` at the end, which is between two chunks or blocks.
    fn length(&mut self) -> io::Result<Option<usize>> {
        let bytes = self.bytes(4)?;
        match word(&bytes) {
            None if bytes.is_empty() => Ok(None),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            length => Ok(length),
        }
    }

    fn sized(&mut self, length: usize, longest: usize) -> io::Result<Vec<u8>> {
        if length > max_compress_len(LONGEST_CHUNK) {
            return Err(broken("a chunk is longer than it may be"));
        }
        let compressed = self.bytes(length)?;
        if compressed.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decompress(&compressed, longest)
    }

    fn java(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.length()? {
                None => return Ok(None),
                length if length == word(JAVA) => {
                    let rest = JAVA.len() - 4 + VERSIONS;
                    if self.bytes(rest)?.len() < rest {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Some(length) => return self.sized(length, LONGEST_CHUNK).map(Some),
            }
        }
    }

    fn hadoop(&mut self) -> io::Result<Option<Vec<u8>>> {
        while self.left == 0 {
            match self.length()? {
                None => return Ok(None),
                Some(length) => self.left = length,
            }
        }
        let length = self.length()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let chunk = self.sized(length, self.left.min(LONGEST_CHUNK))?;
        self.left -= chunk.len();
        Ok(Some(chunk))
    }

    fn raw(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut compressed = self.bytes(LENGTH)?;
        if compressed.is_empty() {
            return Ok(None);
        }
        let plain = check_length(&compressed, LONGEST_CHUNK)?;
        // Where there is more than a block of this length can have, decompressing it fails.
        compressed.extend(self.bytes(max_compress_len(plain))?);
        decompress(&compressed, plain).map(Some)
    }
}

impl<R: Read> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.chunk.len() {
            // Its memory is free before the next one takes some.
            self.chunk = Vec::new();
            self.taken = 0;
            let next = match self.framing {
                Framing::Java => self.java(),
                Framing::Hadoop => self.hadoop(),
                Framing::Raw => self.raw(),
            };
            match next? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let count = self.chunk.get(self.taken..).unwrap_or_default().read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use snap::raw::Encoder;

    use super::*;

    pub(in crate::replay) fn raw(bytes: &[u8]) -> Vec<u8> {
        Encoder::new().compress_vec(bytes).expect("memory")
    }

    fn sized(length: usize) -> [u8; 4] {
        u32::try_from(length).expect("short").to_be_bytes()
    }

    fn chunks(bytes: &[u8], chunk: usize) -> Vec<u8> {
        bytes
            .chunks(chunk)
            .map(raw)
            .flat_map(|chunk| [&sized(chunk.len())[..], &chunk].concat())
            .collect()
    }

    /// As snappy-java's `SnappyOutputStream` writes it.
    pub(in crate::replay) fn java(bytes: &[u8], chunk: usize) -> Vec<u8> {
        [JAVA, &sized(1), &sized(1), &chunks(bytes, chunk)].concat()
    }

    /// As Hadoop's `BlockCompressorStream` writes it.
    pub(in crate::replay) fn hadoop(bytes: &[u8], block: usize, chunk: usize) -> Vec<u8> {
        let block_of = |block: &[u8]| [&sized(block.len())[..], &chunks(block, chunk)].concat();
        bytes.chunks(block).flat_map(block_of).collect()
    }

    #[test]
    fn lengths_that_lie_take_no_memory() {
        let mut read = Vec::new();
        let mut blocks = hadoop(&[b'a'; 1000], 500, 100);
        // The first block says 257 instead of 500: the third chunk of 100 is not in it.
        blocks[3] = 1;
        assert!(Chunks::new(&*blocks, Framing::Hadoop).read_to_end(&mut read).is_err());
        assert_eq!(std::mem::take(&mut read), [b'a'; 200]);
        let endless = [JAVA, &sized(1), &sized(1), &[0xff; 64]].concat();
        assert!(Chunks::new(&*endless, Framing::Java).read_to_end(&mut read).is_err());
        // It says that 4 GiB follow.
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, b'{'];
        let chunk = [&sized(bomb.len())[..], &bomb].concat();
        let longest = sized(usize::MAX & 0xffff_ffff);
        for (bytes, framing) in [
            (bomb.to_vec(), Framing::Raw),
            ([JAVA, &sized(1), &sized(1), &chunk].concat(), Framing::Java),
            ([&longest[..], &chunk].concat(), Framing::Hadoop),
        ] {
            let error = Chunks::new(&*bytes, framing).read_to_end(&mut read).expect_err("a lie");
            assert!(error.to_string().contains("longer than it may be"), "{framing:?}: {error}");
        }
        // A block without an end: no more of it is read than can belong to 1000 bytes.
        let mut unending = (&b"\xe8\x07\x00"[..]).chain(io::repeat(b'{')).take(1 << 40);
        assert!(Chunks::new(&mut unending, Framing::Raw).read_to_end(&mut read).is_err());
        assert!(unending.limit() > (1 << 40) - 2_000, "{}", unending.limit());
        assert_eq!(read, b"");
    }

    #[test]
    fn what_is_no_snappy_is_not_taken_for_it() {
        let text = br#"{"eventType":"Send","mail":{"messageId":"1"}}"#;
        for head in [
            &[][..],
            &[0; 64],
            &[0xff; 64],
            b"\x00\x00\x00\x01\x00\x00\x00\x01\x7f",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            text,
        ] {
            assert!(!begins_hadoop(head) && !begins_raw(head), "{head:?}");
        }
    }
}
