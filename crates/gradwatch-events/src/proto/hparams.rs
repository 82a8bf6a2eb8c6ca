//! The messages of TensorBoard's HParams page.
//!
//! Names and field numbers come from api.proto and plugin_data.proto in tensorboard/plugins/hparams, and those of
//! [`ValueProto`] from google/protobuf/struct.proto. Only the fields that gradwatch writes are here.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

/// Content of the plugin's metadata: `HParamsPluginData`.
#[derive(Clone, PartialEq, Message)]
pub struct HparamsData {
    /// Always 0.
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// The message itself.
    #[prost(oneof = "HparamsContent", tags = "2, 3, 4")]
    pub data: Option<HparamsContent>,
}

/// Messages of the plugin.
#[derive(Clone, PartialEq, Oneof)]
pub enum HparamsContent {
    /// Hyperparameters and metrics of all sessions.
    #[prost(message, tag = "2")]
    Experiment(ExperimentProto),
    /// Hyperparameters of one session.
    #[prost(message, tag = "3")]
    SessionStart(SessionStartProto),
    /// End of one session.
    #[prost(message, tag = "4")]
    SessionEnd(SessionEndProto),
}

/// Hyperparameters and metrics of all sessions: `Experiment`.
#[derive(Clone, PartialEq, Message)]
pub struct ExperimentProto {
    /// Markdown text.
    #[prost(string, tag = "1")]
    pub description: String,
    /// Seconds since 1970-01-01 UTC.
    #[prost(double, tag = "3")]
    pub time_created_secs: f64,
    /// Hyperparameters.
    #[prost(message, repeated, tag = "4")]
    pub hparam_infos: Vec<HparamProto>,
    /// Metrics.
    #[prost(message, repeated, tag = "5")]
    pub metric_infos: Vec<MetricProto>,
}

/// A hyperparameter: `HParamInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct HparamProto {
    /// Key of the values.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Column heading; the name if empty.
    #[prost(string, tag = "2")]
    pub display_name: String,
    /// Markdown text.
    #[prost(string, tag = "3")]
    pub description: String,
    /// Type of all values: a [`DataType`].
    #[prost(enumeration = "DataType", tag = "4")]
    pub r#type: i32,
    /// Values to filter by.
    #[prost(oneof = "DomainProto", tags = "5, 6")]
    pub domain: Option<DomainProto>,
    /// Whether sessions have different values.
    #[prost(bool, tag = "7")]
    pub differs: bool,
}

/// Type of a hyperparameter's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// Not set.
    Unset = 0,
    /// Text.
    String = 1,
    /// True or false.
    Bool = 2,
    /// A number.
    Float64 = 3,
}

/// Values that a hyperparameter can have.
#[derive(Clone, PartialEq, Oneof)]
pub enum DomainProto {
    /// A list.
    #[prost(message, tag = "5")]
    Discrete(ListProto),
    /// A range.
    #[prost(message, tag = "6")]
    Interval(IntervalProto),
}

/// A range with both ends included: `Interval`.
#[derive(Clone, PartialEq, Message)]
pub struct IntervalProto {
    /// Lower end.
    #[prost(double, tag = "1")]
    pub min_value: f64,
    /// Upper end.
    #[prost(double, tag = "2")]
    pub max_value: f64,
}

/// A list of values: `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, Message)]
pub struct ListProto {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<ValueProto>,
}

/// A value: `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct ValueProto {
    /// The value itself.
    #[prost(oneof = "ValueKind", tags = "2, 3, 4")]
    pub kind: Option<ValueKind>,
}

/// Types of values.
#[derive(Clone, PartialEq, Oneof)]
pub enum ValueKind {
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// Text.
    #[prost(string, tag = "3")]
    Text(String),
    /// True or false.
    #[prost(bool, tag = "4")]
    Bool(bool),
}

/// A metric: `MetricInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct MetricProto {
    /// Series of the metric.
    #[prost(message, optional, tag = "1")]
    pub name: Option<MetricNameProto>,
    /// Column heading; the tag if empty.
    #[prost(string, tag = "3")]
    pub display_name: String,
    /// Markdown text.
    #[prost(string, tag = "4")]
    pub description: String,
}

/// Series of a metric: `MetricName`.
#[derive(Clone, PartialEq, Message)]
pub struct MetricNameProto {
    /// Subfolder of the session.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Tag of the scalars.
    #[prost(string, tag = "2")]
    pub tag: String,
}

/// Hyperparameters of one session: `SessionStartInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct SessionStartProto {
    /// Values by name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub hparams: BTreeMap<String, ValueProto>,
    /// Name that repetitions have in common.
    #[prost(string, tag = "4")]
    pub group_name: String,
    /// Seconds since 1970-01-01 UTC.
    #[prost(double, tag = "5")]
    pub start_time_secs: f64,
}

/// End of one session: `SessionEndInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct SessionEndProto {
    /// A [`Status`].
    #[prost(enumeration = "Status", tag = "1")]
    pub status: i32,
    /// Seconds since 1970-01-01 UTC.
    #[prost(double, tag = "2")]
    pub end_time_secs: f64,
}

/// Outcome of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Status {
    /// Not known.
    Unknown = 0,
    /// Finished.
    Success = 1,
    /// Ended with an error.
    Failure = 2,
    /// Not finished.
    Running = 3,
}
