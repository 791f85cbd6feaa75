//! Archives as people have them, replayed: whole, interrupted, twice, beside workers.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::stream::MISMATCHED;
use crate::support::database::Database;
use crate::support::event::{self, message_id};
use crate::support::generate;
use crate::support::process::{Ended, PATIENCE, Worker, eventually, run, ses_reports};
use crate::support::queue::Queue;

const MAILS: u64 = 15_000;
const FEWER: u64 = 8_000;
/// Two events a mail, and these.
const BROKEN: [&str; 3] = ["just text", "{\"eventType\": \"Send\",", "{\"some\": \"thing\"}"];
const VALIDATION: &str = "Successfully validated SNS topic for Amazon SES event publishing.";

/// A send and a delivery of each mail, with lines in between that are no events.
fn lines(mails: u64) -> Vec<String> {
    let mut lines: Vec<String> = (0..mails)
        .flat_map(|number| {
            let (id, address) = (message_id(number), format!("p{number}@example.com"));
            let to = [address.as_str()];
            [
                event::send(&id, &to).to_string(),
                event::in_sns(&event::delivery(&id, &to, &to), &format!("d{number}")),
            ]
        })
        .collect();
    lines.splice(777..777, BROKEN.map(str::to_owned));
    lines.insert(4_000, VALIDATION.to_owned());
    lines
}

fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut member = GzEncoder::new(Vec::new(), Compression::fast());
    member.write_all(text.as_ref()).expect("memory");
    member.finish().expect("memory")
}

struct Archive(TempDir);

impl Archive {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn add(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(&path, bytes).expect("the file is written");
        path
    }
}

