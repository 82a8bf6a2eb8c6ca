//! Work of a run on a CUDA device, counted on a simulated one: launches, copies, and waits. See
//! tests/simcuda/README.md.
//!
//! A binary of its own: it starts itself again with the simulated device, to count the launches of a bare model in a
//! process that does nothing else.

#[path = "harness/limit.rs"]
mod limit;
#[path = "harness/members.rs"]
mod members;
#[path = "harness/simcuda.rs"]
mod simcuda;
#[path = "harness/workplace.rs"]
mod workplace;

use std::{env, fs, process::Command};

use gradwatch::{
    config::Config,
    data::ImageShape,
    libtorch::{clear_grads, resolve_device},
    model::{self, Pass},
    optim::{Optimizer, Rates, StepControl, parameter_groups},
};
use members::MEMBERS;
use simcuda::{Counts, SimulatedGpu};
use tch::{Kind, Reduction, Tensor};
use workplace::{Outcome, Workplace};

const STEPS: &str = r#"
run = { max_epochs = 9, threads = 1, device = "cuda:0" }
data = { source = "synthetic", samples = 32, classes = 4, image_size = 32, channels = 3, batch_size = 4 }
model = { name = "mlp" }
optimizer = { learning_rate = 0.01 }
monitor = { preset = "off", first_steps = 0 }
checkpoint = { every_epochs = 0 }
evaluate = { every_epochs = 0 }
"#;
/// The counted steps have no readings.
const UNTRACKED: &str = "monitor.every_steps=1000";
const TRACKED: &str = "monitor.preset=full";

/// Passes the model and the number of steps to [`plain_steps`].
const PLAIN_MODEL: &str = "GRADWATCH_PLAIN_MODEL";
const PLAIN_STEPS: &str = "GRADWATCH_PLAIN_STEPS";

/// Training steps with only the model: forward, loss, backward, optimizer. It runs in its own process, so that its
/// launches can be counted.
#[test]
#[ignore = "a_step_launches_little_more_than_the_model_and_the_optimizer runs it"]
fn plain_steps() {
    let [model, steps] = [PLAIN_MODEL, PLAIN_STEPS].map(|name| env::var(name).expect(name));
    let device = resolve_device("cuda:0").unwrap();
    let toml = STEPS.replace("name = \"mlp\"", &model);
    let config = Config::parse(&toml, "plain").unwrap();
    let shape = ImageShape { channels: 3, height: 32, width: 32 };
    let network = model::build(&config.model, shape, 4, device).unwrap();
    let trained = || network.parameters.trainable();
    let named = trained().map(|parameter| (parameter.name.as_str(), &parameter.tensor));
    let mut optimizer = Optimizer::new(&config.optimizer, parameter_groups(named, &config.optimizer)).unwrap();
    let params: Vec<Tensor> = trained().map(|parameter| parameter.tensor.shallow_clone()).collect();
    let images = Tensor::ones([4, 3, 32, 32], (Kind::Float, device));
    let labels = Tensor::zeros([4], (Kind::Int64, device));
    for _ in 0..steps.parse().unwrap() {
        let logits = network.forward(&images, &Pass::training()).unwrap();
        logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0).backward();
        optimizer.step(Rates { learning_rate: 0.01, momentum: 0.9 }, &StepControl::default()).unwrap();
        clear_grads(&params).unwrap();
    }
}

/// Counts of two of these steps.
fn two_plain_steps(model: &str) -> Counts {
    let run = |steps: &str| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "plain_steps"]).env(PLAIN_MODEL, model).env(PLAIN_STEPS, steps);
        SimulatedGpu::get().count(&mut command)
    };
    let earlier = run("4");
    run("6") - earlier
}

/// Counts of the fourth and fifth step of a run.
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

/// Checks that the steps contain nothing that waits.
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

/// Launches of an untracked step in addition to the model and the optimizer: images from bytes (1), the mean over the step's images
/// forward and backward (2), predictions (1), the norm of all gradients (3), the coefficient of no clip (1), and the count of
/// skipped steps (1); with batch normalization, copies of its buffers before the step (2) and their check after it (1).
const OWN_LAUNCHES: i64 = 12;

#[test]
fn a_step_launches_little_more_than_the_model_and_the_optimizer() {
    let workplace = Workplace::new(STEPS);
    for (name, width) in MEMBERS {
        let plain = two_plain_steps(&format!("name = \"{name}\", width = {width}")).launches();
        let [model, width] = [format!("model.name={name}"), format!("model.width={width}")];
        let untracked = two_steps(&workplace, &[&model, &width, UNTRACKED]).launches();
        println!("{name}: {} launches a step, {} of the model and the optimizer", untracked / 2, plain / 2);
        assert!(untracked - plain <= 2 * OWN_LAUNCHES, "{name}: two steps launch {untracked}, plain ones {plain}");
    }
}

