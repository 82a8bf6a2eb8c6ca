//! A GPU must compute the same as the CPU. `make test-cuda` runs these tests on `cuda:0`.
//!
//! A binary of its own: its tests run one at a time (`--ignored --test-threads=1`), because they draw from one
//! generator and load CUDA into their process.

#[path = "harness/calls.rs"]
mod calls;
#[path = "harness/limit.rs"]
mod limit;
#[path = "harness/recorded.rs"]
mod recorded;
#[path = "harness/workplace.rs"]
mod workplace;

use calls::SMALL;
use gradwatch::{
    clipping::{Clipping, ClippingScope},
    config::{ClippingMode, Config, OptimizerName},
    data::{Batch, Bytes, Images},
    evaluation::{Numerics, Tally},
    gradient::GradientMonitor,
    libtorch::{
        Detail, LateScalar, SkipCounters, StepOutcome, clear_grads, host_copy, load_kernels, resolve_device,
        tensor_table,
    },
    optim::{GradScaler, Optimizer, Rates, StepControl, parameter_groups},
};
use recorded::scalars;
use tch::{Device, Kind, Tensor};
use workplace::Workplace;

/// A convolution, a gain, a bias, and a matrix, the same on every device; some of the gradients are large.
fn params(device: Device) -> Vec<Tensor> {
    tch::manual_seed(9);
    let sizes: [&[i64]; 4] = [&[8, 4, 3, 3], &[8, 1, 1, 1], &[8], &[5, 16]];
    let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu)).to_device(device);
    let params: Vec<Tensor> = sizes.iter().map(|size| random(size).set_requires_grad(true)).collect();
    give_grads(&params, 1.0);
    params
}

fn give_grads(params: &[Tensor], scale: f64) {
    clear_grads(params).unwrap();
    for param in params {
        let grad = Tensor::randn(param.size(), (Kind::Float, Device::Cpu)).to_device(param.device()) * scale;
        (param * grad).sum(Kind::Float).backward();
    }
}

fn values(tensors: impl IntoIterator<Item = Tensor>) -> Vec<f64> {
    tensors.into_iter().flat_map(|tensor| host_copy(&tensor.detach()).unwrap()).collect()
}

fn assert_close(got: &[f64], want: &[f64], slack: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= slack * want.abs().max(1e-3), "{what} at {index}: {got} {want}");
    }
}

