//! Gradient history of a whole run in constant memory, for the end-of-run summary.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::GradientStatistics;

/// Smallest, largest, and latest value of a norm, without non-finite values; NaN if there are none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NormRange {
    /// Smallest value.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub min: f64,
    /// Largest value.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub max: f64,
    /// Latest value.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub last: f64,
    /// Sum of the base-10 logarithms of the positive values, and their number.
    log10: (f64, u64),
}

impl NormRange {
    const EMPTY: Self = Self { min: f64::NAN, max: f64::NAN, last: f64::NAN, log10: (0.0, 0) };

    fn add(&mut self, norm: f64) {
        // If one operand is NaN, min and max return the other.
        self.min = self.min.min(norm);
        self.max = self.max.max(norm);
        self.last = norm;
        if norm > 0.0 {
            self.log10 = (self.log10.0 + norm.log10(), self.log10.1 + 1);
        }
    }

    /// Geometric mean of the positive values; NaN if there are none.
    pub fn geometric_mean(&self) -> f64 {
        10f64.powf(self.log10.0 / self.log10.1 as f64)
    }
}

/// Gradient history of one parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterHistory {
    /// Name of the parameter.
    pub name: Arc<str>,
    /// Range of its gradient norm.
    pub norm: NormRange,
    /// First step with a non-finite gradient.
    pub first_non_finite: Option<u64>,
}

/// Gradient history of all parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradientHistory {
    /// Number of readings.
    pub readings: u64,
    /// Range of the total norm.
    pub total: NormRange,
    /// Step of the largest finite total norm.
    pub max_step: u64,
    /// Number of readings with a non-finite total norm.
    pub non_finite_readings: u64,
    /// Each parameter that received a gradient, in order of first appearance.
    pub parameters: Vec<ParameterHistory>,
}

impl Default for GradientHistory {
    fn default() -> Self {
        let total = NormRange::EMPTY;
        Self { readings: 0, total, max_step: 0, non_finite_readings: 0, parameters: Vec::new() }
    }
}

impl GradientHistory {
    /// Adds the reading of one step.
    pub fn add(&mut self, step: u64, statistics: &GradientStatistics) {
        self.readings += 1;
        if statistics.is_finite() {
            if self.total.max.is_nan() || statistics.total_norm > self.total.max {
                self.max_step = step;
            }
            self.total.add(statistics.total_norm);
        } else {
            self.non_finite_readings += 1;
        }
        for (position, seen) in statistics.parameters.iter().enumerate() {
            let parameter = self.parameter(position, &seen.name);
            if seen.norm.is_finite() {
                parameter.norm.add(seen.norm);
            } else {
                parameter.first_non_finite.get_or_insert(step);
            }
        }
    }

    /// Returns the entry of `name`, which is usually at the same position as in the last reading.
    fn parameter(&mut self, position: usize, name: &Arc<str>) -> &mut ParameterHistory {
        let is_it = |parameter: &ParameterHistory| parameter.name == *name;
        let found = match self.parameters.get(position) {
            Some(parameter) if is_it(parameter) => Some(position),
            _ => self.parameters.iter().position(is_it),
        };
        let index = found.unwrap_or_else(|| {
            let norm = NormRange::EMPTY;
            self.parameters.push(ParameterHistory { name: Arc::clone(name), norm, first_non_finite: None });
            self.parameters.len() - 1
        });
        &mut self.parameters[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::TensorStatistics;

    fn reading(norms: &[(&str, f64)]) -> GradientStatistics {
        let parameter = |&(name, norm): &(&str, f64)| TensorStatistics {
            name: name.into(),
            elements: 1,
            norm,
            max_abs: norm,
            distribution: None,
        };
        let total_norm = norms.iter().map(|(_, norm)| norm * norm).sum::<f64>().sqrt();
        let parameters = norms.iter().map(parameter).collect();
        GradientStatistics { parameters, total_norm, missing: Vec::new(), backward_order: Vec::new() }
    }

    #[test]
    fn ranges_means_and_the_step_of_the_largest_total_are_kept() {
        let mut history = GradientHistory::default();
        history.add(0, &reading(&[("a", 1.0), ("b", 10.0)]));
        history.add(1, &reading(&[("a", 100.0), ("b", 0.1)]));
        history.add(2, &reading(&[("a", 10.0), ("b", 1.0)]));
        let [a, b] = &history.parameters[..] else { panic!() };
        assert_eq!((a.norm.min, a.norm.max, a.norm.last), (1.0, 100.0, 10.0));
        assert!((a.norm.geometric_mean() - 10.0).abs() < 1e-12);
        assert!((b.norm.geometric_mean() - 1.0).abs() < 1e-12);
        assert_eq!((history.max_step, history.readings), (1, 3));
    }

    #[test]
    fn non_finite_norms_leave_the_ranges_alone_and_note_their_first_step() {
        let mut history = GradientHistory::default();
        for (step, norm) in [2.0, f64::NAN, f64::INFINITY, 3.0].into_iter().enumerate() {
            history.add(step as u64, &reading(&[("a", norm)]));
        }
        assert_eq!(history.non_finite_readings, 2);
        assert_eq!((history.total.min, history.total.max), (2.0, 3.0));
        assert_eq!(history.parameters[0].first_non_finite, Some(1));
    }

    #[test]
    fn parameters_that_come_and_go_keep_their_own_entry() {
        let mut history = GradientHistory::default();
        history.add(0, &reading(&[("a", 1.0), ("b", 2.0)]));
        history.add(1, &reading(&[("b", 3.0)]));
        let maxima: Vec<f64> = history.parameters.iter().map(|parameter| parameter.norm.max).collect();
        assert_eq!(maxima, [1.0, 3.0]);
    }
}
