// A simulated CUDA device: DeviceType::CUDA of libtorch, with every kernel run on the CPU. See README.md.
//
// "Device" memory is a memory file that is mapped twice. At its device address, reads and writes are forbidden: a host
// that dereferences a device pointer gets SIGSEGV. At its host alias, at a constant offset, the simulated kernels work.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/TensorIterator.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/Copy.h>
#include <ATen/native/ForeachUtils.h>
#include <ATen/native/Resize.h>
#include <ATen/NativeFunctions.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <execinfo.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <link.h>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

using c10::DeviceIndex;
using c10::DispatchKey;
using c10::DispatchKeySet;

namespace simcuda {

int env_int(const char* name, int otherwise) {
    const char* value = getenv(name);
    return value && *value ? atoi(value) : otherwise;
}
const int DEVICES = env_int("SIMCUDA_DEVICES", 1);
const size_t MEMORY = size_t(env_int("SIMCUDA_MEMORY_MB", 16 << 10)) << 20; // per device
const bool POISON = env_int("SIMCUDA_POISON", 1);         // fill new device memory with NaN
const bool LAZY_COPIES = env_int("SIMCUDA_LAZY", 1);      // asynchronous copies arrive only after a wait
const bool LAZY_EVENTS = env_int("SIMCUDA_LAZY_EVENTS", 0); // an event completes only when the host waits for it
const bool TRACES = env_int("SIMCUDA_BT", 0);             // print the stack of copies and waits
const char* const LOG = getenv("SIMCUDA_LOG");            // logs every op, copy, and wait, one per line
const char* const REPORT = getenv("SIMCUDA_REPORT");      // file to append the counts to at the end; - is stderr

// ---------------------------------------------------------------------------------------------------------------- log

struct Counts {
    std::atomic<uint64_t> launches{0}, ops{0}, host_copies{0}, host_bytes{0}, late_copies{0}, late_bytes{0}, items{0};
    std::atomic<uint64_t> up_blocking{0}, up_blocking_bytes{0}, up_queued{0}, up_queued_bytes{0}, up_pinned{0};
    std::atomic<uint64_t> device_syncs{0}, stream_syncs{0}, event_syncs{0}, event_queries{0}, event_records{0}, op_syncs{0};
    std::atomic<uint64_t> device_copies{0}, peer_copies{0}, device_allocations{0}, mixed{0}, scalars{0}, violations{0}, slow_foreach{0};
    std::atomic<uint64_t> pinned_allocations{0};
} counts;
std::mutex log_mutex;
FILE* log_file = nullptr;
std::map<std::string, uint64_t>& findings() {
    static auto* all = new std::map<std::string, uint64_t>();
    return *all;
}

uintptr_t program_base() {
    static const uintptr_t base = [] {
        uintptr_t found = 0;
        dl_iterate_phdr([](dl_phdr_info* info, size_t, void* out) {
            if (!*static_cast<uintptr_t*>(out)) *static_cast<uintptr_t*>(out) = info->dlpi_addr;
            return 1;
        }, &found);
        return found;
    }();
    return base;
}
// The stack frames in the program itself, innermost first.
std::string frames() {
    if (!TRACES) return "";
    void* stack[96];
    const int depth = backtrace(stack, 96);
    std::string text = " @";
    const uintptr_t base = program_base();
    int kept = 0;
    for (int i = 0; i < depth && kept < 14; ++i) {
        const uintptr_t address = uintptr_t(stack[i]);
        if (address < base || address > base + (64u << 20)) continue;
        char hex[32];
        snprintf(hex, sizeof hex, "%s%lx", kept++ ? "," : "", (unsigned long)(address - base));
        text += hex;
    }
    return text;
}
void log(const char* format, ...) {
    if (!LOG) return;
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    std::lock_guard<std::mutex> lock(log_mutex);
    if (!log_file) log_file = fopen(LOG, "w");
    if (log_file) fprintf(log_file, "%ld %s\n", (long)syscall(SYS_gettid), line);
}
void finding(const std::string& text) {
    std::lock_guard<std::mutex> lock(log_mutex);
    ++findings()[text];
}

size_t most_device_bytes();
void report() {
    if (log_file) fflush(log_file);
    if (!REPORT) return;
    const bool to_stderr = strcmp(REPORT, "-") == 0;
    FILE* out = to_stderr ? stderr : fopen(REPORT, "a");
    if (!out) return;
    const auto line = [&](const char* name, const std::atomic<uint64_t>& value) {
        fprintf(out, "simcuda: %-32s %lu\n", name, (unsigned long)value.load());
    };
    line("ops with a CUDA kernel", counts.ops);
    line("kernel launches, about", counts.launches);
    line("foreach ops on the slow path", counts.slow_foreach);
    line("copies to host, waited for", counts.host_copies);
    line("  bytes", counts.host_bytes);
    line("  of them .item()", counts.items);
    line("copies to host, not waited for", counts.late_copies);
    line("  bytes", counts.late_bytes);
    line("copies to device, waited for", counts.up_blocking);
    line("  bytes", counts.up_blocking_bytes);
    line("copies to device, queued", counts.up_queued);
    line("  bytes", counts.up_queued_bytes);
    line("  of either, from pinned memory", counts.up_pinned);
    line("copies within a device", counts.device_copies);
    line("copies between devices", counts.peer_copies);
    line("device synchronizations", counts.device_syncs);
    line("stream synchronizations", counts.stream_syncs);
    line("event synchronizations", counts.event_syncs);
    line("event queries", counts.event_queries);
    line("events recorded", counts.event_records);
    line("ops that wait by themselves", counts.op_syncs);
    line("device allocations", counts.device_allocations);
    line("pinned allocations", counts.pinned_allocations);
    line("CPU scalars in ops", counts.scalars);
    fprintf(out, "simcuda: %-32s %lu\n", "device memory at the most, bytes", (unsigned long)most_device_bytes());
    line("VIOLATIONS", counts.violations);
    for (const auto& [text, times] : findings()) fprintf(out, "simcuda: %6lu x %s\n", (unsigned long)times, text.c_str());
    to_stderr ? fflush(out) : fclose(out);
}

// ------------------------------------------------------------------------------------------------------------- memory

constexpr size_t ARENA = size_t(24) << 30; // sparse
constexpr size_t LEAST = 512;

class Arena {
public:
    Arena() {
        const int file = int(syscall(SYS_memfd_create, "simcuda", 0));
        TORCH_CHECK(file >= 0 && ftruncate(file, ARENA) == 0, "simcuda: no memory file");
        host_ = static_cast<char*>(mmap(nullptr, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0));
        device_ = static_cast<char*>(mmap(nullptr, ARENA, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0));
        TORCH_CHECK(host_ != MAP_FAILED && device_ != MAP_FAILED, "simcuda: mmap");
    }
    void* allocate(size_t bytes) {
        std::lock_guard<std::mutex> lock(mutex_);
        const size_t size = round(bytes);
        TORCH_CHECK_WITH(OutOfMemoryError, used_ + size <= MEMORY && top_ + size <= ARENA, "CUDA out of memory. Tried to allocate ",
            bytes >> 20, " MiB. GPU 0 has a total capacity of ", MEMORY >> 20, " MiB of which ", (MEMORY - used_) >> 20, " MiB is free.");
        auto& list = free_[size];
        size_t offset;
        if (!list.empty()) {
            offset = list.back();
            list.pop_back();
        } else {
            offset = top_;
            top_ += size;
        }
        sizes_[offset] = size;
        used_ += size;
        most_ = std::max(most_, used_);
        if (POISON) memset(host_ + offset, 0xff, bytes);
        return device_ + offset;
    }
    void release(void* pointer) {
        std::lock_guard<std::mutex> lock(mutex_);
        const size_t offset = size_t(static_cast<char*>(pointer) - device_);
        const auto found = sizes_.find(offset);
        if (found == sizes_.end()) return;
        used_ -= found->second;
        free_[found->second].push_back(offset);
        sizes_.erase(found);
    }
    // Device addresses are accessible while a kernel runs.
    void open(bool is_open) {
        std::lock_guard<std::mutex> lock(mutex_);
        const size_t page = 4096, used = (top_ + page - 1) / page * page;
        TORCH_CHECK(mprotect(device_, used, is_open ? PROT_READ | PROT_WRITE : PROT_NONE) == 0, "simcuda: mprotect");
    }
    bool has(const void* pointer) const {
        const auto* at = static_cast<const char*>(pointer);
        return at >= device_ && at < device_ + ARENA;
    }
    void* host(const void* pointer) const { return host_ + (static_cast<const char*>(pointer) - device_); }
    size_t most() const { return most_; }

private:
    static size_t round(size_t bytes) {
        if (bytes <= LEAST) return LEAST;
        size_t power = size_t(1) << (63 - __builtin_clzl(bytes - 1));
        const size_t part = std::max(power / 8, LEAST);
        return (bytes + part - 1) / part * part;
    }
    char *host_, *device_;
    std::mutex mutex_;
    std::map<size_t, std::vector<size_t>> free_;
    std::unordered_map<size_t, size_t> sizes_;
    size_t top_ = LEAST, used_ = 0, most_ = 0;
};

Arena& arena(int device) {
    static std::vector<Arena*>* all = [] {
        auto* made = new std::vector<Arena*>();
        for (int i = 0; i < DEVICES; ++i) made->push_back(new Arena());
        return made;
    }();
    return *all->at(size_t(device));
}
size_t most_device_bytes() {
    size_t most = 0;
    for (int i = 0; i < DEVICES; ++i) most += arena(i).most();
    return most;
}
int device_of(const void* pointer) {
    for (int i = 0; i < DEVICES; ++i)
        if (arena(i).has(pointer)) return i;
    return -1;
}

thread_local DeviceIndex current_device = 0;
thread_local std::vector<c10::StreamId> current_streams;

void release(void* pointer) {
    if (!pointer) return;
    const int device = device_of(pointer);
    if (device >= 0) arena(device).release(pointer);
}

struct DeviceAllocator final : c10::Allocator {
    c10::DataPtr allocate(size_t bytes) override {
        const c10::Device device(c10::kCUDA, current_device);
        if (bytes == 0) return {nullptr, nullptr, &release, device};
        ++counts.device_allocations;
        void* pointer = arena(current_device).allocate(bytes);
        return {pointer, pointer, &release, device};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &release; }
    void copy_data(void* to, const void* from, std::size_t count) const override {
        const int a = device_of(to), b = device_of(from);
        memcpy(a < 0 ? to : arena(a).host(to), b < 0 ? from : arena(b).host(from), count);
    }
};
DeviceAllocator device_allocator;

std::mutex pinned_mutex;
std::map<uintptr_t, size_t>& pinned() {
    static auto* all = new std::map<uintptr_t, size_t>();
    return *all;
}
bool is_pinned(const void* pointer) {
    std::lock_guard<std::mutex> lock(pinned_mutex);
    auto found = pinned().upper_bound(uintptr_t(pointer));
    if (found == pinned().begin()) return false;
    --found;
    return uintptr_t(pointer) < found->first + found->second;
}
void release_pinned(void* pointer) {
    if (!pointer) return;
    {
        std::lock_guard<std::mutex> lock(pinned_mutex);
        pinned().erase(uintptr_t(pointer));
    }
    free(pointer);
}
struct PinnedAllocator final : c10::Allocator {
    c10::DataPtr allocate(size_t bytes) override {
        if (bytes == 0) return {nullptr, nullptr, &release_pinned, c10::Device(c10::kCPU)};
        ++counts.pinned_allocations;
        void* pointer = aligned_alloc(64, (bytes + 63) / 64 * 64);
        std::lock_guard<std::mutex> lock(pinned_mutex);
        pinned()[uintptr_t(pointer)] = bytes;
        return {pointer, pointer, &release_pinned, c10::Device(c10::kCPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &release_pinned; }
    void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }
};
PinnedAllocator pinned_allocator;

// ------------------------------------------------------------------------------------------- the queue and what waits

struct LateCopy {
    uint64_t number;
    at::Tensor to;    // pinned; its content is poison until the host has waited
    at::Tensor value; // value when the copy was queued
};
struct LateUpload {
    uint64_t number;
    at::Tensor from; // pinned; must not change until the copy is complete
    at::Tensor value;
};
std::mutex queue_mutex;
std::deque<LateCopy>& late() { static auto* all = new std::deque<LateCopy>(); return *all; }
std::deque<LateUpload>& late_uploads() { static auto* all = new std::deque<LateUpload>(); return *all; }
std::atomic<uint64_t> queued{0}, waited{0};

// The device has completed everything up to this number.
void arrive(uint64_t number) {
    std::lock_guard<std::mutex> lock(queue_mutex);
    while (!late().empty() && late().front().number <= number) {
        auto& copy = late().front();
        memcpy(copy.to.mutable_data_ptr(), copy.value.const_data_ptr(), size_t(copy.value.nbytes()));
        late().pop_front();
    }
    while (!late_uploads().empty() && late_uploads().front().number <= number) {
        auto& copy = late_uploads().front();
        if (memcmp(copy.from.const_data_ptr(), copy.value.const_data_ptr(), size_t(copy.value.nbytes())) != 0) {
            ++counts.violations;
            finding("RACE: pinned memory was overwritten before its copy to the device was waited for");
        }
        late_uploads().pop_front();
    }
    uint64_t before = waited.load();
    while (before < number && !waited.compare_exchange_weak(before, number)) {}
}

struct Event {
    uint64_t number = 0;
    std::chrono::steady_clock::time_point when;
    bool has_timing = false;
};

struct GuardImpl final : c10::impl::DeviceGuardImplInterface {
    c10::DeviceType type() const override { return c10::kCUDA; }
    c10::Device exchangeDevice(c10::Device device) const override {
        const auto before = getDevice();
        setDevice(device);
        return before;
    }
    c10::Device getDevice() const override { return {c10::kCUDA, current_device}; }
    void setDevice(c10::Device device) const override {
        TORCH_CHECK(device.is_cuda(), "Expected a CUDA device, but got ", device);
        TORCH_CHECK(device.index() >= 0 && device.index() < DEVICES, "CUDA error: invalid device ordinal ", int(device.index()));
        current_device = device.index();
    }
    void uncheckedSetDevice(c10::Device device) const noexcept override {
        if (device.index() >= 0) current_device = device.index();
    }
    static c10::StreamId& stream_of(DeviceIndex device) {
        current_streams.resize(size_t(DEVICES), 0);
        return current_streams.at(size_t(device < 0 ? current_device : device));
    }
    c10::Stream make(DeviceIndex device, c10::StreamId id) const {
        return c10::Stream(c10::Stream::UNSAFE, c10::Device(c10::kCUDA, device < 0 ? current_device : device), id);
    }
    c10::Stream getStream(c10::Device device) const override { return make(device.index(), stream_of(device.index())); }
    c10::Stream getDefaultStream(c10::Device device) const override { return make(device.index(), 0); }
    c10::Stream getNewStream(c10::Device device, int) const override {
        static std::atomic<int> next{1};
        return make(device.index(), next++);
    }
    c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return getNewStream(device, 0); }
    c10::Stream exchangeStream(c10::Stream stream) const override {
        auto& now = stream_of(stream.device_index());
        const auto before = make(stream.device_index(), now);
        now = stream.id();
        if (now != 0) finding("a stream other than the default one was made current");
        return before;
    }
    void* getStreamNativeHandle(const c10::Stream stream) const override {
        // As in CUDA, the default stream is null.
        return reinterpret_cast<void*>(uintptr_t(stream.id()));
    }
    DeviceIndex deviceCount() const noexcept override { return DeviceIndex(DEVICES); }
    void destroyEvent(void* event, const DeviceIndex) const noexcept override { delete static_cast<Event*>(event); }
    void record(void** event, const c10::Stream& stream, const DeviceIndex device, const c10::EventFlag flag) const override {
        TORCH_CHECK(device == -1 || device == stream.device_index(), "Event device index ", int(device),
            " does not match recording stream's device index ", int(stream.device_index()), ".");
        if (!*event) *event = new Event();
        auto* mark = static_cast<Event*>(*event);
        mark->number = ++queued;
        mark->when = std::chrono::steady_clock::now();
        mark->has_timing = flag == c10::EventFlag::BACKEND_DEFAULT;
        ++counts.event_records;
        log("RECORD");
    }
    void block(void* event, const c10::Stream&) const override {
        if (event) log("BLOCK");
    }
    bool queryEvent(void* event) const override {
        if (!event) return true;
        ++counts.event_queries;
        const auto number = static_cast<Event*>(event)->number;
        if (LAZY_EVENTS) return waited.load() >= number;
        arrive(number);
        return true;
    }
    bool queryStream(const c10::Stream&) const override { return waited.load() >= queued.load(); }
    void synchronizeStream(const c10::Stream&) const override {
        ++counts.stream_syncs;
        log("SYNC stream%s", frames().c_str());
        arrive(queued);
    }
    void synchronizeEvent(void* event) const override {
        if (!event) return;
        ++counts.event_syncs;
        log("SYNC event%s", frames().c_str());
        arrive(static_cast<Event*>(event)->number);
    }
    void synchronizeDevice(const DeviceIndex) const override {
        ++counts.device_syncs;
        log("SYNC device%s", frames().c_str());
        arrive(queued);
    }
    double elapsedTime(void* first, void* second, const DeviceIndex) const override {
        TORCH_CHECK(first && second, "Both events must be recorded before calculating elapsed time.");
        auto *from = static_cast<Event*>(first), *to = static_cast<Event*>(second);
        TORCH_CHECK(from->has_timing && to->has_timing, "CUDA error: invalid resource handle (an event without timing)");
        TORCH_CHECK(waited.load() >= from->number && waited.load() >= to->number, "CUDA error: device not ready");
        return std::chrono::duration<double, std::milli>(to->when - from->when).count();
    }
};

// ---------------------------------------------------------------------------------------------------------- generator

// Like the real one: a seed and an offset of Philox, 16 bytes of state.
struct GeneratorImpl final : c10::GeneratorImpl {
    explicit GeneratorImpl(DeviceIndex device)
        : c10::GeneratorImpl(c10::Device(c10::kCUDA, device), DispatchKeySet(DispatchKey::CUDA)) {}
    void set_current_seed(uint64_t seed) override { seed_ = seed; offset_ = 0; }
    void set_offset(uint64_t offset) override { offset_ = offset; }
    uint64_t get_offset() const override { return offset_; }
    uint64_t current_seed() const override { return seed_; }
    uint64_t seed() override { set_current_seed(uint64_t(std::chrono::steady_clock::now().time_since_epoch().count())); return seed_; }
    void set_state(const c10::TensorImpl& state) override {
        at::detail::check_rng_state(state);
        TORCH_CHECK(state.numel() == 16, "RNG state is wrong size");
        const auto* words = static_cast<const uint64_t*>(state.data());
        seed_ = words[0];
        offset_ = words[1];
    }
    c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
        auto state = at::detail::empty_cpu({16}, at::kByte, std::nullopt, std::nullopt, std::nullopt, std::nullopt);
        auto* words = static_cast<uint64_t*>(state.mutable_data_ptr());
        words[0] = seed_;
        words[1] = offset_;
        return state.getIntrusivePtr();
    }
    GeneratorImpl* clone_impl() const override {
        auto* copy = new GeneratorImpl(device().index());
        copy->seed_ = seed_;
        copy->offset_ = offset_;
        return copy;
    }
    // A CPU generator for one op.
    at::Generator draw() {
        offset_ += 4;
        return at::make_generator<at::CPUGeneratorImpl>(seed_ * 0x9e3779b97f4a7c15ull + offset_);
    }
    uint64_t seed_ = c10::default_rng_seed_val, offset_ = 0;
};
const at::Generator& default_generator(DeviceIndex device) {
    static auto* all = [] {
        auto* made = new std::vector<at::Generator>();
        for (int i = 0; i < DEVICES; ++i) made->push_back(at::make_generator<GeneratorImpl>(DeviceIndex(i)));
        return made;
    }();
    if (device < 0) device = current_device;
    TORCH_CHECK(device < DEVICES, "no such device");
    return (*all)[size_t(device)];
}

