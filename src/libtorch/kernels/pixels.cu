// Converts bytes to images.

#include "device.h"

namespace gradwatch::kernels {

// One block per piece of an image: looks up the value of each byte in the 256-entry table of its channel. Values inside
// the image's box become 0; `boxes` may be null.
extern "C" __global__ void __launch_bounds__(THREADS) normalize_pixels(const unsigned char* pixels, const float* tables,
    const Box* boxes, float* out, i32 channels, i64 plane, i32 width, i32 channels_last) {
    const i64 pieces = (plane + PIXEL_PIECE - 1) / PIXEL_PIECE;
    const i64 image = blockIdx.x / pieces, start = blockIdx.x % pieces * PIXEL_PIECE;
    const i64 end = start + PIXEL_PIECE < plane ? start + PIXEL_PIECE : plane;
    const Box none = {0, 0, 0, 0}, box = boxes ? boxes[image] : none;
    const bool has_box = box.top < box.bottom && box.left < box.right;
    const u64 first = u64(image) * u64(channels) * u64(plane);
    for (i64 pixel = start + threadIdx.x; pixel < end; pixel += THREADS) {
        bool is_cut = false;
        if (has_box) { // 64-bit divisions are slow on a GPU, and most images have no box
            const i64 row = pixel / width, column = pixel % width;
            is_cut = row >= box.top && row < box.bottom && column >= box.left && column < box.right;
        }
        for (i32 channel = 0; channel < channels; ++channel) {
            const u64 place = first + u64(channel * plane + pixel);
            const u64 to = channels_last ? first + u64(pixel * channels + channel) : place;
            out[to] = is_cut ? 0.0f : tables[channel * 256 + pixels[place]];
        }
    }
}

} // namespace gradwatch::kernels
