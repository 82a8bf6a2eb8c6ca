//! Data that the rules need.

use std::fmt;

use super::{RuleName, rules::declarations};

/// Data that a rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Loss of each step.
    StepLoss,
    /// Norm of all gradients.
    TotalNorm,
    /// Statistics of each parameter's gradient.
    Gradients,
    /// Gradient size of each layer.
    DepthProfile,
    /// Statistics of each layer's activations.
    Activations,
    /// Update size of each parameter.
    Updates,
    /// Metrics on validation images.
    Evaluations,
    /// Data and weights before the first step.
    InitialFacts,
    /// Learning rate of each step.
    LearningRate,
    /// Number of classes.
    Classes,
    /// Config of a model that gradwatch built.
    ModelConfig,
    /// Time that training spends waiting for images.
    WaitTime,
    /// Statistics of each rank.
    Ranks,
}

impl Need {
    /// All members, in declaration order.
    pub const ALL: [Self; 13] = [
        Self::StepLoss,
        Self::TotalNorm,
        Self::Gradients,
        Self::DepthProfile,
        Self::Activations,
        Self::Updates,
        Self::Evaluations,
        Self::InitialFacts,
        Self::LearningRate,
        Self::Classes,
        Self::ModelConfig,
        Self::WaitTime,
        Self::Ranks,
    ];
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StepLoss => "the loss of each step",
            Self::TotalNorm => "the global gradient norm",
            Self::Gradients => "the gradient of each parameter",
            Self::DepthProfile => "bias gradients of at least three layers, needed to compare layers",
            Self::Activations => "activation statistics",
            Self::Updates => "the update ratio of each parameter",
            Self::Evaluations => "evaluations on validation images",
            Self::InitialFacts => "statistics of the data and weights before the first step",
            Self::LearningRate => "the learning rate of each step",
            Self::Classes => "the number of classes",
            Self::ModelConfig => "the config of the model",
            Self::WaitTime => "the time spent waiting for images",
            Self::Ranks => "the statistics of each rank",
        })
    }
}

/// Ways to check a rule: one of them is enough, and needs all of its data.
pub(super) type Ways = &'static [&'static [Need]];

/// Lists the rules that cannot be checked, grouped by missing data. `has` returns whether data is there.
///
/// If a rule can be checked in several ways, the list has the data for the way that lacks least. A rule that lacks the
/// config is listed there alone.
pub fn rules_without_data(has: impl Fn(Need) -> bool) -> Vec<(Need, Vec<RuleName>)> {
    let missing = |ways: Ways| {
        let missing = ways.iter().map(|way| way.iter().copied().filter(|need| !has(*need)).collect::<Vec<_>>());
        let missing = missing.min_by_key(Vec::len).unwrap_or_default();
        // Rules about settings need nothing else to be said: only gradwatch's own runs have a config.
        if missing.contains(&Need::ModelConfig) { vec![Need::ModelConfig] } else { missing }
    };
    let lacks: Vec<_> = declarations().iter().map(|rule| (rule.name, missing(rule.needs))).collect();
    let lacking = |need: Need| {
        let rules = lacks.iter().filter(|(_, missing)| missing.contains(&need)).map(|(rule, _)| *rule);
        (need, rules.collect::<Vec<_>>())
    };
    Need::ALL.into_iter().map(lacking).filter(|(_, rules)| !rules.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_declares_the_data_it_needs() {
        for rule in RuleName::ALL {
            let declared = declarations().iter().filter(|declared| declared.name == *rule).collect::<Vec<_>>();
            let [declared] = declared[..] else { panic!("{rule} is declared {} times", declared.len()) };
            assert!(!declared.needs.is_empty(), "{rule} needs no data");
            assert!(declared.needs.iter().all(|way| !way.is_empty()), "{rule} has a way without data");
        }
    }

    #[test]
    fn nothing_is_missing_from_a_run_with_all_data() {
        assert!(rules_without_data(|_| true).is_empty());
    }

    #[test]
    fn a_rule_with_several_ways_needs_the_data_of_one() {
        let without = |has: &[Need]| -> Vec<Need> {
            let missing = rules_without_data(|need| has.contains(&need));
            missing.iter().filter(|(_, rules)| rules.contains(&RuleName::LabelNoise)).map(|(need, _)| *need).collect()
        };
        assert_eq!(without(&[Need::Evaluations, Need::Classes]), []);
        assert_eq!(without(&[Need::StepLoss, Need::DepthProfile, Need::Updates]), []);
        assert_eq!(without(&[Need::StepLoss, Need::DepthProfile]), [Need::Updates]);
        assert_eq!(without(&[Need::StepLoss]), [Need::Evaluations, Need::Classes]);
    }
}
