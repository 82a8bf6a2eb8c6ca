// Copies from the host that neither wait for a CUDA device nor delay its work.

#include "shim.h"

#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <map>
#include <mutex>

namespace {

// One stream per device is enough, because all of its copies share one bus.
c10::Stream copy_stream(const c10::impl::VirtualGuardImpl& cuda, c10::Device device) {
    static std::mutex mutex;
    static std::map<c10::DeviceIndex, c10::Stream> streams;
    std::lock_guard<std::mutex> lock(mutex);
    auto found = streams.find(device.index());
    if (found == streams.end())
        found = streams.emplace(device.index(), cuda.getStreamFromGlobalPool(device, /*isHighPriority=*/false)).first;
    return found->second;
}

} // namespace

extern "C" {

char* gw_upload(const GwHostSlice* slices, size_t count, int index, at::Tensor** out) {
    return gradwatch::guarded([&] {
        const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
        const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
        const c10::DeviceGuard guard(device);
        const auto compute = cuda.getStream(device), copies = copy_stream(cuda, device);
        std::vector<at::Tensor> arrived;
        {
            const c10::StreamGuard on_copies(copies);
            for (size_t i = 0; i < count; ++i) {
                const auto dtype = static_cast<at::ScalarType>(slices[i].dtype);
                auto pinned = at::empty({slices[i].length}, at::TensorOptions(dtype).pinned_memory(true));
                memcpy(pinned.mutable_data_ptr(), slices[i].data, pinned.nbytes());
                // A copy from pinned memory is asynchronous; libtorch keeps that memory until the copy is complete.
                arrived.push_back(pinned.to(device, /*non_blocking=*/true));
            }
        }
        c10::Event event(c10::kCUDA, c10::EventFlag::PYTORCH_DEFAULT);
        event.record(copies);
        event.block(compute);
        for (size_t i = 0; i < count; ++i) {
            // The memory belongs to the copy stream, which must not reuse it before the compute stream is done with it.
            arrived[i].record_stream(compute);
            out[i] = new at::Tensor(std::move(arrived[i]));
        }
    });
}
}
