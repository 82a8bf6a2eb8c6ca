//! The runs: faults and hard negatives, each on several architectures with several seeds.

use gradwatch::config::RuleName::{self, *};

use crate::{
    case::{Case, Effect, Recipe},
    images::{Form, Variant},
    own_loops,
};

/// An architecture with settings that train it well.
struct Architecture {
    name: &'static str,
    settings: &'static [&'static str],
    /// The learning rate for these settings.
    learning_rate: f64,
    has_normalization: bool,
    is_mlp: bool,
}

const ARCHITECTURES: [Architecture; 5] = [
    Architecture {
        name: "mlp",
        settings: &["model.name=mlp", "model.width=64", "model.depth=4", "model.initialization=kaiming_normal"],
        learning_rate: 0.05,
        has_normalization: false,
        is_mlp: true,
    },
    Architecture {
        name: "lenet5",
        settings: &["model.name=lenet5", "model.initialization=kaiming_normal"],
        learning_rate: 0.02,
        has_normalization: false,
        is_mlp: false,
    },
    Architecture {
        name: "cnn",
        settings: &["model.name=cnn", "model.width=8", "model.depth=6", "model.initialization=kaiming_normal"],
        learning_rate: 0.02,
        has_normalization: false,
        is_mlp: false,
    },
    Architecture {
        name: "resnet8",
        settings: &["model.name=resnet8", "model.width=8", "model.normalization=batch"],
        learning_rate: 0.1,
        has_normalization: true,
        is_mlp: false,
    },
    Architecture {
        name: "mlp-norm",
        settings: &[
            "model.name=mlp",
            "model.width=64",
            "model.depth=8",
            "model.normalization=batch",
            "model.residual=true",
            "model.initialization=kaiming_normal",
        ],
        learning_rate: 0.05,
        has_normalization: true,
        is_mlp: true,
    },
];

