//! The norms of one step's gradients, still on the device.

use tch::{Device, Kind, Tensor};

use super::{GradientError, GradientStatistics, ParameterGradient};
use crate::libtorch::{foreach_norm, host_copy};

/// Norms of a list of gradients. Making one costs a handful of batched ops and no device sync; [`Measurement::read`] is
/// the sync.
pub struct Measurement {
    /// One per gradient.
    names: Vec<String>,
    grads: Vec<Tensor>,
    /// `[grads.len()]`, or `None` where there are no gradients.
    norms: Option<Tensor>,
    /// `[grads.len()]`: the largest absolute value of each.
    max_abs: Option<Tensor>,
    /// `[]`, f32.
    total_norm: Tensor,
}

impl Measurement {
    /// L2 norm and largest absolute value of each named gradient, and the norm of all together.
    ///
    /// # Errors
    /// Where the gradients are sparse, or do not share one device and one floating dtype.
    pub fn of<N: Into<String>>(grads: impl IntoIterator<Item = (N, Tensor)>) -> Result<Self, GradientError> {
        let (names, grads) = grads.into_iter().map(|(name, grad)| (name.into(), grad)).unzip();
        Self::new(names, grads, true)
    }

    /// Only the norm of all gradients together: what training itself needs.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn of_total(grads: Vec<Tensor>) -> Result<Self, GradientError> {
        Self::new(Vec::new(), grads, false)
    }

    fn new(names: Vec<String>, grads: Vec<Tensor>, with_max_abs: bool) -> Result<Self, GradientError> {
        if grads.is_empty() {
            let total_norm = Tensor::f_zeros([] as [i64; 0], (Kind::Float, Device::Cpu))?;
            return Ok(Self { names, grads, norms: None, max_abs: None, total_norm });
        }
        let norms = foreach_norm(&grads, 2.0)?;
        let max_abs = if with_max_abs { Some(foreach_norm(&grads, f64::INFINITY)?) } else { None };
        // The norm of the norms is the norm of all gradients as one vector.
        let total_norm = norms.f_norm()?.f_to_kind(Kind::Float)?;
        Ok(Self { names, grads, norms: Some(norms), max_abs, total_norm })
    }

    /// L2 norm of all gradients as one vector: shape `[]`, f32, on their device.
    pub fn total_norm(&self) -> &Tensor {
        &self.total_norm
    }

    /// 1 where the total norm is NaN or infinite, else 0: shape `[]`, f32, on the gradients' device. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn found_inf(&self) -> Result<Tensor, GradientError> {
        Ok(self.total_norm.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Float)?)
    }

    /// Copies everything to the host, with `extras` (one-element tensors of the same device) in the same copy: one
    /// device sync. Gradients that f32 cannot square are looked at again, which costs a second one; see
    /// [`ParameterGradient::norm`]. Of a measurement by [`of_total`](Self::of_total), no parameters come out.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn read(&self, extras: &[&Tensor]) -> Result<(GradientStatistics, Vec<f64>), GradientError> {
        let count = self.grads.len();
        let vectors: Vec<&Tensor> = self.norms.iter().chain(&self.max_abs).collect();
        let mut values = to_host(&vectors, &self.total_norm, extras)?;
        let extras = values.split_off(vectors.len() * count + 1);
        let total_norm = values.pop().unwrap_or(0.0);
        let (norms, max_abs) = values.split_at(count);
        let figures = self.names.iter().zip(norms.iter().zip(max_abs));
        let mut parameters: Vec<ParameterGradient> = figures
            .map(|(name, (&norm, &max_abs))| ParameterGradient {
                name: name.clone(),
                norm,
                max_abs,
                non_finite_count: 0,
            })
            .collect();
        let total_norm = if self.look_again(&mut parameters)? && total_norm.is_finite() {
            parameters.iter().map(|parameter| parameter.norm.powi(2)).sum::<f64>().sqrt()
        } else {
            total_norm
        };
        Ok((GradientStatistics { parameters, total_norm, missing: Vec::new() }, extras))
    }

    /// Counts the non-finite elements of gradients with a non-finite norm, and takes norms whose squares leave the range
    /// of f32 in f64. Whether any was looked at.
    fn look_again(&self, parameters: &mut [ParameterGradient]) -> Result<bool, GradientError> {
        let is_suspect = |parameter: &ParameterGradient| {
            !parameter.norm.is_finite() || (parameter.max_abs > 0.0 && parameter.max_abs < SMALLEST_SQUARED)
        };
        let suspects: Vec<usize> = (0..parameters.len()).filter(|&index| is_suspect(&parameters[index])).collect();
        if suspects.is_empty() {
            return Ok(false);
        }
        let mut figures = Vec::with_capacity(2 * suspects.len());
        for &index in &suspects {
            let grad = self.grads[index].f_to_kind(Kind::Double)?;
            figures.push(grad.f_isfinite()?.f_logical_not()?.f_sum(Kind::Double)?);
            figures.push(grad.f_norm()?);
        }
        // Device sync here, on the rare step that needs it.
        let figures = host_copy(&Tensor::f_stack(&figures, 0)?)?;
        for (index, figures) in suspects.into_iter().zip(figures.chunks_exact(2)) {
            parameters[index].non_finite_count = figures[0] as u64;
            parameters[index].norm = figures[1];
        }
        Ok(true)
    }
}

/// Below it a square loses bits in f32, whose smallest normal number is 1.2e-38.
const SMALLEST_SQUARED: f64 = 1e-16;

/// Copies vectors, then `total_norm`, then `extras`, to the host as one block. Device sync here.
fn to_host(vectors: &[&Tensor], total_norm: &Tensor, extras: &[&Tensor]) -> Result<Vec<f64>, GradientError> {
    let device = total_norm.device();
    let scalars = std::iter::once(total_norm).chain(extras.iter().copied());
    let scalars = scalars.map(|scalar| scalar.f_to_device(device)?.f_to_kind(Kind::Float)?.f_reshape([1]));
    let mut block = Vec::with_capacity(vectors.len() + 1 + extras.len());
    for vector in vectors {
        block.push(vector.f_to_kind(Kind::Float)?);
    }
    for scalar in scalars {
        block.push(scalar?);
    }
    Ok(host_copy(&Tensor::f_cat(&block, 0)?)?)
}
