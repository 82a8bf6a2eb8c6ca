//! Every clipping mode against torch, timm, and the formulas of the papers, and against bad steps.

use gradwatch::{
    clipping::{ClipOutcome, Clipping, ClippingScope},
    config::Config,
};
use proptest::prelude::*;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

/// Written by tests/golden/clipping.py.
fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/clipping.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn clipping(toml: &str, names: &[&str], head: &str) -> Clipping {
    let head_of = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n[clipping]\n";
    let config = Config::parse(&format!("{head_of}{toml}"), "golden").unwrap().clipping;
    Clipping::new(&config, &ClippingScope { names, head, ..ClippingScope::default() }, Device::Cpu).unwrap()
}

fn set_grad(param: &Tensor, grad: &Tensor) {
    gradwatch::libtorch::clear_grads(std::slice::from_ref(param)).unwrap();
    (param * grad).sum(Kind::Float).backward();
}

/// The parameters and gradients of the golden file.
fn params(golden: &Value) -> Vec<Tensor> {
    let tensor = |values: &Value, shape: &Value| {
        let shape: Vec<i64> = numbers(shape).iter().map(|&size| size as i64).collect();
        Tensor::from_slice(&numbers(values)).to_kind(Kind::Float).reshape(shape)
    };
    let of = |key: &str| golden[key].as_array().unwrap().clone();
    let shapes = of("shapes");
    let params = of("params").into_iter().zip(&shapes).map(|(values, shape)| tensor(&values, shape));
    let params: Vec<Tensor> = params.map(|param| param.set_requires_grad(true)).collect();
    for ((param, grad), shape) in params.iter().zip(of("grads")).zip(&shapes) {
        set_grad(param, &tensor(&grad, shape));
    }
    params
}

fn grads(params: &[Tensor]) -> Vec<Vec<f64>> {
    let values = |param: &Tensor| Vec::try_from(param.grad().to_kind(Kind::Double).flatten(0, -1)).unwrap();
    params.iter().map(values).collect()
}

fn assert_close(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        // Two roundings to f32: the factor and the product.
        assert!((got - want).abs() <= 2e-7 * want.abs(), "{what} at {index}: {got} {want}");
    }
}

#[test]
fn norms_values_and_units_are_clipped_as_torch_timm_and_the_paper_clip_them() {
    let golden = golden();
    let names = ["conv.weight", "gain", "bias", "fc.weight", "scalar"];
    let norm =
        |p: &str| format!("mode = \"norm\"\nmax_norm = {}\nnorm_type = {p}", golden[format!("norm_{p}")]["max_norm"]);
    let cases = [
        ("norm_1", norm("1")),
        ("norm_2", norm("2")),
        ("norm_3", norm("3")),
        ("norm_inf", norm("inf")),
        ("value", format!("mode = \"value\"\nclip_value = {}", golden["value"]["clip_value"])),
        ("agc", "mode = \"agc\"\nagc.exclude = []".into()),
        ("agc_timm", "mode = \"agc\"\nagc = { compat = \"timm\", exclude = [] }".into()),
    ];
    for (case, toml) in cases {
        let params = params(&golden);
        let outcome = clipping(&toml, &names, "head").clip_in_place(&params).unwrap();
        let after = grads(&params);
        for (index, want) in golden[case]["grads"].as_array().unwrap().iter().enumerate() {
            assert_close(&after[index], &numbers(want), &format!("{case} {}", names[index]));
        }
        let squares: f64 = after.iter().flatten().map(|v| v * v).sum();
        let norm = outcome.total_norm_after.double_value(&[]);
        assert!((norm - squares.sqrt()).abs() <= 1e-6 * norm, "{case}: {norm} {}", squares.sqrt());
    }
}

