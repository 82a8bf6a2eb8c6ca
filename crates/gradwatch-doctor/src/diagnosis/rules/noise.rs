//! Seeded noise for tests of rules with thresholds that noise must not reach.

/// SplitMix64 (Steele et al. 2014); the seed is its state.
pub(in super::super) struct Noise(pub u64);

impl Noise {
    /// Uniform in [0, 1).
    pub(in super::super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal with mean 0 and standard deviation 1 (Box and Muller 1958).
    pub(in super::super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Lognormal with median 1.
    pub(in super::super) fn lognormal(&mut self, deviation: f64) -> f64 {
        (deviation * self.normal()).exp()
    }
}
