//! gradwatch's own CUDA kernels: compiled at run time for the installed GPU, and cached.
//!
//! libtorch has no operation that computes the distributions of many tensors at once. Launching many small operations
//! on a GPU would take longer than the training step itself, so [`tensor_table`] has its own kernels. NVRTC, which
//! ships with libtorch's CUDA build, compiles them in a few seconds, once per GPU architecture.

use std::{
    env,
    ffi::{CStr, CString},
    fs, io,
    path::{Path, PathBuf},
    process,
};

use tch::{Device, Kind, Tensor};

use super::{Detail, LibtorchError, column, ffi, host_copy, tensor_table};

/// All kernel source files, by the names that their includes use.
const FILES: [(&str, &str); 8] = [
    ("types.h", include_str!("kernels/types.h")),
    ("device.h", include_str!("kernels/device.h")),
    ("table.cu", include_str!("kernels/table.cu")),
    ("units.cu", include_str!("kernels/units.cu")),
    ("activation.cu", include_str!("kernels/activation.cu")),
    ("step.cu", include_str!("kernels/step.cu")),
    ("guesses.cu", include_str!("kernels/guesses.cu")),
    ("pixels.cu", include_str!("kernels/pixels.cu")),
];
const SOURCE: &CStr = c"#include \"table.cu\"
#include \"units.cu\"
#include \"activation.cu\"
#include \"step.cu\"
#include \"guesses.cu\"
#include \"pixels.cu\"
";

/// Upper size limit of a valid binary.
const MOST_BYTES: u64 = 64 << 20;

/// Compiles the kernels for a GPU, or loads them from the cache (`$XDG_CACHE_HOME/gradwatch` or `~/.cache/gradwatch`),
/// and uses them for all tensors on this GPU from then on. Does nothing for the CPU or if they are already loaded.
/// Device syncs.
///
/// # Errors
/// If NVRTC, the driver, or the compilation fails, or the kernels disagree with libtorch in a self-test. Everything
/// then runs on libtorch's operations, with many more launches.
pub fn load_kernels(device: Device) -> Result<(), LibtorchError> {
    let Device::Cuda(index) = device else { return Ok(()) };
    let index = index as i32;
    let (major, minor) = ffi::kernels_architecture(index)?;
    let architecture = format!("sm_{major}{minor}");
    let key = key(&architecture, ffi::kernels_compiler()?);
    let cached = cache_folder().map(|folder| folder.join(format!("kernels-{architecture}-{key}")));
    // Recompiles a cached binary that the driver rejects, for example after a driver update.
    let is_loaded = cached.as_deref().and_then(read).is_some_and(|binary| ffi::kernels_load(index, &binary).is_ok());
    if !is_loaded {
        let binary = compile(&architecture)?;
        ffi::kernels_load(index, &binary)?;
        if let Some(Err(error)) = cached.as_deref().map(|path| write(path, &binary)) {
            tracing::debug!("the compiled kernels cannot be cached: {error}");
        }
    }
    check_against_libtorch(device).inspect_err(|_| ffi::kernels_unload(index))
}

/// Switches the tensors of a GPU back to libtorch's operations.
pub fn unload_kernels(device: Device) {
    if let Device::Cuda(index) = device {
        ffi::kernels_unload(index as i32);
    }
}

fn compile(architecture: &str) -> Result<Vec<u8>, LibtorchError> {
    let text = |text: &str| {
        CString::new(text).map_err(|_| LibtorchError::Argument {
            operation: "nvrtcCompileProgram",
            got: "a NUL byte in a source".into(),
            want: "text",
        })
    };
    let files: Vec<(CString, CString)> =
        FILES.iter().map(|(name, content)| Ok((text(name)?, text(content)?))).collect::<Result<_, LibtorchError>>()?;
    ffi::kernels_compile(SOURCE, &files, &text(architecture)?)
}

/// Hash of everything a binary depends on.
fn key(architecture: &str, compiler: (i32, i32)) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in FILES.iter().flat_map(|(name, text)| [*name, *text]).chain([architecture]) {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.update(format!("{compiler:?}").as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

fn cache_folder() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("gradwatch"))
}

/// Reads a binary that [`write()`] stored; `None` if it is missing or damaged.
fn read(path: &Path) -> Option<Vec<u8>> {
    let found = fs::metadata(path).ok()?;
    let bytes = if found.is_file() && found.len() <= MOST_BYTES { fs::read(path).ok()? } else { return None };
    let (hash, binary) = bytes.split_first_chunk::<32>()?;
    (blake3::hash(binary) == *hash).then(|| binary.to_vec())
}

/// Stores a binary after its hash. Safe if several processes write at the same time.
fn write(path: &Path, binary: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let beside = path.with_extension(process::id().to_string());
    fs::write(&beside, [blake3::hash(binary).as_bytes(), binary].concat())?;
    fs::rename(&beside, path)
}

/// Compares a small table with the result of libtorch's operations.
fn check_against_libtorch(device: Device) -> Result<(), LibtorchError> {
    let odd = [0.0, -0.0, 1e-40, 1.0, -2.5, 1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let many: Vec<f32> = (0..70_000u32).map(|i| (i as f32 - 30_000.0) * 1e-3).collect();
    let mut tensors = Vec::new();
    for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
        for values in [&odd[..], &many[..]] {
            tensors.push(Tensor::f_from_slice(values)?.f_to_kind(kind)?.f_to_device(device)?);
        }
    }
    let ours = host_copy(&tensor_table(&tensors, Detail::Distribution)?)?;
    let theirs = host_copy(&ffi::table(&tensors, true, true)?)?;
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let slack = match index % column::COUNT {
            column::SQUARES => 1e-9 * theirs.abs(),
            // The sum of numbers that nearly cancel; libtorch adds them in f32 or f64, depending on dtype.
            column::SUM => 1.0,
            _ => 0.0,
        };
        let is_same = ours == theirs || (ours.is_nan() && theirs.is_nan()) || (ours - theirs).abs() <= slack;
        if !is_same {
            let (row, column) = (index / column::COUNT, index % column::COUNT);
            let message = format!("self-check: row {row}, column {column}: {ours}, but libtorch computes {theirs}");
            return Err(LibtorchError::Operation { operation: "tensor_table", message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_needs_no_kernels() {
        load_kernels(Device::Cpu).unwrap();
        unload_kernels(Device::Cpu);
    }

    #[test]
    fn a_binary_is_kept_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(read(&path), None);
        write(&path, b"binary").unwrap();
        write(&path, b"another").unwrap();
        assert_eq!(read(&path).as_deref(), Some(&b"another"[..]));
        let mut damaged = fs::read(&path).unwrap();
        damaged[33] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(read(&path), None);
        fs::write(&path, b"short").unwrap();
        assert_eq!(read(&path), None);
        assert!(write(&path.join("below a file"), b"x").is_err());
    }

    #[test]
    fn every_architecture_and_compiler_has_a_binary_of_its_own() {
        let keys = [key("sm_80", (13, 0)), key("sm_90", (13, 0)), key("sm_90", (13, 1))];
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys.iter().all(|key| key.len() == 32));
    }
}
