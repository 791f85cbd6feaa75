use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn queue_of(bodies: &[&str], settings: Settings) -> Queue {
    let mut queue = Queue::new(settings, 7);
    for body in bodies {
        queue.put(Body::new(body), Duration::ZERO, Time::ZERO);
    }
    queue
}

fn receive_one(queue: &mut Queue, now: Time) -> Option<Delivery> {
    queue.receive(1, 30 * SECOND, Order::Oldest, now).deliveries.pop()
}

#[test]
fn a_received_message_is_hidden_until_its_time() {
    let mut queue = queue_of(&["x"], Settings::default());
    let first = receive_one(&mut queue, Time::ZERO).expect("a message");
    assert_eq!(queue.next_visible(), Some(30 * SECOND));
    assert_eq!(receive_one(&mut queue, 29 * SECOND), None);
    let second = receive_one(&mut queue, 30 * SECOND).expect("a message");
    assert_eq!((first.receive_count, second.receive_count), (1, 2));
    assert_eq!(first.message_id, second.message_id);
    assert_ne!(first.receipt_handle, second.receipt_handle);
}

#[test]
fn a_delayed_message_waits() {
    let mut queue = Queue::new(Settings::default(), 7);
    queue.put(Body::new("x"), 5 * SECOND, Time::ZERO);
    assert_eq!(receive_one(&mut queue, 4 * SECOND), None);
    assert_eq!(queue.counts(4 * SECOND).delayed, 1);
    assert!(receive_one(&mut queue, 5 * SECOND).is_some());
}

#[test]
fn a_renewal_replaces_the_timeout_and_zero_ends_it() {
    let mut queue = queue_of(&["x"], Settings::default());
    let handle = receive_one(&mut queue, Time::ZERO).expect("a message").receipt_handle;
    assert_eq!(queue.change_visibility(&handle, 60 * SECOND, 29 * SECOND), Ok(()));
    assert_eq!(receive_one(&mut queue, 88 * SECOND), None);
    assert_eq!(queue.change_visibility(&handle, Duration::ZERO, 88 * SECOND), Ok(()));
    assert_eq!(
        queue.change_visibility(&handle, SECOND, 88 * SECOND),
        Err(Useless::NotInFlight),
        "it is visible"
    );
    assert!(receive_one(&mut queue, 88 * SECOND).is_some());
    assert_eq!(
        queue.change_visibility(&handle, SECOND, 88 * SECOND),
        Err(Useless::NotAvailable),
        "it was received again"
    );
}

#[test]
fn an_expired_handle_deletes_while_nobody_has_received_the_message_again() {
    let mut queue = queue_of(&["x"], Settings::default());
    let handle = receive_one(&mut queue, Time::ZERO).expect("a message").receipt_handle;
    assert_eq!(queue.delete(&handle, StaleDelete::Fails, 31 * SECOND), Ok(()));
    let counts = queue.counts(31 * SECOND);
    assert_eq!((counts.deleted, counts.deleted_while_stale, counts.left()), (1, 1, 0));
    assert_eq!(receive_one(&mut queue, 31 * SECOND), None);
    assert_eq!(queue.delete(&handle, StaleDelete::Fails, 32 * SECOND), Ok(()), "it is gone");
}

#[test]
fn a_superseded_handle_deletes_as_the_queue_is_told() {
    for (stale, answer, deleted) in [
        (StaleDelete::Ignored, Ok(()), 0),
        (StaleDelete::Deletes, Ok(()), 1),
        (StaleDelete::Fails, Err(Useless::Invalid), 0),
    ] {
        let mut queue = queue_of(&["x"], Settings::default());
        let handle = receive_one(&mut queue, Time::ZERO).expect("a message").receipt_handle;
        receive_one(&mut queue, 30 * SECOND).expect("it comes again");
        assert_eq!(queue.delete(&handle, stale, 31 * SECOND), answer, "{stale:?}");
        assert_eq!(queue.counts(31 * SECOND).deleted, deleted, "{stale:?}");
    }
}

