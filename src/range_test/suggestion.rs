//! The learning rate that the loss curve of a range test suggests.

use std::fmt;

use serde::Serialize;

use super::curve::{RangeStep, Rates, Smoothing};
use crate::number::{short, two_digits};

/// A fall of the smoothed loss counts if it is this many standard deviations of its noise.
const SIGNIFICANT: f64 = 5.0;
/// Smallest relative fall that is not a rounding error of float32 losses.
const ROUNDING: f64 = 1e-5;
/// Factor between learning rates over which a loss that does not change is not just too noisy: steps a thousand times as
/// large would show.
const FLAT: f64 = 1e3;

/// A learning rate for training, with its reasons.
///
/// It is the smaller of two rates. At the first one, the smoothed loss falls fastest (fast.ai). The second one is a
/// tenth of the rate with the lowest smoothed loss, after which the loss becomes ragged and diverges (Smith 2017,
/// section 3.3, takes rates below that point).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestion {
    /// Suggested learning rate.
    pub learning_rate: f64,
    /// Learning rate at which the smoothed loss falls fastest.
    pub steepest: f64,
    /// Change of the smoothed loss there, per factor of ten in the learning rate.
    pub slope_per_decade: f64,
    /// Learning rate with the lowest smoothed loss.
    pub lowest: f64,
    /// Smoothed loss there.
    pub lowest_loss: f64,
    /// A tenth of `lowest`, or the lowest rate of the test if that is higher.
    pub tenth_of_lowest: f64,
    /// Whether the loss still falls at the highest rate of the test.
    pub is_still_falling: bool,
}

/// Reason for which a range test suggests no learning rate.
#[derive(Debug, Clone, PartialEq)]
pub enum NoSuggestion {
    /// The loss or the gradient is not finite before the first update.
    NotFinite,
    /// The loss rises from the start.
    TooHigh {
        /// Lowest learning rate of the test.
        from: f64,
    },
    /// The loss does not fall at any rate.
    NeverFalls {
        /// Smoothed loss of the first steps.
        start: f64,
        /// Lowest smoothed loss after them.
        lowest: f64,
        /// Standard deviation of the smoothed loss.
        noise: f64,
        /// Whether and where the loss rises.
        course: Course,
    },
}

/// Course of a loss that never falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Course {
    /// It is the same at all rates, up to this one.
    Flat(f64),
    /// It rises or diverges, after it was the same over a factor of 1000 in the learning rate or more, up to this one.
    FlatThenRises(f64),
    /// It rises or diverges near the lowest rate.
    Rises,
}

/// Suggests a learning rate for the curve of a test of `rates`. Uses the steps before the first loss that is not finite,
/// without the first tenth of the test, in which the average covers too few losses.
///
/// # Errors
/// If the loss never falls, or is never finite.
pub fn suggest(curve: &[RangeStep], rates: &Rates) -> Result<Suggestion, NoSuggestion> {
    let [from, to] = rates.ends();
    let finite = curve.iter().position(|step| !step.smoothed_loss.is_finite());
    let curve_is_whole = finite.is_none() && curve.len() == rates.steps();
    let finite = &curve[..finite.unwrap_or(curve.len())];
    if finite.is_empty() {
        return Err(NoSuggestion::NotFinite);
    }
    let seen = finite.get(rates.steps() / 10..).unwrap_or_default();
    let [first, _, ..] = seen else { return Err(NoSuggestion::TooHigh { from }) };
    let lowest = (0..seen.len()).min_by(|&one, &other| loss(&seen[one]).total_cmp(&loss(&seen[other]))).unwrap_or(0);
    let (start, least) = (loss(first), loss(&seen[lowest]));
    let noise = noise(finite) * Smoothing::new(rates.steps()).remaining_noise();
    let change = (SIGNIFICANT * noise).max(ROUNDING * start.abs());
    if start - least <= change {
        let risen = seen.iter().position(|step| loss(step) - start > change);
        let flat = risen.map_or(seen, |risen| &seen[..risen]).last().map_or(from, |step| step.learning_rate);
        let course = match flat / from {
            _ if risen.is_none() && curve_is_whole => Course::Flat(to),
            factor if factor >= FLAT => Course::FlatThenRises(flat),
            _ => Course::Rises,
        };
        return Err(NoSuggestion::NeverFalls { start, lowest: least, noise, course });
    }
    // Differences over several steps depend less on the noise of single batches.
    let width = (rates.steps() / 20).clamp(1, lowest);
    let rise = |at: usize| loss(&seen[at + width]) - loss(&seen[at]);
    let at = (0..=lowest - width).min_by(|&one, &other| rise(one).total_cmp(&rise(other))).unwrap_or(0);
    let decades = width as f64 * (to.log10() - from.log10()) / (rates.steps() - 1) as f64;
    let steepest = seen[at + width / 2].learning_rate;
    let lowest_rate = seen[lowest].learning_rate;
    let tenth_of_lowest = (lowest_rate / 10.0).max(from);
    Ok(Suggestion {
        learning_rate: steepest.min(tenth_of_lowest),
        steepest,
        slope_per_decade: rise(at) / decades,
        lowest: lowest_rate,
        lowest_loss: least,
        tenth_of_lowest,
        is_still_falling: curve_is_whole && lowest == seen.len() - 1,
    })
}

