//! `ses-reports decode`: what message bodies in files decode to.

use std::io::{self, BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::exit::{Failure, USAGE, failed};
use crate::config::RulesArgs;
use crate::decode::{Outcome, Rules, decode};
use crate::row::{AccountEvent, EventRow};

/// `ses-reports decode`.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP, max_term_width = 100)]
pub(super) struct DecodeArgs {
    /// Files that hold one SQS message body each. `-` is standard input, which holds one body per line
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    rules: RulesArgs,
}

const HELP: &str = "\
Each body becomes one line of JSON with its outcome: events, acknowledged or dead_letter. The \
exit code is 0 whatever the bodies are, and 2 if a file cannot be read.

  ses-reports decode message.json other.json
  ses-reports decode - < bodies.jsonl";

pub(super) fn run(args: &DecodeArgs) -> Result<(), Failure> {
    let rules = args.rules.rules();
    let unreadable = match decode_files(&args.files, &rules, &mut io::stdout().lock()) {
        // The reader of our output has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
        done => done.map_err(|error| failed(format!("could not write: {error}")))?,
    };
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(Failure { code: USAGE, line: unreadable.join("; ") })
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Line<'a> {
    file: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    events: Vec<Event<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    account_events: Vec<AboutAccount<'a>>,
}

/// One event about an account or a tenant.
#[derive(Debug, Serialize)]
struct AboutAccount<'a> {
    id: Uuid,
    occurred_at: String,
    detail_type: &'a str,
    account: Option<&'a str>,
    region: Option<&'a str>,
    tenant: Option<&'a str>,
    resources: Option<Value>,
    detail: Option<Value>,
}

/// One event and one recipient: ids and recipients whole, where the tables may hold them shortened.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "outside programs rely on the names")]
struct Event<'a> {
    id: Uuid,
    report_id: Uuid,
    event_type: &'a str,
    message_id: &'a str,
    /// Whom the event names.
    recipient: &'a str,
    /// Whose report it belongs to.
    sent_to: &'a str,
    timestamp: String,
    ambiguous: bool,
    notification_message_id: Option<&'a str>,
    report_type: &'a str,
    user_id: Option<&'a str>,
    source_email: Option<&'a str>,
    subject: Option<&'a str>,
    send_at: Option<String>,
    bounce_type: Option<&'a str>,
    bounce_sub_type: Option<&'a str>,
    /// Why it bounced or was delayed, or who opened or clicked.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    /// Who runs the recipient's mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
}

/// Decodes each file as one body, `-` as one body a line, and writes a JSON line for each body.
/// Returns a line for each file that could not be read; fails when the output cannot be written.
fn decode_files(
    files: &[PathBuf],
    rules: &Rules,
    output: &mut impl Write,
) -> io::Result<Vec<String>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "here the clock enters: decode takes it as a value"
    )]
    let now = OffsetDateTime::now_utc();
    let mut unreadable = Vec::new();
    for file in files {
        let name = file.to_string_lossy();
        let mut print =
            |bytes: &[u8]| print(&name, &String::from_utf8_lossy(bytes), rules, now, output);
        let read = if file == Path::new("-") {
            lines(io::stdin().lock(), &mut print)?
        } else {
            match std::fs::read(file) {
                Ok(bytes) => {
                    print(&bytes)?;
                    Ok(())
                }
                Err(error) => Err(error),
            }
        };
        if let Err(error) = read {
            unreadable.push(format!("{name}: {error}"));
        }
    }
    output.flush()?;
    Ok(unreadable)
}

/// The outer error is the output's, the inner the input's.
fn lines(
    mut input: impl BufRead,
    print: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<io::Result<()>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(Ok(())),
            Ok(_) => {
                let body = line.strip_suffix(b"\n").unwrap_or(&line);
                print(body.strip_suffix(b"\r").unwrap_or(body))?;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

fn print(
    file: &str,
    body: &str,
    rules: &Rules,
    now: OffsetDateTime,
    output: &mut impl Write,
) -> io::Result<()> {
    let decoded = decode(body, None, rules, now);
    let mut line = Line {
        file,
        outcome: "events",
        reason: None,
        detail: None,
        events: Vec::new(),
        account_events: Vec::new(),
    };
    if let Outcome::DeadLetter(rejection) = &decoded {
        line.outcome = "dead_letter";
        line.reason = Some(rejection.reason.to_string());
        line.detail = rejection.detail.as_deref();
    } else if let Some(what) = decoded.acknowledged() {
        line.outcome = "acknowledged";
        line.reason = Some(what.to_string());
    }
    line.events = decoded.rows().iter().map(event).collect();
    line.account_events = decoded.account_events().iter().map(account_event).collect();
    serde_json::to_writer(&mut *output, &line)?;
    writeln!(output)
}

fn event(row: &EventRow) -> Event<'_> {
    Event {
        id: row.detail.id,
        report_id: row.report.id,
        event_type: &row.detail.event_type,
        message_id: &row.message_id,
        recipient: row.named.as_ref().unwrap_or(&row.recipient),
        sent_to: &row.recipient,
        timestamp: rfc3339(row.detail.timestamp),
        ambiguous: row.ambiguous,
        notification_message_id: row.detail.notification_message_id.as_deref(),
        report_type: row
            .report
            .report_type
            .as_ref()
            .map_or("default", |report_type| &report_type.name),
        user_id: row.report.user_id.as_deref(),
        source_email: row.report.source_email.as_deref(),
        subject: row.report.subject.as_deref(),
        send_at: row.report.send_at.map(rfc3339),
        bounce_type: row.report.bounce.as_ref().map(|bounce| bounce.bounce_type.as_str()),
        bounce_sub_type: row.report.bounce.as_ref().and_then(|bounce| bounce.sub_type.as_deref()),
        class: row.detail.class.as_deref(),
        provider: row.report.provider.as_deref(),
    }
}

fn account_event(event: &AccountEvent) -> AboutAccount<'_> {
    // Read and written again: as SES wrote it, it may have several lines.
    let json = |text: &str| serde_json::from_str(text).ok();
    AboutAccount {
        id: event.id,
        occurred_at: rfc3339(event.occurred_at),
        detail_type: &event.detail_type,
        account: event.account.as_deref(),
        region: event.region.as_deref(),
        tenant: event.tenant.as_deref(),
        resources: json(&event.resources),
        detail: event.detail.as_deref().and_then(json),
    }
}

/// Times of events are within the years that RFC 3339 can write.
fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