#[test]
fn a_message_hidden_for_no_time_comes_again_at_once() {
    let mut queue = queue_of(&["x", "y"], Settings::default());
    let brought = queue.receive(10, Duration::ZERO, Order::Oldest, Time::ZERO);
    assert_eq!(brought.deliveries.len(), 2, "once each in one receive");
    let again = queue.receive(10, SECOND, Order::Oldest, Time::ZERO);
    assert_eq!(again.deliveries.iter().map(|it| it.receive_count).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn a_message_that_came_too_often_leaves_with_its_id() {
    let redrive = Redrive { dead_letter_queue: "dead".to_owned(), max_receive_count: 1 };
    let mut queue = queue_of(&["x"], Settings { redrive: Some(redrive), ..Settings::default() });
    let delivery = receive_one(&mut queue, Time::ZERO).expect("a message");
    let mut moved = queue.receive(10, SECOND, Order::Oldest, 30 * SECOND);
    assert_eq!(moved.deliveries, []);
    let mut dead = Queue::new(Settings::default(), 8);
    dead.put_dead(moved.dead.pop().expect("it is moved"), 30 * SECOND);
    let there = receive_one(&mut dead, 30 * SECOND).expect("it is there");
    assert_eq!((there.message_id, there.body), (delivery.message_id, delivery.body));
    assert_eq!(queue.counts(30 * SECOND).dead_lettered, 1);
}

#[test]
fn a_seed_draws_an_order_and_the_same_one_again() {
    let bodies: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    let order = |seed| {
        let mut queue = queue_of(&bodies, Settings::default());
        let brought = queue.receive(10, SECOND, Order::Drawn(seed), Time::ZERO);
        brought.deliveries.into_iter().map(|it| it.message_id).collect::<Vec<_>>()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

/// What a client may do next.
#[derive(Debug, Clone)]
enum Step {
    Put { delay: u32 },
    Receive { most: usize, hidden: u32, drawn: bool },
    Delete { which: usize, stale: StaleDelete },
    Hide { which: usize, hidden: u32 },
    Wait { seconds: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let stale = prop_oneof![
        Just(StaleDelete::Ignored),
        Just(StaleDelete::Deletes),
        Just(StaleDelete::Fails)
    ];
    prop_oneof![
        (0..3_u32).prop_map(|delay| Step::Put { delay }),
        (1..=10_usize, 0..6_u32, any::<bool>()).prop_map(|(most, hidden, drawn)| Step::Receive {
            most,
            hidden,
            drawn
        }),
        (any::<usize>(), stale).prop_map(|(which, stale)| Step::Delete { which, stale }),
        (any::<usize>(), 0..6_u32).prop_map(|(which, hidden)| Step::Hide { which, hidden }),
        (0..4_u32).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

proptest! {
    /// Against a model of a few lines: when each message is visible, and which are gone.
    #[test]
    fn no_message_is_lost_shown_too_early_or_shown_after_its_end(
        steps in proptest::collection::vec(step(), 1..150),
        limit in 1..8_u32,
    ) {
        let redrive = Redrive { dead_letter_queue: "dead".to_owned(), max_receive_count: limit };
        let mut queue = Queue::new(Settings { redrive: Some(redrive), ..Settings::default() }, 7);
        let mut now = Time::ZERO;
        let mut visible_from: BTreeMap<Uuid, Time> = BTreeMap::new();
        let mut newest: BTreeMap<Uuid, String> = BTreeMap::new();
        let mut handles: Vec<(Uuid, String)> = Vec::new();
        let (mut put, mut gone) = (0_u64, HashSet::new());
        for step in steps {
            match step {
                Step::Put { delay } => {
                    let id = queue.put(Body::new("x"), delay * SECOND, now);
                    visible_from.insert(id, now + delay * SECOND);
                    put += 1;
                }
                Step::Receive { most, hidden, drawn } => {
                    let order = if drawn { Order::Drawn(3) } else { Order::Oldest };
                    let brought = queue.receive(most, hidden * SECOND, order, now);
                    prop_assert!(brought.deliveries.len() <= most);
                    for dead in brought.dead {
                        prop_assert!(visible_from[&dead.message_id] <= now);
                        prop_assert!(gone.insert(dead.message_id));
                    }
                    if brought.deliveries.len() < most {
                        let waiting = visible_from.iter().filter(|(id, from)| **from <= now && !gone.contains(*id)).count();
                        prop_assert_eq!(waiting, brought.deliveries.len(), "it holds nothing back");
                    }
                    for delivery in brought.deliveries {
                        let id = delivery.message_id;
                        prop_assert!(visible_from[&id] <= now && !gone.contains(&id));
                        prop_assert!(delivery.receive_count <= limit);
                        visible_from.insert(id, now + hidden * SECOND);
                        newest.insert(id, delivery.receipt_handle.clone());
                        handles.push((id, delivery.receipt_handle));
                    }
                }
                Step::Delete { which, stale } if !handles.is_empty() => {
                    let (id, handle) = &handles[which % handles.len()];
                    let deleted = queue.delete(handle, stale, now);
                    if newest[id] == *handle || stale == StaleDelete::Deletes {
                        prop_assert_eq!(deleted, Ok(()));
                        gone.insert(*id);
                    }
                }
                Step::Hide { which, hidden } if !handles.is_empty() => {
                    let (id, handle) = &handles[which % handles.len()];
                    let is_in_flight = newest[id] == *handle && visible_from[id] > now && !gone.contains(id);
                    let changed = queue.change_visibility(handle, hidden * SECOND, now);
                    prop_assert_eq!(changed.is_ok(), is_in_flight);
                    if is_in_flight {
                        visible_from.insert(*id, now + hidden * SECOND);
                    }
                }
                Step::Wait { seconds } => now += seconds * SECOND,
                Step::Delete { .. } | Step::Hide { .. } => {}
            }
            let counts = queue.counts(now);
            prop_assert_eq!(counts.put(), put);
            prop_assert_eq!(counts.deleted + counts.dead_lettered, u64::try_from(gone.len()).expect("few"));
            let accounts: Vec<Account> = queue.accounts(now).collect();
            let in_state = |is: fn(&State) -> bool| u64::try_from(accounts.iter().filter(|account| is(&account.state)).count()).expect("few");
            prop_assert_eq!(counts.visible, in_state(|state| *state == State::Visible));
            prop_assert_eq!(counts.in_flight, in_state(|state| *state == State::InFlight));
            prop_assert_eq!(counts.delayed, in_state(|state| *state == State::Delayed));
            prop_assert_eq!(counts.received, accounts.iter().map(|account| u64::from(account.received)).sum::<u64>());
        }
        let distinct: HashSet<&String> = handles.iter().map(|(_, handle)| handle).collect();
        prop_assert_eq!(distinct.len(), handles.len(), "each receive has a handle of its own");
    }
}
