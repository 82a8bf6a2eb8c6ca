// Gradient hooks of both kinds: before a gradient is accumulated into .grad, and after.

#include "shim.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

namespace {

// Owns the Rust closure: it is released when the last hook that may call it is gone.
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

using SharedCallback = std::shared_ptr<Callback>;

// libtorch keeps one hook of this kind per tensor; this one holds any number of callbacks.
class AfterAccumulation : public torch::autograd::PostAccumulateGradHook {
public:
    void operator()(const at::Tensor& param) override {
        std::vector<SharedCallback> callbacks;
        {
            // Copied, so that a callback may remove itself and another thread may add one meanwhile.
            std::lock_guard<std::mutex> lock(mutex_);
            callbacks = callbacks_;
        }
        for (const auto& callback : callbacks) (*callback)(param, false);
    }

    void add(SharedCallback callback) {
        std::lock_guard<std::mutex> lock(mutex_);
        callbacks_.push_back(std::move(callback));
    }

    void remove(const SharedCallback& callback) {
        std::lock_guard<std::mutex> lock(mutex_);
        std::erase(callbacks_, callback);
    }

private:
    std::mutex mutex_;
    std::vector<SharedCallback> callbacks_;
};

using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

} // namespace

// A weak reference: a hook on an activation must not keep the activation's memory.
struct GwHook {
    WeakTensor tensor;
    SharedCallback after; // null for a hook before accumulation
    unsigned position;    // of a hook before accumulation
};

extern "C" {

void gw_message_free(char* message) { free(message); }

char* gw_hook_register(at::Tensor* tensor, int before_accumulation, gw_hook_callback call, gw_hook_release release,
    void* context, GwHook** out) {
    // Made first: from here on the context is released whatever happens.
    auto callback = std::make_shared<Callback>(call, release, context);
    return gradwatch::guarded([&] {
        WeakTensor weak(tensor->getIntrusivePtr());
        if (before_accumulation) {
            unsigned position = tensor->register_hook(
                [callback](const at::Tensor& grad) -> at::Tensor { return (*callback)(grad, true); });
            *out = new GwHook{std::move(weak), nullptr, position};
            return;
        }
        if (!torch::autograd::impl::post_acc_grad_hooks(*tensor))
            torch::autograd::impl::set_post_acc_grad_hooks(*tensor, std::make_unique<AfterAccumulation>());
        auto* hooks = dynamic_cast<AfterAccumulation*>(torch::autograd::impl::post_acc_grad_hooks(*tensor).get());
        if (!hooks) throw std::runtime_error("the tensor has a post-accumulation hook of another library");
        hooks->add(callback);
        *out = new GwHook{std::move(weak), std::move(callback), 0};
    });
}

void gw_hook_remove(GwHook* hook) {
    free(gradwatch::guarded([&] {
        std::unique_ptr<GwHook> owned(hook);
        auto alive = owned->tensor.lock();
        if (!alive) return;
        at::Tensor tensor(std::move(alive));
        if (!owned->after) {
            tensor.remove_hook(owned->position);
        } else if (auto* hooks = dynamic_cast<AfterAccumulation*>(
                       torch::autograd::impl::post_acc_grad_hooks(tensor).get())) {
            // The emptied object stays in its slot: autograd may be running it on another thread.
            hooks->remove(owned->after);
        }
    }));
}
}
