//! A TCP proxy before PostgreSQL that acts at a moment of a worker's transaction.
//!
//! Of the protocol it reads no more than it must: the frames of what the client sends, the text of
//! its simple queries, and which prepared statements write reports.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A message of a client that matters. `Write` and `Commit` are of transactions that write events;
/// `Begin` is of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    Begin,
    Write,
    Commit,
}

/// What becomes of such a message, and of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Pass,
    /// It arrives so much later.
    Delay(Duration),
    /// It never arrives. The connection stays open until the client closes it.
    Hold,
    /// It never arrives, and the server does not learn when the client is gone: its host is.
    Vanish,
    /// It does not arrive; the connection is closed.
    Cut,
    /// It is carried out and not answered. The connection stays open.
    LoseAnswer,
    /// It is carried out; after so many bytes of the answer the connection is closed.
    CutAnswer(usize),
}

type Script = Arc<dyn Fn(Moment, u64) -> Act + Send + Sync>;

#[derive(Default)]
struct State {
    script: Option<Script>,
    /// How often each moment has come.
    moments: HashMap<Moment, u64>,
    /// Acts that have had their effect: where a message is carried out, PostgreSQL has answered.
    done: u64,
}

/// A running proxy, stopped with this value, and every connection with it.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before the server of a `DATABASE_URL`.
    pub async fn before(url: &str) -> Self {
        let upstream = host_of(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection(client, upstream.clone(), Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, state, accepting }
    }

    /// The `DATABASE_URL` that leads through it.
    pub fn url(&self, url: &str) -> String {
        url.replace(host_of(url), &format!("127.0.0.1:{}", self.port))
    }

    /// From now on this says what becomes of each moment; it is told how many of its kind came
    /// before since the proxy started.
    pub fn script(&self, script: impl Fn(Moment, u64) -> Act + Send + Sync + 'static) {
        locked(&self.state).script = Some(Arc::new(script));
    }

    /// From now on all passes; what is held stays held.
    pub fn pass(&self) {
        locked(&self.state).script = None;
    }

    /// Acts that have had their effect.
    pub fn done(&self) -> u64 {
        locked(&self.state).done
    }

    /// Moments of all kinds so far.
    pub fn moments(&self) -> u64 {
        locked(&self.state).moments.values().sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What follows the user and precedes the database.
fn host_of(url: &str) -> &str {
    let after = url.split_once('@').map_or(url, |(_, after)| after);
    after.split(['/', '?']).next().unwrap_or(after)
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of the server's answers on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Pass,
    Lose,
    CutAfter(usize),
}

async fn connection(
    client: TcpStream,
    upstream: String,
    state: Arc<Mutex<State>>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (client, mut to_client) = client.into_split();
    let mut client = BufReader::new(client);
    let startup = loop {
        let body = untagged(&mut client).await?;
        // SSLRequest and GSSENCRequest: no, or nothing could be read.
        if matches!(body.get(..4), Some([0x04, 0xd2, 0x16, 0x2f | 0x30])) {
            to_client.write_all(b"N").await?;
        } else {
            break body;
        }
    };
    let server = TcpStream::connect(&upstream).await?;
    server.set_nodelay(true)?;
    let (server, mut to_server) = server.into_split();
    to_server.write_all(&framed(None, &startup)).await?;
    let answers = Arc::new(Mutex::new(Answers::Pass));
    // Whichever ends first takes the other along, and both sockets.
    tokio::select! {
        ended = forth(client, to_server, &state, &answers) => ended,
        ended = back(server, to_client, &state, &answers) => ended,
    }
}

/// Client to server, frame by frame.
async fn forth(
    mut client: BufReader<OwnedReadHalf>,
    mut server: OwnedWriteHalf,
    state: &Mutex<State>,
    answers: &Mutex<Answers>,
) -> io::Result<()> {
    let mut transaction = Transaction::default();
    loop {
        let tag = client.read_u8().await?;
        let body = untagged(&mut client).await?;
        let act = transaction.sees(tag, &body).map_or(Act::Pass, |moment| {
            let mut state = locked(state);
            let count = state.moments.entry(moment).or_default();
            let before = *count;
            *count += 1;
            let act = state.script.as_ref().map_or(Act::Pass, |script| script(moment, before));
            state.done += u64::from(matches!(act, Act::Hold | Act::Vanish | Act::Cut));
            act
        });
        let answer = |answer| *answers.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        match act {
            Act::Pass => {}
            Act::Delay(delay) => tokio::time::sleep(delay).await,
            Act::Hold => {
                while client.read(&mut [0; 1024]).await? > 0 {}
                return Ok(());
            }
            Act::Vanish => std::future::pending().await,
            Act::Cut => return Ok(()),
            Act::LoseAnswer => answer(Answers::Lose),
            Act::CutAnswer(bytes) => answer(Answers::CutAfter(bytes)),
        }
        server.write_all(&framed(Some(tag), &body)).await?;
    }
}

/// Server to client.
async fn back(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    state: &Mutex<State>,
    answers: &Mutex<Answers>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = server.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let answer = *answers.lock().unwrap_or_else(PoisonError::into_inner);
        locked(state).done += u64::from(answer != Answers::Pass);
        match answer {
            Answers::Pass => client.write_all(&buffer[..length]).await?,
            Answers::Lose => {}
            Answers::CutAfter(bytes) => {
                return client.write_all(&buffer[..length.min(bytes)]).await;
            }
        }
    }
}

/// What a connection's messages have said so far.
#[derive(Default)]
struct Transaction {
    /// The names of prepared statements that write events.
    writing: HashMap<Vec<u8>, bool>,
    has_written: bool,
}

impl Transaction {
    fn sees(&mut self, tag: u8, body: &[u8]) -> Option<Moment> {
        let mut strings = body.split(|byte| *byte == 0);
        match tag {
            b'P' => {
                let (name, text) = (strings.next()?, strings.next()?);
                let writes = [&b"-- ses-reports: write a batch"[..], b"-- ses-reports: write dead"]
                    .iter()
                    .any(|start| text.starts_with(start));
                self.writing.insert(name.to_vec(), writes);
                None
            }
            b'B' => {
                let (_, name) = (strings.next()?, strings.next()?);
                let writes = self.writing.get(name).copied().unwrap_or(false);
                self.has_written |= writes;
                writes.then_some(Moment::Write)
            }
            b'Q' if body.starts_with(b"BEGIN") => {
                self.has_written = false;
                Some(Moment::Begin)
            }
            b'Q' if body.starts_with(b"COMMIT") && self.has_written => Some(Moment::Commit),
            _ => None,
        }
    }
}

/// A length that counts itself, and what it announces.
async fn untagged(client: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let length = client.read_u32().await?;
    let length = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4);
    let mut body = vec![0; length];
    client.read_exact(&mut body).await?;
    Ok(body)
}

fn framed(tag: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("less than 4 GiB");
    let mut frame: Vec<u8> = tag.into_iter().collect();
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    frame
}
