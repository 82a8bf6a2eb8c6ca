//! Roles of TensorBoard series.

use crate::config::named_enum;

named_enum! {
    /// Meaning of a series. In tag patterns, `*` stands for the name of a parameter or layer, or the number of a rank.
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
        /// Validation accuracy if batch normalization uses the statistics of each batch.
        BatchStatisticsAccuracy = "batch_statistics_accuracy",
        /// Learning rate.
        LearningRate = "learning_rate",
        /// Total norm of all gradients.
        TotalNorm = "total_norm",
        /// Factor by which clipping scaled the gradients.
        ClipCoef = "clip_coef",
        /// Cosine with the gradients of the previous step.
        PreviousCosine = "previous_cosine",
        /// Mean cosine between the gradients of the ranks.
        RankCosine = "rank_cosine",
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
        /// Fraction of a layer's units that are dormant.
        ActivationDormant = "activation_dormant",
        /// Root mean square of dLoss/dz at a layer.
        LayerGradRms = "layer_grad_rms",
        /// Number of images of a rank.
        RankImages = "rank_images",
        /// L2 norm of a rank's own gradient.
        RankGradNorm = "rank_grad_norm",
        /// Loss of a rank's own images.
        RankLoss = "rank_loss",
        /// Seconds of a rank until its backward passes were done.
        RankBusySecs = "rank_busy_secs",
        /// Seconds that a rank waited for images.
        RankLoadingSecs = "rank_loading_secs",
        /// Seconds that a rank waited for other ranks.
        RankWaitSecs = "rank_wait_secs",
    }
}

impl Role {
    /// Whether evaluations have this role.
    pub(crate) fn is_of_evaluation(self) -> bool {
        (Self::TrainLoss..=Self::BatchStatisticsAccuracy).contains(&self)
    }

    /// Whether a run has one series of this role, instead of one per parameter, layer, or rank.
    pub(crate) fn is_of_model(self) -> bool {
        self < Self::GradNorm
    }

    /// Whether there is a series per rank.
    pub(crate) fn is_of_rank(self) -> bool {
        self >= Self::RankImages
    }
}
