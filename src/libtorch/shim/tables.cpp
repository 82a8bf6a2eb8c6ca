// Tables of tensor statistics: one row per tensor, one pass over its elements.
//
// gradwatch's own kernel reads every element once: this file contains the one for the CPU, kernels/table.cu the one for
// a GPU. If the GPU kernel is not loaded, ATen ops compute the table. `use_aten` selects them on any device, so that
// tests can compare both.

#include "kernels.h"
#include "lanes.h"
#include "octaves.h"
#include "pieces.h"
#include "shim.h"
#include "sums.h"

#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/bitwise_and.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/histc.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <bit>
#include <cmath>
#include <limits>
#include <mutex>

using namespace gradwatch;

namespace {

// Columns, as in src/libtorch/table.rs.
constexpr int64_t SQUARES = 0, LARGEST = 1, NORM_COLUMNS = 2;
constexpr int64_t SUM = 2, ZEROS = 3, DENORMALS = 4, NANS = 5, INFINITIES = 6, NEGATIVE_INFINITIES = 7, BUCKETS = 8;
constexpr int64_t EXPONENTS = 254, FIRST_EXPONENT = -126; // of normal f32
constexpr int64_t COLUMNS = BUCKETS + 2 * EXPONENTS;

// Exponent of the smallest normal number of a dtype; smaller numbers are denormals.
int64_t smallest_exponent(at::ScalarType dtype) { return dtype == at::kHalf ? -14 : FIRST_EXPONENT; }

// Number of elements to convert to f32 at a time; they fit the first-level cache.
constexpr int64_t TILE = 1 << 12;
// From this number of elements on, the slices of octaves.h are faster than tables.
constexpr int64_t FEWEST_SLICED = 1 << 11;

struct Norms {
    double squares = 0.0;
    double largest = 0.0; // NaN if an element is NaN

