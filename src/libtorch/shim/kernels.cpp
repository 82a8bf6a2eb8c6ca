// Loads and launches the kernels of src/libtorch/kernels.
//
// The CUDA headers are not available at compile time. This file therefore declares the few functions of the driver and
// of NVRTC that it needs, as in their documentation, and looks them up at run time. libcaffe2_nvrtc.so, which ships
// with every build of libtorch, depends on both libraries and finds them.

#include "kernels.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>

#include <dlfcn.h>

#include <cstring>
#include <filesystem>
#include <list>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

using gradwatch::guarded;

namespace gradwatch::gpu {

namespace {

using Module = void*;
using Function = void*;
using Program = void*;

// Device attributes, from cuda.h.
constexpr int COMPUTE_CAPABILITY_MAJOR = 75, COMPUTE_CAPABILITY_MINOR = 76;

void* library() {
    static void* const found = [] {
        Dl_info info;
        if (!dladdr(reinterpret_cast<void*>(&at::globalContext), &info) || !info.dli_fname)
            throw std::runtime_error("cannot tell where libtorch was loaded from");
        std::string path(info.dli_fname);
        path = path.substr(0, path.find_last_of('/') + 1) + "libcaffe2_nvrtc.so";
        void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!handle) throw std::runtime_error(dlerror());
        return handle;
    }();
    return found;
}

// Finds a function of the driver or of NVRTC: first in the process, then in the library.
template <typename Signature>
Signature* symbol(const char* name) {
    void* found = dlsym(RTLD_DEFAULT, name);
    if (!found) found = dlsym(library(), name);
    if (!found) throw std::runtime_error(std::string("there is no ") + name);
    return reinterpret_cast<Signature*>(found);
}

// NVRTC opens its builtins by file name only, which the linker finds only if they are already loaded.
void load_builtins(const void* nvrtc) {
    Dl_info info;
    if (!dladdr(nvrtc, &info) || !info.dli_fname) return;
    std::error_code failure; // if this fails, the compilation reports the missing file
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(info.dli_fname).parent_path(), failure))
        if (entry.path().filename().string().rfind("libnvrtc-builtins", 0) == 0)
            dlopen(entry.path().c_str(), RTLD_LAZY | RTLD_GLOBAL);
}

void check_driver(const char* what, int status) {
    if (status == 0) return;
    const char* text = nullptr;
    symbol<int(int, const char**)>("cuGetErrorString")(status, &text);
    throw std::runtime_error(std::string(what) + ": " + (text ? text : "an error that the driver does not know"));
}

std::mutex mutex;
std::map<c10::DeviceIndex, std::array<Function, KERNELS>> loaded;

using Launch = int(Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);

// Uploads for reuse; the most recent come first.
struct Upload {
    c10::Device device;
    std::vector<char> bytes;
    at::Tensor copy;
};
constexpr size_t MOST_UPLOADS = 16;
std::list<Upload>& uploads() {
    // Never destroyed: at exit, libtorch's allocators may be destroyed first.
    static auto* all = new std::list<Upload>();
    return *all;
}

} // namespace

bool has_kernels(const at::Tensor& tensor) {
    if (!tensor.is_cuda()) return false;
    std::lock_guard<std::mutex> lock(mutex);
    return loaded.count(tensor.device().index()) != 0;
}

void launch(Kernel kernel, c10::Device device, int64_t grid, void** params) {
    if (grid == 0) return;
    static const auto run = symbol<Launch>("cuLaunchKernel");
    Function function;
    {
        std::lock_guard<std::mutex> lock(mutex);
        function = loaded.at(device.index())[kernel];
    }
    const c10::DeviceGuard guard(device);
    void* stream = c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(device).native_handle();
    check_driver(KERNEL_NAMES[kernel],
        run(function, unsigned(grid), 1, 1, kernels::THREADS, 1, 1, /*shared bytes=*/0, stream, params, nullptr));
}

at::Tensor on_device(const void* bytes, size_t size, c10::Device device) {
    std::lock_guard<std::mutex> lock(mutex);
    auto& all = uploads();
    for (auto upload = all.begin(); upload != all.end(); ++upload) {
        if (upload->device != device || upload->bytes.size() != size || memcmp(upload->bytes.data(), bytes, size) != 0) continue;
        all.splice(all.begin(), all, upload);
        return upload->copy;
    }
    const auto* begin = static_cast<const char*>(bytes);
    auto pinned = at::empty({int64_t(size)}, at::TensorOptions(at::kByte).pinned_memory(true));
    memcpy(pinned.mutable_data_ptr(), bytes, size);
    all.push_front({device, {begin, begin + size}, pinned.to(device, /*non_blocking=*/true)});
    if (all.size() > MOST_UPLOADS) all.pop_back();
    return all.front().copy;
}

