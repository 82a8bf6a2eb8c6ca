//! The protobuf messages of event files that gradwatch writes and reads.
//!
//! Names and field numbers come from tensorflow/core/util/event.proto and from summary.proto, histogram.proto,
//! tensor.proto, tensor_shape.proto, and types.proto in tensorflow/core/framework. Those of layouts come from
//! layout.proto in tensorboard/plugins/custom_scalar. Unknown fields are skipped.

pub mod hparams;

use prost::{Enumeration, Message, Oneof};

/// One entry of an event file.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970-01-01 UTC.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// TensorBoard's `global_step`.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// Content of the entry.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// Content of an entry.
#[derive(Clone, PartialEq, Oneof)]
pub enum What {
    /// `brain.Event:2`, in the first entry of a file.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values of tags.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A mark for the start, end, or resumption of a run.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// Marks the step at which a run started or resumed.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// A [`SessionStatus`].
    #[prost(enumeration = "SessionStatus", tag = "1")]
    pub status: i32,
    /// The saved or restored checkpoint.
    #[prost(string, tag = "2")]
    pub checkpoint_path: String,
    /// Human-readable message.
    #[prost(string, tag = "3")]
    pub msg: String,
}

/// Kind of mark in a [`SessionLog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SessionStatus {
    /// Not set.
    Unspecified = 0,
    /// A start or a resumption. TensorBoard discards earlier values of this step and of later steps.
    Start = 1,
    /// The end of a run.
    Stop = 2,
    /// A checkpoint was saved.
    Checkpoint = 3,
}

/// Values of one step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// One value per tag.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<SummaryValue>,
}

/// One value of one tag: `Summary.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct SummaryValue {
    /// Tag of the series.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// The plugin that displays the value, if the type does not determine it.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<SummaryMetadata>,
    /// Value of the tag.
    #[prost(oneof = "Content", tags = "2, 4, 5, 8")]
    /// The payload.
    pub content: Option<Content>,
}

/// Types of values.
#[derive(Clone, PartialEq, Oneof)]
pub enum Content {
    /// A scalar.
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    /// An image.
    #[prost(message, tag = "4")]
    Image(Image),
    /// A histogram.
    #[prost(message, tag = "5")]
    Histogram(HistogramProto),
    /// The format that the plugin in the metadata expects: text, a [`LayoutProto`], a curve, or nothing.
    #[prost(message, tag = "8")]
    Tensor(TensorProto),
}

/// Sets how TensorBoard displays a series.
#[derive(Clone, PartialEq, Message)]
pub struct SummaryMetadata {
    /// The plugin that displays the series.
    #[prost(message, optional, tag = "1")]
    pub plugin_data: Option<PluginData>,
}

/// A plugin's name and options: `SummaryMetadata.PluginData`.
#[derive(Clone, PartialEq, Message)]
pub struct PluginData {
    /// Name, such as `text`.
    #[prost(string, tag = "1")]
    pub plugin_name: String,
    /// A message defined by the plugin. Version 0 of the text plugin's message is empty.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// A histogram: `bucket[i]` values are between `bucket_limit[i - 1]` and `bucket_limit[i]`.
#[derive(Clone, PartialEq, Message)]
pub struct HistogramProto {
    /// Smallest value.
    #[prost(double, tag = "1")]
    pub min: f64,
    /// Largest value.
    #[prost(double, tag = "2")]
    pub max: f64,
    /// Number of values.
    #[prost(double, tag = "3")]
    pub num: f64,
    /// Sum of the values.
    #[prost(double, tag = "4")]
    pub sum: f64,
    /// Sum of the squared values.
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    /// Right edges of the buckets.
    #[prost(double, repeated, tag = "6")]
    pub bucket_limit: Vec<f64>,
    /// Counts of the buckets.
    #[prost(double, repeated, tag = "7")]
    pub bucket: Vec<f64>,
}

/// An image: `Summary.Image`.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    /// Height in pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Width in pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// The PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded_image_string: Vec<u8>,
}

