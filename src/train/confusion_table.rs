//! The confusion matrix of an evaluation as text.

use std::fmt::Write;

use super::{ClassMetrics, Metrics};
use crate::printable;

/// The confusion matrix as a Markdown table. Up to 50 classes; more are unreadable and their counts in metrics.jsonl.
pub(super) fn confusion_table(metrics: &Metrics) -> String {
    let cell = |class: &ClassMetrics| printable::line(&class.class).replace('|', "\\|");
    let names: Vec<String> = metrics.per_class.iter().map(cell).collect();
    if names.len() > 50 {
        return format!("{} classes: see metrics.jsonl", names.len());
    }
    let mut table = format!("| label \\ prediction | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (name, row) in names.iter().zip(&metrics.confusion) {
        let counts: Vec<String> = row.iter().map(u64::to_string).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| **{name}** | {} |", counts.join(" | "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confusion_matrix_is_a_table_with_labels_down_and_predictions_across() {
        let metrics = Metrics::new(0.0, 3, vec![vec![1, 2], vec![0, 4]], &["cat".into(), "dog".into()]);
        let want = "| label \\ prediction | cat | dog |\n|---|---|---|\n| **cat** | 1 | 2 |\n| **dog** | 0 | 4 |\n";
        assert_eq!(confusion_table(&metrics), want);
    }
}
