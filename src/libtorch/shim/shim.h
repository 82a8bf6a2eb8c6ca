// The C interface between ffi.rs and libtorch, for features that tch does not bind.
//
// Every function returns nullptr on success, otherwise a message that the caller frees with gw_message_free. No C++
// exception leaves a function of this interface. Tensors are passed as in tch: a pointer to an at::Tensor on the heap.
// `out` tensors are new and belong to the caller. ffi.rs checks the arguments before the call.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

extern "C" {

// Receives `tensor`; may store a new tensor in `*replacement` (null for hooks that cannot replace). If the callback
// fails, it returns nonzero and writes a text to `message` (zeroed, `capacity` bytes); backward then stops with that
// error.
typedef int (*gw_hook_callback)(
    void* context, at::Tensor* tensor, at::Tensor** replacement, char* message, size_t capacity);
typedef void (*gw_hook_release)(void* context);
struct GwHook;

void gw_message_free(char* message);

// Runs `callback` on the gradient of `tensor` before autograd accumulates it, or on `tensor` after autograd wrote its
// .grad.
char* gw_hook_register(at::Tensor* tensor, int before_accumulation, gw_hook_callback callback, gw_hook_release release,
    void* context, GwHook** out);
void gw_hook_remove(GwHook* hook);

// An event in the current stream of a CUDA device, and the time between two events; see events.cpp.
struct GwEvent;
char* gw_event_record(int device, GwEvent** out);
char* gw_event_elapsed(GwEvent* from, GwEvent* to, double* millis);
char* gw_event_wait(GwEvent* mark);
void gw_event_free(GwEvent* mark);

// Elements in host memory; `dtype` is an at::ScalarType.
struct GwHostSlice {
    const void* data;
    int64_t length;
    int dtype;
};
// Stores `count` new tensors on a CUDA device, copied without a wait; see uploads.cpp.
char* gw_upload(const GwHostSlice* slices, size_t count, int device, at::Tensor** out);

// Allocates bytes in pinned host memory, and returns their address.
char* gw_pinned_bytes(size_t length, at::Tensor** out);
void* gw_pinned_data(at::Tensor* bytes);
// Copies each tensor to its offset; does not wait if the tensor is on a CUDA device.
char* gw_copy_to_pinned(at::Tensor* bytes, at::Tensor** tensors, const int64_t* offsets, size_t count);

char* gw_foreach_norm(at::Tensor** tensors, size_t count, double norm_type, at::Tensor** out);
// In place: by a scalar tensor, or pairwise with `others`. Arguments that an operation does not use are null. GW_LERP
// interpolates each tensor toward its counterpart by the weight `scalar`.
enum GwForeach { GW_MULTIPLY, GW_ADD, GW_COPY, GW_SUBTRACT, GW_LERP };
char* gw_foreach(GwForeach operation, at::Tensor** tensors, at::Tensor** others, size_t count, at::Tensor* scalar);
// Clamps to -bound and bound, in place; `out` receives the squared norms after clamping, f64.
char* gw_clip_values(at::Tensor** tensors, size_t count, double bound, int use_aten, at::Tensor** out);
char* gw_clear_grads(at::Tensor** params, size_t count);
char* gw_set_grad(at::Tensor* param, at::Tensor* grad);
// Copies f32 elements in memory order between dense CPU tensors of the same layout; returns the sum of their squares.
char* gw_copy_with_squares(at::Tensor* to, at::Tensor* from, double* squares);

// Process groups; see c10d.cpp. A store is a key-value server or a connection to one.
struct GwStore;
// Ends the log messages of c10d in this process, unless TORCH_CPP_LOG_LEVEL is set.
void gw_quiet_c10d();
// Port 0 lets the server choose; gw_store_port returns the choice.
char* gw_store_open(const char* host, int port, int is_server, int64_t timeout_ms, GwStore** out);
// The same connection, with a prefix before every key.
char* gw_store_prefix(GwStore* store, const char* prefix, GwStore** out);
int gw_store_port(GwStore* store);
char* gw_store_set(GwStore* store, const char* key, const uint8_t* bytes, size_t length);
char* gw_store_add(GwStore* store, const char* key, int64_t amount, int64_t* out);
char* gw_store_has(GwStore* store, const char* const* keys, size_t count, int* out);
char* gw_store_wait(GwStore* store, const char* const* keys, size_t count, int64_t timeout_ms);
// Waits for the key as long as the timeout of the store. The caller frees the bytes with gw_message_free.
char* gw_store_get(GwStore* store, const char* key, uint8_t** out, size_t* length);
void gw_store_free(GwStore* store);

// A group lives until the process ends: its destructor would wait for ranks that are gone. `host` is the address to
// bind to; null uses that of the host's name.
struct GwGroup;
char* gw_group_gloo(GwStore* store, int rank, int world, int64_t timeout_ms, const char* host, GwGroup** out);
// Fails if libtorch has no NCCL.
char* gw_check_nccl();
char* gw_group_nccl(GwStore* store, int rank, int world, int64_t timeout_ms, GwGroup** out);
// Sets the limit of later operations.
char* gw_group_set_limit(GwGroup* group, int64_t timeout_ms);
// Each starts an operation in place; the tensors must live until it is finished.
struct GwWork;
char* gw_group_allreduce(GwGroup* group, at::Tensor* tensor, GwWork** out);
char* gw_group_broadcast(GwGroup* group, at::Tensor* tensor, int root, GwWork** out);
// `input` is [1, n], `output` is [ranks, n].
char* gw_group_allgather(GwGroup* group, at::Tensor* output, at::Tensor* input, GwWork** out);
// Row r of `input`, [ranks, n], goes to rank r, which stores it in the row of the sender.
char* gw_group_alltoall(GwGroup* group, at::Tensor* output, at::Tensor* input, GwWork** out);
// Sets `done` to 0 if the operation is not finished after the time; it can be awaited again. On CUDA, only the current
// stream waits.
char* gw_work_wait(GwWork* work, int64_t timeout_ms, int* done);
void gw_work_free(GwWork* work);

struct GwLists {
    at::Tensor** params;
    at::Tensor** grads;
    // Of the lists and tensors below, those that the rule does not use are null.
    at::Tensor** first_moments;
    at::Tensor** second_moments;
    at::Tensor** third_moments;
    at::Tensor** steps; // f32 scalars, including this step
    size_t count;
    at::Tensor* product;        // NAdam: product of all momentum factors so far; [], f32
    at::Tensor* grad_scale;     // or null; divides the gradient
    at::Tensor* found_inf;      // or null; 1 leaves everything unchanged
    at::Tensor* update_squares; // or null; [count] of f64; each parameter's squared update is added to it
};
enum GwRule { GW_SGD, GW_ADAM, GW_ADAMW, GW_RMSPROP, GW_NADAM, GW_RADAM, GW_LAMB, GW_LION };
struct GwOptions {
    int rule;
    double learning_rate, beta1, beta2, eps, weight_decay; // beta1 is also momentum; beta2 is also RMSprop's alpha
    double dampening;      // SGD
    double momentum_decay; // NAdam
    int flag;              // SGD: nesterov; RMSprop: centered
    int is_first_step;     // SGD
};
char* gw_optimizer_step(const GwLists* lists, const GwOptions* options);

// Makes an f64 table with one row per tensor: its norms or, if with_distribution, all columns. See tables.cpp.
char* gw_table(at::Tensor** tensors, size_t count, int with_distribution, int use_aten, at::Tensor** out);

// `out` receives the norm of all tensors of a table, f64, and found_inf, f32: 1 if the sum of their squares is not
// finite in f32, else 0. `out` stays null if no kernels are loaded for the table.
char* gw_table_total(at::Tensor* table, at::Tensor** out);
// Copies `saved` back into `live`: all elements if `found_inf` (f32) is not 0, otherwise only the elements that are not
// finite. `is_done` is 0 if no kernels are loaded.
char* gw_restore_buffers(at::Tensor** live, at::Tensor** saved, size_t count, at::Tensor* found_inf, int* is_done);
// Counts a step that may have been skipped; see step_outcome in kernels/step.cu. `failure` may be null. `norm` receives
// a new tensor, f64; it stays null if no kernels are loaded.
char* gw_step_outcome(at::Tensor* found_inf, at::Tensor* not_taken, at::Tensor* failure, at::Tensor* total_norm,
    at::Tensor* skipped, at::Tensor* in_a_row, at::Tensor** norm);

// Adds a batch to the sums of count_guesses in kernels/guesses.cu. `places` may be null; `is_done` is 0 if no kernels
// are loaded.
char* gw_count_guesses(at::Tensor* logits, at::Tensor* labels, at::Tensor* loss, at::Tensor* totals, at::Tensor* counts,
    int is_matrix, at::Tensor* places, int* is_done);
// Converts bytes to f32 images. `tables` has 256 numbers per channel; `boxes` may be null. `out` stays null if no
// kernels are loaded.
char* gw_normalize_pixels(
    at::Tensor* pixels, const float* tables, at::Tensor* boxes, int channels_last, at::Tensor** out);

// gw_unit_squares: squared norms, f64, of the `units[i]` rows of each tensor, tensor by tensor. gw_scale_units, below:
// multiplies each row by its factor, f64.
char* gw_unit_squares(at::Tensor** tensors, size_t count, const int64_t* units, int use_aten, at::Tensor** out);
// The smallest value of each tensor's units, at most 1; `owners` contains the tensor index of each unit.
char* gw_unit_minima(at::Tensor* values, at::Tensor* owners, int64_t tensors, at::Tensor** out);
char* gw_scale_units(at::Tensor** tensors, size_t count, const int64_t* units, at::Tensor* factors, int use_aten);
// Adaptive gradient clipping (AGC) with GPU kernels. `units[i]` is 0 for a gradient that stays unchanged. `out`
// receives four tensors: the smallest factor of each gradient, f64; the norm after clipping, f64; the number of clipped
// units, f64; and the norm after clipping divided by `total_norm`, f32. If no kernels are loaded for these tensors,
// `out` stays null and nothing changes.
char* gw_clip_units(at::Tensor** params, at::Tensor** grads, size_t count, const int64_t* units, double clip_factor,
    double eps, at::Tensor* total_norm, at::Tensor* found_inf, at::Tensor** out);

// `[4]` of f64: sum of squares, sum, and number of nonpositive `outputs`; number of `inputs` <= low or >= high.
char* gw_activation_sums(at::Tensor* inputs, at::Tensor* outputs, double low, double high, at::Tensor** out);

// See precision.cpp.
char* gw_autocast_enter(int is_cuda, int is_half, int* previous);
void gw_autocast_leave(int is_cuda, int previous);
char* gw_amp_unscale(at::Tensor** grads, size_t count, at::Tensor* found_inf, at::Tensor* inverse_scale);
char* gw_amp_update_scale(at::Tensor* scale, at::Tensor* growth_tracker, at::Tensor* found_inf, double growth_factor,
    double backoff_factor, int64_t growth_interval);
void gw_backend(int tf32, int benchmark, int deterministic);

// A TorchScript module with its tensors, each listed once, in the order of torch's state_dict; see script.cpp. A name
// lives as long as the module.
struct GwScript;
// `extra_names` are the extra files to read from the archive.
char* gw_script_load(const void* bytes, size_t size, int device, const char* const* extra_names, size_t extra_count,
    GwScript** out);
// The content of an extra file, valid as long as the module: null if it was not requested, empty if it is missing.
void gw_script_extra(const GwScript* script, const char* name, const char** content, size_t* size);
// Serializes the module to the bytes of a file, which the caller frees with gw_message_free. The contents are C
// strings.
char* gw_script_save(const GwScript* script, const char* const* extra_names, const char* const* extra_contents, size_t extra_count,
    char** bytes, size_t* size);
void gw_script_free(GwScript* script);
size_t gw_script_count(const GwScript* script);
char* gw_script_tensor(
    const GwScript* script, size_t index, const char** name, int* is_parameter, at::Tensor** out);
char* gw_script_forward(GwScript* script, at::Tensor* images, int train, at::Tensor** out);

// Stores a new tensor in `*logits`, or returns nonzero with a text in `message` (zeroed, `capacity` bytes).
typedef int (*gw_trace_callback)(
    void* context, at::Tensor* images, at::Tensor** logits, char* message, size_t capacity);
// Traces `forward`, which it runs once on `images`, into a module; see trace.cpp.
char* gw_trace(const char* const* names, at::Tensor** tensors, const int* are_parameters, size_t count, at::Tensor* images,
    gw_trace_callback forward, void* context, GwScript** out);

// `device` is -1 for the CPU, otherwise the index of a CUDA device.
char* gw_generator_state(int device, at::Tensor** out);
char* gw_generator_set_state(int device, at::Tensor* state);
char* gw_load_cuda();

// Kernels of src/libtorch/kernels; see kernels.cpp. These return the compute capability of a device and the NVRTC
// version.
char* gw_kernels_architecture(int device, int* major, int* minor);
char* gw_kernels_compiler(int* major, int* minor);
// Compiles for an architecture such as sm_90. The caller frees `binary` with gw_message_free.
char* gw_kernels_compile(const char* source, size_t count, const char* const* names, const char* const* texts,
    const char* architecture, char** binary, size_t* size);
// Operations on the device's tensors use the kernels from here on, until gw_kernels_unload.
char* gw_kernels_load(int device, const void* binary);
void gw_kernels_unload(int device);
void gw_keep_freed_memory();
// The version of the headers this was compiled with, such as 2.13.0.
const char* gw_torch_version();
// A number that the Rust side repeats, by name; -1 if the name is unknown. Tests compare both sides.
int64_t gw_constant(const char* name);

char* gw_op_counter_start();
// `out` receives lines of `name count`; the caller frees it with gw_message_free.
char* gw_op_counter_stop(char** out);
}

namespace gradwatch {

// Runs the step of an optimizer without a fused libtorch kernel. See composed.cpp.
void composed_step(const GwLists& lists, const GwOptions& options);

// See gw_table.
at::Tensor tensor_table(const std::vector<at::Tensor>& tensors, bool with_distribution, bool use_aten);

inline char* message(const char* text) {
    char* copy = strdup(text);
    return copy ? copy : strdup("out of memory");
}

// Runs `body` and converts any exception to a message.
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

// Returns the elements without gaps, in memory order, for statistics that do not depend on the order.
inline at::Tensor without_gaps(const at::Tensor& tensor) {
    return tensor.is_non_overlapping_and_dense() ? tensor : tensor.contiguous();
}

// Whether the units follow each other in memory, as in any dense layout whose first dimension is the outermost.
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
