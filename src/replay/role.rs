//! Roles of TensorBoard tags.

use std::sync::Arc;

use super::{
    ReplayError,
    tags::{FOREIGN, OWN},
};
use crate::{
    config::{matches, named_enum},
    events::Numbers,
};

named_enum! {
    /// Meaning of a series. In tag patterns, `*` stands for the name of a parameter or layer.
    #[derive(PartialOrd, Ord)]
    pub enum Role {
        /// Loss of a step.
        Loss = "loss",
        /// Accuracy of a step.
        Accuracy = "accuracy",
        /// Mean training loss since the last evaluation.
        TrainLoss = "train_loss",
        /// Training accuracy since the last evaluation.
        TrainAccuracy = "train_accuracy",
        /// Validation loss.
        ValidationLoss = "validation_loss",
        /// Validation accuracy.
        ValidationAccuracy = "validation_accuracy",
        /// Learning rate.
        LearningRate = "learning_rate",
        /// Total norm of all gradients.
        TotalNorm = "total_norm",
        /// Cosine with the gradients of the previous step.
        PreviousCosine = "previous_cosine",
        /// L2 norm of a parameter's gradient.
        GradNorm = "grad_norm",
        /// Root mean square of a parameter's gradient.
        GradRms = "grad_rms",
        /// Largest absolute value of a parameter's gradient.
        GradMaxAbs = "grad_max_abs",
        /// Mean of a parameter's gradient.
        GradMean = "grad_mean",
        /// Standard deviation of a parameter's gradient.
        GradStd = "grad_std",
        /// Fraction of a gradient's elements that are 0.
        GradZeroFraction = "grad_zero_fraction",
        /// Number of a gradient's elements that are denormal.
        GradDenormals = "grad_denormals",
        /// Histogram of a parameter's gradient.
        GradHistogram = "grad_histogram",
        /// L2 norm of a parameter.
        ParamNorm = "param_norm",
        /// Root mean square of a parameter.
        ParamRms = "param_rms",
        /// Largest absolute value of a parameter.
        ParamMaxAbs = "param_max_abs",
        /// Mean of a parameter.
        ParamMean = "param_mean",
        /// Standard deviation of a parameter.
        ParamStd = "param_std",
        /// Fraction of a parameter's elements that are 0.
        ParamZeroFraction = "param_zero_fraction",
        /// Number of a parameter's elements that are denormal.
        ParamDenormals = "param_denormals",
        /// Histogram of a parameter.
        ParamHistogram = "param_histogram",
        /// L2 norm of a parameter's update.
        UpdateNorm = "update_norm",
        /// Update norm over parameter norm.
        UpdateRatio = "update_ratio",
        /// Mean of a layer's outputs.
        ActivationMean = "activation_mean",
        /// Root mean square of a layer's outputs.
        ActivationRms = "activation_rms",
        /// Fraction of a layer's outputs at or below 0.
        ActivationNonpositive = "activation_nonpositive",
        /// Fraction of a layer's inputs at which the activation is flat.
        ActivationSaturated = "activation_saturated",
        /// Root mean square of dLoss/dz at a layer.
        LayerGradRms = "layer_grad_rms",
    }
}

impl Role {
    /// Whether evaluations have this role.
    pub(super) fn is_of_evaluation(self) -> bool {
        matches!(self, Self::TrainLoss | Self::TrainAccuracy | Self::ValidationLoss | Self::ValidationAccuracy)
    }

    /// Whether a run has one series of this role, instead of one per parameter or layer.
    pub(super) fn is_of_model(self) -> bool {
        self < Self::GradNorm
    }

    /// Role of a value whose tag has this role; `None` if the kind of value does not fit the role.
    pub(super) fn of_value(self, is_parameter: bool, numbers: &Numbers) -> Option<Self> {
        let is_histogram = matches!(self, Self::GradHistogram | Self::ParamHistogram);
        match numbers {
            Numbers::Histogram(_) => is_histogram.then_some(self),
            Numbers::Scalar(_) if !is_histogram => Some(self),
            // `gradients/fc.weight` is often a norm; `gradients/max` is not a parameter.
            Numbers::Scalar(_) => (self == Self::GradHistogram && is_parameter).then_some(Self::GradNorm),
        }
    }
}

/// Whether a name looks like a parameter name.
fn is_parameter(name: &str) -> bool {
    let small = name.to_ascii_lowercase();
    ["weight", "bias", "kernel", "."].iter().any(|part| small.contains(part))
}

/// The part of a tag that matches the `*` of a pattern. With several stars, or for a bare parameter name, the whole
/// tag.
fn name<'a>(role: Role, pattern: &str, tag: &'a str) -> Option<&'a str> {
    let Some((head, tail)) = pattern.split_once('*') else { return Some("") };
    if tail.contains('*') {
        return Some(if role.is_of_model() { "" } else { tag });
    }
    if role == Role::ParamHistogram && matches!(tail, ".weight" | ".bias") {
        // A prefix before the parameter name would mean another statistic.
        return Some(tag).filter(|tag| !tag.contains('/'));
    }
    // Lowercasing ASCII letters does not change their length.
    tag.get(head.len()..tag.len().checked_sub(tail.len())?)
}