/// A kind of run: its name, its settings, its images, and the rules that identify its fault.
type Kind = (&'static str, &'static [&'static str], Variant, Option<&'static [RuleName]>);

const PLAIN: &str = "model.normalization=none";
const STRAIGHT: &str = "model.residual=false";
const VANISHES: Option<&[RuleName]> = Some(&[Vanishing]);
const DRAWN: Option<&[RuleName]> = Some(&[PoorInitialization]);
const TOO_HIGH: Option<&[RuleName]> = Some(&[LearningRate, UpdateRatio]);

/// Faults of any architecture. `lr=` stands for a multiple of the architecture's learning rate.
const FAULTS: [Kind; 13] = [
    (
        "weights too small",
        &[PLAIN, STRAIGHT, "model.initialization={method=\"normal\",std=0.003}"],
        Variant::Clean,
        DRAWN,
    ),
    (
        "weights too large",
        &[PLAIN, STRAIGHT, "model.initialization={method=\"normal\",std=1.0}"],
        Variant::Clean,
        DRAWN,
    ),
    ("constant weights", &["model.initialization={method=\"constant\",value=0.05}"], Variant::Clean, DRAWN),
    (
        "dead from the start",
        &[PLAIN, STRAIGHT, "model.activation=relu", "model.initialization={method=\"normal\",mean=-0.2,std=0.1}"],
        Variant::Clean,
        Some(&[PoorInitialization, DeadRelu]),
    ),
    ("learning rate x 100", &["lr=100"], Variant::Clean, TOO_HIGH),
    ("learning rate / 2000", &["lr=0.0005"], Variant::Clean, Some(&[LearningRate])),
    ("AdamW at 3.0", &["optimizer.name=adamw", "optimizer.learning_rate=3.0"], Variant::Clean, TOO_HIGH),
    (
        "raw pixels",
        &[PLAIN, "data.normalize=given", "data.mean=[0.0]", "data.std=[0.00392]"],
        Variant::Clean,
        Some(&[InputNotNormalized]),
    ),
    ("weights left out of the optimizer", &["left out"], Variant::Clean, Some(&[UnchangedParameter])),
    ("labels shuffled", &[], Variant::Shuffled, Some(&[LabelNoise])),
    ("one class in fifty", &[], Variant::Imbalanced, Some(&[LabelImbalance])),
    (
        "learned by heart",
        &["run.max_epochs=110", "evaluate.every_epochs=10", "optimizer.weight_decay=0.0"],
        Variant::Few,
        Some(&[Overfitting]),
    ),
    (
        "batch norm of two",
        &["model.normalization=batch", "data.batch_size=2", "data.drop_last=true", "lr=0.1", "run.max_steps=560"],
        Variant::Clean,
        Some(&[BatchNorm]),
    ),
];

/// Faults of depth.
const DEEP_FAULTS: [(&str, Kind); 13] = [
    (
        "cnn",
        (
            "torch's initialization",
            &["model.initialization=default"],
            Variant::Clean,
            Some(&[LossPlateau, PoorInitialization, Vanishing]),
        ),
    ),
    (
        "mlp",
        (
            "8 logistic layers",
            &["model.activation=sigmoid", "model.initialization=xavier_normal", "model.depth=8"],
            Variant::Clean,
            VANISHES,
        ),
    ),
    (
        "mlp",
        (
            "6 logistic layers",
            &["model.activation=sigmoid", "model.initialization=xavier_normal", "model.depth=6", "lr=2"],
            Variant::Clean,
            VANISHES,
        ),
    ),
    (
        "mlp",
        (
            "5 logistic layers",
            &["model.activation=sigmoid", "model.initialization=xavier_normal", "model.depth=5", "lr=2"],
            Variant::Clean,
            VANISHES,
        ),
    ),
    (
        "mlp",
        (
            "60 logistic layers",
            &["model.activation=sigmoid", "model.initialization=xavier_normal", "model.depth=60"],
            Variant::Clean,
            Some(&[Vanishing, Denormal]),
        ),
    ),
    (
        "mlp",
        (
            "20 ReLU layers, Xavier",
            &["model.initialization={method=\"xavier_normal\",gain=1.0}", "model.depth=20"],
            Variant::Clean,
            VANISHES,
        ),
    ),
    (
        "mlp",
        ("40 layers, batch norm", &["model.normalization=batch", "model.depth=40"], Variant::Clean, Some(&[Exploding])),
    ),
    (
        "lenet5",
        (
            "logistic, small weights",
            &["model.activation=sigmoid", "model.initialization={method=\"normal\",std=0.05}"],
            Variant::Clean,
            Some(&[Vanishing, PoorInitialization]),
        ),
    ),
    (
        "cnn",
        (
            "10 logistic layers",
            &["model.activation=sigmoid", "model.initialization=xavier_normal", "model.depth=10"],
            Variant::Clean,
            VANISHES,
        ),
    ),
    (
        "cnn",
        (
            "20 ReLU layers, Xavier",
            &["model.initialization={method=\"xavier_normal\",gain=0.8}", "model.depth=20"],
            Variant::Clean,
            Some(&[Vanishing, PoorInitialization]),
        ),
    ),
    (
        "resnet8",
        (
            "logistic, no shortcuts",
            &["model.activation=sigmoid", "model.initialization=xavier_normal", PLAIN, STRAIGHT],
            Variant::Clean,
            VANISHES,
        ),
    ),
    (
        "mlp-norm",
        (
            "16 logistic layers, plain",
            &["model.activation=sigmoid", "model.initialization=xavier_normal", "model.depth=16", PLAIN, STRAIGHT],
            Variant::Clean,
            VANISHES,
        ),
    ),
    ("mlp-norm", ("50 layers, no shortcuts", &["model.depth=50", STRAIGHT], Variant::Clean, Some(&[Exploding]))),
];

/// Healthy runs that resemble faulty ones.
const HEALTHY: [Kind; 16] = [
    ("as it is", &[], Variant::Clean, None),
    ("tanh", &["model.activation=tanh", "model.initialization=xavier_normal"], Variant::Clean, None),
    ("GELU", &["model.activation=gelu"], Variant::Clean, None),
    ("ELU", &["model.activation=elu"], Variant::Clean, None),
    ("leaky ReLU", &["model.activation=leaky_relu"], Variant::Clean, None),
    ("AdamW", &["optimizer.name=adamw", "optimizer.learning_rate=0.001"], Variant::Clean, None),
    ("warm-up and cosine to 0", &["schedule.name=cosine", "schedule.warmup_epochs=1.0"], Variant::Clean, None),
    (
        "one cycle, clipped",
        &["schedule.name=one_cycle", "clipping.mode=norm", "clipping.max_norm=0.5"],
        Variant::Clean,
        None,
    ),
    ("a fifth of the labels wrong", &[], Variant::Noisy, None),
    ("dropout, weight decay", &["model.dropout=0.2", "optimizer.weight_decay=1e-3"], Variant::Clean, None),
    (
        "batches of 16",
        &["data.batch_size=16", "lr=0.3", "run.max_steps=560", "evaluate.every_steps=94"],
        Variant::Clean,
        None,
    ),
    ("batches of 256", &["data.batch_size=256", "run.max_epochs=12"], Variant::Clean, None),
    ("pixels of 0 to 1", &["data.normalize=none"], Variant::Clean, None),
    ("one class in five", &[], Variant::Uneven, None),
    ("label smoothing, crops", &["loss.label_smoothing=0.1", "data.augment.random_crop=2"], Variant::Clean, None),
    ("synthetic images", &["data.normalize=computed", "lr=0.25"], Variant::Synthetic, None),
];

/// Healthy runs of one architecture.
const MORE_HEALTHY: [(&str, Kind); 13] = [
    ("mlp", ("torch's initialization", &["model.initialization=default"], Variant::Clean, None)),
    ("lenet5", ("torch's initialization", &["model.initialization=default"], Variant::Clean, None)),
    ("resnet8", ("torch's initialization", &["model.initialization=default"], Variant::Clean, None)),
    ("mlp-norm", ("torch's initialization", &["model.initialization=default"], Variant::Clean, None)),
    (
        "mlp",
        (
            "3 logistic layers",
            &["model.activation=sigmoid", "model.initialization=xavier_normal", "model.depth=3", "lr=2"],
            Variant::Clean,
            None,
        ),
    ),
    (
        "mlp",
        (
            "20 ReLU layers, He",
            &["model.depth=20", "optimizer.name=adamw", "optimizer.learning_rate=0.0005"],
            Variant::Clean,
            None,
        ),
    ),
    (
        "mlp",
        (
            "20 tanh layers",
            &[
                "model.activation=tanh",
                "model.initialization={method=\"xavier_normal\",gain=1.0}",
                "model.depth=20",
                "lr=0.4",
            ],
            Variant::Clean,
            None,
        ),
    ),
    ("mlp", ("sparse ReLU", &["model.depth=3", "lr=2"], Variant::Clean, None)),
    ("mlp", ("momentum 0.95", &["optimizer.momentum=0.95", "lr=0.5"], Variant::Clean, None)),
    ("lenet5", ("average of the weights", &["ema.decay=0.99"], Variant::Clean, None)),
    ("cnn", ("group norm", &["model.normalization=group", "lr=2"], Variant::Clean, None)),
    ("resnet8", ("no shortcuts", &[STRAIGHT], Variant::Clean, None)),
    ("mlp-norm", ("layer norm", &["model.normalization=layer"], Variant::Clean, None)),
];

/// Every run, with each of the seeds.
pub(crate) fn all(seeds: &[u64]) -> Vec<Case> {
    let mut cases = Vec::new();
    for architecture in &ARCHITECTURES {
        let own = |kinds: &'static [(&str, Kind)]| {
            kinds.iter().filter(|(of, _)| *of == architecture.name).map(|(_, kind)| kind)
        };
        for kind in FAULTS.iter().chain(&HEALTHY).chain(own(&DEEP_FAULTS)).chain(own(&MORE_HEALTHY)) {
            cases.extend(seeds.iter().map(|&seed| case(architecture, kind, seed)));
        }
    }
    for architecture in own_loops::ARCHITECTURES {
        for (name, twist, fault) in own_loops::KINDS {
            let (images, recipe) = (Variant::Clean, Recipe::OwnLoop(twist));
            let (name, form, optimizer) = (name.to_owned(), Form::Gray28, "own");
            let effect = fault.map_or(Effect::Healthy, Effect::Fault);
            let (grid, is_search, trial, seed) = ("small", false, None, 0);
            let case =
                Case { architecture, optimizer, name, seed, images, form, recipe, grid, effect, is_search, trial };
            cases.extend(seeds.iter().map(|&seed| Case { seed, ..case.clone() }));
        }
    }
    cases
}

