// Process groups of libtorch's c10d: a key-value store, and collective operations over Gloo or NCCL.

#define USE_C10D_GLOO

#include "shim.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <dlfcn.h>

#include <chrono>
#include <new>
#include <optional>
#include <string>

using gradwatch::guarded;
using std::chrono::milliseconds;

struct GwStore {
    c10::intrusive_ptr<c10d::Store> store;
    int port;
};

struct GwGroup {
    c10::intrusive_ptr<c10d::Backend> backend;
};

struct GwWork {
    c10::intrusive_ptr<c10d::Work> work;
};

namespace {

std::vector<std::string> strings(const char* const* texts, size_t count) {
    return std::vector<std::string>(texts, texts + count);
}

// libtorch_cuda.so is loaded at run time, and the header of ProcessGroupNCCL needs those of NCCL and CUDA. The shim
// therefore looks up the two constructors by name, and passes them memory of more than the size of the objects (256
// and 1152 bytes in libtorch 2.13).
constexpr size_t NCCL_OPTIONS_BYTES = 1 << 12;
constexpr size_t NCCL_GROUP_BYTES = 1 << 14;

void* symbol(const char* name) {
    void* found = dlsym(RTLD_DEFAULT, name);
    if (!found) throw std::runtime_error("this libtorch has no NCCL; install libtorch with CUDA, or set run.device = \"cpu\"");
    return found;
}

void* options_constructor() { return symbol("_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb"); }

void* group_constructor() {
    return symbol(
        "_ZN4c10d16ProcessGroupNCCLC1EN3c1013intrusive_ptrINS_5StoreENS1_6detail34intrusive_target_default_null_"
        "typeIS3_EEEEiiNS2_INS0_7OptionsENS5_IS8_EEEE");
}

c10::intrusive_ptr<c10d::Backend> nccl_group(
    const c10::intrusive_ptr<c10d::Store>& store, int rank, int world, milliseconds timeout) {
    using Options = c10d::Backend::Options;
    using MakeOptions = void (*)(void*, bool);
    using MakeGroup = void (*)(
        void*, c10::intrusive_ptr<c10d::Store>, int, int, c10::intrusive_ptr<Options>);
    auto make_options = reinterpret_cast<MakeOptions>(options_constructor());
    auto make_group = reinterpret_cast<MakeGroup>(group_constructor());
    // The virtual destructor of each object frees its own size; the objects live until the process ends.
    void* options_memory = ::operator new(NCCL_OPTIONS_BYTES);
    make_options(options_memory, false);
    auto options = c10::intrusive_ptr<Options>::unsafe_steal_from_new(static_cast<Options*>(options_memory));
    const_cast<milliseconds&>(options->timeout) = timeout;
    void* memory = ::operator new(NCCL_GROUP_BYTES);
    make_group(memory, store, rank, world, options);
    options.release();
    return c10::intrusive_ptr<c10d::Backend>::unsafe_steal_from_new(static_cast<c10d::Backend*>(memory));
}

c10::intrusive_ptr<c10d::Backend> gloo_group(const c10::intrusive_ptr<c10d::Store>& store, int rank, int world,
    milliseconds timeout, const char* host) {
    using Gloo = c10d::ProcessGroupGloo;
    c10::intrusive_ptr<Gloo::Options> options;
    if (host) {
        options = Gloo::Options::create(timeout);
        options->devices.push_back(Gloo::createDeviceForHostname(host));
    } else {
        options = Gloo::Options::create_default(timeout);
    }
    return c10::make_intrusive<Gloo>(store, rank, world, options);
}

char* start(GwWork** out, c10::intrusive_ptr<c10d::Work> work) {
    *out = new GwWork{std::move(work)};
    return nullptr;
}

} // namespace

// The level of c10's log: 0 to 3 for info to fatal.
extern int FLAGS_caffe2_log_level;

