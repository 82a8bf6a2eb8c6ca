//! What a model takes an image for.

use serde::Serialize;
use tch::Kind;

use super::{InferenceError, TrainedModel};
use crate::{libtorch::host_copy, model::Pass};

/// One guess.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    /// Index of the class.
    pub class: usize,
    /// Softmax of the logits: not how often such guesses are right, which most nets overestimate.
    pub probability: f64,
}

impl TrainedModel {
    /// The `count` best guesses for each image of [`Preprocessing::decode`](crate::data::Preprocessing::decode), the best first;
    /// all where there are fewer classes. Device sync here.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn predict(&self, images: &[Vec<u8>], count: usize) -> Result<Vec<Vec<Prediction>>, InferenceError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let _no_grad = tch::no_grad_guard();
        let count = count.min(self.classes.len());
        let logits = self.network.forward(&self.to_tensor(images)?, &Pass::evaluation())?;
        let shares = logits.f_softmax(-1, Kind::Double)?;
        let (shares, classes) = shares.f_topk(count as i64, -1, true, true)?;
        let (shares, classes) = (host_copy(&shares)?, host_copy(&classes.f_to_kind(Kind::Double)?)?);
        let guesses =
            classes.iter().zip(shares).map(|(&class, probability)| Prediction { class: class as usize, probability });
        let guesses: Vec<Prediction> = guesses.collect();
        Ok(guesses.chunks(count.max(1)).map(<[_]>::to_vec).collect())
    }
}
