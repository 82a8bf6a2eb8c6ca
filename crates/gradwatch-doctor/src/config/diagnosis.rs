//! The `[diagnosis]` table.

use serde::Serialize;

use super::{Action, Named, SagemakerRule, Severity, names::named_enum, range::COUNT, reader::Section};

named_enum! {
    /// Rule name in findings, configs, and reports.
    pub enum RuleName {
        /// The gradient shrinks from layer to layer on its way back.
        Vanishing = "vanishing",
        /// The gradient grows from layer to layer on its way back, or from step to step.
        Exploding = "exploding",
        /// A gradient is NaN or infinite.
        NonFinite = "non_finite",
        /// A layer's ReLUs output 0 for nearly every input.
        DeadRelu = "dead_relu",
        /// An activation is flat for most of its inputs.
        Saturated = "saturated",
        /// The first loss differs from that of a random guess.
        InitialLoss = "initial_loss",
        /// A step moves the weights too far, or not at all.
        UpdateRatio = "update_ratio",
        /// A parameter does not contribute to the loss.
        MissingGradient = "missing_gradient",
        /// The images' mean and standard deviation are far from 0 and 1.
        InputNotNormalized = "input_not_normalized" | "input_not_normalised",
        /// A class loses some or all of its images because they do not decode.
        LostImages = "lost_images",
        /// Some classes are much more frequent than others.
        LabelImbalance = "label_imbalance",
        /// The labels do not match the images.
        LabelNoise = "label_noise",
        /// Batch normalization over very few images.
        BatchNorm = "batch_norm",
        /// Initial weights are all equal, or far too large or small.
        PoorInitialization = "poor_initialization",
        /// A parameter has a gradient but does not move.
        UnchangedParameter = "unchanged_parameter",
        /// Gradients accumulate and are never cleared.
        GradientAccumulation = "gradient_accumulation",
        /// The loss does not match the network's output.
        WrongLoss = "wrong_loss",
        /// A weight's gradient is exactly 0.
        ZeroGradient = "zero_gradient",
        /// Gradients are below the smallest normal number.
        Denormal = "denormal",
        /// The learning rate is too high or too low for the run.
        LearningRate = "learning_rate",
        /// The training loss rises above its minimum.
        LossDiverging = "loss_diverging",
        /// The training loss oscillates between tracked steps.
        LossOscillating = "loss_oscillating",
        /// The training loss stays at that of a random guess.
        LossPlateau = "loss_plateau",
        /// Accuracy hardly improves.
        SlowConvergence = "slow_convergence",
        /// The validation loss rises while the training loss falls.
        Overfitting = "overfitting",
        /// Weight decay outweighs the gradient.
        WeightDecay = "weight_decay",
        /// Clipping leaves next to nothing of the gradient.
        Clipping = "clipping",
        /// Momentum sums gradients over too many steps.
        Momentum = "momentum",
        /// The optimizer's eps outweighs the gradient.
        Epsilon = "epsilon",
        /// Dropout leaves too little of the signal.
        Dropout = "dropout",
        /// The learning rate schedule does not fit the length of the run.
        Schedule = "schedule",
        /// Most of the model is frozen.
        FrozenParameters = "frozen_parameters",
        /// Label smoothing leaves little of the labels.
        LabelSmoothing = "label_smoothing",
        /// Class weights let a few classes decide the loss.
        ClassWeights = "class_weights",
        /// Augmentation leaves too little of the images.
        Augmentation = "augmentation",
        /// Running statistics of batch normalization do not fit the network.
        RunningStatistics = "running_statistics",
        /// Validation images differ from training images.
        DistributionShift = "distribution_shift",
        /// Training waits for images.
        Starvation = "starvation",
        /// The weights of the ranks differ.
        WeightMismatch = "weight_mismatch",
        /// The gradients of the ranks contradict each other.
        RankDisagreement = "rank_disagreement",
        /// The gradient or loss of one rank is far from those of all others.
        RankSpike = "rank_spike",
        /// One rank is slower than the others, which wait for it.
        Straggler = "straggler",
    }
}

named_enum! {
    /// Minimum severity of a finding that ends the run.
    pub enum StopAt {
        /// No finding ends the run.
        Never = "never",
        /// Warnings and worse.
        Warning = "warning",
        /// Critical findings and worse.
        Critical = "critical",
    }
}

impl StopAt {
    /// Whether a finding of this severity ends the run.
    pub fn includes(self, severity: Severity) -> bool {
        match self {
            Self::Never => false,
            Self::Warning => severity >= Severity::Warning,
            Self::Critical => severity >= Severity::Critical,
        }
    }
}

named_enum! {
    /// Rule set of another tool, with its own conditions, thresholds, and sampling.
    pub enum RuleSetName {
        /// Amazon SageMaker Debugger.
        Sagemaker = "sagemaker",
        /// Zhang et al. 2021 (ICSE).
        Autotrainer = "autotrainer",
        /// Wardat et al. 2022 (ICSE).
        Deepdiagnosis = "deepdiagnosis",
        /// TheDeepChecker, Ben Braiek and Khomh 2022 (TOSEM).
        Deepchecker = "deepchecker",
    }
}

/// The `[diagnosis]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiagnosisConfig {
    /// Whether the rules check the run.
    pub enabled: bool,
    /// Rules to turn off.
    pub ignore: Vec<RuleName>,
    /// Minimum severity of a finding that ends the run.
    pub stop_at: StopAt,
    /// Steps after which a finding from before the first step ends the run if training has not refuted it.
    pub confirm_steps: u64,
    /// Other tools whose rules also check the run, for comparison.
    pub rule_sets: Vec<RuleSetName>,
    /// SageMaker rules with custom parameters; the others use SageMaker's defaults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sagemaker: Vec<SagemakerRule>,
    /// Additional actions on findings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
}

impl Default for DiagnosisConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            ignore: Vec::new(),
            stop_at: StopAt::Never,
            confirm_steps: 50,
            rule_sets: Vec::new(),
            sagemaker: Vec::new(),
            actions: Vec::new(),
        }
    }
}

impl DiagnosisConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            enabled: table.any("enabled", default.enabled),
            ignore: members(&mut table, "ignore", default.ignore, "rules"),
            actions: table.sections("actions").into_iter().map(Action::read).collect(),
            stop_at: table.choice("stop_at", default.stop_at),
            confirm_steps: table.count("confirm_steps", default.confirm_steps, COUNT),
            rule_sets: members(&mut table, "rule_sets", default.rule_sets, "rule sets"),
            sagemaker: table.sections("sagemaker").into_iter().filter_map(SagemakerRule::read).collect(),
        };
        for (index, SagemakerRule { rule, .. }) in config.sagemaker.iter().enumerate() {
            // Reports each duplicated rule once.
            if config.sagemaker[..index].iter().filter(|earlier| earlier.rule == *rule).count() == 1 {
                table.problem("sagemaker", format!("got two tables for {rule}, want one"));
            }
        }
        table.finish();
        config
    }
}

/// The enum members listed under `key`, or `default`.
fn members<T: Named>(table: &mut Section<'_>, key: &'static str, default: Vec<T>, what: &str) -> Vec<T> {
    let member = |name: &String| T::find(name);
    let names = T::MEMBERS.iter().map(|member| member.label()).collect::<Vec<_>>().join(", ");
    let are_members = |names: &Vec<String>| names.iter().all(|name| member(name).is_some());
    let listed = table.optional(key, are_members, &format!("names of {what} from: {names}"));
    listed.map_or(default, |names| names.iter().filter_map(member).collect())
}
