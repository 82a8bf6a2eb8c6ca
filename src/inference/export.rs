//! Exports a trained model for other programs.

use std::path::Path;

use tch::{Kind, Tensor};

use super::{InferenceError, TrainedModel, trained_model::interface};
use crate::{
    disk,
    libtorch::{ScriptModule, ScriptTensor},
    model::{Pass, weights},
};

/// Batch size of the traced pass. A batch of one image would omit some operations from the trace.
const IMAGES: i64 = 2;

impl TrainedModel {
    /// Saves parameters and buffers as safetensors, with torchvision's names (or timm's, for families that only timm
    /// has).
    ///
    /// # Errors
    /// If the file cannot be written. An existing file stays intact.
    pub fn export_safetensors(&self, path: &Path) -> Result<(), InferenceError> {
        Ok(weights::save(&self.network.parameters, path)?)
    }

    /// Returns the bytes that [`export_safetensors`](Self::export_safetensors) writes.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, InferenceError> {
        Ok(weights::to_bytes(&self.network.parameters, Path::new("the exported model"))?)
    }

    /// Saves the model in evaluation mode as a TorchScript file. The trace accepts batches of any size, with images of
    /// the training shape. The file contains parameters and buffers under their names, and the classes and
    /// preprocessing. `torch.jit.load` and [`open`](Self::open) can read it. A model that was loaded from such a file
    /// keeps its program unchanged.
    ///
    /// # Errors
    /// If libtorch reports an error, or the file cannot be written. An existing file stays intact.
    pub fn export_torchscript(&self, path: &Path) -> Result<(), InferenceError> {
        let bytes = self.to_torchscript()?;
        disk::replace(path, &bytes).map_err(|cause| InferenceError::Write { path: path.to_owned(), cause })
    }

    /// Returns the bytes that [`export_torchscript`](Self::export_torchscript) writes.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn to_torchscript(&self) -> Result<Vec<u8>, InferenceError> {
        let texts = interface(&self.model_classes(), &self.preprocessing);
        Ok(match self.network.model.torchscript() {
            Some(module) => module.save(&texts)?,
            None => self.trace()?.save(&texts)?,
        })
    }

    fn trace(&self) -> Result<ScriptModule, InferenceError> {
        let _no_grad = tch::no_grad_guard();
        let tensors: Vec<ScriptTensor> = self
            .network
            .parameters
            .iter()
            .map(|parameter| ScriptTensor {
                name: parameter.name.to_string(),
                tensor: parameter.tensor.shallow_clone(),
                is_parameter: parameter.is_trainable,
            })
            .collect();
        let [channels, height, width] = self.preprocessing.shape().sizes();
        let images = Tensor::f_zeros([IMAGES, channels, height, width], (Kind::Float, self.device))?;
        let forward = |images: &Tensor| self.network.forward(images, &Pass::evaluation());
        Ok(ScriptModule::trace(&tensors, &images, forward)?)
    }
}
