//! ZIP archives: each file in one is a separate source.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use zip::CompressionMethod;
use zip::ZipArchive;

const BUFFER: usize = 256 * 1024;

/// A file in a ZIP archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name in the archive, without control characters, which PostgreSQL or a terminal may not take.
    pub(super) name: String,
    /// Its size in the archive.
    pub(super) bytes: u64,
    /// The checksum of its content.
    pub(super) crc: u32,
    start: u64,
    is_deflated: bool,
}

/// Whether a file is a ZIP archive. One that cannot be read says so when it is opened.
pub(super) fn is_zip(path: &Path) -> bool {
    let mut magic = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic));
    read.is_ok() && [b"PK\x03\x04", b"PK\x05\x06"].iter().any(|zip| magic == *zip)
}

/// The files in an archive, in its order; and in a line each, what is in it and cannot be read. Names
/// that begin with a dot are passed over, as they are in folders.
pub(super) fn entries(path: &Path) -> io::Result<(Vec<Entry>, Vec<String>)> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index)?;
        let name = file.name()?.replace(char::is_control, "\u{fffd}");
        let is_hidden = name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX");
        if file.is_dir() || is_hidden {
            continue;
        }
        let method = file.compression();
        let is_deflated = method == CompressionMethod::DEFLATE;
        match file.data_start() {
            _ if file.encrypted() => problems.push(format!("{name}: it is encrypted")),
            Some(start) if is_deflated || method == CompressionMethod::STORE => {
                let (bytes, crc) = (file.compressed_size(), file.crc32());
                entries.push(Entry { name, bytes, crc, start, is_deflated });
            }
            _ => problems
                .push(format!("{name}: it is compressed by {method}; only Deflate can be read")),
        }
    }
    Ok((entries, problems))
}

impl Entry {
    /// The content, from the bytes of the archive; `count` sees them pass.
    pub(super) fn open(
        &self,
        mut archive: File,
        count: impl FnOnce(io::Take<File>) -> Box<dyn Read>,
    ) -> io::Result<Box<dyn Read>> {
        archive.seek(SeekFrom::Start(self.start))?;
        let bytes = BufReader::with_capacity(BUFFER, count(archive.take(self.bytes)));
        let input: Box<dyn Read> =
            if self.is_deflated { Box::new(DeflateDecoder::new(bytes)) } else { Box::new(bytes) };
        Ok(Box::new(Checked { input, sum: Crc::new(), expected: self.crc }))
    }
}

/// Compares the checksum at the end.
struct Checked {
    input: Box<dyn Read>,
    sum: Crc,
    expected: u32,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.sum.update(buffer.get(..count).unwrap_or_default());
        if count == 0 && !buffer.is_empty() && self.sum.sum() != self.expected {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its checksum in the ZIP archive does not match",
            ));
        }
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    pub(in crate::replay) const STORED: CompressionMethod = CompressionMethod::STORE;
    pub(in crate::replay) const DEFLATED: CompressionMethod = CompressionMethod::DEFLATE;

    /// A ZIP archive of files by their names, written as a stream: sizes follow each file, and are
    /// in the directory.
    pub(in crate::replay) fn zip(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut written = ZipWriter::new_stream(Vec::new());
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, content) in files {
            written.start_file(name, options).expect("a file");
            written.write_all(content).expect("memory");
        }
        written.finish().expect("memory").into_inner()
    }

    #[test]
    fn what_cannot_be_decompressed_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("archive.zip");
        let mut bytes = zip(&[("a\nb", b"{}"), ("c", b"{}")], STORED);
        // The method of the first file, and the flags of the second: in the directory, behind its mark.
        let mark = |nth| {
            let marks = bytes.windows(4).enumerate().filter(|(_, mark)| *mark == b"PK\x01\x02");
            marks.map(|(at, _)| at).nth(nth).expect("an entry")
        };
        let (first, second) = (mark(0), mark(1));
        bytes[first + 10] = 93;
        bytes[second + 8] |= 1;
        std::fs::write(&path, bytes).expect("a file");
        let (entries, unreadable) = entries(&path).expect("a directory");
        assert_eq!(entries, []);
        assert_eq!(unreadable.len(), 2, "{unreadable:?}");
        assert!(unreadable[0].starts_with("a\u{fffd}b: it is compressed by"), "{unreadable:?}");
        assert!(unreadable[1].contains("encrypted"), "{unreadable:?}");
    }
}
