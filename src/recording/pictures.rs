//! Pictures of a run over its steps, in bounded memory.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Reading;
use crate::{
    disk::exact_rows,
    gradient::{DepthProfile, TensorStatistics},
    picture::{BarChart, HeatMap, Picture, PictureError},
};

/// Most columns of a heat map. A full one drops every second column, and from then on takes every second reading.
const MOST_COLUMNS: usize = 256;

/// One value per layer over the steps of a run.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Course {
    layers: Vec<String>,
    steps: Vec<u64>,
    /// One column per step.
    #[serde(with = "exact_rows")]
    columns: Vec<Vec<f64>>,
    /// Number of readings per column.
    stride: usize,
    readings: usize,
}

impl Course {
    fn add(&mut self, step: u64, figures: Vec<(String, f64)>) {
        self.stride = self.stride.max(1);
        self.readings += 1;
        if !(self.readings - 1).is_multiple_of(self.stride) {
            return;
        }
        if self.steps.len() == MOST_COLUMNS {
            let mut index = 0;
            self.columns.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.steps = self.steps.iter().copied().step_by(2).collect();
            self.stride *= 2;
            // The readings so far fill the halved columns exactly, so this one starts the next column.
        }
        // Layers that appear late have no values in earlier columns.
        let figures: HashMap<String, f64> = {
            let known: Vec<&String> = self.layers.iter().collect();
            let new: Vec<String> =
                figures.iter().filter(|(layer, _)| !known.contains(&layer)).map(|(layer, _)| layer.clone()).collect();
            self.layers.extend(new);
            figures.into_iter().collect()
        };
        self.steps.push(step);
        self.columns.push(self.layers.iter().map(|layer| figures.get(layer).copied().unwrap_or(f64::NAN)).collect());
    }

    fn draw(&self, title: &str, unit: &str) -> Result<Picture, PictureError> {
        let figure = |row: usize| self.columns.iter().map(move |column| column.get(row).copied().unwrap_or(f64::NAN));
        let values: Vec<f64> = (0..self.layers.len()).flat_map(figure).collect();
        HeatMap { title, unit, rows: &self.layers, columns: &self.steps, values: &values, range: None }.draw()
    }
}

/// Data of the pictures of a run.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pictures {
    gradients: Course,
    updates: Course,
    profile: Option<(u64, DepthProfile)>,
    /// Step of the last reading, if no picture shows it yet.
    pub(super) undrawn: Option<u64>,
}

impl Pictures {
    /// Adds a reading.
    pub(super) fn add(&mut self, reading: &Reading) {
        self.undrawn = Some(reading.step);
        if let Some(gradients) = &reading.gradients {
            let squares =
                gradients.parameters.iter().map(|grad| (&*grad.name, grad.norm.powi(2), grad.elements as f64));
            self.gradients.add(reading.step, log10_by_layer(squares));
        }
        if !reading.updates.is_empty() {
            let weights: HashMap<&str, &TensorStatistics> =
                reading.weights.iter().map(|weight| (&*weight.name, weight)).collect();
            let moved = reading.updates.iter().filter_map(|update| {
                Some((&*update.name, update.norm.powi(2), weights.get(&*update.name)?.norm.powi(2)))
            });
            self.updates.add(reading.step, log10_by_layer(moved));
        }
        if let Some(profile) = &reading.depth_profile {
            self.profile = Some((reading.step, profile.clone()));
        }
    }

    /// Draws all pictures that have data, with their tags.
    pub(super) fn draw(&self) -> Result<Vec<(&'static str, Picture)>, PictureError> {
        let mut pictures = Vec::new();
        if !self.gradients.steps.is_empty() {
            let picture = self.gradients.draw("RMS of the gradient, layer by layer", "log10 RMS of the gradient")?;
            pictures.push(("pictures/gradient_rms", picture));
        }
        if !self.updates.steps.is_empty() {
            let picture = self.updates.draw("Update ratio, layer by layer", "log10 of update norm / weight norm")?;
            pictures.push(("pictures/update_ratio", picture));
        }
        if let Some((step, profile)) = &self.profile {
            pictures.push(("pictures/depth_profile", depth_chart(*step, profile)?));
        }
        Ok(pictures)
    }
}

fn depth_chart(step: u64, profile: &DepthProfile) -> Result<Picture, PictureError> {
    let names: Vec<String> = profile.layers.iter().map(|(layer, _)| layer.to_string()).collect();
    let values: Vec<f64> = profile.layers.iter().map(|(_, size)| log_or_mark(*size, f64::log2)).collect();
    let slope = profile.slope();
    let caption = slope.map(|slope| {
        format!("going back, log2 changes by {:+.3} ± {:.3} per layer", slope.log2_per_layer, slope.standard_error)
    });
    BarChart {
        title: &format!("Gradient over depth at step {step}"),
        unit: &format!("log2 {}", profile.source.label()),
        names: &names,
        values: &values,
        fit: slope.map(|slope| [slope.log2_at_input, -slope.log2_per_layer]),
        caption: caption.as_deref(),
    }
    .draw()
}

/// log10 of sqrt(sum of numerators / sum of denominators) over the parameters of each layer, in the order of first
/// appearance.
fn log10_by_layer<'a>(parameters: impl Iterator<Item = (&'a str, f64, f64)>) -> Vec<(String, f64)> {
    let mut layers: Vec<(&str, f64, f64)> = Vec::new();
    for (name, numerator, denominator) in parameters {
        let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
        match layers.last_mut().filter(|(last, ..)| *last == layer) {
            Some((_, numerators, denominators)) => {
                *numerators += numerator;
                *denominators += denominator;
            }
            None => layers.push((layer, numerator, denominator)),
        }
    }
    let figure = |(layer, numerator, denominator): (&str, f64, f64)| {
        (layer.to_owned(), log_or_mark((numerator / denominator).sqrt(), f64::log10))
    };
    layers.into_iter().map(figure).collect()
}

/// Logarithm with marks: infinity for non-finite values, -infinity for zero.
fn log_or_mark(size: f64, log: fn(f64) -> f64) -> f64 {
    if size.is_finite() { log(size) } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_a_long_run_stay_evenly_spaced_and_few() {
        let mut course = Course::default();
        for step in 0..10_000 {
            course.add(step, vec![("fc".into(), step as f64)]);
        }
        assert!(course.steps.len() <= MOST_COLUMNS && course.steps.len() >= MOST_COLUMNS / 2);
        let gaps: Vec<u64> = course.steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap == gaps[0]), "{gaps:?}");
        assert!(course.steps.iter().zip(&course.columns).all(|(step, column)| column[..] == [*step as f64]));
    }

    #[test]
    fn a_layer_that_shows_itself_late_has_nothing_before() {
        let mut course = Course::default();
        course.add(0, vec![("a".into(), 1.0)]);
        course.add(1, vec![("b".into(), 2.0), ("a".into(), 3.0)]);
        assert_eq!(course.layers, ["a", "b"]);
        assert_eq!(course.columns[1], [3.0, 2.0]);
        assert!(course.draw("t", "u").is_ok());
    }

    #[test]
    fn a_layer_is_all_of_its_parameters_together() {
        let parameters = [("conv.weight", 90.0, 8.0), ("conv.bias", 10.0, 92.0), ("fc.weight", f64::NAN, 1.0)];
        let layers = log10_by_layer(parameters.into_iter());
        assert_eq!(layers, [("conv".to_owned(), 0.0), ("fc".to_owned(), f64::INFINITY)]);
        assert_eq!(log10_by_layer([("scale", 0.0, 1.0)].into_iter())[0].1, f64::NEG_INFINITY);
    }
}
