//! The files of an archive: found, identified, opened. Files in a ZIP archive are found as those of a
//! folder are.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use super::format::{self, Content};
use super::zip::{self, Entry};

/// How much of the start and of the end of a file identifies it.
const SAMPLE: u64 = 64 * 1024;

/// Where bodies are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its name in messages: as it was given, or below the folder that was.
    pub(crate) name: String,
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
    /// A file in a ZIP archive.
    Entry {
        path: PathBuf,
        /// What it is called wherever the archive lies.
        known_as: String,
        entry: Entry,
    },
    /// A pipe or a device.
    Stream(PathBuf),
}

impl Source {
    /// Its size, where that is known before it is read.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match &self.place {
            Place::File { bytes, .. } => Some(*bytes),
            Place::Entry { entry, .. } => Some(entry.bytes),
            Place::StandardInput | Place::Stream(_) => None,
        }
    }

    /// Opens it; its text is decompressed if need be. The bytes that are read from it, as they lie
    /// there, are added to `read`.
    pub(super) fn open(&self, read: Arc<AtomicU64>) -> io::Result<Content> {
        format::content(match &self.place {
            Place::StandardInput => Box::new(Counted { input: io::stdin(), read }),
            Place::File { path, .. } | Place::Stream(path) => {
                Box::new(Counted { input: File::open(path)?, read })
            }
            Place::Entry { path, entry, .. } => {
                entry.open(File::open(path)?, |input| Box::new(Counted { input, read }))?
            }
        })
    }

    /// Why it is no text, if it is none. A file that cannot be opened says so when it is read, and a
    /// pipe can only be read once.
    fn refusal(&self) -> Option<String> {
        match &self.place {
            Place::StandardInput | Place::Stream(_) => None,
            Place::File { .. } | Place::Entry { .. } => match self.open(Arc::default()) {
                Ok(Content::Unreadable(why)) => Some(format!("{}: {why}", self.name)),
                Ok(Content::Text(_)) | Err(_) => None,
            },
        }
    }
}

/// What some paths name.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What can be replayed.
    pub(crate) sources: Vec<Source>,
    /// In a line each, what could not be looked at.
    pub(crate) missing: Vec<String>,
    /// In a line each, what is no text, and what it looks like.
    pub(crate) unreadable: Vec<String>,
}

