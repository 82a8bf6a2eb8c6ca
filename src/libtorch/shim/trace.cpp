// Traces a forward pass into a TorchScript module, with its tensors as parameters and buffers under dotted names. tch's
// own tracing makes the tensors unnamed constants.

#include "script.h"

#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <array>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

using gradwatch::guarded;

namespace {

// A tree of modules that mirrors the dotted names.
class Tree {
  public:
    Tree() : unit_(std::make_shared<torch::jit::CompilationUnit>()), root_(make()) {
        parts_.emplace("", root_);
    }

    void add(const std::string& name, const at::Tensor& tensor, bool is_parameter) {
        const auto [path, last] = split(name);
        part(path).register_parameter(last, tensor, /*is_buffer=*/!is_parameter);
    }

    torch::jit::Module& root() {
        return root_;
    }

  private:
    static std::pair<std::string, std::string> split(const std::string& name) {
        const auto dot = name.rfind('.');
        if (dot == std::string::npos) return {"", name};
        return {name.substr(0, dot), name.substr(dot + 1)};
    }

    torch::jit::Module make() {
        const c10::QualifiedName name("__torch__.gradwatch.Part" + std::to_string(made_++));
        torch::jit::Module module(name, unit_);
        // Module.train() and Module.eval() need this attribute; the traced pass itself is in evaluation mode.
        module.register_attribute("training", c10::BoolType::get(), false);
        return module;
    }

    torch::jit::Module& part(const std::string& path) {
        const auto found = parts_.find(path);
        if (found != parts_.end()) return found->second;
        const auto [above, last] = split(path);
        auto module = make();
        part(above).register_module(last, module);
        return parts_.emplace(path, module).first->second;
    }

    std::shared_ptr<torch::jit::CompilationUnit> unit_;
    size_t made_ = 0;
    torch::jit::Module root_;
    std::map<std::string, torch::jit::Module> parts_;
};

} // namespace

extern "C" {

char* gw_trace(const char* const* names, at::Tensor** tensors, const int* are_parameters, size_t count, at::Tensor* images,
    gw_trace_callback forward, void* context, GwScript** out) {
    return guarded([&] {
        Tree tree;
        for (size_t i = 0; i < count; ++i) tree.add(names[i], *tensors[i], are_parameters[i] != 0);
        auto run = [&](torch::jit::Stack inputs) -> torch::jit::Stack {
            auto seen = inputs.at(0).toTensor();
            at::Tensor* logits = nullptr;
            std::array<char, 1024> message{};
            if (forward(context, &seen, &logits, message.data(), message.size()) != 0) {
                throw std::runtime_error(message.data());
            }
            const std::unique_ptr<at::Tensor> owned(logits);
            return {*owned};
        };
        auto& root = tree.root();
        auto no_name = [](const torch::autograd::Variable&) { return std::string(); };
        auto traced = torch::jit::tracer::trace({*images}, run, no_name, /*strict=*/true, /*force_outplace=*/false, &root, {"images"});
        auto graph = traced.first->graph;
        torch::jit::EliminateDeadCode(graph);
        auto unit = root._ivalue()->compilation_unit();
        root.type()->addMethod(unit->create_function(c10::QualifiedName(*root.type()->name(), "forward"), graph));
        auto named = gradwatch::tensors_of(root);
        *out = new GwScript{root, std::move(named), false, {}};
    });
}
}