// -------------------------------------------------------------------------------------------------------------- hooks

} // namespace simcuda

struct CUDAHooks final : at::CUDAHooksInterface {
    explicit CUDAHooks(at::CUDAHooksArgs) {}
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return simcuda::DEVICES > 0; }
    void init() const override {}
    const at::Generator& getDefaultGenerator(DeviceIndex device) const override { return simcuda::default_generator(device); }
    at::Generator getNewGenerator(DeviceIndex device) const override {
        return at::make_generator<simcuda::GeneratorImpl>(device < 0 ? simcuda::current_device : device);
    }
    at::Device getDeviceFromPtr(void* pointer) const override {
        const int device = simcuda::device_of(pointer);
        TORCH_CHECK(device >= 0, "The specified pointer resides on host memory and is not registered with any CUDA device.");
        return {c10::kCUDA, DeviceIndex(device)};
    }
    bool isPinnedPtr(const void* pointer) const override { return simcuda::is_pinned(pointer); }
    bool hasCUDA() const override { return simcuda::DEVICES > 0; }
    bool hasCUDART() const override { return true; }
    bool hasCuDNN() const override { return true; }
    bool hasCuSOLVER() const override { return true; }
    bool hasCuBLASLt() const override { return true; }
    bool hasPrimaryContext(DeviceIndex) const override { return true; }
    DeviceIndex current_device() const override { return simcuda::current_device; }
    DeviceIndex deviceCount() const override { return DeviceIndex(simcuda::DEVICES); }
    void setCurrentDevice(DeviceIndex device) const override { simcuda::current_device = device; }
    DeviceIndex getCurrentDevice() const override { return simcuda::current_device; }
    DeviceIndex exchangeDevice(DeviceIndex device) const override { return std::exchange(simcuda::current_device, device); }
    DeviceIndex maybeExchangeDevice(DeviceIndex device) const override { return exchangeDevice(device); }
    at::Allocator* getPinnedMemoryAllocator() const override { return &simcuda::pinned_allocator; }
    at::Allocator* getCUDADeviceAllocator() const override { return &simcuda::device_allocator; }
    // Convolutions have their own op here, so that libtorch does not call a cuDNN op.
    bool compiledWithCuDNN() const override { return false; }
    long versionCuDNN() const override { return 91000; }
    long versionCUDART() const override { return 13000; }
    std::string showConfig() const override { return "simcuda"; }
    double batchnormMinEpsilonCuDNN() const override { return 0.0; }
    int getNumGPUs() const override { return simcuda::DEVICES; }
    void deviceSynchronize(DeviceIndex device) const override { simcuda::GuardImpl().synchronizeDevice(device); }
};
namespace at {
using ::CUDAHooks;
REGISTER_CUDA_HOOKS(CUDAHooks)
}

