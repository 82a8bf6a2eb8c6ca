//! Serializes the metrics of an evaluation as JSON, in full or abridged for a log.

use serde::{Serialize, Serializer};

use super::{Cell, ClassMetrics, Metrics, MultiLabelMetrics};

/// Most classes for which a log, a matrix, or a table is complete. With more classes, they contain this many of the
/// worst classes and of the most frequent mistakes.
pub(super) const LISTED: usize = 50;

/// Fields of the JSON, in order.
#[derive(Serialize)]
struct Written<'a> {
    loss: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top5_accuracy: Option<f64>,
    precision: f64,
    recall: f64,
    f1: f64,
    #[serde(flatten)]
    multi_label: Option<MultiLabelMetrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<usize>,
    per_class: Vec<&'a ClassMetrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confusion: Option<Vec<Vec<u64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confusion_cells: Option<&'a [Cell]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    most_confused: Option<Vec<Cell>>,
}

impl<'a> Written<'a> {
    /// All metrics, with the matrix only if there are few classes.
    fn of(metrics: &'a Metrics) -> Self {
        let &Metrics { loss, accuracy, top5_accuracy, precision, recall, f1, multi_label, .. } = metrics;
        let of_one_class = |value| multi_label.is_none().then_some(value);
        let per_class: Vec<&ClassMetrics> = metrics.per_class.iter().collect();
        let matrix = metrics.confusion.as_ref().filter(|_| is_short(metrics)).map(|confusion| confusion.matrix());
        Self {
            loss,
            accuracy: of_one_class(accuracy),
            top5_accuracy: of_one_class(top5_accuracy),
            precision,
            recall,
            f1,
            multi_label,
            classes: None,
            per_class,
            confusion: matrix,
            confusion_cells: None,
            most_confused: None,
        }
    }
}

fn is_short(metrics: &Metrics) -> bool {
    metrics.per_class.len() <= LISTED
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cells = self.confusion.as_ref().filter(|_| !is_short(self)).map(|confusion| confusion.cells());
        Written { confusion_cells: cells, ..Written::of(self) }.serialize(serializer)
    }
}

/// Metrics abridged for a log. With more than 50 classes, `classes` is their number, `per_class` contains the 50 worst,
/// worst first, and `most_confused` replaces the matrix: the 50 most frequent mistakes as `[label, prediction,
/// images]`.
pub(crate) struct Abridged<'a>(pub &'a Metrics);

impl Serialize for Abridged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let metrics = self.0;
        let written = Written::of(metrics);
        if is_short(metrics) {
            return written.serialize(serializer);
        }
        let most_confused = metrics.confusion.as_ref().map(|confusion| confusion.most_confused(LISTED));
        let (classes, per_class) = (Some(metrics.per_class.len()), metrics.worst(LISTED));
        Written { classes, per_class, most_confused, ..written }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{ClassCounts, metrics::tests::of_matrix},
        *,
    };
    use crate::config::Metric;

    fn value(metrics: impl Serialize) -> Value {
        serde_json::to_value(metrics).unwrap()
    }

    #[test]
    fn few_classes_are_written_whole_with_their_matrix() {
        let metrics = of_matrix(0.5, 3, &[vec![2, 1], vec![0, 0]]);
        let want = json!({
            "loss": 0.5, "accuracy": 2.0 / 3.0, "top5_accuracy": 1.0, "precision": 0.5, "recall": 1.0 / 3.0, "f1": 0.4,
            "per_class": [
                { "class": "0", "support": 3, "precision": 1.0, "recall": 2.0 / 3.0, "f1": 0.8 },
                { "class": "1", "support": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0 },
            ],
            "confusion": [[2, 1], [0, 0]],
        });
        assert_eq!((value(&metrics), value(Abridged(&metrics))), (want.clone(), want));
    }

    #[test]
    fn of_many_classes_a_log_has_the_worst_and_a_file_has_all() {
        // Each class has three images, one of which is predicted as the next class. Class 7 has no hits.
        let classes = 60;
        let mut matrix = vec![vec![0; classes]; classes];
        (0..classes).for_each(|class| (matrix[class][class], matrix[class][(class + 1) % classes]) = (2, 1));
        matrix[7][7] = 0;
        matrix[7][9] = 5;
        let metrics = of_matrix(0.5, 3, &matrix);
        let (log, file) = (value(Abridged(&metrics)), value(&metrics));
        assert_eq!((&log["classes"], &log["per_class"][0]["class"]), (&json!(60), &json!("7")));
        assert_eq!(log["most_confused"][0], json!([7, 9, 5]));
        assert_eq!(log["most_confused"][1], json!([0, 1, 1]));
        let lists = |value: &Value, keys: [&str; 2]| keys.map(|key| value[key].as_array().unwrap().len());
        assert_eq!(lists(&log, ["per_class", "most_confused"]), [50, 50]);
        // 59 hits and 61 mistakes.
        assert_eq!(lists(&file, ["per_class", "confusion_cells"]), [60, 120]);
        for (value, keys) in [(&log, ["confusion", "confusion_cells"]), (&file, ["confusion", "most_confused"])] {
            keys.iter().for_each(|key| assert!(value.get(key).is_none(), "{key}"));
        }
    }

    #[test]
    fn metrics_of_multi_label_data_are_written_without_those_of_one_class() {
        let counts = ClassCounts { support: vec![2, 0], predicted: vec![1, 1], hits: vec![1, 0] };
        let names = ["ant", "bee"].map(String::from);
        let metrics = Metrics::of_sets(0.5, 0.25, &counts, &[Some(0.75), None], &names);
        let want = json!({
            "loss": 0.5, "precision": 0.5, "recall": 0.25, "f1": 1.0 / 3.0,
            "mean_average_precision": 0.75, "micro_f1": 0.5, "exact_match": 0.25, "classes_without_images": 1,
            "per_class": [
                { "class": "ant", "support": 2, "precision": 1.0, "recall": 0.5, "f1": 2.0 / 3.0,
                  "average_precision": 0.75 },
                { "class": "bee", "support": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0 },
            ],
        });
        assert_eq!((value(&metrics), value(Abridged(&metrics))), (want.clone(), want));
        for text in [value(&metrics), value(metrics.clone().without_classes())] {
            let back: Metrics = serde_json::from_value(text).unwrap();
            assert_eq!((back.figures(), back.multi_label), (metrics.figures(), metrics.multi_label));
        }
        let of = |metric| metrics.of(metric);
        assert_eq!([Metric::MeanAveragePrecision, Metric::MicroF1, Metric::ExactMatch].map(of), [0.75, 0.5, 0.25]);
        assert!(of(Metric::Accuracy).is_nan());
    }

    #[test]
    fn figures_are_read_back_of_every_form_and_of_an_earlier_version_s() {
        let metrics = of_matrix(f64::NAN, 3, &[vec![2, 1], vec![0, 4]]);
        for text in [value(&metrics), value(Abridged(&metrics)), value(metrics.clone().without_classes())] {
            let back: Metrics = serde_json::from_value(text).unwrap();
            assert!(back.loss.is_nan());
            assert_eq!(back.figures()[1..], metrics.figures()[1..]);
        }
    }
}
