//! What computes statistics and clips of a run on a GPU.

use tch::Device;

use crate::{
    config::Kernels,
    libtorch::{load_kernels, unload_kernels},
};

/// Loads the kernels, if they are wanted. A run goes on without them: the log says why.
pub(super) fn choose_kernels(wanted: Kernels, device: Device) {
    match wanted {
        Kernels::Aten => unload_kernels(device),
        Kernels::Auto => {
            if let Err(error) = load_kernels(device) {
                tracing::warn!(
                    "statistics are computed by libtorch's operations, with many more launches: {error}; \
                     monitor.kernels = \"aten\" chooses that and turns this warning off"
                );
            }
        }
    }
}