fn case(architecture: &Architecture, &(name, changes, images, fault): &Kind, seed: u64) -> Case {
    let mut settings: Vec<String> = architecture.settings.iter().map(|&setting| setting.to_owned()).collect();
    let mut learning_rate = architecture.learning_rate;
    for &change in changes {
        match change.split_once('=') {
            Some(("lr", factor)) => learning_rate *= factor.parse::<f64>().expect("a number of the table above"),
            None => settings.push(left_out(architecture)),
            Some(_) => settings.push(change.to_owned()),
        }
    }
    if !settings.iter().any(|setting| setting.starts_with("optimizer.learning_rate=")) {
        settings.push(format!("optimizer.learning_rate={learning_rate}"));
    }
    // Without its normalization, a net needs a smaller learning rate.
    let is_stripped = architecture.has_normalization && settings.iter().any(|setting| setting == PLAIN);
    if is_stripped && architecture.is_mlp {
        settings.push("optimizer.momentum=0.8".into());
    }
    Case {
        architecture: architecture.name,
        optimizer: "sgd",
        name: name.to_owned(),
        seed,
        images,
        form: Form::Gray28,
        recipe: Recipe::Program(settings),
        grid: "small",
        effect: fault.map_or(Effect::Healthy, Effect::Fault),
        is_search: false,
        trial: None,
    }
}

/// A group of parameters whose learning rate is 0.
fn left_out(architecture: &Architecture) -> String {
    let is_named_conv = ["lenet5", "resnet8"].contains(&architecture.name);
    let pattern = if is_named_conv { "*conv2*" } else { "layers.1.*" };
    format!("optimizer.groups=[{{parameters=[\"{pattern}\"],learning_rate_scale=0.0}}]")
}