namespace simcuda {

// ------------------------------------------------------------------------------------------------- tensors in disguise

// The same memory as a CPU tensor, at its host alias.
class Aliases {
public:
    at::Tensor cpu(const at::Tensor& tensor) {
        const auto* impl = tensor.unsafeGetTensorImpl();
        const auto& storage = tensor.storage();
        auto& shared = storages_[storage.unsafeGetStorageImpl()];
        if (!shared) {
            void* pointer = storage.mutable_data();
            const int device = pointer ? device_of(pointer) : -1;
            TORCH_CHECK(!pointer || device >= 0, "simcuda: a CUDA tensor whose memory is not of the device");
            void* host = pointer ? arena(device).host(pointer) : nullptr;
            shared = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), storage.nbytes(),
                c10::DataPtr(host, c10::Device(c10::kCPU)), nullptr, /*resizable=*/false);
        }
        auto alias = at::detail::make_tensor<c10::TensorImpl>(
            c10::Storage(shared), DispatchKeySet(DispatchKey::CPU), tensor.dtype());
        auto* to = alias.unsafeGetTensorImpl();
        to->set_storage_offset(tensor.storage_offset());
        to->set_sizes_and_strides(tensor.sizes(), tensor.strides());
        if (impl->is_wrapped_number()) to->set_wrapped_number(true);
        return alias;
    }
    // Among the storages seen so far, the one that this tensor aliases.
    const c10::StorageImpl* owner(const at::Tensor& alias) const {
        for (const auto& [owner, shared] : storages_)
            if (shared.get() == alias.storage().unsafeGetStorageImpl()) return owner;
        return nullptr;
    }