/// Meaning of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    pub role: Role,
    /// Name of the parameter or layer; empty for the whole model.
    pub name: Arc<str>,
    /// Position of the matching pattern. Lower positions take precedence.
    pub rank: usize,
}

impl Meaning {
    /// Whether the name looks like a parameter name.
    pub fn is_parameter(&self) -> bool {
        is_parameter(&self.name)
    }
}

/// Patterns that map tags to roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPatterns {
    patterns: Vec<(Role, String)>,
    /// Number of user-defined patterns, which come first.
    given: usize,
}

impl TagPatterns {
    /// Patterns for the tags that gradwatch writes.
    pub fn own() -> Self {
        Self::of(OWN)
    }

    /// Patterns for the tags of other programs, and for the tags that a custom training loop writes with
    /// [`events`](crate::events::write_gradients). Such a loop has no epoch means: its `loss/train` is the loss of a
    /// step.
    pub fn foreign() -> Self {
        let own = OWN.iter().filter(|(role, _)| ![Role::TrainLoss, Role::TrainAccuracy].contains(role));
        let mut all: Vec<&(Role, &str)> = own.chain(FOREIGN).collect();
        // `grad_norm/global_norm` is not a parameter.
        all.sort_by_key(|(role, _)| !role.is_of_model());
        Self::of(all)
    }

    fn of<'a>(patterns: impl IntoIterator<Item = &'a (Role, &'a str)>) -> Self {
        let owned = |&(role, pattern): &(Role, &str)| (role, pattern.to_owned());
        Self { patterns: patterns.into_iter().map(owned).collect(), given: 0 }
    }

    /// Adds user-defined patterns of the form `role=pattern` before all others, such as `grad_norm=my_norms/*`.
    ///
    /// # Errors
    /// If the role is unknown, or if a per-parameter or per-layer pattern has no `*` for the name.
    pub fn with(mut self, patterns: &[String]) -> Result<Self, ReplayError> {
        for text in patterns.iter().rev() {
            let parsed =
                text.split_once('=').and_then(|(role, pattern)| Some((role.trim().parse().ok()?, pattern.trim())));
            let (role, pattern): (Role, _) = parsed
                .filter(|(_, pattern)| !pattern.is_empty())
                .ok_or_else(|| ReplayError::Pattern { got: text.clone() })?;
            if !role.is_of_model() && !pattern.contains('*') {
                return Err(ReplayError::NoName { got: text.clone() });
            }
            self.patterns.insert(0, (role, pattern.to_ascii_lowercase()));
        }
        self.given += patterns.len();
        Ok(self)
    }

    /// Meaning of a tag. Ignores case.
    pub(super) fn meaning(&self, tag: &str) -> Option<Meaning> {
        let small = tag.to_ascii_lowercase();
        let (rank, (role, pattern)) =
            self.patterns.iter().enumerate().find(|(_, (_, pattern))| matches(pattern, &small))?;
        let name = name(*role, pattern, tag)?;
        // `train/grad_norm` covers all parameters, `fc.weight/grad_norm` only one.
        let role = if *role == Role::TotalNorm && is_parameter(name) { Role::GradNorm } else { *role };
        let name = if role.is_of_model() { "" } else { name };
        Some(Meaning { role, name: name.into(), rank })
    }

    /// Meaning of a tag in a subfolder: `train`, or any other name for validation.
    pub(super) fn meaning_in(&self, part: &str, tag: &str) -> Option<Meaning> {
        if part.is_empty() {
            return self.meaning(tag);
        }
        let with_part = self.meaning(&format!("{part}/{tag}"));
        if part != "train" {
            let is_validation = |role| matches!(role, Role::ValidationLoss | Role::ValidationAccuracy);
            // Any other folder name means validation.
            let meaning = with_part.or_else(|| self.meaning(&format!("validation/{tag}")));
            return meaning.filter(|meaning| is_validation(meaning.role) || meaning.rank < self.given);
        }
        // A parameter name does not include the folder name.
        [self.meaning(tag), with_part].into_iter().flatten().min_by_key(|meaning| meaning.rank)
    }

