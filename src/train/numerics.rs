//! In which numbers, and in which order in memory, the passes of a run compute.

use tch::{Device, Kind, Tensor};

use super::TrainError;
use crate::{
    config::{Precision, RunConfig},
    libtorch::{Autocast, set_cuda_backend},
    model::Network,
};

/// What the passes of a run have in common.
#[derive(Debug, Clone, Copy)]
pub struct Numerics {
    device: Device,
    autocast: Option<Kind>,
    channels_last: bool,
}

impl Numerics {
    /// Sets the backend up for the whole process.
    pub fn new(config: &RunConfig, device: Device) -> Self {
        // On the CPU every algorithm is deterministic for one number of threads.
        let deterministic = config.deterministic && matches!(device, Device::Cuda(_));
        set_cuda_backend(config.tf32, config.cudnn_benchmark, deterministic);
        let autocast = match config.precision {
            Precision::Fp32 => None,
            Precision::Bf16 => Some(Kind::BFloat16),
            Precision::Fp16 => Some(Kind::Half),
        };
        Self { device, autocast, channels_last: config.channels_last }
    }

    /// float32, as images come.
    pub fn plain(device: Device) -> Self {
        Self { device, autocast: None, channels_last: false }
    }

    /// Where tensors live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The numbers of a forward pass and its loss, while what is returned lives.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn enter(&self) -> Result<Option<Autocast>, TrainError> {
        Ok(self.autocast.map(|kind| Autocast::enter(self.device, kind)).transpose()?)
    }

    /// Images `[n, channels, height, width]` as they are to lie in memory.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn lay_out(&self, images: Tensor) -> Result<Tensor, TrainError> {
        if self.channels_last && images.dim() == 4 { channels_last(&images) } else { Ok(images) }
    }

    /// Lays the weights of convolutions out likewise; their values and shapes stay.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn lay_out_weights(&self, network: &Network) -> Result<(), TrainError> {
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

/// The same tensor with the channels of a pixel next to each other.
fn channels_last(tensor: &Tensor) -> Result<Tensor, TrainError> {
    Ok(tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}
