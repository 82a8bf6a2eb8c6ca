//! Inspects models with a known outcome, before their first step.

use gradwatch::{
    config::{Config, RuleName},
    inspect::{Inspection, Verdict, inspect},
};

use crate::harness::{Workplace, exclusive};

/// An MLP on synthetic images.
fn toml(model: &str) -> String {
    format!(
        "run = {{ max_steps = 1, threads = 1 }}\n\
         data = {{ source = \"synthetic\", samples = 300, image_size = 8, channels = 1, batch_size = 64 }}\n\
         model = {{ name = \"mlp\", {model} }}\n"
    )
}

fn look(model: &str) -> Inspection {
    let _alone = exclusive();
    inspect(Config::parse(&toml(model), "test").unwrap(), 2).unwrap()
}

const LOGISTIC: &str = "width = 128, depth = 6, activation = \"sigmoid\", initialization = \"xavier_normal\"";

#[test]
fn theory_and_measurement_agree_layer_by_layer() {
    for model in [
        "initialization = \"kaiming_normal\"",
        "initialization = { method = \"xavier_normal\", gain = 1.0 }",
        "initialization = \"default\"",
        "activation = \"tanh\", initialization = \"xavier_normal\"",
        "activation = \"tanh\", initialization = { method = \"xavier_normal\", gain = 1.0 }",
        "activation = \"sigmoid\", initialization = \"xavier_normal\"",
        "activation = \"gelu\", initialization = \"kaiming_normal\"",
        "activation = \"sigmoid\", initialization = \"centered_logistic\"",
        "activation = \"tanh\", initialization = \"lsuv\"",
        "initialization = \"orthogonal\"",
        "normalization = \"batch\"",
        "normalization = \"layer\", activation = \"silu\"",
    ] {
        let seen = look(&format!("width = 256, depth = 6, {model}"));
        for layer in &seen.layers[..5] {
            let (factor, expected) = (layer.factor.unwrap(), layer.expected_factor.unwrap());
            assert!((factor / expected - 1.0).abs() < 0.1, "{model}: {layer:#?}");
        }
        let (slope, expected) = (seen.slope.unwrap().log2_per_layer, seen.expected_slope.unwrap());
        assert!((slope - expected).abs() < 0.1, "{model}: slope {slope}, expected {expected}");
    }
}

#[test]
fn relu_with_he_is_silent_and_ends_that_are_not_finite_are_told() {
    let healthy = look("width = 256, depth = 10, initialization = \"kaiming_normal\"");
    assert_eq!(healthy.findings, []);
    assert!(healthy.layers.iter().all(|layer| layer.verdict == Verdict::Ok), "{healthy:#?}");
    let huge = look("initialization = { method = \"normal\", std = 1e15 }");
    assert!(huge.loss.is_nan() && huge.ratio.is_none() && huge.slope.is_none());
    assert!(huge.layers.iter().all(|layer| layer.verdict == Verdict::NotFinite));
    assert_eq!(huge.findings[0].rule, RuleName::PoorInitialization);
    let unpredicted = look("depth = 4, activation = \"sigmoid\", initialization = \"yilmaz_poli\"");
    assert!(unpredicted.expected_slope.is_none() && unpredicted.layers[0].expected_factor.is_none());
    let one = look("depth = 1");
    assert_eq!((one.layers.len(), one.slope, one.ratio, one.findings.len()), (1, None, None, 0));
}

