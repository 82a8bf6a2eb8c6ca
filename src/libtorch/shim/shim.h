// The C interface between ffi.rs and libtorch: what tch does not bind.
//
// Every function returns nullptr when it succeeded, else a message that the caller frees with gw_message_free. No C++
// exception leaves a function of this interface. Tensors are passed as tch passes them: a pointer to an at::Tensor on
// the heap; `out` tensors are new and belong to the caller. Arguments are checked by ffi.rs before the call.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

extern "C" {

// Sees `tensor`; may put a new tensor into `*replacement` (null for hooks that cannot replace). Returns nonzero where
// the callback failed, with a text in `message` (zeroed, `capacity` bytes); backward then stops with that error.
typedef int (*gw_hook_callback)(
    void* context, at::Tensor* tensor, at::Tensor** replacement, char* message, size_t capacity);
typedef void (*gw_hook_release)(void* context);
struct GwHook;

void gw_message_free(char* message);

// Runs `callback` on the gradient of `tensor` before it is accumulated, or on `tensor` after its .grad is written.
char* gw_hook_register(at::Tensor* tensor, int before_accumulation, gw_hook_callback callback, gw_hook_release release,
    void* context, GwHook** out);
void gw_hook_remove(GwHook* hook);

// A mark in the current stream of a CUDA device, and the time between two; see events.cpp.
struct GwEvent;
char* gw_event_record(int device, GwEvent** out);
char* gw_event_elapsed(GwEvent* from, GwEvent* to, double* millis);
char* gw_event_wait(GwEvent* mark);
void gw_event_free(GwEvent* mark);

// `count` new tensors on a CUDA device, copied without a wait; see uploads.cpp.
char* gw_upload(at::Tensor** tensors, size_t count, int device, at::Tensor** out);

char* gw_foreach_norm(at::Tensor** tensors, size_t count, double norm_type, at::Tensor** out);
// In place: by a scalar tensor, or from `others` one by one. What an operation has no use for is null.
// GW_LERP moves each tensor towards its other by the share `scalar`.
enum GwForeach { GW_MULTIPLY, GW_ADD, GW_COPY, GW_SUBTRACT, GW_LERP };
char* gw_foreach(GwForeach operation, at::Tensor** tensors, at::Tensor** others, size_t count, at::Tensor* scalar);
// To -bound and bound, in place; `out` receives the squared norms of what is left, f64.
char* gw_clip_values(at::Tensor** tensors, size_t count, double bound, int use_aten, at::Tensor** out);
char* gw_clear_grads(at::Tensor** params, size_t count);

struct GwLists {
    at::Tensor** params;
    at::Tensor** grads;
    // Of these, what the rule has no use for is null.
    at::Tensor** first_moments;
    at::Tensor** second_moments;
    at::Tensor** third_moments;
    at::Tensor** steps; // f32 scalars, which count this step already
    size_t count;
    at::Tensor* product;        // NAdam: of all momentum factors so far; [], f32
    at::Tensor* grad_scale;     // or null; the gradient is divided by it
    at::Tensor* found_inf;      // or null; 1 leaves everything as it was
    at::Tensor* update_squares; // or null; [count] of f64, to which each parameter's squared move is added
};
enum GwRule { GW_SGD, GW_ADAM, GW_ADAMW, GW_RMSPROP, GW_NADAM, GW_RADAM, GW_LAMB, GW_LION };
struct GwOptions {
    int rule;
    double learning_rate, beta1, beta2, eps, weight_decay; // beta1 is also momentum, beta2 RMSprop's alpha
    double dampening;      // SGD
    double momentum_decay; // NAdam
    int flag;              // SGD: nesterov; RMSprop: centered
    int is_first_step;     // SGD
};
char* gw_optimizer_step(const GwLists* lists, const GwOptions* options);

// A table of f64 with one row per tensor: its norms, or with_distribution everything. See tables.cpp.
char* gw_table(at::Tensor** tensors, size_t count, int with_distribution, int use_aten, at::Tensor** out);

// Of a table, the norm of all tensors, f64, and 1 or 0, f32: whether their squares are not finite in f32. `out` stays null where
// there are no kernels for the table.
char* gw_table_total(at::Tensor* table, at::Tensor** out);
// Copies `saved` back into `live` where `found_inf` (f32) is not 0, and else where elements are not finite; `is_done` is 0 where
// there are no kernels for that.
char* gw_restore_buffers(at::Tensor** live, at::Tensor** saved, size_t count, at::Tensor* found_inf, int* is_done);

// Squared norms, f64, of the `units[i]` rows of each tensor, one tensor after the other; and each row times its factor, f64.
char* gw_unit_squares(at::Tensor** tensors, size_t count, const int64_t* units, int use_aten, at::Tensor** out);
// The smallest value of each tensor's units, at most 1; `owners` are the tensors that units belong to.
char* gw_unit_minima(at::Tensor* values, at::Tensor* owners, int64_t tensors, at::Tensor** out);
char* gw_scale_units(at::Tensor** tensors, size_t count, const int64_t* units, at::Tensor* factors, int use_aten);
// Adaptive gradient clipping with the kernels of a GPU. `units[i]` is 0 for a gradient that is left alone. `out` receives four
// tensors: the smallest factor of each gradient, f64; the norm of what is left, f64; how many units were clipped, f64; and that
// norm as a share of `total_norm`, f32. Where there are no kernels for these tensors, it stays null and nothing was done.
char* gw_clip_units(at::Tensor** params, at::Tensor** grads, size_t count, const int64_t* units, double clip_factor,
    double eps, at::Tensor* total_norm, at::Tensor* found_inf, at::Tensor** out);

// `[4]` of f64: squares, sum and count of nonpositive `outputs`, count of `inputs` <= low or >= high.
char* gw_activation_sums(at::Tensor* inputs, at::Tensor* outputs, double low, double high, at::Tensor** out);

// See precision.cpp.
char* gw_autocast_enter(int is_cuda, int is_half, int* previous);
void gw_autocast_leave(int is_cuda, int previous);
char* gw_amp_unscale(at::Tensor** grads, size_t count, at::Tensor* found_inf, at::Tensor* inverse_scale);
char* gw_amp_update_scale(at::Tensor* scale, at::Tensor* growth_tracker, at::Tensor* found_inf, double growth_factor,
    double backoff_factor, int64_t growth_interval);
void gw_backend(int tf32, int benchmark, int deterministic);

// A TorchScript module with its tensors, each once, in the order of torch's state_dict; see script.cpp. A name lives as long as
// the module.
struct GwScript;
// The names are those of further files in the archive that are wanted.
char* gw_script_load(const void* bytes, size_t size, int device, const char* const* extra_names, size_t extra_count,
    GwScript** out);
// The content of such a file, as long as the module; null where it was not asked for, empty where it is not there.
void gw_script_extra(const GwScript* script, const char* name, const char** content, size_t* size);
// The bytes of the module as a file, which the caller frees with gw_message_free; the contents are C strings.
char* gw_script_save(const GwScript* script, const char* const* extra_names, const char* const* extra_contents, size_t extra_count,
    char** bytes, size_t* size);
void gw_script_free(GwScript* script);
size_t gw_script_count(const GwScript* script);
char* gw_script_tensor(
    const GwScript* script, size_t index, const char** name, int* is_parameter, at::Tensor** out);
char* gw_script_forward(GwScript* script, at::Tensor* images, int train, at::Tensor** out);

// Puts a new tensor into `*logits`, or returns nonzero with a text in `message` (zeroed, `capacity` bytes).
typedef int (*gw_trace_callback)(
    void* context, at::Tensor* images, at::Tensor** logits, char* message, size_t capacity);
// The module whose forward does what `forward` did to `images`, which it runs once; see trace.cpp.
char* gw_trace(const char* const* names, at::Tensor** tensors, const int* are_parameters, size_t count, at::Tensor* images,
    gw_trace_callback forward, void* context, GwScript** out);

// `device` is -1 for the CPU, else the index of a CUDA device.
char* gw_generator_state(int device, at::Tensor** out);
char* gw_generator_set_state(int device, at::Tensor* state);
char* gw_load_cuda();

// The kernels of src/libtorch/kernels; see kernels.cpp. The compute capability of a device, and the version of NVRTC.
char* gw_kernels_architecture(int device, int* major, int* minor);
char* gw_kernels_compiler(int* major, int* minor);
// Compiles for an architecture such as sm_90. `binary` is freed with gw_message_free.
char* gw_kernels_compile(const char* source, size_t count, const char* const* names, const char* const* texts,
    const char* architecture, char** binary, size_t* size);
// From here on tables and clips of the device's tensors use them; until gw_kernels_unload.
char* gw_kernels_load(int device, const void* binary);
void gw_kernels_unload(int device);
void gw_keep_freed_memory();
// The version of the headers this was compiled with, such as 2.13.0.
const char* gw_torch_version();

char* gw_op_counter_start();
// `out` receives lines of `name count`, freed with gw_message_free.
char* gw_op_counter_stop(char** out);
}

