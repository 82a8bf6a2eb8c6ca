// What the host hands to the kernels and gets back. Compiled by NVRTC, which has no standard headers, and by the host's
// compiler: only types of a fixed width, so that both see the same layout.
#pragma once

namespace gradwatch::kernels {

using u16 = unsigned short;
using i32 = int;
using u32 = unsigned int;
using i64 = long long;
using u64 = unsigned long long;

// Threads of a block, in every launch.
constexpr u32 THREADS = 256;

// The `dtype` of elements; counters of buffers alone are I64.
enum Dtype : i32 { F32 = 0, F64 = 1, F16 = 2, BF16 = 3, I64 = 4 };

// ---- table.cu

// Contiguous elements of one tensor. A tensor's pieces follow each other.
struct Piece {
    u64 address; // a multiple of the size of an element
    i64 count;
    i32 dtype;
    i32 reserved;
};

struct PieceSums {
    double squares;
    double sum;     // 0 without the distribution
    double largest; // magnitude; NaN where an element is
};

// Counts of a piece, u32: by sign << 8 | biased exponent of f32, the top nine bits. f64 exponents beyond those of f32
// are in the outermost ones. Indices that no normal number has are used for what is not normal.
constexpr u32 COUNTS = 513;
constexpr u32 COUNT_ZEROS = 0, COUNT_INFINITIES = 255, COUNT_DENORMALS = 256, COUNT_NEGATIVE_INFINITIES = 511,
              COUNT_NANS = 512;

// A tensor: a row of the table.
struct Row {
    i32 first_piece;
    i32 pieces; // 0 where it is empty
    i32 dtype;
    i32 reserved;
};

// Columns of the table, f64, as src/libtorch/table.rs has them.
constexpr i32 SQUARES = 0, LARGEST = 1, NORM_COLUMNS = 2;
constexpr i32 SUM = 2, ZEROS = 3, DENORMALS = 4, NANS = 5, INFINITIES = 6, NEGATIVE_INFINITIES = 7, NEGATIVE = 8;
constexpr i32 EXPONENTS = 254; // of normal f32, from -126 on
constexpr i32 POSITIVE = NEGATIVE + EXPONENTS, COLUMNS = POSITIVE + EXPONENTS;

// ---- units.cu

// Elements from which on a unit is divided among pieces, and that pieces of whole units have at most.
constexpr i64 UNIT_PIECE = 1 << 15;

// Neighbouring units of one tensor, or a part of one unit.
struct UnitPiece {
    u64 address;
    i64 length;  // elements of each
    i64 partial; // index of the first one's sum of squares; that of the next is the next
    i64 unit;    // index of the first one's factor
    i32 rows;    // how many units; 1 where it is a part
    i32 dtype;
};

// A tensor's units. Partial sums of one unit, its parts, follow each other, as units do.
struct UnitTensor {
    i64 gradients; // index of the first partial sum of the gradient
    i64 weights;   // and of the weights
    i64 unit;      // index of the first unit among those of all tensors
    i64 units;
    i32 gradient_parts; // partial sums of each unit
    i32 weight_parts;
};

struct UnitOutcome {
    double smallest; // factor, at most 1
    double clipped;  // units
    double lost;     // of the sum of squares
};

// What a clip of all tensors did.
struct UnitSummary {
    double norm;       // L2, of what is left of the gradients
    double clipped;    // units
    float coefficient; // norm / the norm before; 1 where that is no number
    i32 reserved;
};

// ---- activation.cu

// Inputs of an activation and its outputs, which lie in memory alike.
struct ActivationPiece {
    u64 inputs, outputs;
    i64 count;
    double low, high; // the activation is flat at and beyond
    i32 input_dtype, output_dtype;
};

struct ActivationSums {
    double squares, sum; // of the outputs
    double nonpositive;  // outputs
    double flat;         // inputs
};

// The pieces of one activation, which follow each other.
struct Tap {
    i32 first_piece;
    i32 pieces;
};

// ---- step.cu

struct TableTotal {
    double norm;     // L2, of all tensors
    float found_inf; // 0 or 1
    i32 reserved;
};

// Neighbouring elements of a buffer, and their copy.
struct BufferPiece {
    u64 live, saved;
    i64 count;
    i32 dtype;
    i32 reserved;
};

static_assert(sizeof(i64) == 8 && sizeof(u64) == 8 && sizeof(i32) == 4 && sizeof(u32) == 4 && sizeof(u16) == 2);
static_assert(sizeof(Piece) == 24 && sizeof(PieceSums) == 24 && sizeof(Row) == 16);
static_assert(sizeof(UnitPiece) == 40 && sizeof(UnitTensor) == 40 && sizeof(UnitOutcome) == 24 && sizeof(UnitSummary) == 24);
static_assert(sizeof(ActivationPiece) == 48 && sizeof(ActivationSums) == 32 && sizeof(Tap) == 8);
static_assert(sizeof(TableTotal) == 16 && sizeof(BufferPiece) == 32);

} // namespace gradwatch::kernels
