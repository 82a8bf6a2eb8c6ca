//! Exponential moving average (EMA) of the weights, which often validates better than the weights themselves.

use tch::{Kind, Tensor};

use super::OptimError;
use crate::libtorch::{foreach_copy, foreach_lerp};

/// average <- decay * average + (1 - decay) * weights, for f32 parameters and buffers. All other buffers are copied.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    has_warmup: bool,
    names: Vec<String>,
    live: Vec<Tensor>,
    average: Vec<Tensor>,
}

impl Ema {
    /// Starts from the current weights. With warm-up, the decay of step t (from 0) is 1 - (1 + t)^(-2/3), as in timm,
    /// until it reaches `decay`.
    ///
    /// # Errors
    /// If libtorch runs out of memory.
    pub fn new(
        named: impl IntoIterator<Item = (String, Tensor)>,
        decay: f64,
        has_warmup: bool,
    ) -> Result<Self, OptimError> {
        let (names, live): (Vec<_>, Vec<Tensor>) = named.into_iter().map(|(name, live)| (name, live.detach())).unzip();
        let copy = |tensor: &Tensor| {
            let mut copy = tensor.f_empty_like()?;
            copy.f_copy_(tensor)?;
            Ok::<_, OptimError>(copy)
        };
        let average = live.iter().map(copy).collect::<Result<_, _>>()?;
        Ok(Self { decay, has_warmup, names, live, average })
    }

    /// Adds the weights after step `step` (from 0, without skipped steps), unless `found_inf` (`[]`, f32) is 1. No
    /// sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn update(&mut self, step: u64, found_inf: &Tensor) -> Result<(), OptimError> {
        let _no_grad = tch::no_grad_guard();
        let (mut average, mut live) = (Vec::new(), Vec::new());
        for (into, from) in self.average.iter_mut().zip(&self.live) {
            if from.kind() == Kind::Float {
                average.push(into.shallow_clone());
                live.push(from.shallow_clone());
            } else {
                into.f_copy_(from)?;
            }
        }
        if live.is_empty() {
            return Ok(());
        }
        let weight = found_inf.f_neg()?.f_add_scalar(1.0)?.f_mul_scalar(1.0 - self.decay_at(step))?;
        Ok(foreach_lerp(&average, &live, &weight)?)
    }

    /// Resets the average to the current weights.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn restart(&self) -> Result<(), OptimError> {
        let _no_grad = tch::no_grad_guard();
        copy_all(&self.average, &self.live)
    }

    fn decay_at(&self, step: u64) -> f64 {
        let warm = 1.0 - (1.0 + step as f64).powf(-2.0 / 3.0);
        if self.has_warmup { self.decay.min(warm) } else { self.decay }
    }

    /// Runs `work` with the average in place of the weights, then restores the weights bit for bit.
    ///
    /// # Errors
    /// If libtorch has no memory for a copy of the weights.
    pub fn instead<T>(&self, work: impl FnOnce() -> T) -> Result<T, OptimError> {
        let _no_grad = tch::no_grad_guard();
        let copies = self.live.iter().map(Tensor::f_empty_like).collect::<Result<Vec<_>, _>>()?;
        copy_all(&copies, &self.live)?;
        copy_all(&self.live, &self.average)?;
        let outcome = work();
        copy_all(&self.live, &copies)?;
        Ok(outcome)
    }

    /// The averages by name, as the tensors themselves: copy into them to restore them.
    pub fn state(&self) -> Vec<(&str, Tensor)> {
        self.names.iter().zip(&self.average).map(|(name, tensor)| (name.as_str(), tensor.shallow_clone())).collect()
    }
}

/// Copies tensors of mixed dtypes; a list op accepts only one dtype.
fn copy_all(into: &[Tensor], from: &[Tensor]) -> Result<(), OptimError> {
    let is_float = |tensor: &Tensor| tensor.kind() == Kind::Float;
    let select = |tensors: &[Tensor]| -> Vec<Tensor> {
        tensors.iter().filter(|tensor| is_float(tensor)).map(Tensor::shallow_clone).collect()
    };
    if from.iter().any(is_float) {
        foreach_copy(&select(into), &select(from))?;
    }
    for (into, from) in into.iter().zip(from).filter(|(_, from)| !is_float(from)) {
        into.shallow_clone().f_copy_(from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn the_average_follows_as_derived_by_hand_and_a_skipped_step_leaves_it() {
        let weight = Tensor::from_slice(&[0.0f32]).set_requires_grad(true);
        let count = Tensor::from(1i64);
        let named = [("w".to_owned(), weight.shallow_clone()), ("n".to_owned(), count.shallow_clone())];
        let mut ema = Ema::new(named, 0.75, false).unwrap();
        let set = |value: f64| tch::no_grad(|| _ = weight.shallow_clone().fill_(value));
        let (fine, bad) = (Tensor::from(0.0f32), Tensor::from(1.0f32));
        set(4.0);
        ema.update(0, &fine).unwrap();
        assert_eq!(values(&ema.state()[0].1), [1.0]);
        set(100.0);
        ema.update(1, &bad).unwrap();
        assert_eq!(values(&ema.state()[0].1), [1.0]);
        set(5.0);
        ema.update(1, &fine).unwrap();
        assert_eq!(values(&ema.state()[0].1), [2.0]);
        let seen = ema.instead(|| (values(&weight.detach()), count.int64_value(&[]))).unwrap();
        assert_eq!(seen, (vec![2.0], 1));
        assert_eq!(values(&weight.detach()), [5.0]);
    }

    #[test]
    fn a_warm_up_begins_with_the_weights_and_ends_at_the_decay() {
        let ema = Ema::new([], 0.9998, true).unwrap();
        assert_eq!(ema.decay_at(0), 0.0);
        // 1 - 8^(-2/3)
        assert!((ema.decay_at(7) - 0.75).abs() < 1e-12);
        assert_eq!(ema.decay_at(10_000_000), 0.9998);
    }
}
