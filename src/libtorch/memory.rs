//! How the C allocator treats the large, short-lived tensors of a training step.

use super::ffi;

/// Makes the allocator keep freed memory for the next step instead of giving it back to the kernel.
///
/// A training step on the CPU frees and takes the same large blocks again and again; glibc's defaults turn each into
/// page faults. For a process that trains; call it once, before the first tensor. The cost is that resident memory
/// stays at its peak.
pub fn keep_freed_memory() {
    ffi::keep_freed_memory();
}
