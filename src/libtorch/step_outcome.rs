//! Bookkeeping at the end of a step: whether the step was applied, and how many steps in a row were skipped.

use tch::{Device, Kind, Tensor};

use super::{LibtorchError, ffi};

/// Counters of skipped steps, on the device.
#[derive(Debug)]
pub struct SkipCounters {
    /// All skipped steps: shape `[]`, f32.
    pub all: Tensor,
    /// Most recent consecutive skipped steps: shape `[]`, f32.
    pub in_a_row: Tensor,
}

/// The result of one step. All tensors are of shape `[]` on one device.
#[derive(Debug, Clone, Copy)]
pub struct StepOutcome<'a> {
    /// 1 if the gradient was not finite, else 0: f32.
    pub found_inf: &'a Tensor,
    /// 1 if the weights are unchanged after the step, else 0: f32. It differs from `found_inf` if a finite gradient
    /// produced a non-finite update, or if a non-finite gradient was replaced with finite values.
    pub not_taken: &'a Tensor,
    /// Increment of [`SkipCounters::in_a_row`] if `found_inf` is 1, f32; `None` means 1.
    pub failure: Option<&'a Tensor>,
    /// L2 norm of the gradient: shape `[]`, f64.
    pub norm: &'a Tensor,
}

impl SkipCounters {
    /// Creates counters at 0.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn new(device: Device) -> Result<Self, LibtorchError> {
        let zero = || Tensor::f_zeros([] as [i64; 0], (Kind::Float, device));
        Ok(Self { all: zero()?, in_a_row: zero()? })
    }

    /// Counts a step, in one launch if GPU kernels are loaded. Returns the norm; infinity for a skipped step; or the
    /// negative norm for a step applied with finite values in place of a non-finite gradient. Shape `[]`, f64. No sync.
    ///
    /// # Errors
    /// If a tensor does not have the shape, dtype, and device that [`StepOutcome`] specifies.
    pub fn count(&mut self, step: &StepOutcome<'_>) -> Result<Tensor, LibtorchError> {
        let fits =
            |tensor: &Tensor, kind| tensor.dim() == 0 && tensor.kind() == kind && tensor.device() == self.all.device();
        let flags = [Some(step.found_inf), Some(step.not_taken), step.failure];
        if !flags.into_iter().flatten().all(|flag| fits(flag, Kind::Float)) || !fits(step.norm, Kind::Double) {
            return Err(LibtorchError::Argument {
                operation: "step_outcome",
                got: format!("{step:?}"),
                want: "scalars of f32, and a norm of f64",
            });
        }
        match ffi::step_outcome(step, &self.all, &self.in_a_row)? {
            Some(norm) => Ok(norm),
            None => self.count_with_aten(step),
        }
    }

    fn count_with_aten(&mut self, step: &StepOutcome<'_>) -> Result<Tensor, LibtorchError> {
        let one_more = self.in_a_row.f_add_scalar(1.0)?;
        let after_failure = match step.failure {
            Some(failure) => self.in_a_row.f_add(failure)?,
            None => one_more.shallow_clone(),
        };
        let [is_bad, is_not_taken] = [step.found_inf.f_to_kind(Kind::Bool)?, step.not_taken.f_to_kind(Kind::Bool)?];
        let in_a_row = after_failure.f_where_self(&is_bad, &one_more.f_mul(step.not_taken)?)?;
        self.in_a_row.f_copy_(&in_a_row)?;
        let _ = self.all.f_add_(&step.found_inf.f_maximum(step.not_taken)?)?;
        let signed = step.norm.f_neg()?.f_where_self(&is_bad, step.norm)?;
        Ok(signed.f_masked_fill(&is_not_taken, f64::INFINITY)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_by_what_kept_them_from_being_taken() {
        let mut counters = SkipCounters::new(Device::Cpu).unwrap();
        let mut count = |found_inf: f32, not_taken: f32, failure: Option<f32>| {
            let [found_inf, not_taken] = [found_inf, not_taken].map(Tensor::from);
            let (failure, norm) = (failure.map(Tensor::from), Tensor::from(2.5f64));
            let step =
                StepOutcome { found_inf: &found_inf, not_taken: &not_taken, failure: failure.as_ref(), norm: &norm };
            let heard = counters.count(&step).unwrap().double_value(&[]);
            [counters.all.double_value(&[]), counters.in_a_row.double_value(&[]), heard]
        };
        let skipped = f64::INFINITY;
        assert_eq!(count(0.0, 0.0, None), [0.0, 0.0, 2.5]);
        assert_eq!(count(1.0, 1.0, None), [1.0, 1.0, skipped]);
        // A reverted update.
        assert_eq!(count(0.0, 1.0, None), [2.0, 2.0, skipped]);
        // float16 searches for its loss scale: skipped, but not a failure.
        assert_eq!(count(1.0, 1.0, Some(0.0)), [3.0, 2.0, skipped]);
        assert_eq!(count(1.0, 1.0, Some(1.0)), [4.0, 3.0, skipped]);
        // Made finite and applied.
        assert_eq!(count(1.0, 0.0, None), [5.0, 4.0, -2.5]);
        assert_eq!(count(0.0, 0.0, Some(1.0)), [5.0, 0.0, 2.5]);
    }

    #[test]
    fn numbers_of_another_dtype_or_shape_are_an_error() {
        let (zero, norm) = (Tensor::from(0.0f32), Tensor::from(1.0f64));
        let mut counters = SkipCounters::new(Device::Cpu).unwrap();
        for step in [
            StepOutcome { found_inf: &norm, not_taken: &zero, failure: None, norm: &norm },
            StepOutcome { found_inf: &zero, not_taken: &zero, failure: None, norm: &zero },
            StepOutcome { found_inf: &zero, not_taken: &zero.reshape([1]), failure: None, norm: &norm },
        ] {
            assert!(counters.count(&step).is_err());
        }
    }
}
