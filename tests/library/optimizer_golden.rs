//! Steps of every optimizer against PyTorch and timm, from the same parameters and gradients.

use std::collections::BTreeMap;

use gradwatch::{
    clipping::{Clipping, ClippingScope, StepGradients},
    config::Config,
    gradient::Measurement,
    libtorch::clear_grads,
    optim::{Optimizer, Rates, StepControl, parameter_groups},
};
use tch::{Device, Kind, Tensor};

/// Written by tests/golden/optimizer.py.
const GOLDEN: &str = include_str!("../golden/optimizer.json");

fn params() -> [Tensor; 2] {
    let weight = Tensor::from_slice(&[0.5f32, -1.25, 2.0, 1e-3, -0.75, 3.0]).reshape([2, 3]);
    [weight.set_requires_grad(true), Tensor::from_slice(&[0.25f32, -2.0]).set_requires_grad(true)]
}

/// The same formula as in optimizer.py.
fn give_grads([weight, bias]: &[Tensor; 2], step: i64) {
    let of_weight: Vec<f32> = (0..6).map(|i| ((i * 37 + step * 11) % 17) as f32 / 8.0 - 1.0).collect();
    let of_bias: Vec<f32> = (0..2).map(|i| ((i * 29 + step * 7) % 13) as f32 / 6.0 - 1.0).collect();
    let of_weight = Tensor::from_slice(&of_weight).reshape([2, 3]);
    ((weight * of_weight).sum(Kind::Float) + (bias * Tensor::from_slice(&of_bias)).sum(Kind::Float)).backward();
}

fn values(params: &[Tensor; 2]) -> Vec<f32> {
    params.iter().flat_map(|param| Vec::<f32>::try_from(param.detach().flatten(0, -1)).unwrap()).collect()
}

const CASES: [(&str, &str); 12] = [
    ("sgd", "momentum = 0"),
    ("sgd_momentum", "momentum = 0.9"),
    ("sgd_nesterov", "nesterov = true"),
    ("sgd_dampening", "dampening = 0.3"),
    ("adam", "name = \"adam\", learning_rate = 0.01"),
    ("adamw", "name = \"adamw\", learning_rate = 0.01"),
    ("rmsprop", "name = \"rmsprop\""),
    ("rmsprop_centered_momentum", "name = \"rmsprop\", centered = true, momentum = 0.9"),
    ("nadam", "name = \"nadam\""),
    ("radam", "name = \"radam\", learning_rate = 0.01"),
    ("lamb", "name = \"lamb\", learning_rate = 0.01"),
    ("lion", "name = \"lion\", learning_rate = 0.001"),
];

fn start(toml: &str, params: &[Tensor; 2]) -> (Optimizer, Rates) {
    let head = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n";
    let config =
        Config::parse(&format!("{head}optimizer = {{ weight_decay = 0.05, {toml} }}"), "golden").unwrap().optimizer;
    let groups = parameter_groups(["fc.weight", "fc.bias"].into_iter().zip(params), &config);
    let momentum = if config.name.has_momentum() { config.momentum } else { config.betas[0] };
    let rates = Rates { learning_rate: config.learning_rate, momentum };
    (Optimizer::new(&config, groups).unwrap(), rates)
}

fn control(step: usize) -> StepControl<'static> {
    StepControl { is_first_step: step == 0, ..StepControl::default() }
}

#[test]
fn twenty_steps_of_each_optimizer_equal_torchs_or_timms() {
    let golden: BTreeMap<String, Vec<Vec<f32>>> = serde_json::from_str(GOLDEN).unwrap();
    assert_eq!(golden.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut names = CASES.map(|(name, _)| name);
        names.sort_unstable();
        names
    });
    for (name, toml) in CASES {
        let params = params();
        let (mut optimizer, rates) = start(toml, &params);
        assert_eq!(golden[name].len(), 20);
        for (step, want) in golden[name].iter().enumerate() {
            give_grads(&params, step as i64);
            optimizer.step(rates, &control(step)).unwrap();
            clear_grads(&params).unwrap();
            for (got, want) in values(&params).iter().zip(want) {
                // Twenty steps in f32 differ from f64 by up to 1.04e-6 of a value; a value near 0 keeps the rounding of
                // its terms, which are about 0.1.
                assert!((got - want).abs() <= 2e-6 * want.abs().max(0.1), "{name} step {step}: {got} {want}");
            }
        }
    }
}

