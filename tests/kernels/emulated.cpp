// All kernels on the CPU, by name, for a check or for a CUDA driver that only seems to be one.

#include "cuda_on_cpu.h"

#include "../../src/libtorch/kernels/activation.cu"
#include "../../src/libtorch/kernels/step.cu"
#include "../../src/libtorch/kernels/table.cu"
#include "../../src/libtorch/kernels/units.cu"

namespace {

struct Kernel {
    const char* name;
    void (*run)(unsigned grid, unsigned block, void** params);
};

#define KERNEL(name) \
    Kernel { #name, [](unsigned grid, unsigned block, void** params) { \
        cuda_on_cpu::launch_packed(gradwatch::kernels::name, grid, block, params); } }

const Kernel KERNELS[] = {
    KERNEL(activation_pieces),
    KERNEL(activation_sums),
    KERNEL(restore_buffers),
    KERNEL(table_pieces),
    KERNEL(table_rows),
    KERNEL(table_total),
    KERNEL(unit_pieces),
    KERNEL(unit_squares),
    KERNEL(unit_factors),
    KERNEL(unit_scale),
    KERNEL(unit_summary),
};

} // namespace

extern "C" {

// `params` are those of cuLaunchKernel. Returns whether there is such a kernel.
bool gradwatch_emulate(const char* kernel, unsigned grid, unsigned block, void** params) {
    for (const auto& known : KERNELS)
        if (std::strcmp(known.name, kernel) == 0) return known.run(grid, block, params), true;
    return false;
}

// The name of a kernel as it is known here, null where it is not.
const char* gradwatch_emulated(const char* kernel) {
    for (const auto& known : KERNELS)
        if (std::strcmp(known.name, kernel) == 0) return known.name;
    return nullptr;
}

// Whether the last thread of a block runs first.
void gradwatch_emulate_descending(bool descending) { cuda_on_cpu::descending = descending; }
}
