// table.cu against a loop over the elements.

#include "check.h"

#include <algorithm>
#include <chrono>

namespace check {

namespace {

using Rows = std::vector<double>;
constexpr double UNTOUCHED = -1e300;

// A row according to the column documentation, and the sum of all magnitudes.
Rows slow_row(const Tensor& tensor) {
    Rows row(size_t(COLUMNS) + 1, 0.0);
    const double smallest = tensor.dtype() == F16 ? 0x1p-14 : tensor.dtype() == F64 ? 0x1p-1022 : 0x1p-126;
    long double squares = 0, sum = 0;
    for (size_t i = 0; i < tensor.count(); ++i) {
        const double value = tensor.get(i), size = std::fabs(value);
        squares += (long double)value * value;
        sum += value;
        row.back() += size;
        if (std::isnan(value) || size > row[LARGEST]) row[LARGEST] = size;
        if (std::isnan(value)) ++row[NANS];
        else if (std::isinf(value)) ++row[size_t(value > 0 ? INFINITIES : NEGATIVE_INFINITIES)];
        else if (value == 0.0) ++row[ZEROS];
        else if (size < smallest) ++row[DENORMALS];
        else ++row[size_t((value < 0 ? NEGATIVE : POSITIVE) + std::clamp(std::ilogb(size), -126, 127) + 126)];
    }
    row[SQUARES] = double(squares);
    row[SUM] = double(sum);
    return row;
}

Rows table(const std::vector<Tensor>& tensors, size_t piece_size, bool with_distribution) {
    std::vector<Piece> pieces;
    std::vector<Row> rows;
    for (const auto& tensor : tensors) {
        const auto first = pieces.size();
        for (size_t start = 0; start < tensor.count(); start += piece_size)
            pieces.push_back(
                {tensor.address(start), i64(std::min(piece_size, tensor.count() - start)), tensor.dtype(), 0});
        rows.push_back({i32(first), i32(pieces.size() - first), tensor.dtype(), 0});
    }
    const i32 columns = with_distribution ? COLUMNS : NORM_COLUMNS;
    std::vector<PieceSums> sums(pieces.size());
    std::vector<u32> counts(with_distribution ? pieces.size() * COUNTS : 0, 0xdddddddd);
    Rows result(rows.size() * size_t(columns) + 1, UNTOUCHED);
    const i32 flag = with_distribution;
    launch("table_pieces", pieces.size(), static_cast<const Piece*>(pieces.data()), flag, sums.data(), counts.data());
    launch("table_rows", rows.size(), static_cast<const Row*>(rows.data()),
        static_cast<const PieceSums*>(sums.data()), static_cast<const u32*>(counts.data()), flag, result.data(),
        columns);
    expect(result.back() == UNTOUCHED, "the table is written past its end");
    result.pop_back();
    return result;
}

void check_tensors(const char* what, const std::vector<Tensor>& tensors, size_t piece_size) {
    const auto got = always_the_same(what, [&] { return table(tensors, piece_size, true); });
    const auto norms = always_the_same(what, [&] { return table(tensors, piece_size, false); });
    for (size_t i = 0; i < tensors.size(); ++i) {
        const auto want = slow_row(tensors[i]);
        const auto* row = got.data() + i * size_t(COLUMNS);
        for (size_t column = 0; column < size_t(COLUMNS); ++column) {
            const double scale = column == SQUARES ? want[column] : column == SUM ? want.back() : 0.0;
            expect(is_close(row[column], want[column], scale),
                "%s: tensor %zu, %s, %zu elements, column %zu: %g, want %g",
                what, i, name(tensors[i].dtype()), tensors[i].count(), column, row[column], want[column]);
        }
        expect(std::memcmp(row, norms.data() + i * size_t(NORM_COLUMNS), NORM_COLUMNS * sizeof(double)) == 0,
            "%s: tensor %zu: norms differ without the distribution", what, i);
    }
}

size_t usual_piece(size_t count) { return std::max<size_t>(1 << 15, (count / 512 + 1023) / 1024 * 1024); }

void check_odd_values() {
    std::vector<Tensor> tensors;
    for (const auto dtype : DTYPES) {
        Tensor all(dtype, std::size(ODD));
        for (size_t i = 0; i < all.count(); ++i) {
            all.set(i, ODD[i]);
            Tensor one(dtype, 1);
            one.set(0, ODD[i]);
            tensors.push_back(one);
        }
        tensors.push_back(all);
    }
    check_tensors("odd values", tensors, 1 << 15);
    check_tensors("odd values in small pieces", tensors, 3);
}

void check_all_bits() {
    for (const auto dtype : {F16, BF16}) {
        Tensor each(dtype, 1 << 16);
        for (size_t i = 0; i < each.count(); ++i) each.set_bits(i, i);
        check_tensors("every number of 16 bits", {each}, 1 << 15);
    }
    for (const auto dtype : DTYPES) {
        std::vector<Tensor> tensors;
        for (size_t count : {1, 2, 7, 8, 300, 5000}) {
            Tensor tensor(dtype, count);
            for (size_t i = 0; i < count; ++i) tensor.set_bits(i, random_bits()());
            tensors.push_back(tensor);
        }
        check_tensors("any bits", tensors, 1 << 15);
    }
}

void check_sizes() {
    std::vector<Tensor> tensors;
    for (const auto dtype : DTYPES)
        for (size_t count : {0, 1, 3, 255, 256, 257, 1023, 4096, 4099, 32767, 32768, 32769, 100003})
            tensors.push_back(normal(dtype, count, 1e-3));
    check_tensors("many sizes", tensors, 1 << 15);
    check_tensors("many sizes in odd pieces", tensors, 3001);
    check_tensors("nothing but empty tensors", {Tensor(F32, 0), Tensor(F16, 0)}, 1 << 15);
}

void check_misaligned() {
    for (const auto dtype : DTYPES) {
        const auto straight = normal(dtype, 40001, 1.0);
        std::vector<Tensor> tensors{straight};
        for (size_t shift = 1; shift < 16 / size_of(dtype); ++shift) {
            Tensor shifted(dtype, straight.count(), shift);
            for (size_t i = 0; i < straight.count(); ++i) shifted.set_bits(i, straight.bits(i));
            tensors.push_back(shifted);
        }
        check_tensors("misaligned", tensors, 1 << 15);
        const auto rows = table(tensors, 1 << 15, true);
        for (size_t i = 1; i < tensors.size(); ++i)
            expect(std::memcmp(rows.data(), rows.data() + i * size_t(COLUMNS), COLUMNS * sizeof(double)) == 0,
                "%s: %zu elements off an aligned start gives another row", name(dtype), i);
    }
}

void check_large() {
    for (const auto dtype : DTYPES) {
        const auto large = normal(dtype, 1 << 22, 1e-2);
        check_tensors("2^22 elements", {large}, usual_piece(large.count()));
    }
    // More pieces than a block has threads.
    auto pieces = normal(F32, 1 << 18, 1e-2);
    pieces.set(pieces.count() - 1, -INFINITY);
    check_tensors("700 pieces", {pieces}, 375);
    pieces.set(12345, NAN);
    check_tensors("700 pieces with a NaN", {pieces}, 375);
    std::vector<Tensor> many;
    for (size_t i = 0; i < 300; ++i) many.push_back(normal(DTYPES[i % 4], random_bits()() % 3000, 1.0));
    check_tensors("many tensors", many, 512);
    // All elements have the same exponent: shared counters must not lose any.
    Tensor ones(F32, 1 << 20);
    for (size_t i = 0; i < ones.count(); ++i) ones.set(i, 1.0);
    check_tensors("ones", {ones}, 1 << 18);
}

void check_speed() {
    const auto tensor = normal(F32, 11 << 20, 1e-3);
    const auto start = std::chrono::steady_clock::now();
    table({tensor}, usual_piece(tensor.count()), true);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("11.5 million elements took %.2f s here\n", seconds.count());
}

} // namespace

void check_table() {
    check_odd_values();
    check_all_bits();
    check_sizes();
    check_misaligned();
    check_large();
    check_speed();
}

} // namespace check
