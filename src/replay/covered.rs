//! What earlier runs of a replay have committed of a file. Pure.

use crate::store::Done;

/// Ranges of bodies that are committed, by file.
#[derive(Debug, Default)]
pub(super) struct Covered {
    /// From and until, in order, none touching the next.
    ranges: Vec<(i64, i64)>,
    /// How many bodies the file has, once it was read to its end.
    bodies: Option<i64>,
}

impl Covered {
    /// What is committed of one file, of parts in the order of their bodies.
    pub(super) fn of(parts: &[Done], file: i32) -> Self {
        let mut covered = Self::default();
        for part in parts.iter().filter(|part| part.file == file) {
            let until = part.first_body + part.bodies;
            match covered.ranges.last_mut() {
                Some((_, end)) if *end == part.first_body => *end = until,
                _ => covered.ranges.push((part.first_body, until)),
            }
            if part.is_last {
                covered.bodies = Some(until);
            }
        }
        covered.ranges.retain(|(from, until)| from < until);
        covered
    }

    /// Whether nothing of the file is left.
    pub(super) fn is_all(&self) -> bool {
        match (&self.ranges[..], self.bodies) {
            ([], Some(0)) => true,
            ([(0, until)], Some(bodies)) => *until == bodies,
            _ => false,
        }
    }

    /// Whether a body is committed.
    pub(super) fn holds(&self, body: i64) -> bool {
        let behind = self.ranges.partition_point(|(from, _)| *from <= body);
        behind.checked_sub(1).is_some_and(|at| body < self.ranges[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_what_the_parts_hold(
            parts in proptest::collection::vec((1_i64..4, any::<bool>()), 0..12),
            other in 0_i64..9,
        ) {
            let mut done = vec![Done { file: 1, first_body: 0, bodies: other, is_last: true }];
            let (mut from, mut held) = (0, Vec::new());
            for (index, (bodies, is_done)) in parts.iter().enumerate() {
                if *is_done {
                    held.extend(from..from + bodies);
                    let is_last = index + 1 == parts.len();
                    done.push(Done { file: 2, first_body: from, bodies: *bodies, is_last });
                }
                from += bodies;
            }
            let covered = Covered::of(&done, 2);
            for body in 0..from + 2 {
                prop_assert_eq!(covered.holds(body), held.contains(&body));
            }
            let is_all = !parts.is_empty() && parts.iter().all(|(_, is_done)| *is_done);
            prop_assert_eq!(covered.is_all(), is_all);
            prop_assert!(Covered::of(&done, 1).is_all());
            prop_assert!(!Covered::of(&done, 3).is_all());
        }
    }
}
