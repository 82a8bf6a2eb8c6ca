//! Batch normalization with the running statistics of one layer.

use tch::{Device, Kind, TchError, Tensor};

use super::{BatchStatistics, ModelError, Pass, StatisticsFn, SyncBatchNorm, parameter::Path};

/// Buffers of batch normalization.
#[derive(Debug)]
pub(super) struct Running {
    pub mean: Tensor,
    pub var: Tensor,
    pub num_batches_tracked: Tensor,
    /// Whether training passes also use the running statistics, without updating them.
    is_kept: bool,
}

/// Numbers of a batch normalization.
#[derive(Debug, Clone, Copy)]
pub(super) struct Constants {
    /// Added to the variance.
    pub eps: f64,
    /// Weight of a batch's statistics in the running ones.
    pub momentum: f64,
}

impl Running {
    pub(super) fn new(path: &Path<'_>, channels: i64) -> Result<Self, ModelError> {
        const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
        let mean = path.buffer("running_mean", &Tensor::f_zeros([channels], FLOAT)?)?;
        let var = path.buffer("running_var", &Tensor::f_ones([channels], FLOAT)?)?;
        let num_batches_tracked =
            path.buffer("num_batches_tracked", &Tensor::f_zeros([0_i64; 0], (Kind::Int64, Device::Cpu))?)?;
        let is_kept = path.config().keeps_statistics(path.name()?.as_str());
        Ok(Self { mean, var, num_batches_tracked, is_kept })
    }

    /// Batch normalization: with the statistics of the batch in training, which also update the running ones; with the
    /// running statistics in evaluation, unless the pass asks for those of the batch.
    pub(super) fn normalize(
        &self,
        images: &Tensor,
        [weight, bias]: [Option<&Tensor>; 2],
        constants: Constants,
        pass: &Pass<'_>,
    ) -> Result<Tensor, TchError> {
        let Constants { eps, momentum } = constants;
        // A single value per mean has no variance.
        if pass.by_batch && !self.is_kept && images.numel() > self.mean.numel() {
            return images.f_batch_norm(weight, bias, None::<&Tensor>, None, true, momentum, eps, true);
        }
        let goes_by_batch = pass.train && !self.is_kept;
        if goes_by_batch {
            if let (Some(see), Some(sync)) = (pass.see_statistics, pass.sync) {
                return self.synchronized(images, [weight, bias], constants, see, sync);
            }
            refuse_single_values(images, self.mean.numel(), "a larger batch")?;
            if let Some(see) = pass.see_statistics {
                return self.with_statistics(images, [weight, bias], constants, see);
            }
            let _ = self.num_batches_tracked.shallow_clone().f_add_scalar_(1)?;
        }
        let (mean, var) = (Some(&self.mean), Some(&self.var));
        images.f_batch_norm(weight, bias, mean, var, goes_by_batch, momentum, eps, true)
    }

    /// Like a training pass of [`normalize`](Self::normalize), but hands over the statistics and keeps the running ones.
    fn with_statistics(
        &self,
        images: &Tensor,
        [weight, bias]: [Option<&Tensor>; 2],
        constants: Constants,
        see: &StatisticsFn<'_>,
    ) -> Result<Tensor, TchError> {
        // With momentum 1, the kernel stores the statistics of the batch, exactly as it would use them.
        let (mean, var) = (self.mean.f_zeros_like()?, self.var.f_zeros_like()?);
        let output = images.f_batch_norm(weight, bias, Some(&mean), Some(&var), true, 1.0, constants.eps, true)?;
        self.hand_over(images, [mean, var], constants, see)?;
        Ok(output)
    }

    /// Like [`with_statistics`](Self::with_statistics), with the statistics of all ranks.
    fn synchronized(
        &self,
        images: &Tensor,
        affine: [Option<&Tensor>; 2],
        constants: Constants,
        see: &StatisticsFn<'_>,
        sync: &SyncBatchNorm,
    ) -> Result<Tensor, TchError> {
        let shared = sync.statistics(images)?;
        let output = sync.normalize(images, affine, &shared, constants.eps)?;
        self.hand_over(images, [shared.mean, shared.unbiased_var], constants, see)?;
        Ok(output)
    }

    fn hand_over(
        &self,
        images: &Tensor,
        [mean, var]: [Tensor; 2],
        Constants { momentum, .. }: Constants,
        see: &StatisticsFn<'_>,
    ) -> Result<(), TchError> {
        let (running_mean, running_var, num_batches_tracked) = (&self.mean, &self.var, &self.num_batches_tracked);
        let is_wide = images.kind() == Kind::Float;
        see(BatchStatistics { running_mean, running_var, num_batches_tracked, mean, var, momentum, is_wide })
    }
}

/// Fails if each mean would be that of a single number.
pub(super) fn refuse_single_values(images: &Tensor, means: usize, remedy: &str) -> Result<(), TchError> {
    if images.numel() > means {
        return Ok(());
    }
    let shape = images.size();
    Err(TchError::Shape(format!(
        "normalization: got {shape:?}, a single value per mean, want several; use {remedy} or larger images"
    )))
}
