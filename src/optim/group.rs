//! Parameters that share a learning rate and weight decay.

use std::collections::HashMap;

use tch::{Kind, TchError, Tensor};

use super::{StepControl, UpdateOutcome};
use crate::{
    config::OptimizerConfig,
    libtorch::{FusedStep, LibtorchError},
};

/// Parameters that one call updates with the same settings.
#[derive(Debug)]
pub struct ParameterGroup {
    /// Names of the parameters.
    pub names: Vec<String>,
    /// Leaf tensors that require a gradient.
    pub params: Vec<Tensor>,
    /// Factor of the learning rate.
    pub learning_rate_scale: f64,
    /// Weight decay of all parameters in the group.
    pub weight_decay: f64,
}

impl ParameterGroup {
    /// Creates a group that uses the optimizer's learning rate unscaled.
    pub fn new(named: impl IntoIterator<Item = (String, Tensor)>, weight_decay: f64) -> Self {
        let (names, params) = named.into_iter().unzip();
        Self { names, params, learning_rate_scale: 1.0, weight_decay }
    }
}

/// Splits the parameters of a model into groups by the config, in the order of its layers.
///
/// As in timm, biases and the parameters of normalization layers (all tensors with at most one dimension) do not decay
/// unless `decay_norms_and_biases` is set. Parameters that do not require a gradient are left out. Layer-wise decay
/// applies per block: the first two segments of a name (`layer1.0`) identify the block, and the last block has the full
/// learning rate.
pub fn parameter_groups<'a>(
    named: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    config: &OptimizerConfig,
) -> Vec<ParameterGroup> {
    let named: Vec<(&str, &Tensor)> = named.into_iter().filter(|(_, param)| param.requires_grad()).collect();
    let mut blocks: Vec<&str> = Vec::new();
    for (name, _) in &named {
        let block = block_of(name);
        if !blocks.contains(&block) {
            blocks.push(block);
        }
    }
    let depth: HashMap<&str, usize> = blocks.iter().rev().enumerate().map(|(depth, block)| (*block, depth)).collect();
    let mut groups: Vec<ParameterGroup> = Vec::new();
    for (name, param) in named {
        let decays = config.decay_norms_and_biases || param.dim() > 1;
        let own = config.groups.get(config.group_of(name));
        let by_layer = config.layer_decay.powi(depth.get(block_of(name)).map_or(0, |&depth| depth as i32));
        let learning_rate_scale = by_layer * own.map_or(1.0, |group| group.learning_rate_scale);
        let weight_decay = match own.and_then(|group| group.weight_decay) {
            Some(weight_decay) => weight_decay,
            None if decays => config.weight_decay,
            None => 0.0,
        };
        let fits = |group: &&mut ParameterGroup| {
            group.learning_rate_scale == learning_rate_scale && group.weight_decay == weight_decay
        };
        let named = (name.to_owned(), param.shallow_clone());
        match groups.iter_mut().find(fits) {
            Some(group) => {
                group.names.push(named.0);
                group.params.push(named.1);
            }
            None => groups.push(ParameterGroup { learning_rate_scale, ..ParameterGroup::new([named], weight_decay) }),
        }
    }
    groups
}

/// Returns `layer1.0` for `layer1.0.conv1.weight` and `fc` for `fc.weight`.
fn block_of(name: &str) -> &str {
    let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
    let second = module.match_indices('.').nth(1);
    second.map_or(module, |(end, _)| &module[..end])
}

/// The parameters of a group that have a gradient, with their positions and gradients.
pub(super) struct Ready {
    pub positions: Vec<usize>,
    pub params: Vec<Tensor>,
    pub grads: Vec<Tensor>,
}

