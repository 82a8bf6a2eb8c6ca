// How the CPU shares the elements of many tensors among its threads.
#pragma once

#include "lanes.h"
#include "shim.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

namespace gradwatch {

// Elements of one tensor, as they lie in memory.
struct Piece {
    size_t tensor;
    int64_t start, count;
};

// The pieces of dense tensors, in their order, of at most PIECE elements.
inline std::vector<Piece> pieces_of(const std::vector<at::Tensor>& tensors) {
    std::vector<Piece> pieces;
    for (size_t tensor = 0; tensor < tensors.size(); ++tensor) {
        const int64_t count = tensors[tensor].numel();
        for (int64_t start = 0; start < count; start += PIECE)
            pieces.push_back({tensor, start, std::min(PIECE, count - start)});
    }
    return pieces;
}

// Calls `body` with each index below `count`, on all threads. Work differs in size, so threads take the next one when they
// are ready for it.
template <typename Body>
void for_each_index(size_t count, Body body) {
    std::atomic<size_t> next{0};
    at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
        for (size_t i; (i = next.fetch_add(1)) < count;) body(i);
    });
}

} // namespace gradwatch
