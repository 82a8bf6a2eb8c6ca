//! What a tag of an event file is of.

use std::sync::Arc;

use super::ReplayError;
use crate::config::{matches, named_enum};

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

/// Which tags are what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPatterns(Vec<(Role, String)>);

/// The tags of this program.
const OWN: [(Role, &str); 31] = [
    (Role::Loss, "loss/step"),
    (Role::TrainLoss, "loss/train"),
    (Role::ValidationLoss, "loss/validation"),
    (Role::TrainAccuracy, "accuracy/train"),
    (Role::ValidationAccuracy, "accuracy/validation"),
    (Role::LearningRate, "learning_rate"),
    (Role::TotalNorm, "grad_norm/total"),
    (Role::PreviousCosine, "gradients/previous_cosine"),
    (Role::GradNorm, "grad_norm/*"),
    (Role::GradRms, "grad_rms/*"),
    (Role::GradMaxAbs, "grad_max_abs/*"),
    (Role::GradMean, "grad_mean/*"),
    (Role::GradStd, "grad_std/*"),
    (Role::GradZeroFraction, "grad_zero_fraction/*"),
    (Role::GradDenormals, "grad_denormals/*"),
    (Role::GradHistogram, "grad_histogram/*"),
    (Role::ParamNorm, "param_norm/*"),
    (Role::ParamRms, "param_rms/*"),
    (Role::ParamMaxAbs, "param_max_abs/*"),
    (Role::ParamMean, "param_mean/*"),
    (Role::ParamStd, "param_std/*"),
    (Role::ParamZeroFraction, "param_zero_fraction/*"),
    (Role::ParamDenormals, "param_denormals/*"),
    (Role::ParamHistogram, "param_histogram/*"),
    (Role::UpdateNorm, "update_norm/*"),
    (Role::UpdateRatio, "update_ratio/*"),
    (Role::ActivationMean, "activation_mean/*"),
    (Role::ActivationRms, "activation_rms/*"),
    (Role::ActivationNonpositive, "activation_nonpositive/*"),
    (Role::ActivationSaturated, "activation_saturated/*"),
    (Role::LayerGradRms, "layer_grad_rms/*"),
];

/// The tags of others, in small letters: PyTorch's tutorials and timm, Lightning, Keras (with its folders `train` and
/// `validation` before the tag), Hugging Face, Composer, W&B's watch. Of several that fit a tag the first counts.
const FOREIGN: [(Role, &str); 67] = [
    (Role::ValidationLoss, "validation/epoch_loss"),
    (Role::ValidationAccuracy, "validation/epoch_*accuracy"),
    (Role::TrainLoss, "train/epoch_loss"),
    (Role::TrainAccuracy, "train/epoch_*accuracy"),
    (Role::LearningRate, "train/epoch_learning_rate"),
    (Role::Loss, "train/batch_loss"),
    (Role::Accuracy, "train/batch_*accuracy"),
    (Role::ValidationLoss, "loss/val*"),
    (Role::ValidationLoss, "loss/test*"),
    (Role::ValidationLoss, "loss/eval*"),
    (Role::ValidationLoss, "val*/loss"),
    (Role::ValidationLoss, "test/loss"),
    (Role::ValidationLoss, "eval*/loss"),
    (Role::ValidationLoss, "val_loss*"),
    (Role::ValidationLoss, "valid_loss*"),
    (Role::ValidationLoss, "validation_loss*"),
    (Role::ValidationLoss, "test_loss*"),
    (Role::ValidationLoss, "eval_loss*"),
    (Role::ValidationAccuracy, "acc*/val*"),
    (Role::ValidationAccuracy, "acc*/test*"),
    (Role::ValidationAccuracy, "val*/acc*"),
    (Role::ValidationAccuracy, "test/acc*"),
    (Role::ValidationAccuracy, "eval*/acc*"),
    (Role::ValidationAccuracy, "val_acc*"),
    (Role::ValidationAccuracy, "valid_acc*"),
    (Role::ValidationAccuracy, "validation_acc*"),
    (Role::ValidationAccuracy, "test_acc*"),
    (Role::ValidationAccuracy, "eval_acc*"),
    (Role::TrainLoss, "train_loss_epoch"),
    (Role::TrainLoss, "loss/train_epoch"),
    (Role::TrainAccuracy, "train_acc*_epoch"),
    (Role::Loss, "loss"),
    (Role::Loss, "loss/train*"),
    (Role::Loss, "train*/loss*"),
    (Role::Loss, "train_loss*"),
    (Role::Loss, "training_loss*"),
    (Role::Loss, "batch_loss"),
    (Role::Loss, "step_loss"),
    (Role::Accuracy, "accuracy"),
    (Role::Accuracy, "acc*/train*"),
    (Role::Accuracy, "train*/acc*"),
    (Role::Accuracy, "train_acc*"),
    (Role::LearningRate, "lr"),
    (Role::LearningRate, "*/lr"),
    (Role::LearningRate, "lr-*"),
    (Role::LearningRate, "lr/*"),
    (Role::LearningRate, "*learning_rate*"),
    (Role::TotalNorm, "grad_norm"),
    (Role::TotalNorm, "*/grad_norm"),
    (Role::TotalNorm, "grad_2.0_norm_total"),
    (Role::TotalNorm, "grad_norm/total"),
    (Role::TotalNorm, "l2_norm/grad/global"),
    (Role::TotalNorm, "gradient_norm"),
    (Role::GradNorm, "grad_2.0_norm/*"),
    (Role::GradNorm, "l2_norm/grad/*"),
    (Role::GradNorm, "grad_norm/*"),
    (Role::GradNorm, "gradient_norm/*"),
    (Role::GradHistogram, "gradients/*"),
    (Role::GradHistogram, "gradient/*"),
    (Role::GradHistogram, "grads/*"),
    (Role::GradHistogram, "grad/*"),
    (Role::GradHistogram, "*/grad"),
    (Role::GradHistogram, "*.grad"),
    (Role::ParamHistogram, "weights/*"),
    (Role::ParamHistogram, "parameters/*"),
    (Role::ParamHistogram, "params/*"),
    (Role::ParamHistogram, "*/histogram"),
];

