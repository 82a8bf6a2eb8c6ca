// Events in the stream of a GPU, for timing.

#include "shim.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <limits>
#include <memory>

struct GwEvent {
    c10::Event event;
};

extern "C" {

char* gw_event_record(int device, GwEvent** out) {
    return gradwatch::guarded([&] {
        const at::Device cuda(at::kCUDA, static_cast<c10::DeviceIndex>(device));
        // Only BACKEND_DEFAULT events support timing.
        auto mark = std::make_unique<GwEvent>(c10::Event(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT));
        mark->event.record(c10::impl::VirtualGuardImpl(at::kCUDA).getStream(cuda));
        *out = mark.release();
    });
}

// `millis` is NaN until the device has reached both events.
char* gw_event_elapsed(GwEvent* from, GwEvent* to, double* millis) {
    return gradwatch::guarded([&] {
        const bool is_done = from->event.query() && to->event.query();
        *millis = is_done ? from->event.elapsedTime(to->event) : std::numeric_limits<double>::quiet_NaN();
    });
}

char* gw_event_wait(GwEvent* mark) {
    return gradwatch::guarded([&] { mark->event.synchronize(); });
}

void gw_event_free(GwEvent* mark) {
    free(gradwatch::guarded([&] { delete mark; }));
}
}