#[test]
fn the_head_of_the_model_is_left_alone_and_so_are_timms_last_two() {
    let golden = golden();
    let names = ["conv.weight", "gain", "bias", "fc.weight", "fcn.scalar"];
    for (toml, spared) in [
        ("mode = \"agc\"", vec![3]),
        ("mode = \"agc\"\nagc.compat = \"timm\"", vec![3, 4]),
        ("mode = \"agc\"\nagc.exclude = [\"*a*\"]", vec![1, 2, 4]),
    ] {
        let params = params(&golden);
        let before = grads(&params);
        let outcome = clipping(toml, &names, "fc").clip_in_place(&params).unwrap();
        let same: Vec<usize> = (0..5).filter(|&index| grads(&params)[index] == before[index]).collect();
        // The scalar's gradient is small relative to its weight.
        assert!(spared.iter().all(|index| same.contains(index)), "{toml}: {same:?}");
        assert!(!same.contains(&0) || spared.contains(&0), "{toml}: {same:?}");
        let (positions, coefs) = outcome.tensor_coefs.unwrap();
        assert_eq!((positions, coefs.size()), (vec![0, 1, 2, 3, 4], vec![5]));
        assert!(spared.iter().all(|&index| coefs.double_value(&[index as i64]) == 1.0));
    }
}

/// Clips one parameter whose gradient has this norm.
fn step(clipping: &mut Clipping, param: &Tensor, norm: f64) -> ClipOutcome {
    set_grad(param, &(Tensor::from_slice(&[0.6f32, 0.8]) * norm));
    clipping.clip_in_place(std::slice::from_ref(param)).unwrap()
}

fn pair() -> Tensor {
    Tensor::from_slice(&[1.0f32, 1.0]).set_requires_grad(true)
}

#[test]
fn the_factors_of_a_run_of_norms_are_those_of_the_papers() {
    let golden = golden();
    let norms = numbers(&golden["norms"]);
    for (case, toml) in [
        ("autoclip", "mode = \"autoclip\""),
        ("zclip", "mode = \"zclip\""),
        ("zclip_percentile", "mode = \"zclip\"\nzclip.mode = \"percentile\""),
        ("zclip_mean", "mode = \"zclip\"\nzclip.clip_option = \"mean\""),
        ("zclip_unbounded", "mode = \"zclip\"\nzclip.max_grad_norm = inf"),
    ] {
        let (mut clipping, param) = (clipping(toml, &["w"], "head"), pair());
        for (index, (&norm, want)) in norms.iter().zip(numbers(&golden[case])).enumerate() {
            let got = step(&mut clipping, &param, norm).clip_coef.double_value(&[]);
            // For an unclipped norm, the coefficient is 1 here and norm / (norm + 1e-6) in the formula.
            let slack = 1e-6 + 1e-6 / norm;
            assert!((got - want).abs() <= slack * want, "{case} at {index}: {got} {want}");
        }
    }
}

#[test]
fn each_tensor_is_clipped_against_its_own_past_as_adagc_has_it() {
    let golden = golden();
    let names = ["a", "b", "c"];
    let mut clipping = clipping("mode = \"adagc\"", &names, "head");
    let params = [pair(), pair(), pair()];
    let rows = golden["adagc_norms"].as_array().unwrap().iter().zip(golden["adagc"].as_array().unwrap());
    for (index, (norms, want)) in rows.enumerate() {
        for (param, norm) in params.iter().zip(numbers(norms)) {
            set_grad(param, &(Tensor::from_slice(&[0.6f32, 0.8]) * norm));
        }
        let outcome = clipping.clip_in_place(&params).unwrap();
        let got = Vec::<f64>::try_from(outcome.tensor_coefs.unwrap().1).unwrap();
        for (got, want) in got.iter().zip(numbers(want)) {
            assert!((got - want).abs() <= 1e-6 * want, "step {index}: {got} {want}");
        }
    }
}

const MODES: [&str; 6] = [
    "mode = \"norm\"",
    "mode = \"value\"",
    "mode = \"agc\"",
    "mode = \"autoclip\"",
    "mode = \"zclip\"",
    "mode = \"adagc\"\nadagc.warmup_steps = 10",
];

