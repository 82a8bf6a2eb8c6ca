//! CUDA at run time: libtorch_cuda.so is loaded when a GPU is asked for or found.

use std::path::Path;

use tch::Device;

use super::{LibtorchError, ffi};

/// The command that fetches the CUDA build of libtorch.
const REMEDY: &str = "run `make setup CUDA=1` on a machine with an NVIDIA driver";

/// Loads libtorch's CUDA half into the process. Harmless on a machine without a driver, and when called again.
///
/// # Errors
/// The dynamic linker's words: which file is missing.
pub fn load_cuda() -> Result<(), LibtorchError> {
    load_cuda_for("cuda")
}

fn load_cuda_for(device: &str) -> Result<(), LibtorchError> {
    let refuse = |message: String| LibtorchError::NoCuda {
        device: device.to_owned(),
        reason: message.replace('\n', " "),
        remedy: REMEDY,
    };
    ffi::load_cuda().map_err(refuse)
}

/// The device a name stands for: `cpu`, `cuda`, `cuda:N`, or `auto` (the first GPU where a driver answers, else the CPU).
///
/// # Errors
/// Where the name means nothing, or names a GPU that cannot be used, with the reason.
pub fn resolve_device(name: &str) -> Result<Device, LibtorchError> {
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" if !has_driver() => return Ok(Device::Cpu),
        "auto" | "cuda" => 0,
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => index,
            _ => return Err(LibtorchError::UnknownDevice(name.into())),
        },
    };
    let found = load_cuda_for(name).and_then(|()| find_device(name, index));
    match found {
        // `auto` promises to find a way; the log says why it is the CPU.
        Err(error) if name == "auto" => {
            tracing::warn!("training on the CPU although there is an NVIDIA driver: {error}");
            Ok(Device::Cpu)
        }
        other => other,
    }
}

fn find_device(name: &str, index: usize) -> Result<Device, LibtorchError> {
    let count = tch::Cuda::device_count().max(0) as usize;
    if tch::Cuda::is_available() && index < count {
        return Ok(Device::Cuda(index));
    }
    let (reason, remedy) = match count {
        0 => ("libtorch sees no CUDA device (no driver, or none that works)".into(), REMEDY),
        1 => ("this machine has one GPU, cuda:0".into(), "use cuda:0"),
        _ => (format!("this machine has {count} GPUs, cuda:0 to cuda:{}", count - 1), "use one of these"),
    };
    Err(LibtorchError::NoCuda { device: name.into(), reason, remedy })
}

fn has_driver() -> bool {
    Path::new("/dev/nvidiactl").exists() || Path::new("/dev/dxg").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_no_device_are_refused() {
        for name in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            assert!(matches!(resolve_device(name), Err(LibtorchError::UnknownDevice(_))), "{name}");
        }
    }

    #[test]
    fn auto_and_cpu_always_find_a_device() {
        assert_eq!(resolve_device("cpu").unwrap(), Device::Cpu);
        resolve_device("auto").unwrap();
    }

    #[test]
    fn a_gpu_that_is_not_there_is_named_with_the_reason_and_the_remedy() {
        let error = resolve_device("cuda:99").unwrap_err().to_string();
        assert!(error.starts_with("device cuda:99 cannot be used: "), "{error}");
        assert!(error.contains("make setup CUDA=1"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}
