//! Tests of the gradient monitor.

use proptest::prelude::*;
use tch::{Device, Kind};

use super::*;

fn leaf(values: &[f32]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

/// Runs backward of sum(param * grad), so that the gradient is `grad`.
fn give(param: &Tensor, grad: &[f32]) {
    (param * Tensor::from_slice(grad)).sum(Kind::Float).backward();
}

fn names(names: &[Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

#[test]
fn each_parameter_and_the_total_come_out_as_derived_by_hand() {
    let (weight, bias) = (leaf(&[1.0, 1.0]), leaf(&[1.0]));
    let monitor = GradientMonitor::attach([("fc.weight", &weight), ("fc.bias", &bias)]).unwrap();
    give(&weight, &[-3.0, 4.0]);
    give(&bias, &[12.0]);
    let statistics = monitor.collect().unwrap();
    let seen: Vec<_> = statistics.parameters.iter().map(|p| (&*p.name, p.norm, p.max_abs)).collect();
    assert_eq!(seen, [("fc.weight", 5.0, 4.0), ("fc.bias", 12.0, 12.0)]);
    assert_eq!(statistics.parameters[0].distribution.as_ref().unwrap().mean, 0.5);
    assert_eq!(statistics.total_norm, 13.0);
    assert!(statistics.missing.is_empty() && statistics.is_finite());
}

#[test]
fn gradients_of_other_ranks_are_included_on_request() {
    let (first, second, third) = (leaf(&[1.0, 1.0]), leaf(&[1.0]), leaf(&[1.0]));
    give(&first, &[3.0, 4.0]);
    let monitor = GradientMonitor::attach([("first", &first), ("second", &second), ("third", &third)]).unwrap();
    give(&second, &[12.0]);
    monitor.include_gradients();
    let statistics = monitor.collect().unwrap();
    assert_eq!((statistics.total_norm, statistics.backward_order), (13.0, vec![1, 0]));
    assert_eq!(names(&statistics.missing), ["third"]);
    // The next reading asks anew.
    assert_eq!(names(&monitor.collect().unwrap().missing), ["first", "second", "third"]);
}

#[test]
fn accumulated_micro_batches_are_seen_as_their_sum() {
    let weight = leaf(&[1.0, 1.0]);
    let monitor = GradientMonitor::attach([("w", &weight)]).unwrap();
    give(&weight, &[1.0, 3.0]);
    give(&weight, &[2.0, 1.0]);
    assert_eq!(monitor.collect().unwrap().total_norm, 5.0);
}

#[test]
fn non_finite_elements_are_counted_and_the_first_parameter_of_the_backward_pass_is_named() {
    let (first, last) = (leaf(&[1.0, 1.0, 1.0]), leaf(&[1.0]));
    let monitor = GradientMonitor::attach([("first", &first), ("last", &last)]).unwrap();
    // Backward reaches the last layer first.
    give(&last, &[f32::INFINITY]);
    give(&first, &[f32::NAN, 1.0, f32::NEG_INFINITY]);
    let statistics = monitor.collect().unwrap();
    assert_eq!(statistics.backward_order, [1, 0]);
    assert_eq!(statistics.parameters[0].non_finite_count(), Some(2));
    assert!(!statistics.is_finite());
    assert_eq!(&*statistics.first_non_finite().unwrap().name, "last");
}

#[test]
fn gradients_whose_squares_leave_f32_have_their_norm_and_skip_the_step_only_if_too_large() {
    let (large, small) = (leaf(&[1.0, 1.0]), leaf(&[1.0, 1.0]));
    let monitor = GradientMonitor::attach([("large", &large), ("small", &small)]).unwrap();
    let is_skipped = || {
        let measurement = monitor.measure(Detail::Norms).unwrap().grads;
        let norms: Vec<f64> = measurement.read().unwrap().0.iter().map(|tensor| tensor.norm).collect();
        (norms, measurement.found_inf().double_value(&[]) == 1.0)
    };
    let is_close = |got: f64, want: f64| assert!((got - want).abs() <= 1e-7 * want, "{got} {want}");
    // The elements themselves are rounded to f32.
    give(&large, &[3e30, 4e30]);
    let (norms, skipped) = is_skipped();
    is_close(norms[0], 5e30);
    assert!(skipped);
    give(&small, &[3e-30, 4e-30]);
    let (norms, skipped) = is_skipped();
    is_close(norms[0], 5e-30);
    assert!(!skipped);
}

#[test]
fn frozen_tied_and_unreached_parameters_are_told_apart() {
    let (weight, outside) = (leaf(&[1.0]), leaf(&[1.0]));
    let frozen = Tensor::ones([1], (Kind::Float, Device::Cpu));
    let tied = weight.shallow_clone();
    let named = [("w", &weight), ("frozen", &frozen), ("tied", &tied), ("outside", &outside)];
    let monitor = GradientMonitor::attach(named).unwrap();
    give(&weight, &[2.0]);
    let statistics = monitor.collect().unwrap();
    assert_eq!(statistics.total_norm, 2.0);
    assert_eq!(names(&statistics.missing), ["outside"]);
    assert_eq!(monitor.frozen(), ["frozen"]);
    assert_eq!(monitor.shared(), [("tied".to_owned(), "w".to_owned())]);
    assert_eq!(monitor.never_reached(), ["outside"]);
    give(&outside, &[1.0]);
    assert_eq!(names(&monitor.collect().unwrap().missing), ["w"]);
    assert!(monitor.never_reached().is_empty());
}

#[test]
fn a_parameter_used_twice_has_one_gradient() {
    let weight = leaf(&[2.0]);
    let monitor = GradientMonitor::attach([("w", &weight)]).unwrap();
    (&weight * &weight).sum(Kind::Float).backward();
    assert_eq!(monitor.collect().unwrap().total_norm, 4.0);
}

#[test]
fn no_parameters_and_no_gradients_are_an_empty_reading() {
    let monitor = GradientMonitor::attach(Vec::<(String, Tensor)>::new()).unwrap();
    assert_eq!(monitor.collect().unwrap().total_norm, 0.0);
    let weight = leaf(&[2.0]);
    let monitor = GradientMonitor::attach([("w", &weight)]).unwrap();
    assert_eq!(names(&monitor.collect().unwrap().missing), ["w"]);
    assert!(monitor.timeline().parameters.is_empty());
}

#[test]
fn a_timeline_has_each_parameter_of_the_last_backward_pass_in_its_order() {
    let (first, last) = (leaf(&[1.0]), leaf(&[1.0]));
    let monitor = GradientMonitor::attach([("first", &first), ("last", &last)]).unwrap();
    give(&first, &[1.0]);
    monitor.start_timeline().unwrap();
    give(&last, &[1.0]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    give(&first, &[1.0]);
    let timeline = monitor.timeline().parameters;
    assert_eq!(timeline.iter().map(|time| &*time.name).collect::<Vec<_>>(), ["last", "first"]);
    assert!(timeline[1].secs >= 0.02);
    monitor.start_timeline().unwrap();
    give(&last, &[1.0]);
    assert_eq!(monitor.timeline().parameters.len(), 1);
    give(&last, &[1.0]);
    assert_eq!(monitor.timeline().parameters, []);
}

#[test]
fn what_cannot_be_watched_is_refused_with_a_reason() {
    let weight = leaf(&[1.0]);
    assert!(matches!(
        GradientMonitor::attach([("w", &weight), ("w", &leaf(&[1.0]))]),
        Err(GradientError::DuplicateName { name }) if name == "w"
    ));
    let table = Tensor::ones([5, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let monitor = GradientMonitor::attach([("embedding.weight", &table)]).unwrap();
    let rows = Tensor::embedding(&table, &Tensor::from_slice(&[1i64, 3]), -1, false, true);
    rows.sum(Kind::Float).backward();
    let error = monitor.collect().unwrap_err().to_string();
    assert!(error.contains("a sparse tensor at 0, want dense tensors"), "{error}");
}

#[test]
fn gradients_of_different_dtypes_are_read_together() {
    let (single, double) = (leaf(&[1.0]), Tensor::from_slice(&[1.0f64]).set_requires_grad(true));
    let monitor = GradientMonitor::attach([("a", &single), ("b", &double)]).unwrap();
    give(&single, &[3.0]);
    (&double * 4.0).sum(Kind::Double).backward();
    assert_eq!(monitor.collect().unwrap().total_norm, 5.0);
}

proptest! {
    #[test]
    fn every_number_equals_a_plain_loop_over_the_elements(
        grads in prop::collection::vec(prop::collection::vec(-1e3f32..1e3, 1..40), 1..8),
    ) {
        let params: Vec<Tensor> = grads.iter().map(|grad| leaf(&vec![1.0; grad.len()])).collect();
        let names = (0..params.len()).map(|index| format!("p{index}"));
        let monitor = GradientMonitor::attach(names.zip(&params)).unwrap();
        params.iter().zip(&grads).for_each(|(param, grad)| give(param, grad));
        let statistics = monitor.collect().unwrap();
        let square = |grad: &Vec<f32>| grad.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
        for (seen, grad) in statistics.parameters.iter().zip(&grads) {
            // Sums in f64 differ only by the order of addition.
            prop_assert!((seen.norm - square(grad).sqrt()).abs() <= 1e-13 * square(grad).sqrt());
            let largest = grad.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            prop_assert_eq!(seen.max_abs, f64::from(largest));
        }
        let total = grads.iter().map(square).sum::<f64>().sqrt();
        prop_assert!((statistics.total_norm - total).abs() <= 1e-13 * total);
    }
}
