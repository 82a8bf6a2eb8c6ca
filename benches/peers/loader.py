"""Measures the time that PyTorch takes to load JPEG files as training batches: ImageFolder and DataLoader with
RandomResizedCrop(224), a flip, and normalization.

`pillow` decodes with Pillow and crops Pillow images; `io` decodes with torchvision.io.decode_image and crops tensors with
transforms.v2. Each turn measures every size and both decoders, with one worker and with two. CPU time is that of the
workers and of the main process.

    python benches/peers/loader.py --images target/jpegs                     medians of five turns
    TURNS=9 python benches/peers/loader.py --images DIR --json rows.jsonl     rows for the benchmark `loader`

The images are made once from the photos in data/photos, with some noise: without it, enlarged photos would be cheaper to
decode than those of a camera.
"""

import argparse
import json
import os
import resource
import statistics
import time

import numpy
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.io import decode_image
from torchvision.transforms import v2

TURNS = max(1, int(os.environ.get("TURNS") or 5))
SIZES = [(500, 375), (1200, 900)]
COPIES = 10
BATCH = 50
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def make_images(photos, folder):
    """Twenty photos, ten times each, in two classes."""
    files = sorted(os.path.join(photos, name) for name in os.listdir(photos))
    for width, height in SIZES:
        for number in range(COPIES * len(files)):
            path = os.path.join(folder, f"{width}x{height}", "ab"[number % 2], f"{number:04}.jpg")
            if os.path.exists(path):
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            photo = Image.open(files[number % len(files)]).convert("RGB").resize((width, height), Image.BICUBIC)
            noise = numpy.random.default_rng(number).normal(0, 4, (height, width, 3))
            pixels = numpy.clip(numpy.asarray(photo) + noise, 0, 255).astype(numpy.uint8)
            Image.fromarray(pixels).save(path + ".part", format="JPEG", quality=90)
            os.rename(path + ".part", path)


def read_bytes(path):
    return decode_image(path, mode="RGB")


def datasets(folder):
    pillow = transforms.Compose([
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])
    tensors = v2.Compose([
        v2.RandomResizedCrop(224, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ])
    return {"pillow": ImageFolder(folder, pillow), "io": ImageFolder(folder, tensors, loader=read_bytes)}


def cpu_seconds():
    """Of this process and of its ended children."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in times)


def measure(dataset, workers):
    """Milliseconds per image in an epoch, wall and CPU. The start of the workers counts with neither's wall time."""
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=workers)
    cpu = cpu_seconds()
    batches = iter(loader)
    images = len(next(batches)[1])
    started = time.perf_counter()
    timed = sum(len(labels) for _, labels in batches)
    wall = time.perf_counter() - started
    del batches, loader
    return 1e3 * wall / timed, 1e3 * (cpu_seconds() - cpu) / (images + timed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    make_images("data/photos", args.images)
    rows = []
    for turn in range(TURNS):
        for width, height in SIZES:
            for decoder, dataset in datasets(os.path.join(args.images, f"{width}x{height}")).items():
                for workers in (1, 2):
                    wall, cpu = measure(dataset, workers)
                    row = {"size": f"{width}x{height}", "decoder": decoder, "workers": workers}
                    rows.append(row | {"wall_ms": wall, "cpu_ms": cpu})
    if args.json:
        with open(args.json, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    for size, decoder, workers in sorted({(row["size"], row["decoder"], row["workers"]) for row in rows}):
        own = [row for row in rows if (row["size"], row["decoder"], row["workers"]) == (size, decoder, workers)]
        wall, cpu = (statistics.median(row[key] for row in own) for key in ("wall_ms", "cpu_ms"))
        print(f"{size:>8} {decoder:6} workers {workers}: {wall:6.2f} ms wall, {cpu:6.2f} ms CPU per image")


if __name__ == "__main__":
    main()
