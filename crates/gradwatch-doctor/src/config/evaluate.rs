//! The `[evaluate]` table: interval and metric of evaluations.

use serde::Serialize;

use super::{
    names::named_enum,
    range::{COUNT, MOST_IMAGES},
    reader::Section,
};

named_enum! {
    /// Validation metric that selects the best weights.
    pub enum Metric {
        /// Fraction of correct predictions; higher is better.
        Accuracy = "accuracy",
        /// Of multi-label data, fraction of images whose classes are all correct; higher is better.
        ExactMatch = "exact_match",
        /// Mean F1 over the classes; higher is better.
        F1 = "f1",
        /// Mean cross-entropy; lower is better.
        Loss = "loss",
        /// Of multi-label data, mean average precision over the classes; higher is better.
        MeanAveragePrecision = "mean_average_precision",
        /// Of multi-label data, F1 of all decisions together; higher is better.
        MicroF1 = "micro_f1",
        /// Mean precision over the classes; higher is better.
        Precision = "precision",
        /// Mean recall over the classes; higher is better.
        Recall = "recall",
        /// Fraction of images whose class is among the top five predictions; higher is better.
        Top5Accuracy = "top5_accuracy",
    }
}

impl Metric {
    /// Whether a lower value is better.
    pub fn lower_is_better(self) -> bool {
        self == Self::Loss
    }

    /// Default for data with one class per image, or for multi-label data.
    pub(super) fn default_for(is_multi_label: bool) -> Self {
        if is_multi_label { Self::MeanAveragePrecision } else { Self::Accuracy }
    }

    /// Whether evaluations measure it for data with one class per image, or for multi-label data.
    pub fn is_for(self, is_multi_label: bool) -> bool {
        match self {
            Self::Accuracy | Self::Top5Accuracy => !is_multi_label,
            Self::ExactMatch | Self::MeanAveragePrecision | Self::MicroF1 => is_multi_label,
            Self::F1 | Self::Loss | Self::Precision | Self::Recall => true,
        }
    }
}

/// The `[evaluate]` table, validated. If both `every_*` are 0, the run evaluates nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluateConfig {
    /// Epochs between evaluations; 0 is off. If either interval is on, the last step is evaluated too.
    pub every_epochs: u64,
    /// Steps between evaluations, in addition to `every_epochs`; 0 is off.
    pub every_steps: u64,
    /// Batch size of evaluations; 0 is twice `data.batch_size`.
    pub batch_size: usize,
    /// Validation metric for the best weights and early stopping.
    pub metric: Metric,
    /// Number of validation images to explain with Grad-CAM at each evaluation.
    pub explain_images: usize,
    /// Classes of the images to explain; empty for all classes.
    pub explain_classes: Vec<String>,
}

impl EvaluateConfig {
    /// Whether the run evaluates validation images.
    pub fn is_on(&self) -> bool {
        self.every_epochs > 0 || self.every_steps > 0
    }
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self {
            every_epochs: 1,
            every_steps: 0,
            batch_size: 0,
            metric: Metric::default_for(false),
            explain_images: 0,
            explain_classes: Vec::new(),
        }
    }
}

impl EvaluateConfig {
    pub(super) fn read(mut table: Section<'_>, is_multi_label: bool) -> Self {
        let default = Self { metric: Metric::default_for(is_multi_label), ..Self::default() };
        let config = Self {
            every_epochs: table.count("every_epochs", default.every_epochs, COUNT),
            every_steps: table.count("every_steps", default.every_steps, COUNT),
            batch_size: table.count("batch_size", default.batch_size, 0..=MOST_IMAGES),
            metric: table.choice("metric", default.metric),
            explain_images: table.count("explain_images", default.explain_images, 0..=256),
            explain_classes: table.any("explain_classes", default.explain_classes),
        };
        table.finish();
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn parse(more: &str) -> Result<Config, Vec<String>> {
        let data = "data.source = \"csv\"\ndata.path = \"a.csv\"\ndata.multi_label = true\nloss.name = \"bce\"";
        let toml = format!("run.max_epochs = 1\nmodel.name = \"mlp\"\n{data}\n{more}");
        Config::parse(&toml, "test").map_err(|error| match error {
            ConfigError::Invalid { problems, .. } => problems.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn multi_label_data_has_metrics_and_a_default_of_its_own() {
        let config = parse("").unwrap();
        assert_eq!([config.evaluate.metric, config.checkpoint.metric], [Metric::MeanAveragePrecision; 2]);
        assert_eq!(Config::parse(&config.to_toml(), "again").unwrap(), config);
        let chosen = parse("evaluate.metric = \"micro_f1\"\ncheckpoint.metric = \"loss\"").unwrap();
        assert_eq!([chosen.evaluate.metric, chosen.checkpoint.metric], [Metric::MicroF1, Metric::Loss]);
        let names = "exact_match, f1, loss, mean_average_precision, micro_f1, precision, recall";
        let want = |key: &str| format!("{key}.metric: got accuracy, want one of {names} with data.multi_label = true");
        for key in ["evaluate", "checkpoint"] {
            assert_eq!(parse(&format!("{key}.metric = \"accuracy\"")), Err(vec![want(key)]));
        }
    }

    #[test]
    fn a_loss_and_a_split_for_one_class_per_image_are_refused() {
        let told = |more: &str, key: &str| {
            let problems = parse(more).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with(key), "{problems:?}");
        };
        told("loss.label_smoothing = 0.1", "loss.label_smoothing: got 0.1, want 0");
        told("data.split_by = \"position\"", "data.split_by: got position, want name");
        told("loss.class_balance = \"balanced\"", "loss.class_balance: ");
    }
}