#[test]
fn a_nan_an_infinity_and_a_spike_leave_every_mode_working() {
    // Norms around 1, as in training. The bad steps at 30, 31, and 32 must leave no trace, and the spike only a small
    // one.
    let norm = |index: usize| 1.0 + 0.2 * (index as f64 * 0.7).sin();
    for toml in MODES {
        let run = |with_bad_steps: bool| {
            let (mut clipping, param) = (clipping(toml, &["w"], "head"), pair());
            let mut coefs = Vec::new();
            for index in 0..60 {
                if with_bad_steps && index == 30 {
                    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                        let before: Vec<Tensor> = clipping.state().iter().map(|(_, state)| state.copy()).collect();
                        let outcome = step(&mut clipping, &param, bad);
                        assert_eq!(outcome.found_inf.double_value(&[]), 1.0, "{toml}");
                        assert_eq!(outcome.clip_coef.double_value(&[]), 1.0, "{toml}");
                        let after: Vec<Tensor> = clipping.state().into_iter().map(|(_, state)| state).collect();
                        assert_eq!(before, after, "{toml}: {bad} left a trace");
                    }
                }
                coefs.push(step(&mut clipping, &param, norm(index)).clip_coef.double_value(&[]));
            }
            let spike = step(&mut clipping, &param, 100.0);
            (
                coefs,
                100.0 * spike.clip_coef.double_value(&[]),
                step(&mut clipping, &param, 1.0).clip_coef.double_value(&[]),
            )
        };
        let (clean, hit) = (run(false), run(true));
        assert_eq!(clean, hit, "{toml}");
        // Value clipping reduces the spike to (1, 1); every other mode to about the usual norm.
        assert!(hit.1 <= 2f64.sqrt() + 1e-6, "{toml}: {} of a spike of 100 is left", hit.1);
        assert!(hit.2 > 0.005 && hit.2 <= 1.0, "{toml}: {} after the spike", hit.2);
    }
}

#[test]
fn a_state_that_is_copied_into_goes_on_where_the_other_was() {
    for toml in MODES {
        let (mut first, param) = (clipping(toml, &["w"], "head"), pair());
        (0..40).for_each(|index| _ = step(&mut first, &param, 1.0 + f64::from(index % 7)));
        let mut second = clipping(toml, &["w"], "head");
        for ((name, mut into), (same, from)) in second.state().into_iter().zip(first.state()) {
            assert_eq!(name, same);
            into.copy_(&from);
        }
        for norm in [1.0, 3.0, 50.0, 2.0] {
            let coef = |clipping: &mut Clipping| step(clipping, &param, norm).clip_coef.double_value(&[]);
            assert_eq!(coef(&mut first), coef(&mut second), "{toml}");
        }
    }
}

#[test]
fn a_tensor_whose_gradients_begin_with_zero_is_not_frozen_by_adagc() {
    let (mut clipping, param) = (clipping("mode = \"adagc\"\nadagc.warmup_steps = 2", &["w"], "head"), pair());
    (0..5).for_each(|_| _ = step(&mut clipping, &param, 0.0));
    for _ in 0..5 {
        assert_eq!(step(&mut clipping, &param, 3.0).clip_coef.double_value(&[]), 1.0);
    }
    step(&mut clipping, &param, 0.0);
    assert_eq!(step(&mut clipping, &param, 3.0).clip_coef.double_value(&[]), 1.0);
    let clipped = step(&mut clipping, &param, 30.0).clip_coef.double_value(&[]);
    assert!((clipped - 0.105).abs() < 1e-6, "{clipped}");
}

#[test]
fn a_norm_of_a_large_p_neither_overflows_nor_loses_the_gradient() {
    for (norm, p) in [(1e4, 10.0), (1e-5, 10.0), (1e4, 300.0)] {
        let toml = format!("mode = \"norm\"\nmax_norm = {}\nnorm_type = {p}", norm / 2.0);
        let (mut clipping, param) = (clipping(&toml, &["w"], "head"), pair());
        let coef = step(&mut clipping, &param, norm).clip_coef.double_value(&[]);
        // The p-norm of (0.6, 0.8) is 0.8 (1 + 0.75^p)^(1/p); if that overflows f64, the bound is the norm of p = 2.
        let of_p = 0.8 * (1.0 + 0.75f64.powf(p)).powf(1.0 / p);
        let want = [0.5 / of_p, 0.5].map(|coef| norm * coef / (norm + if norm < 1.0 { 1e-6 / of_p } else { 0.0 }));
        assert!(want.iter().any(|want| (coef - want).abs() < 1e-4), "{norm} {p}: {coef} {want:?}");
    }
}

