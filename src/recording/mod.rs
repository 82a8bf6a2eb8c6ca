//! Records a run: TensorBoard events, JSON lines, pictures, terminal output, messages about findings, and the summary.

mod batch_picture;
mod dashboard;
mod ending;
mod error;
mod explanations;
mod metrics_line;
mod model_interface;
mod pictures;
mod progress;
mod reading;
mod recent_steps;
mod recorder;
mod step_events;
mod summary;

pub use batch_picture::batch_picture;
pub use ending::Ending;
pub use error::RecordingError;
pub(crate) use explanations::{Explainer, choose_images};
pub use gradwatch_doctor::messenger::Messenger;
pub(crate) use model_interface::write_model_interface;
pub(crate) use pictures::Pictures;
pub(crate) use progress::Left;
pub use progress::Progress;
pub use reading::Reading;
pub use recent_steps::RecentSteps;
pub use recorder::Recorder;
pub(crate) use recorder::ResumedRecord;
pub use summary::Summary;
