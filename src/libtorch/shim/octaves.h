// How many floats there are of each sign and power of two: two ways to count them, for different machines.
//
// Both are given a piece of at most PIECE elements tile by tile, while a tile is in the nearest cache.
#pragma once

#include <cstdint>

namespace gradwatch {

struct Octaves {
    // By sign and biased exponent, the top nine bits of a float. What is not finite is at 255 and 511; 0 and 256 are empty.
    uint32_t buckets[512] = {};
    uint32_t zeros = 0, denormals = 0;
};

struct Tile {
    const float* values;
    int64_t count;
    int32_t largest; // magnitude, as bits
};


// One increment an element, into four tables, so that equal neighbours do not wait for each other.
class TableCounter {
public:
    void add(const Tile& tile);
    // Adds everything to `octaves`.
    void finish(Octaves& octaves);

private:
    uint32_t tables_[4][512] = {};
    uint32_t zeros_ = 0;
};

// Turns each element into a word with one bit set, the octave's, and adds up the words bit by bit: a positional population
// count by carry-save adders (Klarqvist, Mula and Lemire 2019, arXiv:1911.02696). A window of 32 octaves is counted so;
// the few elements outside are taken one by one. Several times as fast as tables; only for machines with
// AVX-512.
class SliceCounter {
public:
    void add(const Tile& tile);
    void finish(Octaves& octaves);

private:
    using Words = uint32_t __attribute__((vector_size(64)));
    // Counts of the 32 octaves of a window, cut into digits: bit i of each word belongs to octave i.
    struct Slices {
        Words digits[4] = {};    // ones, twos, fours, eights
        Words sixteens[8] = {};  // of octaves i, i + 8, ... at [i], in the bytes of each word
        void add(const Words* words);
        void take(uint32_t* counts);
    };
    void flush();
    // Returns how many elements lie in the window or are 0.
    int64_t add_blocks(const float* values, int64_t blocks);
    void add_outside(const float* values, int64_t count, uint32_t window);

    Slices all_, negative_;
    int64_t blocks_ = 0;    // that the slices hold
    uint32_t base_ = NEVER; // biased exponent of the window's first octave
    Octaves seen_;
    static constexpr uint32_t NEVER = 1 << 20;
};

} // namespace gradwatch
