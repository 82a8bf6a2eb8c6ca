//! Weights as a safetensors file with the names and shapes of torch's `state_dict`.

use std::{fs, io, path::Path, path::PathBuf};

use thiserror::Error;

use super::Parameters;
use crate::disk::{self, NamedTensors, TensorFile, TensorFileError, write_into};

/// Why weights could not be saved or loaded. The model is as it was; so is the file, unless it was [`WeightsError::Io`]
/// while its folder was synced.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file system refused.
    #[error("{}: cannot {doing} the weights: got {cause}; check the path and the free space", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done to it.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is no safetensors file, is cut short, or is of another model.
    #[error("{}: these are no weights of this model: {cause}; check model.* and the classes, or save it again", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: TensorFileError,
    },
}

impl Parameters {
    /// Parameters and buffers by their names: the tensors themselves.
    pub fn named(&self) -> NamedTensors {
        self.iter().map(|parameter| (parameter.name.to_string(), parameter.tensor.shallow_clone())).collect()
    }
}

/// Saves parameters and buffers. A crash leaves the old file or the new one, never half of one.
pub fn save(parameters: &Parameters, path: &Path) -> Result<(), WeightsError> {
    let mut file = TensorFile::default();
    file.fill(&parameters.named()).map_err(|cause| WeightsError::Tensors { path: path.to_owned(), cause })?;
    disk::replace(path, file.bytes()).map_err(|cause| WeightsError::Io { path: path.to_owned(), doing: "write", cause })
}

/// Loads parameters and buffers in place, all or none: names, shapes and types must be the model's.
pub fn load(parameters: &Parameters, path: &Path) -> Result<(), WeightsError> {
    let bytes = fs::read(path).map_err(|cause| WeightsError::Io { path: path.to_owned(), doing: "read", cause })?;
    write_into(&parameters.named(), &bytes).map_err(|cause| WeightsError::Tensors { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;
    use crate::{
        config::{Architecture, ModelConfig, Normalization},
        model::{Network, Pass, fixture},
    };

    fn to_bytes(tensor: &Tensor) -> Vec<u8> {
        let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.detach().copy_data_u8(&mut bytes, tensor.numel());
        bytes
    }

    fn resnet(width: usize) -> Network {
        fixture::network(&ModelConfig {
            width: Some(width),
            normalization: Normalization::Batch,
            residual: true,
            ..fixture::config(Architecture::Resnet8)
        })
    }

    #[test]
    fn weights_and_buffers_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (saved, loaded) = (resnet(4), resnet(4));
        // Moves the running statistics and makes num_batches_tracked 1.
        let _ = saved.forward(&fixture::images(2), &Pass::training()).unwrap();
        save(&saved.parameters, &path).unwrap();
        load(&loaded.parameters, &path).unwrap();
        assert!(saved.parameters.len() > 40);
        for (before, after) in saved.parameters.iter().zip(&loaded.parameters) {
            assert_eq!(before.tensor.kind(), after.tensor.kind());
            assert_eq!(to_bytes(&before.tensor), to_bytes(&after.tensor), "{}", before.name);
            assert_eq!(after.tensor.requires_grad(), after.is_trainable);
        }
        let tracked = &loaded.parameters.get("bn1.num_batches_tracked").unwrap().tensor;
        assert_eq!((tracked.kind(), tracked.int64_value(&[])), (Kind::Int64, 1));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the partial file is gone");
    }

    #[test]
    fn one_error_names_all_that_is_missing_unexpected_or_different_and_nothing_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let plain = fixture::network(&ModelConfig { width: Some(8), ..fixture::config(Architecture::Resnet8) });
        save(&plain.parameters, &path).unwrap();
        let network = resnet(4);
        let before = to_bytes(&network.parameters.get("conv1.weight").unwrap().tensor);
        let error = load(&network.parameters, &path).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("missing bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var and "), "{message}");
        assert!(message.contains("unexpected conv1.bias, "), "{message}");
        assert!(
            message.contains("different conv1.weight (got Float [8, 3, 3, 3], want Float [4, 3, 3, 3]), "),
            "{message}"
        );
        assert!(!message.contains('\n'));
        let WeightsError::Tensors { cause: TensorFileError::Mismatch { missing, unexpected, different }, .. } = error
        else {
            panic!("{message}")
        };
        // Nine norms of five tensors and two downsample.0.weight; seven convolution biases; seven weights and the fc's.
        assert_eq!((missing.len(), unexpected.len(), different.len()), (9 * 5 + 2, 7, 8));
        assert_eq!(to_bytes(&network.parameters.get("conv1.weight").unwrap().tensor), before);
    }

    #[test]
    fn a_file_cut_short_and_a_path_without_a_folder_are_errors_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let network = resnet(4);
        save(&network.parameters, &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for length in [0, 7, 100, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(matches!(
                load(&network.parameters, &path),
                Err(WeightsError::Tensors { cause: TensorFileError::Format(_), .. })
            ));
        }
        let nowhere = folder.path().join("none").join("model.safetensors");
        assert!(matches!(save(&network.parameters, &nowhere), Err(WeightsError::Io { doing: "write", .. })));
        let message = load(&network.parameters, &nowhere).unwrap_err().to_string();
        assert!(message.contains("cannot read the weights: got No such file"), "{message}");
    }
}
