use gradwatch_doctor::statistics::{Distribution, LogHistogram, ProfileSource};

use super::*;

fn profile(sizes: &[f64]) -> DepthProfile {
    let layers = sizes.iter().enumerate().map(|(index, &size)| (format!("fc{index}").into(), size));
    DepthProfile { source: ProfileSource::PreActivations, layers: layers.collect() }
}

/// The problems of a network with these sizes, by name without the time, apart from those of any position.
fn found(sizes: &[f64], gradients: Option<&GradientStatistics>) -> Vec<String> {
    named(of_sizes(sizes, gradients, 1.0))
}

/// The same sizes for dLoss/dz and for the gradients of the weights.
fn of_sizes(sizes: &[f64], gradients: Option<&GradientStatistics>, total_norm: f64) -> Vec<Option<bool>> {
    let profile = profile(sizes);
    problems(&profile, &profile.layers, gradients, total_norm)
}

fn named(problems: Vec<Option<bool>>) -> Vec<String> {
    // Any position has what one of them has.
    for criterion in 0..4 {
        let of_positions = [2, 6, 10].map(|position| problems[position + criterion]);
        assert_eq!(problems[14 + criterion], of_positions.into_iter().flatten().reduce(|one, other| one | other));
    }
    let names = columns().into_iter().map(|name| name.strip_prefix("initial_").unwrap_or_default().to_owned());
    names
        .zip(problems)
        .filter(|(name, problem)| *problem == Some(true) && !name.starts_with("any_"))
        .map(|(name, _)| name)
        .collect()
}

/// A gradient with one element.
fn gradient(name: &str, size: f64) -> TensorStatistics {
    TensorStatistics { name: name.into(), elements: 1, norm: size, max_abs: size, distribution: None }
}

fn gradients(sizes: &[(&str, f64)]) -> GradientStatistics {
    let parameters = sizes.iter().map(|(name, size)| gradient(name, *size)).collect();
    GradientStatistics { parameters, total_norm: 1.0, missing: Vec::new(), backward_order: Vec::new() }
}

#[test]
fn there_is_a_column_for_each_time_position_and_criterion() {
    let columns = columns();
    assert_eq!(columns.len(), 2 * (2 + 4 * 4));
    assert_eq!(
        columns[..4],
        ["initial_vanishing", "initial_exploding", "initial_first_vanishing", "initial_first_exploding"]
    );
    assert_eq!(columns[35], "final_any_sagemaker_exploding");
}

#[test]
fn a_layer_is_compared_with_the_median_layer_at_the_thresholds_of_the_rules() {
    // Median 1. The rules' thresholds are 5e-3 and 1e2.
    assert_eq!(found(&[4.9e-3, 1.0, 1.0, 1.0, 1.0], None), ["vanishing", "first_vanishing"]);
    assert_eq!(found(&[5.1e-3, 1.0, 1.0, 1.0, 1.0], None), [""; 0]);
    assert_eq!(found(&[101.0, 1.0, 1.0, 1.0, 1.0], None), ["exploding", "first_exploding"]);
    assert_eq!(found(&[99.0, 1.0, 1.0, 1.0, 1.0], None), [""; 0]);
    // Any layer in the middle. The network's ends are alike.
    assert_eq!(found(&[1.0, 1.0, 1e-4, 1.0, 1.0], None), ["middle_vanishing"]);
    // A last layer far above the rest: that is where it explodes, and the first one vanishes only relative to it.
    assert_eq!(found(&[1.0, 1.0, 1.0, 1.0, 1e3], None), ["vanishing", "output_exploding"]);
    // Scale does not count.
    assert_eq!(found(&[1e-30, 1e-30, 1e-30], None), [""; 0]);
}

#[test]
fn the_median_of_two_layers_is_their_geometric_mean() {
    // sqrt(1e-4 * 1e4) = 1: each is a factor of 1e4 away.
    assert_eq!(found(&[1e-4, 1e4], None), ["vanishing", "first_vanishing", "output_exploding"]);
    // sqrt(1e-2 * 1) = 0.1, a factor of 10 away from both; the ends are a factor of 100 apart, less than 1 / 5e-3.
    assert_eq!(found(&[1e-2, 1.0], None), [""; 0]);
}

