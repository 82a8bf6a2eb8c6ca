//! Assembles a step from the values of its tags.

use std::{collections::HashMap, ops::RangeInclusive, sync::Arc};

use gradwatch_events::{Numbers, proto::HistogramProto};

use super::{Role, rank_values::rank_statistics};
use crate::{
    diagnosis::{Evaluation, Facts, Observation, ParameterFacts},
    statistics::{
        DepthProfile, Distribution, GradientStatistics, LayerStatistics, LogHistogram, ParameterUpdate, RankStatistics,
        TensorStatistics,
    },
    telemetry::RankColumn,
};

/// Statistics of one step from the files.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Optimizer step.
    pub step: u64,
    /// Time of the last value of the step, in seconds since 1970; `None` if no finite time is in the files.
    pub wall_time: Option<f64>,
    /// See [`Observation::loss`].
    pub loss: f64,
    /// See [`Observation::learning_rate`].
    pub learning_rate: f64,
    /// See [`Observation::total_norm`].
    pub total_norm: f64,
    /// See [`Observation::clip_coef`].
    pub clip_coef: Option<f64>,
    /// See [`Observation::skipped_in_a_row`].
    pub skipped_in_a_row: u64,
    /// See [`Observation::previous_cosine`].
    pub previous_cosine: Option<f64>,
    /// Gradient statistics per parameter.
    pub gradients: Option<GradientStatistics>,
    /// Weight statistics per parameter, after the step.
    pub weights: Vec<TensorStatistics>,
    /// Update size per parameter.
    pub updates: Vec<ParameterUpdate>,
    /// Statistics per tapped layer.
    pub layers: Vec<LayerStatistics>,
    /// Gradient size per layer.
    pub depth_profile: Option<DepthProfile>,
    /// Statistics per rank of a data-parallel run.
    pub ranks: Option<RankStatistics>,
}

impl Sample {
    /// Converts the sample to the input of the rules.
    pub fn observe(&self) -> Observation<'_> {
        Observation {
            step: self.step,
            loss: self.loss,
            learning_rate: self.learning_rate,
            total_norm: self.total_norm,
            clip_coef: self.clip_coef,
            skipped_in_a_row: self.skipped_in_a_row,
            previous_cosine: self.previous_cosine,
            ranks: self.ranks.as_ref(),
            ..Observation::of_statistics(
                self.gradients.as_ref(),
                &self.weights,
                &self.updates,
                &self.layers,
                self.depth_profile.as_ref(),
            )
        }
    }
}

/// Values of one step so far, by role and index of the name.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    values: HashMap<(Role, usize), Numbers>,
    wall_time: Option<f64>,
}

/// Names of parameters and layers, in the order of their first appearance in the files.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    parameters: Vec<Arc<str>>,
    layers: Vec<Arc<str>>,
    places: HashMap<(bool, Arc<str>), usize>,
    /// Number of elements of parameters with a known shape.
    elements: HashMap<Arc<str>, f64>,
}

impl Names {
    pub(super) fn new(facts: &Facts) -> Self {
        let elements = |known: &ParameterFacts| (known.name.clone(), known.shape.iter().product::<i64>() as f64);
        Self { elements: facts.parameters.iter().map(elements).collect(), ..Self::default() }
    }

    /// Index of a name; `None` for the name of no rank. Adds new names of parameters and layers.
    pub(super) fn place(&mut self, role: Role, name: &Arc<str>) -> Option<usize> {
        if role.is_of_model() {
            return Some(0);
        }
        if role.is_of_rank() {
            return RankColumn::find(name).map(RankColumn::index);
        }
        let is_layer = role >= Role::ActivationMean;
        let place = self.places.entry((is_layer, Arc::clone(name))).or_insert_with(|| {
            let names = if is_layer { &mut self.layers } else { &mut self.parameters };
            names.push(Arc::clone(name));
            names.len() - 1
        });
        Some(*place)
    }
}

/// Roles of a tensor's statistics, for gradients or weights.
struct TensorRoles {
    norm: Role,
    rms: Role,
    max_abs: Role,
    mean: Role,
    std: Role,
    zero_fraction: Role,
    denormals: Role,
    histogram: Role,
}

