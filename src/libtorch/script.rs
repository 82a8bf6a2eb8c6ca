//! TorchScript modules, with their parameters and buffers under their Python names.

use std::ffi::{CStr, CString};

use tch::{Device, TchError, Tensor};

use super::{LibtorchError, ffi, generator};

/// Extra files in the archive: the list of class names, and the image preprocessing.
const EXTRAS: [&CStr; 2] = [c"classes.json", c"preprocessing.json"];

/// A module from a file that `torch.jit.save` wrote. It is a program: running it executes arbitrary code of its author.
#[derive(Debug)]
pub struct ScriptModule(ffi::Script);

/// A tensor of a module.
#[derive(Debug)]
pub struct ScriptTensor {
    /// Name in torch's `state_dict`.
    pub name: String,
    /// The tensor itself: writing to it in place changes the module.
    pub tensor: Tensor,
    /// Whether it is a parameter; otherwise it is a buffer.
    pub is_parameter: bool,
}

impl ScriptModule {
    /// Loads a module from the bytes of a file, with its tensors on `device`.
    ///
    /// # Errors
    /// If the bytes are not a TorchScript module, or the device does not exist.
    pub fn load(bytes: &[u8], device: Device) -> Result<Self, LibtorchError> {
        ffi::Script::load(bytes, generator::index(device)?, &EXTRAS, cause).map(Self)
    }

    /// Traces `forward` on `images` into a module that contains `tensors` under their names. Everything that does not
    /// depend on the values of images or tensors is fixed as it was in this pass.
    ///
    /// # Errors
    /// If `forward` fails, or a name is invalid in TorchScript.
    pub fn trace(
        tensors: &[ScriptTensor],
        images: &Tensor,
        mut forward: impl FnMut(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Self, LibtorchError> {
        let named = tensors.iter().map(|ScriptTensor { name, tensor, is_parameter }| {
            Ok((c_string("torch::jit::trace", name)?, tensor, *is_parameter))
        });
        ffi::Script::trace(&named.collect::<Result<Vec<_>, LibtorchError>>()?, images, &mut forward).map(Self)
    }

    /// Text of `classes.json` or `preprocessing.json` in the archive; `None` if it is missing.
    pub fn extra(&self, name: &str) -> Option<String> {
        let name = EXTRAS.into_iter().find(|extra| extra.to_bytes() == name.as_bytes())?;
        self.0.extra(name).and_then(|bytes| String::from_utf8(bytes).ok())
    }

    /// Serializes the module to the bytes of a file that `torch.jit.load` reads, with extra texts in the archive.
    ///
    /// # Errors
    /// If the module cannot be serialized.
    pub fn save(&self, extras: &[(&str, String)]) -> Result<Vec<u8>, LibtorchError> {
        let strings = extras
            .iter()
            .map(|(name, text)| Ok((c_string("torch::jit::save", name)?, c_string("torch::jit::save", text)?)));
        self.0.save(&strings.collect::<Result<Vec<_>, LibtorchError>>()?)
    }

    /// Parameters and buffers in the order of torch's `state_dict`. A tied weight appears only under its first name.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn tensors(&self) -> Result<Vec<ScriptTensor>, LibtorchError> {
        let tensors = self.0.tensors()?.into_iter();
        Ok(tensors.map(|(name, tensor, is_parameter)| ScriptTensor { name, tensor, is_parameter }).collect())
    }

    /// Runs the module's `forward` on one tensor, in training or evaluation mode.
    ///
    /// # Errors
    /// If the program fails, or does not return a tensor.
    pub fn forward(&self, images: &Tensor, train: bool) -> Result<Tensor, LibtorchError> {
        self.0.forward(images, train, cause)
    }
}

fn c_string(operation: &'static str, text: &str) -> Result<CString, LibtorchError> {
    CString::new(text)
        .map_err(|_| LibtorchError::Operation { operation, message: format!("{text:?} contains a NUL byte") })
}

/// The cause of an error in one line: after the traceback for a program error, otherwise at the top.
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
    fn a_trace_has_the_names_takes_any_batch_and_keeps_its_texts() {
        let weight = Tensor::from_slice(&[2.0f32, 3.0]).set_requires_grad(true);
        let shift = Tensor::from_slice(&[1.0f32]);
        let named = |name: &str, tensor: &Tensor, is_parameter| ScriptTensor {
            name: name.into(),
            tensor: tensor.shallow_clone(),
            is_parameter,
        };
        let tensors = [named("layers.0.weight", &weight, true), named("layers.0.shift", &shift, false)];
        let images = Tensor::from_slice(&[1.0f32, 10.0]).reshape([1, 2]);
        let traced = ScriptModule::trace(&tensors, &images, |images| images.f_mul(&weight)?.f_add(&shift)).unwrap();
        let texts = [("classes.json", "[\"ä\"]".to_owned())];
        let loaded = ScriptModule::load(&traced.save(&texts).unwrap(), Device::Cpu).unwrap();
        let names: Vec<_> =
            loaded.tensors().unwrap().into_iter().map(|tensor| (tensor.name, tensor.is_parameter)).collect();
        assert_eq!(names, [("layers.0.weight".to_owned(), true), ("layers.0.shift".to_owned(), false)]);
        let other = Tensor::from_slice(&[1.0f32, 1.0, 0.0, 2.0]).reshape([2, 2]);
        let logits = loaded.forward(&other, false).unwrap();
        assert_eq!(Vec::<f32>::try_from(logits.view(-1)).unwrap(), [3.0, 4.0, 1.0, 7.0]);
        assert_eq!(
            (loaded.extra("classes.json").as_deref(), loaded.extra("preprocessing.json")),
            (Some("[\"ä\"]"), None)
        );
    }

    #[test]
    fn a_pass_that_fails_or_panics_ends_the_trace_with_its_words_and_the_next_one_works() {
        let images = Tensor::from_slice(&[1.0f32]);
        let fails = ScriptModule::trace(&[], &images, |_| Err(TchError::Torch("no more".into()))).unwrap_err();
        assert!(fails.to_string().contains("no more"), "{fails}");
        let panics = ScriptModule::trace(&[], &images, |_| panic!("on purpose")).unwrap_err();
        assert!(panics.to_string().contains("on purpose"), "{panics}");
        assert!(ScriptModule::trace(&[], &images, |images| images.f_neg()).is_ok());
    }

    #[test]
    fn bytes_that_are_no_zip_archive_are_an_error_and_not_a_crash() {
        for bytes in [&b""[..], b"PK\x03\x04", &[0; 1000]] {
            assert!(matches!(ScriptModule::load(bytes, Device::Cpu), Err(LibtorchError::Operation { .. })));
        }
        assert!(matches!(ScriptModule::load(b"", Device::Cuda(99)), Err(LibtorchError::UnknownDevice(_))));
    }
}
