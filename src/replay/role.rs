//! What a tag of an event file is of.

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
    /// What a series says of a run. In patterns of tags, `*` stands for the name of a parameter or layer.
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
        /// Norm of all gradients.
        TotalNorm = "total_norm",
        /// Cosine with the gradients of the step before.
        PreviousCosine = "previous_cosine",
        /// L2 norm of a parameter's gradient.
        GradNorm = "grad_norm",
        /// Its root mean square.
        GradRms = "grad_rms",
        /// Its largest absolute value.
        GradMaxAbs = "grad_max_abs",
        /// Its mean.
        GradMean = "grad_mean",
        /// Its standard deviation.
        GradStd = "grad_std",
        /// Share of its elements that are 0.
        GradZeroFraction = "grad_zero_fraction",
        /// How many of its elements are denormal.
        GradDenormals = "grad_denormals",
        /// Its histogram.
        GradHistogram = "grad_histogram",
        /// L2 norm of a parameter.
        ParamNorm = "param_norm",
        /// Its root mean square.
        ParamRms = "param_rms",
        /// Its largest absolute value.
        ParamMaxAbs = "param_max_abs",
        /// Its mean.
        ParamMean = "param_mean",
        /// Its standard deviation.
        ParamStd = "param_std",
        /// Share of its elements that are 0.
        ParamZeroFraction = "param_zero_fraction",
        /// How many of its elements are denormal.
        ParamDenormals = "param_denormals",
        /// Its histogram.
        ParamHistogram = "param_histogram",
        /// L2 norm of a parameter's move.
        UpdateNorm = "update_norm",
        /// That over the norm of the parameter.
        UpdateRatio = "update_ratio",
        /// Mean of a layer's outputs.
        ActivationMean = "activation_mean",
        /// Their root mean square.
        ActivationRms = "activation_rms",
        /// Share of them at or below 0.
        ActivationNonpositive = "activation_nonpositive",
        /// Share of a layer's inputs where its activation is flat.
        ActivationSaturated = "activation_saturated",
        /// Root mean square of dLoss/dz at a layer.
        LayerGradRms = "layer_grad_rms",
    }
}

impl Role {
    /// Whether there is one of it at each evaluation.
    pub(super) fn is_of_evaluation(self) -> bool {
        matches!(self, Self::TrainLoss | Self::TrainAccuracy | Self::ValidationLoss | Self::ValidationAccuracy)
    }

    /// Whether there is one of it in a run, rather than one for each parameter or layer.
    pub(super) fn is_of_model(self) -> bool {
        self < Self::GradNorm
    }

    /// What a value of a tag with this role is of; `None` where it is none that the role can have.
    pub(super) fn of_value(self, is_parameter: bool, numbers: &Numbers) -> Option<Self> {
        let is_histogram = matches!(self, Self::GradHistogram | Self::ParamHistogram);
        match numbers {
            Numbers::Histogram(_) => is_histogram.then_some(self),
            Numbers::Scalar(_) if !is_histogram => Some(self),
            // `gradients/fc.weight` is as often a norm; `gradients/max` is nobody's.
            Numbers::Scalar(_) => (self == Self::GradHistogram && is_parameter).then_some(Self::GradNorm),
        }
    }
}

/// Whether a name looks like a parameter's.
fn is_parameter(name: &str) -> bool {
    let small = name.to_ascii_lowercase();
    ["weight", "bias", "kernel", "."].iter().any(|part| small.contains(part))
}

/// The part of a tag that a pattern's `*` stands for; of several, and of a bare parameter, all of the tag.
fn name<'a>(role: Role, pattern: &str, tag: &'a str) -> Option<&'a str> {
    let Some((head, tail)) = pattern.split_once('*') else { return Some("") };
    if tail.contains('*') {
        return Some(if role.is_of_model() { "" } else { tag });
    }
    if role == Role::ParamHistogram && matches!(tail, ".weight" | ".bias") {
        // What stands before a parameter's name says what is shown of it.
        return Some(tag).filter(|tag| !tag.contains('/'));
    }
    // Small letters of ASCII have the length of the capital ones.
    tag.get(head.len()..tag.len().checked_sub(tail.len())?)
}

/// What a tag is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    pub role: Role,
    /// The parameter or layer; empty where it is of the whole model.
    pub name: Arc<str>,
    /// The place of the pattern that fits: the lower, the surer.
    pub rank: usize,
}

impl Meaning {
    /// Whether the name looks like a parameter's.
    pub fn is_parameter(&self) -> bool {
        is_parameter(&self.name)
    }
}

/// Which tags are what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPatterns {
    patterns: Vec<(Role, String)>,
    /// How many of them, at the front, are the user's.
    given: usize,
}

impl TagPatterns {
    /// The tags that this program writes.
    pub fn own() -> Self {
        Self::of(OWN)
    }

    /// The tags that other programs write, and those that a loop of one's own writes by
    /// [`events`](crate::events::write_gradients). Such a loop has no means: its `loss/train` is that of a step.
    pub fn foreign() -> Self {
        let own = OWN.iter().filter(|(role, _)| ![Role::TrainLoss, Role::TrainAccuracy].contains(role));
        let mut all: Vec<&(Role, &str)> = own.chain(FOREIGN).collect();
        // `grad_norm/global_norm` is no parameter of that name.
        all.sort_by_key(|(role, _)| !role.is_of_model());
        Self::of(all)
    }

    fn of<'a>(patterns: impl IntoIterator<Item = &'a (Role, &'a str)>) -> Self {
        let owned = |&(role, pattern): &(Role, &str)| (role, pattern.to_owned());
        Self { patterns: patterns.into_iter().map(owned).collect(), given: 0 }
    }

    /// Puts patterns before all others, each in the form `role=pattern`, such as `grad_norm=my_norms/*`.
    ///
    /// # Errors
    /// Where the role is unknown, or a parameter's has no `*` for its name.
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

    /// What a tag is of; capital and small letters are the same.
    pub(super) fn meaning(&self, tag: &str) -> Option<Meaning> {
        let small = tag.to_ascii_lowercase();
        let (rank, (role, pattern)) =
            self.patterns.iter().enumerate().find(|(_, (_, pattern))| matches(pattern, &small))?;
        let name = name(*role, pattern, tag)?;
        // `train/grad_norm` is of all parameters, `fc.weight/grad_norm` of one.
        let role = if *role == Role::TotalNorm && is_parameter(name) { Role::GradNorm } else { *role };
        let name = if role.is_of_model() { "" } else { name };
        Some(Meaning { role, name: name.into(), rank })
    }

    /// What a tag in a folder for one part of a run is of: `train` or another, which is validation.
    pub(super) fn meaning_in(&self, part: &str, tag: &str) -> Option<Meaning> {
        if part.is_empty() {
            return self.meaning(tag);
        }
        let with_part = self.meaning(&format!("{part}/{tag}"));
        if part != "train" {
            let is_validation = |role| matches!(role, Role::ValidationLoss | Role::ValidationAccuracy);
            // Whatever the folder is called, it is that of validation.
            let meaning = with_part.or_else(|| self.meaning(&format!("validation/{tag}")));
            return meaning.filter(|meaning| is_validation(meaning.role) || meaning.rank < self.given);
        }
        // A parameter's name does not have the folder's in it.
        [self.meaning(tag), with_part].into_iter().flatten().min_by_key(|meaning| meaning.rank)
    }

    /// The user's patterns.
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