fn config(settings: &str) -> Config {
    let head = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n";
    Config::parse(&format!("{head}{settings}"), "cuda").unwrap()
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn tables_on_a_gpu_count_as_on_the_cpu() {
    let device = resolve_device("cuda:0").unwrap();
    let odd = [0.0f32, -0.0, 1e-40, 1.0, -2.5, 1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
        let make =
            |device| vec![Tensor::from_slice(&odd).to_kind(kind).to_device(device), params(device).remove(0).detach()];
        let table = |device| values([tensor_table(&make(device), Detail::Distribution).unwrap()]);
        let (got, want) = (table(device), table(Device::Cpu));
        for (index, (got, want)) in got.iter().zip(&want).enumerate() {
            let is_same = got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= 1e-6 * want.abs();
            assert!(is_same, "{kind:?} at {index}: {got} {want}");
        }
    }
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn every_clip_on_a_gpu_is_that_of_the_cpu() {
    let device = resolve_device("cuda:0").unwrap();
    let names = ["conv.weight", "gain", "bias", "fc.weight"];
    for &mode in ClippingMode::ALL {
        let run = |device| {
            let config = config(&format!(
                "clipping = {{ mode = \"{mode}\", clip_value = 0.5, adagc = {{ warmup_steps = 2 }} }}"
            ));
            let scope = ClippingScope { names: &names, head: "fc", ..ClippingScope::default() };
            let mut clipping = Clipping::new(&config.clipping, &scope, device).unwrap();
            let params = params(device);
            let mut seen = Vec::new();
            for step in 0..5 {
                give_grads(&params, if step == 3 { f64::NAN } else { 0.1 + f64::from(step) });
                let outcome = clipping.clip_in_place(&params).unwrap();
                seen.extend(values([outcome.total_norm_after, outcome.clip_coef, outcome.found_inf]));
                seen.extend(values(params.iter().map(Tensor::grad)));
            }
            seen.into_iter().filter(|value| !value.is_nan()).collect::<Vec<_>>()
        };
        assert_close(&run(device), &run(Device::Cpu), 1e-5, mode.name());
    }
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn every_optimizer_on_a_gpu_steps_as_on_the_cpu() {
    let device = resolve_device("cuda:0").unwrap();
    for &name in OptimizerName::ALL {
        let run = |device| {
            let config = config(&format!("optimizer = {{ name = \"{name}\", weight_decay = 0.05 }}")).optimizer;
            let params = params(device);
            let named = ["conv.weight", "gain", "bias", "fc.weight"].into_iter().zip(&params);
            let mut optimizer = Optimizer::new(&config, parameter_groups(named, &config)).unwrap();
            for step in 0..6 {
                give_grads(&params, 1.0);
                let found_inf = Tensor::from(if step == 2 { 1.0f32 } else { 0.0 }).to_device(device);
                let control =
                    StepControl { found_inf: Some(&found_inf), measures_updates: true, ..StepControl::default() };
                optimizer.step(Rates { learning_rate: 0.01, momentum: 0.9 }, &control).unwrap();
            }
            values(params)
        };
        assert_close(&run(device), &run(Device::Cpu), 1e-4, name.name());
    }
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn the_loss_scale_and_late_scalars_work_on_a_gpu() {
    let device = resolve_device("cuda:0").unwrap();
    let mut scaler = GradScaler::new(device).unwrap();
    let params = params(device);
    let before = values(params.iter().map(Tensor::grad));
    let grads: Vec<Tensor> = params.iter().map(Tensor::grad).collect();
    scaler.unscale(&grads).unwrap();
    let want: Vec<f64> = before.iter().map(|value| value / 65536.0).collect();
    assert_eq!(values(params.iter().map(Tensor::grad)), want);
    scaler.update(&Tensor::from(1.0f32).to_device(device)).unwrap();
    assert_eq!(LateScalar::send(&scaler.scale().unwrap()).unwrap().receive().unwrap(), 32768.0);
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn gradients_on_a_gpu_are_read_as_on_the_cpu() {
    let device = resolve_device("cuda:0").unwrap();
    let totals = [Device::Cpu, device].map(|device| {
        let param = Tensor::arange(1000, (Kind::Float, Device::Cpu)).to_device(device).set_requires_grad(true);
        let monitor = GradientMonitor::attach([("w", &param)]).unwrap();
        (&param * &param).sum(Kind::Float).backward();
        monitor.collect().unwrap().total_norm
    });
    // Two orders of summation of 1,000 squares in f32.
    assert!((totals[0] - totals[1]).abs() <= 1e-5 * totals[0], "{totals:?}");
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn guesses_on_a_gpu_are_counted_as_on_the_cpu() {
    let device = resolve_device("cuda:0").unwrap();
    load_kernels(device).unwrap();
    for classes in [1, 3, 100, 101, 1000] {
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let batch = |images: i64| {
            let labels = Tensor::randint(classes as i64, [images], (Kind::Int64, Device::Cpu));
            // Rounded, so that many are equal; one in 50 is NaN.
            let noise = Tensor::randn([images, classes as i64], (Kind::Float, Device::Cpu));
            let is_nan = Tensor::rand([images, classes as i64], (Kind::Float, Device::Cpu)).lt(0.02);
            let logits = (noise + labels.one_hot(classes as i64) * 2.0).round().masked_fill(&is_nan, f64::NAN);
            (logits, labels)
        };
        // Drawn once: other tests use the same generator at the same time.
        let batches = [700, 1, 900].map(batch);
        let metrics = |device| {
            let mut tally = Tally::with_confusion(classes, device).unwrap();
            for (logits, labels) in &batches {
                let loss = Tensor::from(1.5f32).to_device(device);
                let images = labels.numel() as f64;
                tally.add(&logits.to_device(device), &labels.to_device(device), &loss, images).unwrap();
            }
            tally.read(&names).unwrap()
        };
        assert!(metrics(device) == metrics(Device::Cpu), "{classes} classes");
    }
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn bytes_are_normalized_on_a_gpu_as_on_the_cpu() {
    let device = resolve_device("cuda:0").unwrap();
    load_kernels(device).unwrap();
    let tables = [0.5f32, -3.0, 7.0].map(|scale| std::array::from_fn(|byte| scale * byte as f32 - 1.0));
    let shape = [5, 3, 33, 47];
    let pixels: Vec<u8> = (0..shape.iter().product::<usize>()).map(|i| (i * 7 % 251) as u8).collect();
    let cutouts = vec![[0, 33, 0, 47], [3, 9, 40, 47], [0, 0, 0, 0], [32, 33, 0, 1], [10, 20, 10, 20]];
    let bytes = Bytes { pixels, cutouts, tables: tables.into() };
    let want = Images::Bytes(bytes.clone()).normalized(shape).into_owned();
    for channels_last in [false, true] {
        let run = config(&format!("run.channels_last = {channels_last}")).run;
        let batch = Batch {
            number: 0,
            images: Images::Bytes(bytes.clone()),
            labels: vec![0, 1, 2, 3, 4],
            multi_hot: Vec::new(),
            indices: vec![0; 5],
            shape,
            mixture: None,
        };
        let (images, targets) = Numerics::new(&run, device).to_device(&batch).unwrap();
        let first_strides = if channels_last { [33 * 47 * 3, 1] } else { [33 * 47 * 3, 33 * 47] };
        assert_eq!(images.stride()[..2], first_strides);
        assert_eq!(values([images.contiguous()]), want.iter().map(|&value| f64::from(value)).collect::<Vec<_>>());
        assert_eq!(values([targets.labels]), [0.0, 1.0, 2.0, 3.0, 4.0]);
    }
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn skipped_steps_are_counted_on_a_gpu_as_on_the_cpu() {
    let device = resolve_device("cuda:0").unwrap();
    load_kernels(device).unwrap();
    let counts = |device| {
        let scalar = |value: f32| Tensor::from(value).to_device(device);
        let mut counters = SkipCounters::new(device).unwrap();
        let mut seen = Vec::new();
        for (found_inf, not_taken, failure) in
            [(0.0, 0.0, None), (1.0, 1.0, None), (0.0, 1.0, None), (1.0, 1.0, Some(0.0)), (1.0, 0.0, Some(1.0))]
        {
            let (found_inf, not_taken, failure) = (scalar(found_inf), scalar(not_taken), failure.map(scalar));
            let norm = Tensor::from(2.5f64).to_device(device);
            let step =
                StepOutcome { found_inf: &found_inf, not_taken: &not_taken, failure: failure.as_ref(), norm: &norm };
            let heard = counters.count(&step).unwrap();
            seen.extend(values([heard, counters.all.shallow_clone(), counters.in_a_row.shallow_clone()]));
        }
        seen
    };
    assert_eq!(counts(device), counts(Device::Cpu));
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn the_timeline_of_a_gpu_is_taken_by_the_gpu() {
    let device = resolve_device("cuda:0").unwrap();
    let layers: Vec<Tensor> =
        (0..3).map(|_| Tensor::randn([4096, 4096], (Kind::Float, device)).set_requires_grad(true)).collect();
    let monitor = GradientMonitor::attach(layers.iter().enumerate().map(|(i, layer)| (format!("{i}"), layer))).unwrap();
    let images = Tensor::randn([4096, 4096], (Kind::Float, device));
    // The first pass loads the kernels.
    for _ in 0..2 {
        let outputs = layers.iter().fold(images.shallow_clone(), |maps, layer| maps.matmul(layer) * 1e-2);
        monitor.start_timeline().unwrap();
        outputs.sum(Kind::Float).backward();
        monitor.collect().unwrap();
    }
    let timeline = monitor.timeline().parameters;
    assert_eq!(timeline.iter().map(|time| &*time.name).collect::<Vec<_>>(), ["2", "1", "0"]);
    // A product of 4096 x 4096 matrices is 137 GFLOP: it takes more than 0.1 ms on any GPU, and a queued one less.
    assert!(timeline.iter().all(|time| time.secs > 1e-4 && time.secs < 1.0), "{timeline:?}");
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn every_precision_and_layout_trains_on_a_gpu() {
    let workplace = Workplace::new(SMALL);
    for (name, settings) in [
        ("bf16", vec!["run.precision=\"bf16\""]),
        ("fp16", vec!["run.precision=\"fp16\"", "clipping.mode=\"agc\""]),
        ("channels", vec!["run.channels_last=true", "run.tf32=true", "run.cudnn_benchmark=true", "ema.decay=0.9"]),
    ] {
        let settings = [&settings[..], &["run.device=\"cuda:0\""]].concat();
        let losses = scalars(&workplace.train(name, &settings));
        let (_, bits) = losses.iter().rfind(|((tag, _), _)| tag == "loss/validation").unwrap();
        let loss = f32::from_bits(*bits);
        assert!(loss.is_finite(), "{name}: {loss}");
    }
}

#[test]
#[ignore = "needs a GPU: make test-cuda"]
fn a_run_on_a_gpu_starts_as_on_the_cpu_and_goes_to_its_end() {
    let workplace = Workplace::new(SMALL);
    let plain = ["model.dropout=0"];
    let cpu = scalars(&workplace.train("cpu", &plain));
    let gpu = scalars(&workplace.train("gpu", &[&plain[..], &["run.device=\"cuda:0\""]].concat()));
    assert_eq!(cpu.keys().collect::<Vec<_>>(), gpu.keys().collect::<Vec<_>>());
    let first = ("loss/step".to_owned(), 0);
    let [cpu, gpu] = [cpu[&first], gpu[&first]].map(f32::from_bits);
    // Same weights and images; convolutions may run in TF32, whose mantissa has 10 bits.
    assert!((cpu - gpu).abs() <= 2e-3 * cpu, "{cpu} {gpu}");
}