    /// The user-defined patterns.
    pub(super) fn given(&self) -> &[(Role, String)] {
        &self.patterns[..self.given]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::proto::HistogramProto;

    fn role(patterns: &TagPatterns, tag: &str) -> Option<(Role, String)> {
        patterns.meaning(tag).map(|meaning| (meaning.role, meaning.name.to_string()))
    }

    #[test]
    fn tags_of_others_are_known_whatever_their_letters() {
        let foreign = TagPatterns::foreign();
        for (tag, want) in [
            ("Loss/train", Role::Loss),
            ("Loss/val", Role::ValidationLoss),
            ("train_loss_step", Role::Loss),
            ("train_loss_epoch", Role::TrainLoss),
            ("val_acc", Role::ValidationAccuracy),
            ("validation/epoch_loss", Role::ValidationLoss),
            ("train/epoch_sparse_categorical_accuracy", Role::TrainAccuracy),
            ("lr-SGD", Role::LearningRate),
            ("train/grad_norm", Role::TotalNorm),
            ("total_grad_norm", Role::TotalNorm),
            ("gradients/global_norm", Role::TotalNorm),
            ("grad_2.0_norm_total", Role::TotalNorm),
            ("loss/train", Role::Loss),
            ("accuracy/validation", Role::ValidationAccuracy),
            ("update_ratio/fc.weight", Role::UpdateRatio),
            ("gradients/previous_cosine", Role::PreviousCosine),
            ("grad_norm/global_norm", Role::TotalNorm),
        ] {
            assert_eq!(role(&foreign, tag).map(|(role, _)| role), Some(want), "{tag}");
        }
        assert_eq!(
            role(&foreign, "Gradients/layer1.0.Conv.weight"),
            Some((Role::GradHistogram, "layer1.0.Conv.weight".into()))
        );
        assert_eq!(role(&foreign, "fc.weight/grad"), Some((Role::GradHistogram, "fc.weight".into())));
        assert_eq!(role(&foreign, "gpu_temperature"), None);
    }

    #[test]
    fn parameters_are_known_by_their_whole_names() {
        let foreign = TagPatterns::foreign();
        for (tag, want, name) in [
            ("layer1.weight.grad", Role::GradHistogram, "layer1.weight"),
            ("layer1.Weight_grad", Role::GradHistogram, "layer1.Weight"),
            ("layer1.weight/grad_norm", Role::GradNorm, "layer1.weight"),
            ("layer1.weight", Role::ParamHistogram, "layer1.weight"),
            ("dense/kernel/histogram", Role::ParamHistogram, "dense/kernel"),
        ] {
            assert_eq!(role(&foreign, tag), Some((want, name.into())));
        }
        assert_eq!(role(&foreign, "sparsity/layer1.weight"), None);
        let several = TagPatterns::foreign().with(&["grad_norm=*/of/*".into()]).unwrap();
        assert_eq!(role(&several, "norms/of/fc"), Some((Role::GradNorm, "norms/of/fc".into())));
    }

    #[test]
    fn a_gradient_s_number_is_its_norm_where_its_name_is_a_parameter_s() {
        let of = |tag: &str, numbers: Numbers| {
            let meaning = TagPatterns::foreign().meaning(tag).unwrap();
            meaning.role.of_value(meaning.is_parameter(), &numbers)
        };
        let (scalar, histogram) = (|| Numbers::Scalar(1.0), || Numbers::Histogram(HistogramProto::default()));
        assert_eq!(of("gradients/fc.weight", histogram()), Some(Role::GradHistogram));
        assert_eq!(of("gradients/fc.weight", scalar()), Some(Role::GradNorm));
        assert_eq!(of("gradients/max", scalar()), None);
        assert_eq!((of("fc.weight", scalar()), of("loss", histogram())), (None, None));
    }

    #[test]
    fn parts_of_a_run_have_folders_of_their_own() {
        let patterns = TagPatterns::foreign().with(&["validation_accuracy=test/hits".into()]).unwrap();
        let of = |part, tag| patterns.meaning_in(part, tag).map(|meaning| (meaning.role, meaning.name.to_string()));
        assert_eq!(of("train", "epoch_loss"), Some((Role::TrainLoss, String::new())));
        assert_eq!(of("train", "gradients/dense/kernel"), Some((Role::GradHistogram, "dense/kernel".into())));
        assert_eq!(of("test", "loss"), Some((Role::ValidationLoss, String::new())));
        assert_eq!(of("eval", "epoch_loss"), Some((Role::ValidationLoss, String::new())));
        assert_eq!(of("test", "hits"), Some((Role::ValidationAccuracy, String::new())));
        assert_eq!((of("test", "lr"), of("validation", "gradients/dense/kernel")), (None, None));
    }

    #[test]
    fn patterns_of_the_user_come_first() {
        let patterns = TagPatterns::foreign().with(&["grad_norm=mine/*/n".into(), "loss = objective".into()]).unwrap();
        assert_eq!(role(&patterns, "mine/a.b/n"), Some((Role::GradNorm, "a.b".into())));
        assert_eq!(role(&patterns, "objective"), Some((Role::Loss, String::new())));
        for wrong in ["loss", "speed=x", "loss=", "grad_norm=norms"] {
            assert!(TagPatterns::own().with(&[wrong.into()]).unwrap_err().to_string().contains(wrong));
        }
    }

    #[test]
    fn the_total_is_no_parameter() {
        assert_eq!(role(&TagPatterns::own(), "grad_norm/total"), Some((Role::TotalNorm, String::new())));
        assert_eq!(role(&TagPatterns::own(), "grad_norm/fc.weight"), Some((Role::GradNorm, "fc.weight".into())));
    }
}
