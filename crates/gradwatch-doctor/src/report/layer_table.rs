//! Table of all parameters and layers of a run.

use serde::Serialize;

use super::{
    course::{Course, layer_of},
    index_of,
};
use crate::statistics::ParameterHistory;

/// One parameter, or a layer without parameters. NaN means unknown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row<'a> {
    pub name: &'a str,
    /// Geometric mean, minimum, and maximum of the gradient norm over the run.
    pub gradient_mean: f64,
    pub gradient_min: f64,
    pub gradient_max: f64,
    /// First step with a non-finite gradient.
    pub first_non_finite: Option<u64>,
    pub update_ratio: f64,
    pub weight_norm: f64,
    /// Fraction of zeros in the gradient.
    pub zeros: f64,
    /// Fraction of the layer's outputs at or below 0; set on the first parameter of a layer.
    pub nonpositive: f64,
    /// Fraction of the inputs at which the activation is flat.
    pub saturated: f64,
}

impl<'a> Row<'a> {
    fn new(name: &'a str) -> Self {
        let nan = f64::NAN;
        Self {
            name,
            gradient_mean: nan,
            gradient_min: nan,
            gradient_max: nan,
            first_non_finite: None,
            update_ratio: nan,
            weight_norm: nan,
            zeros: nan,
            nonpositive: nan,
            saturated: nan,
        }
    }

    fn of_gradient(parameter: &'a ParameterHistory) -> Self {
        Self {
            gradient_mean: parameter.norm.geometric_mean(),
            gradient_min: parameter.norm.min,
            gradient_max: parameter.norm.max,
            first_non_finite: parameter.first_non_finite,
            ..Self::new(&parameter.name)
        }
    }
}

/// The rows, with parameters in the order of their first appearance.
pub(super) fn rows(course: &Course) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = course.history.parameters.iter().map(Row::of_gradient).collect();
    let mut next = 0;
    for last in &course.parameters {
        let row = row_of(&mut rows, &mut next, &last.name);
        (row.update_ratio, row.weight_norm, row.zeros) = (last.update_ratio, last.weight_norm, last.zeros);
    }
    for last in &course.layers {
        let first = rows.iter_mut().find(|row| layer_of(row.name) == &*last.layer);
        let row = match first {
            Some(row) => row,
            None => row_of(&mut rows, &mut next, &last.layer),
        };
        (row.nonpositive, row.saturated) = (last.nonpositive, last.saturated);
    }
    rows
}

fn row_of<'rows, 'a>(rows: &'rows mut Vec<Row<'a>>, next: &mut usize, name: &'a str) -> &'rows mut Row<'a> {
    let index = index_of(rows, *next, |row| row.name == name).unwrap_or_else(|| {
        rows.push(Row::new(name));
        rows.len() - 1
    });
    *next = index + 1;
    &mut rows[index]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::Observation,
        report::fixture::{gradient, gradients, observe},
        statistics::{LayerStatistics, ParameterUpdate},
    };

    #[test]
    fn gradients_weights_updates_and_activations_of_a_layer_stand_together() {
        let statistics = gradients(vec![gradient("a.weight", 2.0, 4), gradient("a.bias", f64::NAN, 1)]);
        let weights = [gradient("a.weight", 5.0, 4), gradient("frozen", 7.0, 1)];
        let updates = [ParameterUpdate { name: "a.weight".into(), norm: 0.005, update_ratio: 0.001 }];
        let layer = |name: &str| LayerStatistics {
            layer: name.into(),
            mean: 0.0,
            rms: 1.0,
            nonpositive_fraction: 0.75,
            saturated_fraction: 0.25,
            dormant_fraction: None,
            gradient_rms: None,
        };
        let layers = [layer("a"), layer("pool")];
        let mut course = Course::default();
        course.add(&Observation {
            gradients: Some(&statistics),
            weights: &weights,
            updates: &updates,
            layers: &layers,
            ..observe(40, 1.0)
        });
        let rows = rows(&course);
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names, ["a.weight", "a.bias", "frozen", "pool"]);
        let first = &rows[0];
        assert!((first.gradient_mean - 2.0).abs() < 1e-12);
        assert_eq!((first.update_ratio, first.weight_norm, first.nonpositive), (0.001, 5.0, 0.75));
        assert_eq!((rows[1].first_non_finite, rows[1].nonpositive.is_nan()), (Some(40), true));
        assert_eq!((rows[2].weight_norm, rows[3].saturated), (7.0, 0.25));
    }
}
