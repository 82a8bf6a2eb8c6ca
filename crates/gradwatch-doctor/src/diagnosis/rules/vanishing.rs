//! Vanishing gradients: the depth profile of dLoss/dz decreases on its way back to the input.
//!
//! Behind a normalization or a shortcut, and with an adaptive optimizer, the profile says little about how fast the
//! first layers learn. There, the rule also waits for a loss that does not fall and first layers that move less than the
//! last ones.
//!
//! Independent of scale: only the ratio of the first layer's RMS to the last layer's counts, so the problem is visible
//! at step 0. Sigmoid networks with Xavier initialization and width 64 train with 3 layers (5e-2) and 4 layers (1.0e-2
//! to 1.3e-2), stay at chance for one to three epochs with 5 layers (2.2e-3 to 3.3e-3), and never learn with 6 or more
//! (8e-4 or less). Tanh with Xavier is at 0.3 to 0.7, and ReLU with He at 0.7 to 2.3, for 3 to 20 layers (five seeds).

use serde::{Deserialize, Serialize};

use super::{
    Need, Rule, RuleContext, Ways,
    depth_ends::{DepthEnds, first_layers_keep_up, is_adaptive, is_plain, is_stuck},
};
use crate::{
    config::{Activation, InitializationMethod, Normalization, RuleName},
    diagnosis::{Observation, Remedy, Severity, Symptom},
    number::two_digits,
};

/// First layer over last. Below this, a network learns late. On a logarithmic scale, halfway between networks that
/// train and those that do not.
pub(in super::super) const WARNING: f64 = 5e-3;
/// Below this, a network does not learn.
const CRITICAL: f64 = 1e-3;
/// The same for an adaptive optimizer, which divides by the size of each gradient.
const ADAPTIVE: f64 = 1e-4;
/// Fewest layers for which the depth profile is meaningful.
const LEAST_LAYERS: usize = 3;
/// After the first step, the profile moves. Then the rule needs this many consecutive checks, all critical.
const LOOKS: u32 = 3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Vanishing {
    looks: u32,
}

impl Rule for Vanishing {
    fn name(&self) -> RuleName {
        RuleName::Vanishing
    }

    fn needs(&self) -> Ways {
        &[&[Need::DepthProfile]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::GradientAccumulation,
            RuleName::LearningRate,
            RuleName::DeadRelu,
            RuleName::UpdateRatio,
            RuleName::Exploding,
            RuleName::WeightDecay,
            RuleName::Clipping,
            RuleName::Epsilon,
            RuleName::Momentum,
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
        ]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let profile = seen.depth_profile.as_ref().filter(|profile| profile.layers.len() >= LEAST_LAYERS)?;
        let ends = DepthEnds::of(profile, context)?;
        let figures = ends.figures("0.005 or more");
        let DepthEnds { ratio, per_layer, count, layers } = ends;
        self.looks = if ratio < CRITICAL { self.looks + 1 } else { 0 };
        let is_plain = is_plain(seen, context);
        let is_enough = is_plain && (!is_adaptive(context) || ratio < ADAPTIVE);
        let is_confirmed =
            || is_stuck(seen, context) && (is_plain || first_layers_keep_up(seen, context) != Some(true));
        let severity = match ratio {
            _ if !is_enough && !is_confirmed() => return None,
            _ if seen.step > 0 && self.looks < LOOKS => return None,
            ratio if ratio < CRITICAL => Severity::Critical,
            ratio if ratio < context.thresholds.vanishing => Severity::Warning,
            _ => return None,
        };
        let cause = format!(
            "the gradient shrinks by a factor of {per_layer:.2} per layer, to {} of its size over {count} layers, so \
             the first layers do not learn{}",
            two_digits(ratio),
            why(context)
        );
        Some(Symptom { severity, layers, ranks: Vec::new(), figures, cause, remedies: remedies(context) })
    }
}

fn why(context: &RuleContext<'_>) -> String {
    let Some(model) = context.model() else { return String::new() };
    match model.activation {
        Activation::Sigmoid => "; the derivative of a sigmoid is at most 1/4".into(),
        activation if activation.is_flat_on_both_sides() => format!("; {activation} is flat for inputs far from 0"),
        activation => format!("; {} initialization is too small for {activation}", model.initialization.method),
    }
}

