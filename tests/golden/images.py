"""Writes images of every supported format, and the pixels that Pillow, torchvision, and timm make of them.

    .deps/peers/bin/python tests/golden/images.py tests/golden/images

`cases.json` lists a file, what was done to it, and the PNG file with the result. `deep.json` does so for files with 16 bits
per channel, whose expected planes are one above the other. src/data/golden.rs compares.
"""

import json
import math
import pathlib
import struct
import sys
import zlib

import numpy
import timm.data.auto_augment
import timm.data.transforms
import torch
from PIL import Image, ImageOps
from torchvision.transforms import autoaugment
from torchvision.transforms import functional as F
from torchvision.transforms import InterpolationMode

WIDTH, HEIGHT = 45, 35
FILTERS = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
ORIENTATION = 0x0112
CASES = []


def photo():
    """A disk, stripes, and a gradient, with some noise: edges, texture, and smooth areas."""
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH].astype(numpy.float64)
    red = 255 * x / WIDTH
    green = 127 + 120 * numpy.sin(x / 2.0) * numpy.cos(y / 5.0)
    blue = numpy.where((x - 30) ** 2 + (y - 14) ** 2 < 90, 230, 40)
    noise = numpy.random.default_rng(1).normal(0, 6, (HEIGHT, WIDTH, 3))
    return Image.fromarray((numpy.stack([red, green, blue], 2) + noise).clip(0, 255).astype(numpy.uint8))


def smooth():
    """Without noise, for lossy formats: their decoders round differently."""
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH].astype(numpy.float64)
    channels = [255 * x / WIDTH, 255 * y / HEIGHT, 127 + 100 * numpy.sin(x / 9.0 + y / 7.0)]
    return Image.fromarray(numpy.stack(channels, 2).clip(0, 255).astype(numpy.uint8))


def words(image):
    """16-bit samples whose low bytes differ from the high ones."""
    wide = numpy.asarray(image).astype(numpy.uint16) * 256
    return wide + (numpy.arange(wide.size, dtype=numpy.uint16) * 37 % 256).reshape(wide.shape)


def expect(folder, file, result, **operation):
    name = f"{len(CASES):03}.png"
    result.save(folder / "expected" / name)
    CASES.append({"file": file, **operation, "channels": len(result.getbands()), "expected": name})


