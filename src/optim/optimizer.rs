//! An optimizer: an update rule, parameter groups, and the rule's state for each parameter.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use super::{OptimError, ParameterGroup, Rates, StepControl, UpdateOutcome, headroom::Reach};
use crate::{
    config::{OptimizerConfig, OptimizerName},
    disk::{NamedTensors, TensorFileError, copy_named},
    libtorch::{
        Detail, LateScalar, Moments, OptimizerRule, StepOptions, column, foreach_add, optimizer_step, tensor_table,
    },
};

/// Name suffix of the state that SGD and RMSprop keep only if momentum is above 0.
const MOMENTUM: &str = ".momentum_buffer";

/// Updates parameters from their gradients.
#[derive(Debug)]
pub struct Optimizer {
    rule: OptimizerRule,
    groups: Vec<(ParameterGroup, Moments)>,
}

impl Optimizer {
    /// Creates the optimizer that a config selects, for `groups`. With a momentum of 0, SGD and RMSprop keep no
    /// momentum buffer.
    ///
    /// # Errors
    /// If libtorch cannot allocate its state.
    pub fn new(config: &OptimizerConfig, groups: Vec<ParameterGroup>) -> Result<Self, OptimError> {
        let &OptimizerConfig { dampening, nesterov, eps, alpha, centered, momentum_decay, .. } = config;
        let [_, beta2] = config.betas;
        Self::start(
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
            !config.name.has_momentum() || config.momentum != 0.0,
        )
    }

    /// Creates an optimizer with this rule. Moments and step counts start at zero, which also gives the same first step
    /// as torch.
    ///
    /// # Errors
    /// If libtorch cannot allocate its state.
    pub fn with_rule(rule: OptimizerRule, groups: Vec<ParameterGroup>) -> Result<Self, OptimError> {
        Self::start(rule, groups, true)
    }

    fn start(rule: OptimizerRule, groups: Vec<ParameterGroup>, has_first: bool) -> Result<Self, OptimError> {
        let groups = groups.into_iter().map(|group| {
            let moments = moments(&rule, &group.params, has_first)?;
            Ok::<_, OptimError>((group, moments))
        });
        Ok(Self { rule, groups: groups.collect::<Result<_, _>>()? })
    }

    pub(super) fn rule(&self) -> &OptimizerRule {
        &self.rule
    }

    /// The parameters by name.
    pub(super) fn params(&self) -> Vec<(String, Tensor)> {
        let groups = self.groups.iter().map(|(group, _)| group);
        let named = groups.flat_map(|group| group.names.iter().zip(&group.params));
        named.map(|(name, param)| (name.clone(), param.shallow_clone())).collect()
    }

    /// Maxima over the groups.
    pub(super) fn reach(&self) -> Reach {
        let groups = || self.groups.iter().map(|(group, _)| group);
        Reach {
            learning_rate_scale: groups().map(|group| group.learning_rate_scale).fold(0.0, f64::max),
            weight_decay: groups().map(|group| group.weight_decay).fold(0.0, f64::max),
            numbers: groups().flat_map(|group| &group.params).map(Tensor::numel).sum::<usize>() as f64,
        }
    }

