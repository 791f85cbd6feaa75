//! Bisects a batch that PostgreSQL refuses, until the item that is to blame is alone. Pure.

/// The parts of a batch that remain to be written, in their order.
#[derive(Debug)]
pub(super) struct Bisect<T>(Vec<Vec<T>>);

impl<T> Bisect<T> {
    /// The batch as it is; an empty one is a part too.
    pub(super) fn of(batch: Vec<T>) -> Self {
        Self(vec![batch])
    }

    /// The next part to write; `None` when there is none left.
    pub(super) fn next_part(&mut self) -> Option<Vec<T>> {
        self.0.pop()
    }

    /// Takes a refused part back as two halves; an item that was alone is returned to the caller.
    pub(super) fn refused(&mut self, mut part: Vec<T>) -> Option<T> {
        if part.len() < 2 {
            return part.pop();
        }
        let rest = part.split_off(part.len() / 2);
        self.0.extend([rest, part]);
        None
    }

    /// Puts an item in front of the rest, to be tried again.
    pub(super) fn again(&mut self, alone: T) {
        self.0.push(vec![alone]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_bad_ones_are_found_and_the_others_are_written_in_order(
            batch in proptest::collection::vec(proptest::bool::weighted(0.1), 0..100),
        ) {
            let batch: Vec<(usize, bool)> = batch.into_iter().enumerate().collect();
            let mut bisect = Bisect::of(batch.clone());
            let (mut written, mut found) = (Vec::new(), Vec::new());
            while let Some(part) = bisect.next_part() {
                if part.iter().any(|(_, is_bad)| *is_bad) {
                    found.extend(bisect.refused(part));
                } else {
                    written.extend(part);
                }
            }
            let (bad, good): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(_, is_bad)| *is_bad);
            prop_assert_eq!(found, bad);
            prop_assert_eq!(written, good);
        }
    }
}
