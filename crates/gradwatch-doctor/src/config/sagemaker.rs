//! Rules of Amazon SageMaker Debugger and their parameters, from `[[diagnosis.sagemaker]]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    names::named_enum,
    range::{MOST_COUNT, THRESHOLD},
    reader::Section,
};

named_enum! {
    /// Rule name as in the Amazon SageMaker Debugger documentation.
    #[derive(PartialOrd, Ord)]
    pub enum SagemakerRuleName {
        /// The mean magnitude of a gradient's elements is near 0.
        VanishingGradient = "VanishingGradient",
        /// A tensor has non-finite elements.
        ExplodingTensor = "ExplodingTensor",
        /// Many ReLUs of a layer output 0.
        DeadRelu = "DeadRelu",
        /// Many units of a layer saturate tanh or sigmoid.
        SaturatedActivation = "SaturatedActivation",
        /// Layers differ in scale, gradients are narrow, or the loss is constant in the first sampled steps.
        PoorWeightInitialization = "PoorWeightInitialization",
        /// A step moves a weight too far, or not at all.
        WeightUpdateRatio = "WeightUpdateRatio",
        /// A tensor is the same at several sampled steps.
        UnchangedTensor = "UnchangedTensor",
        /// All or most elements of a tensor are 0.
        AllZero = "AllZero",
        /// The variance of a tensor is out of bounds.
        TensorVariance = "TensorVariance",
        /// The loss does not fall.
        LossNotDecreasing = "LossNotDecreasing",
        /// The validation loss is above the training loss.
        Overfit = "Overfit",
        /// The losses no longer improve.
        Overtraining = "Overtraining",
        /// The run writes nothing for a while.
        StalledTrainingRule = "StalledTrainingRule",
        /// Some classes are much more frequent than others.
        ClassImbalance = "ClassImbalance",
        /// The model confuses classes.
        Confusion = "Confusion",
        /// The mean of a channel is not 0.
        CheckInputImages = "CheckInputImages",
        /// The tensors differ from those of another run.
        SimilarAcrossRuns = "SimilarAcrossRuns",
        /// Some tokens are too frequent.
        NlpSequenceRatio = "NLPSequenceRatio",
        /// The XGBoost trees are too deep.
        TreeDepth = "TreeDepth",
        /// A few XGBoost features have most of the weight.
        FeatureImportanceOverweight = "FeatureImportanceOverweight",
    }
}

/// Type and default of a parameter; `None` means no default.
#[derive(Clone, Copy)]
enum Kind {
    Flag(bool),
    /// An integer: its default and its minimum.
    Count(Option<u64>, u64),
    Number(Option<f64>),
    /// A percentage: its default and its maximum.
    Percent(f64, f64),
}

/// Value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Setting {
    Flag(bool),
    Count(u64),
    Number(f64),
}

