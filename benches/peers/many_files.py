"""Measures how long torchvision's ImageFolder takes to list a folder of as many files as ImageNet, and how much memory.

The files are hard links of small images in 1,000 folders. They are made once.

    python benches/peers/many_files.py --folder target/many --json rows.jsonl
"""

import argparse
import json
import os
import resource
import statistics
import time

from PIL import Image
from torchvision.datasets import ImageFolder

TURNS = max(1, int(os.environ.get("TURNS") or 5))
CLASSES = 1000
PER_CLASS = 1280
# File systems limit the number of links of a file.
SEEDS = 50


def make_links(folder):
    done = os.path.join(folder, "done")
    if os.path.exists(done):
        return
    seeds = []
    os.makedirs(os.path.join(folder, "seeds"), exist_ok=True)
    for number in range(SEEDS):
        seeds.append(os.path.join(folder, "seeds", f"{number}.jpg"))
        Image.new("RGB", (32, 32), (number, 100, 200)).save(seeds[-1])
    for number in range(CLASSES):
        inner = os.path.join(folder, "train", f"n{number:08}")
        os.makedirs(inner, exist_ok=True)
        for image in range(PER_CLASS):
            path = os.path.join(inner, f"n{number:08}_{image}.JPEG")
            if not os.path.exists(path):
                os.link(seeds[(number * PER_CLASS + image) % SEEDS], path)
    os.makedirs(os.path.join(folder, "val", "n00000000"), exist_ok=True)
    Image.new("RGB", (32, 32)).save(os.path.join(folder, "val", "n00000000", "0.JPEG"))
    open(done, "w").close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--json")
    args = parser.parse_args()
    make_links(args.folder)
    memory = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before, seconds = memory(), []
    for _ in range(TURNS):
        started = time.perf_counter()
        images = len(ImageFolder(os.path.join(args.folder, "train")))
        seconds.append(time.perf_counter() - started)
    row = {"images": images, "seconds": statistics.median(seconds), "bytes_per_image": (memory() - before) / images}
    print(f"ImageFolder: {images} images in {row['seconds']:.2f} s, {row['bytes_per_image']:.0f} bytes each")
    if args.json:
        with open(args.json, "w") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
