//! The mean of the weights of several checkpoints.

use tch::{Kind, Tensor};

use super::{CheckpointError, Loaded};
use crate::disk::{NamedTensors, TensorFileError};

/// The mean of weights and buffers over `sets` of one model, summed in f64; whole numbers, such as counters, are those of the
/// last set. Running statistics of batch normalization are averaged too, which only comes near those of the averaged weights.
///
/// # Errors
/// Where the sets are of different models.
pub fn average(sets: &[Loaded]) -> Result<NamedTensors, CheckpointError> {
    let Some((last, earlier)) = sets.split_last() else { return Ok(Vec::new()) };
    let refuse = |cause: TensorFileError| CheckpointError::Tensors { path: last.path.clone(), file: "model", cause };
    let model = last.model()?;
    let mut sums: Vec<Tensor> = Vec::with_capacity(model.len());
    for (_, tensor) in &model {
        sums.push(tensor.f_to_kind(Kind::Double).map_err(|cause| refuse(cause.into()))?);
    }
    for set in earlier {
        let others: NamedTensors = model.iter().map(|(name, tensor)| (name.clone(), tensor.empty_like())).collect();
        set.model_into(&others)?;
        for (sum, (_, other)) in sums.iter_mut().zip(&others) {
            let _ = sum.f_add_(other).map_err(|cause| refuse(cause.into()))?;
        }
    }
    let mean = |((name, tensor), sum): ((String, Tensor), Tensor)| {
        let kind = tensor.kind();
        if !matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
            return Ok((name, tensor));
        }
        let mean = sum.f_div_scalar(sets.len() as f64).and_then(|mean| mean.f_to_kind(kind));
        Ok((name, mean.map_err(|cause| refuse(cause.into()))?))
    };
    model.into_iter().zip(sums).map(mean).collect()
}