#[test]
fn each_group_is_clipped_to_a_norm_of_its_own() {
    let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n\
                clipping = { mode = \"norm\", max_norm = 1, per_group = true }";
    let config = Config::parse(toml, "groups").unwrap().clipping;
    let scope = ClippingScope { names: &["a", "b", "c"], head: "head", groups: &[0, 1, 0], group_norms: &[Some(2.0)] };
    let mut clipping = Clipping::new(&config, &scope, Device::Cpu).unwrap();
    let params = [pair(), pair(), pair()];
    for (param, norm) in params.iter().zip([3.0, 0.5, 4.0]) {
        set_grad(param, &(Tensor::from_slice(&[0.6f32, 0.8]) * norm));
    }
    let outcome = clipping.clip_in_place(&params).unwrap();
    // The first and the last together have norm 5 and limit 2; the second has half of its limit.
    let coefs = Vec::<f64>::try_from(outcome.tensor_coefs.unwrap().1).unwrap();
    for (got, want) in coefs.iter().zip([2.0 / 5.000001, 1.0, 2.0 / 5.000001]) {
        // 0.6 and 0.8 are rounded to f32.
        assert!((got - want).abs() < 1e-7, "{coefs:?}");
    }
    let after = outcome.total_norm_after.double_value(&[]);
    assert!((after - 4.25f64.sqrt()).abs() < 1e-6, "{after}");
}

#[test]
fn a_norm_beyond_the_history_forgets_the_oldest() {
    let toml = "mode = \"autoclip\"\nautoclip = { percentile = 100, history = 3 }";
    let (mut clipping, param) = (clipping(toml, &["w"], "head"), pair());
    for norm in [9.0, 1.0, 2.0] {
        assert_eq!(step(&mut clipping, &param, norm).clip_coef.double_value(&[]), 1.0);
    }
    // The largest of the last three norms, including the current one: 4 is among them, 9 no longer is.
    assert_eq!(step(&mut clipping, &param, 4.0).clip_coef.double_value(&[]), 1.0);
    let norms = Vec::<f64>::try_from(&clipping.state()[0].1).unwrap();
    assert!(norms.iter().all(|&norm| norm < 5.0), "{norms:?}");
}

proptest! {
    #[test]
    fn no_mode_raises_a_norm_and_one_factor_keeps_the_direction(
        grad in prop::collection::vec(-1e3f32..1e3, 12), mode in prop::sample::select(&MODES[..]), warm in 0usize..30,
    ) {
        let param = (Tensor::arange(12, (Kind::Float, Device::Cpu)).reshape([3, 4]) * 0.1).set_requires_grad(true);
        let mut clipping = clipping(mode, &["w"], "head");
        for _ in 0..warm {
            set_grad(&param, &Tensor::full([3, 4], 0.3, (Kind::Float, Device::Cpu)));
            clipping.clip_in_place(std::slice::from_ref(&param)).unwrap();
        }
        set_grad(&param, &Tensor::from_slice(&grad).reshape([3, 4]));
        let before = grads(std::slice::from_ref(&param)).remove(0);
        let outcome = clipping.clip_in_place(std::slice::from_ref(&param)).unwrap();
        let after = grads(std::slice::from_ref(&param)).remove(0);
        let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
        prop_assert!(norm(&after) <= norm(&before) * (1.0 + 1e-6));
        prop_assert!((outcome.total_norm_after.double_value(&[]) - norm(&after)).abs() <= 1e-5 * norm(&after) + 1e-9);
        // AGC keeps the direction of each unit; value clipping does not.
        let rows = if mode.contains("agc\"") && !mode.contains("adagc") { 4 } else { 12 };
        for (before, after) in before.chunks(rows).zip(after.chunks(rows)).filter(|_| !mode.contains("value")) {
            let ratio = if norm(before) > 0.0 { norm(after) / norm(before) } else { 1.0 };
            for (before, after) in before.iter().zip(after) {
                prop_assert!((after - before * ratio).abs() <= 1e-5 * before.abs() * ratio);
            }
        }
    }
}
