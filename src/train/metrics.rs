//! Loss, accuracy, precision, recall and F1 from a confusion matrix: pure functions of counts.

use serde::{Deserialize, Serialize};

use super::{ClassCounts, Confusion};
use crate::{config::Metric, disk::nan_from_null};

/// One class as the classifier sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// The class's name.
    pub class: String,
    /// Images of the class.
    pub support: u64,
    /// Right among those predicted as the class; 0 where none was.
    pub precision: f64,
    /// Right among the images of the class; 0 where there are none.
    pub recall: f64,
    /// Harmonic mean of the two; 0 where both are.
    pub f1: f64,
}

/// All figures of one pass over images.
///
/// As JSON it is whole: of up to 50 classes with `confusion`, the matrix, of more with `confusion_cells`, a list of
/// `[label, prediction, images]`. What is read back of it is without either.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Metrics {
    /// Mean loss: of the training images the one that is trained on, of the validation images plain cross-entropy.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f64,
    /// Share of images whose first guess is right.
    pub accuracy: f64,
    /// Share of images whose class is among the first five guesses; with fewer than six classes always 1.
    pub top5_accuracy: f64,
    /// Mean over the classes that have images or predictions, each counting the same ("macro").
    pub precision: f64,
    /// The same of recall.
    pub recall: f64,
    /// The same of F1.
    pub f1: f64,
    /// Each class; empty where only the figures of all images are kept.
    #[serde(default)]
    pub per_class: Vec<ClassMetrics>,
    /// Which classes are taken for which; `None` where that was not counted.
    #[serde(skip)]
    pub confusion: Option<Confusion>,
}

impl Metrics {
    /// The figure that tells the best weights.
    pub fn of(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Accuracy => self.accuracy,
            Metric::F1 => self.f1,
            Metric::Loss => self.loss,
            Metric::Precision => self.precision,
            Metric::Recall => self.recall,
            Metric::Top5Accuracy => self.top5_accuracy,
        }
    }

    /// Every figure of all images under its name.
    pub fn figures(&self) -> [(&'static str, f64); 6] {
        [
            ("loss", self.loss),
            ("accuracy", self.accuracy),
            ("top5_accuracy", self.top5_accuracy),
            ("precision", self.precision),
            ("recall", self.recall),
            ("f1", self.f1),
        ]
    }

    /// All figures from the mean loss, the number of top-5 hits and the counts of each class, whose names are `classes`.
    pub fn new(
        loss: f64,
        top5_hits: u64,
        counts: &ClassCounts,
        confusion: Option<Confusion>,
        classes: &[String],
    ) -> Self {
        let images: u64 = counts.support.iter().sum();
        let hits: u64 = counts.hits.iter().sum();
        let per_class: Vec<ClassMetrics> =
            classes.iter().enumerate().map(|(class, name)| class_metrics(counts, class, name)).collect();
        let counted: Vec<&ClassMetrics> = per_class
            .iter()
            .zip(&counts.predicted)
            .filter(|(metrics, predicted)| metrics.support > 0 || **predicted > 0)
            .map(|(metrics, _)| metrics)
            .collect();
        let mean = |figure: fn(&ClassMetrics) -> f64| {
            // From +0: the sum of nothing would be -0.
            counted.iter().fold(0.0, |sum, metrics| sum + figure(metrics)) / counted.len().max(1) as f64
        };
        Self {
            loss,
            accuracy: ratio(hits, images),
            top5_accuracy: ratio(top5_hits, images),
            precision: mean(|metrics| metrics.precision),
            recall: mean(|metrics| metrics.recall),
            f1: mean(|metrics| metrics.f1),
            per_class,
            confusion,
        }
    }

    /// The figures of all images alone.
    #[must_use]
    pub fn without_classes(self) -> Self {
        Self { per_class: Vec::new(), confusion: None, ..self }
    }

    /// The classes with the lowest F1 among those that have images, at most so many, the worst first.
    pub fn worst(&self, most: usize) -> Vec<&ClassMetrics> {
        let mut classes: Vec<&ClassMetrics> = self.per_class.iter().filter(|class| class.support > 0).collect();
        // Of equals the one with the most images; stable, so that of these the first class comes first.
        let order = |one: &&ClassMetrics, other: &&ClassMetrics| {
            one.f1.total_cmp(&other.f1).then(other.support.cmp(&one.support))
        };
        classes.sort_by(order);
        classes.truncate(most);
        classes
    }
}

