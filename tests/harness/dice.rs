//! Reproducible random choices.

/// Reproducible pseudorandom numbers: the middle bits of a linear congruential generator (Knuth's MMIX).
pub(crate) struct Dice(pub u64);

impl Dice {
    /// A number below a bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
