//! Adaptive gradient clipping: a unit's gradient may be at most a share of its weights.
//!
//! Brock, De, Smith and Simonyan 2021, "High-Performance Large-Scale Image Recognition Without Normalization"
//! (arXiv:2102.06171), section 4.

use tch::{Kind, Tensor};

use super::{ClipOutcome, StepGradients, outcome::where_found};
use crate::{
    gradient::GradientError,
    libtorch::{scale_units, unit_squares},
};

/// Below it, a unit's gradient is taken to be as large, so that nothing is divided by 0.
const SMALLEST_NORM: f64 = 1e-6;

/// Where |G| > clip_factor * max(|W|, eps) for the gradient G and the weights W of a unit, G is scaled to that length.
///
/// A unit is what belongs to one output: a row of a linear layer, a filter of a convolution. A tensor whose shape without
/// sizes of 1 has one dimension or none is one unit: a bias, the gain of a norm, a gain of shape (C, 1, 1, 1). timm looks at
/// the dimensions as they are and so clips such gains element by element; [`compat_timm`](Self::compat_timm) does too.
#[derive(Debug)]
pub struct Agc {
    /// Largest |G| / |W| that passes.
    pub clip_factor: f64,
    /// Smallest |W| that counts, so that weights of 0 can grow.
    pub eps: f64,
    /// Whether units are timm's.
    pub compat_timm: bool,
    is_clipped: Vec<bool>,
    layout: Option<Layout>,
}

/// Which of the step's gradients are clipped, and their units: the same from step to step.
#[derive(Debug)]
struct Layout {
    /// The positions of all gradients that it was made for.
    positions: Vec<usize>,
    /// Indices of those that are clipped.
    chosen: Vec<usize>,
    units: Vec<i64>,
    /// `[all units]`, i64: the index of the gradient that a unit belongs to.
    owners: Tensor,
}

impl Agc {
    /// Clips every parameter for which `is_clipped` is true, by its position; the paper leaves out the last linear layer.
    pub fn new(clip_factor: f64, eps: f64, compat_timm: bool, is_clipped: Vec<bool>) -> Self {
        Self { clip_factor, eps, compat_timm, is_clipped, layout: None }
    }

    pub(super) fn clip(&mut self, gradients: &StepGradients<'_>) -> Result<ClipOutcome, GradientError> {
        let layout = match self.layout.take() {
            Some(layout) if layout.positions == gradients.positions => layout,
            _ => self.lay_out(gradients)?,
        };
        let outcome = self.clip_units(gradients, &layout);
        self.layout = Some(layout);
        outcome
    }

    fn lay_out(&self, gradients: &StepGradients<'_>) -> Result<Layout, GradientError> {
        let is_clipped = |&index: &usize| {
            let position = gradients.positions[index];
            self.is_clipped.get(position).copied().unwrap_or(true) && gradients.grads[index].numel() > 0
        };
        let chosen: Vec<usize> = (0..gradients.grads.len()).filter(is_clipped).collect();
        let units: Vec<i64> = chosen.iter().map(|&index| self.units(&gradients.params[index])).collect();
        let owner = |(&units, &index): (&i64, &usize)| std::iter::repeat_n(index as i64, units as usize);
        let owners: Vec<i64> = units.iter().zip(&chosen).flat_map(owner).collect();
        let owners = Tensor::f_from_slice(&owners)?.f_to_device(gradients.measurement.total_norm().device())?;
        Ok(Layout { positions: gradients.positions.to_vec(), chosen, units, owners })
    }

    fn units(&self, param: &Tensor) -> i64 {
        let size = param.size();
        let dimensions = if self.compat_timm { size.len() } else { size.iter().filter(|size| **size != 1).count() };
        if dimensions <= 1 { 1 } else { size[0] }
    }

    fn clip_units(&self, gradients: &StepGradients<'_>, layout: &Layout) -> Result<ClipOutcome, GradientError> {
        let Layout { chosen, units, owners, .. } = layout;
        if chosen.is_empty() {
            return ClipOutcome::unclipped(gradients);
        }
        let select =
            |tensors: &[Tensor]| chosen.iter().map(|&index| tensors[index].shallow_clone()).collect::<Vec<_>>();
        let (params, grads) = (select(gradients.params), select(gradients.grads));
        let squares = unit_squares(&grads, units)?;
        let norms = squares.f_sqrt()?;
        let largest = unit_squares(&params, units)?.f_sqrt()?.f_clamp_min(self.eps)?.f_mul_scalar(self.clip_factor)?;
        let scaled = largest.f_div(&norms.f_clamp_min(SMALLEST_NORM)?)?;
        let factors = scaled.f_where_self(&norms.f_gt_tensor(&largest)?, &norms.f_ones_like()?)?;
        let factors = where_found(gradients.measurement.found_inf(), &factors, 1.0)?;
        scale_units(&grads, units, &factors)?;

        let lost = squares.f_mul(&factors.f_square()?.f_neg()?.f_add_scalar(1.0)?)?.f_sum(Kind::Double)?;
        let clipped = factors.f_lt(1.0)?.f_sum(Kind::Double)?;
        let ones = Tensor::f_ones([gradients.grads.len() as i64], (Kind::Double, factors.device()))?;
        let smallest = ones.f_index_reduce(0, owners, &factors, "amin", true)?;
        ClipOutcome::applied(gradients, &lost, smallest, (clipped, units.iter().sum::<i64>() as u64))
    }
}
