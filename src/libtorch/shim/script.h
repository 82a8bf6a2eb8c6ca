// A TorchScript module owned by the shim: script.cpp loads it, trace.cpp traces it.
#pragma once

#include "shim.h"

#include <torch/script.h>

#include <string>
#include <vector>

struct GwScript {
    struct Named {
        std::string name;
        at::Tensor tensor;
        bool is_parameter;
    };
    torch::jit::Module module;
    std::vector<Named> tensors;
    bool is_training;
    // Extra files of its archive.
    torch::jit::ExtraFilesMap extra;
};

namespace gradwatch {
std::vector<GwScript::Named> tensors_of(const torch::jit::Module& root);
}
