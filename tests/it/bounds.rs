//! What `decode` may take of memory, whatever is in a body.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use crate::fuzz::large;

/// What SQS lets through.
const BODY: usize = 1024 * 1024;
/// What decode may take for one body, beyond what it takes for a small one.
const MOST_KIB: u64 = 64 * 1024;

/// `ses-reports decode -`, which waits for more bodies.
struct Decode {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Decode {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ses-reports"))
            .args(["decode", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, output }
    }

    /// Decodes a body, and tells the most memory that the process had up to now, in KiB.
    fn peak_after(&mut self, body: &str) -> u64 {
        assert!(!body.contains('\n') && body.len() <= BODY, "{} bytes", body.len());
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{body}").expect("it reads");
        let mut line = Vec::new();
        self.output.read_until(b'\n', &mut line).expect("it writes");
        assert!(line.starts_with(b"{\"file\":\"-\""), "a line for each body");
        let id = i32::try_from(self.child.id()).expect("a process id");
        let process = procfs::process::Process::new(id).expect("it runs");
        process.status().expect("readable").vmhwm.expect("Linux tells it")
    }
}

impl Drop for Decode {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn no_body_that_sqs_lets_through_takes_more_than_64_mib() {
    let mut too_much = Vec::new();
    for (name, body) in large::bodies(BODY) {
        let mut decode = Decode::start();
        let before = decode.peak_after(r#"{"eventType":"Send"}"#);
        let taken = decode.peak_after(&body) - before;
        if taken > MOST_KIB {
            too_much.push(format!("{name}: {taken} KiB of a body of {} bytes", body.len()));
        }
    }
    assert!(too_much.is_empty(), "{too_much:#?}");
}
