//! Facts about a run before its first step, as numbers.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{ParameterRole, class_counts};
use crate::statistics::TensorStatistics;

/// Data and initial weights. Unknown values are empty or 0, and rules ignore them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Number of classes; 0 if unknown.
    pub classes: usize,
    /// Training images per class. With more than 1,000 classes, a file stores the counts without their classes.
    #[serde(with = "class_counts")]
    pub class_counts: Vec<u64>,
    /// Number of training images of multi-label data, to which the class counts do not add up; 0 if each image has one
    /// class.
    #[serde(skip_serializing_if = "is_zero")]
    pub multi_label_images: u64,
    /// Images per micro-batch.
    pub batch_size: usize,
    /// Steps per epoch.
    pub steps_per_epoch: u64,
    /// Smaller side of the images, in pixels.
    pub image_side: usize,
    /// Number of validation images; 0 if unknown.
    pub validation_images: u64,
    /// Fraction of the model's parameters that never train, because their group is frozen.
    pub frozen_fraction: f64,
    /// Whether evaluations use running statistics of batch normalization that training updates.
    pub has_running_statistics: bool,
    /// Statistics of each channel of the first batch, after normalization.
    pub channels: Vec<ChannelFacts>,
    /// Statistics of each parameter before the first step, in the order of the forward pass.
    pub parameters: Vec<ParameterFacts>,
    /// Classes with images that do not decode, among the images requested so far. Only this field grows during
    /// training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_images: Vec<LostImages>,
    /// Host and device of each rank of a data-parallel run; empty with one process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<RankFacts>,
}

/// Where a rank runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RankFacts {
    /// Name of the host.
    pub host: String,
    /// Device, such as `cuda:1`.
    pub device: String,
}

impl RankFacts {
    /// Host and device, as far as they are known: `host node-a, cuda:1`.
    pub fn place(&self) -> String {
        match (&*self.host, &*self.device) {
            ("", device) => device.to_owned(),
            (host, "") => format!("host {host}"),
            (host, device) => format!("host {host}, {device}"),
        }
    }
}

/// Images of one class in one split that do not decode and are skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostImages {
    /// `training` or `validation`.
    pub split: String,
    /// Name of the class.
    pub class: String,
    /// Images of the class in the split.
    pub images: u64,
    /// Number of these images that do not decode.
    pub lost: u64,
}

impl LostImages {
    /// The classes with lost images, given the number of images of each class, and how many of them are lost.
    pub fn of(split: &str, classes: &[String], images: &[usize], lost: &[usize]) -> Vec<Self> {
        let of_class = |((class, images), lost): ((&String, &usize), &usize)| Self {
            split: split.to_owned(),
            class: class.clone(),
            images: *images as u64,
            lost: *lost as u64,
        };
        let all = classes.iter().zip(images).zip(lost).map(of_class);
        all.filter(|of_class| of_class.lost > 0).collect()
    }

    /// Fraction of the class's images that is lost.
    pub fn share(&self) -> f64 {
        self.lost as f64 / (self.images as f64).max(1.0)
    }

    /// Whether all images are lost.
    pub fn is_all(&self) -> bool {
        self.lost >= self.images
    }
}

impl fmt::Display for LostImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { split, class, images, lost } = self;
        match self.is_all() {
            true => write!(f, "class {class} has lost all of its {images} {split} images"),
            false => write!(f, "class {class} has lost {lost} of its {images} {split} images"),
        }
    }
}

/// Statistics of one channel of the images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChannelFacts {
    /// Mean of the values.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

/// Statistics of one parameter before the first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterFacts {
    /// Parameter name.
    pub name: Arc<str>,
    /// Shape, with outputs first.
    pub shape: Vec<i64>,
    /// Mean of its elements.
    pub mean: f64,
    /// Standard deviation of its elements.
    pub std: f64,
}

impl ChannelFacts {
    /// Computes the statistics of each channel of `images`, with shape `[n, channels, plane]`.
    pub fn of(images: &[f32], channels: usize, plane: usize) -> Vec<Self> {
        let of_one = |channel: usize| {
            let values =
                || images.chunks_exact(plane).skip(channel).step_by(channels).flatten().copied().map(f64::from);
            let count = values().count().max(1) as f64;
            let mean = values().sum::<f64>() / count;
            let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            Self { mean, std: variance.sqrt() }
        };
        if plane == 0 { Vec::new() } else { (0..channels).map(of_one).collect() }
    }
}

