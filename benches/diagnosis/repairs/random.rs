//! Runs that repair themselves with random changes.

use std::{ffi::OsString, path::Path};

use gradwatch::{
    config::Config,
    diagnosis::{Change, Remedy},
    events::RunFolder,
    supervisor::Supervisor,
    train::{StopSignal, prepare},
};

use crate::remedies::random_changes;

/// Grid of these runs.
pub(crate) const GRID: &str = "random repair";
/// First argument of the process that trains one of them.
pub(crate) const ARGUMENT: &str = "train-with-random-repairs";

/// Trains a run whose findings it repairs with random changes. `arguments`: config, run name, and settings.
pub(crate) fn train(arguments: &[OsString]) {
    let text: Vec<String> = arguments.iter().map(|text| text.to_string_lossy().into_owned()).collect();
    let [config, name, settings @ ..] = &text[..] else { panic!("want a config and a run name") };
    let config = Config::load(Path::new(config), settings).expect("the settings are those of a run of the grid");
    let folder = RunFolder::create(&config.run.logdir, name).expect("target/ can be written");
    let seed = name.clone();
    let chooser = move |_: &[_], config: &Config| {
        let remedy = |change: String| Remedy { change: Change::from(&*change), why: "is random".to_owned() };
        random_changes(&seed, config.optimizer.learning_rate).map(remedy).collect()
    };
    let supervisor = Supervisor::open(&folder).expect("the folder is new");
    let mut supervisor = supervisor.with_chooser(Box::new(chooser));
    let mut prepared = prepare(config).expect("the run is one of the grid");
    prepared.repairs = supervisor.watch(&prepared.config);
    let state = prepared.start(folder, None).expect("target/ can be written");
    let stop = StopSignal::install().expect("signals can be handled");
    match supervisor.train(state, &stop, None) {
        Ok((state, _)) => _ = state.close(),
        // A random change may make the run fail; it counts as it is.
        Err(error) => eprintln!("{name}: {error}"),
    }
}