#[test]
fn a_logistic_net_of_six_layers_is_told_to_vanish_with_the_change_that_cures_it_and_nothing_is_written() {
    let workplace = Workplace::new(&toml(LOGISTIC));
    let outcome = workplace.call(&["inspect", "small.toml", "--try", "--format", "json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["findings"][0]["rule"], "vanishing");
    let slope = report["slope"]["log2_per_layer"].as_f64().unwrap();
    // 0.23 to 0.24 per layer.
    assert!((slope - 0.235f64.log2()).abs() < 0.15, "{slope}");
    assert_eq!(report["layers"][2]["verdict"], "shrinks");
    // Four layers train and five stall.
    let bound = report["depth"]["bound"]["layers"].as_f64().unwrap();
    assert!((4.0..5.0).contains(&bound), "{bound}");
    let trials = report["trials"].as_array().unwrap();
    let trial = |change: &str| trials.iter().position(|trial| trial["change"] == change).unwrap();
    let cured = trial("model.activation = \"relu\"");
    assert_eq!(trials[cured]["inspection"]["findings"].as_array().unwrap().len(), 0);
    let centred = trial("model.initialization = \"centered_logistic\"");
    assert_eq!(trials[centred]["inspection"]["findings"].as_array().unwrap().len(), 0);
    assert_eq!(report["findings"][0]["remedies"][0]["change"], "model.initialization = \"centered_logistic\"");
    // Best first: shortcuts alone still shrink the gradient.
    assert!(cured < trial("model.residual = true"), "{trials:#?}");
    let text = workplace.call(&["inspect", "small.toml", "--try"]).stdout;
    assert!(text.starts_with("vanishing (critical): "), "{text}");
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    let files: Vec<_> = std::fs::read_dir(workplace.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["small.toml"]);
}

#[test]
fn every_family_can_be_looked_at() {
    let _alone = exclusive();
    for name in ["lenet5", "cnn", "vgg11", "resnet8"] {
        let toml = format!(
            "run = {{ max_steps = 1, threads = 1 }}\n\
             data = {{ source = \"synthetic\", samples = 40, image_size = 32, batch_size = 8 }}\n\
             model = {{ name = \"{name}\", width = 8, initialization = \"kaiming_normal\" }}\n"
        );
        let seen = inspect(Config::parse(&toml, "test").unwrap(), 1).unwrap();
        assert_eq!(seen.expected_slope.is_none(), name == "resnet8", "{name}");
        assert!(seen.layers.iter().all(|layer| layer.seen.gradient_rms.is_some()), "{name}");
        assert!(seen.slope.unwrap().log2_per_layer.abs() < 1.5, "{name}: {:?}", seen.slope);
    }
}

#[test]
fn what_cannot_be_looked_at_is_an_error_with_the_code_of_its_kind() {
    let workplace = Workplace::new(&toml("depth = 1, normalization = \"batch\""));
    let outcome = workplace.call(&["inspect", "small.toml", "--set", "data.batch_size=1"]);
    assert_eq!(outcome.code, Some(3), "{outcome:#?}");
    assert!(outcome.stderr.contains("every batch has one image (270 images in batches of 1)"), "{outcome:#?}");
    std::fs::write(workplace.path().join("events.out.tfevents.1.host"), [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f]).unwrap();
    for (arguments, code, want) in [
        (&["small.toml", "--set", "model.depht=1"][..], 3, "did you mean model.depth?"),
        (&["nowhere.toml"], 3, "nowhere.toml"),
        (&["."], 3, "config ."),
        (&["events.out.tfevents.1.host"], 3, "events.out.tfevents.1.host"),
        (&["small.toml", "--set", "data={source=\"idx\", path=\"gone\"}"], 4, "gone"),
        (&["small.toml", "--set", "model={name=\"vgg11\"}"], 5, "vgg11"),
        (&["small.toml", "--set", "model={name=\"mlp\", width=1048576}"], 5, "model.width"),
        (&["small.toml", "--set", "run.device=\"cuda:63\""], 7, "cuda:63"),
    ] {
        let outcome = workplace.call(&[&["inspect"], arguments].concat());
        assert_eq!((outcome.code, &*outcome.stdout), (Some(code), ""), "{arguments:?}: {outcome:#?}");
        let errors: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("gradwatch: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(want), "{arguments:?}: {outcome:#?}");
    }
    assert_eq!(workplace.call(&["inspect", "small.toml", "--batches", "0"]).code, Some(2));
}
