//! What a GPU must do as the CPU does. `make test-cuda` runs these on `cuda:0` and says so where there is none.

mod harness;

use gradwatch::{gradient::GradientMonitor, libtorch::resolve_device};
use harness::{SMALL, Workplace, scalars};
use tch::{Device, Kind, Tensor};

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
