//! Weights of a model: saved as a safetensors file with the names and shapes of torch's `state_dict`, and loaded from such a
//! file or from what others wrote.
//!
//! [`load`] takes back what [`save`] wrote, and nothing else. [`load_into`] takes any file of PyTorch or safetensors for a model
//! that is to start from it, without running anything that is in it.

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
    /// Parameters and buffers by their names: the tensors themselves.
    pub fn named(&self) -> NamedTensors {
        self.iter().map(|parameter| (parameter.name.to_string(), parameter.tensor.shallow_clone())).collect()
    }
}

/// Saves parameters and buffers. A crash leaves the old file or the new one, never half of one. Symbolic links are followed.
pub fn save(parameters: &Parameters, path: &Path) -> Result<(), WeightsError> {
    let file = to_file(parameters, path)?;
    disk::replace(path, file.bytes()).map_err(|cause| WeightsError::Io { path: path.to_owned(), doing: "write", cause })
}

/// The same in an open folder, in which no link is followed.
pub fn save_in(parameters: &Parameters, folder: &Folder, name: &str) -> Result<(), WeightsError> {
    let path = folder.path().join(name);
    let file = to_file(parameters, &path)?;
    folder.replace(name, file.bytes()).map_err(|cause| WeightsError::Io { path, doing: "write", cause })
}

/// The bytes that [`save`] writes; `path` stands for them in errors.
pub fn to_file(parameters: &Parameters, path: &Path) -> Result<TensorFile, WeightsError> {
    let mut file = TensorFile::default();
    file.fill(&parameters.named()).map_err(|cause| WeightsError::Tensors { path: path.to_owned(), cause })?;
    Ok(file)
}

/// Loads parameters and buffers in place, all or none: names, shapes and types must be the model's.
pub fn load(parameters: &Parameters, path: &Path) -> Result<(), WeightsError> {
    let bytes = read(path)?;
    write_into(&parameters.named(), &bytes).map_err(|cause| WeightsError::Tensors { path: path.to_owned(), cause })
}

fn read(path: &Path) -> Result<Vec<u8>, WeightsError> {
    // Weights may be as large as memory is.
    read_regular(path, u64::MAX).map_err(|cause| WeightsError::Io { path: path.to_owned(), doing: "read", cause })
}

/// Loads a file as [`load_state_dict`] does, with the state dict that is most likely meant.
///
/// # Errors
/// As for [`load_state_dict`].
pub fn load_into(network: &Network, path: &Path, is_strict: bool) -> Result<LoadReport, WeightsError> {
    load_state_dict(network, path, None, is_strict)
}

/// Loads a file of safetensors or of torch.save, by its content, into a model. Of several state dicts in it `key` names one
/// (`model_ema`, `ema.module`); without it the one is taken whose names are the model's, an average of weights last.
///
/// What wrappers put before the names goes. Names of torchvision, timm and Hugging Face's transformers are translated where the
/// model has others. Half and double numbers become the model's; the head keeps its random initialization if it has another number of
/// classes; a first filter for images of three channels is summed for images of one, as in timm. If `is_strict`, all parameters of
/// the model must be in the file with their shapes, and the file must have no others in the model's layers; else what does not fit
/// stays as it is. What lies beside the model in the file, behind another prefix or in no layer of the model, is only in the report.
///
/// # Errors
/// If the file cannot be read, or holds no weights, or none of this model. The model is then as it was.
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

/// What copying showed.
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

/// The state dict in the bytes of a file, for a model of these names.
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
