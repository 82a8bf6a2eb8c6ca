// TorchScript modules. tch binds them without their buffers, and removes the dots from parameter names.

#include "script.h"

#include <caffe2/serialize/in_memory_adapter.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_set>

using gradwatch::guarded;

namespace gradwatch {

// Returns parameters before buffers, module by module from the root: the order of torch's state_dict.
std::vector<GwScript::Named> tensors_of(const torch::jit::Module& root) {
    std::vector<GwScript::Named> tensors;
    std::unordered_set<c10::TensorImpl*> seen;
    for (const auto& module : root.named_modules()) {
        const std::string prefix = module.name.empty() ? "" : module.name + ".";
        auto add = [&](const auto& list, bool is_parameter) {
            for (const auto& entry : list) {
                // Tied weights keep only their first name.
                if (seen.insert(entry.value.unsafeGetTensorImpl()).second) {
                    tensors.push_back({prefix + entry.name, entry.value, is_parameter});
                }
            }
        };
        add(module.value.named_parameters(/*recurse=*/false), true);
        add(module.value.named_buffers(/*recurse=*/false), false);
    }
    return tensors;
}

} // namespace gradwatch

extern "C" {

char* gw_script_load(const void* bytes, size_t size, int device, const char* const* extra_names, size_t extra_count,
    GwScript** out) {
    return guarded([&] {
        const auto place =
            device < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device));
        auto reader = std::make_shared<caffe2::serialize::MemoryReadAdapter>(bytes, static_cast<off_t>(size));
        // libtorch sets each name to the file's content; it stays empty if the file is missing.
        torch::jit::ExtraFilesMap extra;
        for (size_t i = 0; i < extra_count; ++i) extra[extra_names[i]] = "";
        auto module = torch::jit::load(reader, place, extra, /*load_debug_files=*/false);
        module.train(true);
        auto tensors = gradwatch::tensors_of(module);
        *out = new GwScript{std::move(module), std::move(tensors), true, std::move(extra)};
    });
}

void gw_script_extra(const GwScript* script, const char* name, const char** content, size_t* size) {
    const auto found = script->extra.find(name);
    const bool is_there = found != script->extra.end();
    *content = is_there ? found->second.data() : nullptr;
    *size = is_there ? found->second.size() : 0;
}

char* gw_script_save(const GwScript* script, const char* const* extra_names, const char* const* extra_contents, size_t extra_count,
    char** bytes, size_t* size) {
    return guarded([&] {
        torch::jit::ExtraFilesMap extra;
        for (size_t i = 0; i < extra_count; ++i) extra[extra_names[i]] = extra_contents[i];
        std::ostringstream stream;
        script->module.save(stream, extra);
        const auto written = stream.view();
        *bytes = static_cast<char*>(std::malloc(written.size()));
        if (*bytes == nullptr) throw std::bad_alloc();
        std::memcpy(*bytes, written.data(), written.size());
        *size = written.size();
    });
}

void gw_script_free(GwScript* script) {
    delete script;
}

size_t gw_script_count(const GwScript* script) {
    return script->tensors.size();
}

char* gw_script_tensor(
    const GwScript* script, size_t index, const char** name, int* is_parameter, at::Tensor** out) {
    return guarded([&] {
        const auto& named = script->tensors.at(index);
        *name = named.name.c_str();
        *is_parameter = named.is_parameter;
        *out = new at::Tensor(named.tensor);
    });
}

// Runs the graph as written, op by op. An executor that rewrites it after a few passes could give a resumed run
// different bits than an uninterrupted one, and stalls while it rewrites.
char* gw_script_forward(GwScript* script, at::Tensor* images, int train, at::Tensor** out) {
    return guarded([&] {
        torch::jit::GraphOptimizerEnabledGuard as_written(false);
        if (script->is_training != bool(train)) {
            script->module.train(train);
            script->is_training = train;
        }
        auto value = script->module.forward({*images});
        if (!value.isTensor()) throw std::runtime_error("its forward returns a " + value.tagKind() + " and no Tensor");
        *out = new at::Tensor(value.toTensor());
    });
}
}
