//! A run's telemetry against a slow reference implementation that reads every element itself.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gradwatch::{
    config::Config,
    events::RunFolder,
    libtorch::Hook,
    train::{State, StopSignal, prepare, train},
};
use tch::{Kind, Tensor};

use crate::harness::{exclusive, scalars};

fn state(toml: &str, logdir: &std::path::Path) -> State {
    let toml = format!(
        "data = {{ source = \"synthetic\", samples = 100, classes = 3, image_size = 8, channels = 1, batch_size = 8 }}\n\
         {toml}"
    );
    let prepared = prepare(Config::parse(&toml, "telemetry").unwrap()).unwrap();
    prepared.start(RunFolder::create(logdir, "run").unwrap(), None).unwrap()
}

fn elements(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).contiguous().flatten(0, -1)).unwrap()
}

fn norm(elements: &[f64]) -> f64 {
    elements.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Reference statistics of one tensor: tag prefix and value.
fn twin(group: &str, elements: &[f64]) -> Vec<(String, f64)> {
    let count = elements.len() as f64;
    let mean = elements.iter().sum::<f64>() / count;
    let figures = [
        ("norm", norm(elements)),
        ("rms", norm(elements) / count.sqrt()),
        ("max_abs", elements.iter().fold(0.0, |most: f64, v| most.max(v.abs()))),
        ("mean", mean),
        ("std", (elements.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt()),
        ("zero_fraction", elements.iter().filter(|v| **v == 0.0).count() as f64 / count),
    ];
    figures.into_iter().map(|(name, value)| (format!("{group}_{name}"), value)).collect()
}

#[test]
fn every_number_of_a_parameter_in_tensorboard_is_the_twins() {
    let _alone = exclusive();
    let logdir = tempfile::tempdir().unwrap();
    // Plain SGD without decay, so that the update is the gradient times the learning rate, up to f32 rounding.
    let toml = "run = { max_steps = 3, threads = 1 }\nmodel = { name = \"cnn\", width = 4, depth = 2 }\n\
                optimizer = { learning_rate = 0.5, momentum = 0.0, weight_decay = 0.0 }";
    let mut state = state(toml, logdir.path());
    let params: Vec<(String, Tensor)> = state
        .model()
        .network
        .parameters
        .trainable()
        .map(|param| (param.name.to_string(), param.tensor.shallow_clone()))
        .collect();
    // The reference hook keeps each gradient, and the weight before the step.
    type Kept = Vec<(Vec<f64>, Vec<f64>)>;
    let kept: Vec<Arc<std::sync::Mutex<Kept>>> = params.iter().map(|_| Arc::default()).collect();
    let hooks: Vec<Hook> = params
        .iter()
        .zip(&kept)
        .map(|((_, param), kept)| {
            let kept = Arc::clone(kept);
            let keep = move |param: &Tensor| kept.lock().unwrap().push((elements(&param.grad()), elements(param)));
            Hook::after_accumulation(param, keep).unwrap()
        })
        .collect();
    train(&mut state, &StopSignal::default()).unwrap();
    drop(hooks);
    let run = state.folder().to_owned();
    assert!(!state.close());
    let written = scalars(&run);
    for ((name, param), kept) in params.iter().zip(&kept) {
        let kept = kept.lock().unwrap();
        assert_eq!(kept.len(), 3);
        for step in 0..3 {
            let (grad, before) = &kept[step];
            let after = kept.get(step + 1).map_or_else(|| elements(param), |(_, next)| next.clone());
            let moved: Vec<f64> = before.iter().zip(&after).map(|(old, new)| new - old).collect();
            let mut want = [twin("grad", grad), twin("param", &after)].concat();
            want.push(("update_norm".into(), norm(&moved)));
            want.push(("update_ratio".into(), norm(&moved) / norm(&after)));
            for (tag, want) in want {
                let got = f32::from_bits(written[&(format!("{tag}/{name}"), step as i64)]);
                // Stored as f32; differences of weights are rounded to f32 once, by up to half a unit of the weight.
                let slack = if tag.starts_with("update") { 2e-4 } else { 2e-7 };
                let scale = if tag.ends_with("mean") { norm(grad).max(norm(&after)) } else { want.abs() };
                assert!((f64::from(got) - want).abs() <= slack * scale, "{tag}/{name} at {step}: {got} {want}");
            }
        }
    }
}

/// Sets a gradient of `parameter` to NaN in one call of the hook.
fn plant(state: &State, parameter: &str, call: usize) -> Hook {
    let param = &state.model().network.parameters.get(parameter).unwrap().tensor;
    let calls = AtomicUsize::new(0);
    Hook::before_accumulation(param, move |grad| {
        (calls.fetch_add(1, Ordering::Relaxed) == call).then(|| grad * f64::NAN)
    })
    .unwrap()
}

#[test]
fn a_nan_that_appears_once_is_named_with_its_parameter_step_and_micro_batch() {
    let _alone = exclusive();
    let logdir = tempfile::tempdir().unwrap();
    let toml = "run = { max_steps = 4, threads = 1 }\nmodel = { name = \"cnn\", width = 4, depth = 2 }\n\
                optimizer = { accumulation_steps = 3, max_skipped_steps = 1 }";
    let mut state = state(toml, logdir.path());
    // Step 2, micro-batch 1.
    let _hook = plant(&state, "layers.1.conv.weight", 2 * 3 + 1);
    let error = train(&mut state, &StopSignal::default()).unwrap_err().to_string();
    assert!(error.contains("step 2"), "{error}");
    assert!(error.contains("the gradient of layers.1.conv.weight of micro-batch 1"), "{error}");
    assert_eq!(state.recent_steps().readings().last().unwrap().bad_micro_batch, Some(1));
}

#[test]
fn a_nan_that_can_be_repeated_is_traced_to_the_place_where_it_is_made() {
    let _alone = exclusive();
    let logdir = tempfile::tempdir().unwrap();
    let toml = "run = { max_steps = 4, threads = 1 }\nmodel = { name = \"cnn\", width = 4, depth = 3, dropout = 0.5 }\n\
                optimizer = { accumulation_steps = 2, max_skipped_steps = 1 }";
    let mut state = state(toml, logdir.path());
    // A weight beyond f32's range: the layer's output is infinite, in the forward pass.
    let weight = state.model().network.parameters.get("layers.1.conv.weight").unwrap().tensor.shallow_clone();
    let _ = tch::no_grad(|| weight.shallow_clone().g_mul_scalar_(1e39));
    let error = train(&mut state, &StopSignal::default()).unwrap_err().to_string();
    assert!(
        error.contains("the forward pass at layer layers.1.conv, before its activation of micro-batch 0"),
        "{error}"
    );
    let path = state.recent_steps().write().unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
}

#[test]
fn a_model_of_one_parameter_and_one_of_none_are_watched_without_complaint() {
    use gradwatch::gradient::{GradientMonitor, MicroBatches, PreviousGradient, UpdateSnapshot};
    let one = Tensor::from_slice(&[2.0f32]).set_requires_grad(true);
    for params in [vec![], vec![one]] {
        let named = params.iter().enumerate().map(|(index, param)| (format!("p{index}"), param));
        let monitor = GradientMonitor::attach(named).unwrap();
        let mut micro_batches = MicroBatches::new(&params).unwrap();
        let mut previous = PreviousGradient::default();
        micro_batches.start(true);
        for param in &params {
            (param * 3.0).sum(Kind::Float).backward();
        }
        micro_batches.finish(1, monitor.grads()).unwrap();
        assert!(previous.cosine(&monitor.grads()).unwrap().is_none());
        assert_eq!(monitor.collect().unwrap().parameters.len(), params.len());
        assert_eq!(UpdateSnapshot::take(&params).unwrap().squares().unwrap().size(), [params.len() as i64]);
    }
}
