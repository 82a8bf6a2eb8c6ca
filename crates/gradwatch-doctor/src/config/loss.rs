//! The `[loss]` table: kind of loss, label smoothing, and class weights.

use serde::Serialize;

use super::{
    names::named_enum,
    range::{BELOW_ONE, FIGURE},
    reader::Section,
};

named_enum! {
    /// Kind of loss.
    pub enum LossName {
        /// Softmax cross-entropy.
        CrossEntropy = "cross_entropy",
        /// Binary cross-entropy: the sigmoid of each logit, averaged over the classes, as in timm's recipes.
        Bce = "bce",
    }
}

named_enum! {
    /// Class weighting in the loss.
    pub enum ClassBalance {
        /// Each image counts the same.
        None = "none",
        /// Each class counts the same: images / (classes * images of the class).
        Balanced = "balanced",
        /// Uses `class_weights`.
        Given = "given",
    }
}

/// The `[loss]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LossConfig {
    /// Kind of loss. Evaluations always report cross-entropy, so that runs are comparable; of multi-label data, binary
    /// cross-entropy.
    pub name: LossName,
    /// Probability mass to spread evenly over the classes.
    pub label_smoothing: f64,
    /// Class weighting.
    pub class_balance: ClassBalance,
    /// One weight per class for `class_balance = "given"`; not used otherwise.
    pub class_weights: Vec<f64>,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            name: LossName::CrossEntropy,
            label_smoothing: 0.0,
            class_balance: ClassBalance::None,
            class_weights: Vec::new(),
        }
    }
}

impl LossConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        // Weights without a word about the balance are an oversight; with one, they are kept for later.
        let is_chosen = table.has("class_balance");
        let config = Self {
            name: table.choice("name", default.name),
            label_smoothing: table.number("label_smoothing", default.label_smoothing, &BELOW_ONE),
            class_balance: table.choice("class_balance", default.class_balance),
            class_weights: table.numbers("class_weights", default.class_weights, &FIGURE),
        };
        let given = config.class_balance == ClassBalance::Given;
        let is_needed = given || !is_chosen;
        if is_needed && given == config.class_weights.is_empty() && !table.is_invalid("class_balance") {
            let want = if given { "one per class" } else { "none, or loss.class_balance = \"given\"" };
            table.problem("class_weights", format!("got {} numbers, want {want}", config.class_weights.len()));
        } else if given && config.class_weights.iter().all(|weight| *weight == 0.0) {
            table.problem("class_weights", "got 0 for every class, want at least one above 0");
        }
        if config.name == LossName::Bce && config.class_balance != ClassBalance::None {
            table.problem("class_balance", "got a balance, want \"none\" with loss.name = \"bce\"");
        }
        table.finish();
        config
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn weights_may_stay_in_a_config_that_chooses_another_balance() {
        let is_valid = |loss: &str| {
            let toml =
                format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nloss = {{ {loss} }}");
            Config::parse(&toml, "test").is_ok()
        };
        assert!(is_valid("class_balance = \"given\", class_weights = [1.0, 2.0]"));
        assert!(is_valid("class_balance = \"balanced\", class_weights = [1.0, 2.0]"));
        assert!(!is_valid("class_weights = [1.0, 2.0]") && !is_valid("class_balance = \"given\""));
    }
}
