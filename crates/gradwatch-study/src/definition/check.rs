//! Checks that the parts of a study file fit together.

use gradwatch_doctor::config::{Notes, nearest_name};

use crate::results::Cell;

use super::{Axis, Filter, RUN, SEED, Study, keys, names::quoted};

/// Most runs of a study.
const MOST_RUNS: usize = 100_000;

impl Study {
    /// Reports problems that involve several keys, or other files.
    pub(super) fn check(&self, notes: &Notes) {
        self.check_keys(notes);
        self.check_names(notes);
        let combinations = self.axes.iter().try_fold(self.seeds.len(), |product, axis| {
            product.checked_mul(axis.values.len()).filter(|product| *product <= MOST_RUNS)
        });
        if combinations.is_none() {
            notes.problem("axes", format!("the axes make more than {MOST_RUNS} runs; want fewer values"));
            return;
        }
        let (mut is_known, is_empty) = (true, combinations == Some(0));
        for (index, filters) in self.exclusions.iter().enumerate() {
            is_known &= self.check_exclusion(&format!("exclude[{index}]"), filters, notes);
        }
        if is_known && !is_empty && self.plans().is_empty() {
            notes.problem("exclude", "every combination is excluded; want at least one run");
        }
    }

    /// Reports keys that are no config keys, and keys that are set twice.
    fn check_keys(&self, notes: &Notes) {
        for (key, _) in &self.set {
            if let Some(problem) = keys::problem(key) {
                notes.problem(format!("set.{key}"), problem);
            }
        }
        let is_in_set = |key: &str| self.set.iter().any(|(set, _)| set == key);
        let has_rungs = self.halving.is_some();
        let length = "run.max_steps";
        if has_rungs && is_in_set(length) {
            notes.problem(format!("set.{length}"), "halving sets it; remove the key");
        }
        for (index, axis) in self.axes.iter().enumerate() {
            let report = |text: String| notes.problem(format!("axes.{}", axis.name), text);
            let mut told = Vec::new();
            for key in axis.keys() {
                if told.contains(&key) {
                    continue;
                }
                told.push(key);
                if let Some(other) = self.axes[..index].iter().find(|other| other.keys().any(|set| set == key)) {
                    report(format!("{key} is also set by {}; want it in one axis", quoted(&other.name)));
                }
                if is_in_set(key) {
                    report(format!("{key} is also in [set] or --set; remove it there"));
                }
                if has_rungs && key == length {
                    report(format!("halving sets {key}; remove it"));
                }
            }
        }
    }

    /// Reports columns and files with the same name.
    fn check_names(&self, notes: &Notes) {
        let columns = self.columns();
        let is_taken = |name: &str| name == RUN || columns.iter().filter(|column| column.name == name).nth(1).is_some();
        for Axis { name, .. } in self.axes.iter().filter(|axis| is_taken(&axis.name)) {
            notes.problem(format!("axes.{name}"), "the results have another column with this name; want another name");
        }
        for (index, measure) in self.measures.iter().enumerate().filter(|(_, measure)| is_taken(&measure.name)) {
            let name = quoted(&measure.name);
            notes.problem(format!("measures[{index}].name"), format!("the results have another column {name}"));
        }
        for (index, chart) in self.charts.iter().enumerate() {
            if self.charts[..index].iter().any(|other| other.slug() == chart.slug()) {
                let title = quoted(&chart.title);
                notes.problem(
                    "charts",
                    format!("the files of two charts have the name {:?}; change {title}", chart.slug()),
                );
            }
        }
    }

    /// Reports axes and values that do not exist. Returns whether all do.
    fn check_exclusion(&self, path: &str, filters: &[Filter], notes: &Notes) -> bool {
        let mut is_known = !filters.is_empty();
        if filters.is_empty() {
            notes.problem(path, "got no keys; want axes with the values to leave out");
        }
        for Filter { column, values } in filters {
            let labels: Vec<Cell> = match self.axes.iter().find(|axis| axis.name == *column) {
                Some(axis) => axis.values.iter().map(|value| value.label.clone()).collect(),
                None if column == SEED => self.seeds.iter().map(|seed| Cell::integer(*seed)).collect(),
                None => {
                    let names: Vec<&str> = self.axes.iter().map(|axis| &*axis.name).chain([SEED]).collect();
                    let hint = match nearest_name(column, &names) {
                        Some(near) => format!("did you mean {near:?}?"),
                        None => format!("want one of {}", names.join(", ")),
                    };
                    notes.problem(format!("{path}.{column}"), format!("no axis has this name; {hint}"));
                    is_known = false;
                    continue;
                }
            };
            for value in values.iter().filter(|value| !labels.iter().any(|label| label.is_same(value))) {
                let known: Vec<String> = labels.iter().map(Cell::to_string).collect();
                let value = quoted(&value.to_string());
                let text = format!("got {value}, which matches no run; want one of {}", known.join(", "));
                notes.problem(format!("{path}.{column}"), text);
                is_known = false;
            }
        }
        is_known
    }
}
