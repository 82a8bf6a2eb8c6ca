//! Why a model could not be built.

use tch::TchError;
use thiserror::Error;

use super::ParameterName;
use crate::{config::Architecture, libtorch::first_line};

/// Why a model could not be built. All but [`ModelError::Torch`] are found before any memory is allocated.
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
    /// libtorch failed, most often for want of memory.
    #[error("libtorch could not make the model: got {}; a smaller model.width may fit", first_line(.0))]
    Torch(TchError),
}

impl From<TchError> for ModelError {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
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
