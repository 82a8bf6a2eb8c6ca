//! Tags that gradwatch writes: series of the whole model, and groups with a series per parameter, layer, or rank.

use std::fmt;

use super::Role;

/// Tag of a series of the whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesTag(&'static str);

impl SeriesTag {
    /// The tag.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for SeriesTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Common part of the tags of a statistic that has a series per parameter, layer, or rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupTag(&'static str);

impl GroupTag {
    /// Tag of the series of a parameter, layer, or rank.
    pub fn of(self, name: impl fmt::Display) -> String {
        format!("{}/{name}", self.0)
    }

    /// Common start of all tags, such as `grad_norm/`.
    pub fn prefix(self) -> String {
        format!("{}/", self.0)
    }
}

/// Loss of a step.
pub const LOSS: SeriesTag = SeriesTag("loss/step");
/// Mean training loss since the last evaluation.
pub const TRAIN_LOSS: SeriesTag = SeriesTag("loss/train");
/// Validation loss.
pub const VALIDATION_LOSS: SeriesTag = SeriesTag("loss/validation");
/// Training accuracy since the last evaluation.
pub const TRAIN_ACCURACY: SeriesTag = SeriesTag("accuracy/train");
/// Validation accuracy.
pub const VALIDATION_ACCURACY: SeriesTag = SeriesTag("accuracy/validation");
/// Validation accuracy if batch normalization uses the statistics of each batch; measured if the accuracy is far below
/// that of the training images.
pub const BATCH_STATISTICS_ACCURACY: SeriesTag = SeriesTag("accuracy/validation_batch_statistics");
/// Learning rate.
pub const LEARNING_RATE: SeriesTag = SeriesTag("learning_rate");
/// Total norm of all gradients.
pub const TOTAL_NORM: SeriesTag = SeriesTag("grad_norm/total");
/// Cosine with the gradients of the previous step.
pub const PREVIOUS_COSINE: SeriesTag = SeriesTag("gradients/previous_cosine");
/// Skipped steps so far, because a gradient was not finite.
pub const SKIPPED_STEPS: SeriesTag = SeriesTag("skipped_steps");
/// Factor by which clipping scaled the gradients.
pub const CLIP_COEF: SeriesTag = SeriesTag("clip/coef");
/// Total norm of all gradients after clipping.
pub const CLIP_TOTAL_NORM_AFTER: SeriesTag = SeriesTag("clip/total_norm_after");
/// Fraction of the clipped units.
pub const CLIPPED_FRACTION: SeriesTag = SeriesTag("clip/clipped_fraction");
/// Table of the parameters that are clipped most.
pub const MOST_CLIPPED: SeriesTag = SeriesTag("clip/most_clipped");
/// Gradient noise scale, in images.
pub const NOISE_SCALE: SeriesTag = SeriesTag("gradients/noise_scale");
/// Cosine between the gradients of micro-batches.
pub const MICRO_BATCH_COSINE: SeriesTag = SeriesTag("gradients/micro_batch_cosine");
/// Change of log2 of the gradient size per layer, going back.
pub const DEPTH_SLOPE: SeriesTag = SeriesTag("gradients/depth_slope");
/// Standard error of the slope.
pub const DEPTH_SLOPE_ERROR: SeriesTag = SeriesTag("gradients/depth_slope_error");
/// Mean cosine between the gradients of all pairs of ranks.
pub const RANK_COSINE: SeriesTag = SeriesTag("ranks/cosine");
/// Number of parameters that differ between ranks, at weight checks that find a difference.
pub const WEIGHT_MISMATCH: SeriesTag = SeriesTag("ranks/weight_mismatch");
/// First non-finite value of a skipped step.
pub const NON_FINITE_ORIGIN: SeriesTag = SeriesTag("non_finite/origin");
/// Confusion matrix of the validation images.
pub const VALIDATION_CONFUSION: SeriesTag = SeriesTag("confusion/validation");

/// L2 norm of a parameter's gradient.
pub const GRAD_NORM: GroupTag = GroupTag("grad_norm");
/// Root mean square of a parameter's gradient.
pub const GRAD_RMS: GroupTag = GroupTag("grad_rms");
/// Largest absolute value of a parameter's gradient.
pub const GRAD_MAX_ABS: GroupTag = GroupTag("grad_max_abs");
/// Mean of a parameter's gradient.
pub const GRAD_MEAN: GroupTag = GroupTag("grad_mean");
/// Standard deviation of a parameter's gradient.
pub const GRAD_STD: GroupTag = GroupTag("grad_std");
/// Fraction of a gradient's elements that are 0.
pub const GRAD_ZERO_FRACTION: GroupTag = GroupTag("grad_zero_fraction");
/// Number of a gradient's elements that are denormal.
pub const GRAD_DENORMALS: GroupTag = GroupTag("grad_denormals");
/// Histogram of a parameter's gradient.
pub const GRAD_HISTOGRAM: GroupTag = GroupTag("grad_histogram");
/// L2 norm of a parameter.
pub const PARAM_NORM: GroupTag = GroupTag("param_norm");
/// Root mean square of a parameter.
pub const PARAM_RMS: GroupTag = GroupTag("param_rms");
/// Largest absolute value of a parameter.
pub const PARAM_MAX_ABS: GroupTag = GroupTag("param_max_abs");
/// Mean of a parameter.
pub const PARAM_MEAN: GroupTag = GroupTag("param_mean");
/// Standard deviation of a parameter.
pub const PARAM_STD: GroupTag = GroupTag("param_std");
/// Fraction of a parameter's elements that are 0.
pub const PARAM_ZERO_FRACTION: GroupTag = GroupTag("param_zero_fraction");
/// Number of a parameter's elements that are denormal.
pub const PARAM_DENORMALS: GroupTag = GroupTag("param_denormals");
/// Histogram of a parameter.
pub const PARAM_HISTOGRAM: GroupTag = GroupTag("param_histogram");
/// L2 norm of a parameter's update.
pub const UPDATE_NORM: GroupTag = GroupTag("update_norm");
/// Update norm over parameter norm.
pub const UPDATE_RATIO: GroupTag = GroupTag("update_ratio");
/// Mean of a layer's outputs.
pub const ACTIVATION_MEAN: GroupTag = GroupTag("activation_mean");
/// Root mean square of a layer's outputs.
pub const ACTIVATION_RMS: GroupTag = GroupTag("activation_rms");
/// Fraction of a layer's outputs at or below 0.
pub const ACTIVATION_NONPOSITIVE: GroupTag = GroupTag("activation_nonpositive");
/// Fraction of a layer's inputs at which the activation is flat.
pub const ACTIVATION_SATURATED: GroupTag = GroupTag("activation_saturated");
/// Fraction of a layer's units that are dormant.
pub const ACTIVATION_DORMANT: GroupTag = GroupTag("activation_dormant");
/// Root mean square of dLoss/dz at a layer.
pub const LAYER_GRAD_RMS: GroupTag = GroupTag("layer_grad_rms");
/// Number of images of a rank.
pub const RANK_IMAGES: GroupTag = GroupTag("rank_images");
/// L2 norm of the mean gradient over a rank's own images.
pub const RANK_GRAD_NORM: GroupTag = GroupTag("rank_grad_norm");
/// Mean loss of a rank's own images.
pub const RANK_LOSS: GroupTag = GroupTag("rank_loss");
/// Seconds from the start of a step until the backward passes of a rank were done.
pub const RANK_BUSY_SECS: GroupTag = GroupTag("rank_busy_secs");
/// Of these, the seconds that a rank waited for images.
pub const RANK_LOADING_SECS: GroupTag = GroupTag("rank_loading_secs");
/// Seconds that a rank waited for other ranks.
pub const RANK_WAIT_SECS: GroupTag = GroupTag("rank_wait_secs");
/// Number of a gradient's elements that are NaN.
pub const GRAD_NANS: GroupTag = GroupTag("grad_nans");
/// Number of a gradient's elements that are infinite.
pub const GRAD_INFINITIES: GroupTag = GroupTag("grad_infinities");
/// Number of a gradient's elements that are negative infinity.
pub const GRAD_NEGATIVE_INFINITIES: GroupTag = GroupTag("grad_negative_infinities");
/// Number of a parameter's elements that are NaN.
pub const PARAM_NANS: GroupTag = GroupTag("param_nans");
/// Number of a parameter's elements that are infinite.
pub const PARAM_INFINITIES: GroupTag = GroupTag("param_infinities");
/// Number of a parameter's elements that are negative infinity.
pub const PARAM_NEGATIVE_INFINITIES: GroupTag = GroupTag("param_negative_infinities");
/// Time of the backward pass of a layer, in milliseconds.
pub const BACKWARD_MS: GroupTag = GroupTag("backward_ms");
/// The first batch of the run, as the model sees it.
pub const FIRST_BATCH: &str = "data/first_batch";
/// Explained image.
pub const EXPLANATIONS: GroupTag = GroupTag("explanations");
/// Text of a finding of a rule.
pub const FINDINGS: GroupTag = GroupTag("findings");
/// Text of an alarm of another tool's rule.
pub const ALARMS: GroupTag = GroupTag("alarms");
/// Text of all repairs so far.
pub const REPAIRS: &str = "repairs";

/// Tag of a metric of an evaluation, such as `loss/validation`.
pub fn metric(name: &str, split: &str) -> String {
    format!("{name}/{split}")
}

/// Tag of a metric of one class.
pub fn metric_of_class(name: &str, class: &str) -> String {
    format!("{name}_per_class/{class}")
}

/// Percentiles of a value over all parameters: a series for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandTag {
    /// 5th percentile.
    pub p5: SeriesTag,
    /// Median.
    pub p50: SeriesTag,
    /// 95th percentile.
    pub p95: SeriesTag,
}

