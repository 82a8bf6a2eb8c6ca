//! The random numbers of dropout and the like.
//!
//! They are a function of the seed of the run, the step, and the number of the micro-batch in the step. So they depend
//! neither on the number of ranks nor on what was drawn before.

/// Number of the passes that are not part of training.
const PROBE: u64 = u64::MAX;

/// The random streams of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct RandomStreams {
    pub seed: u64,
}

impl RandomStreams {
    /// Seeds libtorch's generators before a micro-batch.
    pub(super) fn start_micro_batch(self, step: u64, number: usize) {
        tch::manual_seed(stream(self.seed, step, number as u64));
    }

    /// Seeds libtorch's generators before a pass that is not part of training.
    pub(super) fn start_probe(self, step: u64) {
        tch::manual_seed(stream(self.seed, step, PROBE));
    }
}

fn stream(seed: u64, step: u64, number: u64) -> i64 {
    let address = [seed, step, number].map(u64::to_le_bytes).concat();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(&address).as_bytes()[..8]);
    i64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_address_leads_to_another_stream() {
        let streams = [stream(1, 2, 3), stream(2, 2, 3), stream(1, 3, 3), stream(1, 2, 4), stream(1, 3, 2)];
        assert_eq!(streams.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    }
}