    /// Largest absolute values of all parameters and of all first moments, in transfer to the host. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn largest(&self) -> Result<[LateScalar; 2], OptimError> {
        let params = self.groups.iter().flat_map(|(group, _)| &group.params).map(Tensor::detach).collect();
        let moments = self.groups.iter().flat_map(|(_, moments)| &moments.first).map(Tensor::shallow_clone).collect();
        let largest = |tensors: Vec<Tensor>| {
            let scalar = match tensors.is_empty() {
                true => Tensor::f_zeros([] as [i64; 0], (Kind::Double, Device::Cpu))?,
                false => tensor_table(&tensors, Detail::Norms)?.f_select(1, column::LARGEST as i64)?.f_max()?,
            };
            Ok::<_, OptimError>(LateScalar::send(&scalar)?)
        };
        Ok([largest(params)?, largest(moments)?])
    }

    /// Updates every parameter that has a gradient.
    ///
    /// # Errors
    /// If libtorch reports an error, or if the rates are not finite in f32.
    pub fn step(&mut self, rates: Rates, control: &StepControl<'_>) -> Result<UpdateOutcome, OptimError> {
        if !(rates.learning_rate as f32).is_finite() || !(rates.momentum as f32).is_finite() {
            return Err(OptimError::Rates(rates));
        }
        self.begin_momentum(rates)?;
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

    /// Allocates momentum buffers if momentum is not 0, for rates that differ from the config.
    pub(super) fn begin_momentum(&mut self, rates: Rates) -> Result<(), OptimError> {
        for (group, moments) in &mut self.groups {
            if rates.momentum != 0.0 && moments.first.is_empty() {
                moments.first = zeros(&group.params)?;
            }
        }
        Ok(())
    }

    /// The state of the rule by name, such as `fc.weight.exp_avg`, as in torch. These are the tensors themselves: copy
    /// into them to restore the state.
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

    /// Copies a saved [`state`](Self::state) of other parameters, of which `names` gives the name here; `None` if there is no
    /// such parameter here. Parameters that were not saved keep their state.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn restore_renamed(
        &self,
        saved: &[(String, Tensor)],
        names: &BTreeMap<String, Option<String>>,
    ) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        let renamed = |(name, tensor): &(String, Tensor)| {
            let (parameter, key) = name.rsplit_once('.')?;
            let now = names.get(parameter).map_or(Some(parameter), Option::as_deref)?;
            Some((format!("{now}.{key}"), tensor.shallow_clone()))
        };
        let saved: BTreeMap<String, Tensor> = saved.iter().filter_map(renamed).collect();
        for (name, into) in self.state() {
            if let Some(saved) = saved.get(&name).filter(|saved| saved.size() == into.size()) {
                into.shallow_clone().f_copy_(saved)?;
            }
        }
        Ok(())
    }

    /// Copies a saved [`state`](Self::state) back, all of it or nothing. Saved momentum that this optimizer does not
    /// use is ignored (earlier versions saved it at a momentum of 0). Momentum that was not saved stays 0.
    ///
    /// # Errors
    /// If the state belongs to another rule or other parameters.
    pub fn restore(&self, saved: &[(String, Tensor)]) -> Result<(), TensorFileError> {
        let is_momentum = |(name, _): &&(String, Tensor)| name.ends_with(MOMENTUM);
        let state = self.state();
        let has_both =
            state.iter().any(|tensor| is_momentum(&tensor)) && saved.iter().any(|tensor| is_momentum(&tensor));
        let of_both = |tensors: &[(String, Tensor)]| -> NamedTensors {
            let used = tensors.iter().filter(|tensor| has_both || !is_momentum(tensor));
            used.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
        };
        copy_named(&of_both(saved), &of_both(&state))
    }
}

fn first_name(rule: &OptimizerRule) -> &'static str {
    match rule {
        OptimizerRule::Sgd { .. } | OptimizerRule::Rmsprop { .. } => "momentum_buffer",
        _ => "exp_avg",
    }
}

/// Counts a step unless it is skipped. Adding 1 - found_inf needs no sync.
fn count(steps: &[Tensor], found_inf: Option<&Tensor>) -> Result<(), OptimError> {
    let Some(first) = steps.first() else { return Ok(()) };
    let one = match found_inf {
        Some(found_inf) => found_inf.f_neg()?.f_add_scalar(1.0)?,
        None => first.f_ones_like()?,
    };
    Ok(foreach_add(steps, &one)?)
}

fn zeros(params: &[Tensor]) -> Result<Vec<Tensor>, TchError> {
    params.iter().map(Tensor::f_zeros_like).collect()
}