/// Data of a curve for the PR Curves page: `PrCurvePluginData` in tensorboard/plugins/pr_curve/plugin_data.proto.
#[derive(Clone, PartialEq, Message)]
pub struct PrCurveData {
    /// Always 0.
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// Number of columns of the tensor.
    #[prost(uint32, tag = "2")]
    pub num_thresholds: u32,
}

/// A tensor of strings or numbers.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// [`DT_STRING`], [`DT_FLOAT`], or [`DT_DOUBLE`].
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    /// Has no dimensions for a single element.
    #[prost(message, optional, tag = "2")]
    pub tensor_shape: Option<TensorShape>,
    /// Numbers as little-endian bytes, if they are not in a field of their own.
    #[prost(bytes = "vec", tag = "4")]
    pub tensor_content: Vec<u8>,
    /// Numbers of [`DT_FLOAT`].
    #[prost(float, repeated, tag = "5")]
    pub float_val: Vec<f32>,
    /// Numbers of [`DT_DOUBLE`].
    #[prost(double, repeated, tag = "6")]
    pub double_val: Vec<f64>,
    /// UTF-8 strings.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub string_val: Vec<Vec<u8>>,
}

/// The type of a tensor of strings.
pub const DT_STRING: i32 = 7;
/// The type of a tensor of 32-bit floats.
pub const DT_FLOAT: i32 = 1;
/// The type of a tensor of 64-bit floats.
pub const DT_DOUBLE: i32 = 2;

/// Sizes of a tensor's dimensions: `TensorShapeProto`.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShape {
    /// One entry per dimension.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dimension>,
}

/// One dimension: `TensorShapeProto.Dim`.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// Size of the dimension.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// The charts of the Custom Scalars page: `Layout` in tensorboard/plugins/custom_scalar/layout.proto.
#[derive(Clone, PartialEq, Message)]
pub struct LayoutProto {
    /// Always 0.
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// Categories from top to bottom.
    #[prost(message, repeated, tag = "2")]
    pub category: Vec<CategoryProto>,
}

/// Charts under one heading: `Category`.
#[derive(Clone, PartialEq, Message)]
pub struct CategoryProto {
    /// Heading.
    #[prost(string, tag = "1")]
    pub title: String,
    /// Charts under the heading.
    #[prost(message, repeated, tag = "2")]
    pub chart: Vec<ChartProto>,
    /// Whether the charts are collapsed initially.
    #[prost(bool, tag = "3")]
    pub closed: bool,
}

/// One chart: `Chart`.
#[derive(Clone, PartialEq, Message)]
pub struct ChartProto {
    /// Title above the chart.
    #[prost(string, tag = "1")]
    pub title: String,
    /// Content of the chart.
    #[prost(oneof = "ChartContent", tags = "2, 3")]
    pub content: Option<ChartContent>,
}

/// Types of charts.
#[derive(Clone, PartialEq, Oneof)]
pub enum ChartContent {
    /// Lines.
    #[prost(message, tag = "2")]
    Multiline(LinesProto),
    /// Lines with bands.
    #[prost(message, tag = "3")]
    Margin(BandsProto),
}

/// The series of a line chart: `MultilineChartContent`.
#[derive(Clone, PartialEq, Message)]
pub struct LinesProto {
    /// Regular expressions that match the start of a tag.
    #[prost(string, repeated, tag = "1")]
    pub tag: Vec<String>,
}

/// The series of a band chart: `MarginChartContent`.
#[derive(Clone, PartialEq, Message)]
pub struct BandsProto {
    /// Lines with their bands.
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<BandProto>,
}

/// The tags of a line and of its band's edges: `MarginChartContent.Series`.
#[derive(Clone, PartialEq, Message)]
pub struct BandProto {
    /// Tag of the line.
    #[prost(string, tag = "1")]
    pub value: String,
    /// Tag of the lower edge.
    #[prost(string, tag = "2")]
    pub lower: String,
    /// Tag of the upper edge.
    #[prost(string, tag = "3")]
    pub upper: String,
}