impl ParameterFacts {
    /// Creates the facts from measured statistics; `None` without a distribution, or if it is not finite.
    pub fn new(measured: &TensorStatistics, shape: Vec<i64>) -> Option<Self> {
        let distribution = measured.distribution.as_ref()?;
        let (mean, std) = (distribution.mean, distribution.std);
        (mean.is_finite() && std.is_finite()).then(|| Self { name: Arc::clone(&measured.name), shape, mean, std })
    }

    /// Role of the parameter.
    pub fn role(&self) -> ParameterRole {
        ParameterRole::of(&self.name, &self.shape)
    }

    /// Whether the parameter is the weight of a linear layer or a convolution.
    pub fn is_weight(&self) -> bool {
        self.role() == ParameterRole::Weight
    }

    /// Whether all elements are 0.
    pub fn is_zero(&self) -> bool {
        self.mean == 0.0 && self.std == 0.0
    }

    /// Inputs per unit.
    pub fn fan_in(&self) -> f64 {
        self.shape.iter().skip(1).product::<i64>() as f64
    }

    /// Mean square of the elements times [`fan_in`](Self::fan_in): the factor by which a layer changes the mean square
    /// of its input. About 1 if it preserves the signal's size.
    pub fn scale(&self) -> f64 {
        (self.std.powi(2) + self.mean.powi(2)) * self.fan_in()
    }
}

