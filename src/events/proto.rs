//! The protobuf messages of event files, as far as they are written and read here.
//!
//! Names and field numbers are those of tensorflow/core/util/event.proto and of summary.proto, histogram.proto,
//! tensor.proto, tensor_shape.proto and types.proto in tensorflow/core/framework; those of layouts, of layout.proto in
//! tensorboard/plugins/custom_scalar. Unknown fields are skipped.

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
    /// What the entry holds.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// What an entry holds.
#[derive(Clone, PartialEq, Oneof)]
pub enum What {
    /// `brain.Event:2`, in the first entry of a file.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values of tags.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A mark in the life of a run.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// Marks where a run was started or resumed.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// What is marked.
    #[prost(enumeration = "SessionStatus", tag = "1")]
    pub status: i32,
    /// The checkpoint that was saved or restored.
    #[prost(string, tag = "2")]
    pub checkpoint_path: String,
    /// For people.
    #[prost(string, tag = "3")]
    pub msg: String,
}

/// What a [`SessionLog`] marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SessionStatus {
    /// Not said.
    Unspecified = 0,
    /// A start or a resumption: values of this step and later ones from before it are void to TensorBoard.
    Start = 1,
    /// An end.
    Stop = 2,
    /// A checkpoint was saved.
    Checkpoint = 3,
}

/// Values of one step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// One for each tag.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<SummaryValue>,
}

/// One value of one tag: `Summary.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct SummaryValue {
    /// The series.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Which plugin shows it, where its kind does not say.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<SummaryMetadata>,
    /// The value.
    #[prost(oneof = "Content", tags = "2, 4, 5, 8")]
    pub content: Option<Content>,
}

/// The kinds of value.
#[derive(Clone, PartialEq, Oneof)]
pub enum Content {
    /// A scalar.
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Image(Image),
    /// A histogram.
    #[prost(message, tag = "5")]
    Histogram(HistogramProto),
    /// Whatever the plugin of the metadata wants; here text or a [`LayoutProto`].
    #[prost(message, tag = "8")]
    Tensor(TensorProto),
}

/// How TensorBoard shows a series.
#[derive(Clone, PartialEq, Message)]
pub struct SummaryMetadata {
    /// Which plugin shows it.
    #[prost(message, optional, tag = "1")]
    pub plugin_data: Option<PluginData>,
}

/// A plugin's name and options: `SummaryMetadata.PluginData`.
#[derive(Clone, PartialEq, Message)]
pub struct PluginData {
    /// Such as `text`.
    #[prost(string, tag = "1")]
    pub plugin_name: String,
    /// A message of the plugin's own. The text plugin's says version 0, which is no bytes at all.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// A histogram: `bucket[i]` values lie between `bucket_limit[i - 1]` and `bucket_limit[i]`.
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
    /// Sum of their squares.
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    /// Right edges.
    #[prost(double, repeated, tag = "6")]
    pub bucket_limit: Vec<f64>,
    /// Counts.
    #[prost(double, repeated, tag = "7")]
    pub bucket: Vec<f64>,
}

/// A picture: `Summary.Image`.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    /// In pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// In pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// The PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded_image_string: Vec<u8>,
}

/// What the PR Curves page wants to know of a curve: `PrCurvePluginData` in tensorboard/plugins/pr_curve/plugin_data.proto.
#[derive(Clone, PartialEq, Message)]
pub struct PrCurveData {
    /// 0 so far.
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// Columns of the tensor.
    #[prost(uint32, tag = "2")]
    pub num_thresholds: u32,
}

/// A tensor of strings or of numbers.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// [`DT_STRING`], [`DT_FLOAT`] or [`DT_DOUBLE`].
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    /// No dimensions for a single element.
    #[prost(message, optional, tag = "2")]
    pub tensor_shape: Option<TensorShape>,
    /// Numbers as little-endian bytes, where they do not stand in a field of their own.
    #[prost(bytes = "vec", tag = "4")]
    pub tensor_content: Vec<u8>,
    /// Numbers of [`DT_FLOAT`].
    #[prost(float, repeated, tag = "5")]
    pub float_val: Vec<f32>,
    /// Numbers of [`DT_DOUBLE`].
    #[prost(double, repeated, tag = "6")]
    pub double_val: Vec<f64>,
    /// The strings, UTF-8.
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
    /// One for each dimension.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dimension>,
}

/// One dimension: `TensorShapeProto.Dim`.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// Its size.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// The charts of the Custom Scalars page: `Layout` in tensorboard/plugins/custom_scalar/layout.proto.
#[derive(Clone, PartialEq, Message)]
pub struct LayoutProto {
    /// 0 so far.
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// From top to bottom.
    #[prost(message, repeated, tag = "2")]
    pub category: Vec<CategoryProto>,
}

/// Charts under one heading: `Category`.
#[derive(Clone, PartialEq, Message)]
pub struct CategoryProto {
    /// The heading.
    #[prost(string, tag = "1")]
    pub title: String,
    /// The charts.
    #[prost(message, repeated, tag = "2")]
    pub chart: Vec<ChartProto>,
    /// Whether the charts are hidden at first.
    #[prost(bool, tag = "3")]
    pub closed: bool,
}

/// One chart: `Chart`.
#[derive(Clone, PartialEq, Message)]
pub struct ChartProto {
    /// Above the chart.
    #[prost(string, tag = "1")]
    pub title: String,
    /// What it shows.
    #[prost(oneof = "ChartContent", tags = "2, 3")]
    pub content: Option<ChartContent>,
}

/// The kinds of chart.
#[derive(Clone, PartialEq, Oneof)]
pub enum ChartContent {
    /// Lines.
    #[prost(message, tag = "2")]
    Multiline(LinesProto),
    /// Lines in bands.
    #[prost(message, tag = "3")]
    Margin(BandsProto),
}

/// The series of a chart of lines: `MultilineChartContent`.
#[derive(Clone, PartialEq, Message)]
pub struct LinesProto {
    /// Regular expressions that match the beginning of a tag.
    #[prost(string, repeated, tag = "1")]
    pub tag: Vec<String>,
}

/// The series of a chart of bands: `MarginChartContent`.
#[derive(Clone, PartialEq, Message)]
pub struct BandsProto {
    /// The lines and their bands.
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<BandProto>,
}

/// The tags of a line and of its band's edges: `MarginChartContent.Series`.
#[derive(Clone, PartialEq, Message)]
pub struct BandProto {
    /// The line.
    #[prost(string, tag = "1")]
    pub value: String,
    /// The lower edge.
    #[prost(string, tag = "2")]
    pub lower: String,
    /// The upper edge.
    #[prost(string, tag = "3")]
    pub upper: String,
}
