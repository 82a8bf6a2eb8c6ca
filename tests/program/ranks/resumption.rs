//! A run resumes on another number of ranks, also from the middle of an epoch.

use std::path::Path;

use super::{
    comparison::{COMMON, IMAGES, assert_equal},
    team::{Meeting, RANK, Team, succeed},
};
use crate::{
    harness::{Outcome, Workplace, checkpoints::checkpoints},
    run_folder::copy_folder,
};

/// Five steps per epoch: the checkpoint of step 7 is in the middle of the second one.
const TOML: &str = r#"
model = { name = "cnn", width = 4, depth = 2, normalization = "batch", dropout = 0.2 }
optimizer = { name = "adamw", learning_rate = 0.01, accumulation_steps = 3 }
ema = { decay = 0.9 }
clipping = { mode = "autoclip" }
"#;

const SETTINGS: [&str; 8] = [
    "--set",
    "run.max_steps=14",
    "--set",
    "run.max_epochs=10",
    "--set",
    "checkpoint.every_steps=7",
    "--set",
    "data.augment={ hflip = 0.5, random_crop = 1, mixing = { mixup = 0.4 } }",
];

fn arguments(name: &str) -> Vec<&str> {
    [&["train", "small.toml", "--resume", "auto", "--run-name", name], &SETTINGS[..]].concat()
}

/// Trains 7 steps on `world` ranks, of which the last one is killed in the eighth.
fn begin(workplace: &Workplace, name: &str, world: usize) {
    let mut commands = Meeting::of(world).ranks(workplace, &arguments(name));
    commands.last_mut().unwrap().env("GRADWATCH_FAULT", "kill step 8");
    let ended = Team::of(workplace, commands).wait();
    let (killed, others) = ended.split_last().unwrap();
    assert_eq!(killed.signal, Some(9), "{killed:?}");
    for other in others {
        let error = other.fails(RANK);
        assert!(error.starts_with(&format!("rank {} (", world - 1)) && error.contains("killed"), "{error}");
    }
    assert_newest(&workplace.run_folder(name), "step-00000007");
}

fn assert_newest(run: &Path, want: &str) {
    let newest = checkpoints(run).pop().unwrap();
    assert!(newest.to_string_lossy().ends_with(want), "{}", newest.display());
}

#[test]
fn a_run_resumes_on_any_number_of_ranks_as_if_it_had_not_changed() {
    let workplace = Workplace::new(&format!("{COMMON}{IMAGES}{TOML}"));
    let plain = Outcome::of(&mut workplace.command(&arguments("plain")));
    assert_eq!(plain.code, Some(0), "{plain:?}");
    let plain = workplace.run_folder("plain");
    assert_newest(&plain, "step-00000014");
    for (begun_on, resumed_on) in [(3, 1), (3, 2), (3, 4), (1, 3), (2, 2)] {
        let name = format!("from{begun_on}-on{resumed_on}");
        begin(&workplace, &name, begun_on);
        let ended = match resumed_on {
            1 => Team::of(&workplace, vec![workplace.command(&arguments(&name))]).wait(),
            _ => Team::start(&workplace, resumed_on, &arguments(&name)).wait(),
        };
        assert!(ended[0].stderr.contains("at step 7, epoch 2"), "{ended:?}");
        succeed(ended);
        let run = workplace.run_folder(&name);
        assert_equal(&run, &plain, &format!("begun on {begun_on} ranks, resumed on {resumed_on}"));
        let checked = workplace.call(&["checkpoints", &format!("logs/{name}"), "--verify"]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
}

#[test]
fn gradwatch_resume_takes_the_config_of_the_run_on_every_rank() {
    let workplace = Workplace::new(&format!("{COMMON}{IMAGES}{TOML}"));
    let plain = Outcome::of(&mut workplace.command(&arguments("plain")));
    assert_eq!(plain.code, Some(0), "{plain:?}");
    begin(&workplace, "run", 2);
    succeed(Team::start(&workplace, 3, &["resume", "logs/run"]).wait());
    assert_equal(&workplace.run_folder("run"), &workplace.run_folder("plain"), "gradwatch resume");
    // A finished run has nothing to do.
    let again = Team::start(&workplace, 2, &["resume", "logs/run"]).wait();
    assert!(again[0].stderr.contains("the run had already ended at step 14"), "{again:?}");
    succeed(again);
    assert_equal(&workplace.run_folder("run"), &workplace.run_folder("plain"), "resumed again");
}

/// Its random numbers are those of one process.
#[test]
fn a_run_of_an_earlier_version_resumes_in_one_process_only() {
    let workplace = Workplace::new("");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/run");
    copy_folder(&golden, &workplace.run_folder("run"));
    let arguments = ["resume", "logs/run", "--set", "run.max_steps=20"];
    for ended in Team::start(&workplace, 2, &arguments).wait() {
        let error = ended.fails(10);
        assert!(error.ends_with("whose random numbers are those of one rank; resume it on one rank"), "{error}");
    }
    succeed(Team::of(&workplace, vec![workplace.command(&arguments)]).wait());
}