fn remedies(context: &RuleContext<'_>) -> Vec<Remedy> {
    let Some(model) = context.model() else { return Vec::new() };
    let mut remedies = Vec::new();
    let is_centered = model.initialization.method == InitializationMethod::CenteredLogistic;
    if model.activation == Activation::Sigmoid && model.normalization == Normalization::None && !is_centered {
        remedies.push(Remedy::config(
            "model.initialization",
            "centered_logistic",
            "keeps the sigmoids and initializes them to act like a tanh network at the edge of chaos",
        ));
    }
    if model.activation.is_flat_on_both_sides() {
        remedies.push(Remedy::config("model.activation", "relu", "its derivative is 1 for positive inputs"));
    }
    // No scale of the weights makes up for a derivative that is small everywhere, or for a saturated tanh.
    if !model.activation.is_flat_on_both_sides() && model.initialization.method != InitializationMethod::KaimingNormal {
        remedies.push(Remedy::config(
            "model.initialization",
            "kaiming_normal",
            "scales the weights so that the signal keeps its size with this activation",
        ));
    }
    if model.normalization == Normalization::None {
        remedies.push(Remedy::config("model.normalization", "batch", "rescales the inputs of every layer to size 1"));
    }
    if !model.residual {
        remedies.push(Remedy::config("model.residual", true, "adds a shortcut around each pair of layers"));
    }
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, profile, update};

    fn severity(step: u64, sizes: &[f64], looks: u32) -> Option<Severity> {
        let (case, mut rule) = (Case::new("model.activation = \"sigmoid\""), Vanishing::default());
        let seen = Observation { step, depth_profile: Some(profile(sizes)), ..Observation::default() };
        let judged = (0..looks).map(|_| rule.judge(&seen, &case.context())).last().flatten();
        judged.map(|symptom| symptom.severity)
    }

    #[test]
    fn the_ratio_of_the_ends_counts_whatever_the_scale() {
        for scale in [1e-12, 1.0, 1e12] {
            assert_eq!(severity(0, &[scale * 9.7e-3, scale, scale], 1), None);
            assert_eq!(severity(0, &[scale * 3e-3, scale, scale], 1), Some(Severity::Warning));
            assert_eq!(severity(0, &[scale * 7e-4, scale, scale], 1), Some(Severity::Critical));
        }
        assert_eq!(severity(0, &[0.0, 1.0, 1.0], 1), Some(Severity::Critical));
    }

    #[test]
    fn layers_inside_branches_that_begin_at_0_are_no_ends() {
        let judged = |more: &str| {
            let case = stuck(&format!("model.residual = true\n{more}"));
            let seen = at(60, &[0.0, 1.0, 1.0, 1.0]);
            let mut rule = Vanishing::default();
            (0..LOOKS).any(|_| rule.judge(&seen, &case.context()).is_some())
        };
        assert!(judged("") && !judged("model.initialization.skip_init = true"));
    }

    /// A run that has stayed at the loss of a guess for 60 tracked steps.
    fn stuck(more: &str) -> Case {
        Case { config: Case::new(more).config, ..Case::with_losses([2.3; 60]) }
    }

    fn at(step: u64, sizes: &[f64]) -> Observation<'static> {
        Observation { step, loss: 2.3, depth_profile: Some(profile(sizes)), ..Observation::default() }
    }

    #[test]
    fn behind_normalization_shortcuts_and_adaptive_optimizers_the_loss_and_the_first_layers_decide_too() {
        let told = |case: &Case, step: u64, first: f64| {
            let (mut rule, updates) = (Vanishing::default(), [("a", first), ("b", 1e-3), ("c", 1e-3)]);
            let updates = updates.map(|(name, ratio)| update(&format!("{name}.weight"), ratio));
            let seen = Observation { updates: &updates, ..at(step, &[5e-4, 1.0, 1.0]) };
            (0..LOOKS).any(|_| rule.judge(&seen, &case.context()).is_some())
        };
        for more in ["model.residual = true", "model.normalization = \"batch\"", "optimizer.name = \"adam\""] {
            let learns = Case { config: Case::new(more).config, ..Case::with_losses([1.0; 60]) };
            assert!(!told(&Case::new(more), 0, 1e-9), "{more}: it has had no time");
            assert!(told(&stuck(more), 60, 1e-9), "{more}");
            let is_plain = more.contains("adam");
            assert_eq!(told(&stuck(more), 60, 1e-3), is_plain, "{more}: the first layers keep up");
            let seen = Observation { loss: 1.0, ..at(60, &[5e-4, 1.0, 1.0]) };
            let mut rule = Vanishing::default();
            assert!(!(0..LOOKS).any(|_| rule.judge(&seen, &learns.context()).is_some()), "{more}: it learns");
        }
        let seen = at(0, &[9e-5, 1.0, 1.0]);
        assert!(Vanishing::default().judge(&seen, &Case::new("optimizer.name = \"adam\"").context()).is_some());
    }

    #[test]
    fn two_layers_and_ends_that_are_not_finite_say_nothing() {
        assert_eq!(severity(0, &[1e-9, 1.0], 1), None);
        assert_eq!(severity(0, &[f64::NAN, 1.0, 1.0], 1), None);
        assert_eq!(severity(0, &[1.0, 1.0, 0.0], 1), None);
    }

    #[test]
    fn once_steps_were_taken_three_looks_in_a_row_count() {
        assert_eq!(severity(25, &[7e-4, 1.0, 1.0], 2), None);
        assert_eq!(severity(25, &[7e-4, 1.0, 1.0], 3), Some(Severity::Critical));
        assert_eq!(severity(25, &[3e-3, 1.0, 1.0], 9), None);
    }

    #[test]
    fn remedies_change_what_the_config_has_and_nothing_it_has_already() {
        let changes = |more: &str| {
            let case = Case::new(more);
            let remedies = remedies(&case.context());
            remedies.into_iter().map(|remedy| remedy.change.to_string()).collect::<Vec<_>>()
        };
        let all = [
            "model.initialization = \"centered_logistic\"",
            "model.activation = \"relu\"",
            "model.normalization = \"batch\"",
            "model.residual = true",
        ];
        assert_eq!(changes("model.activation = \"sigmoid\""), all);
        let is_centered = "model.activation = \"sigmoid\"\nmodel.initialization = \"centered_logistic\"";
        assert_eq!(changes(is_centered), all[1..]);
        assert_eq!(changes("model.activation = \"tanh\""), all[1..]);
        let kaiming = ["model.initialization = \"kaiming_normal\""];
        assert_eq!(changes("model.normalization = \"batch\"\nmodel.residual = true"), kaiming);
    }
}
