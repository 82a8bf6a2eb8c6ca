//! An optimizer: a rule, groups of parameters, and what the rule remembers of each.

use tch::{Kind, TchError, Tensor};

use super::{OptimError, ParameterGroup, Rates, StepControl, UpdateOutcome};
use crate::{
    config::{OptimizerConfig, OptimizerName},
    libtorch::{Moments, OptimizerRule, StepOptions, foreach_add, optimizer_step},
};

/// Updates parameters by their gradients.
#[derive(Debug)]
pub struct Optimizer {
    rule: OptimizerRule,
    groups: Vec<(ParameterGroup, Moments)>,
}

impl Optimizer {
    /// The optimizer a config asks for, over `groups`.
    ///
    /// # Errors
    /// Where libtorch cannot allocate its state.
    pub fn new(config: &OptimizerConfig, groups: Vec<ParameterGroup>) -> Result<Self, OptimError> {
        let &OptimizerConfig { dampening, nesterov, eps, alpha, centered, momentum_decay, .. } = config;
        let [_, beta2] = config.betas;
        Self::with_rule(
            match config.name {
                OptimizerName::Sgd => OptimizerRule::Sgd { dampening, nesterov },
                OptimizerName::Adam => OptimizerRule::Adam { beta2, eps },
                OptimizerName::Adamw => OptimizerRule::Adamw { beta2, eps },
                OptimizerName::Rmsprop => OptimizerRule::Rmsprop { alpha, eps, centered },
                OptimizerName::Nadam => OptimizerRule::Nadam { beta2, eps, momentum_decay },
                OptimizerName::Radam => OptimizerRule::Radam { beta2, eps },
                OptimizerName::Lamb => OptimizerRule::Lamb { beta2, eps },
                OptimizerName::Lion => OptimizerRule::Lion { beta2 },
            },
            groups,
        )
    }

    /// An optimizer of this rule. Moments and step counts start at zero, which gives torch's first step too.
    ///
    /// # Errors
    /// Where libtorch cannot allocate its state.
    pub fn with_rule(rule: OptimizerRule, groups: Vec<ParameterGroup>) -> Result<Self, OptimError> {
        let groups = groups.into_iter().map(|group| {
            let moments = moments(&rule, &group.params)?;
            Ok::<_, OptimError>((group, moments))
        });
        Ok(Self { rule, groups: groups.collect::<Result<_, _>>()? })
    }

    /// Updates every parameter that has a gradient.
    ///
    /// # Errors
    /// Where libtorch refuses, or the rates are no f32 numbers.
    pub fn step(&mut self, rates: Rates, control: &StepControl<'_>) -> Result<UpdateOutcome, OptimError> {
        if !(rates.learning_rate as f32).is_finite() || !(rates.momentum as f32).is_finite() {
            return Err(OptimError::Rates(rates));
        }
        let mut outcome = UpdateOutcome::default();
        for (group, moments) in &self.groups {
            let ready = group.ready()?;
            if ready.params.is_empty() {
                continue;
            }
            let moments = Moments {
                first: ready.select(&moments.first),
                second: ready.select(&moments.second),
                third: ready.select(&moments.third),
                steps: ready.select(&moments.steps),
                product: moments.product.as_ref().map(Tensor::shallow_clone),
            };
            count(&moments.steps, control.found_inf)?;
            let options = StepOptions {
                learning_rate: rates.learning_rate * group.learning_rate_scale,
                momentum: rates.momentum,
                weight_decay: group.weight_decay,
                is_first_step: control.is_first_step,
            };
            ready.take(control, &mut outcome, |step| optimizer_step(step, &moments, &self.rule, &options))?;
        }
        Ok(outcome)
    }

    /// What the rule remembers, by name: `fc.weight.exp_avg` as in torch's state. The tensors are the state itself: copied
    /// into, they put it back.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for (index, (group, moments)) in self.groups.iter().enumerate() {
            for (list, key) in [
                (&moments.first, first_name(&self.rule)),
                (
                    &moments.second,
                    if matches!(self.rule, OptimizerRule::Rmsprop { .. }) { "square_avg" } else { "exp_avg_sq" },
                ),
                (&moments.third, "grad_avg"),
                (&moments.steps, "step"),
            ] {
                let named = group.names.iter().zip(list);
                state.extend(named.map(|(name, tensor)| (format!("{name}.{key}"), tensor.shallow_clone())));
            }
            let product =
                moments.product.as_ref().map(|tensor| (format!("group{index}.mu_product"), tensor.shallow_clone()));
            state.extend(product);
        }
        state
    }
}

fn first_name(rule: &OptimizerRule) -> &'static str {
    match rule {
        OptimizerRule::Sgd { .. } | OptimizerRule::Rmsprop { .. } => "momentum_buffer",
        _ => "exp_avg",
    }
}

/// Counts a step, unless it is skipped: 1 - found_inf keeps that on the device.
fn count(steps: &[Tensor], found_inf: Option<&Tensor>) -> Result<(), OptimError> {
    let Some(first) = steps.first() else { return Ok(()) };
    let one = match found_inf {
        Some(found_inf) => found_inf.f_neg()?.f_add_scalar(1.0)?,
        None => first.f_ones_like()?,
    };
    Ok(foreach_add(steps, &one)?)
}

fn moments(rule: &OptimizerRule, params: &[Tensor]) -> Result<Moments, TchError> {
    let scalar = |param: &Tensor, value: f64| Tensor::f_full([] as [i64; 0], value, (Kind::Float, param.device()));
    let zeros = |is_used: bool| match is_used {
        true => params.iter().map(Tensor::f_zeros_like).collect::<Result<Vec<_>, _>>(),
        false => Ok(Vec::new()),
    };
    let [first, second, third, steps] = rule.moments();
    let is_nadam = matches!(rule, OptimizerRule::Nadam { .. });
    Ok(Moments {
        first: zeros(first)?,
        second: zeros(second)?,
        third: zeros(third)?,
        steps: if steps {
            params.iter().map(|param| scalar(param, 0.0)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        },
        product: params.first().filter(|_| is_nadam).map(|param| scalar(param, 1.0)).transpose()?,
    })
}
