//! Adaptive gradient clipping: a unit's gradient may be at most a share of its weights.
//!
//! Brock, De, Smith and Simonyan 2021, "High-Performance Large-Scale Image Recognition Without Normalization"
//! (arXiv:2102.06171), section 4.

use tch::{Device, Kind, Tensor};

use super::{ClipOutcome, StepGradients, index_tensor, outcome::where_found, select};
use crate::{
    gradient::{GradientError, Measurement},
    libtorch::{Detail, clip_units, device_copy, scale_units, tensor_table, unit_minima, unit_squares},
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
    /// Of this step, where [`measure`](Self::measure) took them.
    unit_squares: Option<Tensor>,
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
        Self { clip_factor, eps, compat_timm, is_clipped, layout: None, unit_squares: None }
    }

    pub(super) fn clip(&mut self, gradients: &StepGradients<'_>) -> Result<ClipOutcome, GradientError> {
        let layout = self.layout(gradients.params, gradients.grads, gradients.positions)?;
        let outcome = self.clip_units(gradients, &layout);
        self.layout = Some(layout);
        outcome
    }

    /// The norms of all gradients, from those of the units: the clip that follows does not take these again.
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

    /// That of the last step, unless other parameters have a gradient.
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