/// RMS of the parameters' gradients.
pub const GRADIENT_RMS: BandTag = BandTag {
    p5: SeriesTag("gradients/rms_p5"),
    p50: SeriesTag("gradients/rms_p50"),
    p95: SeriesTag("gradients/rms_p95"),
};
/// Update ratios of the parameters.
pub const UPDATE_RATIOS: BandTag = BandTag {
    p5: SeriesTag("updates/ratio_p5"),
    p50: SeriesTag("updates/ratio_p50"),
    p95: SeriesTag("updates/ratio_p95"),
};

/// Tags of the statistics of a tensor.
pub(super) struct TensorTags {
    pub norm: GroupTag,
    pub rms: GroupTag,
    pub max_abs: GroupTag,
    pub mean: GroupTag,
    pub std: GroupTag,
    pub zero_fraction: GroupTag,
    pub denormals: GroupTag,
    pub nans: GroupTag,
    pub infinities: GroupTag,
    pub negative_infinities: GroupTag,
}

pub(super) const GRADIENT: TensorTags = TensorTags {
    norm: GRAD_NORM,
    rms: GRAD_RMS,
    max_abs: GRAD_MAX_ABS,
    mean: GRAD_MEAN,
    std: GRAD_STD,
    zero_fraction: GRAD_ZERO_FRACTION,
    denormals: GRAD_DENORMALS,
    nans: GRAD_NANS,
    infinities: GRAD_INFINITIES,
    negative_infinities: GRAD_NEGATIVE_INFINITIES,
};

