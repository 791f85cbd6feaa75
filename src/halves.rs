//! A batch that PostgreSQL refuses for its data is halved until the one that is to blame stands
//! alone. Pure.

/// The parts of a batch that remain to be written, in their order.
#[derive(Debug)]
pub struct Halves<T>(Vec<Vec<T>>);

impl<T> Halves<T> {
    /// The batch as it is.
    #[must_use]
    pub fn of(batch: Vec<T>) -> Self {
        Self(vec![batch])
    }

    /// The next part to write; `None` when all are written.
    pub fn next_part(&mut self) -> Option<Vec<T>> {
        self.0.pop()
    }

    /// Takes a refused part back as two halves; one that stands alone is given to the caller.
    pub fn refused(&mut self, mut part: Vec<T>) -> Option<T> {
        if part.len() < 2 {
            return part.pop();
        }
        let rest = part.split_off(part.len() / 2);
        self.0.extend([rest, part]);
        None
    }

    /// Has one tried again before the rest, as something else.
    pub fn again(&mut self, alone: T) {
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
            let mut halves = Halves::of(batch.clone());
            let (mut written, mut found) = (Vec::new(), Vec::new());
            while let Some(part) = halves.next_part() {
                if part.iter().any(|(_, is_bad)| *is_bad) {
                    found.extend(halves.refused(part));
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
