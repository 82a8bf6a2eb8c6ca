//! A learned factor at the end of a residual branch.

use tch::{Device, Kind, TchError, Tensor};

use crate::model::{ModelError, parameter::Path};

/// A learned factor of a branch's output, initially 0 (De and Smith 2020). Absent unless `skip_init` is set.
#[derive(Debug)]
pub(crate) struct SkipGain(Option<Tensor>);

impl SkipGain {
    /// Creates `skip_gain` of shape `[1]` if the layer at `path` ends a branch.
    pub(crate) fn new(path: &Path<'_>) -> Result<Self, ModelError> {
        let ends_branch = path.branch().is_some_and(|branch| branch.is_last);
        if !(ends_branch && path.config().initialization.skip_init) {
            return Ok(Self(None));
        }
        Ok(Self(Some(path.parameter("skip_gain", &Tensor::f_zeros([1], (Kind::Float, Device::Cpu))?)?)))
    }

    /// Multiplies the output of the branch by the factor.
    pub(crate) fn forward(&self, sums: Tensor) -> Result<Tensor, TchError> {
        self.0.as_ref().map_or(Ok(sums.shallow_clone()), |gain| sums.f_mul(gain))
    }
}