extern "C" {

void gw_quiet_c10d() {
    // A rank that is gone is an error of the program, with a message of its own; c10d also logs pages of C++ frames.
    if (!getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = 3;
}

char* gw_store_open(const char* host, int port, int is_server, int64_t timeout_ms, GwStore** out) {
    return guarded([&] {
        c10d::TCPStoreOptions options;
        options.port = static_cast<std::uint16_t>(port);
        options.isServer = is_server != 0;
        // The caller counts the ranks itself, and names those that are missing.
        options.waitWorkers = false;
        options.timeout = milliseconds(timeout_ms);
        auto store = c10::make_intrusive<c10d::TCPStore>(host, options);
        int bound = store->getPort();
        *out = new GwStore{std::move(store), bound};
    });
}

char* gw_store_prefix(GwStore* store, const char* prefix, GwStore** out) {
    return guarded(
        [&] { *out = new GwStore{c10::make_intrusive<c10d::PrefixStore>(prefix, store->store), store->port}; });
}

int gw_store_port(GwStore* store) { return store->port; }

char* gw_store_set(GwStore* store, const char* key, const uint8_t* bytes, size_t length) {
    return guarded([&] { store->store->set(key, std::vector<uint8_t>(bytes, bytes + length)); });
}

char* gw_store_add(GwStore* store, const char* key, int64_t amount, int64_t* out) {
    return guarded([&] { *out = store->store->add(key, amount); });
}

char* gw_store_has(GwStore* store, const char* const* keys, size_t count, int* out) {
    return guarded([&] { *out = store->store->check(strings(keys, count)); });
}

char* gw_store_wait(GwStore* store, const char* const* keys, size_t count, int64_t timeout_ms) {
    return guarded([&] { store->store->wait(strings(keys, count), milliseconds(timeout_ms)); });
}

char* gw_store_get(GwStore* store, const char* key, uint8_t** out, size_t* length) {
    return guarded([&] {
        auto value = store->store->get(key);
        auto* copy = static_cast<uint8_t*>(malloc(value.size() + 1));
        if (!copy) throw std::bad_alloc();
        std::memcpy(copy, value.data(), value.size());
        *out = copy;
        *length = value.size();
    });
}

void gw_store_free(GwStore* store) {
    free(guarded([&] { delete store; }));
}

char* gw_group_gloo(GwStore* store, int rank, int world, int64_t timeout_ms, const char* host, GwGroup** out) {
    return guarded(
        [&] { *out = new GwGroup{gloo_group(store->store, rank, world, milliseconds(timeout_ms), host)}; });
}

char* gw_check_nccl() {
    return guarded([] {
        options_constructor();
        group_constructor();
    });
}

char* gw_group_nccl(GwStore* store, int rank, int world, int64_t timeout_ms, GwGroup** out) {
    return guarded([&] { *out = new GwGroup{nccl_group(store->store, rank, world, milliseconds(timeout_ms))}; });
}

char* gw_group_set_limit(GwGroup* group, int64_t timeout_ms) {
    return guarded([&] { group->backend->setTimeout(milliseconds(timeout_ms)); });
}

char* gw_group_allreduce(GwGroup* group, at::Tensor* tensor, GwWork** out) {
    return guarded([&] {
        std::vector<at::Tensor> tensors{*tensor};
        start(out, group->backend->allreduce(tensors));
    });
}

char* gw_group_broadcast(GwGroup* group, at::Tensor* tensor, int root, GwWork** out) {
    return guarded([&] {
        std::vector<at::Tensor> tensors{*tensor};
        c10d::BroadcastOptions options;
        options.rootRank = root;
        start(out, group->backend->broadcast(tensors, options));
    });
}

char* gw_group_allgather(GwGroup* group, at::Tensor* output, at::Tensor* input, GwWork** out) {
    return guarded([&] { start(out, group->backend->_allgather_base(*output, *input)); });
}

char* gw_group_alltoall(GwGroup* group, at::Tensor* output, at::Tensor* input, GwWork** out) {
    return guarded([&] {
        std::vector<int64_t> even;
        start(out, group->backend->alltoall_base(*output, *input, even, even));
    });
}

char* gw_work_wait(GwWork* work, int64_t timeout_ms, int* done) {
    return guarded([&] {
        *done = 1;
        try {
            work->work->wait(milliseconds(timeout_ms));
        } catch (...) {
            // Work::wait throws for its own timeout too, without an effect on the operation, which may have ended since.
            if (work->work->isCompleted()) {
                work->work->wait();
            } else {
                *done = 0;
            }
        }
    });
}

void gw_work_free(GwWork* work) {
    free(guarded([&] { delete work; }));
}
}
