// Counts floats by sign and power of two; see octaves.h.

#include "octaves.h"

#include "lanes.h"

#include <algorithm>
#include <bit>

namespace gradwatch {

namespace {

// Compares bits: as a number, a denormal equals 0 if the processor flushes denormals.
uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }

FOR_THIS_MACHINE uint32_t count_zeros(const float* values, int64_t count) {
    Ints zeros = {};
    const int64_t whole = count - count % LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        Ints bits;
        load(values + i, bits);
        zeros -= (bits & 0x7fffffff) == 0;
    }
    auto sum = uint32_t(sum_of(zeros));
    for (int64_t i = whole; i < count; ++i) sum += bits_of(values[i]) << 1 == 0;
    return sum;
}

// Loads two elements at a time, because loads limit this loop.
FOR_THIS_MACHINE void add_to_tables(const float* values, int64_t count, uint32_t (*tables)[512]) {
    const int64_t whole = count - count % LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int64_t pair = 0; pair < LANES; pair += 2) {
            uint64_t bits;
            memcpy(&bits, values + i + pair, sizeof bits);
            ++tables[pair % 4][bits >> 23 & 511];
            ++tables[pair % 4 + 1][bits >> 55];
        }
        // Keeps the compiler from also holding the last eight counts in registers.
        asm volatile("" ::: "memory");
    }
    for (int64_t i = whole; i < count; ++i) {
        ++tables[0][bits_of(values[i]) >> 23];
    }
}

} // namespace

void TableCounter::add(const Tile& tile) {
    const auto small = [&] {
        return tables_[0][0] + tables_[1][0] + tables_[2][0] + tables_[3][0] + tables_[0][256] + tables_[1][256] +
            tables_[2][256] + tables_[3][256];
    };
    const auto before = small();
    add_to_tables(tile.values, tile.count, tables_);
    // Most tiles have neither zeros nor denormals, so the pass that separates them is rare.
    if (small() > before) zeros_ += count_zeros(tile.values, tile.count);
}

void TableCounter::finish(Octaves& octaves) {
    for (int i = 0; i < 512; ++i) {
        const uint32_t count = tables_[0][i] + tables_[1][i] + tables_[2][i] + tables_[3][i];
        (i & 255 ? octaves.buckets[i] : octaves.denormals) += count;
    }
    octaves.zeros += zeros_;
    octaves.denormals -= zeros_;
}

namespace {

constexpr int64_t WORDS = 16, BLOCK = 16 * WORDS;
constexpr uint32_t WINDOW = 32, EACH_BYTE = 0x01010101;
// Octaves of the window above the first tile's largest element.
constexpr uint32_t HEADROOM = 3;
// Number of blocks after which a byte of `sixteens` may be full.
constexpr int64_t MOST_BLOCKS = 255;

// Returns low + a + b as a sum and its carry.
template <typename Words>
[[gnu::always_inline]] inline Words add_bits(Words& low, const Words& a, const Words& b) {
    const Words with_a = low ^ a, with_b = low ^ b, carry = low ^ (with_a & with_b);
    low = with_a ^ b;
    return carry;
}

// Adds 2 to the power of LEVEL words to the lower digits and returns the carry.
template <int LEVEL, typename Words>
[[gnu::always_inline]] inline Words add_words(const Words* words, Words* digits) {
    if constexpr (LEVEL == 0) {
        return *words;
    } else {
        const Words first = add_words<LEVEL - 1>(words, digits);
        const Words second = add_words<LEVEL - 1>(words + (1 << (LEVEL - 1)), digits);
        return add_bits(digits[LEVEL - 1], first, second);
    }
}

} // namespace

[[gnu::always_inline]] inline void SliceCounter::Slices::add(const Words* words) {
    const Words carry = add_words<4>(words, digits);
    for (int bit = 0; bit < 8; ++bit) sixteens[bit] += carry >> bit & EACH_BYTE;
}

WITH_AVX512 void SliceCounter::Slices::take(uint32_t* counts) {
    for (int bit = 0; bit < 8; ++bit) {
        Words rest = {};
        for (int digit = 0; digit < 4; ++digit) rest += (digits[digit] >> bit & EACH_BYTE) << digit;
        for (int byte = 0; byte < 4; ++byte) {
            const Words count = (rest >> 8 * byte & 255u) + ((sixteens[bit] >> 8 * byte & 255u) << 4);
            counts[8 * byte + bit] = sum_of(count);
        }
    }
    *this = Slices();
}

WITH_AVX512 int64_t SliceCounter::add_blocks(const float* values, int64_t blocks) {
    // Local copies stay in registers during the loop.
    Slices all = all_, negative = negative_;
    Words inside = {}, zeros = {};
    for (int64_t block = 0; block < blocks; ++block, values += BLOCK) {
        Words any[16], below[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            Words bits;
            load(values + i * WORDS, bits);
            const Words octave = (bits >> 23 & 255u) - base_;
            const Words is_inside = Words(octave < WINDOW); // all ones if inside
            inside -= is_inside;
            zeros -= Words(bits << 1 == 0);
            any[i] = ((Words{} + 1u) << (octave & (WINDOW - 1))) & is_inside;
            below[i] = any[i] & -(bits >> 31);
        }
        all.add(any);
        negative.add(below);
    }
    all_ = all;
    negative_ = negative;
    blocks_ += blocks;
    seen_.zeros += sum_of(zeros);
    return int64_t(sum_of(inside)) + sum_of(zeros);
}

void SliceCounter::flush() {
    uint32_t all[WINDOW] = {}, negative[WINDOW] = {};
    all_.take(all);
    negative_.take(negative);
    for (uint32_t i = 0; i < WINDOW && base_ + i < 256; ++i) {
        seen_.buckets[base_ + i] += all[i] - negative[i];
        seen_.buckets[256 + base_ + i] += negative[i];
    }
    blocks_ = 0;
}

// Counts elements outside the window of so many octaves that are not 0.
void SliceCounter::add_outside(const float* values, int64_t count, uint32_t window) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t bits = bits_of(values[i]);
        const uint32_t exponent = bits >> 23 & 255;
        if (exponent - base_ < window || bits << 1 == 0) continue;
        ++(exponent ? seen_.buckets[bits >> 23] : seen_.denormals);
    }
}

void SliceCounter::add(const Tile& tile) {
    const int64_t blocks = tile.count / BLOCK, whole = blocks * BLOCK;
    // The largest element is above the window, or so low in it that smaller elements would be below the window.
    const auto top = uint32_t(tile.largest) >> 23;
    const bool is_beside = top > 0 && (top - base_ >= WINDOW || top - base_ < WINDOW / 2);
    if (is_beside || blocks_ + blocks > MOST_BLOCKS) flush();
    if (is_beside) base_ = std::max<int32_t>(int32_t(top + HEADROOM) - int32_t(WINDOW) + 1, 1);
    if (add_blocks(tile.values, blocks) < whole) add_outside(tile.values, whole, WINDOW);
    const auto* rest = tile.values + whole;
    add_outside(rest, tile.count - whole, 0);
    seen_.zeros += count_zeros(rest, tile.count - whole);
}

void SliceCounter::finish(Octaves& octaves) {
    flush();
    for (int i = 0; i < 512; ++i) octaves.buckets[i] += seen_.buckets[i];
    octaves.zeros += seen_.zeros;
    octaves.denormals += seen_.denormals;
}

} // namespace gradwatch
