//! Suggestions for made-up loss curves.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// 81 rates from 1e-7 to 10: ten steps per decade.
fn rates() -> Rates {
    Rates::new(1e-7, 10.0, 81).unwrap()
}

/// A curve that is smoothed already, so that expected values can be read off it.
fn exact(loss: impl Fn(f64) -> f64) -> Vec<RangeStep> {
    let step = |learning_rate: f64| {
        let loss = loss(learning_rate.log10());
        RangeStep { learning_rate, loss, smoothed_loss: loss, total_norm: 1.0 }
    };
    rates().all().into_iter().map(step).collect()
}

/// A curve as a range test records it.
fn recorded(losses: &[f64], rates: &Rates) -> Vec<RangeStep> {
    let mut smoothing = Smoothing::new(rates.steps());
    let step = |(learning_rate, loss): (f64, &f64)| RangeStep {
        learning_rate,
        loss: *loss,
        smoothed_loss: smoothing.add(*loss),
        total_norm: 1.0,
    };
    rates.all().into_iter().zip(losses).map(step).collect()
}

fn is_near(got: f64, want: f64) -> bool {
    (got / want - 1.0).abs() < 1e-9
}

#[test]
fn a_tenth_of_the_minimum_wins_if_it_is_below_the_steepest_descent() {
    // Falls by 0.1 per decade to 1e-2, then by 1 per decade to the minimum at 1e-1, and rises.
    let curve = exact(|log| {
        if log <= -2.0 {
            2.5 - 0.1 * (log + 7.0)
        } else if log <= -1.0 {
            2.0 - (log + 2.0)
        } else {
            1.0 + 2.0 * (log + 1.0)
        }
    });
    let suggestion = suggest(&curve, &rates()).unwrap();
    assert!(is_near(suggestion.lowest, 0.1) && is_near(suggestion.lowest_loss, 1.0), "{suggestion:?}");
    assert!(is_near(suggestion.tenth_of_lowest, 0.01) && suggestion.learning_rate == suggestion.tenth_of_lowest);
    // Differences over 81 / 20 = 4 steps; the first one of several equal ones starts at 1e-2, and its middle is two
    // steps of a tenth of a decade later.
    assert!((suggestion.slope_per_decade + 1.0).abs() < 1e-9, "{suggestion:?}");
    assert!((0.01..0.1).contains(&suggestion.steepest), "{suggestion:?}");
    let text = suggestion.to_string();
    assert!(text.starts_with("0.01: a tenth of 0.1, the rate with the lowest smoothed loss (1), is 0.01; "), "{text}");
}

#[test]
fn the_steepest_descent_wins_if_it_is_below_a_tenth_of_the_minimum() {
    // The only fall is from 2.3 to 1 between 1e-4 and 1e-3.6, four steps; the curve then creeps to its minimum at 1.
    let curve = exact(|log| match log {
        log if log < -4.0 + 1e-9 => 2.3,
        log if log < -3.6 => 2.3 - 1.3 * (log + 4.0) / 0.4,
        log if log < 1e-9 => 1.0 - 0.01 * (log + 3.6),
        log => 1.0 + log,
    });
    let suggestion = suggest(&curve, &rates()).unwrap();
    assert!(is_near(suggestion.steepest, 10f64.powf(-3.8)), "{suggestion:?}");
    assert!(suggestion.learning_rate == suggestion.steepest && is_near(suggestion.tenth_of_lowest, 0.1));
    assert!((suggestion.slope_per_decade + 1.3 / 0.4).abs() < 1e-9, "{suggestion:?}");
    let text = suggestion.to_string();
    assert!(text.starts_with("1.6e-4: the smoothed loss falls fastest at 1.6e-4 (-3.2 per factor of ten); "), "{text}");
}

#[test]
fn a_loss_that_falls_up_to_the_highest_rate_asks_for_a_higher_one() {
    let suggestion = suggest(&exact(|log| 1.0 - log), &rates()).unwrap();
    assert!(suggestion.is_still_falling && is_near(suggestion.lowest, 10.0) && suggestion.learning_rate <= 1.0);
    assert!(suggestion.to_string().ends_with("raise --to"), "{suggestion}");
    // The same curve, but the test ended because the next loss was not finite.
    let mut curve = exact(|log| 1.0 - log);
    curve[70].smoothed_loss = f64::NAN;
    let suggestion = suggest(&curve[..71], &rates()).unwrap();
    assert!(!suggestion.is_still_falling && is_near(suggestion.lowest, rates().all()[69]), "{suggestion:?}");
}

