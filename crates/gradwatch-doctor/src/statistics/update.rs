//! Effect of an optimizer step on one parameter.

use std::sync::Arc;

use serde::Serialize;

use super::TensorStatistics;

/// Effect of a step on one parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParameterUpdate {
    /// Name of the parameter.
    pub name: Arc<str>,
    /// L2 norm of new - old.
    pub norm: f64,
    /// `norm` divided by the L2 norm of the parameter after the step: about 1e-3 in healthy training. NaN for a
    /// parameter that is 0 before and after the step.
    pub update_ratio: f64,
}

impl ParameterUpdate {
    /// Computes the update from its squared norm and the parameter after the step.
    pub fn new(weight: &TensorStatistics, update_squares: f64) -> Self {
        let norm = update_squares.sqrt();
        Self { name: Arc::clone(&weight.name), norm, update_ratio: norm / weight.norm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_move_over_the_parameter_after_it() {
        let weight = TensorStatistics { name: "w".into(), elements: 2, norm: 5.0, max_abs: 4.0, distribution: None };
        let update = ParameterUpdate::new(&weight, 0.25);
        assert_eq!((update.norm, update.update_ratio), (0.5, 0.1));
    }
}
