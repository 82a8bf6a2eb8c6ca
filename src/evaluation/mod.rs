//! Runs a model over images and computes its metrics: numerics of a pass, loss, running sums, and evaluation.

mod average_precision;
mod batch_statistics;
mod confusion;
mod confusion_table;
mod error;
mod evaluate;
mod forward;
mod loss;
mod metrics;
mod metrics_json;
mod numerics;
mod prediction_counts;
mod set_counts;
mod tally;
mod targets;
mod threshold_counts;

pub(crate) use batch_statistics::accuracy_by_batch;
pub use confusion::{Cell, ClassCounts, Confusion};
pub(crate) use confusion_table::confusion_table;
pub use error::EvaluationError;
pub use evaluate::{evaluate, evaluate_with_curves};
pub use forward::forward;
pub use loss::Loss;
#[cfg(test)]
pub(crate) use metrics::tests::of_matrix;
pub use metrics::{ClassMetrics, Metrics, MultiLabelMetrics};
pub(crate) use metrics_json::Abridged;
pub use numerics::Numerics;
pub use tally::Tally;
pub(crate) use tally::TallyCounts;
pub use targets::Targets;
pub use threshold_counts::ThresholdCounts;
