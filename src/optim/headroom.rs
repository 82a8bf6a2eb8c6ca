//! Distance of weights and moments from the f32 overflow limit, without reading them in each step.
//!
//! A finite gradient can still cause an infinite update, from a learning rate or weight decay that is far too large, or
//! from weights that grow in each step. The rule's arithmetic, the rates, and the gradient norm, which the host
//! receives anyway, bound the effect of a step. So the host keeps upper bounds of all weights and moments. Far from the
//! limit, as in all healthy runs, this costs nothing. Near the limit, the device computes the actual maxima, which
//! takes a pass over the tensors but no sync. A step that could overflow runs with a copy of everything and is undone
//! if it did overflow ([`Optimizer::step_or_put_back`]).

use super::{OptimError, Optimizer, Rates};
use crate::libtorch::{LateScalar, OptimizerRule};

/// Upper bound for weights: the difference and the average of two such weights are still finite.
pub(super) const LARGEST_WEIGHT: f64 = 1e38;
/// From this bound on, the actual weights and moments are measured.
const NEAR: f64 = 1e33;
/// Largest gradient norm whose square is still finite in f32.
const LARGEST_GRADIENT: f64 = 1.844_674_3e19;
/// Largest addition that does not round `LARGEST_GRADIENT` to another f32, whose square would be infinite; and a value
/// well below it.
const NO_DIFFERENCE: f64 = 1e11;
const FAR_FROM_A_DIFFERENCE: f64 = 1e9;
/// Allowance for a few f32 rounding errors per step.
const ROUNDING: f64 = 1.0 + 1e-6;

/// Upper bounds of all weights and of all moments except averages of squares.
#[derive(Debug)]
pub struct Headroom {
    rule: OptimizerRule,
    reach: Reach,
    weights: f64,
    moments: f64,
    /// Rates of the current step.
    rates: Option<Rates>,
    /// Largest weight and moment after that step, if requested.
    look: Option<[LateScalar; 2]>,
}

/// Maxima over an optimizer's groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub learning_rate_scale: f64,
    pub weight_decay: f64,
    /// Number of elements of all parameters.
    pub numbers: f64,
}

