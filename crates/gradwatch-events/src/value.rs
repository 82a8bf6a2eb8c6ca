//! The types of values that a tag can have at one step.

use super::{
    Histogram, Hparams, Layout, PrecisionRecall,
    proto::{Content, DT_STRING, Image, PluginData, SummaryMetadata, SummaryValue, TensorProto, TensorShape},
};

/// A value of a tag at one step. All values of a tag should have the same type, because TensorBoard uses the type of
/// the first one.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, stored as f32. NaN and infinities are kept.
    Scalar(f64),
    /// A histogram.
    Histogram(Histogram),
    /// Text, which TensorBoard renders as Markdown.
    Text(String),
    /// An image.
    Image {
        /// The PNG file.
        png: Vec<u8>,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The charts of the Custom Scalars page, which TensorBoard reads from [`Layout::TAG`].
    Layout(Layout),
    /// The precision-recall curve of a class, for the PR Curves page.
    PrecisionRecall(PrecisionRecall),
    /// A message for the HParams page, which TensorBoard reads from [`Hparams::tag`].
    Hparams(Hparams),
}

impl Value {
    /// Converts the value to its stored form. Scalars, histograms, and images use the fields that TensorBoard has
    /// supported since its first version and recognizes without metadata. All others are tensors and need the name of
    /// their plugin.
    pub(super) fn into_summary_value(self, tag: String) -> SummaryValue {
        let mut metadata = None;
        let content = match self {
            Self::Scalar(value) => Content::SimpleValue(value as f32),
            Self::Histogram(histogram) => Content::Histogram(histogram.into_proto()),
            Self::Text(text) => {
                let plugin_data = PluginData { plugin_name: "text".into(), content: Vec::new() };
                metadata = Some(SummaryMetadata { plugin_data: Some(plugin_data) });
                // A shape without dimensions, for a single string.
                let tensor_shape = Some(TensorShape::default());
                Content::Tensor(TensorProto {
                    dtype: DT_STRING,
                    tensor_shape,
                    string_val: vec![text.into_bytes()],
                    ..TensorProto::default()
                })
            }
            Self::Layout(layout) => {
                let (layout_metadata, tensor) = layout.into_tensor();
                metadata = Some(layout_metadata);
                Content::Tensor(tensor)
            }
            Self::PrecisionRecall(curve) => {
                let (curve_metadata, tensor) = curve.into_tensor();
                metadata = Some(curve_metadata);
                Content::Tensor(tensor)
            }
            Self::Hparams(hparams) => {
                let (hparams_metadata, tensor) = hparams.into_tensor();
                metadata = Some(hparams_metadata);
                Content::Tensor(tensor)
            }
            Self::Image { png, width, height } => {
                // PNG itself allows at most 2^31 - 1 pixels per side.
                let pixels = |count| i32::try_from(count).unwrap_or(i32::MAX);
                Content::Image(Image { height: pixels(height), width: pixels(width), encoded_image_string: png })
            }
        };
        SummaryValue { tag, metadata, content: Some(content) }
    }
}
