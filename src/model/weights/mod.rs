//! Weights of a model: saved as a safetensors file with the names and shapes of torch's `state_dict`, and loaded from
//! such a file or from files of other programs.
//!
//! [`load`] only reads files written by [`save`]. [`load_into`] reads any PyTorch or safetensors file as the starting
//! point of a model, without executing anything in it.

mod archive;
mod bytes;
mod checkpoint;
#[cfg(test)]
mod checkpoints;
mod choice;
mod contents;
mod error;
mod fit;
mod foreign_names;
mod format;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
mod names;
#[cfg(test)]
mod peers;
mod pickle;
mod refusal;
mod report;
mod safetensors_file;
mod source;
mod state_dict;
mod stored;
mod torch_file;

use std::{collections::HashSet, path::Path};

use tch::{Kind, TchError};

use self::{contents::Chosen, fit::Fit, names::Unwrapped, refusal::Refusal};
use super::{Network, Parameters};
use crate::disk::{self, Folder, NamedTensors, TensorFile, read_regular, write_into};
pub use error::{Remedy, WeightsError};
pub use foreign_names::Library;
pub use format::Format;
pub use report::{HeadLeft, LoadReport};

impl Parameters {
    /// All parameters and buffers with their names. The tensors are shared, not copied.
    pub fn named(&self) -> NamedTensors {
        self.iter().map(|parameter| (parameter.name.to_string(), parameter.tensor.shallow_clone())).collect()
    }
}

/// Saves parameters and buffers atomically: after a crash, the file is either the old or the new one. Symbolic links
/// are followed.
pub fn save(parameters: &Parameters, path: &Path) -> Result<(), WeightsError> {
    let bytes = to_bytes(parameters, path)?;
    disk::replace(path, &bytes).map_err(|cause| WeightsError::Io { path: path.to_owned(), doing: "write", cause })
}

/// Like [`save`], in an open folder in which links are not followed.
pub fn save_in(parameters: &Parameters, folder: &Folder, name: &str) -> Result<(), WeightsError> {
    let path = folder.path().join(name);
    let bytes = to_bytes(parameters, &path)?;
    folder.replace(name, &bytes).map_err(|cause| WeightsError::Io { path, doing: "write", cause })
}

/// Returns the bytes that [`save`] writes; errors contain `path`.
pub fn to_bytes(parameters: &Parameters, path: &Path) -> Result<Vec<u8>, WeightsError> {
    let mut file = TensorFile::default();
    let bytes = file.fill(&parameters.named()).and_then(|()| file.into_bytes());
    bytes.map_err(|cause| WeightsError::Tensors { path: path.to_owned(), cause })
}

/// Loads parameters and buffers in place, all of them or none. Names, shapes, and types must match the model's.
pub fn load(parameters: &Parameters, path: &Path) -> Result<(), WeightsError> {
    let bytes = read(path)?;
    write_into(&parameters.named(), &bytes).map_err(|cause| WeightsError::Tensors { path: path.to_owned(), cause })
}

fn read(path: &Path) -> Result<Vec<u8>, WeightsError> {
    // Weights can be as large as the memory.
    read_regular(path, u64::MAX).map_err(|cause| WeightsError::Io { path: path.to_owned(), doing: "read", cause })
}

/// Loads a file like [`load_state_dict`], with the most likely state dict.
///
/// # Errors
/// As for [`load_state_dict`].
pub fn load_into(network: &Network, path: &Path, is_strict: bool) -> Result<LoadReport, WeightsError> {
    load_state_dict(network, path, None, is_strict)
}

