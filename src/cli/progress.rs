//! How far something is: a bar on a terminal, a line every ten seconds elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

const REDRAW_EVERY: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How far it is now.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// What is done, in the unit of `all`.
    pub(super) done: u64,
    /// Bodies or messages, since this process began.
    pub(super) count: u64,
}

/// Shows how far something is until it is dropped. `all` is what `done` will reach, if that is known;
/// it is bytes, or whatever `unit` counts.
pub(super) async fn show(unit: &str, all: Option<u64>, in_bytes: bool, state: impl Fn() -> State) {
    let began = Instant::now();
    let rate = |count: u64| {
        let elapsed = began.elapsed().as_millis().max(1);
        u128::from(count) * 1_000 / elapsed
    };
    if std::io::stderr().is_terminal() {
        let bar = bar(all, in_bytes);
        loop {
            let State { done, count } = state();
            bar.set_position(done);
            bar.set_message(format!("{count} {unit}, {}/s", rate(count)));
            tokio::time::sleep(REDRAW_EVERY).await;
        }
    }
    loop {
        tokio::time::sleep(SAY_EVERY).await;
        let State { done, count } = state();
        let rate = rate(count);
        if let Some(all) = all.filter(|all| *all > 0 && done > 0) {
            let percent = (done.min(all) * 100) / all;
            let left = began.elapsed().as_secs() * all.saturating_sub(done) / done;
            tracing::info!("{count} {unit} so far, {rate}/s; {percent} %, about {left} s left");
        } else {
            tracing::info!("{count} {unit} so far, {rate}/s");
        }
    }
}

fn bar(all: Option<u64>, in_bytes: bool) -> ProgressBar {
    let template = match (all, in_bytes) {
        (None, _) => "{spinner} {msg} {elapsed}",
        (Some(_), true) => "{bar:30} {bytes}/{total_bytes} {msg}, {eta} left",
        (Some(_), false) => "{bar:30} {pos}/{len} {msg}, {eta} left",
    };
    let bar = all.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    // The templates are as they should be; otherwise the bar is indicatif's own.
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_error| ProgressStyle::default_bar()));
    bar
}
