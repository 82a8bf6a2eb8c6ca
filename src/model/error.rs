//! Errors when building a model.

use std::{io, path::PathBuf};

use tch::TchError;
use thiserror::Error;

use super::ParameterName;
use crate::{
    config::Architecture,
    libtorch::{LibtorchError, first_line},
};

/// Reason why a model could not be built. All errors except [`ModelError::Torch`] and errors from a file are detected
/// before any memory is allocated.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The images become too small inside the model.
    #[error(
        "{architecture}: got images of {height}x{width} (height x width), want at least {least}x{least}; \
         enlarge the images or choose another model.name"
    )]
    InputTooSmall {
        /// The requested architecture.
        architecture: Architecture,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
        /// Minimum side length.
        least: usize,
    },
    /// A size is zero or too large for any machine.
    #[error("{what}: got {got}, want {least}..={most}")]
    Size {
        /// The config key or the quantity.
        what: &'static str,
        /// The value.
        got: usize,
        /// Minimum value.
        least: usize,
        /// Maximum value.
        most: usize,
    },
    /// The architecture's name determines its depth.
    #[error(
        "model.depth: got {got}, but {architecture} has its depth in its name; remove the key or choose mlp or cnn"
    )]
    DepthIsFixed {
        /// The requested architecture.
        architecture: Architecture,
        /// The requested depth.
        got: usize,
    },
    /// The architecture does not have layers with equal input and output shapes.
    #[error(
        "model.residual: got true, but {architecture} has no layer with equal input and output shapes; set it to false"
    )]
    NoResidual {
        /// The requested architecture.
        architecture: Architecture,
    },
    /// An initialization is not compatible with the rest of the model.
    #[error("model.initialization.{key}: got {got} with {beside}, want {want}; {remedy}")]
    Initialization {
        /// The key of `[model.initialization]`.
        key: &'static str,
        /// Value of the key.
        got: String,
        /// The incompatible setting.
        beside: String,
        /// The required setting.
        want: &'static str,
        /// How to fix it.
        remedy: &'static str,
    },
    /// The architecture requires a certain setting.
    #[error("model.{key}: got {got}, but {architecture} needs {want}; remove the key")]
    Fixed {
        /// The key in `[model]`.
        key: &'static str,
        /// The requested architecture.
        architecture: Architecture,
        /// The value.
        got: String,
        /// The required setting.
        want: &'static str,
    },
    /// The images cannot be divided into patches.
    #[error(
        "model.patch_size: got {patch}, which does not divide images of {height}x{width} (height x width); {remedy}"
    )]
    Patches {
        /// Side length of a patch.
        patch: usize,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
        /// How to fix it.
        remedy: String,
    },
    /// The width cannot be divided among some of the layers.
    #[error("model.width: got {got}, but {architecture} needs a multiple of {step}")]
    WidthStep {
        /// The requested architecture.
        architecture: Architecture,
        /// The value.
        got: i64,
        /// The width must be a multiple of this.
        step: i64,
    },
    /// Dropout is not a probability below 1.
    #[error("model.dropout: got {got}, want at least 0 and below 1")]
    Dropout {
        /// The value.
        got: f64,
    },
    /// A trained network does not take normalization layers.
    #[error("model.normalization: the layers cannot be inserted into this trained network; start with new weights")]
    NotInserted,
    /// The name is not a valid `state_dict` name.
    #[error("parameter name: got {got:?}, want segments of letters, digits, and _, separated by dots")]
    Name {
        /// The name.
        got: String,
    },
    /// Two tensors of one model have the same name.
    #[error("parameter name: got {name} twice, want each name once; rename one of the two layers")]
    DuplicateName {
        /// The name.
        name: ParameterName,
    },
    /// A model from a file has no path.
    #[error("model.path: missing; want the TorchScript file")]
    NoFile,
    /// The file cannot be read.
    #[error(
        "model.path: {}: {cause}; want a TorchScript file, which also contains the layers that a resumed run needs; \
         set the new path with --set model.path=NEW",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The file does not contain a model for these images.
    #[error("model.path: {}: got {got}, want {want}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Actual contents or behavior.
        got: String,
        /// Expected contents or behavior.
        want: String,
    },
    /// The weights and their gradients do not fit into memory.
    #[error(
        "the model has {parameters} parameters, which need {:.1} GB with their gradients, but this machine has {:.1} \
         GB of memory; \
         lower model.width or model.depth, or choose a smaller model",
        *parameters as f64 * 8e-9, *memory_bytes as f64 * 1e-9
    )]
    TooLarge {
        /// Number of parameters.
        parameters: u64,
        /// Memory of the machine in bytes.
        memory_bytes: u64,
    },
    /// libtorch failed, usually because it ran out of memory.
    #[error("libtorch error while building the model: {}; a smaller model.width may fit", first_line(.0))]
    Torch(TchError),
}

impl From<TchError> for ModelError {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}

impl From<LibtorchError> for ModelError {
    fn from(error: LibtorchError) -> Self {
        Self::Torch(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_libtorch_loses_its_backtrace() {
        let error = ModelError::Torch(TchError::Torch("out of memory\nframe #0: c10".to_owned()));
        let want = "libtorch error while building the model: Internal torch error: out of memory; \
                    a smaller model.width may fit";
        assert_eq!(error.to_string(), want);
    }
}
