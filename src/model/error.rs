//! Why a model could not be built.

use std::{io, path::PathBuf};

use tch::TchError;
use thiserror::Error;

use super::ParameterName;
use crate::{
    config::Architecture,
    libtorch::{LibtorchError, first_line},
};

/// Why a model could not be built. All but [`ModelError::Torch`] and what is wrong with a file are found before any memory is
/// allocated.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The images shrink to nothing inside the model.
    #[error(
        "{architecture}: got images of {height}x{width} (height x width), want at least {least}x{least}; \
         enlarge the images or choose another model.name"
    )]
    InputTooSmall {
        /// The architecture asked for.
        architecture: Architecture,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
        /// The smallest side that works.
        least: usize,
    },
    /// A size is zero or beyond what fits any machine.
    #[error("{what}: got {got}, want {least}..={most}")]
    Size {
        /// The config key or the quantity.
        what: &'static str,
        /// The value.
        got: usize,
        /// The smallest that works.
        least: usize,
        /// The largest that is accepted.
        most: usize,
    },
    /// The depth stands in the architecture's name.
    #[error(
        "model.depth: got {got}, but {architecture} has its depth in its name; remove the key or choose mlp or cnn"
    )]
    DepthIsFixed {
        /// The architecture asked for.
        architecture: Architecture,
        /// The depth asked for.
        got: usize,
    },
    /// The architecture has no two layers of equal shape.
    #[error(
        "model.residual: got true, but {architecture} has no layer of equal input and output shape; set it to false"
    )]
    NoResidual {
        /// The architecture asked for.
        architecture: Architecture,
    },
    /// An initialization does not go with the rest of the model.
    #[error("model.initialization.{key}: got {got} with {beside}, want {want}; {remedy}")]
    Initialization {
        /// The key of `[model.initialization]`.
        key: &'static str,
        /// Its value.
        got: String,
        /// What it does not go with.
        beside: String,
        /// What it goes with.
        want: &'static str,
        /// What to change.
        remedy: &'static str,
    },
    /// The architecture stands or falls with a setting.
    #[error("model.{key}: got {got}, but {architecture} wants {want}; leave the key out")]
    Fixed {
        /// The key in `[model]`.
        key: &'static str,
        /// The architecture asked for.
        architecture: Architecture,
        /// The value.
        got: String,
        /// What works.
        want: &'static str,
    },
    /// Images that cannot be cut into patches.
    #[error(
        "model.patch_size: got {patch}, which does not divide images of {height}x{width} (height x width); {remedy}"
    )]
    Patches {
        /// Side of a patch.
        patch: usize,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
        /// What to do.
        remedy: String,
    },
    /// A width that some layers cannot have a share of.
    #[error("model.width: got {got}, but {architecture} wants a multiple of {step}")]
    WidthStep {
        /// The architecture asked for.
        architecture: Architecture,
        /// The value.
        got: i64,
        /// What it has to be a multiple of.
        step: i64,
    },
    /// Dropout is not a probability below one.
    #[error("model.dropout: got {got}, want from 0, below 1")]
    Dropout {
        /// The value.
        got: f64,
    },
    /// Not a `state_dict` name.
    #[error("parameter name: got {got:?}, want segments of letters, digits and _ with dots between them")]
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
    /// A model that is read from a file has none.
    #[error("model.path: missing; want the TorchScript file")]
    NoFile,
    /// The file system refused.
    #[error(
        "model.path: {}: {cause}; want a TorchScript file, which a run also needs to be resumed: the layers are in it; \
         give its place with --set model.path=NEW",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is no model for these images.
    #[error("model.path: {}: got {got}, want {want}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it is or does.
        got: String,
        /// What it has to be or do.
        want: String,
    },
    /// The weights alone, with their gradients, do not fit.
    #[error(
        "the model has {parameters} parameters, which take {:.1} GB with their gradients, and this machine has {:.1} GB of memory; \
         lower model.width or model.depth, or take a smaller model",
        *parameters as f64 * 8e-9, *memory_bytes as f64 * 1e-9
    )]
    TooLarge {
        /// Numbers.
        parameters: u64,
        /// Bytes that there are.
        memory_bytes: u64,
    },
    /// libtorch failed, most often for want of memory.
    #[error("libtorch could not make the model: got {}; a smaller model.width may fit", first_line(.0))]
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
        let want = "libtorch could not make the model: got Internal torch error: out of memory; \
                    a smaller model.width may fit";
        assert_eq!(error.to_string(), want);
    }
}