fn replay(database: &Database, path: &Path, arguments: &[&str]) -> Command {
    let path = path.to_str().expect("UTF-8");
    let arguments = [&["replay", path, "--json"], arguments].concat();
    let mut command = ses_reports(&[("DATABASE_URL", &*database.url_of("operator"))], &arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn ended(child: Child) -> Ended {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("it ends in time")
        .expect("it can be waited for");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn replayed(database: &Database, path: &Path, arguments: &[&str]) -> (Ended, Value) {
    let ended = ended(replay(database, path, arguments).spawn().expect("it starts")).await;
    let json = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    (ended, json)
}

/// What a replay says when all is done, but for what earlier runs have read.
fn totals(read: u64, acknowledged: u64, dead: [u64; 2], events: [u64; 2]) -> Value {
    json!({
        "finished": true, "problems": [], "read": read, "with_events": read - acknowledged - dead[0],
        "acknowledged": acknowledged, "dead_letters": dead[0], "new_dead_letters": dead[1],
        "new_events": events[0], "known_events": events[1], "expired_events": 0,
    })
}

fn without_runs(mut json: Value) -> Value {
    json.as_object_mut().expect("an object").remove("read_in_earlier_runs");
    json
}

async fn signal(child: &Child, name: &str) {
    let pid = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status().await;
    assert!(sent.expect("kill starts").success());
}

async fn parts_beyond(database: &Database, bodies: i64) -> bool {
    let sum = "SELECT coalesce(sum(bodies), 0)::bigint FROM aws_report_replay_part";
    database.one::<i64>(sum).await >= bodies
}

#[tokio::test]
async fn an_archive_that_is_killed_again_and_again_ends_with_exact_counts() {
    let (database, archive) = (Database::migrated().await, Archive::new());
    let lines = lines(MAILS);
    // Two members of gzip, the cut in the middle of a line.
    let text = lines.join("\n");
    let (first, second) = text.split_at(text.len() / 3);
    let path = archive.add("archive.jsonl.gz", [gzip(first), gzip(second)].concat());
    let read = u64::try_from(lines.len()).expect("few");

    for (name, beyond) in [("KILL", 1), ("KILL", 9_000), ("TERM", 16_000)] {
        let child = replay(&database, &path, &["--at-once", "2"]).spawn().expect("it starts");
        eventually("a part is committed", || parts_beyond(&database, beyond)).await;
        signal(&child, name).await;
        let ended = ended(child).await;
        if name == "TERM" {
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            assert!(ended.stderr.contains("stopped by a signal"), "{}", ended.stderr);
            let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
            assert_eq!(said["finished"], false);
            let committed = "SELECT sum(bodies)::bigint FROM aws_report_replay_part";
            assert_eq!(said["read"], database.one::<i64>(committed).await);
        }
    }
    assert!(!parts_beyond(&database, i64::try_from(read).expect("few")).await, "work is left");
    let (ended, said) = replayed(&database, &path, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(said["read_in_earlier_runs"].as_i64() >= Some(16_000), "{said}");
    assert_eq!(without_runs(said), totals(read, 1, [3, 3], [2 * MAILS, 0]));
    let mails = i64::try_from(MAILS).expect("few");
    let whole =
        "SELECT count(*) FROM aws_reports WHERE send_at IS NOT NULL AND delivery_at IS NOT NULL";
    assert_eq!(database.one::<i64>(whole).await, mails);
    assert_eq!(database.rows(MISMATCHED).await.len(), 0);
    let letters = database
        .rows("SELECT body, source, sqs_message_id FROM aws_report_dead_letter ORDER BY source")
        .await;
    let source = |line| format!("replay:{}:{line}", path.display());
    let letter = |body, line| json!({"body": body, "source": source(line), "sqs_message_id": null});
    assert_eq!(letters, [letter(BROKEN[0], 778), letter(BROKEN[1], 779), letter(BROKEN[2], 780)]);
    let kept = database
        .rows(
            "SELECT bodies, new_events, finished_at IS NOT NULL AS finished FROM aws_report_replay",
        )
        .await;
    assert_eq!(kept, [json!({"bodies": read, "new_events": 2 * MAILS, "finished": true})]);
    assert!(!parts_beyond(&database, 1).await, "a finished replay keeps its totals alone");

    // Again, and from elsewhere.
    let moved = archive.add("elsewhere/archive.jsonl.gz", std::fs::read(&path).expect("bytes"));
    let (ended, said) = replayed(&database, &moved, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(said["read_in_earlier_runs"], 0);
    assert_eq!(without_runs(said), totals(read, 1, [3, 0], [0, 2 * MAILS]));
    assert_eq!(database.one::<i64>("SELECT count(*) FROM aws_report_replay").await, 1);
}

#[tokio::test]
async fn from_start_forgets_where_it_was() {
    let (database, archive) = (Database::migrated().await, Archive::new());
    let lines = lines(FEWER);
    let path = archive.add("archive.jsonl", lines.join("\n"));
    let child = replay(&database, &path, &["--at-once", "1"]).spawn().expect("it starts");
    eventually("a part is committed", || parts_beyond(&database, 1)).await;
    signal(&child, "KILL").await;
    ended(child).await;
    let (_, said) = replayed(&database, &path, &["--from-start"]).await;
    assert_eq!(said["read_in_earlier_runs"], 0);
    assert_eq!(said["read"], u64::try_from(lines.len()).expect("few"));
    assert!(said["known_events"].as_u64() > Some(0), "{said}");
    let all = said["known_events"].as_u64().zip(said["new_events"].as_u64());
    assert_eq!(all.map(|(known, new)| known + new), Some(2 * FEWER));
}

#[tokio::test]
async fn two_replays_of_one_archive_do_not_count_twice() {
    let (database, archive) = (Database::migrated().await, Archive::new());
    let lines = lines(FEWER);
    let path = archive.add("archive.jsonl", lines.join("\n"));
    let first = replay(&database, &path, &["--at-once", "1"]).spawn().expect("it starts");
    eventually("a part is committed", || parts_beyond(&database, 1)).await;
    let (second, said) = replayed(&database, &path, &[]).await;
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    let read = u64::try_from(lines.len()).expect("few");
    assert_eq!(without_runs(said), totals(read, 1, [3, 3], [2 * FEWER, 0]));
    let first = ended(first).await;
    assert_eq!(first.code, Some(1), "{}", first.stderr);
    assert!(first.stderr.contains("another run"), "{}", first.stderr);
}

#[tokio::test]
async fn beside_a_worker_on_the_same_events_nothing_is_lost_or_doubled() {
    let (queue, database) = (Queue::in_memory().await, Database::migrated().await);
    let archive = Archive::new();
    let bodies = generate::stream(20_261_122, 1_000);
    let path = archive.add("archive.jsonl", bodies.join("\n"));
    queue.send(&bodies).await;
    let worker = Worker::until_idle(&database, &queue.url, &["--batch-rows", "100"]);
    let (log, (ended, said)) = tokio::join!(worker, replayed(&database, &path, &[]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(database.rows(MISMATCHED).await.len(), 0);
    let (_, alone) = (log, Database::migrated().await);
    let (_, expected) = replayed(&alone, &path, &[]).await;
    let sum = |said: &Value| {
        said["new_events"]
            .as_i64()
            .zip(said["known_events"].as_i64())
            .map(|(new, known)| new + known)
    };
    assert_eq!(sum(&said), sum(&expected));
    for table in ["aws_reports", "aws_report_detail"] {
        let count = format!("SELECT count(*) FROM {table}");
        assert_eq!(database.one::<i64>(&count).await, alone.one::<i64>(&count).await, "{table}");
    }
}

#[tokio::test]
async fn a_folder_of_all_shapes_is_one_archive() {
    let (database, archive) = (Database::migrated().await, Archive::new());
    let bodies: Vec<Value> =
        (0..12).map(|number| event::send(&message_id(number), &["jane@example.com"])).collect();
    let texts: Vec<String> = bodies.iter().map(Value::to_string).collect();
    let pretty = serde_json::to_string_pretty(&bodies[0]).expect("JSON");
    archive.add("2026/11/20/pretty.json", &pretty);
    archive.add("2026/11/20/lines", format!("\u{feff}{}\r\n\r\n{}\r\n", texts[1], texts[2]));
    archive.add("2026/11/21/firehose", texts[3..6].concat());
    archive.add("2026/11/21/firehose.gz", [gzip(&texts[6]), gzip(&texts[7])].concat());
    archive.add("array.json", serde_json::to_string_pretty(&bodies[8..10]).expect("JSON"));
    archive.add("empty", "");
    archive.add("mixed", format!("{}\nno event\n{pretty}\n", texts[10]));
    archive.add(".hidden", "not looked at");
    let (ended, said) = replayed(&database, archive.0.path(), &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(without_runs(said), totals(13, 0, [1, 1], [11, 1]));
    let (_, said) = replayed(&database, archive.0.path(), &[]).await;
    assert_eq!(without_runs(said), totals(13, 0, [1, 0], [0, 12]));

    // One that is cut, one that is not there: the others are replayed.
    let cut = gzip(&texts[11]);
    archive.add("cut.gz", &cut[..cut.len() - 12]);
    archive.add("zz", &texts[11]);
    let missing = archive.0.path().join("missing");
    let (ended, said) =
        replayed(&database, archive.0.path(), &[missing.to_str().expect("UTF-8")]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(said["finished"], false);
    assert_eq!(said["problems"].as_array().map(Vec::len), Some(2), "{said}");
    assert!(said["problems"][0].as_str().is_some_and(|line| line.contains("missing")), "{said}");
    assert!(said["problems"][1].as_str().is_some_and(|line| line.contains("cut.gz")), "{said}");
    assert_eq!((&said["new_events"], &said["known_events"]), (&json!(1), &json!(12)));
    // Whoever mends it goes on with what is left.
    archive.add("cut.gz", "");
    let (ended, _) = replayed(&database, archive.0.path(), &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn standard_input_is_replayed_and_what_postgresql_refuses_is_found() {
    let database = Database::migrated().await;
    database.raise("22023", "aws_report_detail", "NEW.subject = 'thirteen'").await;
    let bodies: Vec<String> = (0..60)
        .map(|number| {
            let mut mail = event::mail(&message_id(number), &["jane@example.com"]);
            if number == 13 || number == 59 {
                mail["commonHeaders"] = json!({"subject": "thirteen"});
            }
            event::event("Send", "send", json!({}), mail).to_string()
        })
        .collect();
    let mut child = replay(&database, Path::new("-"), &["--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("an input");
    input.write_all(bodies.join("\n").as_bytes()).await.expect("it reads");
    drop(input);
    let ended = ended(child).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(without_runs(said), totals(60, 0, [2, 2], [58, 0]));
    let letters =
        database.rows("SELECT reason, source FROM aws_report_dead_letter ORDER BY source").await;
    let letter = |line| json!({"reason": "refused by PostgreSQL", "source": format!("replay:standard input:{line}")});
    assert_eq!(letters, [letter(14), letter(60)]);
}

#[tokio::test]
async fn what_is_missing_is_said_in_a_line() {
    let (database, archive) = (Database::migrated().await, Archive::new());
    let path = archive.add("archive.jsonl", VALIDATION);
    let path = path.to_str().expect("UTF-8");
    let ended = run(&[("DATABASE_URL", &*database.url_of("worker"))], &["replay", path]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("grants --operator"), "{}", ended.stderr);
    let ended = run(&[("DATABASE_URL", &*database.url_of("operator"))], &["replay", path]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        ended.stdout,
        "read 1 bodies: 0 with events, 1 acknowledged, 0 dead letters (0 new, 0 already known)\n0 events: 0 new, 0 already known, 0 no longer kept\n"
    );
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        archive
            .start_file(
                name,
                SimpleFileOptions::default().compression_method(CompressionMethod::DEFLATE),
            )
            .expect("a file");
        archive.write_all(text.as_bytes()).expect("memory");
    }
    archive.finish().expect("memory").into_inner()
}

/// As snappy-java writes a stream, which is what Firehose calls Snappy.
fn snappy_java(text: &str) -> Vec<u8> {
    let mut stream = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for chunk in text.as_bytes().chunks(32_768) {
        stream.extend(snappy_chunk(chunk));
    }
    stream
}

/// As Hadoop writes a block.
fn snappy_hadoop(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("short").to_be_bytes();
    [&length[..], &snappy_chunk(text.as_bytes())].concat()
}

fn snappy_chunk(text: &[u8]) -> Vec<u8> {
    let chunk = snap::raw::Encoder::new().compress_vec(text).expect("memory");
    [&u32::try_from(chunk.len()).expect("short").to_be_bytes()[..], &chunk].concat()
}

#[tokio::test]
async fn what_firehose_compresses_is_replayed() {
    let (database, archive) = (Database::migrated().await, Archive::new());
    let mails = 40;
    // No separators, as Firehose joins records.
    let text = |from: u64| -> String {
        (from..from + mails)
            .map(|number| event::send(&message_id(number), &["jane@example.com"]).to_string())
            .collect()
    };
    let mut framed = snap::write::FrameEncoder::new(Vec::new());
    framed.write_all(text(4 * mails).as_bytes()).expect("memory");
    archive.add("1.zip", zip(&[("0b2e-uuid", &text(0))]));
    archive.add("2.snappy", snappy_java(&text(mails)));
    archive.add("3.snappy", snappy_hadoop(&text(2 * mails)));
    let raw = snap::raw::Encoder::new().compress_vec(text(3 * mails).as_bytes());
    archive.add("4.snappy", raw.expect("memory"));
    archive.add("5.sz", framed.into_inner().expect("memory"));
    archive.add("6.gz", gzip(snappy_java(&text(5 * mails))));
    let (ended, said) = replayed(&database, archive.0.path(), &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(without_runs(said), totals(6 * mails, 0, [0, 0], [6 * mails, 0]));
    let sends = database.one::<i64>("SELECT count(*) FROM aws_reports").await;
    assert_eq!(u64::try_from(sends), Ok(6 * mails));
}

#[tokio::test]
async fn a_zip_archive_that_is_killed_ends_with_exact_counts() {
    let (database, archive) = (Database::migrated().await, Archive::new());
    let lines = lines(FEWER);
    let (first, second) = lines.split_at(lines.len() / 2);
    let zip = zip(&[("1.jsonl", &first.join("\n")), ("2/2.jsonl", &second.join("\n"))]);
    let path = archive.add("archive.zip", &zip);
    // Once in the first file, once in the second.
    for beyond in [1, 9_000] {
        let child = replay(&database, &path, &["--at-once", "1"]).spawn().expect("it starts");
        eventually("a part is committed", || parts_beyond(&database, beyond)).await;
        signal(&child, "KILL").await;
        ended(child).await;
    }
    let moved = archive.add("elsewhere/archive.zip", &zip);
    let (ended, said) = replayed(&database, &moved, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(said["read_in_earlier_runs"].as_i64() >= Some(9_000), "{said}");
    let read = u64::try_from(lines.len()).expect("few");
    assert_eq!(without_runs(said), totals(read, 1, [3, 3], [2 * FEWER, 0]));
    let letters = database.rows("SELECT source FROM aws_report_dead_letter ORDER BY source").await;
    let source = |line| json!({"source": format!("replay:{}/1.jsonl:{line}", path.display())});
    assert_eq!(letters, [source(778), source(779), source(780)]);
}

/// What is no text, by its name, and what it is called.
fn unreadable(text: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    tar.extend_from_slice(text.as_bytes());
    let utf_16 = |mark: &str| -> Vec<u8> {
        format!("{mark}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    vec![
        ("a.zst", b"\x28\xb5\x2f\xfd\x04\x58\n\n{}".to_vec(), "zstd"),
        ("a.xz", b"\xfd7zXZ\x00\x00\x04\n{}".to_vec(), "xz"),
        ("a.bz2", b"BZh91AY&SY\x01\n{}\n".to_vec(), "bzip2"),
        ("a.parquet", b"PAR1\x15\x04\n{}\nPAR1".to_vec(), "Parquet"),
        ("a.tar", tar, "tar"),
        ("marked.txt", utf_16("\u{feff}"), "UTF-16"),
        ("unmarked.txt", utf_16(""), "UTF-16"),
        ("a.bin", vec![0, 1, 2, 0xff, b'\n', b'{', b'}'], "binary data"),
    ]
}

#[tokio::test]
async fn of_an_archive_that_is_no_text_nothing_is_stored() {
    let (database, good) = (Database::migrated().await, Archive::new());
    let send = event::send(&message_id(1), &["jane@example.com"]).to_string();
    let text = format!("{send}\n").repeat(20);
    // It comes before all others.
    let plain = good.add("0.jsonl", &text);
    let mut cases = Vec::new();
    for (name, bytes, what) in unreadable(&text) {
        cases.push((format!("{name}.gz"), gzip(&bytes), what));
        cases.push((name.to_owned(), bytes, what));
    }
    cases.push(("broken.zip".to_owned(), b"PK\x03\x04\n{}\n".to_vec(), "ZIP"));
    cases.push(("zip.gz".to_owned(), gzip(zip(&[("a", &send)])), "ZIP"));
    cases.push((
        "zip.zip".to_owned(),
        zip(&[("0", &send), ("1", "\0\u{1}\u{2}\n{}")]),
        "binary data",
    ));
    for (name, bytes, what) in &cases {
        let folder = Archive::new();
        folder.add(name, bytes);
        folder.add("0.jsonl", &text);
        let (ended, said) = replayed(&database, folder.0.path(), &["--quiet"]).await;
        assert_eq!(ended.code, Some(1), "{name}: {}", ended.stderr);
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{name}: {}", ended.stderr);
        for part in [name, *what, "nothing is stored"] {
            assert!(ended.stderr.contains(part), "{name}: {part}: {}", ended.stderr);
        }
        assert_eq!((&said["read"], &said["finished"]), (&json!(0), &json!(false)), "{name}");
    }

    // Two of them, after one that is good.
    let two: Vec<PathBuf> =
        cases.iter().take(2).map(|(name, bytes, _)| good.add(name, bytes)).collect();
    let two = [&two[0], &two[1]].map(|path| path.to_str().expect("UTF-8"));
    let (refused, said) = replayed(&database, &plain, &[&["--quiet"], &two[..]].concat()).await;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("and 1 more, see above; nothing is stored"),
        "{}",
        refused.stderr
    );
    assert_eq!(said["problems"].as_array().map(Vec::len), Some(2), "{said}");

    // A pipe is looked at when it is read.
    for (name, bytes, what) in cases.iter().take(2) {
        let mut command = replay(&database, Path::new("-"), &["--quiet"]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let mut input = child.stdin.take().expect("an input");
        input.write_all(bytes).await.expect("it reads");
        drop(input);
        let ended = ended(child).await;
        assert_eq!(ended.code, Some(1), "{name}: {}", ended.stderr);
        for part in ["standard input: ", *what, "nothing is stored"] {
            assert!(ended.stderr.contains(part), "{name}: {part}: {}", ended.stderr);
        }
    }
    let stored =
        "SELECT (SELECT count(*) FROM aws_report_dead_letter) + (SELECT count(*) FROM aws_reports)";
    assert_eq!(database.one::<i64>(stored).await, 0);
}
