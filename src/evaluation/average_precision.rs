//! Average precision of one class.

/// Area under the steps of the precision-recall curve, as scikit-learn's `average_precision_score`: the sum over the
/// distinct scores, from the highest, of the gain in recall times the precision. Images with equal scores count together.
/// NaN if a score is NaN. `None` if no image is positive, or the lengths differ.
pub(super) fn average_precision(scores: &[f32], is_positive: &[bool]) -> Option<f64> {
    let positives = is_positive.iter().filter(|is_positive| **is_positive).count();
    if positives == 0 || scores.len() != is_positive.len() {
        return None;
    }
    if scores.iter().any(|score| score.is_nan()) {
        return Some(f64::NAN);
    }
    // -0 equals 0.
    let mut images: Vec<(f32, bool)> =
        scores.iter().map(|score| score + 0.0).zip(is_positive.iter().copied()).collect();
    images.sort_unstable_by(|(one, _), (other, _)| other.total_cmp(one));
    let (mut area, mut seen, mut hits) = (0.0, 0, 0);
    for equal in images.chunk_by(|(one, _), (other, _)| one == other) {
        let new = equal.iter().filter(|(_, is_positive)| *is_positive).count();
        seen += equal.len();
        hits += new;
        area += new as f64 * (hits as f64 / seen as f64);
    }
    Some(area / positives as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same threshold by threshold.
    fn twin(scores: &[f32], is_positive: &[bool]) -> f64 {
        let mut thresholds = scores.to_vec();
        thresholds.sort_by(|one, other| other.total_cmp(one));
        thresholds.dedup();
        let positives = is_positive.iter().filter(|is_positive| **is_positive).count() as f64;
        let (mut area, mut recall_before) = (0.0, 0.0);
        for threshold in thresholds {
            let above = || scores.iter().zip(is_positive).filter(|(score, _)| **score >= threshold);
            let hits = above().filter(|(_, is_positive)| **is_positive).count() as f64;
            let (precision, recall) = (hits / above().count() as f64, hits / positives);
            area += (recall - recall_before) * precision;
            recall_before = recall;
        }
        area
    }

    #[test]
    fn areas_are_those_of_a_twin_threshold_by_threshold() {
        let mut state = 1_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..500 {
            let images = 1 + below(30);
            // Few levels, so that many scores are equal.
            let levels = 1 + below(9);
            let scores: Vec<f32> = (0..images).map(|_| below(levels) as f32 - 3.0).collect();
            let mut is_positive: Vec<bool> = (0..images).map(|_| below(3) == 0).collect();
            is_positive[0] = true;
            let (got, want) = (average_precision(&scores, &is_positive).unwrap(), twin(&scores, &is_positive));
            assert!((got - want).abs() < 1e-12, "{scores:?} {is_positive:?}: {got} {want}");
        }
    }

    #[test]
    fn a_class_without_positives_has_none_and_that_of_a_nan_is_nan() {
        assert_eq!(average_precision(&[1.0, 2.0], &[false, false]), None);
        assert!(average_precision(&[1.0, f32::NAN, 2.0], &[true, false, false]).is_some_and(f64::is_nan));
        // Equal scores count together: one hit among two.
        assert_eq!(average_precision(&[0.0, -0.0], &[true, false]), Some(0.5));
        assert_eq!(average_precision(&[3.0, 2.0, 1.0], &[true, true, false]), Some(1.0));
    }
}
