//! Machine memory size, and C allocator settings for the large, short-lived tensors of a training step.

use tch::Tensor;

use super::ffi;

/// Makes the allocator keep freed memory for the next step instead of returning it to the kernel.
///
/// A training step on the CPU frees and allocates the same large blocks again and again; glibc's defaults turn each one
/// into page faults. Call it once in a training process, before the first tensor. The cost: resident memory stays at
/// its peak.
pub fn keep_freed_memory() {
    ffi::keep_freed_memory();
}

/// Size of a tensor's elements in bytes, without gaps.
pub fn tensor_bytes(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

/// Total memory of this machine in bytes; `None` if the system does not report it.
pub fn total_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_machine_has_memory() {
        let bytes = super::total_memory_bytes().unwrap();
        assert!((1 << 27..1 << 50).contains(&bytes), "{bytes}");
    }
}
