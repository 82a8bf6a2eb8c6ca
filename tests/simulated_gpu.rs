//! What a run does on a CUDA device, counted on a simulated one: launches, copies and waits. See tests/simcuda/README.md.

mod harness;
#[path = "harness/members.rs"]
mod members;
#[path = "harness/simcuda.rs"]
mod simcuda;

use std::fs;

use harness::{Outcome, Workplace, limit};
use members::MEMBERS;
use simcuda::{Counts, SimulatedGpu};

const STEPS: &str = r#"
run = { max_epochs = 9, threads = 1, device = "cuda:0" }
data = { source = "synthetic", samples = 32, classes = 4, image_size = 32, channels = 3, batch_size = 4 }
model = { name = "mlp" }
optimizer = { learning_rate = 0.01 }
monitor = { preset = "off", first_steps = 0 }
checkpoint = { every_epochs = 0 }
evaluate = { every_epochs = 0 }
"#;
/// Nothing is read on the steps that are counted.
const UNTRACKED: &str = "monitor.every_steps=1000";
const TRACKED: &str = "monitor.preset=full";

/// What the fourth and the fifth step of a run take.
fn two_steps(workplace: &Workplace, settings: &[&str]) -> Counts {
    let gpu = SimulatedGpu::get();
    let run = |steps: &str| {
        let folder = workplace.run_folder(steps);
        let _ = fs::remove_dir_all(&folder);
        let mut arguments = vec!["train", "small.toml", "--run-name", steps, "--max-steps", steps];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        gpu.count(&mut workplace.command(&arguments))
    };
    let earlier = run("4");
    run("6") - earlier
}

/// What no step may do.
fn assert_nothing_waits(counts: &Counts, what: &str) {
    for name in [
        "copies to device, waited for",
        "of them .item()",
        "device synchronizations",
        "stream synchronizations",
        "ops that wait by themselves",
        "foreach ops on the slow path",
        "VIOLATIONS",
    ] {
        assert_eq!(counts.of(name), 0, "{what}: {name}: {counts:?}");
    }
}