    void add(const Norms& other) {
        squares += other.squares;
        if (std::isnan(other.largest) || other.largest > largest) largest = other.largest;
    }
};

struct Distribution {
    double sum = 0.0;
    double nans = 0.0, infinities[2] = {};
    Octaves octaves;
};

void split_non_finite(const float* values, int64_t count, Distribution& out) {
    for (int64_t i = 0; i < count; ++i) {
        if (std::isnan(values[i])) ++out.nans;
        else if (std::isinf(values[i])) ++out.infinities[values[i] < 0.0f];
    }
}

// Converts a tile to f32, which represents every bfloat16 and float16 exactly.
template <typename T>
const float* as_float(const T* values, int64_t count, float* buffer) {
    for (int64_t i = 0; i < count; ++i) buffer[i] = static_cast<float>(values[i]);
    return buffer;
}
template <>
const float* as_float(const float* values, int64_t, float*) { return values; }

template <typename Counter>
void add_tile(const float* tile, int64_t count, Norms& norms, Distribution& distribution, Counter& counter) {
    const auto sums = all_sums(tile, count);
    norms.add({sums.squares, std::bit_cast<float>(sums.largest)});
    distribution.sum += sums.sum;
    counter.add({tile, count, sums.largest});
}

template <typename T>
void add_piece(const T* values, int64_t count, Norms& norms, Distribution* distribution) {
    alignas(64) float buffer[TILE];
    const auto each_tile = [&](auto look) {
        for (int64_t start = 0; start < count; start += TILE) {
            const int64_t length = std::min(TILE, count - start);
            look(as_float(values + start, length, buffer), length);
        }
    };
    const auto count_all = [&](auto counter) {
        each_tile([&](const float* tile, int64_t length) { add_tile(tile, length, norms, *distribution, counter); });
        counter.finish(distribution->octaves);
    };
    if (!distribution)
        return each_tile([&](const float* tile, int64_t length) {
            const auto sums = norm_sums(tile, length);
            norms.add({sums.squares, std::bit_cast<float>(sums.largest)});
        });
    has_avx512() && count >= FEWEST_SLICED ? count_all(SliceCounter()) : count_all(TableCounter());
    if (distribution->octaves.buckets[255] + distribution->octaves.buckets[511] > 0)
        each_tile([&](const float* tile, int64_t length) { split_non_finite(tile, length, *distribution); });
}

// Plain code, because f64 is rare in training. Exponents outside the f32 range count in its outermost buckets.
template <>
void add_piece(const double* values, int64_t count, Norms& norms, Distribution* distribution) {
    for (int64_t i = 0; i < count; ++i) {
        const double value = values[i];
        norms.add({value * value, std::fabs(value)});
        if (!distribution) continue;
        distribution->sum += value;
        if (value == 0.0) ++distribution->octaves.zeros;
        else if (std::isnan(value)) ++distribution->nans;
        else if (std::isinf(value)) ++distribution->infinities[value < 0.0];
        else if (std::fabs(value) < std::numeric_limits<double>::min()) ++distribution->octaves.denormals;
        else ++distribution->octaves.buckets[(value < 0.0) * 256 + std::clamp(std::ilogb(value), -126, 127) + 127];
    }
}

void look(const at::Tensor& dense, const Piece& piece, Norms& norms, Distribution* distribution) {
    const auto add = [&](const auto* values) { add_piece(values + piece.start, piece.count, norms, distribution); };
    switch (dense.scalar_type()) {
    case at::kFloat: return add(dense.const_data_ptr<float>());
    case at::kDouble: return add(dense.const_data_ptr<double>());
    case at::kHalf: return add(dense.const_data_ptr<at::Half>());
    default: return add(dense.const_data_ptr<at::BFloat16>());
    }
}

void add_to_row(const Norms& norms, double* row) {
    Norms sum{row[SQUARES], row[LARGEST]};
    sum.add(norms);
    row[SQUARES] = sum.squares;
    row[LARGEST] = sum.largest;
}

void add_to_row(const Distribution& seen, int64_t smallest, double* row) {
    row[ZEROS] += seen.octaves.zeros;
    row[DENORMALS] += seen.octaves.denormals;
    row[NANS] += seen.nans;
    row[INFINITIES] += seen.infinities[0];
    row[NEGATIVE_INFINITIES] += seen.infinities[1];
    const auto *positive = seen.octaves.buckets + 1, *negative = seen.octaves.buckets + 257;
    const int64_t denormal = smallest - FIRST_EXPONENT;
    for (int64_t i = 0; i < denormal; ++i) row[DENORMALS] += double(negative[i]) + double(positive[i]);
    for (int64_t i = denormal; i < EXPONENTS; ++i) row[BUCKETS + i] += negative[i];
    for (int64_t i = denormal; i < EXPONENTS; ++i) row[BUCKETS + EXPONENTS + i] += positive[i];
}

at::Tensor cpu_table(const std::vector<at::Tensor>& tensors, bool with_distribution) {
    const int64_t columns = with_distribution ? COLUMNS : NORM_COLUMNS;
    auto table = at::zeros({int64_t(tensors.size()), columns}, at::kDouble);
    auto* rows = table.mutable_data_ptr<double>();
    std::vector<at::Tensor> dense;
    for (const auto& tensor : tensors) dense.push_back(without_gaps(tensor));
    const auto pieces = pieces_of(dense);
    // Rounded sums are stored until they can be added in the order of the pieces; counts are exact in any order.
    std::vector<Norms> norms(pieces.size());
    std::vector<double> sums(with_distribution ? pieces.size() : 0);
    std::mutex counting;
    const auto count_piece = [&](size_t i) {
        const auto tensor = pieces[i].tensor;
        Distribution seen;
        look(dense[tensor], pieces[i], norms[i], &seen);
        sums[i] = seen.sum;
        std::lock_guard<std::mutex> lock(counting);
        add_to_row(seen, smallest_exponent(tensors[tensor].scalar_type()), rows + tensor * columns);
    };
    for_each_index(pieces.size(), [&](size_t i) {
        with_distribution ? count_piece(i) : look(dense[pieces[i].tensor], pieces[i], norms[i], nullptr);
    });
    for (size_t i = 0; i < pieces.size(); ++i) {
        auto* row = rows + pieces[i].tensor * columns;
        add_to_row(norms[i], row);
        if (with_distribution) row[SUM] += sums[i];
    }
    return table;
}

// Upper end of each class of magnitudes, as f32 bits: zero, denormals, one class per exponent, infinity. NaN is above
// the last end.
at::Tensor class_ends(at::Device device) {
    std::vector<int32_t> ends{1};
    for (int32_t exponent = 1; exponent <= 255; ++exponent) ends.push_back(exponent << 23);
    ends.push_back((255 << 23) + 1);
    return at::tensor(ends, at::kInt).to(device, /*non_blocking=*/true);
}
constexpr int64_t CLASSES = 2 + EXPONENTS + 2;

// Adds one piece of a tensor to its row, with ATen ops only.
void aten_add(const at::Tensor& piece, const at::Tensor& ends, at::Tensor row) {
    row[SUM] += piece.sum(at::kDouble);
    const auto bits = piece.to(at::kFloat).view(at::kInt);
    const auto classes = at::bucketize(at::bitwise_and(bits, 0x7fffffff), ends, /*out_int32=*/true, /*right=*/true);
    auto keys = classes.add(bits.lt(0), CLASSES);
    // histc does not accept integers on the CPU. On CUDA, it accepts floats only outside deterministic mode.
    if (!keys.is_cuda()) keys = keys.to(at::kDouble);
    const auto counts = at::histc(keys, 2 * CLASSES, 0, 2 * CLASSES).to(at::kDouble).view({2, CLASSES});
    const int64_t denormal = 1 + smallest_exponent(piece.scalar_type()) - FIRST_EXPONENT;
    row[ZEROS] += counts.select(1, 0).sum();
    row[DENORMALS] += counts.narrow(1, 1, denormal).sum();
    row[NANS] += counts.select(1, CLASSES - 1).sum();
    row.narrow(0, INFINITIES, 2) += counts.select(1, CLASSES - 2);
    const int64_t normal = EXPONENTS + 1 - denormal;
    row.narrow(0, BUCKETS + denormal - 1, normal) += counts[1].narrow(0, 1 + denormal, normal);
    row.narrow(0, BUCKETS + EXPONENTS + denormal - 1, normal) += counts[0].narrow(0, 1 + denormal, normal);
}

// Number of ops per table: two foreach norms and, with the distribution, about twenty per piece of a tensor, because
// libtorch has no histogram of many tensors. Pieces keep the temporaries of an op within the monitor's memory budget.
at::Tensor aten_table(const std::vector<at::Tensor>& tensors, bool with_distribution) {
    const int64_t columns = with_distribution ? COLUMNS : NORM_COLUMNS;
    const auto device = tensors.front().device();
    auto table = at::zeros({int64_t(tensors.size()), columns}, at::TensorOptions(at::kDouble).device(device));
    std::vector<at::Tensor> filled; // libtorch rejects the infinity norm of an empty tensor
    std::vector<int64_t> rows;
    int64_t bytes = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].numel() == 0) continue;
        filled.push_back(tensors[i]);
        rows.push_back(int64_t(i));
        bytes += int64_t(tensors[i].nbytes());
    }
    if (filled.empty()) return table;
    const auto squares = at::stack(at::_foreach_norm(filled, 2, at::kDouble)).square();
    const auto largest = at::stack(at::_foreach_norm(filled, std::numeric_limits<double>::infinity())).to(at::kDouble);
    table.narrow(1, 0, NORM_COLUMNS)
        .index_copy_(0, at::tensor(rows, at::kLong).to(device, /*non_blocking=*/true), at::stack({squares, largest}, 1));
    if (!with_distribution) return table;
    // About 25 bytes of temporaries per element.
    const int64_t most = std::max<int64_t>(1 << 14, bytes / 2500 + 2000 * int64_t(filled.size()));
    const auto ends = class_ends(device);
    for (size_t i = 0; i < filled.size(); ++i) {
        TORCH_CHECK(filled[i].scalar_type() != at::kDouble, "float64 tensors have no histogram on ", device);
        const auto dense = without_gaps(filled[i]);
        const auto elements = dense.as_strided({dense.numel()}, {1}, dense.storage_offset());
        for (int64_t start = 0; start < elements.numel(); start += most)
            aten_add(elements.narrow(0, start, std::min(most, elements.numel() - start)), ends, table[rows[i]]);
    }
    return table;
}

} // namespace

at::Tensor gradwatch::tensor_table(const std::vector<at::Tensor>& tensors, bool with_distribution, bool use_aten) {
    if (use_aten) return aten_table(tensors, with_distribution);
    if (tensors.front().is_cpu()) return cpu_table(tensors, with_distribution);
    return gpu::has_kernels(tensors.front()) ? gpu::table(tensors, with_distribution)
                                             : aten_table(tensors, with_distribution);
}

extern "C" {

char* gw_table(at::Tensor** tensors, size_t count, int with_distribution, int use_aten, at::Tensor** out) {
    return guarded([&] {
        c10::NoGradGuard no_grad;
        *out = new at::Tensor(gradwatch::tensor_table(list(tensors, count), with_distribution != 0, use_aten != 0));
    });
}
}
