//! A histogram by sign and power of two. It resolves 1e-12 as well as 1, and its buckets are the same at every step.

use serde::Serialize;

/// Counts of normal numbers by sign and power of two.
///
/// The histogram covers the largest magnitude and the powers of two below it, at most [`LogHistogram::OCTAVES`] in
/// total. Smaller values count toward the last one, which is 2^39 below the largest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LogHistogram {
    /// Exponent of the first count: that of the largest magnitude of either sign.
    pub top: i32,
    /// `negative[i]` counts the elements v < 0 with 2^(top - i) <= |v| < 2^(top - i + 1). No trailing zeros.
    pub negative: Vec<u64>,
    /// The same for v > 0.
    pub positive: Vec<u64>,
}

impl LogHistogram {
    /// Maximum number of powers of two per sign. f32 itself resolves a value to 2^-24.
    pub const OCTAVES: usize = 40;

    /// Exponent of the smallest normal f32, 2^-126. Smaller elements are denormals or 0, and are not counted.
    pub const SMALLEST_EXPONENT: i32 = -126;

    /// Number of counted elements.
    pub fn total(&self) -> u64 {
        self.negative.iter().chain(&self.positive).sum()
    }
}
