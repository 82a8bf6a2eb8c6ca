// Process-wide functions: random state, CUDA at run time, allocator, op counter.

#include "shim.h"

#include "../kernels/types.h"

#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/record_function.h>
#include <torch/version.h>

#include <dlfcn.h>
#include <malloc.h>

#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

using gradwatch::guarded;

namespace {

const at::Generator& default_generator(int device) {
    return at::globalContext().defaultGenerator(
        device < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
}

std::mutex op_mutex;
std::map<std::string, uint64_t> op_counts;
std::optional<at::CallbackHandle> op_handle;

std::unique_ptr<at::ObserverContext> count_op(const at::RecordFunction& function) {
    std::lock_guard<std::mutex> lock(op_mutex);
    ++op_counts[function.name()];
    return nullptr;
}

} // namespace

extern "C" {

char* gw_generator_state(int device, at::Tensor** out) {
    return guarded([&] {
        auto generator = default_generator(device);
        std::lock_guard<std::mutex> lock(generator.mutex());
        *out = new at::Tensor(generator.get_state());
    });
}

char* gw_generator_set_state(int device, at::Tensor* state) {
    return guarded([&] {
        auto generator = default_generator(device);
        std::lock_guard<std::mutex> lock(generator.mutex());
        generator.set_state(*state);
    });
}

// The linker drops libtorch_cuda.so because no symbol comes from it, so libtorch sees a GPU only after this loads it.
char* gw_load_cuda() {
    return guarded([] {
        Dl_info info;
        if (!dladdr(reinterpret_cast<void*>(&at::globalContext), &info) || !info.dli_fname)
            throw std::runtime_error("cannot tell where libtorch was loaded from");
        std::string path(info.dli_fname);
        path = path.substr(0, path.find_last_of('/') + 1) + "libtorch_cuda.so";
        if (!dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) throw std::runtime_error(dlerror());
    });
}

const char* gw_torch_version() {
    return TORCH_VERSION;
}

int64_t gw_constant(const char* name) {
    namespace kernels = gradwatch::kernels;
    static const std::map<std::string_view, int64_t> constants = {
        {"GW_SGD", GW_SGD},
        {"GW_ADAM", GW_ADAM},
        {"GW_ADAMW", GW_ADAMW},
        {"GW_RMSPROP", GW_RMSPROP},
        {"GW_NADAM", GW_NADAM},
        {"GW_RADAM", GW_RADAM},
        {"GW_LAMB", GW_LAMB},
        {"GW_LION", GW_LION},
        {"GW_MULTIPLY", GW_MULTIPLY},
        {"GW_ADD", GW_ADD},
        {"GW_COPY", GW_COPY},
        {"GW_SUBTRACT", GW_SUBTRACT},
        {"GW_LERP", GW_LERP},
        {"kByte", int64_t(at::kByte)},
        {"kInt", int64_t(at::kInt)},
        {"kLong", int64_t(at::kLong)},
        {"kFloat", int64_t(at::kFloat)},
        {"SQUARES", kernels::SQUARES},
        {"LARGEST", kernels::LARGEST},
        {"SUM", kernels::SUM},
        {"ZEROS", kernels::ZEROS},
        {"DENORMALS", kernels::DENORMALS},
        {"NANS", kernels::NANS},
        {"INFINITIES", kernels::INFINITIES},
        {"NEGATIVE_INFINITIES", kernels::NEGATIVE_INFINITIES},
        {"NEGATIVE", kernels::NEGATIVE},
        {"POSITIVE", kernels::POSITIVE},
        {"EXPONENTS", kernels::EXPONENTS},
        {"COLUMNS", kernels::COLUMNS},
        {"sizeof GwOptions", sizeof(GwOptions)},
        {"sizeof GwLists", sizeof(GwLists)},
        {"sizeof GwHostSlice", sizeof(GwHostSlice)},
    };
    const auto found = constants.find(name);
    return found == constants.end() ? -1 : found->second;
}

// glibc returns large freed blocks to the kernel and allocates them again, zeroed page by page, for the next
// activation. Keeping the blocks avoids those page faults.
void gw_keep_freed_memory() {
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, -1);
    mallopt(M_TOP_PAD, 64 << 20);
}

char* gw_op_counter_start() {
    return guarded([] {
        std::lock_guard<std::mutex> lock(op_mutex);
        if (op_handle) throw std::runtime_error("an op counter is already running in this process");
        op_counts.clear();
        op_handle = at::addGlobalCallback(
            at::RecordFunctionCallback(&count_op).scopes({at::RecordScope::FUNCTION}));
    });
}

char* gw_op_counter_stop(char** out) {
    return guarded([&] {
        if (op_handle) at::removeCallback(*op_handle);
        std::lock_guard<std::mutex> lock(op_mutex);
        op_handle.reset();
        std::string report;
        for (const auto& [name, count] : op_counts) report += name + " " + std::to_string(count) + "\n";
        *out = gradwatch::message(report.c_str());
    });
}
}
