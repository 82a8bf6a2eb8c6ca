//! Loads libtorch_cuda.so at run time when a GPU is requested or found.

use std::path::Path;

use tch::Device;

use super::{LibtorchError, ffi};

/// The command that downloads the CUDA build of libtorch.
const REMEDY: &str = "run `make setup CUDA=1` on a machine with an NVIDIA driver";

/// Loads libtorch_cuda.so into the process. Repeated calls, and calls on a machine without a driver, do no harm.
///
/// # Errors
/// If the dynamic linker cannot load the library. The message names the missing file.
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

/// Resolves a device name: `cpu`, `cuda`, `cuda:N`, or `auto` (the first GPU if a driver is installed, otherwise the
/// CPU).
///
/// # Errors
/// If the name is unknown, or the GPU cannot be used. The error states the reason.
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
        // `auto` falls back to the CPU; the log states the reason.
        Err(error) if name == "auto" => {
            tracing::warn!("using the CPU although an NVIDIA driver is installed: {error}");
            Ok(Device::Cpu)
        }
        other => other,
    }
}

/// Name of a device in configs: `cpu`, `cuda:0`.
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn find_device(name: &str, index: usize) -> Result<Device, LibtorchError> {
    let count = tch::Cuda::device_count().max(0) as usize;
    if tch::Cuda::is_available() && index < count {
        return Ok(Device::Cuda(index));
    }
    let (reason, remedy) = match count {
        0 => ("libtorch finds no CUDA device (the driver is missing or does not work)".into(), REMEDY),
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
