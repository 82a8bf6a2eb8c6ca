// Clipping each element of many tensors, with the norms of what is left.

#include "lanes.h"
#include "shim.h"
#include "sums.h"

#include <ATen/Parallel.h>
#include <ATen/ops/_foreach_clamp_max.h>
#include <ATen/ops/_foreach_clamp_min.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <atomic>
#include <bit>

using namespace gradwatch;

namespace {

// Elements that are clipped and summed while they are in the first-level cache.
constexpr int64_t TILE = 1 << 12;

// NaN stays NaN, as in torch.clamp.
FOR_THIS_MACHINE void clamp(float* values, int64_t count, float bound) {
    for (int64_t i = 0; i < count; ++i) {
        const float value = values[i];
        values[i] = value < -bound ? -bound : value > bound ? bound : value;
    }
}

// Reads each element once from memory, and writes only tiles that have something to clip.
double clip_piece(float* values, int64_t count, float bound) {
    double squares = 0.0;
    for (int64_t start = 0; start < count; start += TILE) {
        const int64_t length = std::min(TILE, count - start);
        auto sums = norm_sums(values + start, length);
        // Ordered like the numbers, with NaN above all.
        if (sums.largest > std::bit_cast<int32_t>(bound)) {
            clamp(values + start, length, bound);
            sums = norm_sums(values + start, length);
        }
        squares += sums.squares;
    }
    return squares;
}

struct Piece {
    size_t tensor;
    int64_t start, count;
};

at::Tensor cpu_clip(const std::vector<at::Tensor>& tensors, float bound) {
    std::vector<Piece> pieces;
    for (size_t tensor = 0; tensor < tensors.size(); ++tensor)
        for (int64_t start = 0; start < tensors[tensor].numel(); start += PIECE)
            pieces.push_back({tensor, start, std::min(PIECE, tensors[tensor].numel() - start)});
    std::vector<double> squares(pieces.size());
    std::atomic<size_t> next{0};
    at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
        for (size_t i; (i = next.fetch_add(1)) < pieces.size();)
            squares[i] = clip_piece(
                tensors[pieces[i].tensor].mutable_data_ptr<float>() + pieces[i].start, pieces[i].count, bound);
    });
    auto result = at::zeros({int64_t(tensors.size())}, at::kDouble);
    // In the order of the pieces, so that the sums do not depend on the threads.
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