const GRADIENT: TensorRoles = TensorRoles {
    norm: Role::GradNorm,
    rms: Role::GradRms,
    max_abs: Role::GradMaxAbs,
    mean: Role::GradMean,
    std: Role::GradStd,
    zero_fraction: Role::GradZeroFraction,
    denormals: Role::GradDenormals,
    histogram: Role::GradHistogram,
};

const WEIGHT: TensorRoles = TensorRoles {
    norm: Role::ParamNorm,
    rms: Role::ParamRms,
    max_abs: Role::ParamMaxAbs,
    mean: Role::ParamMean,
    std: Role::ParamStd,
    zero_fraction: Role::ParamZeroFraction,
    denormals: Role::ParamDenormals,
    histogram: Role::ParamHistogram,
};

impl Draft {
    pub(super) fn add(&mut self, role: Role, place: usize, numbers: Numbers) {
        self.values.insert((role, place), numbers);
    }

    /// Records when a value was written.
    pub(super) fn note_time(&mut self, wall_time: f64) {
        let latest = self.wall_time.map_or(wall_time, |before| before.max(wall_time));
        self.wall_time = Some(latest).filter(|time| time.is_finite()).or(self.wall_time);
    }

    /// Adds a value unless there is one already. Returns whether it was added.
    pub(super) fn add_new(&mut self, role: Role, place: usize, numbers: Numbers) -> bool {
        let is_new = !self.values.contains_key(&(role, place));
        if is_new {
            self.add(role, place, numbers);
        }
        is_new
    }

    /// Whether any value has one of these roles; avoids going through all names in vain.
    fn has(&self, roles: RangeInclusive<Role>) -> bool {
        self.values.keys().any(|(role, _)| roles.contains(role))
    }

    fn number(&self, role: Role, place: usize) -> Option<f64> {
        match self.values.get(&(role, place))? {
            Numbers::Scalar(number) => Some(*number),
            Numbers::Histogram(_) => None,
        }
    }

    /// Value of a role of the whole model.
    pub(super) fn of_model(&self, role: Role) -> Option<f64> {
        self.number(role, 0)
    }

    /// The evaluation, if there are validation values.
    pub(super) fn evaluation(&self, step: u64) -> Option<Evaluation> {
        let number = |role| self.of_model(role).unwrap_or(f64::NAN);
        let is_one = [Role::ValidationLoss, Role::ValidationAccuracy].map(|role| self.of_model(role).is_some());
        is_one.contains(&true).then(|| Evaluation {
            step,
            train_loss: number(Role::TrainLoss),
            train_accuracy: number(Role::TrainAccuracy),
            validation_loss: number(Role::ValidationLoss),
            validation_accuracy: number(Role::ValidationAccuracy),
            batch_statistics_accuracy: self.of_model(Role::BatchStatisticsAccuracy),
        })
    }

    /// The step, if there are training values. `skipped` is the number of consecutive non-finite steps before it.
    pub(super) fn sample(&self, step: u64, names: &Names, facts: &Facts, skipped: u64) -> Option<Sample> {
        let is_of_step = |role: &Role| *role == Role::Loss || *role >= Role::LearningRate;
        if !self.values.keys().any(|(role, _)| is_of_step(role)) {
            return None;
        }
        let parameters = self.tensors(&GRADIENT, names);
        let of_all = || parameters.iter().map(|grad| grad.norm.powi(2)).sum::<f64>().sqrt();
        let total_norm = self.of_model(Role::TotalNorm).unwrap_or_else(of_all);
        let loss = self.of_model(Role::Loss).unwrap_or(f64::NAN);
        let is_broken = !total_norm.is_finite() || self.of_model(Role::Loss).is_some_and(|loss| !loss.is_finite());
        let layers = self.layers(names);
        let depth_profile = match &parameters[..] {
            _ if !layers.is_empty() => Some(DepthProfile::of_layers(&layers)),
            // A model without taps, or event files of another program: only bias gradients are available.
            grads if names.layers.is_empty() && !grads.is_empty() => Some(DepthProfile::of_bias_gradients(grads)),
            _ => None,
        };
        Some(Sample {
            step,
            wall_time: self.wall_time,
            loss,
            learning_rate: self.of_model(Role::LearningRate).unwrap_or(f64::NAN),
            total_norm,
            clip_coef: self.of_model(Role::ClipCoef),
            skipped_in_a_row: if is_broken { skipped + 1 } else { 0 },
            previous_cosine: self.of_model(Role::PreviousCosine),
            gradients: (!parameters.is_empty()).then(|| gradients(parameters, total_norm, facts, step)),
            weights: self.tensors(&WEIGHT, names),
            updates: self.updates(names),
            layers,
            depth_profile,
            ranks: self.has(Role::RankImages..=Role::RankWaitSecs).then(|| self.ranks(facts)).flatten(),
        })
    }

