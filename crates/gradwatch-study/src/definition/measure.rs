//! Additional columns, from TensorBoard tags of the runs.

use gradwatch_doctor::{config::Section, named_enum};

use super::names::text;

named_enum! {
    /// Reduction of a series to one value.
    pub enum Reduction {
        /// Value at the first step.
        First = "first",
        /// Value at the last step.
        Last = "last",
        /// Smallest value, without NaN.
        Min = "min",
        /// Largest value, without NaN.
        Max = "max",
        /// Mean of all values.
        Mean = "mean",
    }
}

/// A column with a value of a series of each run, from `[[measures]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Name of the column.
    pub name: String,
    /// Tag of the series, in which `*` stands for any name. The mean of several series counts.
    pub tag: String,
    /// Reduction of each series.
    pub reduce: Reduction,
    /// First and last step; `None` for all steps.
    pub steps: Option<[u64; 2]>,
}

impl Measure {
    /// Reads a table of `[[measures]]`; `None` if a required key is missing or invalid.
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let name = text(&mut section, "name", "the name of the column");
        let tag = text(&mut section, "tag", "a TensorBoard tag, such as accuracy/validation");
        let reduce = section.choice("reduce", Reduction::Last);
        let is_range = |steps: &Vec<u64>| matches!(steps[..], [first, last] if first <= last);
        let steps = section.optional("steps", is_range, "[first, last], in ascending order");
        section.finish();
        Some(Self { name: name?, tag: tag?, reduce, steps: steps.and_then(|steps| steps.try_into().ok()) })
    }
}
