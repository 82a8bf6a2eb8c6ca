//! Initializations against their formulas, slow reference implementations, and PyTorch: `golden/initialization.py`
//! generates `golden/initialization.json`.

use gradwatch::model::{Network, Parameter, Pass, Tap, draw_weight, fit_to_data};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::harness::{
    exclusive,
    networks::{FLOAT, bits, config, images, largest, logits, network, param, std},
};

#[test]
fn identity_is_torchs_eye_and_dirac_and_silent_gains_are_torchvisions() {
    let _alone = exclusive();
    let golden: Value = serde_json::from_str(include_str!("../golden/initialization.json")).unwrap();
    let initialization = config("name = \"mlp\", initialization = \"identity\"").model.initialization;
    let mut count = 0;
    for case in ["eye", "dirac"].iter().flat_map(|kind| golden[*kind].as_array().unwrap()) {
        let shape: Vec<i64> = serde_json::from_value(case["shape"].clone()).unwrap();
        let ones: Vec<Vec<i64>> = serde_json::from_value(case["ones"].clone()).unwrap();
        let want = Tensor::zeros(&shape[..], FLOAT);
        for place in &ones {
            let element = place.iter().fold(want.shallow_clone(), |inner, &index| inner.select(0, index));
            element.shallow_clone().copy_(&Tensor::from(1.0));
        }
        assert_eq!(draw_weight(&initialization, &shape, 3.0).unwrap(), want, "{shape:?}");
        count += ones.len();
    }
    assert_eq!(count, 10 + 10);
    for name in ["resnet18", "resnet50"] {
        let silent = network(&format!("name = \"{name}\", width = 4, initialization.zero_residual = true"), 32);
        let is_zero =
            |parameter: &&Parameter| parameter.name.as_str().ends_with("weight") && largest(&parameter.tensor) == 0.0;
        let got: Vec<String> =
            silent.parameters.trainable().filter(is_zero).map(|param| param.name.to_string()).collect();
        let want: Vec<String> = serde_json::from_value(golden["zero_init_residual"][name].clone()).unwrap();
        assert_eq!(got, want);
    }
}

#[test]
fn each_group_of_a_convolution_is_a_convolution_of_its_own() {
    let _alone = exclusive();
    for (method, tap) in [("identity", 1.0), ("delta_orthogonal", 3.0)] {
        let table = format!("{{ method = \"{method}\", gain = 3.0 }}");
        let network = network(&format!("name = \"mobilenet_v2\", initialization = {table}"), 32);
        let is_depthwise = |param: &&Parameter| param.tensor.dim() == 4 && param.tensor.size()[1..] == [1, 3, 3];
        let depthwise: Vec<_> = network.parameters.trainable().filter(is_depthwise).collect();
        // 17 blocks, and the first convolution of gray images, which has one group.
        assert_eq!(depthwise.len(), 18);
        for Parameter { name, tensor, .. } in &depthwise[1..] {
            let taps = tensor.select(3, 1).select(2, 1).abs();
            assert_eq!((taps.min().double_value(&[]), largest(&taps)), (tap, tap), "{method}: {name}");
            assert_eq!(tensor.abs().sum(Kind::Float), taps.sum(Kind::Float), "{method}: {name}");
        }
    }
}

