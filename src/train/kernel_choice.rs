//! Selects the implementation of statistics and clipping on a GPU.

use tch::Device;

use crate::{
    config::Kernels,
    libtorch::{load_kernels, unload_kernels},
};

/// Loads the kernels if requested, and returns whether the GPU uses them. A run continues without them; the log states
/// the reason.
pub(super) fn choose_kernels(wanted: Kernels, device: Device) -> bool {
    match wanted {
        Kernels::Aten => {
            unload_kernels(device);
            false
        }
        Kernels::Auto => match load_kernels(device) {
            Ok(()) => device != Device::Cpu,
            Err(error) => {
                tracing::warn!(
                    "statistics are computed by libtorch's operations, with many more launches: {error}; \
                     monitor.kernels = \"aten\" chooses that and turns this warning off"
                );
                false
            }
        },
    }
}
