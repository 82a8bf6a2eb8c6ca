//! Weights as a safetensors file with the names and shapes of torch's `state_dict`.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};
use tch::{Device, Kind, TchError, Tensor};
use thiserror::Error;

use super::{Parameter, Parameters, error::first_line};

/// How many names of a kind an error message lists.
const LISTED: usize = 4;

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
    /// The file is no safetensors file, or is cut short.
    #[error("{}: got {cause}, want a whole safetensors file; fetch or save it again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        cause: SafeTensorError,
    },
    /// The file is of another model.
    #[error(
        "{}: got weights of another model: missing {}; unexpected {}; different {}; check model.* and the classes",
        path.display(), list(missing), list(unexpected), list(different)
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Names that the model has and the file has not.
        missing: Vec<String>,
        /// Names that the file has and the model has not.
        unexpected: Vec<String>,
        /// Names whose shape or type differs, with both.
        different: Vec<String>,
    },
    /// libtorch failed.
    #[error("{}: libtorch refused the weights: got {}", path.display(), first_line(cause))]
    Torch {
        /// The file.
        path: PathBuf,
        /// What libtorch said.
        cause: TchError,
    },
}

fn list(names: &[String]) -> String {
    match names.split_at_checked(LISTED) {
        _ if names.is_empty() => "none".to_owned(),
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

/// Saves parameters and buffers. A crash leaves the old file or the new one, never half of one: the bytes go into a
/// file beside it, reach the disk, and then take its name.
pub fn save(parameters: &Parameters, path: &Path) -> Result<(), WeightsError> {
    let torch = |cause| WeightsError::Torch { path: path.to_owned(), cause };
    let format = |cause| WeightsError::Format { path: path.to_owned(), cause };
    let io = |doing| move |cause| WeightsError::Io { path: path.to_owned(), doing, cause };
    let bytes: Vec<_> =
        parameters.iter().map(|parameter| to_bytes(&parameter.tensor)).collect::<Result<_, _>>().map_err(torch)?;
    let mut views = Vec::with_capacity(bytes.len());
    for (Parameter { name, tensor, .. }, bytes) in parameters.iter().zip(&bytes) {
        let dtype = to_dtype(tensor.kind()).map_err(torch)?;
        views.push((name.as_str(), TensorView::new(dtype, to_shape(tensor), bytes).map_err(format)?));
    }
    let beside = beside(path);
    // Not serialize_to_file: its files are readable by their owner alone, whatever the umask says.
    let content = safetensors::serialize(views, None).map_err(format)?;
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(&content).and_then(|()| file.sync_all()))
        .map_err(io("write"))
        .and_then(|()| fs::rename(&beside, path).map_err(io("rename")));
    if written.is_err() {
        // Its own failure says nothing that the first one does not.
        let _ = fs::remove_file(&beside);
    }
    written.and_then(|()| sync_folder(path).map_err(io("sync the folder of")))
}

/// Loads parameters and buffers in place, all or none: names, shapes and types must be the model's.
pub fn load(parameters: &Parameters, path: &Path) -> Result<(), WeightsError> {
    let io = |cause| WeightsError::Io { path: path.to_owned(), doing: "read", cause };
    let torch = |cause| WeightsError::Torch { path: path.to_owned(), cause };
    let bytes = fs::read(path).map_err(io)?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|cause| WeightsError::Format { path: path.to_owned(), cause })?;
    let views = matching(parameters, &file, path)?;
    let tensors: Vec<_> = parameters
        .iter()
        .zip(&views)
        .map(|(parameter, view)| from_view(view, parameter.tensor.kind()))
        .collect::<Result<_, _>>()
        .map_err(torch)?;
    for (parameter, values) in parameters.iter().zip(&tensors) {
        tch::no_grad(|| parameter.tensor.shallow_clone().f_copy_(values)).map_err(torch)?;
    }
    Ok(())
}

