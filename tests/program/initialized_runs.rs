//! Every initialization in runs on real images: no rule reports healthy ones, and data-dependent weights are fitted
//! once.

use std::path::Path;

use gradwatch::{
    config::{Config, InitializationMethod as Method},
    diagnosis::Severity,
    inspect::{Inspection, inspect},
};

use crate::harness::{Workplace, exclusive, last_weights, write_images};

/// A config with Fashion-MNIST and a model.
fn toml(images: &Path, model: &str) -> String {
    format!(
        "run = {{ max_steps = 40, threads = 1 }}\n\
         data = {{ source = \"idx\", path = {images:?}, batch_size = 64 }}\n\
         model = {{ {model} }}\n\
         optimizer = {{ learning_rate = 0.02 }}\n\
         monitor = {{ first_steps = 40, layers_every_steps = 1, weights_every_steps = 1 }}\n\
         checkpoint = {{ every_steps = 3, every_epochs = 0 }}\n"
    )
}

/// An MLP and a residual CNN in which a method is healthy.
fn models(method: Method) -> [String; 2] {
    let activation = match method {
        // The activations that these methods are designed for.
        Method::YilmazPoli | Method::CenteredLogistic => "sigmoid",
        // The first pixels of an image are at the border, where a ReLU would be off.
        Method::Identity => "tanh",
        _ => "relu",
    };
    let std = if method == Method::Normal { ", std = 0.1" } else { "" };
    // Shortcuts add to signals of He's scale at every branch, and convolutions have many weights with a mean below 0.
    let is_large = matches!(method, Method::KaimingUniform | Method::KaimingNormal | Method::YilmazPoli);
    let normalization = if is_large { "batch" } else { "none" };
    let rest = format!("activation = \"{activation}\", initialization = {{ method = \"{method}\"{std} }}");
    let residual = method == Method::Fixup;
    [
        format!("name = \"mlp\", depth = 5, width = 64, residual = {residual}, {rest}"),
        format!("name = \"cnn\", depth = 6, width = 16, residual = true, normalization = \"{normalization}\", {rest}"),
    ]
}

fn look(toml: &str) -> Inspection {
    let _alone = exclusive();
    inspect(Config::parse(toml, "test").unwrap(), 2).unwrap()
}

#[test]
fn no_rule_misjudges_a_healthy_net_of_any_initialization_before_its_first_step() {
    let workplace = Workplace::new("");
    let images = workplace.path().join("images");
    write_images(&images, 640);
    // Equal weights are a fault, and a rule reports them.
    let methods = Method::ALL.iter().copied().filter(|method| *method != Method::Constant);
    let silent = ["zero_residual", "skip_init"].into_iter().flat_map(|key| {
        [
            "name = \"mlp\", depth = 7, width = 784, residual = true",
            "name = \"cnn\", residual = true",
            "name = \"resnet8\"",
        ]
        .map(|model| format!("{model}, normalization = \"batch\", initialization.{key} = true"))
    });
    let models: Vec<String> = methods.flat_map(models).chain(silent).collect();
    assert_eq!(models.len(), 2 * (Method::ALL.len() - 1) + 6);
    let complaints = |model: &String| {
        let seen = look(&toml(&images, model));
        let verdicts = seen.layers.iter().map(|layer| layer.verdict.name()).filter(|name| *name != "ok");
        let causes = seen.findings.iter().map(|finding| &*finding.cause);
        let all: Vec<&str> = causes.chain(verdicts).collect();
        (!all.is_empty()).then(|| format!("{model}: {all:?}"))
    };
    let wrong: Vec<String> = models.iter().filter_map(complaints).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn branches_that_begin_at_0_are_no_finding_in_the_first_steps_either() {
    let workplace = Workplace::new("");
    let images = workplace.path().join("images");
    write_images(&images, 640);
    for (name, model) in [
        ("fixup", "name = \"resnet20\", width = 8, normalization = \"none\", initialization = \"fixup\""),
        ("fixup_mlp", "name = \"mlp\", depth = 7, width = 64, residual = true, initialization = \"fixup\""),
        (
            "skip",
            "name = \"cnn\", width = 8, residual = true, initialization = { method = \"kaiming_normal\", skip_init = true }",
        ),
        ("zero", "name = \"resnet8\", initialization.zero_residual = true"),
    ] {
        std::fs::write(workplace.path().join("small.toml"), toml(&images, model)).unwrap();
        let run = workplace.train(name, &[]);
        let findings = std::fs::read_to_string(run.join("findings.jsonl")).unwrap_or_default();
        let told: Vec<&str> =
            findings.lines().filter(|line| !line.contains(&format!("\"severity\":\"{}\"", Severity::Info))).collect();
        assert!(told.is_empty(), "{name}: {told:#?}");
    }
}

#[test]
fn a_run_is_fitted_where_it_starts_and_not_where_it_goes_on_and_nothing_else_of_it_changes() {
    let workplace = Workplace::new("");
    let images = workplace.path().join("images");
    write_images(&images, 640);
    for method in ["lsuv", "centered_logistic"] {
        let model = format!(
            "name = \"mlp\", depth = 3, width = 16, activation = \"sigmoid\", dropout = 0.2, initialization = \"{method}\""
        );
        std::fs::write(workplace.path().join("small.toml"), toml(&images, &model)).unwrap();
        let [whole, again, parts] = ["whole", "again", "parts"].map(|name| format!("{method}-{name}"));
        let whole = workplace.train(&whole, &["run.max_steps=6"]);
        let again = workplace.train(&again, &["run.max_steps=6", "monitor.preset=off"]);
        assert_eq!(last_weights(&whole), last_weights(&again), "{method}");
        let run = workplace.train(&parts, &["run.max_steps=3"]);
        assert_ne!(last_weights(&whole), last_weights(&run));
        let outcome = workplace.call(&["resume", run.to_str().unwrap(), "--set", "run.max_steps=6"]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_eq!(last_weights(&whole), last_weights(&run), "{method}");
    }
}