kernels::Dtype dtype_of(const at::Tensor& tensor) {
    switch (tensor.scalar_type()) {
    case at::kDouble: return kernels::F64;
    case at::kHalf: return kernels::F16;
    case at::kBFloat16: return kernels::BF16;
    default: return kernels::F32;
    }
}

} // namespace gradwatch::gpu

using namespace gradwatch::gpu;

extern "C" {

char* gw_kernels_architecture(int device, int* major, int* minor) {
    return guarded([&] {
        int handle = 0;
        check_driver("cuInit", symbol<int(unsigned)>("cuInit")(0));
        check_driver("cuDeviceGet", symbol<int(int*, int)>("cuDeviceGet")(&handle, device));
        const auto attribute = symbol<int(int*, int, int)>("cuDeviceGetAttribute");
        check_driver("cuDeviceGetAttribute", attribute(major, COMPUTE_CAPABILITY_MAJOR, handle));
        check_driver("cuDeviceGetAttribute", attribute(minor, COMPUTE_CAPABILITY_MINOR, handle));
    });
}

char* gw_kernels_compiler(int* major, int* minor) {
    return guarded([&] {
        if (symbol<int(int*, int*)>("nvrtcVersion")(major, minor) != 0) throw std::runtime_error("NVRTC has no version");
    });
}

char* gw_kernels_compile(const char* source, size_t count, const char* const* names, const char* const* texts,
    const char* architecture, char** binary, size_t* size) {
    return guarded([&] {
        const auto error_text = symbol<const char*(int)>("nvrtcGetErrorString");
        const auto check = [&](int status) {
            if (status != 0) throw std::runtime_error(error_text(status));
        };
        load_builtins(reinterpret_cast<const void*>(error_text));
        Program program = nullptr;
        using Create = int(Program*, const char*, const char*, int, const char* const*, const char* const*);
        check(symbol<Create>("nvrtcCreateProgram")(&program, source, "kernels.cu", int(count), texts, names));
        const auto destroy = symbol<int(Program*)>("nvrtcDestroyProgram");
        const auto destroyer = [&](Program* held) { destroy(held); };
        const std::unique_ptr<Program, decltype(destroyer)> owner(&program, destroyer);
        const std::string arch = std::string("--gpu-architecture=") + architecture;
        const char* options[] = {"-std=c++17", arch.c_str()};
        const int status = symbol<int(Program, int, const char* const*)>("nvrtcCompileProgram")(program, 2, options);
        if (status != 0) {
            size_t length = 0;
            check(symbol<int(Program, size_t*)>("nvrtcGetProgramLogSize")(program, &length));
            std::string log(length, '\0');
            check(symbol<int(Program, char*)>("nvrtcGetProgramLog")(program, log.data()));
            throw std::runtime_error(std::string(error_text(status)) + ": " + log.c_str());
        }
        check(symbol<int(Program, size_t*)>("nvrtcGetCUBINSize")(program, size));
        std::unique_ptr<char, decltype(&free)> bytes(static_cast<char*>(malloc(*size ? *size : 1)), &free);
        if (!bytes) throw std::bad_alloc();
        check(symbol<int(Program, char*)>("nvrtcGetCUBIN")(program, bytes.get()));
        *binary = bytes.release();
    });
}

char* gw_kernels_load(int index, const void* binary) {
    return guarded([&] {
        const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
        const c10::DeviceGuard guard(device);
        // Makes the device's context, which the module belongs to, current on this thread.
        const auto warm = at::empty({1}, at::TensorOptions(at::kByte).device(device));
        Module module = nullptr;
        check_driver("cuModuleLoadData", symbol<int(Module*, const void*)>("cuModuleLoadData")(&module, binary));
        std::array<Function, KERNELS> functions{};
        const auto get = symbol<int(Function*, Module, const char*)>("cuModuleGetFunction");
        for (int kernel = 0; kernel < KERNELS; ++kernel)
            check_driver(KERNEL_NAMES[kernel], get(&functions[size_t(kernel)], module, KERNEL_NAMES[kernel]));
        std::lock_guard<std::mutex> lock(mutex);
        loaded[device.index()] = functions;
    });
}

void gw_kernels_unload(int index) {
    std::lock_guard<std::mutex> lock(mutex);
    loaded.erase(static_cast<c10::DeviceIndex>(index));
}
}
