//! Reads the files of an archive and hands their bodies over, as far as they are not committed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::Shared;
use super::bodies::{Bodies, LONGEST, Piece};
use super::covered::Covered;
use super::files::Source;
use super::format::Content;
use super::part::Chunk;
use crate::store::Done;

/// A part is written when it has this many bodies,
const MOST_BODIES: usize = 1_000;
/// or this many bytes of them.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// The writers are gone, or the replay was stopped.
struct Stopped;

/// Reads all sources; false if it was stopped before the end.
pub(super) fn read(
    shared: &Shared,
    sources: &[Source],
    done: &[Done],
    found: &mpsc::Sender<Chunk>,
) -> bool {
    (0..).zip(sources).all(|(file, source)| {
        let covered = Covered::of(done, file);
        if covered.is_all() {
            let bytes = source.bytes().unwrap_or(0);
            shared.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
            return true;
        }
        let mut file =
            Reading { shared, found, covered, source, next: 0, chunk: empty(file, source) };
        file.read().is_ok()
    })
}

fn empty(file: i32, source: &Source) -> Chunk {
    let name = Arc::from(source.name.as_str());
    Chunk { file, name, first_body: 0, bodies: Vec::new(), is_last: false }
}

struct Reading<'a> {
    shared: &'a Shared,
    found: &'a mpsc::Sender<Chunk>,
    covered: Covered,
    source: &'a Source,
    /// The number of the next body.
    next: i64,
    chunk: Chunk,
}

impl Reading<'_> {
    fn read(&mut self) -> Result<(), Stopped> {
        match self.pieces()? {
            Ok(is_whole) => self.hand_over(is_whole),
            Err(error) => {
                let name = &self.source.name;
                self.shared.problem(match self.next {
                    0 => format!("{name}: {error}"),
                    read => format!("{name}: after {read} bodies: {error}"),
                });
                self.hand_over(false)
            }
        }
    }

    /// The inner result is the file's: whether nothing of it was passed over.
    fn pieces(&mut self) -> Result<io::Result<bool>, Stopped> {
        let input = match self.source.open(Arc::clone(&self.shared.progress.bytes)) {
            Ok(Content::Text(input)) => input,
            Ok(Content::Unreadable(why)) => return Ok(Err(io::Error::other(why))),
            Err(error) => return Ok(Err(error)),
        };
        let (mut bodies, mut bytes, mut is_whole) = (Bodies::new(input), 0, true);
        loop {
            let (line, text) = match bodies.next_piece() {
                Ok(Some(Piece::Body { line, text })) => (line, text),
                Ok(Some(Piece::TooLong { line })) => {
                    self.shared.problem(format!(
                        "{}: line {line} has more than {LONGEST} bytes: no body is that long; the line is left out",
                        self.source.name
                    ));
                    is_whole = false;
                    continue;
                }
                Ok(None) => return Ok(Ok(is_whole)),
                Err(error) => return Ok(Err(error)),
            };
            let number = self.next;
            self.next += 1;
            if self.covered.holds(number) {
                if !self.chunk.bodies.is_empty() {
                    self.hand_over(false)?;
                    bytes = 0;
                }
                continue;
            }
            if self.shared.stop.is_cancelled() {
                return Err(Stopped);
            }
            if self.chunk.bodies.is_empty() {
                self.chunk.first_body = number;
            }
            bytes += text.len();
            // PostgreSQL's text is UTF-8, as JSON is.
            let body = String::from_utf8(text)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            self.chunk.bodies.push((line, body));
            if self.chunk.bodies.len() >= MOST_BODIES || bytes >= MOST_BYTES {
                self.hand_over(false)?;
                bytes = 0;
            }
        }
    }

    /// Waits until a writer takes what there is; at the end of the file that may be no body.
    fn hand_over(&mut self, is_last: bool) -> Result<(), Stopped> {
        if self.chunk.bodies.is_empty() && !is_last {
            return Ok(());
        }
        let next = empty(self.chunk.file, self.source);
        let mut chunk = std::mem::replace(&mut self.chunk, next);
        if chunk.bodies.is_empty() {
            chunk.first_body = self.next;
        }
        chunk.is_last = is_last;
        self.found.blocking_send(chunk).map_err(|_closed| Stopped)
    }
}
