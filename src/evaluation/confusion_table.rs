//! Renders the mistakes of an evaluation as text.

use std::fmt::Write;

use super::{Cell, ClassMetrics, Metrics, metrics_json::LISTED};
use crate::printable;

/// The confusion matrix as a Markdown table; with more than 50 classes, the most frequent mistakes and the worst
/// classes.
pub(crate) fn confusion_table(metrics: &Metrics) -> String {
    let plain = |class: &ClassMetrics| printable::line(&class.class).replace('|', "\\|");
    let names: Vec<String> = metrics.per_class.iter().map(plain).collect();
    let Some(confusion) = &metrics.confusion else { return String::new() };
    // Writing to a String cannot fail.
    let mut table = String::new();
    if names.len() > LISTED {
        table.push_str("| label | prediction | images |\n|---|---|---|\n");
        for Cell { label, prediction, images } in confusion.most_confused(LISTED) {
            let _ = writeln!(table, "| {} | {} | {images} |", names[label], names[prediction]);
        }
        let _ = write!(table, "\n| worst of {} classes | images | precision | recall | F1 |\n|---|", names.len());
        let _ = writeln!(table, "{}", "---|".repeat(4));
        for class in metrics.worst(LISTED) {
            let (name, ClassMetrics { support, precision, recall, f1, .. }) = (plain(class), class);
            let _ = writeln!(table, "| {name} | {support} | {precision:.4} | {recall:.4} | {f1:.4} |");
        }
        return table;
    }
    let _ = writeln!(table, "| label \\ prediction | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (name, row) in names.iter().zip(confusion.matrix()) {
        let counts: Vec<String> = row.iter().map(u64::to_string).collect();
        let _ = writeln!(table, "| **{name}** | {} |", counts.join(" | "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{super::metrics::tests::of_matrix, *};

    #[test]
    fn a_confusion_matrix_is_a_table_with_labels_down_and_predictions_across() {
        let mut metrics = of_matrix(0.0, 3, &[vec![1, 2], vec![0, 4]]);
        for (class, name) in metrics.per_class.iter_mut().zip(["cat", "dog"]) {
            class.class = name.into();
        }
        let want = "| label \\ prediction | cat | dog |\n|---|---|---|\n| **cat** | 1 | 2 |\n| **dog** | 0 | 4 |\n";
        assert_eq!(confusion_table(&metrics), want);
    }

    #[test]
    fn of_many_classes_the_mistakes_and_the_worst_are_told() {
        let mut matrix = vec![vec![0; 900]; 900];
        (0..900).for_each(|class| matrix[class][class] = 1);
        (matrix[3][3], matrix[3][800]) = (0, 2);
        let text = confusion_table(&of_matrix(0.0, 3, &matrix));
        let want = "| label | prediction | images |\n|---|---|---|\n| 3 | 800 | 2 |\n\n\
                    | worst of 900 classes | images | precision | recall | F1 |\n|---|---|---|---|---|\n\
                    | 3 | 2 | 0.0000 | 0.0000 | 0.0000 |\n| 800 | 1 | 0.3333 | 1.0000 | 0.5000 |\n";
        assert!(text.starts_with(want), "{text}");
        assert_eq!(text.lines().count(), 3 + 1 + 2 + LISTED);
    }
}
