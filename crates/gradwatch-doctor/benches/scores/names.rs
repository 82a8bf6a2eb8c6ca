//! Maps rules of other tools to gradwatch's names. A rule that covers several faults counts as the correct one.

use gradwatch_doctor::diagnosis::RuleName::{self, *};

/// The actual fault, if the alarm covers it; otherwise the first fault that it covers.
pub(crate) fn of(alarm: &str, fault: &[RuleName]) -> Option<RuleName> {
    let names = names(alarm);
    let is_right = |name: &&RuleName| fault.contains(name);
    names.iter().find(is_right).or(names.first()).copied()
}

fn names(alarm: &str) -> &'static [RuleName] {
    match alarm {
        "VanishingGradient" => &[Vanishing],
        "ExplodingGradient" => &[Exploding, LearningRate],
        "ExplodingTensor" | "NumericalError" | "NumericalInstability" | "InvalidLoss" | "InvalidAccuracy" => {
            &[NonFinite, Exploding, LearningRate]
        }
        "SaturatedActivation" => &[Saturated, Vanishing],
        "DeadRelu" | "DyingRelu" | "DeadNode" | "DeadActivation" => &[DeadRelu],
        "AllZero" => &[ZeroGradient, DeadRelu],
        "WeightUpdateRatio" | "FastUpdates" | "SlowUpdates" | "DivergingParameter" => &[LearningRate, UpdateRatio],
        "UnchangedTensor" | "UntrainedWeight" => &[UnchangedParameter],
        "PoorWeightInitialization"
        | "WeightInitialization"
        | "UnbrokenSymmetry"
        | "UnstableActivation"
        | "NegativeWeights"
        | "DeadWeights" => &[PoorInitialization],
        "InitialLoss" => &[InitialLoss, PoorInitialization],
        "CheckInputImages" | "UnnormalizedInput" | "ConstantInput" | "AbnormalData" => &[InputNotNormalized],
        "ClassImbalance" | "UnbalancedLabels" => &[LabelImbalance],
        "LossNotDecreasing" | "StagnatedLoss" | "AccuracyNotIncreasing" => &[LossPlateau, LabelNoise],
        "SlowConvergence" => &[SlowConvergence, LearningRate],
        "Overfit" | "Overtraining" => &[Overfitting],
        "OscillatingLoss" | "FluctuatingLoss" => &[LossOscillating, LearningRate],
        "DivergingLoss" => &[LossDiverging, LearningRate],
        _ => &[],
    }
}
