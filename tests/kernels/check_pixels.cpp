// pixels.cu against loops over images, channels, rows, and columns.

#include "check.h"

namespace check {

namespace {

constexpr float UNTOUCHED = -77.0f;
constexpr size_t MARGIN = 2000;

struct Images {
    size_t count, channels, height, width;
    std::vector<unsigned char> bytes;
    std::vector<float> tables;
    std::vector<Box> boxes; // none: a null pointer

    size_t elements() const { return count * channels * height * width; }
};

Images images(size_t count, size_t channels, size_t height, size_t width, std::vector<Box> boxes) {
    Images all{count, channels, height, width, {}, {}, std::move(boxes)};
    for (size_t i = 0; i < all.elements(); ++i) all.bytes.push_back(uint8_t(random_bits()() >> 13));
    // All entries differ, and none is 0.
    for (size_t i = 0; i < channels * 256; ++i) all.tables.push_back(float(i) * 0.37f - 100.1f);
    return all;
}

// By all blocks, or all but the last `missing` ones.
std::vector<float> normalized(const Images& all, bool channels_last, size_t missing = 0) {
    std::vector<float> out(all.elements() + 2 * MARGIN, UNTOUCHED);
    const size_t plane = all.height * all.width, pieces = (plane + 1023) / 1024;
    static_assert(PIXEL_PIECE == 1024);
    launch("normalize_pixels", all.count * pieces - missing, all.bytes.data(), all.tables.data(),
        all.boxes.empty() ? nullptr : all.boxes.data(), out.data() + MARGIN, i32(all.channels), i64(plane), i32(all.width),
        i32(channels_last));
    return out;
}

float slow_pixel(const Images& all, size_t image, size_t channel, size_t row, size_t column) {
    if (!all.boxes.empty()) {
        const auto [top, bottom, left, right] = all.boxes[image];
        if (i64(row) >= top && i64(row) < bottom && i64(column) >= left && i64(column) < right) return 0.0f;
    }
    const auto byte = all.bytes[((image * all.channels + channel) * all.height + row) * all.width + column];
    return all.tables[channel * 256 + byte];
}

void check_images(const char* what, const Images& all) {
    for (const bool channels_last : {false, true}) {
        const auto got = always_the_same(what, [&] { return normalized(all, channels_last); });
        std::vector<float> want(MARGIN, UNTOUCHED);
        // The loops follow the memory order of the values.
        for (size_t image = 0; image < all.count; ++image) {
            if (!channels_last)
                for (size_t channel = 0; channel < all.channels; ++channel)
                    for (size_t row = 0; row < all.height; ++row)
                        for (size_t column = 0; column < all.width; ++column)
                            want.push_back(slow_pixel(all, image, channel, row, column));
            else
                for (size_t row = 0; row < all.height; ++row)
                    for (size_t column = 0; column < all.width; ++column)
                        for (size_t channel = 0; channel < all.channels; ++channel)
                            want.push_back(slow_pixel(all, image, channel, row, column));
        }
        want.resize(want.size() + MARGIN, UNTOUCHED);
        for (size_t i = 0; i < want.size(); ++i)
            expect(got[i] == want[i] && std::signbit(got[i]) == std::signbit(want[i]),
                "%s: %zu images of %zu channels, %zu x %zu%s, at %td: %g, want %g", what, all.count, all.channels,
                all.height, all.width, channels_last ? ", channels last" : "", std::ptrdiff_t(i) - std::ptrdiff_t(MARGIN),
                double(got[i]), double(want[i]));
    }
}

// Each block has a piece of its own.
void check_pieces() {
    const auto all = images(2, 1, 3, 1000, {});
    const auto whole = normalized(all, false);
    for (size_t missing = 1; missing < 6; ++missing) {
        const auto got = normalized(all, false, missing);
        // The third piece of an image is the rest.
        const size_t first = 3000 * ((6 - missing) / 3) + 1024 * ((6 - missing) % 3);
        for (size_t i = 0; i < got.size(); ++i)
            expect(got[i] == (i < MARGIN + first ? whole[i] : UNTOUCHED), "without %zu blocks, at %zu: %g", missing, i,
                double(got[i]));
    }
}

// Boxes at all borders, inside, empty, over the whole image, and beyond it.
std::vector<Box> all_boxes(i32 height, i32 width) {
    std::vector<Box> boxes;
    const std::pair<i32, i32> rows[] = {{0, height}, {0, 1}, {height - 1, height}, {height / 3, height / 2 + 1}, {1, 1},
        {0, 0}, {height, height}, {2, 1}, {-3, 2}, {height - 1, height + 5}, {INT32_MIN, INT32_MAX}};
    const std::pair<i32, i32> columns[] = {{0, width}, {0, 1}, {width - 1, width}, {width / 3, width / 2 + 1}, {1, 1},
        {0, 0}, {2, 1}, {-3, 2}, {width - 1, width + 5}, {INT32_MIN, INT32_MAX}};
    for (const auto& [top, bottom] : rows)
        for (const auto& [left, right] : columns) boxes.push_back({top, bottom, left, right});
    return boxes;
}

} // namespace

void check_pixels() {
    check_pieces();
    // One piece and several pieces, with and without a remainder; rows shorter and longer than a piece.
    const std::pair<size_t, size_t> sizes[] = {{1, 1}, {3, 5}, {7, 1}, {1, 7}, {16, 16}, {17, 61}, {32, 32}, {1, 1023},
        {1025, 1}, {1, 1025}, {2, 1024}, {33, 31}, {3, 1500}, {63, 65}, {64, 64}};
    for (const auto& [height, width] : sizes)
        for (const size_t channels : {1, 3, 4}) {
            const auto boxes = all_boxes(i32(height), i32(width));
            check_images("no boxes", images(3, channels, height, width, {}));
            check_images("empty boxes", images(2, channels, height, width, {{0, 0, 0, 0}, {0, 0, 0, 0}}));
            if (height * width < 300) check_images("boxes", images(boxes.size(), channels, height, width, boxes));
            // Fewer of large images, which take long.
            for (size_t i = channels; i + 3 <= boxes.size(); i += 11)
                check_images("some boxes", images(3, channels, height, width, {&boxes[i], &boxes[i] + 3}));
        }
    // Every byte of every channel.
    auto bytes = images(1, 3, 16, 16, {});
    for (size_t i = 0; i < bytes.bytes.size(); ++i) bytes.bytes[i] = uint8_t(i);
    check_images("all bytes", bytes);
}

} // namespace check
