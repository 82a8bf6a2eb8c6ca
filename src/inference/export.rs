//! A trained model as a file for other programs.

use std::path::Path;

use tch::{Kind, Tensor};

use super::{InferenceError, TrainedModel, trained_model::interface};
use crate::{
    disk,
    libtorch::{ScriptModule, ScriptTensor},
    model::{Pass, weights},
};

/// Images of the pass that is traced: not one, of which some operations would be left out of the trace.
const IMAGES: i64 = 2;

impl TrainedModel {
    /// Saves parameters and buffers as safetensors, under the names of torchvision (timm for the families that it alone has).
    ///
    /// # Errors
    /// Where the file cannot be written; one that is there stays whole.
    pub fn export_safetensors(&self, path: &Path) -> Result<(), InferenceError> {
        Ok(weights::save(&self.network.parameters, path)?)
    }

    /// The bytes that [`export_safetensors`](Self::export_safetensors) writes.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, InferenceError> {
        Ok(weights::to_file(&self.network.parameters, Path::new("the exported model"))?.into_bytes())
    }

    /// Saves the model in evaluation mode as a TorchScript file: a trace that takes batches of any size, of images of the shape that
    /// it was trained on, with parameters and buffers under their names, and classes and preprocessing beside it. `torch.jit.load`
    /// takes it, and so does [`open`](Self::open). A model that came from such a file stays the program that it was.
    ///
    /// # Errors
    /// Where libtorch refuses, or the file cannot be written; one that is there stays whole.
    pub fn export_torchscript(&self, path: &Path) -> Result<(), InferenceError> {
        let bytes = self.to_torchscript()?;
        disk::replace(path, &bytes).map_err(|cause| InferenceError::Write { path: path.to_owned(), cause })
    }

    /// The bytes that [`export_torchscript`](Self::export_torchscript) writes.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn to_torchscript(&self) -> Result<Vec<u8>, InferenceError> {
        let texts = interface(&self.classes, &self.preprocessing);
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