pub(super) const WEIGHT: TensorTags = TensorTags {
    norm: PARAM_NORM,
    rms: PARAM_RMS,
    max_abs: PARAM_MAX_ABS,
    mean: PARAM_MEAN,
    std: PARAM_STD,
    zero_fraction: PARAM_ZERO_FRACTION,
    denormals: PARAM_DENORMALS,
    nans: PARAM_NANS,
    infinities: PARAM_INFINITIES,
    negative_infinities: PARAM_NEGATIVE_INFINITIES,
};

/// Series of the whole model that [`Replay`](crate::replay::Replay) reads.
const SERIES: &[(Role, SeriesTag)] = &[
    (Role::Loss, LOSS),
    (Role::TrainLoss, TRAIN_LOSS),
    (Role::ValidationLoss, VALIDATION_LOSS),
    (Role::TrainAccuracy, TRAIN_ACCURACY),
    (Role::ValidationAccuracy, VALIDATION_ACCURACY),
    (Role::BatchStatisticsAccuracy, BATCH_STATISTICS_ACCURACY),
    (Role::LearningRate, LEARNING_RATE),
    (Role::TotalNorm, TOTAL_NORM),
    (Role::ClipCoef, CLIP_COEF),
    (Role::PreviousCosine, PREVIOUS_COSINE),
    (Role::RankCosine, RANK_COSINE),
];

