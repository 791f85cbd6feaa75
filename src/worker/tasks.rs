//! The tasks of a worker, each with a name, so that a task that ends unexpectedly can be named.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

/// Tasks that end together.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.names.insert(self.set.spawn(task).id(), name);
    }

    /// Waits until one has ended, and names it; for ever where there is none.
    pub(super) async fn first_ended(&mut self) -> &'static str {
        match self.set.join_next_with_id().await {
            Some(Ok((id, ()))) => self.name(id),
            Some(Err(error)) => {
                let name = self.name(error.id());
                if !error.is_cancelled() {
                    tracing::error!(%error, "task {name} failed");
                }
                name
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended.
    pub(super) async fn all_ended(&mut self) {
        while !self.set.is_empty() {
            self.first_ended().await;
        }
    }

    /// Ends them where they wait.
    pub(super) fn abort(&mut self) {
        self.set.abort_all();
    }

    fn name(&self, id: Id) -> &'static str {
        self.names.get(&id).copied().unwrap_or("unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_task_that_ends_is_named_even_if_it_panics() {
        let mut tasks = Tasks::default();
        tasks.spawn("waits", std::future::pending());
        tasks.spawn("panics", async { panic!("on purpose") });
        assert_eq!(tasks.first_ended().await, "panics");
        tasks.abort();
        tasks.all_ended().await;
    }
}