/// The file's view of each parameter, in the order of the parameters.
fn matching<'a>(
    parameters: &Parameters,
    file: &SafeTensors<'a>,
    path: &Path,
) -> Result<Vec<TensorView<'a>>, WeightsError> {
    let (mut views, mut missing, mut different) = (Vec::new(), Vec::new(), Vec::new());
    for Parameter { name, tensor, .. } in parameters {
        let (kind, shape) = (to_dtype(tensor.kind()).ok(), to_shape(tensor));
        match file.tensor(name.as_str()) {
            Ok(view) if Some(view.dtype()) == kind && view.shape() == shape => views.push(view),
            Ok(view) => different.push(format!(
                "{name} (got {:?} {:?}, want {:?} {shape:?})",
                view.dtype(),
                view.shape(),
                tensor.kind()
            )),
            Err(_) => missing.push(name.to_string()),
        }
    }
    let known: HashSet<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let mut unexpected: Vec<String> =
        file.names().into_iter().filter(|name| !known.contains(name)).map(String::from).collect();
    unexpected.sort_unstable();
    if missing.is_empty() && unexpected.is_empty() && different.is_empty() {
        return Ok(views);
    }
    Err(WeightsError::Mismatch { path: path.to_owned(), missing, unexpected, different })
}

fn to_bytes(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    // Device sync here, when the model is not on the CPU.
    let values = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; values.numel() * values.kind().elt_size_in_bytes()];
    values.f_copy_data_u8(&mut bytes, values.numel())?;
    Ok(bytes)
}

fn from_view(view: &TensorView<'_>, kind: Kind) -> Result<Tensor, TchError> {
    let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
    Tensor::f_from_data_size(view.data(), &shape, kind)
}

fn to_dtype(kind: Kind) -> Result<Dtype, TchError> {
    match kind {
        Kind::Float => Ok(Dtype::F32),
        Kind::Half => Ok(Dtype::F16),
        Kind::BFloat16 => Ok(Dtype::BF16),
        Kind::Double => Ok(Dtype::F64),
        Kind::Int64 => Ok(Dtype::I64),
        other => Err(TchError::Kind(format!("weights cannot be {other:?}"))),
    }
}

fn to_shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|side| side as usize).collect()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".partial");
    path.with_file_name(name)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Architecture, ModelConfig, Normalization},
        model::{Network, Pass, fixture},
    };

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
            assert_eq!(to_bytes(&before.tensor).unwrap(), to_bytes(&after.tensor).unwrap(), "{}", before.name);
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
        let before = to_bytes(&network.parameters.get("conv1.weight").unwrap().tensor).unwrap();
        let error = load(&network.parameters, &path).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("missing bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var and "), "{message}");
        assert!(message.contains("unexpected conv1.bias, "), "{message}");
        assert!(
            message.contains("different conv1.weight (got F32 [8, 3, 3, 3], want Float [4, 3, 3, 3]), "),
            "{message}"
        );
        assert!(!message.contains('\n'));
        let WeightsError::Mismatch { missing, unexpected, different, .. } = error else { panic!("{message}") };
        // Nine norms of five tensors and two downsample.0.weight; seven convolution biases; seven weights and the fc's.
        assert_eq!((missing.len(), unexpected.len(), different.len()), (9 * 5 + 2, 7, 8));
        assert_eq!(to_bytes(&network.parameters.get("conv1.weight").unwrap().tensor).unwrap(), before);
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
            assert!(matches!(load(&network.parameters, &path), Err(WeightsError::Format { .. })));
        }
        let nowhere = folder.path().join("none").join("model.safetensors");
        assert!(matches!(save(&network.parameters, &nowhere), Err(WeightsError::Io { doing: "write", .. })));
        let message = load(&network.parameters, &nowhere).unwrap_err().to_string();
        assert!(message.contains("cannot read the weights: got No such file"), "{message}");
    }
}
