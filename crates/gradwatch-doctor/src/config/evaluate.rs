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
        /// Mean F1 over the classes; higher is better.
        F1 = "f1",
        /// Mean cross-entropy; lower is better.
        Loss = "loss",
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
            metric: Metric::Accuracy,
            explain_images: 0,
            explain_classes: Vec::new(),
        }
    }
}

impl EvaluateConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
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