#[test]
fn methods_that_need_no_place_draw_what_torch_calls_draw_in_the_order_of_the_layers() {
    let _alone = exclusive();
    let shapes = [("layers.0.linear", 16, 12), ("layers.1.linear", 12, 12), ("classifier", 12, 10)];
    // With a gain of 2: the bound of the uniform distributions is the square root of 3 times the standard deviation.
    let glorot = |inputs: f64, outputs: f64| 2.0 * (2.0 / (inputs + outputs)).sqrt();
    let he = |inputs: f64, _: f64| 2.0 / inputs.sqrt();
    type Variance<'a> = &'a dyn Fn(f64, f64) -> f64;
    let cases: [(&str, Variance<'_>, bool); 7] = [
        ("xavier_uniform", &glorot, true),
        ("xavier_normal", &glorot, false),
        ("kaiming_uniform", &he, true),
        ("kaiming_normal", &he, false),
        ("lecun_uniform", &he, true),
        ("lecun_normal", &he, false),
        ("normal", &|_, _| 0.25, false),
    ];
    for (method, std, is_uniform) in cases {
        let table = format!("{{ method = \"{method}\", gain = 2.0, mean = 0.5, std = 0.25 }}");
        let network = network(&format!("name = \"mlp\", depth = 2, width = 12, initialization = {table}"), 4);
        fit_to_data(&network, &images(8, 4)).unwrap();
        tch::manual_seed(7);
        for (layer, inputs, outputs) in shapes {
            let (mut want, std) = (Tensor::empty([outputs, inputs], FLOAT), std(inputs as f64, outputs as f64));
            let bound = 3f64.sqrt() * std;
            let mean = if method == "normal" { 0.5 } else { 0.0 };
            let _ = if is_uniform { want.uniform_(-bound, bound) } else { want.normal_(mean, std) };
            assert_eq!(param(&network, &format!("{layer}.weight")), want, "{method}: {layer}");
            assert_eq!(largest(&param(&network, &format!("{layer}.bias"))), 0.0);
        }
    }
}

/// A tanh net in f64 whose weights are a quarter of those of a sigmoid net with centered biases, a half in its first
/// and last layer, on images with values around `mean`. With one skip, a quarter of its signal skips every two layers
/// after the first; with two, so does a quarter of the first layer's output.
fn tanh_twin(network: &Network, depth: usize, images: &Tensor, mean: &Tensor, skips: usize) -> Tensor {
    let weight = |name: String| param(network, &name).to_kind(Kind::Double);
    let centered = (images - mean).flatten(1, -1).to_kind(Kind::Double);
    let mut signal = (centered.matmul(&weight("layers.0.linear.weight".into()).tr()) / 2.0).tanh();
    let first = signal.shallow_clone();
    let mut kept = signal.shallow_clone();
    for layer in 1..depth {
        let mut sums = signal.matmul(&weight(format!("layers.{layer}.linear.weight")).tr()) / 4.0;
        for skipped in [&kept, &first].into_iter().take(if layer % 2 == 0 { skips } else { 0 }) {
            sums += skipped / 4.0;
        }
        signal = sums.tanh();
        kept = if layer % 2 == 0 { signal.shallow_clone() } else { kept };
    }
    signal.matmul(&weight("classifier.weight".into()).tr()) / 2.0
}

#[test]
fn a_centered_logistic_net_computes_what_a_tanh_net_of_quartered_weights_does() {
    let _alone = exclusive();
    for skips in 0..=2 {
        let shortcuts = format!("residual = {}, multi_skip = {}", skips > 0, skips > 1);
        let model = format!("name = \"mlp\", depth = 7, width = 48, activation = \"sigmoid\", {shortcuts}");
        let network = network(&format!("{model}, initialization = \"centered_logistic\""), 6);
        let (seen, unseen) = (images(64, 6), images(32, 6) * 2.0);
        fit_to_data(&network, &seen).unwrap();
        let mean = seen.mean_dim([0i64].as_slice(), true, Kind::Float);
        for images in [&seen, &unseen] {
            let got = logits(&network, images).to_kind(Kind::Double);
            let want = tanh_twin(&network, 7, images, &mean, skips);
            let off = largest(&(got - &want));
            // Sums of 48 products of order 1 in f32, seven times.
            assert!(off < 2e-5 && largest(&want) > 0.5, "{skips} skips: off by {off:e} of {}", largest(&want));
        }
    }
}

#[test]
fn centered_weights_have_the_variance_of_their_place_and_a_convolution_is_centered_by_channel() {
    let _alone = exclusive();
    let model =
        "name = \"mlp\", depth = 3, width = 256, activation = \"sigmoid\", initialization = \"centered_logistic\"";
    let drawn = network(model, 16);
    for (layer, scale) in
        [("layers.0.linear", 2.0), ("layers.1.linear", 4.0), ("layers.2.linear", 4.0), ("classifier", 2.0)]
    {
        let weight = param(&drawn, &format!("{layer}.weight"));
        let (got, want) = (std(&weight) * 16.0, scale);
        // Five standard errors: sigma / sqrt(2 n).
        let tolerance = 5.0 * scale / (2.0 * weight.numel() as f64).sqrt();
        assert!((got - want).abs() < tolerance, "{layer}: got {got}, want {want}");
        let sums = weight.sum_dim_intlist([1i64].as_slice(), false, Kind::Float) / -2.0;
        let bias = param(&drawn, &format!("{layer}.bias"));
        let want = if layer == "layers.0.linear" { sums.zeros_like() } else { sums };
        assert!(largest(&(bias - want)) < 1e-5, "{layer}");
    }
    let conv = network(
        "name = \"cnn\", depth = 2, width = 3, activation = \"sigmoid\", initialization = \"centered_logistic\"",
        4,
    );
    let images = images(5, 4);
    fit_to_data(&conv, &images).unwrap();
    let mean = images.mean(Kind::Double).double_value(&[]);
    let (weight, bias) = (param(&conv, "layers.0.conv.weight"), param(&conv, "layers.0.conv.bias"));
    for output in 0..3 {
        let want = -mean * weight.get(output).sum(Kind::Double).double_value(&[]);
        assert!((bias.double_value(&[output]) - want).abs() < 1e-6);
    }
}

#[test]
fn lsuv_gives_every_layer_an_output_of_variance_1_before_its_normalization_too() {
    let _alone = exclusive();
    for model in [
        "name = \"mlp\", depth = 12, width = 32, activation = \"sigmoid\"",
        "name = \"mlp\", depth = 12, width = 32",
        "name = \"cnn\", width = 8, depth = 8, activation = \"tanh\"",
        "name = \"vgg11\", width = 8",
        "name = \"lenet5\"",
    ] {
        let network = network(&format!("{model}, initialization = \"lsuv\""), 32);
        let images = images(16, 32);
        let before = logits(&network, &images);
        fit_to_data(&network, &images).unwrap();
        let count = std::cell::Cell::new(0);
        let see = |tap: &Tap<'_>| {
            let variance = tap.pre_activation.var(false).double_value(&[]);
            assert!((variance - 1.0).abs() < 0.1, "{model}: {} has variance {variance}", tap.layer);
            count.set(count.get() + 1);
            Ok(())
        };
        let after = tch::no_grad(|| network.forward(&images, &Pass::evaluation().with_tap(&see)).unwrap());
        assert!(count.get() >= 4);
        let variance = after.var(false).double_value(&[]);
        assert!((variance - 1.0).abs() < 0.1 && before != after, "{model}: logits of variance {variance}");
    }
    // Running statistics contain mean and variance of each channel: 0.1 times those of the first batch, plus 0.9 times
    // 0 and 1.
    let network = network("name = \"resnet8\", width = 8, initialization = \"lsuv\"", 16);
    let images = images(32, 16);
    let state = bits(&network);
    fit_to_data(&network, &images).unwrap();
    let after = bits(&network);
    for (index, parameter) in network.parameters.iter().enumerate().filter(|(_, parameter)| !parameter.is_trainable) {
        assert_eq!(state[index], after[index], "{}", parameter.name);
    }
    let _ = network.forward(&images, &Pass::training()).unwrap();
    let norms: Vec<String> = network
        .parameters
        .buffers()
        .filter_map(|b| Some(b.name.as_str().strip_suffix(".running_var")?.to_owned()))
        .collect();
    assert_eq!(norms.len(), 9);
    for norm in norms {
        let means = param(&network, &format!("{norm}.running_mean")) * 10.0;
        let variances = (param(&network, &format!("{norm}.running_var")) - 0.9) * 10.0;
        let variance = variances.mean(Kind::Double).double_value(&[]) + means.var(false).double_value(&[]);
        // The running variance is unbiased: 0.2 % larger, with 32 x 4 x 4 values.
        assert!((variance - 1.0).abs() < 0.1, "{norm}: {variance}");
    }
}

