//! Uses a trained model: predicts classes of image files, highlights the image regions that support them, and exports
//! the model for other programs.
//!
//! ```no_run
//! use gradwatch::inference::{TrainedModel, WeightsOf};
//! use tch::Device;
//!
//! let model = TrainedModel::open("logs/my-run".as_ref(), &WeightsOf::Best, Device::Cpu)?;
//! let pixels = model.preprocessing.decode("photo.jpg".as_ref())?;
//! let guesses = model.predict(&[pixels], 5)?;
//! println!("{}: {:.1}%", model.classes[guesses[0][0].class], 100.0 * guesses[0][0].probability);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod export;
mod grad_cam;
mod model_classes;
mod prediction;
mod trained_model;

pub use error::InferenceError;
pub use grad_cam::{GradCam, grad_cam};
pub use model_classes::{ModelClasses, PREDICTED, Probabilities};
pub use prediction::Prediction;
pub use trained_model::{CLASSES, PREPROCESSING, TrainedModel, WeightsOf, run_config};
pub(crate) use trained_model::{to_tensor, write_interface};
