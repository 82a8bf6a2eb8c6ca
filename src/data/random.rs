//! Random streams addressed by (seed, purpose, epoch, index).
//!
//! A stream depends only on its address, not on earlier draws. So the order of an epoch and the augmentation of an
//! image can be drawn on any thread, in any order, and again after a restart.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Beta, Distribution};

/// Purpose of a stream. Two purposes never share a stream. Changing the numbers makes old runs unreproducible.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// The order of an epoch's images.
    Order = 1,
    /// The augmentation of one image.
    Augmentation = 2,
    /// The choice of validation images in one class.
    Split = 3,
    /// The pattern of one synthetic class.
    Pattern = 4,
    /// The noise of one synthetic image.
    Noise = 5,
    /// The mixtures of one batch.
    Mixture = 6,
    /// A shuffle of the labels; the epoch is the number of the shuffle.
    Labels = 7,
    /// The choice of training images; the seed is 0.
    Subset = 8,
}

/// A random stream: ChaCha with 8 rounds. Its key is (seed, purpose, epoch), and its nonce is the index.
#[derive(Debug)]
pub(super) struct Stream(ChaCha8Rng);

impl Stream {
    pub(super) fn new(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> Self {
        let mut key = [0; 32];
        let words = [seed, purpose as u64, epoch];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(index);
        Self(rng)
    }

    /// Returns 32 random bits.
    pub(super) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Returns a number in `0..bound`, each with equal probability; 0 if `bound == 0`.
    ///
    /// Lemire, "Fast random integer generation in an interval" (2019), algorithm 5.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let mut draw = || u128::from(self.0.next_u64()) * u128::from(bound);
        let mut product = draw();
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = draw();
            }
        }
        (product >> 64) as u64
    }

    /// Returns a number in `low..high`, in steps of 2^-53 of the interval.
    pub(super) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        low + unit * (high - low)
    }

    /// Returns a standard normal number, by the method of Box and Muller.
    pub(super) fn normal(&mut self) -> f64 {
        // From above 0 to 1, because of the logarithm.
        let radius = (-2.0 * (1.0 - self.uniform(0.0, 1.0)).ln()).sqrt();
        radius * self.uniform(0.0, std::f64::consts::TAU).cos()
    }

    /// Returns a number of the beta distribution with both parameters `alpha`.
    pub(super) fn beta(&mut self, alpha: f64) -> f64 {
        // Parameters are finite and positive, which the distribution requires.
        Beta::new(alpha, alpha).map_or(0.5, |beta| beta.sample(&mut self.0))
    }

    /// Returns `N` weights that sum to 1, each such set with equal probability.
    pub(super) fn simplex<const N: usize>(&mut self) -> [f64; N] {
        let draws: [f64; N] = std::array::from_fn(|_| -(1.0 - self.uniform(0.0, 1.0)).ln());
        let sum: f64 = draws.iter().sum();
        draws.map(|draw| draw / sum)
    }

    /// Returns one of `items`, each with equal probability.
    pub(super) fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Returns true with the given probability: never for 0, always for 1.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.uniform(0.0, 1.0) < probability
    }

    /// Shuffles `items`, with equal probability for each order (Fisher-Yates, from the end).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of `random_golden.py`, an independent ChaCha8. Changing these numbers makes old runs unreproducible.
    #[test]
    fn streams_are_those_of_an_independent_implementation() {
        let mut stream = Stream::new(7, Purpose::Order, 3, 5);
        let words: [u32; 4] = std::array::from_fn(|_| stream.bits());
        assert_eq!(words, GOLDEN_WORDS);
        let mut order: [u8; 10] = std::array::from_fn(|i| i as u8);
        Stream::new(1, Purpose::Order, 0, 0).shuffle(&mut order);
        assert_eq!(order, GOLDEN_ORDER);
    }

    const GOLDEN_WORDS: [u32; 4] = [419013269, 3045620134, 1250430513, 1538709028];
    const GOLDEN_ORDER: [u8; 10] = [8, 1, 6, 4, 0, 5, 9, 3, 7, 2];

    #[test]
    fn every_part_of_the_address_changes_the_stream() {
        let first = |seed, purpose, epoch, index| Stream::new(seed, purpose, epoch, index).0.next_u64();
        let base = first(1, Purpose::Order, 2, 3);
        assert_eq!(base, first(1, Purpose::Order, 2, 3));
        assert_ne!(base, first(2, Purpose::Order, 2, 3));
        assert_ne!(base, first(1, Purpose::Augmentation, 2, 3));
        assert_ne!(base, first(1, Purpose::Order, 3, 3));
        assert_ne!(base, first(1, Purpose::Order, 2, 4));
    }

    #[test]
    fn below_hits_every_number_of_the_range_about_equally_often() {
        let mut stream = Stream::new(0, Purpose::Noise, 0, 0);
        let mut hits = [0_u32; 5];
        for _ in 0..50_000 {
            hits[stream.below(5) as usize] += 1;
        }
        // Binomial(50000, 1/5): mean 10000, standard deviation 89.4; allows five standard deviations.
        assert!(hits.iter().all(|&n| (9_553..=10_447).contains(&n)), "{hits:?}");
        assert_eq!((stream.below(1), stream.below(0)), (0, 0));
    }

    #[test]
    fn a_probability_of_zero_or_one_is_certain() {
        let mut stream = Stream::new(0, Purpose::Noise, 0, 0);
        assert!((0..1_000).all(|_| !stream.chance(0.0) && stream.chance(1.0)));
    }
}