namespace gradwatch {

// An optimizer that libtorch has no fused kernel for. See composed.cpp.
void composed_step(const GwLists& lists, const GwOptions& options);

// See gw_table.
at::Tensor tensor_table(const std::vector<at::Tensor>& tensors, bool with_distribution, bool use_aten);

inline char* message(const char* text) {
    char* copy = strdup(text);
    return copy ? copy : strdup("out of memory");
}

// Runs `body` and turns whatever it throws into a message.
template <typename Body>
char* guarded(Body body) {
    try {
        body();
        return nullptr;
    } catch (const c10::Error& error) {
        return message(error.what_without_backtrace());
    } catch (const std::exception& error) {
        return message(error.what());
    } catch (...) {
        return message("libtorch threw something that is no std::exception");
    }
}

// Elements without gaps, in the order in which they lie in memory, for statistics that do not depend on it.
inline at::Tensor without_gaps(const at::Tensor& tensor) {
    return tensor.is_non_overlapping_and_dense() ? tensor : tensor.contiguous();
}

// Whether units lie in memory one after the other, as they do in any dense layout whose first dimension is the outermost.
inline bool has_rows(const at::Tensor& tensor, int64_t units) {
    return tensor.is_non_overlapping_and_dense() && (units <= 1 || tensor.stride(0) * units == tensor.numel());
}

inline std::vector<at::Tensor> list(at::Tensor** tensors, size_t count) {
    std::vector<at::Tensor> result;
    result.reserve(count);
    for (size_t i = 0; i < count; ++i) result.push_back(*tensors[i]);
    return result;
}

} // namespace gradwatch
