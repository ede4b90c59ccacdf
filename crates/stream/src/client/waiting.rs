//! What waits in a producer, in bytes. Pure: owns the count; must not know the client, which bounds records and can't bound bytes where one
//! record may be larger than the bound.
use std::collections::VecDeque;

/// Above, who sends waits; at the speed that a lane writes with it is the work of some 20 ms. A larger record goes alone.
const BYTES: usize = 4 * 1024 * 1024;
/// Sizes that are kept before those of answered records are let go.
const RECORDS: usize = 2000;

/// Sizes of the records that were handed over last and may have no answer yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl Waiting {
    /// Whether a record of this size may go now. `flying`: how many have no answer; asked only where it matters. Answers are taken to come in
    /// the order of sending, as those of one broker do.
    pub(super) fn has_room(&mut self, size: usize, flying: impl FnOnce() -> usize) -> bool {
        if self.fits(size) && self.sizes.len() < RECORDS {
            return true;
        }
        let flying = flying();
        while self.sizes.len() > flying {
            self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
        self.fits(size)
    }

    fn fits(&self, size: usize) -> bool {
        self.sizes.is_empty() || self.bytes + size <= BYTES
    }

    /// It has gone.
    pub(super) fn add(&mut self, size: usize) {
        self.sizes.push_back(size);
        self.bytes += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_above_the_bound_goes_alone() {
        let mut waiting = Waiting::default();
        assert!(waiting.has_room(6 * BYTES, || unreachable!("nothing was sent")));
        waiting.add(6 * BYTES);
        assert!(!waiting.has_room(1, || 1));
        assert!(waiting.has_room(1, || 0));
        waiting.add(1);
        assert!(!waiting.has_room(BYTES, || 1), "not beside another");
        assert!(waiting.has_room(BYTES, || 0));
    }

    proptest! {
        #[test]
        fn what_waits_is_bounded(steps in prop::collection::vec((1..BYTES / 3, 0..40usize), 1..300)) {
            let (mut waiting, mut flying) = (Waiting::default(), VecDeque::new());
            for (size, answered) in steps {
                flying.drain(..answered.min(flying.len()));
                let bytes: usize = flying.iter().sum();
                let room = waiting.has_room(size, || flying.len());
                prop_assert_eq!(room, bytes + size <= BYTES || flying.is_empty());
                if room {
                    waiting.add(size);
                    flying.push_back(size);
                }
            }
        }
    }

    #[test]
    fn sizes_of_what_is_answered_are_let_go() {
        let mut waiting = Waiting::default();
        for _ in 0..10 * RECORDS {
            assert!(waiting.has_room(1, || 3));
            waiting.add(1);
            assert!(waiting.sizes.len() <= RECORDS && waiting.bytes == waiting.sizes.len());
        }
    }
}