fn class_metrics(counts: &ClassCounts, class: usize, name: &str) -> ClassMetrics {
    let [support, predicted, hits] = [&counts.support, &counts.predicted, &counts.hits].map(|list| list[class]);
    ClassMetrics {
        class: name.to_owned(),
        support,
        precision: ratio(hits, predicted),
        recall: ratio(hits, support),
        // 2 P R / (P + R), in counts.
        f1: ratio(2 * hits, predicted + support),
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Of classes that are called by their index, from a confusion matrix.
    pub(in super::super) fn of_matrix(loss: f64, top5_hits: u64, matrix: &[Vec<u64>]) -> Metrics {
        let names: Vec<String> = (0..matrix.len()).map(|class| class.to_string()).collect();
        let confusion = Confusion::of_matrix(matrix);
        Metrics::new(loss, top5_hits, &confusion.counts(), Some(confusion), &names)
    }

    #[test]
    fn figures_equal_those_of_scikit_learn() {
        // from sklearn.metrics import precision_recall_fscore_support as prf, accuracy_score
        // y = [0]*5 + [1]*3 + [2]*2; p = [0,0,0,1,2, 1,1,0, 2,1]
        // prf(y, p) -> precision .75 .5 .5, recall .6 .66667 .5, f1 .66667 .57143 .5; macro means of these
        let metrics = of_matrix(1.2, 9, &[vec![3, 1, 1], vec![1, 2, 0], vec![0, 1, 1]]);
        assert_eq!((metrics.loss, metrics.accuracy, metrics.top5_accuracy), (1.2, 0.6, 0.9));
        let figures: Vec<[f64; 3]> =
            metrics.per_class.iter().map(|class| [class.precision, class.recall, class.f1]).collect();
        let want = [[0.75, 0.6, 2.0 / 3.0], [0.5, 2.0 / 3.0, 4.0 / 7.0], [0.5, 0.5, 0.5]];
        for (got, want) in figures.iter().flatten().zip(want.iter().flatten()) {
            assert!((got - want).abs() < 1e-12);
        }
        assert!((metrics.f1 - (2.0 / 3.0 + 4.0 / 7.0 + 0.5) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_class_that_neither_occurs_nor_is_predicted_does_not_lower_the_means() {
        let metrics = of_matrix(0.0, 2, &[vec![2, 0], vec![0, 0]]);
        assert_eq!((metrics.precision, metrics.recall, metrics.f1), (1.0, 1.0, 1.0));
        assert_eq!(metrics.per_class[1].f1, 0.0);
    }

    #[test]
    fn no_images_are_no_division_by_zero() {
        let metrics = of_matrix(f64::NAN, 0, &[vec![0, 0], vec![0, 0]]);
        assert_eq!((metrics.accuracy, metrics.f1), (0.0, 0.0));
        assert!(metrics.f1.is_sign_positive());
    }

    #[test]
    fn the_worst_classes_come_first_and_those_without_images_are_none_of_them() {
        // F1 by hand: 2 * 1 / (3 + 3), 0, 2 * 4 / (6 + 5) and none; the second of the two that are never hit has more images.
        let metrics = of_matrix(
            0.0,
            5,
            &[vec![1, 0, 2, 0, 0], vec![1, 0, 0, 0, 0], vec![1, 0, 4, 0, 0], vec![0, 0, 0, 0, 0], vec![0, 2, 0, 0, 0]],
        );
        let worst: Vec<&str> = metrics.worst(3).iter().map(|class| &*class.class).collect();
        assert_eq!(worst, ["4", "1", "0"]);
        assert_eq!(metrics.worst(9).len(), 4);
        let figures = metrics.clone().without_classes();
        assert_eq!((figures.figures(), figures.per_class.len()), (metrics.figures(), 0));
    }
}
