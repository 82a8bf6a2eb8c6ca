//! Process-wide state: the random generator, the op counter, the number of threads, and the memory of the process.
//!
//! A binary of its own: the op counter sees the operations of every thread, and the resident memory is that of the
//! whole process, so any other test would change both. These tests take turns.

#[path = "harness/lock.rs"]
mod lock;

use gradwatch::{
    clipping::{Clipping, ClippingScope},
    config::{ClippingMode, Config},
    events::RunFolder,
    gradient::{GradientMonitor, Measurement},
    libtorch::{Detail, OpCounter, OpCounts, foreach_norm, generator_state, set_generator_state, tensor_table},
    train::{StopSignal, prepare, train},
};
use lock::exclusive;
use tch::{Device, Kind, Tensor};

fn draw() -> Vec<f32> {
    Vec::try_from(Tensor::rand([4], (Kind::Float, Device::Cpu))).unwrap()
}

#[test]
fn the_same_draws_follow_a_generator_state_that_was_put_back() {
    let _alone = exclusive();
    let state = generator_state(Device::Cpu).unwrap();
    let first = draw();
    assert_ne!(draw(), first);
    set_generator_state(Device::Cpu, &state).unwrap();
    assert_eq!(draw(), first);
}

#[test]
fn the_op_counter_sees_every_op_and_every_host_sync() {
    let _alone = exclusive();
    let tensors = [Tensor::from_slice(&[3.0f32, 4.0]), Tensor::from_slice(&[1.0f32])];
    let counter = OpCounter::start().unwrap();
    assert!(OpCounter::start().is_err());
    let norms = foreach_norm(&tensors, 2.0).unwrap();
    let first = norms.double_value(&[0]);
    let counts = counter.stop().unwrap();
    assert_eq!(first, 5.0);
    assert_eq!(counts.of("aten::_foreach_norm"), 1);
    assert_eq!(counts.host_syncs(), 1);
    assert!(counts.total() > 2);
    let silent = OpCounter::start().unwrap().stop().unwrap();
    assert_eq!(silent.total(), 0);
}

