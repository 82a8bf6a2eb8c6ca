//! What a tag can hold at one step.

use super::{
    Histogram, Layout, PrecisionRecall,
    proto::{Content, DT_STRING, Image, PluginData, SummaryMetadata, SummaryValue, TensorProto, TensorShape},
};

/// A value of a tag at one step. All values of a tag should be of one kind: TensorBoard goes by the first.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, stored as f32; NaN and infinities as they are.
    Scalar(f64),
    /// A distribution.
    Histogram(Histogram),
    /// A text, which TensorBoard renders as Markdown.
    Text(String),
    /// A picture.
    Image {
        /// The PNG file.
        png: Vec<u8>,
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// The charts of the Custom Scalars page, which TensorBoard looks for under [`Layout::TAG`].
    Layout(Layout),
    /// The curve of a class, for the PR Curves page.
    PrecisionRecall(PrecisionRecall),
}

impl Value {
    /// The value as it is stored. Scalars, histograms and images are stored in the fields that TensorBoard has had for
    /// them since its first version and knows without metadata; texts and layouts are tensors
    /// and need their plugin's name.
    pub(super) fn into_summary_value(self, tag: String) -> SummaryValue {
        let mut metadata = None;
        let content = match self {
            Self::Scalar(value) => Content::SimpleValue(value as f32),
            Self::Histogram(histogram) => Content::Histogram(histogram.into_proto()),
            Self::Text(text) => {
                let plugin_data = PluginData { plugin_name: "text".into(), content: Vec::new() };
                metadata = Some(SummaryMetadata { plugin_data: Some(plugin_data) });
                // A shape without dimensions: a single string.
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
            Self::Image { png, width, height } => {
                // PNG itself ends at 2^31 - 1 pixels.
                let pixels = |count| i32::try_from(count).unwrap_or(i32::MAX);
                Content::Image(Image { height: pixels(height), width: pixels(width), encoded_image_string: png })
            }
        };
        SummaryValue { tag, metadata, content: Some(content) }
    }
}