impl Found {
    /// Adds a source, unless it is a file that is no text.
    fn add(&mut self, source: Source) {
        match source.refusal() {
            Some(why) => self.unreadable.push(why),
            None => self.sources.push(source),
        }
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

/// What the paths name: `-` is standard input, a folder means all files in it and in its
/// subfolders, in the order of their names. Names that begin with a dot are skipped, and so are links
/// to folders. The beginning of each file is looked at, so that what is no text is known
/// before anything is written.
pub(crate) fn find(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for path in paths {
        if path == Path::new("-") {
            let place = Place::StandardInput;
            found.add(Source { name: "standard input".to_owned(), place });
            continue;
        }
        let known_as = path.file_name().map_or_else(String::new, |name| text(Path::new(name)));
        add(path, &known_as, true, &mut found);
    }
    found
}

fn add(path: &Path, known_as: &str, is_given: bool, found: &mut Found) {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return found.missing.push(format!("{}: {error}", path.display())),
    };
    if metadata.is_dir() {
        // A link to a folder may lead back to where it lies.
        if is_given || !path.is_symlink() {
            add_folder(path, if is_given { "" } else { known_as }, found);
        }
        return;
    }
    if metadata.is_file() && zip::is_zip(path) {
        return add_zip(path, known_as, found);
    }
    let place = if metadata.is_file() {
        let (path, known_as) = (path.to_owned(), known_as.to_owned());
        Place::File { path, known_as, bytes: metadata.len() }
    } else {
        Place::Stream(path.to_owned())
    };
    found.add(Source { name: text(path), place });
}

fn add_zip(path: &Path, known_as: &str, found: &mut Found) {
    let name = path.display();
    let (entries, unreadable) = match zip::entries(path) {
        Ok(entries) => entries,
        Err(error) => {
            return found.unreadable.push(format!("{name}: broken ZIP archive: {error}"));
        }
    };
    found.unreadable.extend(unreadable.iter().map(|problem| format!("{name}/{problem}")));
    for entry in entries {
        let known_as = format!("{known_as}/{}", entry.name);
        found.add(Source {
            name: format!("{name}/{}", entry.name),
            place: Place::Entry { path: path.to_owned(), known_as, entry },
        });
    }
}

fn add_folder(path: &Path, known_as: &str, found: &mut Found) {
    let names: io::Result<Vec<_>> = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    match names {
        Ok(mut names) => {
            names.sort();
            for name in names.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
                let known_as = text(&Path::new(known_as).join(name));
                add(&path.join(name), &known_as, false, found);
            }
        }
        Err(error) => found.missing.push(format!("{}: {error}", path.display())),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What a replay of these files is known by, wherever they lie: their names, sizes, beginnings and
/// ends. `None` where one of them cannot be read twice. A file that cannot be read at all says so
/// when it is to be replayed.
pub(crate) fn identity(sources: &[Source]) -> Option<Uuid> {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    for source in sources {
        match &source.place {
            Place::File { path, known_as, bytes } => {
                part(known_as.as_bytes());
                part(&bytes.to_be_bytes());
                part(&samples(path, *bytes).unwrap_or_default());
            }
            Place::Entry { known_as, entry, .. } => {
                part(known_as.as_bytes());
                part(&entry.bytes.to_be_bytes());
                part(&entry.crc.to_be_bytes());
            }
            Place::StandardInput | Place::Stream(_) => return None,
        }
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
    use crate::replay::bodies::{Bodies, LONGEST, Piece};
    use crate::replay::zip::tests::{DEFLATED, STORED, zip as zip_of};

    fn names(found: &Found, root: &Path) -> Vec<String> {
        let root = text(root);
        let below = |source: &Source| source.name.strip_prefix(&root).map(str::to_owned);
        found.sources.iter().filter_map(below).collect()
    }

    fn opened(source: &Source, count: &Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
        match source.open(Arc::clone(count))? {
            Content::Text(text) => Ok(text),
            Content::Unreadable(why) => panic!("{why}"),
        }
    }

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
        let found = find(&[one.clone(), folder.path().join("none")]);
        assert_eq!(names(&found, &one), ["/a.json", "/b/a", "/b/c/d"]);
        assert_eq!((found.missing.len(), found.unreadable.len()), (1, 0));
        let id = identity(&found.sources);
        assert!(id.is_some());
        assert_eq!(identity(&find(std::slice::from_ref(&other)).sources), id);
        std::fs::write(other.join("b/a"), "5").expect("a file");
        assert_ne!(identity(&find(&[other]).sources), id);
        assert_eq!(identity(&find(&[PathBuf::from("-")]).sources), None);
    }

    #[test]
    fn what_is_no_text_is_known_before_anything_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let nested = zip_of(&[("inner", b"{}")], STORED);
        let files: [(&str, &[u8]); 3] =
            [("a", b"{}"), ("b.zst", b"\x28\xb5\x2f\xfd"), ("c.zip", &nested)];
        for (name, bytes) in [
            ("a.json", b"{}".to_vec()),
            ("b.xz", b"\xfd7zXZ\x00\x00".to_vec()),
            ("c.zip", zip_of(&files, DEFLATED)),
            ("d.zip", b"PK\x03\x04 and no more".to_vec()),
        ] {
            std::fs::write(root.join(name), bytes).expect("a file");
        }
        let found = find(&[root.to_owned()]);
        assert_eq!(names(&found, root), ["/a.json", "/c.zip/a"]);
        let expected = [
            ("b.xz: ", "xz"),
            ("c.zip/b.zst: ", "zstd"),
            ("c.zip/c.zip: ", "ZIP"),
            ("d.zip: ", "broken ZIP"),
        ];
        assert_eq!(found.unreadable.len(), expected.len(), "{:?}", found.unreadable);
        for (line, (name, what)) in found.unreadable.iter().zip(expected) {
            assert!(line.contains(name) && line.contains(what), "{line}");
        }
    }

    #[test]
    fn a_zip_archive_is_its_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("archive.zip");
        let lines: Vec<_> = (0..20_000).map(|number| format!("{{\"a\":{number}}}\n")).collect();
        let long = lines.concat();
        let files: [(&str, &[u8]); 5] = [
            ("2026/", b""),
            ("2026/b.json", long.as_bytes()),
            (".hidden", b"{}"),
            ("__MACOSX/b", b"{}"),
            ("a.json", b"{}"),
        ];
        for method in [STORED, DEFLATED] {
            let written = zip_of(&files, method);
            std::fs::write(&path, &written).expect("a file");
            let found = find(std::slice::from_ref(&path));
            assert_eq!((found.missing.len(), found.unreadable.len()), (0, 0));
            assert_eq!(names(&found, &path), ["/2026/b.json", "/a.json"]);
            let count = Arc::new(AtomicU64::new(0));
            let mut read = String::new();
            let mut input = opened(&found.sources[0], &count).expect("it opens");
            input.read_to_string(&mut read).expect("it can be read");
            assert!(read == long);
            assert_eq!(Some(count.load(Ordering::Relaxed)), found.sources[0].bytes());
            let id = identity(&found.sources);
            assert!(id.is_some());

            // Another content is another archive, wherever in the file it is.
            let other = long.replace("15000", "15001");
            std::fs::write(
                &path,
                zip_of(&[files[0], ("2026/b.json", other.as_bytes()), files[4]], method),
            )
            .expect("a file");
            assert_ne!(identity(&find(std::slice::from_ref(&path)).sources), id);

            // A byte that is not as it was is noticed at the end of the file at the latest.
            for at in [9_000, 20_000, 30_000] {
                let mut bytes = written.clone();
                bytes[at] ^= 1;
                std::fs::write(&path, bytes).expect("a file");
                let found = find(std::slice::from_ref(&path));
                let input = opened(&found.sources[0], &count);
                let mut read = Vec::new();
                assert!(input.and_then(|mut input| input.read_to_end(&mut read)).is_err(), "{at}");
            }
        }
    }

    #[test]
    fn a_zip_bomb_is_read_a_piece_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bomb.zip");
        let endless = [vec![b'x'; LONGEST * 2], b"\n{}".to_vec()].concat();
        let written = zip_of(&[("endless", &endless)], DEFLATED);
        assert!(written.len() < LONGEST / 64, "{}", written.len());
        std::fs::write(&path, written).expect("a file");
        let found = find(&[path]);
        let mut bodies = Bodies::new(opened(&found.sources[0], &Arc::default()).expect("it opens"));
        let mut next = || bodies.next_piece().expect("it can be read");
        assert_eq!(next(), Some(Piece::TooLong { line: 1 }));
        assert_eq!(next(), Some(Piece::Body { line: 2, text: b"{}".to_vec() }));
        assert_eq!(next(), None);
    }
}