impl SagemakerRuleName {
    /// Data that the rule needs and gradwatch does not have; `None` if gradwatch can evaluate the rule.
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Self::SaturatedActivation => Some(
                "each unit's fraction of inputs beyond 9.5 (tanh) or -23 and 17 (sigmoid); gradwatch measures \
                 fractions beyond 3 and 6",
            ),
            Self::StalledTrainingRule => Some("a clock that keeps running while training stalls"),
            Self::Confusion => Some("the confusion matrix of each evaluation"),
            Self::SimilarAcrossRuns => Some("the tensors of another run"),
            Self::NlpSequenceRatio => Some("the tokens of a text model"),
            Self::TreeDepth | Self::FeatureImportanceOverweight => Some("an XGBoost model"),
            _ => None,
        }
    }

    /// Parameters with their defaults, from `ruleConfigs.json` of smdebug-rulesconfig and the developer guide.
    fn parameters(self) -> Vec<(&'static str, Kind)> {
        use Kind::{Count, Flag, Number, Percent};
        let number = |default: f64| Number(Some(default));
        let at_least_one = |default: u64| Count(Some(default), 1);
        let mut parameters = match self {
            Self::VanishingGradient => vec![("threshold", number(1e-7))],
            Self::ExplodingTensor => vec![("only_nan", Flag(false))],
            Self::DeadRelu => {
                vec![("threshold_inactivity", Percent(1.0, 49.0)), ("threshold_layer", Percent(50.0, 100.0))]
            }
            Self::PoorWeightInitialization => vec![
                ("threshold", number(10.0)),
                ("distribution_range", number(0.001)),
                ("patience", at_least_one(5)),
                ("steps", at_least_one(10)),
            ],
            Self::WeightUpdateRatio => {
                vec![("large_threshold", number(10.0)), ("small_threshold", number(1e-8)), ("epsilon", number(1e-9))]
            }
            Self::UnchangedTensor => {
                vec![("num_steps", Count(Some(3), 2)), ("rtol", number(1e-5)), ("atol", number(1e-8))]
            }
            Self::AllZero => vec![("threshold", Percent(100.0, 100.0))],
            Self::TensorVariance => vec![("max_threshold", Number(None)), ("min_threshold", Number(None))],
            Self::LossNotDecreasing => vec![
                ("num_steps", at_least_one(10)),
                ("diff_percent", number(0.1)),
                ("increase_threshold_percent", number(5.0)),
            ],
            Self::Overfit => vec![("ratio_threshold", number(0.1)), ("patience", at_least_one(1))],
            Self::Overtraining => vec![
                ("patience_train", at_least_one(5)),
                ("patience_validation", at_least_one(10)),
                ("delta", number(0.01)),
            ],
            Self::ClassImbalance => vec![("threshold_imbalance", number(10.0))],
            Self::CheckInputImages => vec![("threshold_mean", number(0.2))],
            _ => Vec::new(),
        };
        match self {
            // These rules check every evaluation.
            Self::Overfit | Self::Overtraining => {}
            Self::WeightUpdateRatio => parameters.push(("save_interval", at_least_one(100))),
            _ => parameters.push(("save_interval", at_least_one(500))),
        }
        parameters.extend([("start_step", Count(Some(0), 0)), ("end_step", Count(None, 0))]);
        parameters
    }
}

/// A rule of Amazon SageMaker Debugger with its parameters: one table of `[[diagnosis.sagemaker]]`, validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SagemakerRule {
    /// The rule.
    pub rule: SagemakerRuleName,
    #[serde(flatten)]
    parameters: BTreeMap<String, Setting>,
}

impl SagemakerRule {
    /// The rule with SageMaker's defaults; `None` if gradwatch cannot evaluate the rule.
    pub fn new(rule: SagemakerRuleName) -> Option<Self> {
        let default = |kind| match kind {
            Kind::Flag(default) => Some(Setting::Flag(default)),
            Kind::Count(default, _) => default.map(Setting::Count),
            Kind::Number(default) => default.map(Setting::Number),
            Kind::Percent(default, _) => Some(Setting::Number(default)),
        };
        let parameters = rule.parameters().into_iter();
        let parameters = parameters.filter_map(|(key, kind)| Some((key.to_owned(), default(kind)?)));
        rule.needs().is_none().then(|| Self { rule, parameters: parameters.collect() })
    }

    /// Numeric value of a parameter; `None` if it has none.
    pub fn number(&self, key: &str) -> Option<f64> {
        match *self.parameters.get(key)? {
            Setting::Number(number) => Some(number),
            Setting::Count(count) => Some(count as f64),
            Setting::Flag(_) => None,
        }
    }

    /// Integer value of a parameter; `None` if it has none.
    pub fn count(&self, key: &str) -> Option<u64> {
        match *self.parameters.get(key)? {
            Setting::Count(count) => Some(count),
            Setting::Number(_) | Setting::Flag(_) => None,
        }
    }

    /// Whether a parameter is true.
    pub fn flag(&self, key: &str) -> bool {
        self.parameters.get(key) == Some(&Setting::Flag(true))
    }

    /// Whether the rule checks this step: from `start_step`, before `end_step`, at multiples of `save_interval`.
    pub fn looks_at(&self, step: u64) -> bool {
        step >= self.count("start_step").unwrap_or(0)
            && self.count("end_step").is_none_or(|end| step < end)
            && self.count("save_interval").is_none_or(|interval| step.is_multiple_of(interval))
    }

