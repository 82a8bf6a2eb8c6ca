// Data that the host passes to the kernels and gets back. Both NVRTC, which has no standard headers, and the host
// compiler compile this file. It uses only fixed-width types, so that both see the same layout.
#pragma once

namespace gradwatch::kernels {

using u16 = unsigned short;
using i32 = int;
using u32 = unsigned int;
using i64 = long long;
using u64 = unsigned long long;

// Threads per block, in every launch.
constexpr u32 THREADS = 256;

// The `dtype` of elements. I64 occurs only in buffers, for counters.
enum Dtype : i32 { F32 = 0, F64 = 1, F16 = 2, BF16 = 3, I64 = 4 };

// ---- table.cu

// Contiguous elements of one tensor. The pieces of a tensor are consecutive.
struct Piece {
    u64 address; // a multiple of the size of an element
    i64 count;
    i32 dtype;
    i32 reserved;
};

struct PieceSums {
    double squares;
    double sum;     // 0 without the distribution
    double largest; // magnitude; NaN if an element is NaN
};

// Counts of a piece, u32. Index: sign << 8 | biased exponent of f32, the top nine bits. f64 exponents outside the f32
// range count in the outermost ones. Values that are not normal use the indices that no normal number has.
constexpr u32 COUNTS = 513;
constexpr u32 COUNT_ZEROS = 0, COUNT_INFINITIES = 255, COUNT_DENORMALS = 256, COUNT_NEGATIVE_INFINITIES = 511,
              COUNT_NANS = 512;

// A tensor: a row of the table.
struct Row {
    i32 first_piece;
    i32 pieces; // 0 if it is empty
    i32 dtype;
    i32 reserved;
};

// Columns of the table, f64, as in src/libtorch/table.rs.
constexpr i32 SQUARES = 0, LARGEST = 1, NORM_COLUMNS = 2;
constexpr i32 SUM = 2, ZEROS = 3, DENORMALS = 4, NANS = 5, INFINITIES = 6, NEGATIVE_INFINITIES = 7, NEGATIVE = 8;
constexpr i32 EXPONENTS = 254; // of normal f32, from -126 on
constexpr i32 POSITIVE = NEGATIVE + EXPONENTS, COLUMNS = POSITIVE + EXPONENTS;

// ---- units.cu

// A unit with more elements is split into pieces; a piece of several units has at most this many elements.
constexpr i64 UNIT_PIECE = 1 << 15;

// Neighboring units of one tensor, or a part of one unit.
struct UnitPiece {
    u64 address;
    i64 length;  // elements of each unit or part
    i64 partial; // index of the first one's sum of squares; the others follow
    i64 unit;    // index of the first one's factor
    i32 rows;    // number of units; 1 for a part
    i32 dtype;
};

// Units of a tensor. The partial sums of one unit are consecutive, and so are the units.
struct UnitTensor {
    i64 gradients; // index of the first partial sum of the gradient
    i64 weights;   // the same, of the weights
    i64 unit;      // index of the first unit among those of all tensors
    i64 units;
    i32 gradient_parts; // number of partial sums per unit
    i32 weight_parts;
};

struct UnitOutcome {
    double smallest; // smallest factor, at most 1
    double clipped;  // number of clipped units
    double lost;     // decrease of the sum of squares
};

// Result of clipping all tensors.
struct UnitSummary {
    double norm;       // L2 norm of the gradients after clipping
    double clipped;    // number of clipped units
    float coefficient; // norm / the norm before clipping; 1 if that is not a number
    i32 reserved;
};

// ---- activation.cu

// Inputs and outputs of an activation, with the same memory layout.
struct ActivationPiece {
    u64 inputs, outputs;
    i64 count;
    double low, high; // the activation is flat at and beyond these inputs
    i32 input_dtype, output_dtype;
};

struct ActivationSums {
    double squares, sum; // of the outputs
    double nonpositive;  // number of outputs
    double flat;         // number of inputs
};

// The pieces of one activation; they are consecutive.
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

// Neighboring elements of a buffer, and their saved copy.
struct BufferPiece {
    u64 live, saved;
    i64 count;
    i32 dtype;
    i32 reserved;
};

// ---- guesses.cu

// The logits of a batch, and the sums to update. All fields but the last five are addresses.
struct GuessBatch {
    u64 logits; // rows of `classes` elements
    u64 labels; // i64, one for each row
    u64 loss;   // one element: the sum of the batch's losses
    u64 totals; // three f64: sum of losses, top-5 correct, top-1 correct
    u64 counts; // i64, [classes, classes]: by label and prediction; or [3, classes]: labels, predictions, hits
    u64 places; // i64, one for each row: receives label * classes + prediction; may be 0
    i64 row_stride, classes;
    i32 dtype, loss_dtype;
    i32 is_matrix; // layout of `counts`
    i32 reserved;
};

// ---- pixels.cu

// Number of pixels of an image that a block normalizes.
constexpr i64 PIXEL_PIECE = 1 << 10;

// Rows in [top, bottom), columns in [left, right).
struct Box {
    i32 top, bottom, left, right;
};

static_assert(sizeof(i64) == 8 && sizeof(u64) == 8 && sizeof(i32) == 4 && sizeof(u32) == 4 && sizeof(u16) == 2);
static_assert(sizeof(Piece) == 24 && sizeof(PieceSums) == 24 && sizeof(Row) == 16);
static_assert(sizeof(UnitPiece) == 40 && sizeof(UnitTensor) == 40 && sizeof(UnitOutcome) == 24 && sizeof(UnitSummary) == 24);
static_assert(sizeof(ActivationPiece) == 48 && sizeof(ActivationSums) == 32 && sizeof(Tap) == 8);
static_assert(sizeof(TableTotal) == 16 && sizeof(BufferPiece) == 32 && sizeof(GuessBatch) == 80 && sizeof(Box) == 16);

} // namespace gradwatch::kernels
