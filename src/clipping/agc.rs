//! Adaptive gradient clipping (AGC): limits the gradient norm of each unit to a fraction of its weight norm.
//!
//! Brock, De, Smith, and Simonyan 2021, "High-Performance Large-Scale Image Recognition Without Normalization"
//! (arXiv:2102.06171), section 4.

use tch::{Device, Kind, Tensor};

use super::{ClipOutcome, StepGradients, index_tensor, outcome::where_found, select};
use crate::{
    gradient::{GradientError, Measurement},
    libtorch::{Detail, clip_units, device_copy, scale_units, tensor_table, unit_minima, unit_squares},
};

/// Lower bound of a unit's gradient norm, to avoid division by 0.
const SMALLEST_NORM: f64 = 1e-6;

/// Scales the gradient G of a unit with weights W to the norm clip_factor * max(|W|, eps) if |G| exceeds it.
///
/// A unit is everything that belongs to one output: a row of a linear layer or a filter of a convolution. A tensor with
/// at most one dimension of a size other than 1 is a single unit: a bias, the gain of a norm layer, or a gain of shape
/// (C, 1, 1, 1). timm also counts dimensions of size 1, so it clips such gains element by element;
/// [`compat_timm`](Self::compat_timm) does the same.
#[derive(Debug)]
pub struct Agc {
    /// Maximum |G| / |W|.
    pub clip_factor: f64,
    /// Lower bound of |W|, so that weights of 0 can grow.
    pub eps: f64,
    /// Whether to split tensors into units as timm does.
    pub compat_timm: bool,
    is_clipped: Vec<bool>,
    layout: Option<Layout>,
    /// Squared gradient norms of the units in this step, if [`measure`](Self::measure) computed them.
    unit_squares: Option<Tensor>,
}

/// The clipped gradients of a step and their units. The layout stays the same while the same parameters have gradients.
#[derive(Debug)]
struct Layout {
    /// Positions of all parameters with a gradient.
    positions: Vec<usize>,
    /// Indices of the gradients to clip.
    chosen: Vec<usize>,
    units: Vec<i64>,
    /// `[all units]`, i64: index of the gradient that each unit belongs to.
    owners: Tensor,
}

impl Agc {
    /// Clips the parameters whose entry in `is_clipped`, indexed by position, is true. The paper excludes the last
    /// linear layer.
    pub fn new(clip_factor: f64, eps: f64, compat_timm: bool, is_clipped: Vec<bool>) -> Self {
        Self { clip_factor, eps, compat_timm, is_clipped, layout: None, unit_squares: None }
    }

    pub(super) fn clip(&mut self, gradients: &StepGradients<'_>) -> Result<ClipOutcome, GradientError> {
        let layout = self.layout(gradients.params, gradients.grads, gradients.positions)?;
        let outcome = self.clip_units(gradients, &layout);
        self.layout = Some(layout);
        outcome
    }

    /// Computes the norms of all gradients from the norms of the units, which the next clip reuses.
    pub(super) fn measure(
        &mut self,
        params: &[Tensor],
        grads: &[Tensor],
        positions: &[usize],
    ) -> Result<Measurement, GradientError> {
        let layout = self.layout(params, grads, positions)?;
        let (chosen, rest): (Vec<usize>, Vec<usize>) =
            (0..grads.len()).partition(|index| layout.chosen.binary_search(index).is_ok());
        if chosen.is_empty() {
            self.layout = Some(layout);
            return Measurement::of_total(select(grads, &rest));
        }
        let units = unit_squares(&select(grads, &chosen), &layout.units)?;
        let mut squares = Tensor::f_zeros([grads.len() as i64], (Kind::Double, units.device()))?;
        squares = squares.f_index_add(0, &layout.owners, &units)?;
        if !rest.is_empty() {
            let indices = index_tensor(&rest, units.device())?;
            let table = tensor_table(&select(grads, &rest), Detail::Norms)?;
            squares = squares.f_index_copy(0, &indices, &table.f_select(1, 0)?)?;
        }
        (self.layout, self.unit_squares) = (Some(layout), Some(units));
        Measurement::of_squares(&squares)
    }

    /// Returns the layout of the last step, unless the set of parameters with a gradient changed.
    fn layout(&mut self, params: &[Tensor], grads: &[Tensor], positions: &[usize]) -> Result<Layout, GradientError> {
        if let Some(layout) = self.layout.take().filter(|layout| layout.positions == positions) {
            return Ok(layout);
        }
        let is_clipped =
            |&index: &usize| self.is_clipped.get(positions[index]).copied().unwrap_or(true) && grads[index].numel() > 0;
        let chosen: Vec<usize> = (0..grads.len()).filter(is_clipped).collect();
        let units: Vec<i64> = chosen.iter().map(|&index| self.units(&params[index])).collect();
        let owner = |(&units, &index): (&i64, &usize)| std::iter::repeat_n(index as i64, units as usize);
        let owners: Vec<i64> = units.iter().zip(&chosen).flat_map(owner).collect();
        let device = params.first().map_or(Device::Cpu, Tensor::device);
        let owners = device_copy(&owners, device)?;
        Ok(Layout { positions: positions.to_vec(), chosen, units, owners })
    }

    fn units(&self, param: &Tensor) -> i64 {
        let size = param.size();
        let dimensions = if self.compat_timm { size.len() } else { size.iter().filter(|size| **size != 1).count() };
        if dimensions <= 1 { 1 } else { size[0] }
    }

    fn clip_units(&mut self, gradients: &StepGradients<'_>, layout: &Layout) -> Result<ClipOutcome, GradientError> {
        let Layout { chosen, units, owners, .. } = layout;
        if chosen.is_empty() {
            return ClipOutcome::unclipped(gradients);
        }
        let all_units = units.iter().sum::<i64>() as u64;
        let mut of_each = vec![0; gradients.grads.len()];
        for (&index, &units) in chosen.iter().zip(units) {
            of_each[index] = units;
        }
        let norm = gradients.measurement.total_norm();
        let bounds = [self.clip_factor, self.eps];
        let found_inf = gradients.measurement.found_inf();
        if let Some(clip) = clip_units(gradients.params, gradients.grads, &of_each, bounds, norm, found_inf)? {
            self.unit_squares = None;
            return Ok(ClipOutcome::clipped(gradients, clip, all_units));
        }
        let (params, grads) = (select(gradients.params, chosen), select(gradients.grads, chosen));
        let taken = self.unit_squares.take();
        let squares = taken.map_or_else(|| unit_squares(&grads, units), Ok)?;
        let norms = squares.f_sqrt()?;
        let largest = unit_squares(&params, units)?.f_sqrt()?.f_clamp_min(self.eps)?.f_mul_scalar(self.clip_factor)?;
        let scaled = largest.f_div(&norms.f_clamp_min(SMALLEST_NORM)?)?;
        let factors = scaled.f_where_self(&norms.f_gt_tensor(&largest)?, &norms.f_ones_like()?)?;
        let factors = where_found(gradients.measurement.found_inf(), &factors, 1.0)?;
        scale_units(&grads, units, &factors)?;

        let lost = squares.f_mul(&factors.f_square()?.f_neg()?.f_add_scalar(1.0)?)?.f_sum(Kind::Double)?;
        let clipped = factors.f_lt(1.0)?.f_sum(Kind::Double)?;
        let smallest = unit_minima(&factors, owners, gradients.grads.len())?;
        ClipOutcome::applied(gradients, &lost, smallest, (clipped, all_units))
    }
}
