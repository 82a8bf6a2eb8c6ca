//! How far an optimizer step moves each parameter, for any optimizer.

use tch::{Kind, Tensor};

use super::{GradientError, ParameterUpdate, TensorStatistics};
use crate::libtorch::{Detail, foreach_copy, foreach_subtract, host_copy, tensor_table};

/// A copy of the parameters before a step, for any optimizer.
///
/// It needs as much memory as the parameters. The optimizers of [`optim`](crate::optim) need no copy: they measure each
/// update during the step.
///
/// ```
/// use gradwatch::{gradient::UpdateSnapshot, libtorch::host_copy};
/// use tch::Tensor;
///
/// let weight = Tensor::from_slice(&[1.0f32, 2.0]);
/// let snapshot = UpdateSnapshot::take([&weight])?;
/// let _ = weight.shallow_clone().g_sub_scalar_(3.0);
/// assert_eq!(host_copy(&snapshot.squares()?)?, [18.0]);
/// # Ok::<(), gradwatch::gradient::GradientError>(())
/// ```
pub struct UpdateSnapshot {
    params: Vec<Tensor>,
    copies: Vec<Tensor>,
}

impl UpdateSnapshot {
    /// Copies the parameters, which must share one dtype and device. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn take<'a>(params: impl IntoIterator<Item = &'a Tensor>) -> Result<Self, GradientError> {
        let params: Vec<Tensor> = params.into_iter().map(Tensor::f_detach).collect::<Result<_, _>>()?;
        let copies = params.iter().map(Tensor::f_empty_like).collect::<Result<Vec<_>, _>>()?;
        if !params.is_empty() {
            foreach_copy(&copies, &params)?;
        }
        Ok(Self { params, copies })
    }

    /// Squared L2 norm of each parameter's change since the copy: shape `[params]`, f64, on their device. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn squares(self) -> Result<Tensor, GradientError> {
        let Self { params, copies } = self;
        if params.is_empty() {
            return Ok(Tensor::f_zeros([0], (Kind::Double, tch::Device::Cpu))?);
        }
        foreach_subtract(&copies, &params)?;
        Ok(tensor_table(&copies, Detail::Norms)?.f_select(1, 0)?)
    }

    /// Computes how far each parameter moved since the copy. `weights` are the statistics of the current parameters, in
    /// the same order ([`GradientMonitor::weights`](super::GradientMonitor::weights)). One device sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn updates(self, weights: &[TensorStatistics]) -> Result<Vec<ParameterUpdate>, GradientError> {
        let squares = host_copy(&self.squares()?)?;
        Ok(weights.iter().zip(squares).map(|(weight, squares)| ParameterUpdate::new(weight, squares)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::GradientMonitor;

    #[test]
    fn a_loop_of_ones_own_sees_each_parameters_move_from_its_copy() {
        let params = [&[3.0f32, 4.0][..], &[1.0]].map(|values| Tensor::from_slice(values).set_requires_grad(true));
        let monitor = GradientMonitor::attach([("a", &params[0]), ("b", &params[1])]).unwrap();
        let snapshot = UpdateSnapshot::take(monitor.parameters().map(|(_, param)| param)).unwrap();
        tch::no_grad(|| _ = params[0].shallow_clone().g_mul_scalar_(2.0));
        let updates = snapshot.updates(&monitor.weights().unwrap()).unwrap();
        let seen: Vec<_> = updates.iter().map(|update| (&*update.name, update.norm, update.update_ratio)).collect();
        assert_eq!(seen, [("a", 5.0, 0.5), ("b", 0.0, 0.0)]);
    }

    #[test]
    fn no_parameters_are_no_updates() {
        assert_eq!(UpdateSnapshot::take([]).unwrap().squares().unwrap().size(), [0]);
    }
}