#[test]
fn a_flat_or_rising_loss_suggests_nothing() {
    // The next loss was not finite.
    let ended = |steps: usize| exact(|_| 2.3)[..steps].to_vec();
    for (curve, want, advice) in [
        (exact(|_| 2.3), Course::Flat(10.0), "still the same at the highest learning rate, 10; raise --to, "),
        (exact(|log| 2.3 - 1e-9 * log), Course::Flat(10.0), "raise --to"),
        (exact(|log| 2.3 + 0.1 * (log + 7.0)), Course::Rises, "then rises; lower --from"),
        // Up to 1e-5, a hundred times the lowest rate.
        (ended(21), Course::Rises, "lower --from"),
        // Up to 1e-1.
        (ended(61), Course::FlatThenRises(0.1), "is the same up to 0.1, and then rises; look for vanishing gradients"),
        (exact(|log| if log < -1.05 { 2.3 } else { 9.0 }), Course::FlatThenRises(0.1), "vanishing"),
    ] {
        let none = suggest(&curve, &rates()).unwrap_err();
        let NoSuggestion::NeverFalls { course, .. } = none else { panic!("{none:?}") };
        let is_near = match (course, want) {
            (Course::Flat(got), Course::Flat(want)) | (Course::FlatThenRises(got), Course::FlatThenRises(want)) => {
                (got / want).ln().abs() < 0.3
            }
            (course, want) => course == want,
        };
        let text = none.to_string();
        assert!(is_near && text.contains("gradwatch inspect") && text.contains(advice), "{none:?}: {text}");
    }
}

#[test]
fn noise_around_a_flat_loss_suggests_nothing_and_around_a_fall_it_hides_little() {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };
    let rates = rates();
    let mut suggested = 0;
    for seed in 0..100 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Uniform from -0.5 to 0.5.
        let mut noise = || f64::from(random.next_u32()) / f64::from(u32::MAX) - 0.5;
        let flat: Vec<f64> = (0..81).map(|_| 2.3 + noise()).collect();
        suggested += usize::from(suggest(&recorded(&flat, &rates), &rates).is_ok());
        // The loss falls around 1e-2 and rises after 1.
        let course =
            |log: f64| 2.3 - 1.6 / (1.0 + (-4.0 * (log + 2.0)).exp()) + if log > 0.0 { 3.0 * log } else { 0.0 };
        let fall: Vec<f64> = rates.all().iter().map(|rate| course(rate.log10()) + noise()).collect();
        let suggestion = suggest(&recorded(&fall, &rates), &rates).unwrap();
        assert!((1e-3..=0.3).contains(&suggestion.learning_rate), "{seed}: {suggestion:?}");
    }
    assert!(suggested <= 3, "{suggested} of 100 flat curves");
}

#[test]
fn a_loss_that_is_never_finite_and_one_that_diverges_at_once_are_told_apart() {
    assert_eq!(suggest(&[], &rates()), Err(NoSuggestion::NotFinite));
    assert_eq!(suggest(&recorded(&[f64::NAN], &rates()), &rates()), Err(NoSuggestion::NotFinite));
    let text = NoSuggestion::NotFinite.to_string();
    assert!(text.contains("before the first update") && text.contains("gradwatch check"), "{text}");
    let none = suggest(&recorded(&[2.3, 5.0, 80.0], &rates()), &rates()).unwrap_err();
    assert_eq!(none, NoSuggestion::TooHigh { from: 1e-7 });
    assert!(none.to_string().contains("lower --from"), "{none}");
}

fn any_loss() -> impl Strategy<Value = f64> {
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, f64::MAX, f64::MIN, 5e-324];
    prop_oneof![4 => 0.0..5.0, 2 => any::<f64>(), 1 => select(special.to_vec())]
}

proptest! {
    #[test]
    fn any_suggestion_is_a_rate_of_the_test(
        losses in prop_oneof![vec(0.0..5.0, 0..200), vec(any_loss(), 0..200)],
        exponents in (-20.0..14.0, 0.1..30.0),
        steps in 10usize..200,
    ) {
        let top: f64 = exponents.0 + exponents.1;
        let (from, to) = (10f64.powf(exponents.0), 10f64.powf(top.min(38.0)));
        let rates = Rates::new(from, to, steps).unwrap();
        if let Ok(suggestion) = suggest(&recorded(&losses, &rates), &rates) {
            for rate in [suggestion.learning_rate, suggestion.steepest, suggestion.tenth_of_lowest, suggestion.lowest] {
                prop_assert!((from..=to).contains(&rate), "{:?}", suggestion);
            }
            prop_assert!(suggestion.lowest_loss.is_finite() && suggestion.slope_per_decade < 0.0);
        }
    }
}
