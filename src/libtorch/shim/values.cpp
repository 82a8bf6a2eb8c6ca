// Clips each element of many tensors, and computes the norms after clipping.

#include "pieces.h"
#include "shim.h"
#include "sums.h"

#include <ATen/ops/_foreach_clamp_max.h>
#include <ATen/ops/_foreach_clamp_min.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <bit>

using namespace gradwatch;

namespace {

// Number of elements to clip and sum at a time; they fit the first-level cache.
constexpr int64_t VALUES_PER_TILE = 1 << 12;

// NaN stays NaN, as in torch.clamp.
FOR_THIS_MACHINE void clamp(float* values, int64_t count, float bound) {
    for (int64_t i = 0; i < count; ++i) {
        const float value = values[i];
        values[i] = value < -bound ? -bound : value > bound ? bound : value;
    }
}

// Reads each element once from memory, and writes only tiles with an element to clip.
double clip_piece(float* values, int64_t count, float bound) {
    double squares = 0.0;
    for (int64_t start = 0; start < count; start += VALUES_PER_TILE) {
        const int64_t length = std::min(VALUES_PER_TILE, count - start);
        const auto sums = clamped_sums(values + start, length, bound);
        // Magnitude bits are ordered like the numbers, with NaN above all.
        if (sums.largest > std::bit_cast<int32_t>(bound)) clamp(values + start, length, bound);
        squares += sums.squares;
    }
    return squares;
}

at::Tensor cpu_clip(const std::vector<at::Tensor>& tensors, float bound) {
    const auto pieces = pieces_of(tensors);
    std::vector<double> squares(pieces.size());
    for_each_index(pieces.size(), [&](size_t i) {
        auto* values = tensors[pieces[i].tensor].mutable_data_ptr<float>() + pieces[i].start;
        squares[i] = clip_piece(values, pieces[i].count, bound);
    });
    auto result = at::zeros({int64_t(tensors.size())}, at::kDouble);
    // Adds in the order of the pieces, so that the sums do not depend on the threads.
    for (size_t i = 0; i < pieces.size(); ++i) result.mutable_data_ptr<double>()[pieces[i].tensor] += squares[i];
    return result;
}

bool is_ours(const at::Tensor& tensor) {
    return tensor.is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_non_overlapping_and_dense();
}

} // namespace

extern "C" {

char* gw_clip_values(at::Tensor** tensors, size_t count, double bound, int use_aten, at::Tensor** out) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        const auto all = list(tensors, count);
        if (!use_aten && std::all_of(all.begin(), all.end(), is_ours)) {
            *out = new at::Tensor(cpu_clip(all, float(bound)));
            return;
        }
        at::_foreach_clamp_min_(all, -bound);
        at::_foreach_clamp_max_(all, bound);
        *out = new at::Tensor(tensor_table(all, /*with_distribution=*/false, /*use_aten=*/false).select(1, 0));
    });
}
}