#[test]
fn the_device_notices_what_it_is_there_to_notice() {
    let checked = SimulatedGpu::get().script("selftest.sh");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn watching_any_family_adds_four_launches_and_one_wait_to_a_step() {
    let workplace = Workplace::new(STEPS);
    for (name, width) in MEMBERS {
        let [model, width] = [format!("model.name={name}"), format!("model.width={width}")];
        let counts = |settings: &[&str]| two_steps(&workplace, &[&[model.as_str(), &width], settings].concat());
        let untracked = counts(&[UNTRACKED]);
        assert_nothing_waits(&untracked, name.name());
        assert_eq!(untracked.of("copies to host, waited for"), 0, "{name}");
        let tracked = counts(&[TRACKED]);
        assert_nothing_waits(&tracked, name.name());
        assert_eq!(tracked.of("copies to host, waited for"), 2, "{name}");
        let added = tracked.launches() - untracked.launches();
        assert!(added <= 2 * 4, "{name}: watching adds {added} launches to two steps");
        let clipped = counts(&[UNTRACKED, "clipping.mode=agc"]);
        assert_nothing_waits(&clipped, name.name());
        let added = clipped.launches() - untracked.launches();
        assert!(added <= 2 * 3, "{name}: AGC adds {added} launches to two steps");
    }
}

#[test]
fn launches_do_not_grow_with_the_parameters() {
    let workplace = Workplace::new(STEPS);
    let added = |depth: &str, settings: &[&str]| {
        let counts = |settings: &[&str]| two_steps(&workplace, &[&[depth], settings].concat()).launches();
        counts(settings) - counts(&[UNTRACKED])
    };
    for settings in [&[TRACKED][..], &[UNTRACKED, "clipping.mode=agc"], &[UNTRACKED, "clipping.mode=adagc"]] {
        assert_eq!(added("model.depth=2", settings), added("model.depth=12", settings), "{settings:?}");
    }
}

fn trains_to(workplace: &Workplace, name: &str, settings: &[&str], kernels: bool) -> Outcome {
    let mut arguments = vec!["train", "small.toml", "--run-name", name, "--max-steps", "5"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let mut command = workplace.command(&arguments);
    SimulatedGpu::get().show_to(&mut command);
    if !kernels {
        // Not from a cache that has them.
        command.env("SIMCUDA_NO_KERNELS", "1").env("XDG_CACHE_HOME", workplace.path());
    }
    Outcome::of(&mut command)
}

#[test]
fn a_gpu_without_kernels_trains_as_well_and_says_so_once() {
    let workplace = Workplace::new(STEPS);
    let weights = |name: &str| fs::read(workplace.run_folder(name).join("weights/last.safetensors")).unwrap();
    let ours = trains_to(&workplace, "ours", &[TRACKED], true);
    assert_eq!(ours.code, Some(0), "{ours:#?}");
    assert!(!ours.stderr.contains("WARN"), "{}", ours.stderr);
    let without = trains_to(&workplace, "without", &[TRACKED], false);
    assert_eq!(without.code, Some(0), "{without:#?}");
    let warnings = without.stderr.matches("statistics are computed by libtorch's operations").count();
    assert!(warnings == 1 && without.stderr.contains("simcuda: NVRTC"), "{}", without.stderr);
    let aten = trains_to(&workplace, "aten", &[TRACKED, "monitor.kernels=aten"], false);
    assert!(aten.code == Some(0) && !aten.stderr.contains("WARN"), "{aten:#?}");
    assert!(weights("ours") == weights("without") && weights("ours") == weights("aten"));
}

#[test]
fn a_damaged_cache_of_kernels_is_made_anew() {
    let workplace = Workplace::new(STEPS);
    let cache = workplace.path().join("gradwatch");
    let train = |name: &str| {
        let mut command = workplace.command(&["train", "small.toml", "--run-name", name, "--max-steps", "1"]);
        SimulatedGpu::get().show_to(&mut command).env("XDG_CACHE_HOME", workplace.path());
        let outcome = Outcome::of(&mut command);
        assert!(outcome.code == Some(0) && !outcome.stderr.contains("WARN"), "{outcome:#?}");
    };
    train("first");
    let kept = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&kept).unwrap();
    fs::write(&kept, b"damaged").unwrap();
    train("second");
    assert_eq!(fs::read(&kept).unwrap(), whole);
    // What cannot be kept is no reason to say anything.
    fs::remove_dir_all(&cache).unwrap();
    fs::write(&cache, b"a file").unwrap();
    train("third");
}

#[test]
fn too_little_memory_ends_a_run_with_what_to_do_and_a_code_of_its_own() {
    let workplace = Workplace::new(STEPS);
    let mut command = workplace.command(&["train", "small.toml", "--set", "model.name=resnet18"]);
    SimulatedGpu::get().show_to(&mut command).env("SIMCUDA_MEMORY_MB", "60");
    let outcome = Outcome::of(&mut command);
    assert_eq!(outcome.code, Some(14), "{outcome:#?}");
    let last = outcome.stderr.lines().last().unwrap();
    for words in ["CUDA out of memory. Tried to allocate", "data.batch_size", "bf16"] {
        assert!(last.contains(words), "{last}");
    }
}

#[test]
fn too_little_memory_ends_an_evaluation_likewise() {
    let workplace = Workplace::new(STEPS);
    let trained = trains_to(&workplace, "run", &[UNTRACKED], true);
    assert_eq!(trained.code, Some(0), "{trained:#?}");
    let mut command = workplace.command(&["evaluate", "logs/run", "--weights", "last", "--device", "cuda:0"]);
    SimulatedGpu::get().show_to(&mut command).env("SIMCUDA_MEMORY_MB", "1");
    let outcome = Outcome::of(&mut command);
    assert_eq!(outcome.code, Some(14), "{outcome:#?}");
    assert!(outcome.stderr.lines().last().unwrap().contains("data.batch_size"), "{outcome:#?}");
}

#[test]
fn a_gpu_that_is_not_there_is_told_with_those_that_are() {
    let workplace = Workplace::new(STEPS);
    let told = |devices: &str| {
        let mut command = workplace.command(&["train", "small.toml", "--set", "run.device=cuda:5"]);
        let output = limit::output(SimulatedGpu::get().show_to(&mut command).env("SIMCUDA_DEVICES", devices));
        assert_eq!(output.status.code(), Some(7));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(told("1").contains("this machine has one GPU, cuda:0; set run.device = \"cpu\", or use cuda:0"));
    assert!(
        told("3").contains("this machine has 3 GPUs, cuda:0 to cuda:2; set run.device = \"cpu\", or use one of these")
    );
}