impl TagPatterns {
    /// The tags that this program writes.
    pub fn own() -> Self {
        Self::of(&OWN)
    }

    /// The tags that other programs write.
    pub fn foreign() -> Self {
        Self::of(&FOREIGN)
    }

    fn of(patterns: &[(Role, &str)]) -> Self {
        Self(patterns.iter().map(|&(role, pattern)| (role, pattern.to_owned())).collect())
    }

    /// Puts patterns before all others, each in the form `role=pattern`, such as `grad_norm=my_norms/*`.
    ///
    /// # Errors
    /// Where the role is unknown.
    pub fn with(mut self, patterns: &[String]) -> Result<Self, ReplayError> {
        for text in patterns.iter().rev() {
            let parsed =
                text.split_once('=').and_then(|(role, pattern)| Some((role.trim().parse().ok()?, pattern.trim())));
            let (role, pattern) = parsed.ok_or_else(|| ReplayError::Pattern { got: text.clone() })?;
            self.0.insert(0, (role, pattern.to_ascii_lowercase()));
        }
        Ok(self)
    }

    /// What a tag is of, and of which parameter or layer; capital and small letters are the same.
    pub(super) fn role(&self, tag: &str) -> Option<(Role, Arc<str>)> {
        let small = tag.to_ascii_lowercase();
        let (role, pattern) = self.0.iter().find(|(_, pattern)| matches(pattern, &small))?;
        // Small letters of ASCII have the length of the capital ones.
        let name = match pattern.split_once('*') {
            Some((head, tail)) if tag.len() >= head.len() + tail.len() => {
                tag.get(head.len()..tag.len() - tail.len()).unwrap_or(tag)
            }
            _ => "",
        };
        Some((*role, name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(patterns: &TagPatterns, tag: &str) -> Option<(Role, String)> {
        patterns.role(tag).map(|(role, name)| (role, name.to_string()))
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
        ] {
            assert_eq!(foreign.role(tag).map(|(role, _)| role), Some(want), "{tag}");
        }
        assert_eq!(
            role(&foreign, "Gradients/layer1.0.Conv.weight"),
            Some((Role::GradHistogram, "layer1.0.Conv.weight".into()))
        );
        assert_eq!(role(&foreign, "fc.weight/grad"), Some((Role::GradHistogram, "fc.weight".into())));
        assert_eq!(role(&foreign, "gpu_temperature"), None);
    }

    #[test]
    fn patterns_of_the_user_come_first() {
        let patterns = TagPatterns::foreign().with(&["grad_norm=mine/*/n".into(), "loss = objective".into()]).unwrap();
        assert_eq!(role(&patterns, "mine/a.b/n"), Some((Role::GradNorm, "a.b".into())));
        assert_eq!(role(&patterns, "objective"), Some((Role::Loss, String::new())));
        for wrong in ["loss", "speed=x"] {
            assert!(TagPatterns::own().with(&[wrong.into()]).unwrap_err().to_string().contains(wrong));
        }
    }

    #[test]
    fn the_total_is_no_parameter() {
        assert_eq!(role(&TagPatterns::own(), "grad_norm/total"), Some((Role::TotalNorm, String::new())));
        assert_eq!(role(&TagPatterns::own(), "grad_norm/fc.weight"), Some((Role::GradNorm, "fc.weight".into())));
    }
}
