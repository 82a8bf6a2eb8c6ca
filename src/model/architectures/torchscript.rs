//! A model from a TorchScript file. Its layers are part of the file, so taps do not see them.

use std::path;

use tch::{Device, Kind, TchError, Tensor};

use crate::model::{Model, ModelError, Pass, parameter::Path};
use crate::{
    data::ImageShape,
    disk::read_regular,
    libtorch::{LibtorchError, ScriptModule, ScriptTensor, generator_state, set_generator_state},
};

/// Batch size of the passes that check a file; with a single image, batch normalization would have no variance.
const PROBE_IMAGES: i64 = 2;

/// A traced or scripted module with the weights of its file.
#[derive(Debug)]
pub(super) struct Torchscript {
    module: ScriptModule,
    head: String,
    digest: String,
    /// Note about parts that cannot be trained.
    remark: Option<String>,
}

impl Torchscript {
    /// Reads a file, registers its tensors, and runs it once in each mode, without lasting effects.
    pub(super) fn load(
        root: &Path<'_>,
        file: &path::Path,
        input: ImageShape,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let (module, digest) = read(file, root.device())?;
        let file = File(file);
        let tensors = module.tensors()?;
        file.check_parameters(&tensors)?;
        let remark = file.check_passes(&module, &tensors, input, classes, root.device())?;
        let head = head(&tensors);
        for ScriptTensor { name, tensor, is_parameter } in tensors {
            root.adopt(&name, tensor, is_parameter)?;
        }
        Ok(Self { module, head, digest, remark })
    }
}

fn read(path: &path::Path, device: Device) -> Result<(ScriptModule, String), ModelError> {
    let bytes =
        read_regular(path, u64::MAX).map_err(|cause| ModelError::Unreadable { path: path.to_owned(), cause })?;
    let file = File(path);
    file.check_archive(&bytes)?;
    let module = ScriptModule::load(&bytes, device).map_err(|error| file.no_module(&error, bytes.len()))?;
    Ok((module, blake3::hash(&bytes).to_hex().to_string()))
}

/// Reads the texts with these names from a TorchScript file, without running its program; `None` for missing ones.
pub fn texts<const N: usize>(path: &path::Path, names: [&str; N]) -> Result<[Option<String>; N], ModelError> {
    let (module, _) = read(path, Device::Cpu)?;
    Ok(names.map(|name| module.extra(name)))
}

impl Model for Torchscript {
    fn head(&self) -> &str {
        &self.head
    }

    fn has_feature_maps(&self) -> bool {
        false
    }

    fn torchscript(&self) -> Option<&ScriptModule> {
        Some(&self.module)
    }

    fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    fn digest(&self) -> Option<&str> {
        Some(&self.digest)
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        Ok(self.module.forward(images, pass.train)?)
    }
}

/// The layer of the last matrix, which computes the logits in typical classifiers. Empty if there is none.
fn head(tensors: &[ScriptTensor]) -> String {
    let last = tensors.iter().rev().find(|tensor| tensor.is_parameter && tensor.tensor.dim() == 2);
    last.and_then(|matrix| matrix.name.strip_suffix(".weight")).unwrap_or_default().to_owned()
}

/// Checks of a file.
struct File<'a>(&'a path::Path);

