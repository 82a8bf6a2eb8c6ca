//! Predicts the class of an image.

use serde::Serialize;
use tch::{Kind, Tensor};

use super::{InferenceError, TrainedModel};
use crate::{data::Samples, libtorch::host_copy, model::Pass};

/// One predicted class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    /// Index of the class.
    pub class: usize,
    /// Softmax of the logits, or the sigmoid of the logit for multi-label data. It is not the rate at which such
    /// predictions are correct, which most networks overestimate.
    pub probability: f64,
}

impl TrainedModel {
    /// Predicts the `count` most likely classes of each image from
    /// [`Preprocessing::decode`](crate::data::Preprocessing::decode), the most likely one first. Returns all classes if
    /// there are fewer than `count`. The classes of an image of multi-label data are those with a probability of
    /// [`PREDICTED`](super::PREDICTED) or more. Device sync here.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn predict(&self, images: &[Samples<'_>], count: usize) -> Result<Vec<Vec<Prediction>>, InferenceError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let _no_grad = tch::no_grad_guard();
        let count = count.min(self.classes.len());
        let logits = self.network.forward(&self.to_tensor(images)?, &Pass::evaluation())?;
        let shares = self.probabilities.of(&logits)?;
        // Stable: of equal shares, the lower index comes first, as in an evaluation. topk leaves their order open.
        let (shares, classes) = shares.f_sort_stable(true, -1, true)?;
        let most_likely = |sorted: &Tensor| host_copy(&sorted.f_narrow(-1, 0, count as i64)?.f_to_kind(Kind::Double)?);
        let (shares, classes) = (most_likely(&shares)?, most_likely(&classes)?);
        let guesses =
            classes.iter().zip(shares).map(|(&class, probability)| Prediction { class: class as usize, probability });
        let guesses: Vec<Prediction> = guesses.collect();
        Ok(guesses.chunks(count.max(1)).map(<[_]>::to_vec).collect())
    }
}
