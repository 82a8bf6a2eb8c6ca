//! Averages the weights of several checkpoints.

use std::path::Path;

use tch::{Kind, TchError, Tensor};

use super::{CheckpointError, Loaded, contents::MODEL_FILE};
use crate::disk::{NamedTensors, TensorFileError};

/// Averages the weights and buffers of the checkpoints at `paths`, which must be of the same model. Reads them one
/// after the other and sums in f64. Integers, such as counters, come from the last checkpoint. Running statistics of
/// batch normalization are averaged too, which only approximates those of the averaged weights.
///
/// # Errors
/// If a checkpoint is damaged or of another model.
pub fn average(paths: &[&Path]) -> Result<NamedTensors, CheckpointError> {
    let Some((last, earlier)) = paths.split_last() else { return Ok(Vec::new()) };
    let refuse = |cause: TchError| {
        let (path, cause) = (last.to_path_buf(), TensorFileError::from(cause));
        CheckpointError::Tensors { path, file: MODEL_FILE, cause }
    };
    let model = Loaded::read(last)?.model()?;
    let sums = model.iter().map(|(_, tensor)| tensor.f_to_dtype(Kind::Double, false, true));
    let mut sums: Vec<Tensor> = sums.collect::<Result<_, _>>().map_err(refuse)?;
    let other: NamedTensors = model.iter().map(|(name, tensor)| (name.clone(), tensor.empty_like())).collect();
    for path in earlier {
        Loaded::read(path)?.model_into(&other)?;
        for (sum, (_, other)) in sums.iter_mut().zip(&other) {
            let _ = sum.f_add_(other).map_err(refuse)?;
        }
    }
    let mean = |((name, tensor), sum): ((String, Tensor), Tensor)| {
        let kind = tensor.kind();
        if !matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
            return Ok((name, tensor));
        }
        let mean = sum.f_div_scalar(paths.len() as f64).and_then(|mean| mean.f_to_kind(kind));
        Ok((name, mean.map_err(refuse)?))
    };
    model.into_iter().zip(sums).map(mean).collect()
}