/// Parameters of a few shapes, each with its own gradient.
fn params_with_grads(count: i64) -> Vec<Tensor> {
    let make = |index: i64| Tensor::ones([index % 5 + 1, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let params: Vec<Tensor> = (0..count).map(make).collect();
    backward(&params);
    params
}

fn backward(params: &[Tensor]) {
    params.iter().map(|param| (param * 0.5).sum(Kind::Float)).reduce(|sum, next| sum + next).unwrap().backward();
}

fn counted<T>(work: impl FnOnce() -> T) -> (T, OpCounts) {
    let counter = OpCounter::start().unwrap();
    let outcome = work();
    (outcome, counter.stop().unwrap())
}

#[test]
fn a_reading_costs_one_sync_and_the_same_ops_for_any_number_of_parameters() {
    let _alone = exclusive();
    // Tables large enough that libtorch fills both with several threads.
    let counts = [100, 400].map(|count| {
        let params = params_with_grads(count);
        let names = (0..count).map(|index| format!("p{index}"));
        let monitor = GradientMonitor::attach(names.zip(&params)).unwrap();
        backward(&params);
        let (statistics, counts) = counted(|| monitor.collect().unwrap());
        assert_eq!(statistics.parameters.len(), count as usize);
        counts
    });
    assert_eq!(counts[0], counts[1]);
    assert_eq!(counts[0].host_syncs(), 1);
    // The table, its total with the finite flag, and the copy to the host; nothing else.
    assert!(counts[0].total() <= 64, "{:?}", counts[0]);
}

#[test]
fn sums_do_not_depend_on_the_number_of_threads() {
    let _alone = exclusive();
    tch::manual_seed(5);
    let tensors: Vec<Tensor> =
        [1, 7, 70_000, 300_001].iter().map(|&n| Tensor::randn([n], (Kind::Float, Device::Cpu))).collect();
    let threads = tch::get_num_threads();
    let tables = [1, 2, 5].map(|count| {
        tch::set_num_threads(count);
        tensor_table(&tensors, Detail::Distribution).unwrap()
    });
    tch::set_num_threads(threads);
    assert!(tables.iter().all(|table| *table == tables[0]));
}

#[test]
fn a_measurement_without_a_reading_never_waits_for_the_device() {
    let _alone = exclusive();
    let params = params_with_grads(20);
    let grads = || params.iter().map(|param| ("p", param.grad()));
    let (_, counts) = counted(|| Measurement::of(grads(), Detail::Distribution).unwrap());
    assert_eq!(counts.host_syncs(), 0, "{counts:?}");
}

/// Clips of each mode over this many parameters.
fn clip_counts(count: i64) -> Vec<(ClippingMode, OpCounts)> {
    let count_one = |&mode: &ClippingMode| {
        let toml = format!(
            "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nclipping.mode = \"{mode}\""
        );
        let config = Config::parse(&toml, "clip").unwrap().clipping;
        let names: Vec<String> = (0..count).map(|index| format!("p{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut clipping = Clipping::new(
            &config,
            &ClippingScope { names: &names, head: "head", ..ClippingScope::default() },
            Device::Cpu,
        )
        .unwrap();
        let params = params_with_grads(count);
        // The first call initializes state that later calls reuse.
        clipping.clip_in_place(&params).unwrap();
        let (outcome, counts) = counted(|| clipping.clip_in_place(&params));
        outcome.unwrap();
        (mode, counts)
    };
    ClippingMode::ALL.iter().map(count_one).collect()
}

#[test]
fn no_clip_waits_for_the_device_and_its_ops_do_not_grow_with_the_parameters() {
    let _alone = exclusive();
    // Vectors with one entry per unit or tensor have any length; everything else is one operation for all tensors.
    for ((mode, few), (_, many)) in clip_counts(10).into_iter().zip(clip_counts(40)) {
        assert_eq!(few.host_syncs(), 0, "{mode}: {few:?}");
        // On the CPU, libtorch's own list operation is a loop over these.
        let own = |counts: &OpCounts| counts.total() - counts.of("aten::mul_");
        assert_eq!(own(&few), own(&many), "{mode}");
        assert!(own(&few) <= 200, "{mode}: {few:?}");
    }
}

#[test]
fn hooks_add_no_op_to_a_backward_pass() {
    let _alone = exclusive();
    let params = params_with_grads(20);
    let ((), bare) = counted(|| backward(&params));
    let names = (0..20).map(|index| format!("p{index}"));
    let _monitor = GradientMonitor::attach(names.zip(&params)).unwrap();
    let ((), hooked) = counted(|| backward(&params));
    assert_eq!(bare, hooked);
}

/// Host syncs of 8 training steps, with the evaluation after the last one.
fn syncs_of_a_run(monitor: &str) -> u64 {
    let toml = format!(
        "run = {{ max_steps = 8, threads = 1 }}\nmodel = {{ name = \"cnn\", width = 4, depth = 2, normalization = \"batch\" }}\n\
         data = {{ source = \"synthetic\", samples = 100, classes = 3, image_size = 8, channels = 1, batch_size = 8 }}\n\
         clipping = {{ mode = \"norm\", max_norm = 0.5 }}\n{monitor}"
    );
    let logdir = tempfile::tempdir().unwrap();
    let prepared = prepare(Config::parse(&toml, "syncs").unwrap()).unwrap();
    let mut state = prepared.start(RunFolder::create(logdir.path(), "run").unwrap(), None).unwrap();
    let (ending, counts) = counted(|| train(&mut state, &StopSignal::default()).map_err(Box::new));
    ending.unwrap();
    counts.host_syncs()
}

#[test]
fn a_tracked_step_waits_for_the_device_once_and_an_untracked_one_never() {
    let _alone = exclusive();
    // The evaluation reads the count of skips and two tallies, for training and validation. In the first 10 steps,
    // layers, weights, updates, and histograms are all due and share the same copy.
    assert_eq!(syncs_of_a_run("monitor.preset = \"full\""), 8 + 3);
    assert_eq!(syncs_of_a_run("monitor = { noise_scale_every_steps = 2, previous_cosine = true }"), 8 + 3);
    assert_eq!(syncs_of_a_run("monitor = { preset = \"light\", first_steps = 0 }"), 8 + 3);
    let rarely = "parameters_every_steps = 4, layers_every_steps = 4, weights_every_steps = 4";
    assert_eq!(syncs_of_a_run(&format!("monitor = {{ first_steps = 0, every_steps = 4, {rarely} }}")), 2 + 3);
    assert_eq!(syncs_of_a_run("monitor = { preset = \"off\", every_steps = 100 }"), 1 + 3);
}

/// Current resident bytes of this process, and the peak since the last call.
fn resident_bytes() -> [u64; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let bytes = ["VmRSS:", "VmHWM:"].map(|name| kib(name) << 10);
    // Resets the kernel's peak value.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    bytes
}

#[test]
fn looking_takes_a_hundredth_of_the_parameters_memory_and_none_of_it_stays() {
    let _alone = exclusive();
    for kind in [Kind::Float, Kind::BFloat16] {
        let make = |_| Tensor::ones([16 << 20], (kind, Device::Cpu)).set_requires_grad(true);
        let params: Vec<Tensor> = (0..4).map(make).collect();
        let names = (0..params.len()).map(|index| format!("p{index}"));
        let monitor = GradientMonitor::attach(names.zip(&params)).unwrap();
        let bytes: usize = params.iter().map(|param| param.numel() * kind.elt_size_in_bytes()).sum();
        let allowed = bytes / 100 + params.len() * (64 << 10);
        let mut after_first = 0;
        for look in 0..6 {
            backward(&params);
            let [before, _] = resident_bytes();
            assert_eq!(monitor.collect().unwrap().parameters.len(), params.len());
            let [after, most] = resident_bytes();
            let taken = most.saturating_sub(before);
            assert!(taken <= allowed as u64, "{kind:?}: {taken} bytes, allowed {allowed}");
            if look == 0 {
                after_first = after;
            }
            assert!(after <= after_first + (64 << 10), "{kind:?}: {after_first} bytes grew to {after}");
        }
    }
}
