// Mixed precision: autocast per thread, and the float16 loss scale.

#include "shim.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_amp_update_scale.h>
#include <c10/core/GradMode.h>

using gradwatch::guarded;

extern "C" {

// `previous` receives a ScalarType, -1 for none.
char* gw_autocast_enter(int is_cuda, int is_half, int* previous) {
    return guarded([&] {
        const auto device = is_cuda ? at::kCUDA : at::kCPU;
        *previous = at::autocast::is_autocast_enabled(device) ? int(at::autocast::get_autocast_dtype(device)) : -1;
        at::autocast::set_autocast_dtype(device, is_half ? at::kHalf : at::kBFloat16);
        at::autocast::set_autocast_enabled(device, true);
        at::autocast::increment_nesting();
    });
}

void gw_autocast_leave(int is_cuda, int previous) {
    free(guarded([&] {
        const auto device = is_cuda ? at::kCUDA : at::kCPU;
        // The cached low-precision copies of the weights belong to this scope only.
        if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
        if (previous >= 0) at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(previous));
        at::autocast::set_autocast_enabled(device, previous >= 0);
    }));
}

char* gw_amp_unscale(at::Tensor** grads, size_t count, at::Tensor* found_inf, at::Tensor* inverse_scale) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        at::_amp_foreach_non_finite_check_and_unscale_(gradwatch::list(grads, count), *found_inf, *inverse_scale);
    });
}

char* gw_amp_update_scale(at::Tensor* scale, at::Tensor* growth_tracker, at::Tensor* found_inf, double growth_factor,
    double backoff_factor, int64_t growth_interval) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        at::_amp_update_scale_(*scale, *growth_tracker, *found_inf, growth_factor, backoff_factor, growth_interval);
    });
}

void gw_backend(int tf32, int benchmark, int deterministic) {
    // cuBLAS reads this variable when it creates its handle. Without it, libtorch reports an error for matrix products
    // in deterministic mode.
    if (deterministic) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*replace=*/0);
    free(guarded([&] {
        auto& context = at::globalContext();
        context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
        // gradwatch never reads uninitialized memory, so filling it would only cost time.
        context.setDeterministicFillUninitializedMemory(false);
        context.setAllowTF32CuBLAS(tf32);
        context.setAllowTF32CuDNN(tf32);
        context.setBenchmarkCuDNN(benchmark);
        context.setDeterministicCuDNN(deterministic);
    }));
}
}