#[test]
fn a_grad_scale_divides_the_gradient() {
    for (name, toml) in CASES {
        let (plain, scaled) = (params(), params());
        let ((mut optimizer_a, rates), (mut optimizer_b, _)) = (start(toml, &plain), start(toml, &scaled));
        give_grads(&plain, 3);
        give_grads(&scaled, 3);
        scaled.iter().for_each(|param| _ = param.grad().g_mul_scalar_(4.0));
        optimizer_a.step(rates, &control(0)).unwrap();
        let four = Tensor::from(4.0f32);
        optimizer_b.step(rates, &StepControl { grad_scale: Some(&four), ..control(0) }).unwrap();
        assert_eq!(values(&plain), values(&scaled), "{name}");
    }
}

#[test]
fn a_clip_inside_the_step_is_a_clip_before_it() {
    let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nclipping.mode = \"norm\"";
    let config = Config::parse(toml, "clip").unwrap().clipping;
    for (name, toml) in CASES {
        let (before, inside) = (params(), params());
        let ((mut optimizer_a, rates), (mut optimizer_b, _)) = (start(toml, &before), start(toml, &inside));
        let mut clipping = Clipping::new(&config, &ClippingScope::default(), Device::Cpu).unwrap();
        for step in 0..5 {
            for params in [&before, &inside] {
                clear_grads(params).unwrap();
                give_grads(params, step);
            }
            clipping.clip_in_place(&before).unwrap();
            optimizer_a.step(rates, &control(step as usize)).unwrap();
            let grads: Vec<Tensor> = inside.iter().map(Tensor::grad).collect();
            let measurement = Measurement::of_total(grads.iter().map(Tensor::shallow_clone).collect()).unwrap();
            let gradients =
                StepGradients { params: &inside, grads: &grads, positions: &[0, 1], measurement: &measurement };
            let outcome = clipping.clip(&gradients).unwrap();
            assert!(outcome.clip_coef.double_value(&[]) < 1.0);
            let grad_scale = outcome.grad_scale().unwrap();
            let steering = StepControl {
                grad_scale: grad_scale.as_ref(),
                found_inf: Some(&outcome.found_inf),
                ..control(step as usize)
            };
            optimizer_b.step(rates, &steering).unwrap();
        }
        for (got, want) in values(&inside).iter().zip(values(&before)) {
            assert!((got - want).abs() <= 1e-6 * want.abs().max(0.1), "{name}: {got} {want}");
        }
    }
}

fn state(optimizer: &Optimizer) -> Vec<Tensor> {
    optimizer.state().into_iter().map(|(_, tensor)| tensor.copy()).collect()
}

#[test]
fn a_non_finite_step_leaves_parameters_moments_and_step_counts_as_if_it_had_not_been() {
    for (name, toml) in CASES {
        let (clean, hit) = (params(), params());
        let ((mut optimizer_a, rates), (mut optimizer_b, _)) = (start(toml, &clean), start(toml, &hit));
        let (fine, bad) = (Tensor::from(0.0f32), Tensor::from(1.0f32));
        for (taken, step) in (0..6).enumerate() {
            // Bad steps at the beginning and in between: the NaN must not reach any state, and the step must not count.
            if step == 0 || step == 3 {
                let before = (values(&hit), state(&optimizer_b));
                clear_grads(&hit).unwrap();
                hit.iter().for_each(|param| (param * f64::NAN).sum(Kind::Float).backward());
                optimizer_b.step(rates, &StepControl { found_inf: Some(&bad), ..control(taken) }).unwrap();
                assert_eq!((values(&hit), state(&optimizer_b)), before, "{name}");
            }
            for (params, optimizer) in [(&clean, &mut optimizer_a), (&hit, &mut optimizer_b)] {
                clear_grads(params).unwrap();
                give_grads(params, step);
                optimizer.step(rates, &StepControl { found_inf: Some(&fine), ..control(taken) }).unwrap();
            }
        }
        assert_eq!(values(&hit), values(&clean), "{name}");
    }
}

#[test]
fn a_state_that_is_copied_into_goes_on_where_the_other_was() {
    for (name, toml) in CASES {
        let (first, second) = (params(), params());
        let ((mut optimizer_a, rates), (mut optimizer_b, _)) = (start(toml, &first), start(toml, &second));
        let go = |params: &[Tensor; 2], optimizer: &mut Optimizer, steps: std::ops::Range<usize>| {
            for step in steps {
                clear_grads(params).unwrap();
                give_grads(params, step as i64);
                optimizer.step(rates, &control(step)).unwrap();
            }
        };
        go(&first, &mut optimizer_a, 0..4);
        for (into, from) in second.iter().zip(&first) {
            tch::no_grad(|| into.shallow_clone().copy_(&from.detach()));
        }
        for ((key, mut into), (same, from)) in optimizer_b.state().into_iter().zip(optimizer_a.state()) {
            assert_eq!(key, same);
            into.copy_(&from);
        }
        go(&first, &mut optimizer_a, 4..8);
        go(&second, &mut optimizer_b, 4..8);
        assert_eq!(values(&first), values(&second), "{name}");
    }
}
