// Gradient hooks of both kinds: before autograd accumulates a gradient into .grad, and after.

#include "shim.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

namespace {

// Owns the Rust closure and releases it when the last hook that may call it is gone.
class Callback {
public:
    Callback(gw_hook_callback call, gw_hook_release release, void* context)
        : call_(call), release_(release), context_(context) {}
    Callback(const Callback&) = delete;
    Callback& operator=(const Callback&) = delete;
    ~Callback() { release_(context_); }

    at::Tensor operator()(const at::Tensor& tensor, bool may_replace) const {
        at::Tensor seen = tensor;
        at::Tensor* replacement = nullptr;
        char text[512] = {};
        if (call_(context_, &seen, may_replace ? &replacement : nullptr, text, sizeof text) != 0)
            throw std::runtime_error(std::string("a gradient hook panicked: ") + text);
        if (!replacement) return at::Tensor();
        std::unique_ptr<at::Tensor> owned(replacement);
        return *owned;
    }

private:
    gw_hook_callback call_;
    gw_hook_release release_;
    void* context_;
};

// Holds a hook's callback until the hook is removed. libtorch keeps the slot, even an empty one, as long as the tensor
// lives: removing a hook from libtorch's own lists while backward walks through them is a race.
class Slot {
public:
    explicit Slot(std::shared_ptr<Callback> callback) : callback_(std::move(callback)) {}

    at::Tensor run(const at::Tensor& tensor, bool may_replace) {
        auto running = callback();
        return running ? (*running)(tensor, may_replace) : at::Tensor();
    }

    bool is_empty() { return !callback(); }

    void empty() {
        std::shared_ptr<Callback> last; // Released after the lock: the closure's values may call back when dropped.
        std::lock_guard<std::mutex> lock(mutex_);
        last = std::move(callback_);
        callback_ = nullptr;
    }

private:
    std::shared_ptr<Callback> callback() {
        std::lock_guard<std::mutex> lock(mutex_);
        return callback_;
    }

    std::mutex mutex_;
    std::shared_ptr<Callback> callback_;
};

using SharedSlot = std::shared_ptr<Slot>;

// libtorch keeps one hook of this kind per tensor; this one contains any number of slots.
class AfterAccumulation : public torch::autograd::PostAccumulateGradHook {
public:
    void operator()(const at::Tensor& param) override {
        std::vector<SharedSlot> slots;
        {
            // Copied, so that a callback may remove itself and another thread may add a slot during the loop.
            std::lock_guard<std::mutex> lock(mutex_);
            slots = slots_;
        }
        for (const auto& slot : slots) slot->run(param, false);
    }

    void add(SharedSlot slot) {
        std::lock_guard<std::mutex> lock(mutex_);
        std::erase_if(slots_, [](const SharedSlot& earlier) { return earlier->is_empty(); });
        slots_.push_back(std::move(slot));
    }

private:
    std::mutex mutex_;
    std::vector<SharedSlot> slots_;
};

void add_after_accumulation(const at::Tensor& tensor, SharedSlot slot) {
    using namespace torch::autograd::impl;
    if (!post_acc_grad_hooks(tensor)) set_post_acc_grad_hooks(tensor, std::make_unique<AfterAccumulation>());
    auto* hooks = dynamic_cast<AfterAccumulation*>(post_acc_grad_hooks(tensor).get());
    if (!hooks) throw std::runtime_error("the tensor has a post-accumulation hook of another library");
    hooks->add(std::move(slot));
}

} // namespace

struct GwHook {
    SharedSlot slot;
};

extern "C" {

void gw_message_free(char* message) { free(message); }

char* gw_hook_register(at::Tensor* tensor, int before_accumulation, gw_hook_callback call, gw_hook_release release,
    void* context, GwHook** out) {
    return gradwatch::guarded([&] {
        // From here on the context is released in every case.
        std::unique_ptr<void, gw_hook_release> owned(context, release);
        auto callback = std::make_shared<Callback>(call, release, context);
        owned.release();
        auto slot = std::make_shared<Slot>(std::move(callback));
        auto hook = std::make_unique<GwHook>(slot);
        if (before_accumulation) {
            tensor->register_hook([slot](const at::Tensor& grad) -> at::Tensor { return slot->run(grad, true); });
        } else {
            add_after_accumulation(*tensor, std::move(slot));
        }
        *out = hook.release();
    });
}

void gw_hook_remove(GwHook* hook) {
    free(gradwatch::guarded([&] {
        std::unique_ptr<GwHook> owned(hook);
        owned->slot->empty();
    }));
}
}
