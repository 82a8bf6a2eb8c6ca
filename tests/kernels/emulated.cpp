// All kernels on the CPU, by name, for the checks and for the simulated CUDA driver.

#include "cuda_on_cpu.h"

#include "../../src/libtorch/kernels/activation.cu"
#include "../../src/libtorch/kernels/guesses.cu"
#include "../../src/libtorch/kernels/pixels.cu"
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
    KERNEL(count_guesses),
    KERNEL(normalize_pixels),
    KERNEL(restore_buffers),
    KERNEL(step_outcome),
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

// `params` are those of cuLaunchKernel. Returns whether the kernel exists.
bool gradwatch_emulate(const char* kernel, unsigned grid, unsigned block, void** params) {
    for (const auto& known : KERNELS)
        if (std::strcmp(known.name, kernel) == 0) return known.run(grid, block, params), true;
    return false;
}

// Returns the static name of a kernel, null if it does not exist.
const char* gradwatch_emulated(const char* kernel) {
    for (const auto& known : KERNELS)
        if (std::strcmp(known.name, kernel) == 0) return known.name;
    return nullptr;
}

// Whether the last thread of a block runs first.
void gradwatch_emulate_descending(bool descending) { cuda_on_cpu::descending = descending; }
}
