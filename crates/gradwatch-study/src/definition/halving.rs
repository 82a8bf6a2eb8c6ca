//! Successive halving: all runs train for few steps, and only the best ones continue.

use gradwatch_doctor::{config::Section, named_enum};

use super::names::{check_numbers, text};
use crate::results::Column;

named_enum! {
    /// Whether larger or smaller values are better.
    pub enum Goal {
        /// Larger values are better.
        Max = "max",
        /// Smaller values are better.
        Min = "min",
    }
}

/// Successive halving, from `[halving]`: the inner loop of Hyperband (Li et al. 2018, arXiv:1603.06560).
#[derive(Debug, Clone, PartialEq)]
pub struct Halving {
    /// Column that ranks the runs.
    pub metric: String,
    /// Whether larger or smaller values of it are better.
    pub goal: Goal,
    /// `run.max_steps` of each rung, in ascending order.
    pub steps: Vec<u64>,
    /// After each rung, the best 1/`factor` of the runs continue.
    pub factor: u64,
}

impl Halving {
    /// Reads the table `[halving]`; `None` if a required key is missing or invalid.
    pub(super) fn read(mut section: Section<'_>, columns: &[Column]) -> Option<Self> {
        let metric = text(&mut section, "metric", "a column, such as best_validation_accuracy");
        metric.iter().for_each(|name| check_numbers(&section, "metric", name, columns));
        let goal = section.choice("goal", Goal::Max);
        if !section.has("steps") {
            section.missing("steps", "run.max_steps of each rung");
        }
        let is_ascending = |steps: &Vec<u64>| {
            steps.first().is_some_and(|step| *step > 0) && steps.is_sorted_by(|one, next| one < next)
        };
        let steps = section.optional("steps", is_ascending, "a list of steps from 1, in ascending order");
        let factor = section.count("factor", 2, 2..=1000);
        section.finish();
        Some(Self { metric: metric?, goal, steps: steps?, factor })
    }
}
