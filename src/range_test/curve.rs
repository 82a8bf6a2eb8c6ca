//! The loss of a learning rate range test over its rising learning rates.

use serde::Serialize;

/// Factor by which the smoothed loss may exceed its minimum, as in fast.ai.
const DIVERGED: f64 = 4.0;

/// Rising learning rates of a range test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    from: f64,
    to: f64,
    steps: usize,
}

/// The learning rates do not rise, or there are too few of them.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "a range test from learning rate {from} to {to} in {steps} steps is not possible; want 0 < from < to < 3.4e38, and at \
     least {} steps",
    Rates::LEAST_STEPS
)]
pub struct RatesError {
    from: f64,
    to: f64,
    steps: usize,
}

impl Rates {
    /// Smallest number of steps.
    pub const LEAST_STEPS: usize = 10;

    /// Rates from `from` to `to` in `steps` steps.
    ///
    /// # Errors
    /// If they do not rise, or `steps` is less than [`LEAST_STEPS`](Self::LEAST_STEPS).
    pub fn new(from: f64, to: f64, steps: usize) -> Result<Self, RatesError> {
        let rises = from > 0.0 && from < to && to <= f64::from(f32::MAX);
        if rises && steps >= Self::LEAST_STEPS {
            Ok(Self { from, to, steps })
        } else {
            Err(RatesError { from, to, steps })
        }
    }

    /// Number of rates.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Lowest and highest rate.
    pub fn ends(&self) -> [f64; 2] {
        [self.from, self.to]
    }

    /// All rates, evenly spaced in their logarithm.
    pub fn all(&self) -> Vec<f64> {
        let Self { from, to, steps } = *self;
        let decades = to.log10() - from.log10();
        let rate = |step: usize| from * 10f64.powf(decades * step as f64 / (steps - 1) as f64);
        (0..steps).map(|step| if step == steps - 1 { to } else { rate(step).clamp(from, to) }).collect()
    }
}

/// A step of a range test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RangeStep {
    /// Learning rate.
    pub learning_rate: f64,
    /// Mean loss of the step's images before the update.
    pub loss: f64,
    /// Exponential average of the losses up to this step, with bias correction. NaN from the first loss on that is not
    /// finite.
    pub smoothed_loss: f64,
    /// L2 norm of all gradients before clipping.
    pub total_norm: f64,
}

/// Exponential average with bias correction (Kingma and Ba 2015, section 3).
#[derive(Debug, Clone)]
pub(super) struct Smoothing {
    beta: f64,
    average: f64,
    steps: i32,
    least: f64,
}

impl Smoothing {
    /// For a test of `steps` steps. Over 800 steps the decay is 0.98, as in fast.ai; in a test of another length, the
    /// average covers the same share of it.
    pub(super) fn new(steps: usize) -> Self {
        Self { beta: 0.98f64.powf(800.0 / steps as f64), average: 0.0, steps: 0, least: f64::INFINITY }
    }

    /// Adds a loss, and returns the average.
    pub(super) fn add(&mut self, loss: f64) -> f64 {
        self.average = self.beta * self.average + (1.0 - self.beta) * loss;
        self.steps += 1;
        let corrected = self.average / (1.0 - self.beta.powi(self.steps));
        // An infinite loss ends the test too, and NaN marks it in one way.
        let smoothed = if corrected.is_finite() { corrected } else { f64::NAN };
        self.least = self.least.min(smoothed);
        smoothed
    }

    /// Whether an average is far above the lowest one, or not finite.
    pub(super) fn has_diverged(&self, smoothed: f64) -> bool {
        smoothed.is_nan() || smoothed > DIVERGED * self.least
    }

    /// Standard deviation of the average of losses that have a standard deviation of 1 and are independent.
    pub(super) fn remaining_noise(&self) -> f64 {
        ((1.0 - self.beta) / (1.0 + self.beta)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_by_one_factor_from_end_to_end() {
        let rates = Rates::new(1e-4, 1e5, 10).unwrap().all();
        assert_eq!((rates[0], rates[9]), (1e-4, 1e5));
        assert!(
            rates.iter().zip(-4..).all(|(rate, power)| (rate / 10f64.powi(power) - 1.0).abs() < 1e-12),
            "{rates:?}"
        );
    }

    #[test]
    fn rates_that_do_not_rise_are_refused_with_what_is_wanted() {
        for (from, to, steps) in
            [(1.0, 0.1, 100), (1.0, 1e39, 100), (1.0, 1.0, 100), (0.0, 1.0, 100), (f64::NAN, 1.0, 100), (0.1, 1.0, 9)]
        {
            let error = Rates::new(from, to, steps).unwrap_err().to_string();
            assert!(error.ends_with("want 0 < from < to < 3.4e38, and at least 10 steps"), "{error}");
        }
    }

    #[test]
    fn the_average_weighs_recent_losses_more() {
        let mut smoothing = Smoothing { beta: 0.5, ..Smoothing::new(100) };
        // (4 * 0.5) / 0.5, (4 * 0.25 + 1 * 0.5) / 0.75, (4 * 0.125 + 1 * 0.25 + 8 * 0.5) / 0.875
        assert_eq!([4.0, 1.0, 8.0].map(|loss| smoothing.add(loss)), [4.0, 2.0, 4.75 / 0.875]);
        assert!((smoothing.remaining_noise() - (1.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((Smoothing::new(800).beta - 0.98).abs() < 1e-12);
        assert!((Smoothing::new(100).beta - 0.850_763).abs() < 1e-6);
    }

    #[test]
    fn four_times_the_minimum_or_a_loss_that_is_not_finite_is_divergence() {
        let mut smoothing = Smoothing { beta: 0.0, ..Smoothing::new(100) };
        let diverged = [2.0, 8.0, 1.0, 4.1, f64::INFINITY, 1.0].map(|loss| {
            let smoothed = smoothing.add(loss);
            smoothing.has_diverged(smoothed)
        });
        assert_eq!(diverged, [false, false, false, true, true, true]);
    }
}
