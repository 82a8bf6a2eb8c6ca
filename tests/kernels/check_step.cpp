// step.cu against loops over the elements.

#include "check.h"

namespace check {

namespace {

void check_total() {
    const double infinity = std::numeric_limits<double>::infinity();
    for (const u32 rows : {1u, 2u, 255u, 256u, 257u, 1000u})
        for (const u32 stride : {1u, 2u, 516u})
            for (const double odd : {0.0, 1e38, 4e38, 1e300, infinity, std::numeric_limits<double>::quiet_NaN()}) {
                std::vector<double> table(rows * stride, 7.0);
                double squares = 0.0;
                for (u32 row = 0; row < rows; ++row) {
                    table[row * stride] = row == rows / 2 ? odd : 0.25 * row;
                    squares += table[row * stride];
                }
                std::vector<TableTotal> total(2, TableTotal{-1.0, -1.0f, 0});
                launch("table_total", 1, static_cast<const double*>(table.data()), i32(rows), i64(stride), total.data());
                const float found = std::isfinite(squares) && squares < 3.5e38 ? 0.0f : 1.0f;
                expect(is_close(total[0].norm, std::sqrt(squares), std::sqrt(squares)) && total[0].found_inf == found,
                    "total of %u rows, %u apart, with %g: %g %g, want %g %g", rows, stride, odd, total[0].norm,
                    double(total[0].found_inf), std::sqrt(squares), double(found));
                expect(total[1].norm == -1.0, "total: written past the end");
            }
}

void check_restore() {
    for (const auto dtype : DTYPES)
        for (const size_t count : {size_t(1), size_t(255), size_t(1000)})
            for (const float found_inf : {0.0f, 1.0f}) {
                Tensor live(dtype, count + 1), saved(dtype, count + 1);
                for (size_t i = 0; i <= count; ++i) {
                    live.set(i, i % 3 == 0 ? NAN : i % 3 == 1 ? -INFINITY : 0.5);
                    saved.set(i, 2.0);
                }
                const std::vector<BufferPiece> pieces{{live.address(), saved.address(), i64(count), dtype, 0}};
                launch("restore_buffers", 1, static_cast<const BufferPiece*>(pieces.data()), &found_inf);
                for (size_t i = 0; i < count; ++i) {
                    const double want = found_inf != 0.0f || i % 3 != 2 ? 2.0 : 0.5;
                    expect(live.get(i) == want, "restore %s at %zu: %g, want %g", name(dtype), i, live.get(i), want);
                }
                expect(live.get(count) != 2.0, "restore: written past the end");
            }
    for (const float found_inf : {0.0f, 1.0f}) {
        std::vector<i64> live{1, 2, 3}, saved{7, 8, 9};
        const std::vector<BufferPiece> pieces{{u64(live.data()), u64(saved.data()), 2, I64, 0}};
        launch("restore_buffers", 1, static_cast<const BufferPiece*>(pieces.data()), &found_inf);
        const std::vector<i64> want = found_inf != 0.0f ? std::vector<i64>{7, 8, 3} : std::vector<i64>{1, 2, 3};
        expect(live == want, "restore of counters: %lld %lld %lld", live[0], live[1], live[2]);
    }
}

void check_outcome() {
    // Anything but 0 is true, NaN too.
    for (const float found_inf : {0.0f, -0.0f, 1.0f, 0.25f, NAN})
        for (const float not_taken : {0.0f, 1.0f, -2.0f, NAN})
            for (const float failure : {-1.0f, 0.0f, 1.0f}) {
                // A negative value stands for a null pointer.
                const bool is_given = failure >= 0.0f;
                const double norm = 2.5;
                float skipped[2] = {7.0f, -1.0f}, in_a_row[2] = {3.0f, -1.0f};
                double heard[2] = {-1.0, -1.0};
                launch("step_outcome", 1, static_cast<const float*>(&found_inf), static_cast<const float*>(&not_taken),
                    is_given ? static_cast<const float*>(&failure) : nullptr, &norm, skipped, in_a_row, heard);
                const bool is_bad = !(found_inf == 0.0f), is_left = !(not_taken == 0.0f);
                float row = 0.0f;
                if (is_bad) row = 3.0f + (is_given ? failure : 1.0f);
                else if (is_left) row = 4.0f;
                const bool holds = skipped[0] == (is_bad || is_left ? 8.0f : 7.0f) && in_a_row[0] == row &&
                    heard[0] == (is_left ? double(INFINITY) : is_bad ? -2.5 : 2.5);
                expect(holds, "outcome of %g %g %g: %g %g %g", double(found_inf), double(not_taken), double(failure),
                    double(skipped[0]), double(in_a_row[0]), heard[0]);
                expect(skipped[1] == -1.0f && in_a_row[1] == -1.0f && heard[1] == -1.0, "outcome: written past the end");
            }
}

} // namespace

void check_step() {
    check_total();
    check_restore();
    check_outcome();
}

} // namespace check
