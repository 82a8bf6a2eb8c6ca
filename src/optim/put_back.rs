//! Undoes a step that overflowed f32.

use tch::{Kind, Tensor};

use super::{OptimError, Optimizer, Rates, StepControl, UpdateOutcome, headroom::LARGEST_WEIGHT};
use crate::libtorch::{Detail, column, host_copy, tensor_table};

/// Whether a step was undone, and why; still on the device.
#[derive(Debug)]
pub struct Rejection {
    /// 1 if the step was undone because it left a parameter or moment non-finite, or a weight above 1e38; else 0: shape
    /// `[]`, f32.
    pub is_put_back: Tensor,
    /// Index of the first such tensor in `names`: shape `[]`, i64.
    first: Tensor,
    names: Vec<String>,
}

impl Rejection {
    /// Name of the parameter or moment that caused the undo; `None` if the step was kept. Device sync here.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn parameter(&self) -> Result<Option<String>, OptimError> {
        let values = [&self.is_put_back, &self.first].map(|scalar| scalar.f_to_kind(Kind::Double));
        let [is_put_back, first] = values;
        let values = host_copy(&Tensor::f_stack(&[is_put_back?, first?], 0)?)?;
        Ok((values[0] != 0.0).then(|| self.names.get(values[1] as usize).cloned()).flatten())
    }
}

impl Optimizer {
    /// Runs a [`step`](Self::step) that may overflow. If it does, restores parameters, moments, and step counts from a
    /// copy. No sync.
    ///
    /// # Errors
    /// As for [`step`](Self::step), or if there is no memory for the copies.
    pub fn step_or_put_back(
        &mut self,
        rates: Rates,
        control: &StepControl<'_>,
    ) -> Result<(UpdateOutcome, Rejection), OptimError> {
        let _no_grad = tch::no_grad_guard();
        self.begin_momentum(rates)?;
        let (state, params) = (self.state(), self.params());
        let names = params.iter().chain(&state).map(|(name, _)| name.clone()).collect();
        let live: Vec<Tensor> = params.iter().chain(&state).map(|(_, tensor)| tensor.detach()).collect();
        let copy = |tensor: &Tensor| {
            // The copy keeps the tensor's memory layout.
            let mut copy = tensor.f_empty_like()?;
            copy.f_copy_(tensor)?;
            Ok::<_, OptimError>(copy)
        };
        let copies = live.iter().map(copy).collect::<Result<Vec<_>, _>>()?;
        let mut outcome = self.step(rates, control)?;
        let largest = tensor_table(&live, Detail::Norms)?.f_select(1, column::LARGEST as i64)?;
        let is_weight =
            Tensor::f_arange(live.len() as i64, (Kind::Int64, largest.device()))?.f_lt(params.len() as i64)?;
        // Comparisons with NaN are false.
        let is_small = largest.f_le(LARGEST_WEIGHT)?.f_logical_or(&is_weight.f_logical_not()?)?;
        let is_bad = largest.f_isfinite()?.f_logical_and(&is_small)?.f_logical_not()?;
        let put_back = is_bad.f_any()?;
        for (live, copy) in live.iter().zip(&copies) {
            live.shallow_clone().f_copy_(&copy.f_where_self(&put_back, live)?)?;
        }
        for squares in &mut outcome.squares {
            *squares = squares.f_masked_fill(&put_back, 0.0)?;
        }
        let first = is_bad.f_to_kind(Kind::Int)?.f_argmax(None, false)?;
        Ok((outcome, Rejection { is_put_back: put_back.f_to_kind(Kind::Float)?, first, names }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{libtorch::OptimizerRule, optim::ParameterGroup};

    fn rules() -> [OptimizerRule; 8] {
        let (beta2, eps) = (0.9, 1e-8);
        [
            OptimizerRule::Sgd { dampening: 0.0, nesterov: true },
            OptimizerRule::Adam { beta2, eps },
            OptimizerRule::Adamw { beta2, eps },
            OptimizerRule::Rmsprop { alpha: beta2, eps, centered: true },
            OptimizerRule::Nadam { beta2, eps, momentum_decay: 4e-3 },
            OptimizerRule::Radam { beta2, eps },
            OptimizerRule::Lamb { beta2, eps },
            OptimizerRule::Lion { beta2 },
        ]
    }

    /// Two parameters and their optimizer; only the second parameter has weight decay.
    fn two(rule: OptimizerRule, weight_decay: f64) -> (Vec<Tensor>, Optimizer) {
        let make = |values: [f32; 2]| Tensor::from_slice(&values).set_requires_grad(true);
        let params = vec![make([0.5, -1.0]), make([3.0, 0.0])];
        let group =
            |name: &str, param: &Tensor, decay| ParameterGroup::new([(name.to_owned(), param.shallow_clone())], decay);
        let groups = vec![group("first", &params[0], 0.0), group("second", &params[1], weight_decay)];
        (params, Optimizer::with_rule(rule, groups).unwrap())
    }

    fn backward(params: &[Tensor]) {
        let loss = params.iter().map(|param| (param * 1.0).sum(Kind::Float)).reduce(|sum, next| sum + next);
        loss.unwrap().backward();
    }

    fn everything(params: &[Tensor], optimizer: &Optimizer) -> Vec<Tensor> {
        let state = optimizer.state().into_iter().map(|(_, tensor)| tensor.copy());
        params.iter().map(|param| param.detach().copy()).chain(state).collect()
    }

    #[test]
    fn a_step_of_any_rule_that_would_overflow_leaves_no_trace_and_says_where() {
        for rule in rules() {
            let (params, mut optimizer) = two(rule, 0.01);
            let fine = Rates { learning_rate: 1e-3, momentum: 0.9 };
            backward(&params);
            // A first step, so that the moments are not zero.
            optimizer.step(fine, &StepControl::default()).unwrap();
            let before = everything(&params, &optimizer);
            let control = StepControl { measures_updates: true, ..StepControl::default() };
            let (outcome, rejection) =
                optimizer.step_or_put_back(Rates { learning_rate: 3e38, ..fine }, &control).unwrap();
            assert_eq!(rejection.is_put_back.double_value(&[]), 1.0, "{rule:?}");
            assert_eq!(rejection.parameter().unwrap().as_deref(), Some("first"), "{rule:?}");
            assert_eq!(everything(&params, &optimizer), before, "{rule:?}");
            assert!(outcome.squares.iter().all(|squares| squares.double_value(&[0]) == 0.0), "{rule:?}");
        }
    }

    #[test]
    fn a_step_that_stays_finite_is_the_same_bit_for_bit() {
        for rule in rules() {
            let rates = Rates { learning_rate: 0.1, momentum: 0.9 };
            let run = |guarded: bool| {
                let (params, mut optimizer) = two(rule, 0.01);
                for _ in 0..3 {
                    backward(&params);
                    if guarded {
                        let (_, rejection) = optimizer.step_or_put_back(rates, &StepControl::default()).unwrap();
                        assert_eq!(rejection.parameter().unwrap(), None, "{rule:?}");
                    } else {
                        optimizer.step(rates, &StepControl::default()).unwrap();
                    }
                }
                everything(&params, &optimizer)
            };
            assert_eq!(run(true), run(false), "{rule:?}");
        }
    }
}
