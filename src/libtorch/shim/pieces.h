// Distributes the elements of many tensors among the CPU threads.
#pragma once

#include "lanes.h"
#include "shim.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

namespace gradwatch {

// Neighboring elements of one tensor, in memory order.
struct Piece {
    size_t tensor;
    int64_t start, count;
};

// Splits dense tensors, in order, into pieces of at most PIECE elements.
inline std::vector<Piece> pieces_of(const std::vector<at::Tensor>& tensors) {
    std::vector<Piece> pieces;
    for (size_t tensor = 0; tensor < tensors.size(); ++tensor) {
        const int64_t count = tensors[tensor].numel();
        for (int64_t start = 0; start < count; start += PIECE)
            pieces.push_back({tensor, start, std::min(PIECE, count - start)});
    }
    return pieces;
}

// Calls `body` with each index below `count`, on all threads. Each thread takes the next index when it is ready,
// because the indices differ in work.
template <typename Body>
void for_each_index(size_t count, Body body) {
    std::atomic<size_t> next{0};
    at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
        for (size_t i; (i = next.fetch_add(1)) < count;) body(i);
    });
}

} // namespace gradwatch