#[test]
fn a_checkpoint_makes_no_step_wait() {
    let workplace = Workplace::new(STEPS);
    let counts = |settings: &[&str]| two_steps(&workplace, &[&["model.name=resnet8", UNTRACKED], settings].concat());
    let without = counts(&[]);
    let with = counts(&["checkpoint.every_steps=1"]);
    assert_nothing_waits(&with, "a checkpoint");
    let waited = "copies to host, waited for";
    // The state of the generator is on the host.
    assert_eq!(with.of(waited), without.of(waited), "{with:?}");
    assert!(with.of("copies to host, not waited for") > without.of("copies to host, not waited for") + 40, "{with:?}");
}

/// The tensors of a run's checkpoint at a step.
fn checkpoint(workplace: &Workplace, name: &str) -> Vec<Vec<u8>> {
    let folder = workplace.run_folder(name).join("checkpoints");
    let checkpoint = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let files = ["model", "optimizer", "training"];
    files.map(|file| fs::read(checkpoint.join(format!("{file}.safetensors"))).unwrap()).into()
}

#[test]
fn what_a_checkpoint_copies_is_read_after_it_arrived() {
    let workplace = Workplace::new(STEPS);
    let settings = ["model.name=resnet8", "checkpoint.every_steps=2", "optimizer.name=adamw", UNTRACKED];
    let train = |name: &str, lazy: &str| {
        let mut arguments = vec!["train", "small.toml", "--run-name", name, "--max-steps", "5"];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let mut command = workplace.command(&arguments);
        SimulatedGpu::get().show_to(&mut command).env("SIMCUDA_LAZY", lazy);
        let outcome = Outcome::of(&mut command);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    };
    train("prompt", "0");
    // Here a copy is NaN until the host has waited for it.
    train("lazy", "1");
    assert!(checkpoint(&workplace, "lazy") == checkpoint(&workplace, "prompt"));
}

#[test]
fn the_noise_of_micro_batches_is_summed_a_share_of_the_parameters_at_a_time() {
    let workplace = Workplace::new(STEPS);
    let model = ["model.name=densenet121", "model.width=4", "optimizer.accumulation_steps=4", TRACKED];
    let launches = |settings: &[&str]| two_steps(&workplace, &[&model[..], settings].concat()).launches();
    let added = launches(&["monitor.noise_scale_every_steps=1"]) - launches(&["monitor.noise_scale_every_steps=0"]);
    // 364 parameters; three of four micro-batches have hooks, each with at most 17 sums of 5 launches.
    assert!(added <= 2 * 3 * 17 * 5 + 2 * 10, "the noise scale adds {added} launches to two steps");
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
        // Not from a cache with compiled kernels.
        command.env("SIMCUDA_NO_KERNELS", "1").env("XDG_CACHE_HOME", workplace.path());
    }
    Outcome::of(&mut command)
}

#[test]
fn a_gpu_without_kernels_trains_as_well_and_says_so_once() {
    let workplace = Workplace::new(STEPS);
    let weights = |name: &str| fs::read(workplace.run_folder(name).join("weights/last.safetensors")).unwrap();
    let images = ["data.augment.cutout=9", "data.augment.hflip=0.5", "run.channels_last=true", "model.name=resnet8"];
    // The findings of its small batches are warnings too.
    let images = [&images[..], &["diagnosis.enabled=false"]].concat();
    let settings = [&images[..], &[TRACKED]].concat();
    let ours = trains_to(&workplace, "ours", &settings, true);
    assert_eq!(ours.code, Some(0), "{ours:#?}");
    assert!(!ours.stderr.contains("WARN"), "{}", ours.stderr);
    let without = trains_to(&workplace, "without", &settings, false);
    assert_eq!(without.code, Some(0), "{without:#?}");
    let warnings = without.stderr.matches("statistics are computed by libtorch's operations").count();
    assert!(warnings == 1 && without.stderr.contains("simcuda: NVRTC"), "{}", without.stderr);
    let aten = trains_to(&workplace, "aten", &[&settings[..], &["monitor.kernels=aten"]].concat(), false);
    assert!(aten.code == Some(0) && !aten.stderr.contains("WARN"), "{aten:#?}");
    assert!(weights("ours") == weights("without") && weights("ours") == weights("aten"));
    // One channel has the same memory order either way, and must have the same strides.
    let gray = [&settings[..], &["data.channels=1"]].concat();
    for (name, kernels) in [("gray", true), ("gray-without", false)] {
        let outcome = trains_to(&workplace, name, &gray, kernels);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    }
    assert!(weights("gray") == weights("gray-without"));
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
    // A cache that cannot be written causes no message.
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

#[test]
fn ranks_on_gpus_without_nccl_end_at_once_with_one_line() {
    let workplace = Workplace::new(STEPS);
    let mut command = workplace.command(&["train", "small.toml", "--ranks", "2", "--run-name", "run"]);
    let outcome = Outcome::of(SimulatedGpu::get().show_to(&mut command).env_remove("OMP_NUM_THREADS"));
    assert_eq!(outcome.code, Some(15), "{outcome:#?}");
    let want = "this libtorch has no NCCL; install libtorch with CUDA, or set run.device = \"cpu\"";
    assert!(outcome.stderr.contains(want) && !outcome.stderr.contains("check the network"), "{}", outcome.stderr);
    assert!(!workplace.run_folder("run").exists());
}