/// Groups that [`Replay`](crate::replay::Replay) reads.
const GROUPS: &[(Role, GroupTag)] = &[
    (Role::GradNorm, GRAD_NORM),
    (Role::GradRms, GRAD_RMS),
    (Role::GradMaxAbs, GRAD_MAX_ABS),
    (Role::GradMean, GRAD_MEAN),
    (Role::GradStd, GRAD_STD),
    (Role::GradZeroFraction, GRAD_ZERO_FRACTION),
    (Role::GradDenormals, GRAD_DENORMALS),
    (Role::GradHistogram, GRAD_HISTOGRAM),
    (Role::ParamNorm, PARAM_NORM),
    (Role::ParamRms, PARAM_RMS),
    (Role::ParamMaxAbs, PARAM_MAX_ABS),
    (Role::ParamMean, PARAM_MEAN),
    (Role::ParamStd, PARAM_STD),
    (Role::ParamZeroFraction, PARAM_ZERO_FRACTION),
    (Role::ParamDenormals, PARAM_DENORMALS),
    (Role::ParamHistogram, PARAM_HISTOGRAM),
    (Role::UpdateNorm, UPDATE_NORM),
    (Role::UpdateRatio, UPDATE_RATIO),
    (Role::ActivationMean, ACTIVATION_MEAN),
    (Role::ActivationRms, ACTIVATION_RMS),
    (Role::ActivationNonpositive, ACTIVATION_NONPOSITIVE),
    (Role::ActivationSaturated, ACTIVATION_SATURATED),
    (Role::ActivationDormant, ACTIVATION_DORMANT),
    (Role::LayerGradRms, LAYER_GRAD_RMS),
    (Role::RankImages, RANK_IMAGES),
    (Role::RankGradNorm, RANK_GRAD_NORM),
    (Role::RankLoss, RANK_LOSS),
    (Role::RankBusySecs, RANK_BUSY_SECS),
    (Role::RankLoadingSecs, RANK_LOADING_SECS),
    (Role::RankWaitSecs, RANK_WAIT_SECS),
];

/// Roles and patterns of the tags that are read back, in which `*` stands for a name. `grad_norm/total` comes before
/// `grad_norm/*`.
pub(crate) fn own_tags() -> impl Iterator<Item = (Role, String)> {
    let series = SERIES.iter().map(|(role, tag)| (*role, tag.name().to_owned()));
    series.chain(GROUPS.iter().map(|(role, tag)| (*role, tag.of('*'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_evaluations_have_the_tags_that_are_read_back() {
        for (name, split, tag) in [
            ("loss", "train", TRAIN_LOSS),
            ("loss", "validation", VALIDATION_LOSS),
            ("accuracy", "train", TRAIN_ACCURACY),
            ("accuracy", "validation", VALIDATION_ACCURACY),
        ] {
            assert_eq!(metric(name, split), tag.name());
        }
        assert_eq!(metric_of_class("f1", "cat"), "f1_per_class/cat");
    }

    #[test]
    fn a_role_has_one_series_or_a_group() {
        assert!(SERIES.iter().all(|(role, _)| role.is_of_model()));
        assert!(GROUPS.iter().all(|(role, _)| !role.is_of_model()));
        // gradwatch writes no accuracy of a step.
        let roles = SERIES.len() + GROUPS.len();
        assert_eq!(roles + 1, Role::ALL.len());
    }
}
