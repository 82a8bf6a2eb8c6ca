//! Runs in other precisions, and runs with non-finite steps.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use gradwatch::{
    config::Config,
    events::RunFolder,
    libtorch::Hook,
    train::{State, StopSignal, TrainError, prepare, train},
};
use tch::{Kind, Tensor};

use crate::harness::{exclusive, scalars};

const BASE: [&str; 9] = [
    "run.threads = 1",
    "data.source = \"synthetic\"",
    "data.samples = 96",
    "data.classes = 3",
    "data.image_size = 8",
    "data.channels = 1",
    "data.batch_size = 8",
    "model = { name = \"cnn\", width = 8, depth = 3, normalization = \"batch\" }",
    "optimizer.learning_rate = 0.01",
];

/// Config lines that replace those of the base with the same key.
fn config(settings: &str) -> Config {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let own: Vec<String> = settings.lines().map(key).collect();
    let base: Vec<&str> = BASE.into_iter().filter(|line| !own.contains(&key(line))).collect();
    Config::parse(&format!("{}\n{settings}", base.join("\n")), "numerics").unwrap()
}

fn state(settings: &str, logdir: &Path) -> State {
    let prepared = prepare(config(settings)).unwrap();
    prepared.start(RunFolder::create(logdir, "run").unwrap(), None).unwrap()
}

/// The scalars of a whole run, by tag and step.
fn run(toml: &str) -> impl Fn(&str, i64) -> f64 + use<> {
    let logdir = tempfile::tempdir().unwrap();
    let mut state = state(toml, logdir.path());
    train(&mut state, &StopSignal::default()).unwrap();
    let folder = state.folder().to_owned();
    assert!(!state.close());
    let scalars = scalars(&folder);
    let toml = toml.to_owned();
    move |tag, step| {
        let bits = scalars.get(&(tag.to_owned(), step)).unwrap_or_else(|| panic!("{toml}: no {tag} at {step}"));
        f64::from(f32::from_bits(*bits))
    }
}

const FIGURES: [&str; 4] =
    ["loss/step", "grad_norm/total", "layer_grad_rms/layers.0.conv", "activation_rms/layers.2.conv"];

#[test]
fn what_is_shown_of_half_precision_is_the_truth_of_single_precision() {
    let _alone = exclusive();
    let run_in = |settings: &str| run(&format!("run.max_steps = 2\nrun.{settings}"));
    let single = run_in("precision = \"fp32\"");
    // Mantissas of 8 and 11 bits, and f32 in another order, through three layers forward and backward.
    for (settings, slack) in
        [("precision = \"bf16\"", 3e-2), ("precision = \"fp16\"", 4e-3), ("channels_last = true", 1e-5)]
    {
        let half = run_in(settings);
        for tag in FIGURES {
            let (got, want) = (half(tag, 0), single(tag, 0));
            assert!((got - want).abs() <= slack * want, "{settings}: {tag} {got} {want}");
        }
    }
}

#[test]
fn micro_batches_add_up_to_the_batch_in_every_precision() {
    let _alone = exclusive();
    for (precision, slack) in [("fp32", 1e-5), ("bf16", 3e-2), ("fp16", 4e-3)] {
        // Without batch normalization, whose statistics depend on the micro-batch.
        let run = |size: usize, count: usize| {
            run(&format!(
                "run.max_steps = 1\nrun.precision = \"{precision}\"\nmodel = {{ name = \"cnn\", width = 8, depth = 3 }}\n\
                 data.batch_size = {size}\noptimizer.accumulation_steps = {count}"
            ))("grad_norm/total", 0)
        };
        let (whole, parts) = (run(8, 1), run(2, 4));
        assert!((whole - parts).abs() <= slack * whole, "{precision}: {whole} {parts}");
    }
}

#[test]
fn an_overflow_of_the_scaled_loss_skips_the_step_and_halves_the_scale() {
    let _alone = exclusive();
    let logdir = tempfile::tempdir().unwrap();
    let mut state = state("run.max_steps = 6\nrun.precision = \"fp16\"", logdir.path());
    let scale = |state: &State| state.gradients().scaler().unwrap().state()[0].1.double_value(&[0]);
    let _ = state.gradients().scaler().unwrap().state()[0].1.shallow_clone().fill_(2f64.powi(40));
    let before = weights(&state);
    state.config.run.max_steps = Some(1);
    train(&mut state, &StopSignal::default()).unwrap();
    assert_eq!(weights(&state), before);
    assert_eq!((scale(&state), state.counters().skipped_steps), (2f64.powi(39), 1));
    // Replacing overflowed values with zeros does not hide the overflow.
    let logdir = tempfile::tempdir().unwrap();
    let settings = "run.max_steps = 1\nrun.precision = \"fp16\"\noptimizer.non_finite = \"zero\"";
    let mut zeroing = self::state(settings, logdir.path());
    let _ = zeroing.gradients().scaler().unwrap().state()[0].1.shallow_clone().fill_(2f64.powi(40));
    train(&mut zeroing, &StopSignal::default()).unwrap();
    assert_eq!(scale(&zeroing), 2f64.powi(39));
}

fn weights(state: &State) -> Vec<Tensor> {
    state.model().network.parameters.iter().map(|parameter| parameter.tensor.detach().copy()).collect()
}

