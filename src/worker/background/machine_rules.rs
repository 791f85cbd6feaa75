//! Keeps the rules that tell people from machines up to date, and has older events classified by them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::decode::Rules;
use crate::store::{Error, Store};
use crate::worker::health::Pulse;

const EVERY: Duration = Duration::from_mins(1);
/// By then all workers have read the rules that this one has just read. So nothing is written by the previous
/// rules after older events have begun to be classified again.
const SETTLED: Duration = Duration::from_mins(2);

/// Reads the rules again and again, until it is aborted, and hands them to those who decode.
pub(crate) async fn follow(store: Arc<Store>, rules: watch::Sender<Arc<Rules>>, pulse: Pulse) {
    let mut since = Instant::now();
    loop {
        if let Err(error) = round(&store, &rules, &mut since).await {
            tracing::warn!(%error, "could not read the rules that tell people from machines; continuing with the previous ones");
        }
        pulse.wait(tokio::time::sleep(EVERY)).await;
    }
}

async fn round(
    store: &Store,
    rules: &watch::Sender<Arc<Rules>>,
    since: &mut Instant,
) -> Result<(), Error> {
    let learnt = store.learn_machine_rules().await?;
    if learnt.has_changed {
        *since = Instant::now();
        let machines = store.machine_rules();
        rules.send_modify(|rules| *rules = Arc::new(rules.with_machines(machines)));
        tracing::info!("the rules that tell people from machines have changed");
        for rule in learnt.unusable {
            tracing::warn!(
                rule,
                "a rule for opens and clicks is not understood; continuing without it"
            );
        }
    }
    if store.classify_history(since.elapsed() >= SETTLED).await? {
        tracing::info!("older opens and clicks are classified by the current rules");
    }
    Ok(())
}
