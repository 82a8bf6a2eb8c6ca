//! Runs that repair themselves with the changes of a test.

use std::{fs, path::Path};

use gradwatch::{
    checkpoint::{FOLDER, Loaded, list},
    config::Config,
    diagnosis::{Change, Remedy, WeightTransfer},
    events::RunFolder,
    recording::Ending,
    repair::{Outcome, RepairRecord, Trial},
    supervisor::{Chooser, Supervisor},
    train::{StopSignal, prepare},
};
use serde_json::Value;

use crate::harness::exclusive;

/// The learning rate rises until training breaks.
const TOML: &str = r#"
run = { max_steps = 240, max_epochs = 100, threads = 1, device = "cpu", seed = 1 }
data = { source = "synthetic", batch_size = 32, samples = 320 }
model = { name = "mlp", width = 32, depth = 3 }
optimizer = { name = "sgd", momentum = 0.9, learning_rate = 1.5 }
schedule = { warmup_steps = 200 }
repair = { mode = "auto", trial_steps = 10, budget = 9.0, allow = ["*"] }
checkpoint = { every_steps = 5, every_epochs = 0, keep_last = 30 }
"#;

/// Trains a run that tries these changes in their order.
fn train(place: &Path, changes: &'static [&'static str]) -> (Supervisor, Result<Ending, String>) {
    let config = Config::parse(TOML, "test").unwrap();
    let folder = RunFolder::create(place, "run").unwrap();
    let remedy = |change: &&str| Remedy { change: Change::from(*change), why: "is on the list".to_owned() };
    let chooser: Chooser = Box::new(move |_, _| changes.iter().map(remedy).collect());
    let mut supervisor = Supervisor::open(&folder).unwrap().with_chooser(chooser);
    let mut prepared = prepare(config).unwrap();
    prepared.repairs = supervisor.watch(&prepared.config);
    let state = prepared.start(folder, None).unwrap();
    let (state, ending) = supervisor.train(state, &StopSignal::install().unwrap(), None).unwrap();
    let _ = state.close();
    (supervisor, ending.map_err(|error| error.to_string()))
}

fn trials(supervisor: &Supervisor) -> Vec<(Trial, Outcome)> {
    supervisor.history().trials().map(|(trial, outcome)| (trial.clone(), outcome)).collect()
}

/// Loss of a step in the metrics of a folder.
fn loss(folder: &Path, step: u64) -> f64 {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut losses = lines.filter(|line| line["kind"] == "step" && line["step"] == step);
    losses.next().unwrap()["loss"].as_f64().unwrap()
}

#[test]
fn layers_are_inserted_into_trained_weights_and_the_loss_goes_on_from_there() {
    let _alone = exclusive();
    let place = tempfile::tempdir().unwrap();
    let (supervisor, _) = train(place.path(), &["model.normalization = \"batch\""]);
    let (trial, outcome) = &trials(&supervisor)[0];
    assert_eq!(trial.weights, WeightTransfer::Mapped);
    let (run, from) = (place.path().join("run"), trial.from_step.expect("a checkpoint"));
    // The steps of a trial that failed are abandoned too.
    let tried = if matches!(outcome, Outcome::Kept(_)) { run.clone() } else { run.join("abandoned/2") };
    let [first, before] = [0, from].map(|step| loss(&run.join("abandoned/1"), step));
    let after = loss(&tried, from);
    // A batch has other statistics than the images to which the layers are fitted.
    assert!((before - after).abs() < 0.1 * first, "{first} at first, {before} -> {after}");
    let least = (0..from).map(|step| loss(&run.join("abandoned/1"), step)).fold(f64::INFINITY, f64::min);
    assert!(least < 0.7 * first, "it had learned: {first} at first, {least} at best");
}

#[test]
fn a_run_that_started_again_in_vain_ends_with_its_last_healthy_checkpoint() {
    let _alone = exclusive();
    let place = tempfile::tempdir().unwrap();
    let changes = &["optimizer.weight_decay = 0.00001", "model.initialization = \"kaiming_uniform\""];
    let (supervisor, ending) = train(place.path(), changes);
    assert!(matches!(ending, Ok(Ending::Unrepaired(_))), "{ending:?}");
    let trials = trials(&supervisor);
    assert!(trials.len() >= 2 && trials.iter().any(|(trial, _)| trial.from_step.is_none()), "{trials:#?}");
    assert!(trials.iter().all(|(_, outcome)| matches!(outcome, Outcome::Undone(..))), "{trials:#?}");
    let records = supervisor.history().records();
    let step = records.iter().find_map(|record| match record {
        RepairRecord::GaveUp { from_step, .. } => *from_step,
        _ => None,
    });
    let run = place.path().join("run");
    let checkpoints = list(&run.join(FOLDER)).unwrap();
    let (name, path) = checkpoints.last().unwrap();
    assert_eq!(Some(name.step), step);
    // The weights are those before the run started again, with the logs of that time.
    assert!(Loaded::read(path).unwrap().config().contains("learning_rate = 1.5"));
    assert_eq!(loss(&run, name.step - 1), loss(&run.join("abandoned/1"), name.step - 1));
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(!text.contains(&format!("\"step\":{}", name.step + 1)), "steps after the checkpoint are gone");
}
