//! Runs of every family of networks, with every optimizer: a search over learning rates, faults in every part, and
//! healthy variations.
//!
//! The accuracy of a run decides whether it is healthy, not its config; the scores do so.

use crate::{
    case::{Case, Effect, Recipe},
    families::{FAMILIES, Family, OPTIMIZERS},
    images::{Form, Variant},
    kinds::{FAULTS, HEALTHY, Kind},
};

/// Settings of every run, on top of those of the small grid: 240 steps, six evaluations, and full measurements on every
/// tenth step.
const COMMON: &str = "run.max_epochs=1000 run.max_steps=240 data.batch_size=32 evaluate.every_epochs=0 \
                      evaluate.every_steps=40 monitor.first_steps=10 monitor.parameters_every_steps=10 \
                      monitor.layers_every_steps=10 monitor.weights_every_steps=10 monitor.histograms_every_steps=0";

/// Factors of the learning rate in the search.
const SEARCH: [f64; 5] = [0.03, 0.2, 1.0, 5.0, 30.0];
/// Factors in the search for tasks of their own.
const TASK_SEARCH: [f64; 2] = [0.2, 5.0];

/// All runs.
pub(crate) fn all() -> Vec<Case> {
    let mut runs = Vec::new();
    for (place, family) in FAMILIES.iter().enumerate() {
        let optimizers = [OPTIMIZERS[2 * place % OPTIMIZERS.len()].0, OPTIMIZERS[(2 * place + 1) % OPTIMIZERS.len()].0];
        for optimizer in optimizers {
            runs.extend(SEARCH.map(|factor| searched(family, optimizer, Variant::Clean, "", factor)));
        }
        for (number, kind) in FAULTS.iter().chain(HEALTHY).enumerate() {
            // Kinds that few families can have run on all of them.
            let is_rare = FAMILIES.iter().filter(|family| (kind.applies)(family.changes)).count() < FAMILIES.len() / 2;
            let fits = (kind.applies)(family.changes) && !(family.changes.is_fixed && kind.images.is_other_head());
            if !fits || !(is_rare || (place + number).is_multiple_of(family.one_in)) {
                continue;
            }
            let optimizer = kind.optimizer.unwrap_or(optimizers[number % 2]);
            runs.push(planned(family, optimizer, kind));
            if matches!(kind.effect, Effect::Healthy) && kind.images != Variant::Clean {
                let settings = kind.settings;
                runs.extend(TASK_SEARCH.map(|factor| searched(family, optimizer, kind.images, settings, factor)));
            }
        }
    }
    runs
}

/// The run of a family without a fault, at its own learning rate.
pub(crate) fn healthy_twin(family: &str, optimizer: &'static str) -> Case {
    let family = FAMILIES.iter().find(|known| known.name == family).expect("a family of the table");
    searched(family, optimizer, Variant::Clean, "", 1.0)
}

fn searched(family: &Family, optimizer: &'static str, images: Variant, settings: &'static str, factor: f64) -> Case {
    let of_task = if images == Variant::Clean { String::new() } else { format!("{images:?}, ").to_lowercase() };
    let name = format!("{of_task}{optimizer} x {factor}");
    Case { is_search: true, ..run(family, optimizer, name, images, settings, factor) }
}

fn planned(family: &Family, optimizer: &'static str, kind: &Kind) -> Case {
    let name = format!("{} ({optimizer})", kind.name);
    Case { effect: kind.effect, ..run(family, optimizer, name, kind.images, kind.settings, 1.0) }
}

fn run(family: &Family, optimizer: &'static str, name: String, images: Variant, changes: &str, factor: f64) -> Case {
    let model = family.model.split(' ').map(|setting| format!("model.{setting}"));
    let mut settings: Vec<String> = COMMON.split_whitespace().map(str::to_owned).chain(model).collect();
    settings.push(format!("optimizer.name={optimizer}"));
    let (mut rate, mut is_given) = (family.rate(optimizer) * factor, false);
    match changes {
        "left out" => settings.push("optimizer.groups=[{parameters=[\"*2*weight\"],learning_rate_scale=0.0}]".into()),
        "frozen" => {
            settings.push(format!("optimizer.groups=[{{parameters=[{HEADS}]}},{{parameters=[\"*\"],freeze=true}}]"))
        }
        changes => {
            for change in changes.split(' ').filter(|change| !change.is_empty()) {
                match change.split_once('=') {
                    Some(("lr", factor)) => rate *= factor.parse::<f64>().expect("a number of the tables"),
                    _ => settings.push(change.to_owned()),
                }
                is_given |= change.starts_with("optimizer.learning_rate=");
            }
        }
    }
    if !is_given {
        settings.push(format!("optimizer.learning_rate={rate:e}"));
    }
    let is_two = matches!(images, Variant::TwoHard | Variant::TwoEasy | Variant::TwoUneven);
    let form = if is_two && family.form == Form::Color32 { Form::Gray32 } else { family.form };
    Case {
        architecture: family.name,
        optimizer,
        name,
        seed: 1,
        images,
        form,
        recipe: Recipe::Program(settings),
        grid: "families",
        effect: Effect::Healthy,
        is_search: false,
        trial: None,
    }
}

/// Patterns for the last layer of all families.
const HEADS: &str = "\"fc3.*\",\"head*\",\"fc.*\",\"classifier*\",\"output*\"";
