//! Finds the first non-finite value among all layers and gradients of a step, in the order of computation.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use tch::{TchError, Tensor};

use super::GradientError;
use crate::{
    libtorch::{Hook, host_copy},
    model::Tap,
};

/// A point in the computation of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Images from the loader.
    Images,
    /// Input of this layer's activation in the forward pass.
    PreActivation(Arc<str>),
    /// Output of this layer's activation.
    Output(Arc<str>),
    /// The loss.
    Loss,
    /// dLoss/dz of this layer, in the backward pass.
    LayerGradient(Arc<str>),
    /// Gradient of this parameter.
    ParameterGradient(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Images => f.write_str("the images"),
            Self::PreActivation(layer) => write!(f, "the forward pass at layer {layer}, before its activation"),
            Self::Output(layer) => write!(f, "the forward pass at layer {layer}, in its activation"),
            Self::Loss => f.write_str("the loss"),
            Self::LayerGradient(layer) => write!(f, "the backward pass at layer {layer}"),
            Self::ParameterGradient(name) => write!(f, "the backward pass, in the gradient of {name}"),
        }
    }
}

/// The first non-finite value of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Micro-batch, from 0.
    pub micro_batch: usize,
    /// Point in the computation.
    pub place: Place,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of micro-batch {}", self.place, self.micro_batch)
    }
}

/// Checks the passes of one step for non-finite values. It reads every value, so use it only for steps that are known
/// to be non-finite.
pub struct OriginSearch {
    seen: Arc<Mutex<Seen>>,
    hooks: RefCell<Vec<Hook>>,
}

#[derive(Default)]
struct Seen {
    micro_batch: usize,
    /// Each origin with the sum of its values, which is finite if and only if all values are.
    places: Vec<(Origin, Tensor)>,
    failure: Option<TchError>,
}

impl Seen {
    fn add(&mut self, place: Place, values: &Tensor) {
        match check(values) {
            Ok(sum) => self.places.push((Origin { micro_batch: self.micro_batch, place }, sum)),
            Err(error) => self.failure = Some(error),
        }
    }
}

/// Sum of the values: `[]`, f64. It is finite if and only if every value is, because f64 can represent any sum of
/// smaller floats.
fn check(values: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    values.f_sum(tch::Kind::Double)
}

impl OriginSearch {
    /// Attaches a hook to each of these parameters.
    ///
    /// # Errors
    /// If libtorch cannot attach a hook.
    pub fn new<'a>(parameters: impl IntoIterator<Item = (&'a Arc<str>, &'a Tensor)>) -> Result<Self, GradientError> {
        let search = Self { seen: Arc::default(), hooks: RefCell::default() };
        for (name, param) in parameters {
            search.hook(param, Place::ParameterGradient(Arc::clone(name)))?;
        }
        Ok(search)
    }

    /// Sets the micro-batch that the next values belong to.
    pub fn start_micro_batch(&self, micro_batch: usize) {
        self.lock().micro_batch = micro_batch;
    }

    /// Checks values that no tap covers: the images or the loss.
    pub fn see(&self, place: Place, values: &Tensor) {
        self.lock().add(place, values);
    }

    /// Checks one layer and attaches a hook for its gradient.
    ///
    /// # Errors
    /// If libtorch cannot attach a hook.
    pub fn see_tap(&self, tap: &Tap<'_>) -> Result<(), TchError> {
        let layer: Arc<str> = tap.layer.into();
        self.see(Place::PreActivation(Arc::clone(&layer)), tap.pre_activation);
        self.see(Place::Output(Arc::clone(&layer)), tap.output);
        let hooked = self.hook(tap.pre_activation, Place::LayerGradient(layer));
        hooked.map_err(|error| TchError::Torch(error.to_string()))
    }

    fn hook(&self, tensor: &Tensor, place: Place) -> Result<(), GradientError> {
        let seen = Arc::clone(&self.seen);
        let hook = Hook::before_accumulation(tensor, move |grad| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).add(place.clone(), grad);
            None
        })?;
        self.hooks.borrow_mut().push(hook);
        Ok(())
    }

    /// Returns the first point with a non-finite value, in the order of computation. One device sync.
    ///
    /// # Errors
    /// If libtorch reports an error, or reported one during backward.
    pub fn first(self) -> Result<Option<Origin>, GradientError> {
        self.hooks.borrow_mut().clear();
        let Seen { mut places, failure, .. } = std::mem::take(&mut *self.lock());
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        if places.is_empty() {
            return Ok(None);
        }
        let sums: Vec<&Tensor> = places.iter().map(|(_, sum)| sum).collect();
        let first = host_copy(&Tensor::f_stack(&sums, 0)?)?.iter().position(|sum| !sum.is_finite());
        Ok(first.map(|index| places.swap_remove(index).0))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        // Ignores poisoning: the state is only appended to, so it stays valid.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::config::Activation;

    /// Runs two micro-batches through one layer; `bend` may corrupt a value of the second one.
    fn origin_of(bend: impl Fn(Place, Tensor) -> Tensor) -> Option<Origin> {
        let weight = Tensor::from_slice(&[1.0f32, 2.0]).set_requires_grad(true);
        let name: Arc<str> = "fc1.weight".into();
        let search = OriginSearch::new([(&name, &weight)]).unwrap();
        for micro_batch in 0..2 {
            search.start_micro_batch(micro_batch);
            let bend = |place, values: Tensor| if micro_batch == 1 { bend(place, values) } else { values };
            let images = bend(Place::Images, Tensor::from_slice(&[1.0f32, 1.0]));
            search.see(Place::Images, &images);
            let z = bend(Place::PreActivation("fc1".into()), &weight * images);
            let output = bend(Place::Output("fc1".into()), z.tanh());
            let tap = Tap { layer: "fc1", pre_activation: &z, output: &output, units: 0, activation: Activation::Tanh };
            search.see_tap(&tap).unwrap();
            let loss = bend(Place::Loss, output.sum(Kind::Float));
            search.see(Place::Loss, &loss);
            loss.backward();
        }
        search.first().unwrap()
    }

    #[test]
    fn healthy_passes_have_no_origin() {
        assert_eq!(origin_of(|_, values| values), None);
    }

    #[test]
    fn the_first_bad_place_is_named_with_its_micro_batch() {
        for bad in [Place::Images, Place::PreActivation("fc1".into()), Place::Output("fc1".into()), Place::Loss] {
            let origin = origin_of(|place, values| if place == bad { values * f64::INFINITY } else { values });
            assert_eq!(origin, Some(Origin { micro_batch: 1, place: bad }));
        }
    }

    #[test]
    fn a_gradient_that_turns_bad_in_backward_is_told_from_a_bad_forward_pass() {
        // The square root of 0 is finite, but its derivative is not.
        let origin = origin_of(|place, values| if place == Place::Loss { (values * 0.0).sqrt() } else { values });
        assert_eq!(origin, Some(Origin { micro_batch: 1, place: Place::LayerGradient("fc1".into()) }));
        let text = origin.unwrap().to_string();
        assert_eq!(text, "the backward pass at layer fc1 of micro-batch 1");
    }
}
