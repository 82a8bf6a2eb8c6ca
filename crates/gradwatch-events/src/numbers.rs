//! Extracts the numbers from a value of an event file, in any of the common encodings.

use super::proto::{Content, DT_DOUBLE, DT_FLOAT, HistogramProto, SummaryValue, TensorProto};

/// The numbers in a value of a tag.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// A single number.
    Scalar(f64),
    /// Counts of values by size. If the encoding has no sums, they are computed from the centers of the buckets.
    Histogram(HistogramProto),
}

impl Numbers {
    /// Reads scalars in the encoding of TensorFlow 1, PyTorch, and tensorboardX (`simple_value`) or of TensorFlow 2 and
    /// Keras (a tensor with one number), and histograms in the encoding of the former (`HistogramProto`) or of the
    /// latter (a tensor with rows of left edge, right edge, and count). `None` for all other values.
    pub fn of(value: SummaryValue) -> Option<Self> {
        match value.content? {
            Content::SimpleValue(number) => Some(Self::Scalar(number.into())),
            Content::Histogram(histogram) => Some(Self::Histogram(histogram)),
            Content::Tensor(tensor) => {
                let plugin = value.metadata.and_then(|metadata| metadata.plugin_data).map(|plugin| plugin.plugin_name);
                let numbers = numbers(&tensor)?;
                match plugin.as_deref() {
                    Some("histograms") => Some(Self::Histogram(of_rows(&numbers))),
                    // Only the first value of a tag contains the plugin name.
                    None | Some("" | "scalars") if numbers.len() == 1 => Some(Self::Scalar(numbers[0])),
                    None | Some("") if tensor.tensor_shape.as_ref().is_some_and(|shape| is_rows(&shape.dim)) => {
                        Some(Self::Histogram(of_rows(&numbers)))
                    }
                    _ => None,
                }
            }
            Content::Image(_) => None,
        }
    }
}

fn is_rows(dimensions: &[super::proto::Dimension]) -> bool {
    matches!(dimensions, [_, columns] if columns.size == 3)
}

fn numbers(tensor: &TensorProto) -> Option<Vec<f64>> {
    let bytes = &tensor.tensor_content;
    match tensor.dtype {
        DT_FLOAT if bytes.is_empty() => Some(tensor.float_val.iter().copied().map(f64::from).collect()),
        DT_DOUBLE if bytes.is_empty() => Some(tensor.double_val.clone()),
        DT_FLOAT => Some(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes).into()).collect()),
        DT_DOUBLE => Some(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
        _ => None,
    }
}

/// Converts rows of left edge, right edge, and count.
fn of_rows(numbers: &[f64]) -> HistogramProto {
    let rows = || numbers.as_chunks::<3>().0.iter().filter(|[_, _, count]| *count > 0.0);
    let middle = |[left, right, _]: &[f64; 3]| 0.5 * (left + right);
    HistogramProto {
        min: rows().next().map_or(0.0, |[left, ..]| *left),
        max: rows().next_back().map_or(0.0, |[_, right, _]| *right),
        num: rows().map(|[_, _, count]| count).sum(),
        sum: rows().map(|row| middle(row) * row[2]).sum(),
        sum_squares: rows().map(|row| middle(row).powi(2) * row[2]).sum(),
        bucket_limit: rows().map(|[_, right, _]| *right).collect(),
        bucket: rows().map(|[_, _, count]| *count).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::proto::{Dimension, PluginData, SummaryMetadata, TensorShape},
        *,
    };

    fn value(plugin: Option<&str>, tensor: TensorProto) -> SummaryValue {
        let plugin_data = plugin.map(|name| PluginData { plugin_name: name.into(), content: Vec::new() });
        let metadata = plugin_data.map(|plugin_data| SummaryMetadata { plugin_data: Some(plugin_data) });
        SummaryValue { tag: "t".into(), metadata, content: Some(Content::Tensor(tensor)) }
    }

    #[test]
    fn a_scalar_reads_the_same_in_every_encoding() {
        let simple = SummaryValue { tag: "t".into(), metadata: None, content: Some(Content::SimpleValue(0.5)) };
        let in_field = TensorProto { dtype: DT_FLOAT, float_val: vec![0.5], ..TensorProto::default() };
        let in_bytes =
            TensorProto { dtype: DT_FLOAT, tensor_content: 0.5f32.to_le_bytes().to_vec(), ..TensorProto::default() };
        let double =
            TensorProto { dtype: DT_DOUBLE, tensor_content: 0.5f64.to_le_bytes().to_vec(), ..TensorProto::default() };
        let tensors = [in_field, in_bytes, double].map(|tensor| value(Some("scalars"), tensor));
        for value in [simple].into_iter().chain(tensors) {
            assert_eq!(Numbers::of(value), Some(Numbers::Scalar(0.5)));
        }
    }

    #[test]
    fn a_histogram_of_rows_has_its_moments_from_the_middles() {
        let rows = [[-2.0, 0.0, 1.0], [0.0, 2.0, 3.0], [2.0, 4.0, 0.0]].concat();
        let shape = TensorShape { dim: vec![Dimension { size: 3 }, Dimension { size: 3 }] };
        let tensor =
            TensorProto { dtype: DT_DOUBLE, tensor_shape: Some(shape), double_val: rows, ..TensorProto::default() };
        for plugin in [Some("histograms"), None] {
            let Some(Numbers::Histogram(histogram)) = Numbers::of(value(plugin, tensor.clone())) else { panic!() };
            assert_eq!((histogram.min, histogram.max, histogram.num), (-2.0, 2.0, 4.0));
            assert_eq!((histogram.sum, histogram.sum_squares), (2.0, 4.0));
            assert_eq!((histogram.bucket_limit, histogram.bucket), (vec![0.0, 2.0], vec![1.0, 3.0]));
        }
    }

    #[test]
    fn texts_and_tensors_of_other_plugins_are_no_numbers() {
        let text = TensorProto { dtype: super::super::proto::DT_STRING, ..TensorProto::default() };
        assert_eq!(Numbers::of(value(Some("text"), text)), None);
        let curve = TensorProto { dtype: DT_FLOAT, float_val: vec![1.0; 6], ..TensorProto::default() };
        assert_eq!(Numbers::of(value(Some("pr_curves"), curve)), None);
    }
}