def formats(folder):
    """Files of every format, each with Pillow's pixels in RGB and in gray."""
    image, soft = photo(), smooth()
    alpha = Image.fromarray((numpy.arange(HEIGHT * WIDTH) % 256).astype(numpy.uint8).reshape(HEIGHT, WIDTH))
    files = {
        "rgb.png": (image, {}),
        "gray.png": (image.convert("L"), {}),
        "bilevel.png": (image.convert("1"), {}),
        "palette.png": (image.quantize(17), {}),
        "palette-clear.png": (image.quantize(17), {"transparency": 3}),
        "alpha.png": (Image.merge("RGBA", (*image.split(), alpha)), {}),
        "gray-alpha.png": (Image.merge("LA", (image.convert("L"), alpha)), {}),
        "rgb.bmp": (image, {}),
        "gray.bmp": (image.convert("L"), {}),
        "lossless.webp": (image, {"lossless": True}),
        "lossy.webp": (soft, {"quality": 90}),
        "frames.gif": (image.quantize(32), {"save_all": True, "append_images": [soft.quantize(32)]}),
        "rgb.tif": (image, {}),
        "gray.TIFF": (image.convert("L"), {"compression": "tiff_lzw", "format": "TIFF"}),
        "deflate.tiff": (image, {"compression": "tiff_adobe_deflate"}),
        "rgb.JPG": (soft, {"quality": 92, "subsampling": 0, "format": "JPEG"}),
        "subsampled.jpeg": (soft, {"quality": 92, "subsampling": 2}),
        "progressive.jpg": (soft, {"quality": 92, "progressive": True}),
        "gray.jpg": (soft.convert("L"), {"quality": 92}),
        "cmyk.jpg": (Image.merge("CMYK", (*soft.split(), soft.convert("L").point(lambda value: value // 4))), {"quality": 95}),
    }
    for name, (image, options) in files.items():
        image.save(folder / name, **options)
        opened = Image.open(folder / name)
        expect(folder, name, opened.convert("RGB"))
        # A palette turns gray through RGB, like every image here.
        expect(folder, name, opened.convert("RGB").convert("L"))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        name = f"orientation-{orientation}.jpg"
        smooth().save(folder / name, quality=92, exif=exif)
        expect(folder, name, ImageOps.exif_transpose(Image.open(folder / name)).convert("RGB"))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for name in ("turned.png", "turned.webp", "turned.tif"):
        smooth().save(folder / name, exif=exif, **({"lossless": True} if name.endswith("webp") else {}))
        expect(folder, name, ImageOps.exif_transpose(Image.open(folder / name)).convert("RGB"))


def sizes(folder):
    """Resize and CenterCrop, RandomResizedCrop with fixed windows, and timm's transforms for rectangles."""
    color = Image.open(folder / "rgb.png")
    for image, channels in ((color, 3), (color.convert("L"), 1)):
        for name, mode in FILTERS.items():
            for resize, crop in ((28, 24), (32, 28), (20, 20), (70, 64)):
                result = F.center_crop(F.resize(image, resize, mode), [crop, crop])
                expect(folder, "rgb.png", result, resize=resize, size=[crop, crop], interpolation=name)
            for window in ([3, 5, 30, 40], [0, 0, 35, 45], [20, 30, 9, 11], [34, 44, 1, 1]):
                result = F.resized_crop(image, *window, [24, 24], mode)
                expect(folder, "rgb.png", result, window=window, size=[24, 24], interpolation=name)
            result = F.resized_crop(image, 3, 5, 30, 40, [16, 40], mode)
            expect(folder, "rgb.png", result, window=[3, 5, 30, 40], size=[16, 40], interpolation=name)
    for height, width in ((20, 28), (28, 20), (16, 48)):
        for fraction in (1.0, 0.875):
            around = [int(height / fraction), int(width / fraction)]
            keep = timm.data.transforms.ResizeKeepRatio(around, interpolation="bilinear")
            result = F.center_crop(keep(color), [height, width])
            expect(folder, "rgb.png", result, crop_fraction=fraction, size=[height, width], interpolation="bilinear")
    result = F.center_crop(F.resize(Image.open(folder / "rgb.png"), int(24 / 0.875)), [24, 24])
    expect(folder, "rgb.png", result, crop_fraction=0.875, size=[24, 24], interpolation="bilinear")


def changes(folder):
    """Each change of an image with fixed parameters."""
    color = Image.open(folder / "rgb.png")
    nearest, bilinear, bicubic = InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
    shear = lambda image, x, y, mode: F.affine(
        image, 0.0, [0, 0], 1.0, [math.degrees(math.atan(x)), math.degrees(math.atan(y))], mode, center=[0, 0])
    move = lambda image, x, y, mode: F.affine(image, 0.0, [x, y], 1.0, [0.0, 0.0], mode)
    turn = lambda image, mode: F.affine(image, 25.0, [4, -3], 1.3, [10.0, 0.0], mode)
    for image in (color, color.convert("L")):
        whole = lambda result, **change: expect(folder, "rgb.png", result, change=change)
        for mode in (nearest, bilinear, bicubic):
            name = mode.value
            for amount in (0.29, -0.3):
                whole(shear(image, amount, 0.0, mode), op="ShearX", value=amount, sampling=name)
                whole(shear(image, 0.0, amount, mode), op="ShearY", value=amount, sampling=name)
            for amount in (7, -12):
                whole(move(image, amount, 0, mode), op="TranslateX", value=amount, sampling=name)
                whole(move(image, 0, amount, mode), op="TranslateY", value=amount, sampling=name)
            for amount in (30.0, -17.0, 0.0, 135.0):
                whole(F.rotate(image, amount, mode), op="Rotate", value=amount, sampling=name)
            whole(turn(image, mode), op="Affine", value=25.0, sampling=name)
        for amount in (0.0, 0.3, 1.0, 1.7):
            whole(F.adjust_brightness(image, amount), op="Brightness", value=amount)
            whole(F.adjust_contrast(image, amount), op="Contrast", value=amount)
            whole(F.adjust_saturation(image, amount), op="Saturation", value=amount)
            whole(F.adjust_sharpness(image, amount), op="Sharpness", value=amount)
        for amount in (-0.5, -0.12, 0.05, 0.33, 0.5):
            whole(F.adjust_hue(image, amount), op="Hue", value=amount)
        for bits in (0, 2, 4, 7, 8):
            whole(F.posterize(image, bits), op="Posterize", value=bits)
        for threshold in (0.0, 99.2, 128.0, 255.0):
            whole(F.solarize(image, threshold), op="Solarize", value=threshold)
        for add in (0, 44, 110):
            whole(timm.data.auto_augment.solarize_add(image, add), op="SolarizeAdd", value=add)
        for name, change in (("AutoContrast", F.autocontrast), ("Equalize", F.equalize), ("Invert", F.invert)):
            whole(change(image), op=name, value=0)
        # Few values: equalize and autocontrast have special cases.
        dim = image.point(lambda value: 100 + value // 64)
        dim.save(folder / f"dim-{len(image.getbands())}.png")
        for name, change in (("AutoContrast", F.autocontrast), ("Equalize", F.equalize)):
            expect(folder, f"dim-{len(image.getbands())}.png", change(dim), change={"op": name, "value": 0})
        whole(F.to_grayscale(image, len(image.getbands())), op="Grayscale", value=0)
        for kernel, sigma in ((3, 0.8), (23, 1.9), (5, 0.1)):
            whole(F.gaussian_blur(image, [kernel, kernel], [sigma, sigma]), op="Blur", value=sigma, kernel=kernel)


def write_deep_png(path, samples):
    """Height x width x channels of 16 bits; Pillow writes only gray."""
    height, width, channels = samples.shape
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_deep_tiff(path, samples):
    """Uncompressed, in one strip: the header, the pixels, three numbers of bits, and the tags."""
    height, width, channels = samples.shape
    pixels = samples.astype("<u2").tobytes()
    bits_at = 8 + len(pixels)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 16 if channels == 1 else bits_at), (259, 3, 1, 1),
            (262, 3, 1, 1 if channels == 1 else 2), (273, 4, 1, 8), (277, 3, 1, channels), (278, 4, 1, height),
            (279, 4, 1, len(pixels))]
    listed = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    bits = struct.pack("<4H", 16, 16, 16, 0)
    directory = struct.pack("<H", len(tags)) + listed + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", bits_at + len(bits)) + pixels + bits + directory)


def deep(folder):
    """Files with 16 bits per channel: the samples themselves, and resized in float64 by PyTorch."""
    color = words(photo())
    luma = (color[..., 0] * 19595.0 + color[..., 1] * 38470.0 + color[..., 2] * 7471.0 + 32768) // 65536
    gray = luma.astype(numpy.uint16)[..., None]
    opaque = numpy.full_like(gray, 40000)
    files = {
        "deep-rgb.png": (write_deep_png, color), "deep-gray.png": (write_deep_png, gray),
        "deep-alpha.png": (write_deep_png, numpy.concatenate([color, opaque], 2)),
        "deep-gray-alpha.png": (write_deep_png, numpy.concatenate([gray, opaque], 2)),
        "deep-rgb.tif": (write_deep_tiff, color), "deep-gray.tif": (write_deep_tiff, gray),
    }
    cases = []

    def expect_deep(file, samples, **operation):
        planes = numpy.concatenate([samples[..., channel] for channel in range(samples.shape[2])])
        name = f"deep-{len(cases):02}.png"
        Image.fromarray(planes.astype(numpy.uint16)).save(folder / "expected" / name)
        cases.append({"file": file, **operation, "channels": samples.shape[2], "expected": name})

    for name, (write, samples) in files.items():
        write(folder / name, samples)
        is_gray = "gray" in name
        expect_deep(name, gray if is_gray else color)
        expect_deep(name, gray if not is_gray else numpy.repeat(gray, 3, 2))

    def resized(samples, height, width, mode):
        planes = torch.from_numpy(samples.astype(numpy.float64)).permute(2, 0, 1)[None]
        result = torch.nn.functional.interpolate(planes, (height, width), mode=mode, antialias=True)
        return result[0].permute(1, 2, 0).clamp(0, 65535).round().numpy()

    for mode in FILTERS:
        for top, left, height, width in ([3, 5, 30, 40], [0, 0, 35, 45], [20, 30, 9, 11]):
            part = color[top : top + height, left : left + width]
            operation = {"window": [top, left, height, width], "size": [24, 24], "interpolation": mode}
            expect_deep("deep-rgb.png", resized(part, 24, 24, mode), **operation)
        # torchvision's Resize(28) and CenterCrop(24).
        whole = resized(gray, 28, 36, mode)
        expect_deep("deep-gray.tif", whole[2:26, 6:30], resize=28, size=[24, 24], interpolation=mode)
    return cases


def magnitudes():
    """The change that each policy of torchvision makes of each kind at each magnitude, for images of 35 x 45 pixels."""
    spaces = {
        "randaugment": autoaugment.RandAugment()._augmentation_space(31, (HEIGHT, WIDTH)),
        "trivialaugment_wide": autoaugment.TrivialAugmentWide()._augmentation_space(31),
        "autoaugment": autoaugment.AutoAugment()._augmentation_space(10, (HEIGHT, WIDTH)),
        "augmix": autoaugment.AugMix()._augmentation_space(10, (HEIGHT, WIDTH)),
    }
    listed = lambda values: values.tolist() if values.ndim > 0 else []
    recorded = {policy: {kind: listed(values) for kind, (values, _) in space.items()} for policy, space in spaces.items()}
    levels = timm.data.auto_augment.LEVEL_TO_ARG
    names = ["PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd"]
    recorded["timm"] = {name: [levels[name](level / 4, {})[0] for level in range(41)] for name in names}
    learned = {"imagenet": autoaugment.AutoAugmentPolicy.IMAGENET, "cifar10": autoaugment.AutoAugmentPolicy.CIFAR10}
    recorded["learned"] = {name: autoaugment.AutoAugment()._get_policies(policy) for name, policy in learned.items()}
    return recorded


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "magnitudes.json").write_text(json.dumps(magnitudes()) + "\n")
    (folder / "expected").mkdir(parents=True, exist_ok=True)
    formats(folder)
    sizes(folder)
    changes(folder)
    for name, cases in (("cases.json", CASES), ("deep.json", deep(folder))):
        (folder / name).write_text("[" + ",\n".join(json.dumps(case) for case in cases) + "]\n")


main()
