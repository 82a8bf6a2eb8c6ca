//! Precision and recall at each threshold, for TensorBoard's PR Curves page.

use prost::Message;

use super::proto::{DT_FLOAT, Dimension, PluginData, PrCurveData, SummaryMetadata, TensorProto, TensorShape};

/// Number of thresholds from 0 to 1, both included: TensorBoard's default.
pub const THRESHOLDS: usize = 201;
/// Minimum denominator of precision and recall, as in TensorBoard's own writer.
const LEAST: f64 = 1e-7;

/// The curve of one class against all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrecisionRecall {
    positives: Box<[u64; THRESHOLDS]>,
    negatives: Box<[u64; THRESHOLDS]>,
}

impl PrecisionRecall {
    /// Builds the curve from the numbers of images of the class (`positives`) and of all other images (`negatives`)
    /// whose probability `p` of the class has `floor(200 p)` = 0, 1, ..., 200.
    pub fn new(positives: Box<[u64; THRESHOLDS]>, negatives: Box<[u64; THRESHOLDS]>) -> Self {
        Self { positives, negatives }
    }

    /// Returns true positives, false positives, true negatives, false negatives, precision, and recall for each
    /// threshold. Images with a probability at or above the threshold count as predictions of the class.
    fn rows(&self) -> [Vec<f64>; 6] {
        let at_or_above = |counts: &[u64]| {
            let mut sum = 0;
            let mut sums: Vec<f64> = counts
                .iter()
                .rev()
                .map(|count| {
                    sum += count;
                    sum as f64
                })
                .collect();
            sums.reverse();
            sums
        };
        let (hits, alarms) = (at_or_above(&self.positives[..]), at_or_above(&self.negatives[..]));
        let rest = |above: &[f64]| above.iter().map(|count| above[0] - count).collect::<Vec<f64>>();
        let (rejections, misses) = (rest(&alarms), rest(&hits));
        let share =
            |others: &[f64]| hits.iter().zip(others).map(|(hits, others)| hits / (hits + others).max(LEAST)).collect();
        let (precision, recall) = (share(&alarms), share(&misses));
        [hits, alarms, rejections, misses, precision, recall]
    }

    /// The metadata and tensor that contain the curve in the plugin's format: version 0, six rows.
    pub(super) fn into_tensor(self) -> (SummaryMetadata, TensorProto) {
        let content = PrCurveData { version: 0, num_thresholds: THRESHOLDS as u32 }.encode_to_vec();
        let plugin_data = PluginData { plugin_name: "pr_curves".into(), content };
        let dim = [6, THRESHOLDS as i64].map(|size| Dimension { size }).to_vec();
        let float_val = self.rows().into_iter().flatten().map(|value| value as f32).collect();
        (
            SummaryMetadata { plugin_data: Some(plugin_data) },
            TensorProto {
                dtype: DT_FLOAT,
                tensor_shape: Some(TensorShape { dim }),
                float_val,
                ..TensorProto::default()
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(at: &[(usize, u64)]) -> Box<[u64; THRESHOLDS]> {
        let mut bins = Box::new([0; THRESHOLDS]);
        at.iter().for_each(|&(bin, count)| bins[bin] = count);
        bins
    }

    #[test]
    fn counts_are_those_at_or_above_each_threshold() {
        // Three images of the class at 1.0, 0.5, and 0.1; two others at 0.5 and 0.
        let curve = PrecisionRecall::new(bins(&[(200, 1), (100, 1), (20, 1)]), bins(&[(100, 1), (0, 1)]));
        let rows = curve.rows();
        let at = |bin: usize| [0, 1, 2, 3, 4, 5].map(|row| rows[row][bin]);
        assert_eq!(at(0), [3.0, 2.0, 0.0, 0.0, 0.6, 1.0]);
        assert_eq!(at(20), [3.0, 1.0, 1.0, 0.0, 0.75, 1.0]);
        assert_eq!(at(100), [2.0, 1.0, 1.0, 1.0, 2.0 / 3.0, 2.0 / 3.0]);
        assert_eq!(at(101), [1.0, 0.0, 2.0, 2.0, 1.0, 1.0 / 3.0]);
        let nothing = PrecisionRecall::new(bins(&[]), bins(&[]));
        assert!(nothing.rows().iter().flatten().all(|value| *value == 0.0));
    }

    /// i = np.arange(97); p = i * 37 % 97 / 96.0; l = (i * 53 % 7 < 3).astype(int)
    /// torch.utils.tensorboard.summary.compute_curve(l, p, num_thresholds=201)[:, k]
    #[test]
    fn rows_are_those_of_pytorchs_writer() {
        let (mut positives, mut negatives) = (bins(&[]), bins(&[]));
        for image in 0..97usize {
            let bin = (image * 37 % 97) * 200 / 96;
            let counts = if image * 53 % 7 < 3 { &mut positives } else { &mut negatives };
            counts[bin] += 1;
        }
        let rows = PrecisionRecall::new(positives, negatives).rows();
        let want = [
            (0, [42.0, 55.0, 0.0, 0.0, 0.4329896907216495, 1.0]),
            (1, [41.0, 55.0, 0.0, 1.0, 0.4270833333333333, 0.9761904761904762]),
            (57, [28.0, 41.0, 14.0, 14.0, 0.4057971014492754, 0.6666666666666666]),
            (100, [19.0, 30.0, 25.0, 23.0, 0.3877551020408163, 0.4523809523809524]),
            (150, [9.0, 16.0, 39.0, 33.0, 0.36, 0.21428571428571427]),
            (200, [0.0, 1.0, 54.0, 42.0, 0.0, 0.0]),
        ];
        for (bin, want) in want {
            assert_eq!([0, 1, 2, 3, 4, 5].map(|row| rows[row][bin]), want, "{bin}");
        }
    }
}