/// Entropy of shares that may have any sum; NaN if all are 0.
pub(super) fn entropy(shares: impl Iterator<Item = f64> + Clone) -> f64 {
    let sum: f64 = shares.clone().sum();
    let logarithms = shares.map(|share| share / sum).filter(|share| *share != 0.0).map(|share| share * share.ln());
    -logarithms.sum::<f64>()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Facts {
    /// Whether an image may have several classes, or none.
    pub fn is_multi_label(&self) -> bool {
        self.multi_label_images > 0
    }

    /// Cross-entropy of the best guess that knows only the class frequencies: ln C if they are equal; NaN if nothing is
    /// known. Of multi-label data, binary cross-entropy.
    pub fn guess(&self) -> f64 {
        if self.is_multi_label() {
            return self.binary_guess();
        }
        let images = self.class_counts.iter().sum::<u64>() as f64;
        if images == 0.0 {
            return if self.classes == 0 { f64::NAN } else { (self.classes as f64).ln() };
        }
        entropy(self.class_counts.iter().map(|count| *count as f64))
    }

    /// Binary cross-entropy of the best guess that knows only the class frequencies: the mean over the classes of the
    /// entropies of their shares; NaN if nothing is known.
    pub(super) fn binary_guess(&self) -> f64 {
        let classes = self.classes.max(self.class_counts.len());
        let images = match self.multi_label_images {
            0 => self.class_counts.iter().sum(),
            images => images,
        };
        let shares: Vec<f64> = match images {
            0 => vec![1.0 / classes as f64; classes],
            images => self.class_counts.iter().map(|count| *count as f64 / images as f64).collect(),
        };
        shares.iter().map(|share| entropy([*share, 1.0 - share].into_iter())).sum::<f64>() / classes as f64
    }

    /// Whether a parameter is the weight of a linear layer or a convolution. Uses the name if the shape is unknown.
    pub fn is_weight(&self, name: &str) -> bool {
        let known = self.parameters.iter().find(|parameter| &*parameter.name == name);
        known.map_or_else(|| name.ends_with("weight") || name.ends_with("kernel"), ParameterFacts::is_weight)
    }

    /// A rank with its place: `rank 1 (host node-a, cuda:1)`, or `rank 1` if its place is not known.
    pub fn rank_name(&self, rank: usize) -> String {
        match self.ranks.get(rank).map(RankFacts::place) {
            Some(place) if !place.is_empty() => format!("rank {rank} ({place})"),
            _ => format!("rank {rank}"),
        }
    }

    /// Ranks with their places: `rank 0 (host node-a, cpu) and rank 3 (host node-b, cpu)`, at most three of them.
    pub fn rank_names(&self, ranks: &[usize]) -> String {
        const NAMED: usize = 3;
        let named: Vec<String> = ranks.iter().take(NAMED).map(|rank| self.rank_name(*rank)).collect();
        match (&named[..], ranks.len().saturating_sub(NAMED)) {
            ([one, other], 0) => format!("{one} and {other}"),
            (named, 0) => named.join(", "),
            (named, more) => format!("{}, and {more} more", named.join(", ")),
        }
    }

    /// Weights of all layers except the last.
    pub fn hidden_weights(&self) -> impl Iterator<Item = &ParameterFacts> {
        let last = self.parameters.iter().rposition(ParameterFacts::is_weight).unwrap_or(0);
        self.parameters[..last].iter().filter(|parameter| parameter.is_weight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_told_apart() {
        // Two images, each with two channels of two pixels.
        let images = [1.0, 3.0, 10.0, 10.0, 5.0, 7.0, 30.0, 30.0];
        let channels = ChannelFacts::of(&images, 2, 2);
        assert_eq!(channels[0], ChannelFacts { mean: 4.0, std: 5f64.sqrt() });
        assert_eq!(channels[1], ChannelFacts { mean: 20.0, std: 10.0 });
        assert_eq!(ChannelFacts::of(&[], 3, 0), []);
    }

    #[test]
    fn lost_images_are_counted_by_class() {
        let classes = ["ant", "bee", "cat"].map(String::from);
        let lost = LostImages::of("training", &classes, &[2, 1, 2], &[1, 0, 2]);
        let lines: Vec<String> = lost.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            ["class ant has lost 1 of its 2 training images", "class cat has lost all of its 2 training images"]
        );
        assert_eq!((lost[0].share(), lost[0].is_all(), lost[1].is_all()), (0.5, false, true));
    }

    #[test]
    fn a_guess_costs_the_entropy_of_the_labels() {
        let facts =
            |class_counts: &[u64]| Facts { classes: 2, class_counts: class_counts.to_vec(), ..Facts::default() };
        assert!((facts(&[50, 50]).guess() - 2f64.ln()).abs() < 1e-12);
        // -(0.9 ln 0.9 + 0.1 ln 0.1).
        assert!((facts(&[90, 10]).guess() - 0.325_082_973).abs() < 1e-9);
        assert_eq!(facts(&[]).guess(), 2f64.ln());
        assert!(Facts::default().guess().is_nan());
    }

    #[test]
    fn a_guess_at_several_classes_costs_the_mean_entropy_of_their_shares() {
        let facts = Facts { classes: 2, class_counts: vec![50, 90], multi_label_images: 100, ..Facts::default() };
        // (ln 2 - (0.9 ln 0.9 + 0.1 ln 0.1)) / 2.
        assert!((facts.guess() - f64::midpoint(2f64.ln(), 0.325_082_973)).abs() < 1e-9);
        // A class of every image, and one of none, cost nothing.
        let certain = Facts { class_counts: vec![100, 0], ..facts };
        assert_eq!(certain.guess(), 0.0);
    }

    #[test]
    fn facts_about_one_class_per_image_are_written_as_before() {
        let facts = Facts { classes: 2, class_counts: vec![5, 6], ..Facts::default() };
        assert!(!serde_json::to_string(&facts).unwrap().contains("multi_label"));
        let facts = Facts { multi_label_images: 9, ..facts };
        let back: Facts = serde_json::from_str(&serde_json::to_string(&facts).unwrap()).unwrap();
        assert_eq!(back, facts);
    }

    #[test]
    fn ranks_are_named_with_what_is_known_of_their_places() {
        let place = |host: &str, device: &str| RankFacts { host: host.into(), device: device.into() };
        let ranks = vec![place("node-a", "cuda:1"), place("", "cpu"), place("node-b", ""), place("", "")];
        let facts = Facts { ranks, ..Facts::default() };
        let names: Vec<String> = (0..5).map(|rank| facts.rank_name(rank)).collect();
        assert_eq!(names, ["rank 0 (host node-a, cuda:1)", "rank 1 (cpu)", "rank 2 (host node-b)", "rank 3", "rank 4"]);
        assert_eq!(facts.rank_names(&[1, 4]), "rank 1 (cpu) and rank 4");
        assert_eq!(facts.rank_names(&[1, 2, 3, 4, 5]), "rank 1 (cpu), rank 2 (host node-b), rank 3, and 2 more");
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
        // Runs with one process keep their line of facts.
        assert!(!serde_json::to_string(&Facts::default()).unwrap().contains("ranks"));
    }

    #[test]
    fn the_last_weight_is_not_hidden() {
        let parameter = |name: &str, shape: &[i64]| ParameterFacts {
            name: name.into(),
            shape: shape.to_vec(),
            mean: 0.0,
            std: 1.0,
        };
        let parameters =
            vec![parameter("a.weight", &[4, 3, 2, 2]), parameter("a.bias", &[4]), parameter("head.weight", &[2, 4])];
        let facts = Facts { parameters, ..Facts::default() };
        let hidden: Vec<_> = facts.hidden_weights().map(|weight| (&*weight.name, weight.fan_in())).collect();
        assert_eq!(hidden, [("a.weight", 12.0)]);
        assert_eq!(Facts::default().hidden_weights().count(), 0);
    }
}
