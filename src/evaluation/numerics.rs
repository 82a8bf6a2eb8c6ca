//! Dtypes, memory formats, and math settings of a run's forward and backward passes.

use tch::{Device, Kind, Tensor};

use super::{EvaluationError, Targets, targets::mixed};
use crate::{
    config::{Precision, RunConfig},
    data::{Batch, Images},
    libtorch::{Autocast, HostSlice, normalize_pixels, set_cuda_backend, upload},
    model::Network,
};

/// Settings shared by all passes of a run.
#[derive(Debug, Clone, Copy)]
pub struct Numerics {
    device: Device,
    autocast: Option<Kind>,
    channels_last: bool,
}

impl Numerics {
    /// Configures the backend for the whole process.
    pub fn new(config: &RunConfig, device: Device) -> Self {
        // On the CPU every algorithm is deterministic for a fixed number of threads.
        let deterministic = config.deterministic && matches!(device, Device::Cuda(_));
        set_cuda_backend(config.tf32, config.cudnn_benchmark, deterministic);
        let autocast = match config.precision {
            Precision::Fp32 => None,
            Precision::Bf16 => Some(Kind::BFloat16),
            Precision::Fp16 => Some(Kind::Half),
        };
        Self { device, autocast, channels_last: config.channels_last }
    }

    /// float32 in the default memory format.
    pub fn plain(device: Device) -> Self {
        Self { device, autocast: None, channels_last: false }
    }

    /// Device of the tensors.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Enables autocast, if configured, for a forward pass and its loss. Dropping the guard disables it.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn enter(&self) -> Result<Option<Autocast>, EvaluationError> {
        Ok(self.autocast.map(|kind| Autocast::enter(self.device, kind)).transpose()?)
    }

    /// Copies a batch to the device, where its images are mixed if it has a mixture: images `[n, channels, height,
    /// width]` of normalized f32 in the run's memory format, and their targets. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn to_device(&self, batch: &Batch) -> Result<(Tensor, Targets), EvaluationError> {
        let (images, labels) = self.upload(batch)?;
        let targets = Targets::of_batch(batch, labels, self.device)?;
        Ok(match &batch.mixture {
            Some(mixture) => (mixed(&images, &mixture.parts, self.device)?, targets),
            None => (images, targets),
        })
    }

    /// Images and labels without mixtures: labels `[n]` of i64, or `[n, classes]` of f32 in multi-label data.
    fn upload(&self, batch: &Batch) -> Result<(Tensor, Tensor), EvaluationError> {
        if batch.multi_hot.is_empty() {
            return self.upload_with(batch, HostSlice::Int64(&batch.labels));
        }
        let (images, multi_hot) = self.upload_with(batch, HostSlice::Float(&batch.multi_hot))?;
        Ok((images, multi_hot.f_reshape([batch.len() as i64, -1])?))
    }

    fn upload_with(&self, batch: &Batch, labels: HostSlice<'_>) -> Result<(Tensor, Tensor), EvaluationError> {
        let shape = batch.shape.map(|size| size as i64);
        let bytes = match &batch.images {
            Images::Bytes(bytes) => bytes,
            Images::Normalized(values) => {
                let [images, labels] = upload([HostSlice::Float(values), labels], self.device)?;
                return Ok((self.lay_out(images.f_reshape(shape)?)?, labels));
            }
        };
        let slices = [HostSlice::Uint8(&bytes.pixels), HostSlice::Int(bytes.cutouts.as_flattened()), labels];
        let [pixels, boxes, labels] = upload(slices, self.device)?;
        let boxes = if bytes.cutouts.is_empty() { None } else { Some(boxes.f_reshape([-1, 4])?) };
        match normalize_pixels(&pixels.f_reshape(shape)?, &bytes.tables, boxes.as_ref(), self.channels_last)? {
            Some(images) => Ok((images, labels)),
            // Without kernels, the host normalizes.
            None => {
                let [images] = upload([HostSlice::Float(&batch.images.normalized(batch.shape))], self.device)?;
                Ok((self.lay_out(images.f_reshape(shape)?)?, labels))
            }
        }
    }

    fn lay_out(&self, images: Tensor) -> Result<Tensor, EvaluationError> {
        if self.channels_last { channels_last(&images) } else { Ok(images) }
    }

    /// Converts convolution weights to the run's memory format; values and shapes stay the same.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn lay_out_weights(&self, network: &Network) -> Result<(), EvaluationError> {
        let _no_grad = tch::no_grad_guard();
        for parameter in network.parameters.trainable().filter(|_| self.channels_last) {
            if parameter.tensor.dim() == 4 {
                let laid_out = channels_last(&parameter.tensor.detach())?;
                parameter.tensor.shallow_clone().f_set_data(&laid_out)?;
            }
        }
        Ok(())
    }
}

/// Converts a tensor to channels_last memory format: the channels of a pixel are adjacent.
fn channels_last(tensor: &Tensor) -> Result<Tensor, EvaluationError> {
    Ok(tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}
