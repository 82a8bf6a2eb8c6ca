//! A forward pass with its loss.

use tch::Tensor;

use super::{EvaluationError, Loss, Numerics, Targets};
use crate::model::{Network, Pass};

/// Computes the logits `[n, classes]` of `images` and the sum of their losses, shape `[]`, both under autocast if
/// `numerics` enables it.
///
/// # Errors
/// If libtorch reports an error.
pub fn forward(
    network: &Network,
    loss: &Loss,
    numerics: Numerics,
    images: &Tensor,
    targets: &Targets,
    pass: &Pass<'_>,
) -> Result<(Tensor, Tensor), EvaluationError> {
    let _autocast = numerics.enter()?;
    let logits = network.forward(images, pass)?;
    let loss_sum = loss.sum(&logits, targets)?;
    Ok((logits, loss_sum))
}