impl Headroom {
    /// Measures the weights and moments. Device syncs here.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn of(optimizer: &Optimizer) -> Result<Self, OptimError> {
        let (rule, reach) = (*optimizer.rule(), optimizer.reach());
        let mut headroom = Self { rule, reach, weights: 0.0, moments: 0.0, rates: None, look: None };
        headroom.look = Some(optimizer.largest()?);
        headroom.hear()?;
        Ok(headroom)
    }

    /// Starts a step at these rates. Returns whether it cannot overflow f32, whatever its gradient.
    ///
    /// # Errors
    /// If an earlier operation on the device failed.
    pub fn has_room(&mut self, rates: Rates) -> Result<bool, OptimError> {
        self.hear()?;
        self.rates = Some(rates);
        let [weights, moments] = self.after(rates, LARGEST_GRADIENT);
        Ok(weights < LARGEST_WEIGHT && moments < LARGEST_WEIGHT && self.decay_of_squares(self.weights) < NO_DIFFERENCE)
    }

    /// Requests the largest weight and moment after the current step if it may have come near the limit. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn look_if_near(&mut self, optimizer: &Optimizer) -> Result<(), OptimError> {
        let Some(rates) = self.rates else { return Ok(()) };
        let [weights, moments] = self.after(rates, LARGEST_GRADIENT);
        // Uses the bound after this step, which the next step starts from: bounded by eps alone, it grows by orders of
        // magnitude.
        let decay = self.decay_of_squares(self.after(rates, 0.0)[0]);
        let is_far = weights < NEAR && moments < NEAR && decay < FAR_FROM_A_DIFFERENCE;
        if !is_far {
            self.look = Some(optimizer.largest()?);
        }
        Ok(())
    }

    /// Records that the current step was taken, with a gradient of this norm.
    pub fn took(&mut self, gradient_norm: f64) {
        if let Some(rates) = self.rates.take() {
            [self.weights, self.moments] = self.after(rates, gradient_norm);
        }
    }

    fn hear(&mut self) -> Result<(), OptimError> {
        if let Some([weights, moments]) = self.look.take() {
            (self.weights, self.moments) = (weights.receive()?, moments.receive()?);
        }
        Ok(())
    }

    /// Largest amount that weight decay of weights up to `weights` adds to a gradient that the rule squares.
    fn decay_of_squares(&self, weights: f64) -> f64 {
        use OptimizerRule::{Adam, Nadam, Radam, Rmsprop};
        let is_squared = matches!(self.rule, Adam { .. } | Rmsprop { .. } | Nadam { .. } | Radam { .. });
        if is_squared { self.reach.weight_decay * weights } else { 0.0 }
    }

    /// Bounds after a step with a gradient of this norm.
    fn after(&self, rates: Rates, gradient: f64) -> [f64; 2] {
        use OptimizerRule::{Adam, Adamw, Lamb, Lion, Nadam, Radam, Rmsprop, Sgd};
        let Self { weights, moments, reach: Reach { learning_rate_scale, weight_decay, numbers }, .. } = *self;
        let (rate, momentum) = (rates.learning_rate * learning_rate_scale, rates.momentum);
        // An infinite decay would turn a weight of 0 into NaN.
        let decay = weight_decay * weights.max(1.0);
        let decayed = gradient + decay;
        // The first moment divided by the root of the second is at most slightly above 1 (Cauchy-Schwarz inequality),
        // or is bounded by eps alone. The factor 2 covers both parts of NAdam's step. RAdam starts without the root.
        let adaptive = |moment: f64, beta2: f64, eps: f64| {
            let left = (1.0 - beta2) * (1.0 - momentum.powi(2) / beta2);
            let ratio = if left > 0.0 { (1.0 / left.sqrt()) * (1.0 + 1e-15 / eps) } else { f64::INFINITY };
            let has_root = !matches!(self.rule, Radam { .. });
            let over_eps = moment / eps.min(1.0);
            2.0 / (1.0 - momentum) * if has_root { over_eps.min(ratio) } else { over_eps }
        };
        let (moved, moment) = match self.rule {
            Sgd { .. } if momentum == 0.0 => (decayed, moments),
            Sgd { nesterov, .. } => {
                let buffer = momentum * moments + decayed;
                (if nesterov { decayed + momentum * buffer } else { buffer }, buffer)
            }
            Rmsprop { eps, .. } if momentum == 0.0 => (decayed / eps, moments),
            Rmsprop { eps, .. } => {
                let buffer = momentum * moments + decayed / eps;
                (buffer, buffer)
            }
            Adam { beta2, eps } | Nadam { beta2, eps, .. } | Radam { beta2, eps } => {
                let moment = moments.max(decayed);
                (adaptive(moment, beta2, eps), moment)
            }
            Adamw { beta2, eps } => {
                let moment = moments.max(gradient);
                (adaptive(moment, beta2, eps) + decay, moment)
            }
            Lamb { beta2, eps } => {
                let moment = moments.max(gradient);
                // With the trust ratio, a step can be as long as all weights together.
                ((adaptive(moment, beta2, eps) + decay).max(weights * numbers.sqrt()), moment)
            }
            Lion { .. } => (1.0 + decay, moments.max(gradient)),
        };
        [(weights + rate * moved) * ROUNDING, moment * ROUNDING]
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;
    use crate::optim::{ParameterGroup, StepControl};

    const RATES: Rates = Rates { learning_rate: 0.1, momentum: 0.9 };

    fn optimizer(rule: OptimizerRule, weight_decay: f64) -> (Tensor, Optimizer) {
        let param = Tensor::from_slice(&[1.0f32, -2.0]).set_requires_grad(true);
        let group = ParameterGroup::new([("w".to_owned(), param.shallow_clone())], weight_decay);
        (param, Optimizer::with_rule(rule, vec![group]).unwrap())
    }

    fn rules() -> [OptimizerRule; 9] {
        let (beta2, eps) = (0.999, 1e-8);
        [
            OptimizerRule::Sgd { dampening: 0.0, nesterov: false },
            OptimizerRule::Sgd { dampening: 0.0, nesterov: true },
            OptimizerRule::Adam { beta2, eps },
            OptimizerRule::Adamw { beta2, eps },
            OptimizerRule::Rmsprop { alpha: 0.99, eps, centered: true },
            OptimizerRule::Nadam { beta2, eps, momentum_decay: 4e-3 },
            OptimizerRule::Radam { beta2, eps },
            OptimizerRule::Lamb { beta2, eps },
            OptimizerRule::Lion { beta2 },
        ]
    }

    #[test]
    fn no_weight_of_any_rule_is_ever_above_the_bound_and_ordinary_runs_have_room() {
        for rule in rules() {
            let (param, mut optimizer) = optimizer(rule, 0.01);
            let mut headroom = Headroom::of(&optimizer).unwrap();
            assert_eq!((headroom.weights, headroom.moments), (2.0, 0.0));
            for step in 0..50 {
                let gradient = if step % 7 == 0 { [3e3f32, 1e-3] } else { [-0.5, 0.25] };
                (&param * Tensor::from_slice(&gradient)).sum(Kind::Float).backward();
                assert!(headroom.has_room(RATES).unwrap(), "{rule:?} {headroom:?}");
                optimizer.step(RATES, &StepControl::default()).unwrap();
                headroom.look_if_near(&optimizer).unwrap();
                // RAdam and RMSprop are bounded by eps alone, so they are measured earlier.
                let is_far = !matches!(rule, OptimizerRule::Radam { .. } | OptimizerRule::Rmsprop { .. });
                assert!(headroom.look.is_none() || !is_far, "{rule:?} {headroom:?}");
                headroom.took(gradient.map(|x| f64::from(x).powi(2)).iter().sum::<f64>().sqrt());
                let _ = tch::no_grad(|| param.grad().zero_());
                let [weights, moments] = optimizer.largest().unwrap().map(|largest| largest.receive().unwrap());
                assert!(weights <= headroom.weights && moments <= headroom.moments, "{rule:?} {step}: {headroom:?}");
            }
        }
    }

    #[test]
    fn rates_that_can_overflow_have_no_room() {
        let sgd = OptimizerRule::Sgd { dampening: 0.0, nesterov: false };
        let mut headroom = Headroom::of(&optimizer(sgd, 3e37).1).unwrap();
        assert!(!headroom.has_room(Rates { learning_rate: 1e3, momentum: 0.0 }).unwrap());
        assert!(
            !Headroom::of(&optimizer(sgd, 0.0).1).unwrap().has_room(Rates { learning_rate: 1e30, ..RATES }).unwrap()
        );
        // A decay of 1e12, added to the largest gradient and squared.
        let adam = OptimizerRule::Adam { beta2: 0.9, eps: 1e-8 };
        assert!(!Headroom::of(&optimizer(adam, 1e12).1).unwrap().has_room(RATES).unwrap());
    }

    #[test]
    fn a_bound_that_has_grown_is_replaced_by_what_the_weights_are() {
        let sgd = OptimizerRule::Sgd { dampening: 0.0, nesterov: false };
        let optimizer = optimizer(sgd, 0.01).1;
        let mut headroom = Headroom::of(&optimizer).unwrap();
        (headroom.weights, headroom.moments) = (1e35, 1e30);
        assert!(headroom.has_room(RATES).unwrap());
        headroom.look_if_near(&optimizer).unwrap();
        headroom.took(1.0);
        assert!(headroom.weights > 1e34);
        assert!(headroom.has_room(RATES).unwrap());
        assert_eq!((headroom.weights, headroom.moments), (2.0, 0.0));
    }
}