private:
    std::map<const c10::StorageImpl*, c10::intrusive_ptr<c10::StorageImpl>> storages_;
};

at::Tensor as_cpu(const at::Tensor& tensor) { return Aliases().cpu(tensor); }

at::Tensor empty_memory_format(c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout> layout,
    std::optional<at::Device> device, std::optional<bool> pin, std::optional<at::MemoryFormat> format) {
    TORCH_CHECK(!pin || !*pin, "Only dense CPU tensors can be pinned");
    c10::OptionalDeviceGuard guard(device && device->has_index() ? device : std::nullopt);
    return at::detail::empty_generic(size, &device_allocator, DispatchKeySet(DispatchKey::CUDA), c10::dtype_or_default(dtype), format);
}
at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype,
    std::optional<at::Layout> layout, std::optional<at::Device> device, std::optional<bool> pin) {
    c10::OptionalDeviceGuard guard(device && device->has_index() ? device : std::nullopt);
    return at::detail::empty_strided_generic(size, stride, &device_allocator, DispatchKeySet(DispatchKey::CUDA), c10::dtype_or_default(dtype));
}

// A device tensor with this content and layout.
at::Tensor to_device(const at::Tensor& value, c10::Device device) {
    const bool keeps = value.is_non_overlapping_and_dense();
    const auto dense = keeps ? value : value.contiguous();
    auto result = empty_strided(dense.sizes(), dense.strides(), dense.scalar_type(), std::nullopt, device, std::nullopt);
    if (dense.numel() > 0) memcpy(as_cpu(result).mutable_data_ptr(), dense.const_data_ptr(), size_t(dense.nbytes()));
    return result;
}

