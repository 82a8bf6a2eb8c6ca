//! Residual branches that add nothing at first, and models that do not support an initialization.

use gradwatch::{
    data::ImageShape,
    model::{self, Parameter, Pass},
};
use tch::{Device, Kind};

use crate::harness::{
    exclusive,
    networks::{config, images, largest, logits, network, std},
};

/// Nets with three or more branches.
const RESIDUAL: [&str; 5] = [
    "name = \"mlp\", depth = 7, width = 24, residual = true",
    "name = \"cnn\", depth = 6, width = 6, residual = true",
    "name = \"vgg13\", width = 2, residual = true",
    "name = \"resnet8\", width = 6",
    "name = \"resnet50\", width = 2",
];

#[test]
fn branches_that_begin_at_0_add_nothing_and_with_factors_of_1_are_those_of_the_plain_net() {
    let _alone = exclusive();
    for (key, parameter) in [("skip_init", "skip_gain"), ("zero_residual", "weight")] {
        for model in RESIDUAL {
            let model = format!("{model}, normalization = \"layer\"");
            let table = |more: &str| format!("{model}, initialization = {{ method = \"kaiming_normal\"{more} }}");
            let plain = network(&table(""), 32);
            let silent = network(&table(&format!(", {key} = true")), 32);
            let images = images(2, 32);
            let is_factor = |p: &&Parameter| p.name.as_str().ends_with(parameter) && largest(&p.tensor) == 0.0;
            let factors: Vec<&Parameter> = silent.parameters.trainable().filter(is_factor).collect();
            assert!(factors.len() >= 3, "{model}: {}", factors.len());
            let quiet = logits(&silent, &images);
            // The output of a branch has no effect.
            let last = factors[0].name.as_str().rsplit_once('.').unwrap().0.to_owned();
            assert_ne!(quiet, logits(&plain, &images), "{model}");
            let gains = factors.iter().map(|factor| factor.tensor.shallow_clone());
            tch::no_grad(|| gains.for_each(|mut gain| _ = gain.fill_(1.0)));
            assert_eq!(logits(&silent, &images), logits(&plain, &images), "{model}: {last}");
        }
    }
}

#[test]
fn skip_gains_stand_where_branches_end_and_are_trained() {
    let _alone = exclusive();
    let names = |model: &str| -> Vec<String> {
        let network = network(&format!("{model}, initialization.skip_init = true"), 32);
        let names = network.parameters.trainable().filter(|p| p.name.as_str().ends_with("skip_gain"));
        names.inspect(|gain| assert_eq!(gain.tensor.size(), [1])).map(|gain| gain.name.to_string()).collect()
    };
    assert_eq!(names(RESIDUAL[0]), ["layers.2.skip_gain", "layers.4.skip_gain", "layers.6.skip_gain"]);
    assert_eq!(names(RESIDUAL[1]), ["layers.1.skip_gain", "layers.3.skip_gain", "layers.5.skip_gain"]);
    assert_eq!(names(RESIDUAL[2])[..2], ["features.2.skip_gain", "features.7.skip_gain"]);
    assert_eq!(names(RESIDUAL[3]), ["layer1.0.skip_gain", "layer2.0.skip_gain", "layer3.0.skip_gain"]);
    assert_eq!(names(RESIDUAL[4]).len(), 16);
    let silent = network(&format!("{}, normalization = \"none\", initialization.skip_init = true", RESIDUAL[3]), 32);
    silent.forward(&images(4, 32), &Pass::training()).unwrap().square().sum(Kind::Float).backward();
    let grad = |name: &str| largest(&silent.parameters.get(name).unwrap().tensor.grad());
    assert!(grad("layer1.0.skip_gain") > 0.0 && grad("conv1.weight") > 0.0);
    assert_eq!((grad("layer1.0.conv1.weight"), grad("layer1.0.conv2.weight")), (0.0, 0.0));
}

