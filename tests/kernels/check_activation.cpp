// activation.cu against a loop over the elements.

#include "check.h"

namespace check {

namespace {

constexpr double UNTOUCHED = -1e300;

struct Pair {
    Tensor inputs, outputs;
    double low, high;
};

std::vector<double> sums_of(const std::vector<Pair>& pairs, size_t piece_size) {
    std::vector<ActivationPiece> pieces;
    std::vector<Tap> taps;
    for (const auto& [inputs, outputs, low, high] : pairs) {
        const auto first = pieces.size();
        for (size_t start = 0; start < inputs.count(); start += piece_size)
            pieces.push_back({inputs.address(start), outputs.address(start),
                i64(std::min(piece_size, inputs.count() - start)), low, high, inputs.dtype(), outputs.dtype()});
        taps.push_back({i32(first), i32(pieces.size() - first)});
    }
    std::vector<ActivationSums> sums(pieces.size());
    std::vector<double> totals(taps.size() * 4 + 1, UNTOUCHED);
    launch("activation_pieces", pieces.size(), static_cast<const ActivationPiece*>(pieces.data()), sums.data());
    launch("activation_sums", taps.size(), static_cast<const Tap*>(taps.data()),
        static_cast<const ActivationSums*>(sums.data()), reinterpret_cast<ActivationSums*>(totals.data()));
    expect(totals.back() == UNTOUCHED, "activations: written past the end");
    totals.pop_back();
    return totals;
}

void check_pairs(const char* what, const std::vector<Pair>& pairs, size_t piece_size) {
    const auto got = always_the_same(what, [&] { return sums_of(pairs, piece_size); });
    for (size_t i = 0; i < pairs.size(); ++i) {
        const auto& [inputs, outputs, low, high] = pairs[i];
        const bool is_double = inputs.dtype() == F64;
        const double least = is_double ? low : double(float(low)), most = is_double ? high : double(float(high));
        long double squares = 0, sum = 0, absolute = 0;
        double nonpositive = 0, flat = 0;
        for (size_t j = 0; j < inputs.count(); ++j) {
            const double input = inputs.get(j), output = outputs.get(j);
            squares += (long double)output * output;
            sum += output;
            absolute += std::fabs(output);
            nonpositive += output <= 0.0;
            flat += input <= least || input >= most;
        }
        const double want[] = {double(squares), double(sum), nonpositive, flat};
        const double scales[] = {double(squares), double(absolute), 0.0, 0.0};
        for (size_t j = 0; j < 4; ++j)
            expect(is_close(got[i * 4 + j], want[j], scales[j]),
                "%s: tap %zu, %s to %s, %zu elements, sum %zu: %g, want %g", what,
                i, name(inputs.dtype()), name(outputs.dtype()), inputs.count(), j, got[i * 4 + j], want[j]);
    }
}

Pair relu(Tensor inputs, i32 dtype, size_t misalignment, double low, double high) {
    Pair pair{std::move(inputs), Tensor(dtype, 0), low, high};
    pair.outputs = Tensor(dtype, pair.inputs.count(), misalignment);
    for (size_t i = 0; i < pair.inputs.count(); ++i) {
        const double input = pair.inputs.get(i);
        pair.outputs.set(i, input < 0.0 ? 0.0 : input);
    }
    return pair;
}

} // namespace

void check_activation() {
    std::vector<Pair> sizes, shifted, odd;
    for (const auto in : DTYPES)
        for (const auto out : DTYPES) {
            for (size_t count : {0, 1, 5, 255, 1024, 4099, 40001})
                sizes.push_back(relu(normal(in, count, 1.0), out, 0, -1.0, 1.5));
            for (const auto& [shift, other] : {std::pair<size_t, size_t>{0, 1}, {1, 0}, {2, 2}, {3, 1}, {3, 3}})
                shifted.push_back(relu(normal(in, 10007, 1.0, shift), out, other, -INFINITY, 0.3));
            Tensor values(in, std::size(ODD));
            for (size_t i = 0; i < values.count(); ++i) values.set(i, ODD[i]);
            // Bounds that f32 cannot represent, and bounds that equal some elements.
            for (const auto& [low, high] : {std::pair<double, double>{0.0, 0.1}, {-2.0, 2.0}, {-INFINITY, INFINITY}}) {
                odd.push_back(relu(values, out, 0, low, high));
                Pair same{values, Tensor(out, values.count()), low, high};
                for (size_t i = 0; i < values.count(); ++i) same.outputs.set(i, ODD[i]);
                odd.push_back(same);
            }
        }
    check_pairs("sizes", sizes, 1 << 15);
    check_pairs("sizes in odd pieces", sizes, 999);
    check_pairs("misaligned activations", shifted, 1 << 15);
    check_pairs("odd activations", odd, 1 << 15);
    // 0.1 as f32 counts as equal to the bound 0.1, although it is larger in f64.
    Tensor tenths(F32, 4);
    for (size_t i = 0; i < 4; ++i) tenths.set(i, i % 2 ? 0.1f : std::nextafter(0.1f, 0.0f));
    check_pairs("bounds as f32", {relu(tenths, F32, 0, -1.0, 0.1), relu(tenths, F32, 0, 0.1, 2.0)}, 1 << 15);
    const auto large = relu(normal(F32, 1 << 20, 1.0), BF16, 0, -1.0, 1.0);
    check_pairs("many pieces", {large}, 3072);
}

} // namespace check