    pub(super) fn read(mut table: Section<'_>) -> Option<Self> {
        // The valid keys depend on the rule.
        let rule = table.required_choice::<SagemakerRuleName>("rule")?;
        let Some(mut read) = Self::new(rule) else {
            table.problem(
                "rule",
                format!("gradwatch cannot check {rule}: it needs {}", rule.needs().unwrap_or_default()),
            );
            return None;
        };
        for (key, kind) in rule.parameters() {
            let setting = match kind {
                Kind::Flag(_) => table.optional(key, |_| true, "").map(Setting::Flag),
                Kind::Count(_, least) => table.optional_count(key, least..=MOST_COUNT).map(Setting::Count),
                Kind::Number(_) => table.optional_number(key, &THRESHOLD).map(Setting::Number),
                Kind::Percent(_, most) => {
                    let want = format!("a percentage from 0 to {most}");
                    let is_valid = |percent: &f64| THRESHOLD.has(percent) && *percent <= most;
                    table.optional(key, is_valid, &want).map(Setting::Number)
                }
            };
            read.parameters.extend(setting.map(|setting| (key.to_owned(), setting)));
        }
        table.finish();
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn parse(more: &str) -> Result<Config, Vec<String>> {
        let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n{more}");
        match Config::parse(&toml, "test") {
            Err(ConfigError::Invalid { problems, .. }) => Err(problems.iter().map(ToString::to_string).collect()),
            other => Ok(other.unwrap()),
        }
    }

    #[test]
    fn what_a_table_does_not_say_is_as_sagemaker_has_it() {
        let config = parse(
            "diagnosis.rule_sets = [\"sagemaker\", \"deepchecker\"]\n[[diagnosis.sagemaker]]\nrule = \"UnchangedTensor\"\n\
             rtol = 1\nnum_steps = 4\n[[diagnosis.sagemaker]]\nrule = \"ExplodingTensor\"\nonly_nan = true",
        )
        .unwrap();
        let [unchanged, exploding] = &config.diagnosis.sagemaker[..] else { panic!() };
        assert_eq!((unchanged.number("rtol"), unchanged.number("atol")), (Some(1.0), Some(1e-8)));
        assert_eq!((unchanged.count("num_steps"), unchanged.count("save_interval")), (Some(4), Some(500)));
        assert!(exploding.flag("only_nan") && !SagemakerRule::new(exploding.rule).unwrap().flag("only_nan"));
        assert_eq!(Config::parse(&config.to_toml(), "again").unwrap(), config);
        let json = serde_json::to_string(&config.diagnosis.sagemaker).unwrap();
        assert_eq!(serde_json::from_str::<Vec<SagemakerRule>>(&json).unwrap(), config.diagnosis.sagemaker);
    }

    #[test]
    fn what_is_wrong_is_told_as_for_any_other_key() {
        let problems = parse(
            "diagnosis.rule_sets = [\"sagemaker\", \"tensorboard\"]\n[[diagnosis.sagemaker]]\nrule = \"VanishingGradiant\"\n\
             [[diagnosis.sagemaker]]\nrule = \"Overfit\"\npatience = 0\nratio_treshold = 1\n[[diagnosis.sagemaker]]\n\
             rule = \"TreeDepth\"\n[[diagnosis.sagemaker]]\nrule = \"Overfit\"",
        )
        .unwrap_err();
        let want = [
            "diagnosis.rule_sets: got [\"sagemaker\", \"tensorboard\"], want names of rule sets from: sagemaker, ",
            "diagnosis.sagemaker: got two tables for Overfit, want one",
            "diagnosis.sagemaker.patience: got 0, want an integer from 1",
            "diagnosis.sagemaker.ratio_treshold: unknown key; did you mean diagnosis.sagemaker.ratio_threshold?",
            "diagnosis.sagemaker.rule: got \"VanishingGradiant\", want one of ",
            "diagnosis.sagemaker.rule: gradwatch cannot check TreeDepth: it needs an XGBoost model",
        ];
        assert_eq!(problems.len(), want.len(), "{problems:#?}");
        for (problem, want) in problems.iter().zip(want) {
            assert!(problem.starts_with(want), "{problem}\n{want}");
        }
        assert!(problems[4].ends_with("did you mean \"VanishingGradient\"?"), "{}", problems[4]);
    }

    #[test]
    fn a_rule_looks_at_saved_steps_between_its_ends() {
        let rule = SagemakerRule::new(SagemakerRuleName::VanishingGradient).unwrap();
        assert_eq!([0, 499, 500, 1000].map(|step| rule.looks_at(step)), [true, false, true, true]);
        let config =
            parse("[[diagnosis.sagemaker]]\nrule = \"AllZero\"\nsave_interval = 10\nstart_step = 20\nend_step = 40")
                .unwrap();
        let looks = (0..60).filter(|step| config.diagnosis.sagemaker[0].looks_at(*step)).collect::<Vec<_>>();
        assert_eq!(looks, [20, 30]);
    }
}
