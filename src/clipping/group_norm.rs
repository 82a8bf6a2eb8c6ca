//! Clipping by norm, separately for each parameter group.

use tch::{Kind, Tensor};

use super::{ClipOutcome, StepGradients, index_tensor, norm::EPS, outcome::where_found, scale_tensors};
use crate::{gradient::GradientError, libtorch::device_copy};

/// Clips the L2 norm of each group to its entry in `max_norms`, in place.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    /// Maximum norm of each group.
    pub max_norms: Vec<f64>,
    /// Group of each parameter, indexed by position.
    pub groups: Vec<usize>,
}

impl GroupNorm {
    pub(super) fn clip(&self, gradients: &StepGradients<'_>) -> Result<ClipOutcome, GradientError> {
        if gradients.grads.is_empty() {
            return ClipOutcome::unclipped(gradients);
        }
        let squares = gradients.measurement.squares()?;
        let group = |&position: &usize| self.groups.get(position).copied().unwrap_or(0);
        let owners: Vec<usize> = gradients.positions.iter().map(group).collect();
        let owners = index_tensor(&owners, squares.device())?;
        let totals = Tensor::f_zeros([self.max_norms.len() as i64], (Kind::Double, squares.device()))?
            .f_index_add(0, &owners, &squares)?;
        let largest = device_copy(&self.max_norms, squares.device())?;
        let factors =
            largest.f_div(&totals.f_sqrt()?.f_add_scalar(EPS)?)?.f_clamp_max(1.0)?.f_index_select(0, &owners)?;
        let factors = where_found(gradients.measurement.found_inf(), &factors, 1.0)?;
        scale_tensors(gradients, &squares.f_sqrt()?, factors)
    }
}
