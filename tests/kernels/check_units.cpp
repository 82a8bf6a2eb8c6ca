// units.cu against loops over the elements of each unit.

#include "check.h"

#include <algorithm>
#include <limits>

namespace check {

namespace {

constexpr double UNTOUCHED = -1e300;

struct Param {
    Tensor weights, gradient;
    size_t units;
};

// Divides one tensor into pieces, whose partial sums start at `partial`; returns the number of parts per unit.
i32 divide(const Tensor& tensor, size_t units, i64 partial, i64 unit, std::vector<UnitPiece>& pieces) {
    const i64 length = i64(tensor.count() / units), whole = std::max<i64>(1, UNIT_PIECE / length);
    if (length <= UNIT_PIECE) {
        for (i64 first = 0; first < i64(units); first += whole)
            pieces.push_back({tensor.address(size_t(first * length)), length, partial + first, unit + first,
                i32(std::min(whole, i64(units) - first)), tensor.dtype()});
        return 1;
    }
    const i64 parts = (length + UNIT_PIECE - 1) / UNIT_PIECE;
    for (i64 row = 0; row < i64(units); ++row)
        for (i64 part = 0; part < parts; ++part)
            pieces.push_back({tensor.address(size_t(row * length + part * UNIT_PIECE)),
                std::min(UNIT_PIECE, length - part * UNIT_PIECE), partial + row * parts + part, unit + row, 1,
                tensor.dtype()});
    return i32(parts);
}

struct Plan {
    std::vector<UnitPiece> pieces, of_gradients;
    std::vector<UnitTensor> tensors;
    size_t partials = 0, units = 0;
};

Plan plan(const std::vector<Param>& params) {
    Plan plan;
    for (const auto& param : params) {
        UnitTensor tensor = {i64(plan.partials), 0, i64(plan.units), i64(param.units), 0, 0};
        const auto first = plan.pieces.size();
        tensor.gradient_parts = divide(param.gradient, param.units, tensor.gradients, tensor.unit, plan.pieces);
        plan.of_gradients.insert(plan.of_gradients.end(), plan.pieces.begin() + i64(first), plan.pieces.end());
        plan.partials += param.units * size_t(tensor.gradient_parts);
        tensor.weights = i64(plan.partials);
        tensor.weight_parts = divide(param.weights, param.units, tensor.weights, tensor.unit, plan.pieces);
        plan.partials += param.units * size_t(tensor.weight_parts);
        plan.units += param.units;
        plan.tensors.push_back(tensor);
    }
    return plan;
}

double slow_squares(const Tensor& tensor, size_t units, size_t unit) {
    const size_t length = tensor.count() / units;
    long double squares = 0;
    for (size_t i = unit * length; i < (unit + 1) * length; ++i) squares += (long double)tensor.get(i) * tensor.get(i);
    return double(squares);
}

// The formula of src/clipping/agc.rs.
double slow_factor(double gradient_squares, double weight_squares, double clip_factor, double eps) {
    const auto clamp_min = [](double value, double low) { return value < low ? low : value; }; // NaN stays NaN
    const double norm = std::sqrt(gradient_squares);
    const double largest = clamp_min(std::sqrt(weight_squares), eps) * clip_factor;
    return norm > largest ? largest / clamp_min(norm, 1e-6) : 1.0;
}

double slow_product(i32 dtype, double element, double factor) {
    return dtype == F64 ? element * factor : double(float(element) * float(factor));
}

// All outputs of the launches, concatenated.
struct Result {
    std::vector<double> values;
    void add(const std::vector<double>& list) { values.insert(values.end(), list.begin(), list.end() - 1); }
    double next() { return values[place++]; }
    size_t place = 0;
};

std::vector<double> room(size_t count) { return std::vector<double>(count + 1, UNTOUCHED); }

template <typename T>
const T* constant(const std::vector<T>& list) { return list.data(); }

constexpr double CLIP_FACTOR = 0.05, EPS = 1e-3, TINY_EPS = 1e-9;

std::vector<double> clip(std::vector<Param>& params, float found_inf, double eps) {
    const auto plan = check::plan(params);
    auto partials = room(plan.partials), squares = room(plan.units), totals = room(params.size()),
         factors = room(plan.units), outcomes = room(params.size() * 3);
    launch("unit_pieces", plan.pieces.size(), constant(plan.pieces), partials.data());
    launch("unit_squares", params.size(), constant(plan.tensors), constant(partials), squares.data(), totals.data());
    launch("unit_factors", params.size(), constant(plan.tensors), constant(partials), constant(partials), CLIP_FACTOR,
        eps, static_cast<const float*>(&found_inf), factors.data(), reinterpret_cast<UnitOutcome*>(outcomes.data()));
    launch("unit_scale", plan.of_gradients.size(), constant(plan.of_gradients), constant(factors));
    for (const auto* list : {&partials, &squares, &totals, &factors, &outcomes})
        expect(list->back() == UNTOUCHED, "units: a list is written past its end");

    // Squares from the first launch replace the partial sums.
    auto again = plan.tensors;
    for (auto& tensor : again) tensor.gradients = tensor.unit, tensor.gradient_parts = 1;
    auto same_factors = room(plan.units), same_outcomes = room(params.size() * 3);
    launch("unit_factors", params.size(), constant(again), constant(squares), constant(partials), CLIP_FACTOR, eps,
        static_cast<const float*>(found_inf == 0.0f ? nullptr : &found_inf), same_factors.data(),
        reinterpret_cast<UnitOutcome*>(same_outcomes.data()));
    expect(same_factors == factors && same_outcomes == outcomes, "units: squares of before give other factors");

    Result result;
    for (const auto* list : {&squares, &totals, &factors, &outcomes}) result.add(*list);
    for (const auto& param : params) {
        expect(param.gradient.has_guards() && param.weights.has_guards(), "units: written beside a tensor");
        for (size_t i = 0; i < param.gradient.count(); ++i) result.values.push_back(param.gradient.get(i));
    }
    return result.values;
}

void check_params(const char* what, const std::vector<Param>& params, float found_inf, double eps = EPS) {
    Result got{always_the_same(what, [&] {
        auto copy = params;
        return clip(copy, found_inf, eps);
    })};
    const auto compare = [&](const char* which, size_t tensor, double want, double scale) {
        const double value = got.next();
        expect(is_close(value, want, scale), "%s: %s of tensor %zu, %s, %zu units of %zu: %.17g, want %.17g", what,
            which, tensor, name(params[tensor].gradient.dtype()), params[tensor].units,
            params[tensor].gradient.count() / params[tensor].units, value, want);
    };
    std::vector<double> squares, factors;
    for (size_t i = 0; i < params.size(); ++i)
        for (size_t unit = 0; unit < params[i].units; ++unit) {
            squares.push_back(slow_squares(params[i].gradient, params[i].units, unit));
            compare("a square", i, squares.back(), squares.back());
            const double weights = slow_squares(params[i].weights, params[i].units, unit);
            factors.push_back(found_inf ? 1.0 : slow_factor(squares.back(), weights, CLIP_FACTOR, eps));
        }
    for (size_t i = 0, unit = 0; i < params.size(); ++i) {
        double total = 0.0;
        for (size_t end = unit + params[i].units; unit < end; ++unit) total += squares[unit];
        compare("the total", i, total, total);
    }
    // From here on with the kernel's own factors, so that products are bit-identical.
    for (size_t i = 0, unit = 0; i < params.size(); ++i)
        for (size_t end = unit + params[i].units; unit < end; ++unit) {
            const double own = got.values[got.place];
            compare("a factor", i, factors[unit], factors[unit]);
            factors[unit] = own;
        }
    for (size_t i = 0, unit = 0; i < params.size(); ++i) {
        double smallest = 1.0, clipped = 0.0, lost = 0.0;
        for (size_t end = unit + params[i].units; unit < end; ++unit) {
            smallest = std::min(smallest, factors[unit]);
            clipped += factors[unit] < 1.0;
            if (factors[unit] < 1.0) lost += squares[unit] * (1.0 - factors[unit] * factors[unit]);
        }
        compare("the smallest factor", i, smallest, 0.0);
        compare("the count", i, clipped, 0.0);
        // For a factor close to 1, few significant digits remain.
        compare("what is lost", i, lost, lost * 1e3);
    }
    for (size_t i = 0, first = 0; i < params.size(); first += params[i++].units) {
        const auto& gradient = params[i].gradient;
        Tensor want(gradient.dtype(), 1);
        for (size_t j = 0; j < gradient.count(); ++j) {
            const double factor = factors[first + j / (gradient.count() / params[i].units)];
            want.set(0, slow_product(gradient.dtype(), gradient.get(j), factor));
            compare("an element", i, factor == 1.0 ? gradient.get(j) : want.get(0), 0.0);
        }
    }
}

// Some units are clipped, others are not.
Param param(i32 dtype, size_t units, size_t length, size_t misalignment = 0) {
    Param param{normal(BF16 == dtype || F16 == dtype ? i32(F32) : dtype, units * length, 1.0, misalignment),
        normal(dtype, units * length, 0.02, misalignment), units};
    for (size_t unit = 0; unit < units; ++unit) {
        const double scale = unit % 3 == 0 ? 10.0 : unit % 7 == 0 ? 1e-4 : 1.0;
        for (size_t i = unit * length; i < (unit + 1) * length; ++i)
            param.gradient.set(i, param.gradient.get(i) * scale);
    }
    return param;
}

void check_shapes() {
    for (const auto dtype : DTYPES) {
        std::vector<Param> params;
        for (const auto& [units, length] : {std::pair<size_t, size_t>{1, 1}, {1000, 1}, {64, 9}, {300, 27}, {17, 64},
                 {40, 147}, {64, 576}, {1, 1000}, {3, 4096}, {2, 32768}, {3, 32769}, {1, 100003}})
            params.push_back(param(dtype, units, length));
        check_params("shapes", params, 0.0f);
        check_params("shapes where the step is left out", params, 1.0f);
        std::vector<Param> shifted;
        for (size_t shift = 1; shift < 16 / size_of(dtype); ++shift) shifted.push_back(param(dtype, 5, 600, shift));
        check_params("misaligned units", shifted, 0.0f);
    }
}

void check_odd_values() {
    for (const auto dtype : DTYPES) {
        // Each odd value in its own row, and weights of 0.
        const size_t units = std::size(ODD), length = 21;
        Param odd{Tensor(dtype, units * length), normal(dtype, units * length, 1.0), units};
        for (size_t i = 0; i < odd.weights.count(); ++i) odd.weights.set(i, i % 2 ? 0.0 : -0.0);
        for (size_t unit = 0; unit < units; ++unit) odd.gradient.set(unit * length + 3, ODD[unit]);
        check_params("odd gradients", {odd}, 0.0f);
        // Alone in their rows, some are below the smallest norm, but are clipped anyway.
        auto alone = odd;
        for (size_t i = 0; i < alone.gradient.count(); ++i)
            if (i % length != 3) alone.gradient.set(i, 0.0);
        check_params("odd gradients alone", {alone}, 0.0f, TINY_EPS);
        std::swap(odd.weights, odd.gradient);
        for (size_t i = 0; i < odd.gradient.count(); ++i) odd.gradient.set(i, i % 2 ? 0.25 : -0.25);
        check_params("odd weights", {odd}, 0.0f);
    }
}

// Every half and bfloat16 times factors that produce denormals, ties, and infinities. A factor that equals 1 in f32
// leaves NaN unchanged.
void check_rounding() {
    for (const auto dtype : {F16, BF16})
        for (const double factor : {0.5, 1.0, 0.75, 1.0 / 3, 0x1p-10, 0x1.004p-3, 1e-5, 3.0, 0.0, 0x1.0000004p0}) {
            Tensor each(dtype, 1 << 16);
            for (size_t i = 0; i < each.count(); ++i) each.set_bits(i, i);
            const Tensor before = each;
            const std::vector<UnitPiece> pieces{{each.address(), 1 << 15, 0, 0, 2, dtype}};
            const std::vector<double> factors{factor, factor};
            launch("unit_scale", 1, constant(pieces), constant(factors));
            Tensor want(dtype, 1);
            for (size_t i = 0; i < each.count(); ++i) {
                want.set(0, slow_product(dtype, before.get(i), factor));
                const bool is_one = float(factor) == 1.0f;
                expect(is_one ? each.bits(i) == before.bits(i)
                              : each.bits(i) == want.bits(0) || (std::isnan(each.get(i)) && std::isnan(want.get(0))),
                    "%s %g * %g: %g, want %g", name(dtype), before.get(i), factor, each.get(i), want.get(0));
            }
        }
}

// The norm after clipping, including norms that are infinite or NaN.
void check_summary() {
    for (const u32 tensors : {1u, 3u, 700u}) {
        std::vector<UnitOutcome> outcomes;
        double lost = 0.0, clipped = 0.0;
        for (u32 i = 0; i < tensors; ++i) {
            outcomes.push_back({1.0 / (i + 1), double(i % 5), 0.25 * (i % 3)});
            lost += outcomes.back().lost;
            clipped += outcomes.back().clipped;
        }
        const double infinity = std::numeric_limits<double>::infinity();
        for (const double norm : {20.0, 0.0, infinity, std::numeric_limits<double>::quiet_NaN()}) {
            const std::vector<double> before{norm};
            std::vector<UnitSummary> summary(1);
            launch("unit_summary", 1, constant(outcomes), i32(tensors), constant(before), summary.data());
            const double want = norm * norm - lost < 0.0 ? 0.0 : std::sqrt(norm * norm - lost);
            const double ratio = std::isfinite(want / norm) ? want / norm : 1.0;
            const auto& got = summary[0];
            const auto is_close = [](double got, double want) {
                return got == want || (std::isnan(got) && std::isnan(want)) || std::fabs(got - want) <= 1e-6 * std::fabs(want);
            };
            expect(is_close(got.norm, want) && got.clipped == clipped && is_close(got.coefficient, ratio),
                "summary of %u tensors, norm %g: %g %g %g, want %g %g %g", tensors, norm, got.norm, got.clipped,
                double(got.coefficient), want, clipped, ratio);
        }
    }
}

} // namespace

void check_units() {
    check_summary();
    check_shapes();
    check_odd_values();
    check_rounding();
}

} // namespace check
