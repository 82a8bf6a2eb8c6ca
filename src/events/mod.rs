//! TensorBoard event files, and the telemetry that a run writes to them.
//!
//! The crate `gradwatch-events` writes and reads the files; the crate `gradwatch-doctor` knows the tags.

pub use gradwatch_doctor::telemetry::{
    histogram_of, tags, write_facts, write_gradient_bands, write_gradients, write_histograms, write_layers,
    write_ranks, write_slope, write_timeline, write_updates, write_weights,
};
pub use gradwatch_events::{
    Band, Category, Chart, EventBytes, EventFile, EventsError, Histogram, Hparams, JsonLines, Layout, LogPosition,
    Numbers, PendingPosition, PrecisionRecall, RecordError, RunFolder, Session, Step, SummaryWriter, THRESHOLDS, Tag,
    Value, WallTime, exact_tag, hparams, is_evaluation, masked_crc, proto, run_name, tf_record,
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use tch::{Kind, Tensor};

    use super::{histogram_of, proto::HistogramProto};
    use crate::{gradient::Measurement, libtorch::Detail};

    fn of(values: &Tensor) -> HistogramProto {
        let measurement = Measurement::of([("w", values.shallow_clone())], Detail::Distribution).unwrap();
        histogram_of(&measurement.read().unwrap().0[0]).unwrap().unwrap().into_proto()
    }

    #[test]
    fn buckets_double_on_both_sides_of_zero() {
        let histogram = of(&Tensor::from_slice(&[-3.0f32, -0.75, 0.0, 1e-40, 0.5, 0.6, 2.5]));
        let tiny = 2f64.powi(-126);
        assert_eq!(histogram.bucket_limit, [-2.0, -1.0, -0.5, -tiny, tiny, 0.5, 1.0, 2.0, 3.0]);
        assert_eq!(histogram.bucket, [1.0, 0.0, 1.0, 0.0, 2.0, 0.0, 2.0, 0.0, 1.0]);
        assert_eq!((histogram.min, histogram.max, histogram.num), (-3.0, 3.0, 7.0));
    }

    #[test]
    fn one_sided_and_empty_tensors_have_the_range_of_their_values() {
        let positive = of(&Tensor::from_slice(&[1.0f32, 1.5]));
        assert_eq!((positive.min, positive.max, positive.bucket), (1.0, 1.5, vec![2.0]));
        let negative = of(&Tensor::from_slice(&[-1.0f32, -1.5]));
        assert_eq!((negative.min, negative.max, negative.bucket), (-1.5, -1.0, vec![2.0]));
        assert_eq!(of(&Tensor::from_slice(&[0.0f32; 3])).bucket, [3.0]);
        let denormal = of(&Tensor::from_slice(&[-1e-40f32]));
        assert_eq!(
            (denormal.min, denormal.max, denormal.bucket),
            (f64::from(-1e-40f32), f64::from(1e-40f32), vec![1.0])
        );
        assert_eq!(of(&Tensor::from_slice::<f32>(&[])), HistogramProto::default());
        assert_eq!(of(&Tensor::from_slice(&[f32::NAN, f32::INFINITY])), HistogramProto::default());
    }

    proptest! {
        #[test]
        fn every_finite_value_lies_in_its_bucket_and_the_entry_stays_small(
            bits in prop::collection::vec(prop_oneof![any::<u32>(), Just(0u32), (0x3000_0000u32..0x4800_0000)], 1..300),
        ) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let histogram = of(&Tensor::from_slice(&values).to_kind(Kind::Float));
            let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).map(f64::from).collect();
            prop_assert_eq!(histogram.num, finite.len() as f64);
            let mut left = histogram.min;
            for (&limit, &count) in histogram.bucket_limit.iter().zip(&histogram.bucket) {
                // A negative power of two belongs to the bucket that starts there toward 0, so both ends are allowed.
                let inside = finite.iter().filter(|&&v| left <= v && v <= limit).count() as f64;
                let strictly = finite.iter().filter(|&&v| left < v && v < limit).count() as f64;
                prop_assert!(strictly <= count && count <= inside, "{} {} {}", left, limit, count);
                left = limit;
            }
            prop_assert!(histogram.bucket.len() <= 83 && histogram.encoded_len() <= 1400);
        }
    }
}
