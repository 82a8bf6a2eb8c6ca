//! Learning rate range test (Smith 2017, arXiv 1506.01186, section 3.3): trains a few steps at a rising learning rate and
//! suggests one for training.
//!
//! The rates rise exponentially, as in fast.ai's `lr_find`. Writes nothing to disk:
//!
//! ```
//! use gradwatch::{config::Config, range_test::{Rates, range_test}};
//!
//! let toml = "[run]\nmax_epochs = 1\n[data]\nsource = \"synthetic\"\nimage_size = 8\nsamples = 200\n\
//!             [model]\nname = \"mlp\"\nwidth = 32";
//! let test = range_test(Config::parse(toml, "demo.toml")?, Rates::new(1e-5, 10.0, 60)?, |_| {})?;
//! let suggestion = test.suggestion.unwrap();
//! assert!((1e-3..1.0).contains(&suggestion.learning_rate));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod curve;
mod picture;
mod suggestion;

use serde::Serialize;

pub use curve::{RangeStep, Rates, RatesError};
pub use suggestion::{Course, NoSuggestion, Suggestion, suggest};

use crate::{
    config::Config,
    train::{RateStep, TrainError, prepare_for_rates},
};
use curve::Smoothing;

/// A range test of one config.
#[derive(Debug, Clone)]
pub struct RangeTest {
    /// Learning rates of the test.
    pub rates: Rates,
    /// The steps, in order. The last one has diverged if the test ended early.
    pub steps: Vec<RangeStep>,
    /// Reason for the end of the test.
    pub ending: RangeEnding,
    /// Loss of the best guess that ignores the images, if the loss does not weigh the classes.
    pub guess: f64,
    /// Suggested learning rate, or the reason for which there is none.
    pub suggestion: Result<Suggestion, NoSuggestion>,
}

/// Reason for the end of a range test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeEnding {
    /// It reached the highest learning rate.
    Finished,
    /// The smoothed loss exceeded four times its minimum.
    Diverged,
    /// A loss was not finite, or the gradients of too many steps in a row (`optimizer.max_skipped_steps`).
    NotFinite,
}

/// Lowest smoothed loss over that of a guess, above which the fall of the loss is no sign of learning: a network that
/// learns only the frequencies of the classes stays at 1.
const GUESSED: f64 = 0.95;

impl RangeTest {
    /// Whether the loss only falls to about that of a guess, so that the network may have learned nothing but the
    /// frequencies of the classes.
    pub fn is_like_guessing(&self) -> bool {
        self.suggestion.as_ref().is_ok_and(|suggestion| suggestion.lowest_loss > GUESSED * self.guess)
    }
}

/// Trains a new model of `config` at each of `rates`, with its data, loss, optimizer, accumulation, clipping, and
/// precision. Ignores schedule and warm-up, averaged weights, evaluations, and monitoring. Ends early if the loss
/// diverges. Calls `progress` after each step.
///
/// # Errors
/// As for [`prepare`](crate::train::prepare); or if images cannot be read, or libtorch reports an error.
pub fn range_test(config: Config, rates: Rates, mut progress: impl FnMut(&RangeStep)) -> Result<RangeTest, TrainError> {
    let (mut steps, mut smoothing) = (Vec::with_capacity(rates.steps()), Smoothing::new(rates.steps()));
    let mut ending = RangeEnding::Finished;
    let prepared = prepare_for_rates(config)?;
    let guess = prepared.guess();
    let trained = prepared.train_at_rates(&rates.all(), |RateStep { learning_rate, loss, total_norm }| {
        let smoothed_loss = smoothing.add(loss);
        let step = RangeStep { learning_rate, loss, smoothed_loss, total_norm };
        progress(&step);
        steps.push(step);
        if smoothed_loss.is_nan() {
            ending = RangeEnding::NotFinite;
        } else if smoothing.has_diverged(smoothed_loss) {
            ending = RangeEnding::Diverged;
        }
        ending == RangeEnding::Finished
    });
    match trained {
        Ok(()) => {}
        // Divergence is a result of the test.
        Err(TrainError::NonFinite { .. } | TrainError::NonFiniteUpdate { .. }) => ending = RangeEnding::NotFinite,
        Err(error) => return Err(error),
    }
    let suggestion = suggest(&steps, &rates);
    Ok(RangeTest { rates, steps, ending, guess, suggestion })
}