#[test]
fn fitting_leaves_the_generator_as_it_was_and_is_done_after_one_pass() {
    let _alone = exclusive();
    for method in ["lsuv", "centered_logistic"] {
        let network = network(
            &format!("name = \"mlp\", dropout = 0.5, activation = \"sigmoid\", initialization = \"{method}\""),
            8,
        );
        let images = images(64, 8);
        let next = |fits: bool| {
            tch::manual_seed(3);
            if fits {
                fit_to_data(&network, &images).unwrap();
            }
            Tensor::rand([4], FLOAT)
        };
        assert_eq!(next(true), next(false), "{method}");
        let fitted = bits(&network);
        tch::manual_seed(3);
        fit_to_data(&network, &images).unwrap();
        assert_eq!(bits(&network), fitted, "{method}");
        // The initialization mode is over: a pass changes no weight.
        let _ = network.forward(&(images * 9.0), &Pass::training()).unwrap();
        assert_eq!(bits(&network), fitted, "{method}");
    }
}

#[test]
fn an_output_that_is_the_same_everywhere_has_no_scale_and_is_left_alone() {
    let _alone = exclusive();
    let network = network("name = \"mlp\", initialization = \"lsuv\"", 4);
    let before = bits(&network);
    fit_to_data(&network, &Tensor::zeros([8, 1, 4, 4], FLOAT)).unwrap();
    fit_to_data(&network, &Tensor::full([8, 1, 4, 4], f64::INFINITY, FLOAT)).unwrap();
    assert_eq!(bits(&network), before);
    assert!(fit_to_data(&network, &Tensor::zeros([8, 1, 5, 4], FLOAT)).is_err());
}
