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

    /// Saves the model in evaluation mode as a TorchScript file: a trace that takes batches of any size, of images of the shape that
    /// it was trained on, with parameters and buffers under their names, and classes and preprocessing beside it. `torch.jit.load`
    /// takes it, and so does [`open`](Self::open). A model that came from such a file stays the program that it was.
    ///
    /// # Errors
    /// Where libtorch refuses, or the file cannot be written; one that is there stays whole.
    pub fn export_torchscript(&self, path: &Path) -> Result<(), InferenceError> {
        let texts = interface(&self.classes, &self.preprocessing);
        let bytes = match self.network.model.torchscript() {
            Some(module) => module.save(&texts)?,
            None => self.trace()?.save(&texts)?,
        };
        disk::replace(path, &bytes).map_err(|cause| InferenceError::Write { path: path.to_owned(), cause })
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

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{
        config::Architecture,
        data::Preprocessing,
        libtorch::host_copy,
        model::fixture::{self, FAMILIES, thin},
    };

    /// One or two of each family.
    fn members() -> impl Iterator<Item = Architecture> {
        use Architecture as A;
        [A::Mlp, A::Lenet5, A::Cnn, A::Vgg11, A::Resnet8, A::Resnet50].into_iter().chain(FAMILIES)
    }

    #[test]
    fn every_family_is_a_torchscript_file_with_its_names_that_answers_alike_for_any_batch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.pt");
        for name in members() {
            let config = thin(name);
            let network = fixture::network(&config);
            // Moves the running statistics away from where they begin.
            let _ = network.forward(&fixture::images(8), &Pass::training()).unwrap();
            let preprocessing = Preprocessing {
                channels: 3,
                height: 32,
                width: 32,
                mean: vec![0.5; 3],
                std: vec![0.25; 3],
                crop_fraction: 0.875,
            };
            let classes = (0..10).map(|class| format!("class {class}")).collect();
            let model = TrainedModel { network, config, classes, preprocessing, device: Device::Cpu };
            model.export_torchscript(&path).unwrap();
            let read = TrainedModel::open(&path, &super::super::WeightsOf::Best, Device::Cpu).unwrap();
            assert_eq!((&read.classes, &read.preprocessing), (&model.classes, &model.preprocessing), "{name}");
            let names = |model: &TrainedModel| {
                let mut names: Vec<_> =
                    model.network.parameters.iter().map(|one| (one.name.to_string(), one.is_trainable)).collect();
                names.sort();
                names
            };
            assert_eq!(names(&read), names(&model), "{name}");
            for count in [1, 5] {
                let images = fixture::images(count);
                let logits = |model: &TrainedModel| {
                    let logits = model.network.forward(&images, &Pass::evaluation()).unwrap();
                    assert_eq!(logits.size(), [count, 10], "{name}");
                    host_copy(&logits).unwrap()
                };
                assert_eq!(logits(&read), logits(&model), "{name}");
            }
        }
    }
}
