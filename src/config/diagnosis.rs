//! What the `[diagnosis]` table says.

use serde::Serialize;

use super::{Action, Named, SagemakerRule, Severity, names::named_enum, reader::Section};

named_enum! {
    /// The name of a rule, as findings, configs and reports have it.
    pub enum RuleName {
        /// The gradient shrinks from layer to layer.
        Vanishing = "vanishing",
        /// The gradient grows from layer to layer, or from step to step.
        Exploding = "exploding",
        /// A gradient is NaN or infinite.
        NonFinite = "non_finite",
        /// A layer's ReLUs are off for nearly every input.
        DeadRelu = "dead_relu",
        /// An activation is flat for most of its inputs.
        Saturated = "saturated",
        /// The first loss is not that of a guess.
        InitialLoss = "initial_loss",
        /// A step moves the weights too far, or not at all.
        UpdateRatio = "update_ratio",
        /// A parameter is not part of the loss.
        MissingGradient = "missing_gradient",
        /// Images come far from mean 0 and standard deviation 1.
        InputNotNormalised = "input_not_normalised",
        /// Images do not decode, so that a class has fewer of them or none.
        LostImages = "lost_images",
        /// Some classes are much more frequent than others.
        LabelImbalance = "label_imbalance",
        /// Labels do not go with the images.
        LabelNoise = "label_noise",
        /// Batch normalization over very few images.
        BatchNorm = "batch_norm",
        /// Weights were drawn all equal, or far too large or small.
        PoorInitialization = "poor_initialization",
        /// A parameter has a gradient and does not move.
        UnchangedParameter = "unchanged_parameter",
        /// Gradients are added up and never cleared.
        GradientAccumulation = "gradient_accumulation",
        /// The loss does not go with what the net puts out.
        WrongLoss = "wrong_loss",
        /// A weight's gradient is exactly 0.
        ZeroGradient = "zero_gradient",
        /// Gradients are below the smallest normal number.
        Denormal = "denormal",
        /// The learning rate is too high or too low for the run.
        LearningRate = "learning_rate",
        /// The training loss rises over its best.
        LossDiverging = "loss_diverging",
        /// The training loss leaps from reading to reading.
        LossOscillating = "loss_oscillating",
        /// The training loss stays at that of a guess.
        LossPlateau = "loss_plateau",
        /// Accuracy gains next to nothing.
        SlowConvergence = "slow_convergence",
        /// The validation loss rises while the training loss falls.
        Overfitting = "overfitting",
        /// Training waits for its images.
        Starvation = "starvation",
    }
}

named_enum! {
    /// From which severity on a finding ends the run.
    pub enum StopAt {
        /// From none.
        Never = "never",
        /// From warnings on.
        Warning = "warning",
        /// From critical findings on.
        Critical = "critical",
    }
}

impl StopAt {
    /// Whether a finding so bad ends the run.
    pub fn includes(self, severity: Severity) -> bool {
        match self {
            Self::Never => false,
            Self::Warning => severity >= Severity::Warning,
            Self::Critical => severity >= Severity::Critical,
        }
    }
}

named_enum! {
    /// The rules of another tool, with their own conditions, bounds and looks.
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
    /// Whether readings are judged.
    pub enabled: bool,
    /// Rules that are left out.
    pub ignore: Vec<RuleName>,
    /// From which severity on a finding ends the run.
    pub stop_at: StopAt,
    /// Tools whose rules judge the run too, for comparison.
    pub rule_sets: Vec<RuleSetName>,
    /// Rules of SageMaker with parameters of their own; the others have its defaults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sagemaker: Vec<SagemakerRule>,
    /// What is done about findings beside that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
}

impl DiagnosisConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let config = Self {
            enabled: table.any("enabled", true),
            ignore: members(&mut table, "ignore", "rules"),
            actions: table.sections("actions").into_iter().map(Action::read).collect(),
            stop_at: table.choice("stop_at").unwrap_or(StopAt::Never),
            rule_sets: members(&mut table, "rule_sets", "rule sets"),
            sagemaker: table.sections("sagemaker").into_iter().filter_map(SagemakerRule::read).collect(),
        };
        for (index, SagemakerRule { rule, .. }) in config.sagemaker.iter().enumerate() {
            // A third table says nothing new.
            if config.sagemaker[..index].iter().filter(|earlier| earlier.rule == *rule).count() == 1 {
                table.problem("sagemaker", format!("got two tables of {rule}, want one"));
            }
        }
        table.finish();
        config
    }
}

/// The members of a closed set that are listed under `key`.
fn members<T: Named>(table: &mut Section<'_>, key: &'static str, what: &str) -> Vec<T> {
    let member = |name: &String| T::MEMBERS.iter().copied().find(|member| member.label() == name.as_str());
    let names = T::MEMBERS.iter().map(|member| member.label()).collect::<Vec<_>>().join(", ");
    let are_members = |names: &Vec<String>| names.iter().all(|name| member(name).is_some());
    let listed = table.get(key, Vec::new(), are_members, &format!("names of {what}, of {names}"));
    listed.iter().filter_map(member).collect()
}