impl File<'_> {
    fn refuse(&self, got: impl Into<String>, want: impl Into<String>) -> ModelError {
        ModelError::File { path: self.0.to_owned(), got: got.into(), want: want.into() }
    }

    fn check_archive(&self, bytes: &[u8]) -> Result<(), ModelError> {
        if bytes.starts_with(b"PK\x03\x04") {
            return Ok(());
        }
        Err(match bytes.trim_ascii_start().first() {
            None => self.refuse("an empty file", "a TorchScript file"),
            Some(b'<') => self.refuse("an HTML page", "the actual file; download it again"),
            Some(_) => {
                self.refuse("a file that is not a zip archive", "a TorchScript file; models/export.py makes one")
            }
        })
    }

    /// Explains why libtorch did not load an archive of `bytes` bytes, based on the messages of libtorch 2.13.
    fn no_module(&self, error: &LibtorchError, bytes: usize) -> ModelError {
        let message = words(error);
        if message.contains("central directory") {
            return self.refuse(
                format!("an archive that is truncated after {bytes} bytes"),
                "the complete file; copy it again",
            );
        }
        if message.contains("constants.pkl") {
            let got = "weights without a program, as written by torch.save";
            return self.refuse(got, "a TorchScript file; models/export.py makes one");
        }
        let message = match message.contains("maximum supported version") {
            true => "the format of a later torch version".into(),
            false => message,
        };
        self.refuse(message, "a TorchScript file of torch 2.13 or older")
    }

    fn check_parameters(&self, tensors: &[ScriptTensor]) -> Result<(), ModelError> {
        let trained = || tensors.iter().filter(|tensor| tensor.is_parameter && tensor.tensor.requires_grad());
        if trained().next().is_none() {
            let got = "a module without trainable parameters";
            return Err(self.refuse(got, "at least one; torch.jit.freeze and requires_grad = False remove them"));
        }
        match trained().find(|tensor| tensor.tensor.kind() != Kind::Float) {
            None => Ok(()),
            Some(ScriptTensor { name, tensor, .. }) => {
                let want = "parameters in float32; run.precision sets the precision of the computation";
                Err(self.refuse(format!("{name} in {:?}", tensor.kind()), want))
            }
        }
    }

    /// Runs the module once in each mode on zero images, and restores buffers and generator. Returns a note about parts
    /// that cannot be trained.
    fn check_passes(
        &self,
        module: &ScriptModule,
        tensors: &[ScriptTensor],
        input: ImageShape,
        classes: i64,
        device: Device,
    ) -> Result<Option<String>, ModelError> {
        let _no_grad = tch::no_grad_guard();
        let [channels, height, width] = input.sizes();
        let images = Tensor::f_zeros([PROBE_IMAGES, channels, height, width], (Kind::Float, device))?;
        let run = |train| {
            module.forward(&images, train).map_err(|error| {
                let got = format!("no logits for images of {channels} x {height} x {width} ({})", words(&error));
                self.refuse(got, "a module for such images; export it again, or set data.channels and data.image_size")
            })
        };
        let before = Memory::of(tensors, device)?;
        let size = run(false)?.size();
        if size != [PROBE_IMAGES, classes] {
            let want = format!("[{PROBE_IMAGES}, {classes}], images and classes; export it with --classes {classes}");
            return Err(self.refuse(format!("logits of shape {size:?}"), want));
        }
        if before.has_changed(tensors, device)? {
            let got = "a trace from training mode, which applies batch statistics or dropout in evaluation too";
            return Err(self.refuse(got, "torch.jit.script, or torch.jit.trace after module.eval()"));
        }
        let _ = run(true)?;
        let has_statistics = tensors.iter().any(|tensor| tensor.name.ends_with("running_var"));
        let keeps_them = has_statistics && !before.has_changed(tensors, device)?;
        before.restore(tensors, device)?;
        Ok(keeps_them.then(|| {
            format!(
                "model.path: {}: batch normalization keeps the running statistics of the file, as in a trace from \
                 evaluation mode; use torch.jit.script to train them",
                self.0.display()
            )
        }))
    }
}

fn words(error: &LibtorchError) -> String {
    match error {
        LibtorchError::Operation { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// The state that a pass can change: the buffers and the random generator.
struct Memory {
    buffers: Vec<Tensor>,
    random: Tensor,
}

fn buffers(tensors: &[ScriptTensor]) -> impl Iterator<Item = &Tensor> {
    tensors.iter().filter(|tensor| !tensor.is_parameter).map(|buffer| &buffer.tensor)
}

impl Memory {
    fn of(tensors: &[ScriptTensor], device: Device) -> Result<Self, LibtorchError> {
        let buffers = buffers(tensors).map(Tensor::f_detach_copy).collect::<Result<_, _>>()?;
        Ok(Self { buffers, random: generator_state(device)? })
    }

    fn has_changed(&self, tensors: &[ScriptTensor], device: Device) -> Result<bool, LibtorchError> {
        for (now, before) in buffers(tensors).zip(&self.buffers) {
            if !now.f_equal(before)? {
                return Ok(true);
            }
        }
        Ok(!generator_state(device)?.f_equal(&self.random)?)
    }

    fn restore(&self, tensors: &[ScriptTensor], device: Device) -> Result<(), LibtorchError> {
        for (now, before) in buffers(tensors).zip(&self.buffers) {
            now.shallow_clone().f_copy_(before)?;
        }
        set_generator_state(device, &self.random)
    }
}