fn moments(rule: &OptimizerRule, params: &[Tensor], has_first: bool) -> Result<Moments, TchError> {
    let scalar = |param: &Tensor, value: f64| Tensor::f_full([] as [i64; 0], value, (Kind::Float, param.device()));
    let zeros = |is_used: bool| if is_used { zeros(params) } else { Ok(Vec::new()) };
    let [first, second, third, steps] = rule.moments();
    let is_nadam = matches!(rule, OptimizerRule::Nadam { .. });
    Ok(Moments {
        first: zeros(first && has_first)?,
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

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::config::Config;

    fn optimizer(toml: &str) -> (Optimizer, Vec<Tensor>) {
        let head = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n[optimizer]\n";
        let config = Config::parse(&format!("{head}{toml}"), "optimizer").unwrap().optimizer;
        let param = |size: i64| Tensor::ones([size], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let params = vec![param(3), param(2)];
        let named = [("a".to_owned(), params[0].shallow_clone()), ("b".to_owned(), params[1].shallow_clone())];
        (Optimizer::new(&config, vec![ParameterGroup::new(named, 0.0)]).unwrap(), params)
    }

    fn names(optimizer: &Optimizer) -> Vec<String> {
        optimizer.state().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_renamed_state_follows_its_parameters_and_others_start_anew() {
        let (mut before, params) = optimizer("name = \"adam\"");
        step(&mut before, &params, 0.9);
        let (now, _) = optimizer("name = \"adam\"");
        // The old `b` is lost, and the new `b` is another parameter.
        let names = [("a".to_owned(), Some("a".to_owned())), ("b".to_owned(), None)].into_iter().collect();
        now.restore_renamed(&before.state(), &names).unwrap();
        let sum = |name: &str| {
            let state = now.state();
            let (_, tensor) = state.iter().find(|(known, _)| known == name).unwrap();
            tensor.sum(Kind::Float).double_value(&[])
        };
        assert_eq!((sum("a.step"), sum("b.step"), sum("b.exp_avg")), (1.0, 0.0, 0.0));
        assert!(sum("a.exp_avg") > 0.0);
    }

    fn step(optimizer: &mut Optimizer, params: &[Tensor], momentum: f64) {
        params.iter().for_each(|param| (param * 2.0).sum(Kind::Float).backward());
        optimizer.step(Rates { learning_rate: 0.1, momentum }, &StepControl::default()).unwrap();
        crate::libtorch::clear_grads(params).unwrap();
    }

    #[test]
    fn what_a_rule_does_not_use_is_not_kept() {
        let sgd = |momentum: f64| optimizer(&format!("momentum = {momentum}")).0;
        assert_eq!(names(&sgd(0.9)), ["a.momentum_buffer", "b.momentum_buffer"]);
        assert_eq!(names(&sgd(0.0)), [] as [String; 0]);
        let rmsprop = |more: &str| optimizer(&format!("name = \"rmsprop\"\n{more}")).0;
        assert_eq!(names(&rmsprop("")), ["a.square_avg", "b.square_avg", "a.step", "b.step"]);
        assert_eq!(names(&rmsprop("momentum = 0.5\ncentered = true")).len(), 8);
        // A first beta of 0 still needs its moment.
        assert_eq!(names(&optimizer("name = \"adamw\"\nbetas = [0.0, 0.9]").0).len(), 6);
    }

    #[test]
    fn a_state_with_momentum_that_was_never_used_goes_into_one_without() {
        let (mut plain, params) = optimizer("momentum = 0.0");
        let kept = vec![("a.momentum_buffer".to_owned(), Tensor::zeros([3], (Kind::Float, Device::Cpu)))];
        plain.restore(&kept).unwrap();
        plain.restore(&[]).unwrap();
        step(&mut plain, &params, 0.0);
        assert_eq!(Vec::<f32>::try_from(params[1].detach()).unwrap(), [0.8, 0.8]);
        // RMSprop restores its squares whether or not momentum was saved or is used now.
        let ones = |name: &str, size: i64| (name.to_owned(), Tensor::ones([size], (Kind::Float, Device::Cpu)));
        let four = |name: &str| (name.to_owned(), Tensor::from(4.0f32));
        let mut squares = vec![ones("a.square_avg", 3), ones("b.square_avg", 2), four("a.step"), four("b.step")];
        let (with, _) = optimizer("name = \"rmsprop\"\nmomentum = 0.5");
        let (without, _) = optimizer("name = \"rmsprop\"");
        with.restore(&squares).unwrap();
        squares.extend(kept);
        without.restore(&squares).unwrap();
        for optimizer in [with, without] {
            let state = optimizer.state();
            let sum = |end: &str| -> f64 {
                let of_end = state.iter().filter(|(name, _)| name.ends_with(end));
                of_end.map(|(_, tensor)| tensor.sum(Kind::Double).double_value(&[])).sum()
            };
            assert_eq!((sum("square_avg"), sum("step"), sum("momentum_buffer")), (5.0, 8.0, 0.0));
        }
    }

    #[test]
    fn momentum_of_which_a_part_is_missing_is_refused() {
        let (optimizer, _) = optimizer("momentum = 0.9");
        let mut saved = optimizer.state();
        saved.pop();
        assert!(matches!(optimizer.restore(&saved), Err(TensorFileError::Mismatch { .. })));
    }

    #[test]
    fn rates_with_momentum_have_it_though_the_config_has_none() {
        let [(mut plain, some), (mut with, others)] = [optimizer("momentum = 0.0"), optimizer("momentum = 0.9")];
        for _ in 0..3 {
            step(&mut plain, &some, 0.9);
            step(&mut with, &others, 0.9);
        }
        assert_eq!(some, others);
    }
}
