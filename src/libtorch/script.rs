//! TorchScript modules with their parameters and buffers, by the names that they have in Python.

use tch::{Device, Tensor};

use super::{LibtorchError, ffi, generator};

/// A module from a file that `torch.jit.save` wrote. It is a program: running it does whatever its author wanted.
#[derive(Debug)]
pub struct ScriptModule(ffi::Script);

/// A tensor of a module.
#[derive(Debug)]
pub struct ScriptTensor {
    /// Its name in torch's `state_dict`.
    pub name: String,
    /// The tensor itself: writing into it in place changes the module.
    pub tensor: Tensor,
    /// Whether it is a parameter; else it is a buffer.
    pub is_parameter: bool,
}

impl ScriptModule {
    /// Loads the bytes of a file, with its tensors on `device`.
    ///
    /// # Errors
    /// Where they are no TorchScript, or the device does not exist.
    pub fn load(bytes: &[u8], device: Device) -> Result<Self, LibtorchError> {
        ffi::Script::load(bytes, generator::index(device)?, cause).map(Self)
    }

    /// Parameters and buffers in the order of torch's `state_dict`. Of tensors that are one (tied weights) only the first is named.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn tensors(&self) -> Result<Vec<ScriptTensor>, LibtorchError> {
        let tensors = self.0.tensors()?.into_iter();
        Ok(tensors.map(|(name, tensor, is_parameter)| ScriptTensor { name, tensor, is_parameter }).collect())
    }

    /// Runs `forward` of the module, in training or evaluation mode, on one tensor.
    ///
    /// # Errors
    /// Where the program fails, or returns anything but a tensor.
    pub fn forward(&self, images: &Tensor, train: bool) -> Result<Tensor, LibtorchError> {
        self.0.forward(images, train, cause)
    }
}

/// What went wrong, in one line: it stands behind the traceback of a program, and at the top elsewhere.
fn cause(message: &str) -> String {
    let behind_traceback = || message.lines().rev().find_map(|line| Some(line.split_once("Error: ")?.1));
    let is_program = message.starts_with("The following operation failed");
    let line = if is_program { behind_traceback() } else { None };
    line.or_else(|| message.lines().next()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_traceback_only_its_end_is_told() {
        let traceback = "The following operation failed in the TorchScript interpreter.\nTraceback (most recent call last):\n  \
                         File \"net.py\", line 35, in forward\nRuntimeError: expected input[2, 3, 8, 8] to have 1 channels\n";
        assert_eq!(cause(traceback), "expected input[2, 3, 8, 8] to have 1 channels");
        assert_eq!(cause("no zip archive\nframe #0: c10"), "no zip archive");
        assert_eq!(cause(""), "");
    }

    #[test]
    fn bytes_that_are_no_zip_archive_are_an_error_and_not_a_crash() {
        for bytes in [&b""[..], b"PK\x03\x04", &[0; 1000]] {
            assert!(matches!(ScriptModule::load(bytes, Device::Cpu), Err(LibtorchError::Operation { .. })));
        }
        assert!(matches!(ScriptModule::load(b"", Device::Cuda(99)), Err(LibtorchError::UnknownDevice(_))));
    }
}