const at::Tensor& resize_(const at::Tensor& self, c10::IntArrayRef size, std::optional<at::MemoryFormat> format) {
    if (self.sizes() == size && !format) return self;
    auto* impl = self.unsafeGetTensorImpl();
    impl->set_sizes_contiguous(size);
    const size_t needed = (size_t(impl->numel()) + size_t(impl->storage_offset())) * impl->itemsize();
    auto* storage = impl->unsafe_storage().unsafeGetStorageImpl();
    if (needed > storage->nbytes()) {
        c10::DeviceGuard guard(self.device());
        auto data = device_allocator.allocate(needed);
        if (storage->data()) {
            auto& memory = arena(self.device().index());
            memcpy(memory.host(data.get()), memory.host(storage->data()), storage->nbytes());
        }
        storage->set_data_ptr_noswap(std::move(data));
        storage->set_nbytes(needed);
    }
    if (format && *format != at::MemoryFormat::Preserve) impl->empty_tensor_restride(*format);
    return self;
}
at::Tensor& set_storage(at::Tensor& self, at::Storage source, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
    self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(source));
    self.unsafeGetTensorImpl()->set_storage_offset(offset);
    std::vector<int64_t> strides(stride.begin(), stride.end());
    if (strides.empty() && !size.empty()) {
        strides.assign(size.size(), 1);
        for (size_t i = size.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * std::max<int64_t>(size[i], 1);
    }
    self.unsafeGetTensorImpl()->set_sizes_and_strides(size, strides);
    return self;
}
at::Tensor& set_source_storage(at::Tensor& self, at::Storage source) {
    const int64_t count = int64_t(source.nbytes() / self.element_size());
    return set_storage(self, std::move(source), 0, {count}, {});
}
at::Tensor& set_source_tensor(at::Tensor& self, const at::Tensor& source) {
    TORCH_CHECK(source.is_cuda(), "set_: of another device");
    return set_storage(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}
at::Tensor& set_nothing(at::Tensor& self) {
    c10::DeviceGuard guard(self.device());
    return set_storage(self, at::Storage(at::Storage::use_byte_size_t(), 0, device_allocator.allocate(0), &device_allocator, true), 0, {0}, {});
}

// ----------------------------------------------------------------------------------------------------- copies and reads

void copy_kernel(at::TensorIterator& iterator, bool non_blocking) {
    const at::Tensor to = iterator.tensor(0), from = iterator.tensor(1);
    const auto bytes = uint64_t(to.numel()) * to.element_size();
    Aliases aliases;
    const auto a = to.is_cuda() ? aliases.cpu(to) : to, b = from.is_cuda() ? aliases.cpu(from) : from;
    ++queued;
    if (to.is_cuda() && from.is_cuda()) {
        if (to.device() != from.device()) ++counts.peer_copies;
        ++counts.device_copies;
        ++counts.launches;
        log("D2D %s->%s %lu", toString(from.scalar_type()), toString(to.scalar_type()), (unsigned long)bytes);
    } else if (from.is_cuda()) {
        const bool is_late = non_blocking && is_pinned(to.const_data_ptr());
        if (to.scalar_type() != from.scalar_type() || !from.is_contiguous()) ++counts.launches;
        if (is_late) {
            ++counts.late_copies;
            counts.late_bytes += bytes;
            log("D2H late %lu%s", (unsigned long)bytes, frames().c_str());
            if (LAZY_COPIES && to.is_contiguous()) {
                auto value = at::empty(to.sizes(), to.options());
                value.copy_(b);
                std::lock_guard<std::mutex> lock(queue_mutex);
                memset(to.mutable_data_ptr(), 0xff, size_t(to.nbytes()));
                late().push_back({queued, to, value});
                return;
            }
        } else {
            ++counts.host_copies;
            counts.host_bytes += bytes;
            log("D2H wait %lu%s", (unsigned long)bytes, frames().c_str());
            if (non_blocking) finding("a copy to the host was asked not to wait, but its memory is not pinned: it waits");
            arrive(queued);
        }
    } else {
        const bool from_pinned = is_pinned(from.const_data_ptr());
        if (from_pinned) ++counts.up_pinned;
        if (to.scalar_type() != from.scalar_type() || !to.is_contiguous()) ++counts.launches;
        if (non_blocking) {
            ++counts.up_queued;
            counts.up_queued_bytes += bytes;
            log("H2D queued %s %lu%s", from_pinned ? "pinned" : "pageable", (unsigned long)bytes, frames().c_str());
            if (from_pinned && from.is_contiguous()) {
                std::lock_guard<std::mutex> lock(queue_mutex);
                late_uploads().push_back({queued, from, from.clone()});
            }
        } else {
            ++counts.up_blocking;
            counts.up_blocking_bytes += bytes;
            log("H2D wait %s %lu%s", from_pinned ? "pinned" : "pageable", (unsigned long)bytes, frames().c_str());
            arrive(queued);
        }
    }
    at::AutoDispatchBelowADInplaceOrView guard;
    a.copy_(b);
}

at::Scalar local_scalar_dense(const at::Tensor& self) {
    ++queued;
    ++counts.items;
    ++counts.host_copies;
    counts.host_bytes += self.element_size();
    log("D2H item %ld%s", (long)self.element_size(), frames().c_str());
    arrive(queued);
    at::AutoDispatchBelowADInplaceOrView guard;
    return at::_local_scalar_dense(as_cpu(self));
}
void record_stream(at::Tensor&, c10::Stream) {}

// -------------------------------------------------------------------------------------------------------- every other op

// Ops that read device data to determine the shape of their result.
const std::set<std::string>& waiting_ops() {
    static const std::set<std::string> all{"aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim",
        "aten::unique_consecutive", "aten::equal", "aten::bincount", "aten::repeat_interleave", "aten::unique_dim_consecutive",
        "aten::_unique"};
    return all;
}
bool takes_host_scalars(const c10::OperatorHandle& op, const std::string& name, const std::string& overload) {
    if (op.hasTag(at::Tag::pointwise)) return true;
    static const std::set<std::string> all{"aten::fill_", "aten::masked_fill_", "aten::_index_put_impl_", "aten::where", "aten::lerp_"};
    if (all.count(name)) return true;
    return name.rfind("aten::_foreach_", 0) == 0 && overload.find("Tensor") != std::string::npos;
}
// Reduced precision is computed in f32 and then rounded, as on tensor cores.
bool is_computed_in_float(const std::string& name) {
    static const std::set<std::string> all{"aten::_convolution", "aten::convolution_backward", "aten::mm", "aten::bmm",
        "aten::addmm", "aten::baddbmm", "aten::convolution_overrideable"};
    return all.count(name) != 0;
}

// Follows libtorch's own rule.
bool is_fast_foreach(const std::vector<std::vector<at::Tensor>>& lists, const at::Tensor& scalar) {
    if (lists.empty() || lists[0].empty()) return true;
    for (const auto& list : lists)
        if (list.size() != lists[0].size()) return false;
    std::vector<at::TensorList> views(lists.begin(), lists.end());
    return at::native::check_fast_path_restrictions(views) && (!scalar.defined() || scalar.scalar_type() == lists[0][0].scalar_type());
}

[[noreturn]] void refuse(const std::string& text) {
    ++counts.violations;
    finding("REFUSED: " + text);
    log("REFUSED %s%s", text.c_str(), frames().c_str());
    TORCH_CHECK(false, text);
}

void fallback(const c10::OperatorHandle& op, DispatchKeySet, torch::jit::Stack* stack) {
    const auto& schema = op.schema();
    const auto &name = schema.name(), &overload = schema.overload_name();
    const std::string full = overload.empty() ? name : name + "." + overload;
    const size_t argument_count = schema.arguments().size(), first = stack->size() - argument_count;

    // Determine the devices of the arguments.
    std::optional<c10::Device> device;
    std::vector<std::pair<at::Tensor, size_t>> host; // tensors on the CPU, with their argument index
    const auto see = [&](const at::Tensor& tensor, size_t argument) {
        if (!tensor.defined()) return;
        if (tensor.is_cpu()) host.emplace_back(tensor, argument);
        else if (!tensor.is_cuda()) refuse("simcuda: a tensor of " + tensor.device().str() + " in " + full);
        else if (device && *device != tensor.device())
            refuse("Expected all tensors to be on the same device, but found at least two devices, " + device->str() + " and " +
                tensor.device().str() + "! (" + full + ")");
        else device = tensor.device();
    };
    std::vector<std::vector<at::Tensor>> lists;
    at::Tensor single;
    for (size_t i = 0; i < argument_count; ++i) {
        const auto& value = (*stack)[first + i];
        if (value.isTensor()) {
            see(value.toTensor(), i);
            if (value.toTensor().defined()) single = value.toTensor();
        } else if (value.isTensorList()) {
            const auto list = value.toTensorVector();
            for (const auto& tensor : list) see(tensor, i);
            lists.push_back(list);
        } else if (value.isList()) {
            for (const c10::IValue& element : value.toListRef())
                if (element.isTensor()) see(element.toTensor(), i);
        } else if (value.isDevice() && !device && value.toDevice().is_cuda()) {
            device = value.toDevice();
        }
    }
    if (!device) device = c10::Device(c10::kCUDA, current_device);
    if (device->index() < 0) device = c10::Device(c10::kCUDA, current_device);
    c10::DeviceGuard device_guard(*device);
    const bool is_indexing = name == "aten::index" || name == "aten::_index_put_impl_" || name == "aten::index_put_";
    for (const auto& [tensor, argument] : host) {
        const auto& info = schema.arguments()[argument];
        const bool is_written = info.alias_info() && info.alias_info()->isWrite();
        const bool is_index = is_indexing && argument == 1;
        if (is_index) {
            ++counts.up_blocking;
            log("H2D wait index %ld%s", (long)tensor.nbytes(), frames().c_str());
            finding("a CPU tensor indexes one of the device in " + full + ": copied there by libtorch");
        } else if (name == "aten::_foreach_copy_" && argument == 1) {
            ++counts.up_blocking;
            counts.up_blocking_bytes += tensor.nbytes();
            log("H2D wait foreach_copy %ld%s", (long)tensor.nbytes(), frames().c_str());
        } else if (is_written || tensor.dim() > 0 || !takes_host_scalars(op, name, overload)) {
            refuse("Expected all tensors to be on the same device, but found at least two devices, " + device->str() +
                " and cpu! (argument " + info.name() + " of " + full + ")");
        } else {
            ++counts.scalars;
        }
    }

    // Count the cost.
    ++counts.ops;
    ++queued;
    size_t launches = 1;
    const bool is_foreach = name.rfind("aten::_foreach_", 0) == 0;
    if (is_foreach) {
        const bool has_scalar = overload == "Tensor" && single.defined() && !single.is_cpu();
        if (!is_fast_foreach(lists, has_scalar ? single : at::Tensor())) {
            launches = lists.empty() ? 1 : lists[0].size();
            ++counts.slow_foreach;
            finding("slow path (one launch a tensor, " + std::to_string(launches) + ") of " + full +
                (has_scalar && single.scalar_type() != lists[0][0].scalar_type()
                    ? std::string(": the scalar is ") + toString(single.scalar_type()) + ", the list " + toString(lists[0][0].scalar_type()) : ""));
        }
    }
    counts.launches += launches;
    log("OP %s %zu", full.c_str(), launches);
    bool waits = waiting_ops().count(name) != 0;
    if (is_indexing)
        for (const c10::IValue& element : (*stack)[first + 1].toListRef())
            if (element.isTensor() && element.toTensor().defined() &&
                (element.toTensor().scalar_type() == at::kBool || element.toTensor().scalar_type() == at::kByte)) waits = true;
    if (name == "aten::masked_fill_" && overload == "Tensor" && (*stack)[first + 2].toTensor().is_cuda()) waits = true;
    if (waits) {
        ++counts.op_syncs;
        ++counts.host_copies;
        log("SYNC op %s%s", full.c_str(), frames().c_str());
        finding("waits for the device: " + full);
        arrive(queued);
    }

    if (name.rfind("aten::_fused_adam", 0) == 0 || name.rfind("aten::_fused_sgd", 0) == 0 || name.rfind("aten::_fused_adagrad", 0) == 0) {
        // state_steps, the last list of Adam, contains scalars; unused lists are empty.
        auto checked = lists;
        if (name.rfind("aten::_fused_sgd", 0) != 0 && !checked.empty()) checked.pop_back();
        std::erase_if(checked, [](const auto& list) { return list.empty(); });
        if (!is_fast_foreach(checked, at::Tensor()))
            refuse("params, grads and moments must have same dtype, device, and layout (" + full + ")");
    }

    // Replace device arguments with CPU aliases.
    struct Disguise {
        at::Tensor original, alias;
        bool is_out = false, is_rounded = false, is_written = false;
    };
    std::vector<Disguise> disguises;
    disguises.reserve(16);
    Aliases aliases;
    const bool in_float = is_computed_in_float(name);
    bool was_raised = false;
    at::ScalarType reduced = at::kFloat;
    const auto disguise = [&](const at::Tensor& tensor, bool is_written, bool raise) -> at::Tensor {
        if (!tensor.defined() || !tensor.is_cuda()) return tensor;
        for (const auto& earlier : disguises)
            if (earlier.original.is_same(tensor)) return earlier.alias;
        Disguise entry;
        entry.original = tensor;
        entry.is_written = is_written;
        entry.is_out = is_written && tensor.numel() == 0;
        entry.alias = entry.is_out ? at::empty(tensor.sizes(), tensor.options().device(at::kCPU).requires_grad(false)) : aliases.cpu(tensor);
        if (raise && (tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16)) {
            reduced = tensor.scalar_type();
            was_raised = true;
            entry.is_rounded = is_written;
            entry.alias = entry.alias.to(at::kFloat);
        }
        disguises.push_back(entry);
        return entry.alias;
    };
    at::AutoDispatchBelowADInplaceOrView below;
    c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const std::vector<c10::IValue> originals(stack->begin() + int64_t(first), stack->end());
    const auto prepare = [&](bool raise) {
        for (size_t i = 0; i < argument_count; ++i) {
            const auto& info = schema.arguments()[i];
            const bool is_written = info.alias_info() && info.alias_info()->isWrite();
            const c10::IValue value = originals[i];
            auto& slot = (*stack)[first + i];
            if (value.isTensor()) {
                slot = disguise(value.toTensor(), is_written, raise);
            } else if (value.isTensorList()) {
                std::vector<at::Tensor> list;
                for (const auto& tensor : value.toTensorVector()) list.push_back(disguise(tensor, is_written, raise));
                slot = list;
            } else if (value.isList() && value.type()->cast<c10::ListType>()->getElementType()->kind() == c10::TypeKind::OptionalType) {
                c10::List<std::optional<at::Tensor>> list;
                for (const c10::IValue& element : value.toListRef())
                    list.push_back(element.isNone() ? std::optional<at::Tensor>() : disguise(element.toTensor(), is_written, raise));
                slot = list;
            } else if (value.isDevice() && value.toDevice().is_cuda()) {
                slot = c10::Device(c10::kCPU);
            } else if (info.name() == "generator") {
                auto source = value.isNone() ? default_generator(device->index()) : value.toGenerator();
                if (source.device().is_cuda()) {
                    std::lock_guard<std::mutex> lock(source.mutex());
                    slot = static_cast<GeneratorImpl*>(source.unsafeGetGeneratorImpl())->draw();
                } else {
                    refuse("Expected a 'cuda' device type for generator but found 'cpu' (" + full + ")");
                }
            } else {
                slot = value;
            }
        }
    };
    prepare(in_float);
    if (!op.hasComputedKernelForDispatchKey(DispatchKey::CPU)) refuse("simcuda: no CPU kernel stands for " + full);
    try {
        op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
    } catch (const c10::Error& error) {
        const std::string text = error.what_without_backtrace();
        const bool is_reduced = text.find("not implemented for 'Half'") != std::string::npos ||
            text.find("not implemented for 'BFloat16'") != std::string::npos;
        if (in_float || !is_reduced) throw;
        finding("computed in f32, since the CPU has no kernel for this dtype: " + full);
        disguises.clear();
        stack->resize(first);
        stack->resize(first + argument_count);
        prepare(true);
        op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
    }

    // Convert the results back to device tensors.
    for (auto& entry : disguises) {
        if (entry.is_rounded) aliases.cpu(entry.original).copy_(entry.alias);
        if (entry.is_out && entry.alias.numel() > 0) {
            resize_(entry.original, entry.alias.sizes(), std::nullopt);
            Aliases().cpu(entry.original).copy_(entry.alias);
        }
    }
    const auto undisguise = [&](const at::Tensor& result) -> at::Tensor {
        if (!result.defined()) return result;
        for (const auto& entry : disguises)
            if (entry.alias.is_same(result)) return entry.original;
        if (result.has_storage())
            if (const auto* owner = aliases.owner(result))
                for (const auto& entry : disguises)
                    if (entry.original.storage().unsafeGetStorageImpl() == owner)
                        return at::native::as_strided_tensorimpl(entry.original, result.sizes(), result.strides(), result.storage_offset());
        const auto dense = result.layout() == at::kStrided ? result : result.to_dense();
        return to_device(was_raised && dense.scalar_type() == at::kFloat ? dense.to(reduced) : dense, *device);
    };
    const size_t returns = schema.returns().size();
    for (size_t i = stack->size() - returns; i < stack->size(); ++i) {
        auto& value = (*stack)[i];
        if (value.isTensor()) {
            value = undisguise(value.toTensor());
        } else if (value.isTensorList()) {
            std::vector<at::Tensor> list;
            for (const auto& tensor : value.toTensorVector()) list.push_back(undisguise(tensor));
            value = list;
        }
    }
}

// histc on the CPU accepts only floats.
at::Tensor histc(const at::Tensor& self, int64_t bins, const at::Scalar& min, const at::Scalar& max) {
    ++counts.ops;
    ++counts.launches;
    ++queued;
    log("OP aten::histc 1");
    at::AutoDispatchBelowADInplaceOrView below;
    const auto values = as_cpu(self);
    const bool is_integral = at::isIntegralType(values.scalar_type(), false);
    if (min.to<double>() == max.to<double>()) { ++counts.op_syncs; finding("waits for the device: aten::histc without bounds"); }
    auto counted = at::histc(is_integral ? values.to(at::kDouble) : values, bins, min, max);
    return to_device(counted.to(values.scalar_type()), self.device());
}

std::tuple<at::Tensor, at::Tensor> native_dropout(const at::Tensor& input, double p, std::optional<bool> train) {
    ++counts.ops;
    ++counts.launches;
    ++queued;
    log("OP aten::native_dropout 1");
    at::AutoDispatchBelowADInplaceOrView below;
    auto values = as_cpu(input);
    auto source = default_generator(input.device().index());
    at::Generator draw;
    {
        std::lock_guard<std::mutex> lock(source.mutex());
        draw = static_cast<GeneratorImpl*>(source.unsafeGetGeneratorImpl())->draw();
    }
    if (train && !*train)
        return {to_device(values.clone(), input.device()), to_device(at::ones_like(values, at::kBool), input.device())};
    auto mask = at::empty_like(values, at::kBool);
    mask.bernoulli_(1.0 - p, draw);
    auto result = values.mul(mask).mul_(p == 1.0 ? 0.0 : 1.0 / (1.0 - p));
    return {to_device(result, input.device()), to_device(mask, input.device())};
}

struct AtEnd {
    ~AtEnd() { report(); }
} at_end;

const char* const BY_HAND[] = {"empty.memory_format", "empty_strided", "as_strided", "view", "unfold", "view_as_real", "view_as_complex",
    "set_.source_Storage", "set_.source_Storage_storage_offset", "set_.source_Tensor", "set_", "is_set_to", "resize_", "record_stream",
    "_local_scalar_dense", "histc", "native_dropout", "_convolution", "_reshape_alias", "_fused_sdp_choice"};

bool is_by_hand(const std::string& name) {
    for (const char* other : BY_HAND)
        if (name == other) return true;
    return false;
}

} // namespace simcuda

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
    using namespace simcuda;
    m.impl("empty.memory_format", &empty_memory_format);
    m.impl("empty_strided", &simcuda::empty_strided);
    m.impl("as_strided", &at::native::as_strided_tensorimpl);
    m.impl("view", &at::native::view);
    m.impl("_reshape_alias", &at::native::_reshape_alias);
    m.impl("unfold", &at::native::unfold);
    m.impl("view_as_real", &at::native::view_as_real);
    m.impl("view_as_complex", &at::native::view_as_complex);
    m.impl("resize_", &simcuda::resize_);
    m.impl("set_.source_Storage", &set_source_storage);
    m.impl("set_.source_Storage_storage_offset", &set_storage);
    m.impl("set_.source_Tensor", &set_source_tensor);
    m.impl("set_", &set_nothing);
    m.impl("is_set_to", &at::native::is_set_to);
    m.impl("record_stream", &simcuda::record_stream);
    m.impl("_local_scalar_dense", &simcuda::local_scalar_dense);
    m.impl("histc", &simcuda::histc);
    m.impl("native_dropout", &simcuda::native_dropout);
    // Not "convolution": TorchScript's tracer records _convolution, which is called inside it.
    m.impl("_convolution", torch::CppFunction::makeFromBoxedFunction<&simcuda::fallback>());
    for (const char* name : {
#define X(name) name,
#include "ops_cuda.inc"
#undef X
         })
        if (!is_by_hand(name)) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&simcuda::fallback>());
}

