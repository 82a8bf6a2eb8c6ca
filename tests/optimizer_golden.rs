//! Steps of SGD and AdamW against PyTorch's, from the same parameters and gradients.

use std::collections::BTreeMap;

use gradwatch::{
    config::Config,
    optim::{Optimizer, Rates, StepControl, decay_groups},
};
use tch::{Kind, Tensor};

/// Written by tests/golden/optimizer.py.
const GOLDEN: &str = include_str!("golden/optimizer.json");

fn params() -> [Tensor; 2] {
    let weight = Tensor::from_slice(&[0.5f32, -1.25, 2.0, 1e-3, -0.75, 3.0]).reshape([2, 3]);
    [weight.set_requires_grad(true), Tensor::from_slice(&[0.25f32, -2.0]).set_requires_grad(true)]
}

/// The same formula stands in optimizer.py.
fn give_grads([weight, bias]: &[Tensor; 2], step: i64) {
    let of_weight: Vec<f32> = (0..6).map(|i| ((i * 37 + step * 11) % 17) as f32 / 8.0 - 1.0).collect();
    let of_bias: Vec<f32> = (0..2).map(|i| ((i * 29 + step * 7) % 13) as f32 / 6.0 - 1.0).collect();
    let of_weight = Tensor::from_slice(&of_weight).reshape([2, 3]);
    ((weight * of_weight).sum(Kind::Float) + (bias * Tensor::from_slice(&of_bias)).sum(Kind::Float)).backward();
}

fn values(params: &[Tensor; 2]) -> Vec<f32> {
    params.iter().flat_map(|param| Vec::<f32>::try_from(param.detach().flatten(0, -1)).unwrap()).collect()
}

fn optimizer(toml: &str, params: &[Tensor; 2]) -> (Optimizer, Rates) {
    let head = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\noptimizer.weight_decay = 0.05\n";
    let config = Config::parse(&format!("{head}{toml}"), "golden").unwrap().optimizer;
    let groups = decay_groups(params, config.weight_decay, false);
    let is_sgd = config.name == gradwatch::config::OptimizerName::Sgd;
    let momentum = if is_sgd { config.momentum } else { config.betas[0] };
    let rates = Rates { learning_rate: config.learning_rate, momentum };
    (Optimizer::new(&config, groups).unwrap(), rates)
}

const CASES: [(&str, &str); 4] = [
    ("sgd", "optimizer.momentum = 0"),
    ("sgd_momentum", "optimizer.momentum = 0.9"),
    ("sgd_nesterov", "optimizer.nesterov = true"),
    ("adamw", "optimizer.name = \"adamw\"\noptimizer.learning_rate = 0.01"),
];

#[test]
fn five_steps_of_each_optimizer_equal_torch() {
    let golden: BTreeMap<String, Vec<Vec<f32>>> = serde_json::from_str(GOLDEN).unwrap();
    for (name, toml) in CASES {
        let params = params();
        let (mut optimizer, rates) = optimizer(toml, &params);
        for (step, want) in golden[name].iter().enumerate() {
            give_grads(&params, step as i64);
            optimizer.step(rates, &StepControl::default()).unwrap();
            gradwatch::libtorch::clear_grads(&params).unwrap();
            for (got, want) in values(&params).iter().zip(want) {
                // The fused kernel may contract a multiplication and an addition: one rounding of 2^-24 a step.
                assert!((got - want).abs() <= 4e-7 * want.abs().max(1e-2), "{name} step {step}: {got} {want}");
            }
        }
    }
}

#[test]
fn a_grad_scale_divides_the_gradient() {
    for (name, toml) in CASES {
        let (plain, scaled) = (params(), params());
        let ((mut optimizer_a, rates), (mut optimizer_b, _)) = (optimizer(toml, &plain), optimizer(toml, &scaled));
        give_grads(&plain, 3);
        give_grads(&scaled, 3);
        scaled.iter().for_each(|param| _ = param.grad().g_mul_scalar_(4.0));
        optimizer_a.step(rates, &StepControl::default()).unwrap();
        let four = Tensor::from(4.0f32);
        optimizer_b.step(rates, &StepControl { grad_scale: Some(&four), ..StepControl::default() }).unwrap();
        assert_eq!(values(&plain), values(&scaled), "{name}");
    }
}

#[test]
fn a_non_finite_step_leaves_parameters_moments_and_step_counts_as_if_it_had_not_been() {
    for (name, toml) in CASES {
        let (clean, hit) = (params(), params());
        let ((mut optimizer_a, rates), (mut optimizer_b, _)) = (optimizer(toml, &clean), optimizer(toml, &hit));
        let (fine, bad) = (Tensor::from(0.0f32), Tensor::from(1.0f32));
        let before = values(&hit);
        // A bad step first: momentum and moments must not take the NaN in, nor count the step.
        hit.iter().for_each(|param| (param * f64::NAN).sum(Kind::Float).backward());
        optimizer_b.step(rates, &StepControl { found_inf: Some(&bad), ..StepControl::default() }).unwrap();
        assert_eq!(values(&hit), before, "{name}");
        for step in 0..3 {
            for (params, optimizer) in [(&clean, &mut optimizer_a), (&hit, &mut optimizer_b)] {
                gradwatch::libtorch::clear_grads(params).unwrap();
                give_grads(params, step);
                optimizer.step(rates, &StepControl { found_inf: Some(&fine), ..StepControl::default() }).unwrap();
            }
        }
        assert_eq!(values(&hit), values(&clean), "{name}");
    }
}
