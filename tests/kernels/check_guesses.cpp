// guesses.cu against a sort of each row.

#include "check.h"

#include <numeric>

namespace check {

namespace {

struct Batch {
    i64 rows, classes, stride;
    Tensor logits, loss;
    std::vector<i64> labels;

    double logit(i64 row, i64 index) const { return logits.get(size_t(row * stride + index)); }
};

// The classes of a row, ranked as predictions.
std::vector<i64> order_of(const Batch& batch, i64 row) {
    std::vector<i64> order(size_t(batch.classes));
    std::iota(order.begin(), order.end(), 0);
    std::vector<double> logits;
    for (const auto index : order) logits.push_back(batch.logit(row, index));
    // Stable sort: equal logits stay in index order.
    std::stable_sort(order.begin(), order.end(), [&](i64 a, i64 b) {
        const double first = logits[size_t(a)], second = logits[size_t(b)];
        return std::isnan(second) ? false : std::isnan(first) || first > second;
    });
    return order;
}

// All counters, between guards.
struct Counts {
    static constexpr i64 UNTOUCHED = -77;
    size_t margin;
    std::vector<double> sums;
    std::vector<i64> counts, places;

    // Counters that do not start at 0.
    Counts(i64 classes, bool is_matrix, size_t rows)
        : margin(size_t(4 * classes + 4)), sums{-77.0, 0.1, 3.0, 2.0, -77.0},
          counts(size_t(is_matrix ? classes * classes : 3 * classes) + 2 * margin, UNTOUCHED), places(rows + 2, UNTOUCHED) {
        for (size_t i = margin; i < counts.size() - margin; ++i) counts[i] = i64(i % 5);
    }