namespace at::native {
REGISTER_CUDA_DISPATCH(copy_stub, &simcuda::copy_kernel)
}

namespace {
c10::impl::DeviceGuardImplRegistrar guard_registrar(c10::kCUDA, new simcuda::GuardImpl());
struct Start {
    Start() {
        c10::SetAllocator(c10::kCUDA, &simcuda::device_allocator, 100);
    }
} start;
} // namespace

// ---------------------------------------------------------------------------------------------- the driver and NVRTC

// Functions that src/libtorch/shim/kernels.cpp looks up: a compiler that compiles nothing, and a driver whose modules
// are the kernels compiled for the CPU with this library (tests/kernels).
extern "C" {
bool gradwatch_emulate(const char* kernel, unsigned grid, unsigned block, void** params);
const char* gradwatch_emulated(const char* kernel);

int nvrtcVersion(int* major, int* minor) { *major = *minor = 0; return 0; }
const char* nvrtcGetErrorString(int) { return "simcuda: NVRTC"; }
int nvrtcCreateProgram(void** program, const char*, const char*, int, const char* const*, const char* const*) {
    *program = nullptr;
    return 0;
}
int nvrtcDestroyProgram(void**) { return 0; }
// SIMCUDA_NO_KERNELS=1: behaves like a machine without a working NVRTC.
int nvrtcCompileProgram(void*, int, const char* const*) { return simcuda::env_int("SIMCUDA_NO_KERNELS", 0); }
int nvrtcGetProgramLogSize(void*, size_t* size) { *size = 1; return 0; }
int nvrtcGetProgramLog(void*, char* log) { *log = 0; return 0; }
int nvrtcGetCUBINSize(void*, size_t* size) { *size = 8; return 0; }
int nvrtcGetCUBIN(void*, char* binary) { memcpy(binary, "simcuda", 8); return 0; }

int cuInit(unsigned) { return 0; }
int cuDeviceGet(int* handle, int device) {
    *handle = device;
    return device < simcuda::DEVICES ? 0 : 101;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == 75 ? 9 : 0;
    return 0;
}
int cuGetErrorString(int, const char** text) { *text = "simcuda: driver"; return 0; }
int cuModuleLoadData(void** module, const void* binary) {
    *module = nullptr;
    return memcmp(binary, "simcuda", 8) == 0 ? 0 : 200;
}
int cuModuleGetFunction(void** function, void*, const char* name) {
    const char* known = gradwatch_emulated(name);
    *function = const_cast<char*>(known);
    return known ? 0 : 500;
}
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned block, unsigned, unsigned, unsigned, void*,
    void** params, void**) {
    using namespace simcuda;
    if (x == 0 || y != 1 || z != 1) return 1;
    const char* name = static_cast<const char*>(function);
    ++counts.ops;
    ++counts.launches;
    ++queued;
    log("OP kernel::%s 1", name);
    // One at a time, so that none closes the memory while another runs.
    static std::mutex running;
    std::lock_guard<std::mutex> lock(running);
    for (int device = 0; device < DEVICES; ++device) arena(device).open(true);
    const bool is_known = gradwatch_emulate(name, x, block, params);
    for (int device = 0; device < DEVICES; ++device) arena(device).open(false);
    return is_known ? 0 : 1;
}
}