#[test]
fn fixup_puts_zeros_where_branches_end_and_scales_what_is_before_by_their_number() {
    let _alone = exclusive();
    // Branches, layers per branch, and the number of kaiming-like weights outside of them.
    for (model, branches, depth) in [
        ("name = \"resnet20\", width = 32", 9.0f64, 2.0),
        ("name = \"resnet50\", width = 16", 16.0, 3.0),
        ("name = \"mlp\", depth = 9, width = 128, residual = true", 4.0, 2.0),
    ] {
        let fixup = network(&format!("{model}, normalization = \"none\", initialization = \"fixup\""), 32);
        let (mut zeros, mut inner, mut outer) = (0.0, 0.0, 0.0);
        for Parameter { name, tensor, .. } in fixup.parameters.trainable().filter(|param| param.tensor.dim() > 1) {
            let name = name.as_str();
            let fan_in = tensor.size()[1..].iter().product::<i64>() as f64;
            let he = std(tensor) / (2.0 / fan_in).sqrt();
            let factor = branches.powf(-1.0 / (2.0 * depth - 2.0));
            let tolerance = 5.0 / (2.0 * tensor.numel() as f64).sqrt();
            let is_outside = name.contains("downsample") || !name.contains("layer") || name.starts_with("layers.0");
            let is_last = name.contains(if depth == 3.0 { ".conv3" } else { ".conv2" });
            let ends = is_last || name == "layers.2.linear.weight" || name == "layers.4.linear.weight";
            if ends || name.ends_with("fc.weight") || name == "classifier.weight" {
                assert_eq!(he, 0.0, "{name}");
                zeros += 1.0;
            } else if is_outside {
                assert!((he - 1.0).abs() < tolerance, "{name}: {he}");
                outer += 1.0;
            } else if !name.starts_with("layers.6") && !name.starts_with("layers.8") {
                assert!((he / factor - 1.0).abs() < tolerance, "{name}: {he}, want {factor}");
                inner += 1.0;
            }
        }
        assert!(zeros >= 3.0 && inner >= 2.0 && outer >= 1.0, "{model}: {zeros} {inner} {outer}");
        let images = images(4, 32);
        assert_eq!(largest(&logits(&fixup, &images)), 0.0);
    }
}

#[test]
fn what_goes_with_no_such_model_is_refused_by_key_in_one_line() {
    let _alone = exclusive();
    let refusal = |model: &str| {
        let input = ImageShape { channels: 1, height: 32, width: 32 };
        model::build(&config(model).model, input, 10, Device::Cpu).unwrap_err().to_string()
    };
    let residual = "want shortcuts; set model.residual = true";
    for (model, want) in [
        ("name = \"mlp\", initialization = \"fixup\"", format!("method: got fixup with model.residual = false, {residual}")),
        (
            "name = \"resnet8\", initialization = \"fixup\"",
            "method: got fixup with model.normalization = \"batch\", want none; set model.normalization = \"none\"".into(),
        ),
        (
            "name = \"mlp\", initialization = \"centered_logistic\"",
            "method: got centered_logistic with model.activation = \"relu\", want sigmoid; set model.activation = \"sigmoid\"".into(),
        ),
        ("name = \"lenet5\", initialization.skip_init = true", format!("skip_init: got true with model.residual = false, {residual}")),
        (
            "name = \"vgg11\", initialization.zero_residual = true",
            format!("zero_residual: got true with model.residual = false, {residual}"),
        ),
        (
            "name = \"mlp\", residual = true, initialization.zero_residual = true",
            "zero_residual: got true with model.normalization = \"none\", want a normalization; set \
             model.normalization, or use skip_init instead"
                .into(),
        ),
        (
            "name = \"resnet8\", initialization = { zero_residual = true, skip_init = true }",
            "skip_init: got true with zero_residual = true, want only one of them; two zeros in a row never learn: \
             remove one".into(),
        ),
        (
            "name = \"nfnet_f0\", initialization = \"fixup\"",
            "method: got fixup, but nfnet_f0 needs another setting, because only branches of mlp, cnn, vgg, and resnet \
             can start at 0; remove the key"
                .into(),
        ),
    ] {
        assert_eq!(refusal(model), format!("model.initialization.{want}"));
    }
}