/// Loads a safetensors or torch.save file into a model; the content of the file determines its format. If the file
/// contains several state dicts, `key` selects one (`model_ema`, `ema.module`). Without a key, the one whose names
/// match the model is used; averages of weights come last.
///
/// Prefixes of wrappers are removed from the names. Names of torchvision, timm, and Hugging Face's transformers are
/// translated if the model uses other names. Half- and double-precision values are converted to the model's type. If
/// the head has another number of classes, it keeps its random initialization. If the images have one channel, a first
/// filter for three channels is summed, as in timm.
///
/// If `is_strict`, the file must contain all parameters of the model with matching shapes, and no others in the model's
/// layers. Otherwise, parameters that do not match stay unchanged. Other tensors in the file, under another prefix or
/// outside of the model's layers, are only reported.
///
/// # Errors
/// If the file cannot be read, or does not contain weights for this model. The model is unchanged.
pub fn load_state_dict(
    network: &Network,
    path: &Path,
    key: Option<&str>,
    is_strict: bool,
) -> Result<LoadReport, WeightsError> {
    let bytes = read(path)?;
    let own: HashSet<&str> = network.parameters.iter().map(|own| own.name.as_str()).collect();
    let (format, Chosen { dict, key, others: other_keys }) = find(&bytes, path, key, &own)?;
    let known = |tensors: &[_]| foreign_names::translate(tensors, &network.parameters).known;
    let Unwrapped { prefix, dict, outside } =
        names::unwrap(dict, &own, known).map_err(|refusal| refused(path, refusal))?;
    let translated = foreign_names::translate(&dict.tensors, &network.parameters);
    let fit = Fit::new(network, &translated.tensors, &dict.unread);
    if let Some(cause) = fit.mismatch().filter(|_| is_strict || fit.copies.is_empty()) {
        let remedy = Remedy { is_in_part: is_strict && !fit.copies.is_empty(), other_keys };
        let (path, names, cause) = (path.to_owned(), translated.from, Box::new(cause));
        return Err(WeightsError::Mismatch { path, names, cause, remedy: Box::new(remedy) });
    }
    let Made { converted, summed, non_finite } = make(&fit)?;
    Ok(LoadReport {
        path: path.to_owned(),
        digest: blake3::hash(&bytes).to_hex().to_string(),
        format,
        key,
        other_keys,
        prefix,
        outside,
        names: translated.from,
        rescaled: translated.rescaled,
        loaded: [fit.copies.len(), network.parameters.len()],
        converted,
        summed,
        head: fit.head,
        uncounted: fit.uncounted,
        missing: fit.missing,
        unexpected: fit.unexpected,
        different: fit.different,
        non_finite,
    })
}

/// Findings while copying.
#[derive(Default)]
struct Made {
    converted: Vec<Kind>,
    summed: Option<String>,
    non_finite: Vec<String>,
}

fn make(fit: &Fit<'_>) -> Result<Made, TchError> {
    let mut made = Made::default();
    for copy in &fit.copies {
        let (name, kind) = (&copy.into.name, copy.from.kind);
        if !copy.make()? {
            made.non_finite.push(name.to_string());
        }
        if copy.is_summed {
            made.summed = Some(name.to_string());
        }
        if kind != copy.into.tensor.kind() && copy.into.tensor.is_floating_point() && !made.converted.contains(&kind) {
            made.converted.push(kind);
        }
    }
    Ok(made)
}

/// Finds the state dict in the bytes of a file, for a model with these names.
fn find<'a>(
    bytes: &'a [u8],
    path: &Path,
    key: Option<&str>,
    own: &HashSet<&str>,
) -> Result<(Format, Chosen<'a>), WeightsError> {
    let format = Format::of(bytes).map_err(|refusal| refused(path, refusal))?;
    let contents = format.read(bytes).map_err(|refusal| refused(path, refusal))?;
    let chosen = match key {
        None => contents.choose(own).map(Ok),
        Some(key) => {
            let no_key = |keys| WeightsError::NoKey { path: path.to_owned(), got: key.to_owned(), keys };
            contents.at(key).map(|chosen| chosen.map_err(no_key))
        }
    };
    Ok((format, chosen.map_err(|refusal| refused(path, refusal))??))
}

fn refused(path: &Path, Refusal { got, want }: Refusal) -> WeightsError {
    WeightsError::File { path: path.to_owned(), got, want }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tch::Tensor;

    use super::*;
    use crate::{
        config::{Architecture, ModelConfig, Normalization},
        disk::TensorFileError,
        model::{Network, Pass, fixture},
    };

    fn to_bytes(tensor: &Tensor) -> Vec<u8> {
        let mut bytes = vec![0; crate::libtorch::tensor_bytes(tensor)];
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
        // Updates the running statistics and sets num_batches_tracked to 1.
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
        // Nine norms with five tensors each and two downsample.0.weight; seven convolution biases; seven weights and
        // the fc's.
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
        assert!(message.contains("cannot read the weights: No such file"), "{message}");
    }
}
