//! Hyperparameters and metrics of runs, for TensorBoard's HParams page.
//!
//! The page shows one line per session. A session is a run folder with a [`SessionStart`]; its metrics are the last
//! values of scalars in the same folder. An [`Experiment`] in the folder above lists the columns. The table of runs on
//! the Time Series page shows the same hyperparameters.

use prost::Message;

pub use super::proto::hparams::Status;
use super::{
    WallTime,
    proto::{
        DT_FLOAT, Dimension, PluginData, SummaryMetadata, TensorProto, TensorShape,
        hparams::{
            DataType, DomainProto, ExperimentProto, HparamProto, HparamsContent, HparamsData, IntervalProto, ListProto,
            MetricNameProto, MetricProto, SessionEndProto, SessionStartProto, ValueKind, ValueProto,
        },
    },
};

/// A message for the HParams page.
#[derive(Debug, Clone, PartialEq)]
pub enum Hparams {
    /// The columns of the page.
    Experiment(Experiment),
    /// The hyperparameters of a session.
    SessionStart(SessionStart),
    /// The outcome of a session.
    SessionEnd(SessionEnd),
}

/// Hyperparameters and metrics of all sessions. TensorBoard uses the first experiment below its `--logdir`, so
/// each experiment needs its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Markdown text.
    pub description: String,
    /// Time of creation.
    pub created: WallTime,
    /// Hyperparameters.
    pub hparams: Vec<Hparam>,
    /// Metrics.
    pub metrics: Vec<Metric>,
}

/// A hyperparameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Hparam {
    /// Key of the values in [`SessionStart::values`].
    pub name: String,
    /// Column heading; the name if empty.
    pub display_name: String,
    /// Values that it can have.
    pub domain: Domain,
}

/// Values that a hyperparameter can have, which the page offers as a filter.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// A list of values, all of one type. Numbers that are not finite are left out, because TensorBoard cannot send
    /// them to the browser.
    Discrete(Vec<HparamValue>),
    /// Numbers in a range, with both ends included.
    Interval {
        /// Smallest number.
        min: f64,
        /// Largest number.
        max: f64,
    },
}

/// A value of a hyperparameter.
#[derive(Debug, Clone, PartialEq)]
pub enum HparamValue {
    /// A number. TensorBoard does not show NaN and infinities.
    Number(f64),
    /// Text.
    Text(String),
    /// True or false.
    Bool(bool),
}

/// A metric: the last value of a series of scalars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Tag of the scalars in the session's folder.
    pub tag: String,
    /// Column heading; the tag if empty.
    pub display_name: String,
}

/// The hyperparameters of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionStart {
    /// Values by name, of the type of the domain.
    pub values: Vec<(String, HparamValue)>,
    /// Name that repetitions of the same hyperparameters have in common: TensorBoard averages their metrics. If empty,
    /// the session is alone.
    pub group: String,
    /// Time of the start.
    pub started: WallTime,
}

/// The outcome of a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionEnd {
    /// How it ended.
    pub status: Status,
    /// Time of the end.
    pub ended: WallTime,
}

impl Hparams {
    /// The tag that TensorBoard reads the message from.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Experiment(_) => "_hparams_/experiment",
            Self::SessionStart(_) => "_hparams_/session_start_info",
            Self::SessionEnd(_) => "_hparams_/session_end_info",
        }
    }

    /// The metadata that contain the message, and an empty tensor: the plugin reads only the metadata.
    pub(super) fn into_tensor(self) -> (SummaryMetadata, TensorProto) {
        let content = HparamsData { version: 0, data: Some(self.into_proto()) }.encode_to_vec();
        let plugin_data = PluginData { plugin_name: "hparams".into(), content };
        let tensor_shape = Some(TensorShape { dim: vec![Dimension { size: 0 }] });
        (
            SummaryMetadata { plugin_data: Some(plugin_data) },
            TensorProto { dtype: DT_FLOAT, tensor_shape, ..TensorProto::default() },
        )
    }

    fn into_proto(self) -> HparamsContent {
        match self {
            Self::Experiment(Experiment { description, created, hparams, metrics }) => {
                HparamsContent::Experiment(ExperimentProto {
                    description,
                    time_created_secs: created.as_secs(),
                    hparam_infos: hparams.into_iter().map(Hparam::into_proto).collect(),
                    metric_infos: metrics.into_iter().map(Metric::into_proto).collect(),
                })
            }
            Self::SessionStart(SessionStart { values, group, started }) => {
                HparamsContent::SessionStart(SessionStartProto {
                    hparams: values.into_iter().map(|(name, value)| (name, value.into_proto())).collect(),
                    group_name: group,
                    start_time_secs: started.as_secs(),
                })
            }
            Self::SessionEnd(SessionEnd { status, ended }) => {
                HparamsContent::SessionEnd(SessionEndProto { status: status.into(), end_time_secs: ended.as_secs() })
            }
        }
    }
}

impl Hparam {
    fn into_proto(self) -> HparamProto {
        let (data_type, differs) = (self.domain.data_type(), self.domain.has_choice());
        HparamProto {
            name: self.name,
            display_name: self.display_name,
            description: String::new(),
            r#type: data_type.into(),
            domain: Some(self.domain.into_proto()),
            differs,
        }
    }
}

impl Domain {
    fn data_type(&self) -> DataType {
        match self {
            Self::Interval { .. } => DataType::Float64,
            Self::Discrete(values) => match values.first() {
                Some(HparamValue::Number(_)) => DataType::Float64,
                Some(HparamValue::Bool(_)) => DataType::Bool,
                Some(HparamValue::Text(_)) => DataType::String,
                None => DataType::Unset,
            },
        }
    }

    /// Whether there is more than one value.
    fn has_choice(&self) -> bool {
        match self {
            Self::Discrete(values) => values.iter().skip(1).any(|value| *value != values[0]),
            Self::Interval { min, max } => min < max,
        }
    }

    fn into_proto(self) -> DomainProto {
        match self {
            Self::Discrete(values) => {
                let is_shown =
                    |value: &HparamValue| !matches!(value, HparamValue::Number(number) if !number.is_finite());
                let values = values.into_iter().filter(is_shown).map(HparamValue::into_proto).collect();
                DomainProto::Discrete(ListProto { values })
            }
            Self::Interval { min, max } => DomainProto::Interval(IntervalProto { min_value: min, max_value: max }),
        }
    }
}

impl HparamValue {
    fn into_proto(self) -> ValueProto {
        let kind = match self {
            Self::Number(number) => ValueKind::Number(number),
            Self::Text(text) => ValueKind::Text(text),
            Self::Bool(bool) => ValueKind::Bool(bool),
        };
        ValueProto { kind: Some(kind) }
    }
}

impl Metric {
    fn into_proto(self) -> MetricProto {
        MetricProto {
            name: Some(MetricNameProto { group: String::new(), tag: self.tag }),
            display_name: self.display_name,
            description: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
