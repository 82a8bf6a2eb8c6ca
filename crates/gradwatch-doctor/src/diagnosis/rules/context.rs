//! Inputs of a rule besides the tracked step.

use crate::config::{
    Activation, ClassBalance, ClippingMode, Config, Initialization, LossName, ModelConfig, Normalization,
};
use crate::diagnosis::{Facts, Observation, Thresholds, course::LossCourse, facts::entropy, parameter_role::Roles};

/// Fraction of the loss of a guess above which a run has learned little, and below which it has learned.
const LITTLE: f64 = 0.7;
const LEARNED: f64 = 0.6;
/// Fraction of the loss of a guess below which a run has fitted its images.
const FITTED: f64 = 1e-3;
/// Blocks of ten tracked steps that must have such a loss.
const LEARNED_BLOCKS: usize = 2;

/// Inputs of a rule besides the tracked step.
#[derive(Clone, Copy)]
pub(in super::super) struct RuleContext<'a> {
    pub config: Option<&'a Config>,
    pub facts: &'a Facts,
    /// Roles of the parameters.
    pub roles: &'a Roles,
    pub course: &'a LossCourse,
    pub thresholds: &'a Thresholds,
}

impl<'a> RuleContext<'a> {
    /// See [`ModelConfig::known`].
    pub(in super::super) fn model(&self) -> Option<&'a ModelConfig> {
        self.config?.model.known()
    }

    pub(in super::super) fn activation(&self) -> Option<Activation> {
        self.model().map(|model| model.activation)
    }

    pub(in super::super) fn initialization(&self) -> Option<&'a Initialization> {
        self.model().map(|model| &model.initialization)
    }

    /// Whether residual branches start at 0. Until the first steps have moved the end of a branch, no gradient reaches
    /// its inside, which is correct.
    pub(in super::super) fn has_silent_branches(&self) -> bool {
        self.initialization().is_some_and(Initialization::has_silent_branches)
    }

    /// See [`Facts::guess`]. If nothing is known about the classes, the first loss, but at least the loss of a guess
    /// over ten classes: a run with a thousand classes may end where a run with ten starts.
    pub(in super::super) fn guess(&self) -> f64 {
        let guess = self.weighted_guess();
        // `max` of NaN and a number is the number.
        if guess > 0.0 { guess } else { 10f64.ln().max(self.course.first) }
    }

    /// Whether the loss is still close to that of a guess, or not a number.
    pub(in super::super) fn has_learned_little(&self, seen: &Observation<'_>) -> bool {
        let level = self.course.level(1).unwrap_or(seen.loss);
        let is_low = |loss: f64| loss <= LITTLE * self.guess();
        !(is_low(level) && is_low(seen.loss))
    }

    /// Whether the loss has fallen so far below that of a guess that whatever should keep the run from learning does
    /// not. Returns the level of the loss.
    pub(in super::super) fn learned(&self) -> Option<f64> {
        self.course.level(LEARNED_BLOCKS).filter(|level| *level < LEARNED * self.guess())
    }

    /// Whether the loss is so close to 0 that gradients may be 0 too.
    pub(in super::super) fn has_fitted(&self, seen: &Observation<'_>) -> bool {
        seen.loss.abs() < FITTED * self.guess()
    }

    /// Loss of the best guess that knows only the shares of the classes in the loss.
    fn weighted_guess(&self) -> f64 {
        let (counts, loss) = (&self.facts.class_counts, self.config.map(|config| &config.loss));
        if self.has_binary_loss() {
            return self.facts.binary_guess();
        }
        match loss.map(|loss| (loss.class_balance, &loss.class_weights)) {
            Some((ClassBalance::Balanced, _)) => entropy(counts.iter().map(|count| f64::from(u8::from(*count > 0)))),
            Some((ClassBalance::Given, weights)) if weights.len() == counts.len() => {
                entropy(counts.iter().zip(weights).map(|(count, weight)| *count as f64 * weight))
            }
            _ => self.facts.guess(),
        }
    }

    /// Whether the loss of the training images is binary cross-entropy.
    pub(in super::super) fn has_binary_loss(&self) -> bool {
        self.config.is_some_and(|config| config.loss.name == LossName::Bce)
    }

    /// Whether images and labels are mixed, so that the loss of the training images cannot come near 0, and their
    /// accuracy not near 1.
    pub(in super::super) fn mixes(&self) -> bool {
        self.config.is_some_and(|config| config.data.augment.mixing.is_on())
    }

    /// Accuracy of predicting the most frequent class for every image; `None` for multi-label data, which has no
    /// accuracy.
    pub(in super::super) fn most_frequent(&self) -> Option<f64> {
        let Facts { classes, class_counts, .. } = self.facts;
        match class_counts.iter().sum::<u64>() {
            _ if self.facts.is_multi_label() => None,
            0 => (*classes > 0).then(|| 1.0 / *classes as f64),
            images => Some(*class_counts.iter().max()? as f64 / images as f64),
        }
    }

    /// Whether gradients are not known to be clipped.
    pub(in super::super) fn is_unclipped(&self) -> bool {
        self.config.is_none_or(|config| config.clipping.mode == ClippingMode::None)
    }

    /// Whether the model is known to have no normalization.
    pub(in super::super) fn has_no_normalization(&self) -> bool {
        self.model().is_some_and(|model| model.normalization == Normalization::None)
    }
}