fn loss(step: &RangeStep) -> f64 {
    step.smoothed_loss
}

/// Standard deviation of the losses around their course: from the median difference between neighbors, which does not
/// depend on the few losses of a divergence.
fn noise(curve: &[RangeStep]) -> f64 {
    let mut jumps: Vec<f64> = curve.windows(2).map(|pair| (pair[1].loss - pair[0].loss).abs()).collect();
    jumps.sort_by(f64::total_cmp);
    // The difference of two normal variables has sqrt(2) times their deviation; its median magnitude is 0.6745 of that.
    jumps.get(jumps.len() / 2).map_or(0.0, |median| median / (0.6745 * 2f64.sqrt()))
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rate, steepest, tenth, lowest] =
            [self.learning_rate, self.steepest, self.tenth_of_lowest, self.lowest].map(two_digits);
        let (slope, least) = (two_digits(self.slope_per_decade), short(self.lowest_loss));
        let is_steepest = self.learning_rate == self.steepest;
        let [first, second] = [
            format!("the smoothed loss falls fastest at {steepest} ({slope} per factor of ten)"),
            format!("a tenth of {lowest}, the rate with the lowest smoothed loss ({least}), is {tenth}"),
        ];
        let [why, other] = if is_steepest { [first, second] } else { [second, first] };
        write!(f, "{rate}: {why}; {other}, which is higher")?;
        if self.is_still_falling {
            f.write_str("; the loss still falls at the highest rate: raise --to")?;
        }
        Ok(())
    }
}

impl fmt::Display for NoSuggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite => f.write_str(
                "none: the loss or the gradient is not finite before the first update, so no learning rate helps; check \
                 the images with `gradwatch check` and the model with `gradwatch inspect`",
            ),
            Self::TooHigh { from } => write!(
                f,
                "none: the loss diverges near the lowest learning rate, {}; lower --from, or check the model with \
                 `gradwatch inspect`",
                short(*from)
            ),
            Self::NeverFalls { start, lowest, noise, course } => {
                let [start, lowest, noise] = [short(*start), short(*lowest), two_digits(*noise)];
                write!(
                    f,
                    "none: the smoothed loss never falls by more than its noise (from {start} to {lowest}, with a standard \
                     deviation of {noise})"
                )?;
                match course {
                    Course::Flat(to) => write!(
                        f,
                        ", and is still the same at the highest learning rate, {}; raise --to, look for vanishing \
                         gradients with `gradwatch inspect`, or reduce the noise with more --steps or a larger \
                         data.batch_size",
                        two_digits(*to)
                    ),
                    Course::FlatThenRises(rate) => write!(
                        f,
                        ", is the same up to {}, and then rises; look for vanishing gradients with `gradwatch inspect`, or \
                         reduce the noise with more --steps or a larger data.batch_size",
                        two_digits(*rate)
                    ),
                    Course::Rises => f.write_str(
                        ", and then rises; lower --from, look for exploding gradients with `gradwatch inspect`, or reduce \
                         the noise with more --steps or a larger data.batch_size",
                    ),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
