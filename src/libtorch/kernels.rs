//! CUDA kernels of our own: compiled at run time for the GPU that is there, and kept in a cache.
//!
//! libtorch has no operation that looks at many tensors at once and returns their distributions. On a GPU the launches of many
//! small operations would take longer than the training step itself, so [`tensor_table`] has kernels.
//! NVRTC, which libtorch's CUDA build ships, compiles them in a few seconds, once for each kind of GPU.

use std::{
    env,
    ffi::{CStr, CString},
    fs, io,
    path::{Path, PathBuf},
    process,
};

use tch::{Device, Kind, Tensor};

use super::{Detail, LibtorchError, column, ffi, host_copy, tensor_table};

/// All files of the kernels, by the names under which they include each other.
const FILES: [(&str, &str); 6] = [
    ("types.h", include_str!("kernels/types.h")),
    ("device.h", include_str!("kernels/device.h")),
    ("table.cu", include_str!("kernels/table.cu")),
    ("units.cu", include_str!("kernels/units.cu")),
    ("activation.cu", include_str!("kernels/activation.cu")),
    ("step.cu", include_str!("kernels/step.cu")),
];
const SOURCE: &CStr =
    c"#include \"table.cu\"\n#include \"units.cu\"\n#include \"activation.cu\"\n#include \"step.cu\"\n";

/// A binary of more is not ours.
const MOST_BYTES: u64 = 64 << 20;

/// Compiles the kernels for a GPU, or takes them from the cache (`$XDG_CACHE_HOME/gradwatch` or `~/.cache/gradwatch`), and uses
/// them for all of its tensors from here on. Does nothing for the CPU, and when called again. Device syncs here.
///
/// # Errors
/// If NVRTC, the driver or the compilation fails, or the kernels do not count as libtorch does. Then everything is still
/// computed by libtorch's operations, with many more launches.
pub fn load_kernels(device: Device) -> Result<(), LibtorchError> {
    let Device::Cuda(index) = device else { return Ok(()) };
    let index = index as i32;
    let (major, minor) = ffi::kernels_architecture(index)?;
    let architecture = format!("sm_{major}{minor}");
    let key = key(&architecture, ffi::kernels_compiler()?);
    let cached = cache_folder().map(|folder| folder.join(format!("kernels-{architecture}-{key}")));
    // A binary that the driver does not take, as after a change of drivers, is compiled anew.
    let is_loaded = cached.as_deref().and_then(read).is_some_and(|binary| ffi::kernels_load(index, &binary).is_ok());
    if !is_loaded {
        let binary = compile(&architecture)?;
        ffi::kernels_load(index, &binary)?;
        if let Some(Err(error)) = cached.as_deref().map(|path| write(path, &binary)) {
            tracing::debug!("compiled kernels are not kept: {error}");
        }
    }
    check_against_libtorch(device).inspect_err(|_| ffi::kernels_unload(index))
}

/// Returns to libtorch's operations for the tensors of a GPU.
pub fn unload_kernels(device: Device) {
    if let Device::Cuda(index) = device {
        ffi::kernels_unload(index as i32);
    }
}

fn compile(architecture: &str) -> Result<Vec<u8>, LibtorchError> {
    let text = |text: &str| {
        CString::new(text).map_err(|_| LibtorchError::Argument {
            operation: "nvrtcCompileProgram",
            got: "a NUL in a source".into(),
            want: "text",
        })
    };
    let files: Vec<(CString, CString)> =
        FILES.iter().map(|(name, content)| Ok((text(name)?, text(content)?))).collect::<Result<_, LibtorchError>>()?;
    ffi::kernels_compile(SOURCE, &files, &text(architecture)?)
}

/// What a binary depends on, as a hash.
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

/// A binary that [`write()`] kept, unless it is damaged.
fn read(path: &Path) -> Option<Vec<u8>> {
    let found = fs::metadata(path).ok()?;
    let bytes = if found.is_file() && found.len() <= MOST_BYTES { fs::read(path).ok()? } else { return None };
    let (hash, binary) = bytes.split_first_chunk::<32>()?;
    (blake3::hash(binary) == *hash).then(|| binary.to_vec())
}

/// Keeps a binary behind its hash. Processes that do so at once do not disturb each other.
fn write(path: &Path, binary: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let beside = path.with_extension(process::id().to_string());
    fs::write(&beside, [blake3::hash(binary).as_bytes(), binary].concat())?;
    fs::rename(&beside, path)
}

/// Compares a small table with the one that libtorch's operations make.
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
            // Of numbers that nearly cancel out, which libtorch adds in f32 or f64 by dtype.
            column::SUM => 1.0,
            _ => 0.0,
        };
        let is_same = ours == theirs || (ours.is_nan() && theirs.is_nan()) || (ours - theirs).abs() <= slack;
        if !is_same {
            let (row, column) = (index / column::COUNT, index % column::COUNT);
            let message = format!("self-check: row {row}, column {column}: {ours}, but libtorch counts {theirs}");
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