#[test]
fn zero_counts_as_vanishing_and_is_not_in_the_median() {
    let three = ["vanishing", "first_vanishing", "middle_vanishing"];
    assert_eq!(found(&[0.0, 0.0, 0.0, 1.0, 1.0], None), three);
    assert_eq!(found(&[0.0, 0.0, 0.0], None), [&three[..], &["output_vanishing"]].concat());
    // The last layer has no gradient: nothing to compare the first one with.
    assert_eq!(found(&[1.0, 1.0, 0.0], None), ["output_vanishing"]);
}

#[test]
fn what_is_not_finite_counts_as_exploding_where_it_is_and_in_the_network() {
    for size in [f64::NAN, f64::INFINITY] {
        assert_eq!(found(&[1.0, size, 1.0, 1.0], None), ["exploding", "middle_exploding"]);
        assert_eq!(found(&[0.0, 1.0, size], None), ["exploding", "first_vanishing", "output_exploding"]);
    }
    // The layers were measured before the gradients stopped being finite.
    let later = of_sizes(&[1.0, 1.0, 1.0], None, f64::NAN);
    assert_eq!(named(later), ["exploding"]);
}

#[test]
fn a_network_without_layers_in_the_middle_has_no_values_there() {
    let problems_of = |sizes: &[f64]| of_sizes(sizes, None, 1.0);
    let (no, yes, none) = (Some(false), Some(true), None);
    let first_and_output = [no, no, none, none];
    let middle = [none; 4];
    assert_eq!(problems_of(&[1.0, 1.0])[2..], [first_and_output, middle, first_and_output, first_and_output].concat());
    // A single layer is first and last.
    let one = problems_of(&[0.0]);
    assert_eq!((&one[..2], one[2], one[6], one[10]), (&[yes, no][..], yes, none, yes));
    assert!(problems_of(&[]).iter().all(Option::is_none) && problems_of(&[]).len() == 18);
}

#[test]
fn sagemaker_looks_at_the_mean_of_each_parameter_of_the_layer() {
    // Without a distribution, the mean |g| is sqrt(2 / pi) = 0.798 times the RMS: 1.2e-7 is just below 1e-7, and 1.3e-7
    // above.
    let of = |size| gradients(&[("fc0.weight", 1.0), ("fc0.bias", size), ("fc1.weight", 1.0), ("fc2.weight", 1.0)]);
    let layers = [1.0, 1.0, 1.0];
    assert_eq!(found(&layers, Some(&of(1.2e-7))), ["first_sagemaker_vanishing"]);
    assert_eq!(found(&layers, Some(&of(1.3e-7))), [""; 0]);
    assert_eq!(found(&layers, Some(&of(f64::INFINITY))), ["first_sagemaker_exploding"]);
    // With a histogram, the mean is known: half of the elements are 0, the others 1.5 * 2^-23 = 1.8e-7.
    let histogram = LogHistogram { top: -23, negative: Vec::new(), positive: vec![2] };
    let (size, elements) = (1.5 * 2f64.powi(-23), 4);
    let distribution = Distribution {
        mean: size / 2.0,
        std: size / 2.0,
        zeros: 2,
        denormals: 0,
        nans: 0,
        infinities: 0,
        negative_infinities: 0,
        histogram,
    };
    let mut whole = of(1.0);
    whole.parameters[3] = TensorStatistics {
        elements,
        norm: size * 2f64.sqrt(),
        max_abs: size,
        distribution: Some(distribution),
        ..whole.parameters[3].clone()
    };
    assert_eq!(found(&layers, Some(&whole)), ["output_sagemaker_vanishing"]);
}

#[test]
fn a_parameter_belongs_to_the_layer_before_its_last_dot() {
    // fc1 is neither fc10 nor fc1.inner, and fc2 was not measured.
    let of = gradients(&[("fc0.weight", 1.0), ("fc10.weight", 0.0), ("fc1.inner.weight", 0.0), ("fc1.weight", 1.0)]);
    let problems = of_sizes(&[1.0, 1.0, 1.0], Some(&of), 1.0);
    // The criteria of SageMaker at the first, the middle, and the last layer.
    let sagemaker = [&problems[4..6], &problems[8..10], &problems[12..14]];
    assert_eq!(sagemaker, [&[Some(false); 2][..], &[Some(false); 2], &[None; 2]]);
}

#[test]
fn the_network_is_judged_by_the_profile_and_a_position_by_its_weight() {
    let weights = profile(&[1.0, 1.0, 1.0, 1e3]).layers;
    let found = named(problems(&profile(&[1e-4, 1.0]), &weights, None, 1.0));
    assert_eq!(found, ["vanishing", "output_exploding"]);
}
