// Counts floats by sign and power of two. There are two methods, for different machines.
//
// Both process a piece of at most PIECE elements tile by tile, while the tile is in the first-level cache.
#pragma once

#include <cstdint>

namespace gradwatch {

struct Octaves {
    // Index: sign and biased exponent, the top nine bits of a float. Infinities and NaN are at 255 and 511; 0 and 256
    // stay empty.
    uint32_t buckets[512] = {};
    uint32_t zeros = 0, denormals = 0;
};

struct Tile {
    const float* values;
    int64_t count;
    int32_t largest; // magnitude, as bits
};


// Increments one counter per element, in four tables, so that equal neighbors do not wait for each other.
class TableCounter {
public:
    void add(const Tile& tile);
    // Adds all counts to `octaves`.
    void finish(Octaves& octaves);

private:
    uint32_t tables_[4][512] = {};
    uint32_t zeros_ = 0;
};

// Converts each element to a word with one set bit, the bit of its octave, and adds up the words bit by bit: a
// positional population count by carry-save adders (Klarqvist, Mula, and Lemire 2019, arXiv:1911.02696). This counts a
// window of 32 octaves; the few elements outside are counted one by one. Several times as fast as tables, but needs
// AVX-512.
class SliceCounter {
public:
    void add(const Tile& tile);
    void finish(Octaves& octaves);

private:
    using Words = uint32_t __attribute__((vector_size(64)));
    // Counts of the 32 octaves of a window, split into digits: bit i of each word belongs to octave i.
    struct Slices {
        Words digits[4] = {};    // ones, twos, fours, eights
        Words sixteens[8] = {};  // of octaves i, i + 8, ... at [i], in the bytes of each word
        void add(const Words* words);
        void take(uint32_t* counts);
    };
    void flush();
    // Returns the number of elements that are in the window or 0.
    int64_t add_blocks(const float* values, int64_t blocks);
    void add_outside(const float* values, int64_t count, uint32_t window);

    Slices all_, negative_;
    int64_t blocks_ = 0;    // number of blocks in the slices
    uint32_t base_ = NEVER; // biased exponent of the window's first octave
    Octaves seen_;
    static constexpr uint32_t NEVER = 1 << 20;
};

} // namespace gradwatch