impl ParameterGroup {
    /// Selects the parameters that have a gradient. As in torch, the optimizer leaves all others unchanged.
    pub(super) fn ready(&self) -> Result<Ready, TchError> {
        let mut ready = Ready { positions: Vec::new(), params: Vec::new(), grads: Vec::new() };
        for (position, param) in self.params.iter().enumerate() {
            let grad = param.grad();
            if grad.defined() {
                ready.positions.push(position);
                ready.params.push(param.shallow_clone());
                ready.grads.push(as_laid_out(param, grad)?);
            }
        }
        Ok(ready)
    }
}

/// Gives a gradient the memory layout of its parameter, which the fused kernels require. Backward does so by itself,
/// unless a hook replaced the gradient.
fn as_laid_out(param: &Tensor, grad: Tensor) -> Result<Tensor, TchError> {
    if grad.stride() == param.stride() {
        return Ok(grad);
    }
    let mut copy = param.f_empty_like()?;
    copy.f_copy_(&grad)?;
    Ok(copy)
}

impl Ready {
    /// Runs a step on the group and, if `control` requests it, measures how far each parameter moved.
    pub(super) fn take(
        self,
        control: &StepControl<'_>,
        outcome: &mut UpdateOutcome,
        step: impl FnOnce(&FusedStep<'_>) -> Result<(), LibtorchError>,
    ) -> Result<(), LibtorchError> {
        let StepControl { grad_scale, found_inf, measures_updates, .. } = *control;
        let options = (Kind::Double, self.params[0].device());
        let squares = if measures_updates { Some(Tensor::f_zeros([self.params.len() as i64], options)?) } else { None };
        let (params, grads, update_squares) = (&self.params, &self.grads, squares.as_ref());
        step(&FusedStep { params, grads, grad_scale, found_inf, update_squares })?;
        if let Some(squares) = squares {
            outcome.params.extend(self.params);
            outcome.squares.push(squares);
        }
        Ok(())
    }

    pub(super) fn select(&self, state: &[Tensor]) -> Vec<Tensor> {
        // If a rule has no such state, the list is empty.
        self.positions.iter().filter_map(|&position| Some(state.get(position)?.shallow_clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::config::Config;

    fn groups(toml: &str) -> Vec<(Vec<String>, f64, f64)> {
        let head =
            "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n[optimizer]\nweight_decay = 0.1\n";
        let config = Config::parse(&format!("{head}{toml}"), "groups").unwrap().optimizer;
        let names =
            ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.1.conv1.weight", "fc.weight"];
        let sizes: [&[i64]; 5] = [&[2, 3], &[2, 3], &[2], &[2, 3], &[2, 3]];
        let make = |size: &[i64]| Tensor::ones(size, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let params = sizes.map(make);
        let groups = parameter_groups(names.into_iter().zip(&params), &config);
        groups.into_iter().map(|group| (group.names, group.learning_rate_scale, group.weight_decay)).collect()
    }

    #[test]
    fn norms_and_biases_do_not_decay_and_a_pattern_decides_before_that() {
        let plain = groups("");
        assert_eq!(plain.len(), 2);
        assert_eq!((&plain[1].0[..], plain[1].1, plain[1].2), (&["layer1.0.bn1.weight".to_owned()][..], 1.0, 0.0));
        let own = groups(
            "[[optimizer.groups]]\nparameters = [\"layer1.0.*\"]\nlearning_rate_scale = 0.5\nweight_decay = 0.3",
        );
        assert_eq!((own[1].0.len(), own[1].1, own[1].2), (2, 0.5, 0.3));
        assert_eq!(own.len(), 2);
    }

    #[test]
    fn a_block_learns_by_a_share_of_the_block_after_it() {
        let scales: Vec<(String, f64)> =
            groups("layer_decay = 0.5").into_iter().map(|(names, scale, _)| (names[0].clone(), scale)).collect();
        let want = [
            ("conv1.weight", 0.125),
            ("layer1.0.conv1.weight", 0.25),
            ("layer1.0.bn1.weight", 0.25),
            ("layer1.1.conv1.weight", 0.5),
            ("fc.weight", 1.0),
        ];
        assert_eq!(scales, want.map(|(name, scale)| (name.to_owned(), scale)));
    }
}