/// Sets the first element of a gradient to NaN in one call of the hook.
fn plant(state: &State, call: usize) -> Hook {
    let param = &state.model().network.parameters.get("layers.1.conv.weight").unwrap().tensor;
    let calls = AtomicUsize::new(0);
    Hook::before_accumulation(param, move |grad| {
        (calls.fetch_add(1, Ordering::Relaxed) == call).then(|| {
            let bad = grad.copy();
            let _ = bad.view(-1).get(0).fill_(f64::NAN);
            bad
        })
    })
    .unwrap()
}

#[test]
fn a_skipped_step_leaves_no_trace_in_anything_that_goes_on() {
    let _alone = exclusive();
    let toml = "run.max_steps = 8\nclipping.mode = \"zclip\"\nclipping.zclip.warmup_steps = 2\n\
                ema.decay = 0.9\nschedule.name = \"cosine\"\noptimizer.name = \"adamw\"";
    let logdir = tempfile::tempdir().unwrap();
    let mut state = state(toml, logdir.path());
    let everything = |state: &State| -> Vec<Tensor> {
        let clipping = state.optimization().clipping.state().into_iter().map(|(_, tensor)| tensor.copy());
        let optimizer = state.optimization().optimizer.state().into_iter().map(|(_, tensor)| tensor.copy());
        let ema = state
            .model()
            .ema
            .as_ref()
            .unwrap()
            .state()
            .into_iter()
            .map(|(_, tensor)| tensor.copy())
            .collect::<Vec<_>>();
        weights(state).into_iter().chain(clipping).chain(optimizer).chain(ema).collect()
    };
    state.config.run.max_steps = Some(3);
    train(&mut state, &StopSignal::default()).unwrap();
    let before = everything(&state);
    let _hook = plant(&state, 0);
    state.config.run.max_steps = Some(4);
    train(&mut state, &StopSignal::default()).unwrap();
    assert_eq!(everything(&state), before);
    state.config.run.max_steps = Some(6);
    train(&mut state, &StopSignal::default()).unwrap();
    assert_eq!(state.counters().skipped_steps, 1);
    let folder = state.folder().to_owned();
    assert!(!state.close());
    let written = scalars(&folder);
    let rate = |step: i64| written[&("learning_rate".to_owned(), step)];
    // The step after the skipped one has its learning rate.
    assert_eq!(rate(3), rate(4));
    assert_ne!(rate(4), rate(5));
}

#[test]
fn a_run_may_stop_at_the_first_bad_step_or_put_zeros_in_its_place() {
    let _alone = exclusive();
    let logdir = tempfile::tempdir().unwrap();
    let mut stopping = state("run.max_steps = 5\noptimizer.non_finite = \"stop\"", logdir.path());
    let _hook = plant(&stopping, 2);
    let error = train(&mut stopping, &StopSignal::default()).unwrap_err();
    assert!(matches!(error, TrainError::NonFinite { step: 2, in_a_row: 1, .. }), "{error}");

    let logdir = tempfile::tempdir().unwrap();
    let mut zeroing = state("run.max_steps = 5\noptimizer.non_finite = \"zero\"", logdir.path());
    let _hook = plant(&zeroing, 2);
    train(&mut zeroing, &StopSignal::default()).unwrap();
    assert_eq!((zeroing.counters().skipped_steps, zeroing.counters().taken_steps), (1, 5));
    let is_finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) == 1;
    assert!(weights(&zeroing).iter().all(|weight| weight.kind() != Kind::Float || is_finite(weight)));
}

#[test]
fn the_average_of_the_weights_is_evaluated_beside_them() {
    let _alone = exclusive();
    let figure = run("run.max_steps = 6\nema = { decay = 0.5, warmup = false }");
    assert!(figure("accuracy/ema", 6).is_finite() && figure("loss/ema", 6).is_finite());
    assert_ne!(figure("loss/ema", 6), figure("loss/validation", 6));
}

#[test]
fn frozen_parameters_keep_their_values_and_groups_have_their_own_rate() {
    let _alone = exclusive();
    let logdir = tempfile::tempdir().unwrap();
    let toml = "run.max_steps = 3\n[[optimizer.groups]]\nparameters = [\"layers.0.*\"]\nfreeze = true\n\
                [[optimizer.groups]]\nparameters = [\"layers.1.*\"]\nlearning_rate_scale = 0.0";
    let mut state = state(toml, logdir.path());
    let before = weights(&state);
    train(&mut state, &StopSignal::default()).unwrap();
    for (parameter, before) in state.model().network.parameters.trainable().zip(
        before
            .iter()
            .zip(state.model().network.parameters.iter())
            .filter(|(_, p)| p.is_trainable)
            .map(|(before, _)| before),
    ) {
        let name = parameter.name.as_str();
        let is_still = name.starts_with("layers.0.") || name.starts_with("layers.1.");
        assert_eq!(parameter.tensor.detach() == *before, is_still, "{name}");
    }
    let unknown = config("run.max_steps = 1\n[[optimizer.groups]]\nparameters = [\"nothing.*\"]");
    let Err(error) = prepare(unknown) else { panic!() };
    assert!(error.to_string().contains("no parameter matches nothing.*"), "{error}");
    let frozen = config("run.max_steps = 1\n[[optimizer.groups]]\nparameters = [\"*\"]\nfreeze = true");
    assert!(matches!(prepare(frozen), Err(TrainError::NothingToTrain)));
}
