//! Statistics of one step on the host: gradients, weights, updates, and layers.
//!
//! These types contain numbers only. A trainer measures them, an event file stores them, and the rules read them.

mod bands;
mod depth_profile;
mod history;
mod layer;
mod log_histogram;
mod rank_spread;
mod ranks;
mod tensor;
mod timeline;
mod update;

pub use bands::Bands;
pub use depth_profile::{DepthProfile, ProfileSource, Slope};
pub use history::{GradientHistory, NormRange, ParameterHistory};
pub use layer::LayerStatistics;
pub use log_histogram::LogHistogram;
pub use rank_spread::RankSpread;
pub use ranks::{RankPlace, RankStatistics, RankStep, WeightMismatch};
pub use tensor::{Distribution, GradientStatistics, TensorStatistics};
pub use timeline::{BackwardTime, BackwardTimeline};
pub use update::ParameterUpdate;
