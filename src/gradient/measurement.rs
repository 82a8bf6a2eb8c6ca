//! The norms of one step's gradients, still on the device.

use tch::{Device, Kind, Tensor};

use super::{GradientError, GradientStatistics, ParameterGradient};
use crate::libtorch::{foreach_norm, host_copy};

/// Norms of a list of gradients. Making one costs a handful of batched ops and no device sync; [`Measurement::read`] is
/// the sync.
pub struct Measurement {
    grads: Vec<Tensor>,
    /// `[grads.len()]`, or `None` where there are no gradients.
    norms: Option<Tensor>,
    /// `[grads.len()]`: the largest absolute value of each.
    max_abs: Option<Tensor>,
    /// `[]`, f32.
    total_norm: Tensor,
}

impl Measurement {
    /// L2 norm of each gradient and of all together; with `with_max_abs` also each one's largest absolute value.
    ///
    /// # Errors
    /// Where the gradients are sparse, or do not share one device and one floating dtype.
    pub fn of(grads: Vec<Tensor>, with_max_abs: bool) -> Result<Self, GradientError> {
        if grads.is_empty() {
            let total_norm = Tensor::f_zeros([] as [i64; 0], (Kind::Float, Device::Cpu))?;
            return Ok(Self { grads, norms: None, max_abs: None, total_norm });
        }
        let norms = foreach_norm(&grads, 2.0)?;
        let max_abs = if with_max_abs { Some(foreach_norm(&grads, f64::INFINITY)?) } else { None };
        // The norm of the norms is the norm of all gradients as one vector.
        let total_norm = norms.f_norm()?.f_to_kind(Kind::Float)?;
        Ok(Self { grads, norms: Some(norms), max_abs, total_norm })
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

    /// Copies the total norm and `extras` (one-element tensors of the same device) to the host: one device sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn read_total(&self, extras: &[&Tensor]) -> Result<(f64, Vec<f64>), GradientError> {
        let mut values = to_host(&[], &self.total_norm, extras)?;
        let total_norm = values.remove(0);
        Ok((total_norm, values))
    }

    /// Copies everything to the host, with `extras` (one-element tensors of the same device) in the same copy: one
    /// device sync. Where a norm is not finite, a second copy fetches the counts of non-finite elements.
    ///
    /// `names` has one name per gradient.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn read<N: Clone + Into<String>>(
        &self,
        names: &[N],
        extras: &[&Tensor],
    ) -> Result<(GradientStatistics, Vec<f64>), GradientError> {
        let count = self.grads.len();
        let vectors: Vec<&Tensor> = self.norms.iter().chain(&self.max_abs).collect();
        let mut values = to_host(&vectors, &self.total_norm, extras)?;
        let extras = values.split_off(vectors.len() * count + 1);
        let total_norm = values.pop().unwrap_or(0.0);
        let (norms, max_abs) = values.split_at(count);
        let mut parameters: Vec<ParameterGradient> = names
            .iter()
            .zip(norms)
            .zip(max_abs)
            .map(|((name, &norm), &max_abs)| ParameterGradient {
                name: name.clone().into(),
                norm,
                max_abs,
                non_finite_count: 0,
            })
            .collect();
        self.count_non_finite(&mut parameters)?;
        Ok((GradientStatistics { parameters, total_norm, missing: Vec::new() }, extras))
    }

    /// A finite norm proves that every element is finite, so only the others are looked at again.
    fn count_non_finite(&self, parameters: &mut [ParameterGradient]) -> Result<(), GradientError> {
        let suspects: Vec<usize> = (0..parameters.len()).filter(|&index| !parameters[index].norm.is_finite()).collect();
        if suspects.is_empty() {
            return Ok(());
        }
        let counts = suspects
            .iter()
            .map(|&index| self.grads[index].f_isfinite()?.f_logical_not()?.f_sum(Kind::Int64))
            .collect::<Result<Vec<Tensor>, _>>()?;
        let counts = Tensor::f_stack(&counts, 0)?;
        // Device sync here, on the rare step that has a non-finite norm.
        for (index, count) in suspects.into_iter().zip(host_copy(&counts)?) {
            parameters[index].non_finite_count = count as u64;
        }
        Ok(())
    }
}

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
