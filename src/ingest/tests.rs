//! Tests of the policy, with items of which it is known in advance what has to become of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nature {
    Good,
    /// Its values are refused.
    Bad,
    /// An internal error, each time.
    Poison,
    /// A constraint of an operator refuses it.
    Constrained,
    /// Its report is locked.
    Locked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    number: usize,
    nature: Nature,
    is_dead_letter: bool,
}

#[derive(Debug, Default)]
struct Scripted {
    breaker: Breaker,
    /// How often PostgreSQL refuses everything, the probe included, before it accepts.
    refuses_everything: std::sync::atomic::AtomicUsize,
    committed: Vec<Item>,
    set_aside: Vec<(Item, Blocked)>,
    troubles: Vec<&'static str>,
}

fn refusal() -> Error {
    Error::Refused(Refusal { code: "22P05".to_owned(), message: "a value".to_owned() })
}

fn violation() -> Violation {
    Violation { code: "23514".to_owned(), constraint: Some("theirs".to_owned()), table: None }
}

impl Scripted {
    fn refuses_everything(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        self.refuses_everything.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl Destination for Scripted {
    type Item = Item;

    fn breaker(&self) -> Option<&Breaker> {
        Some(&self.breaker)
    }

    async fn write(&self, part: &[Item]) -> Result<Written, Error> {
        if self.refuses_everything() {
            return Err(refusal());
        }
        let has = |nature| part.iter().any(|item| item.nature == nature && !item.is_dead_letter);
        if has(Nature::Locked) {
            Err(Error::Locked)
        } else if has(Nature::Bad) {
            Err(refusal())
        } else if has(Nature::Constrained) {
            Err(Error::Constraint(violation()))
        } else if has(Nature::Poison) {
            Err(Error::Timeout(1))
        } else {
            Ok(Written::default())
        }
    }

    async fn probe(&self) -> Result<(), Error> {
        if self.refuses_everything() { Err(refusal()) } else { Ok(()) }
    }

    fn is_fatal(&self, _error: &Error) -> bool {
        false
    }

    fn accepted(&mut self) {}

    fn committed(&mut self, part: Vec<Item>, _written: Written) {
        self.committed.extend(part);
    }

    fn make_dead_letter(&mut self, item: Item, _refusal: &Refusal) -> Option<Item> {
        (!item.is_dead_letter).then_some(Item { is_dead_letter: true, ..item })
    }

    fn set_aside(&mut self, item: Item, by: Blocked) -> Result<Option<Item>, Stop> {
        self.set_aside.push((item, by));
        Ok(None)
    }

    fn taken_over(&mut self, _item: Item) {}

    async fn pause(&mut self, trouble: Trouble, delay: Duration) -> Result<(), Stop> {
        self.troubles.push(match trouble {
            Trouble::Passing(_) => "passing",
            Trouble::Items(_) => "items",
            Trouble::Database(_) => "database",
        });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

fn items(natures: impl IntoIterator<Item = Nature>) -> Vec<Item> {
    let item = |(number, nature)| Item { number, nature, is_dead_letter: false };
    natures.into_iter().enumerate().map(item).collect()
}

async fn ingested(natures: &[Nature], refuses_everything: usize) -> Scripted {
    let mut destination =
        Scripted { refuses_everything: refuses_everything.into(), ..Scripted::default() };
    let done = ingest(&mut destination, items(natures.iter().copied())).await;
    assert!(done.is_ok());
    destination
}

fn run(natures: &[Nature], refuses_everything: usize) -> Scripted {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(ingested(natures, refuses_everything))
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        12 => Just(Nature::Good),
        1 => Just(Nature::Bad),
        1 => Just(Nature::Poison),
        1 => Just(Nature::Constrained),
        1 => Just(Nature::Locked),
    ]
}

proptest! {
    /// Each item ends in exactly one place, and in the right one, whatever else is in the batch.
    #[test]
    fn only_what_is_an_items_own_makes_it_a_dead_letter(
        natures in proptest::collection::vec(nature(), 0..60),
        refuses_everything in 0_usize..6,
    ) {
        let ended = run(&natures, refuses_everything);
        let all = ended.committed.iter().chain(ended.set_aside.iter().map(|(item, _)| item));
        let numbers: Vec<usize> = all.map(|item| item.number).collect();
        prop_assert_eq!(numbers.len(), natures.len());
        prop_assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>().len(), natures.len());
        for item in &ended.committed {
            let is_own = matches!(item.nature, Nature::Bad | Nature::Poison);
            prop_assert_eq!(item.is_dead_letter, is_own, "{:?}", item);
            prop_assert!(is_own || item.nature == Nature::Good);
        }
        for (item, by) in &ended.set_aside {
            let expected = match item.nature {
                Nature::Locked => Blocked::Lock,
                Nature::Constrained => Blocked::Constraint(violation()),
                // Beyond what the breaker allows.
                Nature::Bad => Blocked::Alike("22P05".to_owned()),
                Nature::Poison => Blocked::Alike("57014".to_owned()),
                Nature::Good => panic!("it is good: {item:?}"),
            };
            prop_assert_eq!(by, &expected);
        }
    }
}

#[test]
fn while_everything_is_refused_nobody_is_blamed() {
    let ended = run(&[Nature::Good; 50], 40);
    assert_eq!(ended.committed.len(), 50);
    assert!(ended.committed.iter().all(|item| !item.is_dead_letter));
    assert_eq!(ended.troubles, ["database"; 20], "each attempt and its probe were refused");
}

#[test]
fn many_refusals_alike_are_held() {
    let ended = run(&[Nature::Bad; 100], 0);
    assert_eq!((ended.committed.len(), ended.set_aside.len()), (20, 80));
}