    std::vector<i64> bits() const {
        std::vector<i64> all(sums.size());
        std::memcpy(all.data(), sums.data(), sums.size() * sizeof(double));
        all.insert(all.end(), counts.begin(), counts.end());
        all.insert(all.end(), places.begin(), places.end());
        return all;
    }
};

// Adds the batches to the same counters, one launch per batch.
std::vector<i64> counted(const std::vector<Batch>& batches, bool is_matrix, bool has_places, size_t rows) {
    Counts all(batches[0].classes, is_matrix, rows);
    size_t first = 1;
    for (const auto& batch : batches) {
        const GuessBatch counts{batch.logits.address(), u64(batch.labels.data()), batch.loss.address(), u64(&all.sums[1]),
            u64(all.counts.data() + all.margin), has_places ? u64(&all.places[first]) : 0, batch.stride, batch.classes,
            batch.logits.dtype(), batch.loss.dtype(), is_matrix, 0};
        launch("count_guesses", size_t(batch.rows), counts);
        first += size_t(batch.rows);
    }
    return all.bits();
}

std::vector<i64> slowly_counted(const std::vector<Batch>& batches, bool is_matrix, bool has_places, size_t rows) {
    Counts all(batches[0].classes, is_matrix, rows);
    i64* counts = all.counts.data() + all.margin;
    size_t place = 0;
    for (const auto& batch : batches) {
        const i64 classes = batch.classes;
        all.sums[1] += batch.loss.get(0);
        for (i64 row = 0; row < batch.rows; ++row) {
            ++place;
            const i64 label = batch.labels[size_t(row)];
            if (label < 0 || label >= classes) continue;
            const auto order = order_of(batch, row);
            const i64 guess = order[0];
            for (size_t i = 0; i < 5 && i < order.size(); ++i) all.sums[2] += order[i] == label ? 1.0 : 0.0;
            if (guess == label) all.sums[3] += 1.0;
            if (is_matrix) counts[label * classes + guess] += 1;
            if (!is_matrix) counts[label] += 1;
            if (!is_matrix) counts[classes + guess] += 1;
            if (!is_matrix && guess == label) counts[2 * classes + label] += 1;
            if (has_places) all.places[place] = label * classes + guess;
        }
    }
    return all.bits();
}

void check_batches(const char* what, const std::vector<Batch>& batches, bool is_matrix, bool has_places) {
    size_t rows = 0;
    for (const auto& batch : batches) rows += size_t(batch.rows);
    const auto got = always_the_same(what, [&] { return counted(batches, is_matrix, has_places, rows); });
    const auto want = slowly_counted(batches, is_matrix, has_places, rows);
    const auto& first = batches[0];
    for (size_t i = 0; i < want.size(); ++i)
        expect(got[i] == want[i],
            "%s: %s, loss %s, %lld rows of %lld classes, %lld apart, %s, %s places, at %zu: %llx, want %llx", what,
            name(first.logits.dtype()), name(first.loss.dtype()), first.rows, first.classes, first.stride,
            is_matrix ? "matrix" : "classes", has_places ? "with" : "no", i, got[i], want[i]);
}

// Rows of logits from `draw`, which gets a row and a class. The labels are correct, wrong, at the limits of the top
// five and of the classes, or invalid. Memory between rows is NaN, which would win the prediction.
template <typename Draw>
Batch batch(i32 dtype, i32 loss_dtype, i64 rows, i64 classes, i64 gap, Draw draw) {
    const size_t misalignment = random_bits()() % 4;
    const i64 stride = gap < 0 ? 0 : classes + gap;
    Batch all{rows, classes, stride, Tensor(dtype, size_t((rows - 1) * stride + classes), misalignment),
        Tensor(loss_dtype, 1, misalignment), {}};
    all.loss.set(0, 1.0 / 3.0 + double(rows));
    for (i64 row = 0; row < rows; ++row)
        for (i64 index = 0; index < classes; ++index) all.logits.set(size_t(row * stride + index), draw(row, index));
    const i64 wrong[] = {-1, classes, -classes, classes + 1, INT64_MIN, INT64_MAX};
    const auto start = random_bits()() % 16;
    for (i64 row = 0; row < rows; ++row) {
        const auto kind = (start + u64(row)) % 16;
        const auto order = order_of(all, row);
        if (kind < 7) all.labels.push_back(order[std::min(size_t(kind), order.size() - 1)]);
        else if (kind == 7) all.labels.push_back(0);
        else if (kind == 8) all.labels.push_back(classes - 1);
        else if (kind == 9) all.labels.push_back(wrong[random_bits()() % std::size(wrong)]);
        else all.labels.push_back(i64(random_bits()() % u64(classes)));
    }
    return all;
}

double draw_normal(i64, i64) {
    static std::normal_distribution<double> draw(0.0, 1.0);
    return draw(random_bits());
}
// Mostly ties, and zeros of both signs.
double draw_few(i64, i64) {
    const double few[] = {-1.0, -0.0, 0.0, -0.0};
    return few[random_bits()() % 4];
}
double draw_odd(i64, i64) { return ODD[random_bits()() % std::size(ODD)]; }
// Rows of one value each, and of the lowest with some others.
double draw_flat(i64 row, i64) {
    const double values[] = {NAN, INFINITY, -INFINITY, random_bits()() % 8 ? -INFINITY : -1e4};
    return values[row % 4];
}

void check_kind(const char* what, i32 dtype, i64 classes, double (*draw)(i64, i64)) {
    static u64 turn = 0;
    for (const bool is_matrix : {false, true}) {
        // A matrix of many classes takes long, and one draw of it will do.
        if (is_matrix && classes > 101 && draw != draw_few) continue;
        const auto loss = DTYPES[++turn % 4], other_loss = DTYPES[turn / 4 % 4];
        const i64 gap = std::vector<i64>{0, 1, 7, 300}[turn % 4];
        const auto first = batch(dtype, loss, 17, classes, gap, draw);
        const auto second = batch(dtype, other_loss, 1 + i64(turn % 3), classes, 0, draw);
        check_batches(what, {first, second}, is_matrix, turn / 2 % 2 == 0);
    }
}

// One NaN or two among numbers, at each position in turn.
void check_single_nans(i32 dtype, i64 classes) {
    for (const i64 step : {1, 3}) {
        const auto draw = [&](i64 row, i64 index) {
            const i64 place = row * 7 % classes;
            return index == place || index == (place + 256 * step) % classes ? NAN : index % 3 ? INFINITY : 1.0;
        };
        check_batches("single NaNs", {batch(dtype, F32, 20, classes, 2, draw)}, false, true);
    }
}

// Losses of every dtype, including infinities and NaN.
void check_losses() {
    for (const auto dtype : DTYPES)
        for (const double loss : {0.1, -3.75, 60000.0, 0x1p-20, double(INFINITY)}) {
            auto one = batch(F32, dtype, 2, 3, 0, draw_normal);
            one.loss.set(0, loss);
            check_batches("losses", {one, one}, true, false);
            // The first row of this batch does not count.
            one.labels = {-1, 2};
            check_batches("a loss without a label", {one}, true, true);
        }
}

} // namespace

void check_guesses() {
    for (const auto dtype : DTYPES) {
        for (const i64 classes : {1, 2, 4, 5, 6, 100, 101, 256, 257, 1000}) {
            check_kind("normal logits", dtype, classes, draw_normal);
            check_kind("few logits", dtype, classes, draw_few);
            check_kind("odd logits", dtype, classes, draw_odd);
            check_kind("flat logits", dtype, classes, draw_flat);
            check_single_nans(dtype, classes);
        }
        // All rows are the same row.
        check_batches("one row", {batch(dtype, F32, 9, 11, -1, draw_normal)}, true, true);
        check_batches("tens of thousands", {batch(dtype, F32, 2, 30001, 5, draw_normal)}, false, true);
    }
    for (i64 rows = 1; rows <= 300; rows += rows < 20 ? 1 : 56)
        check_batches("rows", {batch(F16, F32, rows, 10, 0, draw_normal), batch(BF16, F32, rows, 10, 3, draw_few)},
            rows % 2 != 0, true);
    check_losses();
}

} // namespace check