    fn ranks(&self, facts: &Facts) -> Option<RankStatistics> {
        rank_statistics(|role, place| self.number(role, place), facts)
    }

    fn tensors(&self, roles: &TensorRoles, names: &Names) -> Vec<TensorStatistics> {
        let of_one = |(place, name): (usize, &Arc<str>)| {
            let number = |role| self.number(role, place);
            let histogram = match self.values.get(&(roles.histogram, place)) {
                Some(Numbers::Histogram(histogram)) => Some(histogram),
                _ => None,
            };
            let of_histogram = |figure: fn(&HistogramProto) -> f64| histogram.map(figure);
            let norm = number(roles.norm).or_else(|| of_histogram(|histogram| histogram.sum_squares.sqrt()))?;
            let by_shape = names.elements.get(name).copied();
            let by_rms = || number(roles.rms).filter(|rms| *rms > 0.0).map(|rms| (norm / rms).powi(2).round());
            let elements = by_shape.or(of_histogram(|histogram| histogram.num)).or_else(by_rms).unwrap_or(1.0);
            let max_abs = number(roles.max_abs).or_else(|| of_histogram(|histogram| histogram.max.max(-histogram.min)));
            let mean = number(roles.mean).or_else(|| of_histogram(|histogram| histogram.sum / histogram.num));
            let zeros = number(roles.zero_fraction).map_or(0.0, |share| (share * elements).round().min(elements));
            let distribution = mean.map(|mean| Distribution {
                mean,
                std: number(roles.std).unwrap_or_else(|| (norm.powi(2) / elements - mean * mean).max(0.0).sqrt()),
                zeros: zeros as u64,
                denormals: number(roles.denormals).unwrap_or_default() as u64,
                nans: 0,
                infinities: 0,
                negative_infinities: 0,
                histogram: histogram.map(octaves).unwrap_or_default(),
            });
            let max_abs = max_abs.unwrap_or(f64::NAN);
            Some(TensorStatistics { name: Arc::clone(name), elements: elements as u64, norm, max_abs, distribution })
        };
        if !self.has(roles.norm..=roles.histogram) {
            return Vec::new();
        }
        names.parameters.iter().enumerate().filter_map(of_one).collect()
    }

    fn updates(&self, names: &Names) -> Vec<ParameterUpdate> {
        if !self.has(Role::UpdateNorm..=Role::UpdateRatio) {
            return Vec::new();
        }
        let of_one = |(place, name): (usize, &Arc<str>)| {
            let update_ratio = self.number(Role::UpdateRatio, place)?;
            let norm = self.number(Role::UpdateNorm, place).unwrap_or(f64::NAN);
            Some(ParameterUpdate { name: Arc::clone(name), norm, update_ratio })
        };
        names.parameters.iter().enumerate().filter_map(of_one).collect()
    }

    fn layers(&self, names: &Names) -> Vec<LayerStatistics> {
        if !self.has(Role::ActivationMean..=Role::LayerGradRms) {
            return Vec::new();
        }
        let of_one = |(place, layer): (usize, &Arc<str>)| {
            let number = |role| self.number(role, place);
            Some(LayerStatistics {
                layer: Arc::clone(layer),
                mean: number(Role::ActivationMean)?,
                rms: number(Role::ActivationRms)?,
                nonpositive_fraction: number(Role::ActivationNonpositive)?,
                saturated_fraction: number(Role::ActivationSaturated)?,
                dormant_fraction: number(Role::ActivationDormant),
                gradient_rms: number(Role::LayerGradRms),
            })
        };
        names.layers.iter().enumerate().filter_map(of_one).collect()
    }
}

