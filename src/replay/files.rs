//! The files of an archive: found, identified, opened.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

/// How much of the start and of the end of a file tells it from others.
const SAMPLE: u64 = 64 * 1024;
const BUFFER: usize = 256 * 1024;
/// What gzip begins with (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Where bodies are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name in messages: as it was given, or below the folder that was.
    pub name: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    StandardInput,
    File {
        path: PathBuf,
        /// Its name without its folder.
        known_as: String,
        bytes: u64,
    },
    /// A pipe or a device.
    Stream(PathBuf),
}

impl Source {
    /// Its size, where that is known before it is read.
    pub fn bytes(&self) -> Option<u64> {
        match &self.place {
            Place::File { bytes, .. } => Some(*bytes),
            Place::StandardInput | Place::Stream(_) => None,
        }
    }

    /// Opens it; what is compressed by gzip is decompressed. Bytes that are read from it, as they
    /// lie there, are added to `read`.
    pub(super) fn open(&self, read: Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
        let mut input: Box<dyn Read> = match &self.place {
            Place::StandardInput => Box::new(Counted { input: io::stdin(), read }),
            Place::File { path, .. } | Place::Stream(path) => {
                Box::new(Counted { input: File::open(path)?, read })
            }
        };
        let mut magic = Vec::new();
        (&mut input).take(2).read_to_end(&mut magic)?;
        let is_gzip = magic == GZIP;
        let input = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(input));
        // Firehose writes one member after another.
        if is_gzip { Ok(Box::new(MultiGzDecoder::new(input))) } else { Ok(Box::new(input)) }
    }
}

struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(buffer)?;
        self.read.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(bytes)
    }
}

/// What the paths name: `-` is standard input, a folder stands for the files in it, those of its
/// folders among them, in the order of their names. Names that begin with a dot are passed over, as
/// are links to folders. The second list says in a line each what could not be looked at.
pub fn find(paths: &[PathBuf]) -> (Vec<Source>, Vec<String>) {
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        if path == Path::new("-") {
            let place = Place::StandardInput;
            sources.push(Source { name: "standard input".to_owned(), place });
            continue;
        }
        let known_as = path.file_name().map_or_else(String::new, |name| text(Path::new(name)));
        add(path, &known_as, true, &mut sources, &mut problems);
    }
    (sources, problems)
}

fn add(
    path: &Path,
    known_as: &str,
    is_given: bool,
    sources: &mut Vec<Source>,
    problems: &mut Vec<String>,
) {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return problems.push(format!("{}: {error}", path.display())),
    };
    if metadata.is_dir() {
        // A link to a folder may lead back to where it lies.
        if is_given || !path.is_symlink() {
            add_folder(path, if is_given { "" } else { known_as }, sources, problems);
        }
        return;
    }
    let place = if metadata.is_file() {
        let (path, known_as) = (path.to_owned(), known_as.to_owned());
        Place::File { path, known_as, bytes: metadata.len() }
    } else {
        Place::Stream(path.to_owned())
    };
    sources.push(Source { name: text(path), place });
}

fn add_folder(path: &Path, known_as: &str, sources: &mut Vec<Source>, problems: &mut Vec<String>) {
    let names: io::Result<Vec<_>> = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    match names {
        Ok(mut names) => {
            names.sort();
            for name in names.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
                let known_as = text(&Path::new(known_as).join(name));
                add(&path.join(name), &known_as, false, sources, problems);
            }
        }
        Err(error) => problems.push(format!("{}: {error}", path.display())),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What a replay of these files is known by, wherever they lie: their names, sizes, beginnings and
/// ends. `None` where one of them cannot be read twice. A file that cannot be read at all says so
/// when it is to be replayed.
pub fn identity(sources: &[Source]) -> Option<Uuid> {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    for source in sources {
        let Place::File { path, known_as, bytes } = &source.place else {
            return None;
        };
        part(known_as.as_bytes());
        part(&bytes.to_be_bytes());
        part(&samples(path, *bytes).unwrap_or_default());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(hash.finalize().get(..16)?);
    Some(Builder::from_custom_bytes(bytes).into_uuid())
}

fn samples(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut samples = Vec::new();
    (&mut file).take(SAMPLE).read_to_end(&mut samples)?;
    file.seek(SeekFrom::Start(bytes.saturating_sub(SAMPLE)))?;
    file.take(SAMPLE).read_to_end(&mut samples)?;
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_files_in_order_wherever_it_lies() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |root: &str| {
            let root = folder.path().join(root);
            std::fs::create_dir_all(root.join("b/c")).expect("folders");
            for (name, text) in [("a.json", "1"), ("b/c/d", "2"), ("b/a", "3"), (".hidden", "4")] {
                std::fs::write(root.join(name), text).expect("a file");
            }
            root
        };
        let (one, other) = (make("one"), make("other"));
        let (found, problems) = find(&[one.clone(), folder.path().join("none")]);
        let names: Vec<_> =
            found.iter().filter_map(|source| source.name.strip_prefix(&text(&one))).collect();
        assert_eq!(names, ["/a.json", "/b/a", "/b/c/d"]);
        assert_eq!(problems.len(), 1);
        let id = identity(&found);
        assert!(id.is_some());
        assert_eq!(identity(&find(std::slice::from_ref(&other)).0), id);
        std::fs::write(other.join("b/a"), "5").expect("a file");
        assert_ne!(identity(&find(&[other]).0), id);
        assert_eq!(identity(&find(&[PathBuf::from("-")]).0), None);
    }
}