fn gradients(parameters: Vec<TensorStatistics>, total_norm: f64, facts: &Facts, step: u64) -> GradientStatistics {
    let is_there = |name: &Arc<str>| parameters.iter().any(|grad| grad.name == *name);
    // Missing parameters matter only at step 0.
    let known = facts.parameters.iter().filter(|_| step == 0);
    let missing = known.filter(|known| !is_there(&known.name)).map(|known| known.name.clone()).collect();
    // The last layers come first. The files contain no more precise order.
    let backward_order = (0..parameters.len()).rev().collect();
    GradientStatistics { parameters, total_norm, missing, backward_order }
}

/// Converts a histogram to counts per power of two, using the midpoint of each bucket.
fn octaves(histogram: &HistogramProto) -> LogHistogram {
    let lefts = std::iter::once(histogram.min).chain(histogram.bucket_limit.iter().copied());
    let buckets = lefts.zip(&histogram.bucket_limit).zip(&histogram.bucket);
    let middles = buckets.filter(|(_, count)| **count > 0.0).map(|((left, &right), &count)| {
        // If one edge is infinite, use the other one.
        let middle = match (left.is_finite(), right.is_finite()) {
            (true, true) => 0.5 * (left + right),
            (true, false) => left,
            _ => right,
        };
        (middle, count as u64)
    });
    let filled: Vec<(f64, u64)> = middles.filter(|(middle, _)| middle.is_normal()).collect();
    let exponent = |middle: f64| middle.abs().log2().floor() as i32;
    let Some(top) = filled.iter().map(|(middle, _)| exponent(*middle)).max() else { return LogHistogram::default() };
    let mut counts = LogHistogram { top, ..LogHistogram::default() };
    for (middle, count) in filled {
        let side = if middle < 0.0 { &mut counts.negative } else { &mut counts.positive };
        let place = ((top - exponent(middle)) as usize).min(LogHistogram::OCTAVES - 1);
        if side.len() <= place {
            side.resize(place + 1, 0);
        }
        side[place] += count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_counted_by_the_power_of_two_of_their_middles() {
        let histogram = HistogramProto {
            min: -4.0,
            max: 1.0,
            bucket_limit: vec![-2.0, 0.0, 0.5, 1.0],
            bucket: vec![3.0, 0.0, 2.0, 5.0],
            ..HistogramProto::default()
        };
        // Midpoints -3, 0.25, and 0.75 have exponents 1, -2, and -1.
        let want = LogHistogram { top: 1, negative: vec![3], positive: vec![0, 0, 5, 2] };
        assert_eq!(octaves(&histogram), want);
        assert_eq!(octaves(&HistogramProto::default()), LogHistogram::default());
    }

    #[test]
    fn a_step_is_put_together_from_its_values_and_an_evaluation_is_none() {
        let (mut draft, mut names) = (Draft::default(), Names::default());
        let mut add = |role: Role, name: &str, number: f64| {
            let place = names.place(role, &name.into()).unwrap();
            draft.add(role, place, Numbers::Scalar(number));
        };
        add(Role::Loss, "", 2.0);
        add(Role::GradNorm, "b.weight", 4.0);
        add(Role::GradRms, "b.weight", 2.0);
        add(Role::GradNorm, "a.weight", 3.0);
        add(Role::UpdateRatio, "b.weight", 1e-3);
        let sample = draft.sample(7, &names, &Facts::default(), 0).unwrap();
        assert_eq!((sample.step, sample.loss, sample.total_norm, sample.skipped_in_a_row), (7, 2.0, 5.0, 0));
        let grads = sample.gradients.unwrap();
        let seen: Vec<_> = grads.parameters.iter().map(|grad| (&*grad.name, grad.norm, grad.elements)).collect();
        assert_eq!(seen, [("b.weight", 4.0, 4), ("a.weight", 3.0, 1)]);
        assert_eq!(sample.updates.len(), 1);
        assert_eq!(draft.evaluation(7), None);

        let mut draft = Draft::default();
        draft.add(Role::ValidationLoss, 0, Numbers::Scalar(1.5));
        assert!(draft.sample(7, &names, &Facts::default(), 0).is_none());
        assert_eq!(draft.evaluation(8).unwrap().validation_loss, 1.5);
    }

    #[test]
    fn a_norm_or_a_loss_that_is_not_finite_counts_as_a_skipped_step() {
        let mut draft = Draft::default();
        draft.add(Role::Loss, 0, Numbers::Scalar(f64::NAN));
        assert_eq!(draft.sample(0, &Names::default(), &Facts::default(), 2).unwrap().skipped_in_a_row, 3);
    }
}
