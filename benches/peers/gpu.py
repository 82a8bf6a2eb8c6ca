"""Measures the time of a training step in PyTorch eager on an NVIDIA GPU, plain and with gradient monitoring.

In each turn every variant runs a block of steps right after a plain block, so that a change of the GPU's clock affects both;
a ratio compares these two. The first row of a model is plain against plain: the noise of the other ratios. The host waits for the GPU
before and after each block.

    python benches/peers/gpu.py                       five turns, blocks of 100 steps
    MODEL=resnet50 BATCH=32 SIZE=160 TURNS=3 STEPS=20 python benches/peers/gpu.py --json rows.jsonl

This file must not be named cuda.py: torch imports NVIDIA's package `cuda`, and Python looks in this folder first.
"""

import argparse
import json
import os
import sys
import time

import timm
import torch
import torch.nn.functional as F
import torchvision

from telemetry import add_histogram, clip_grad_norm, foreach_norm, medians_of, plain

DEVICE = os.environ.get("DEVICE") or "cuda:0"
MODEL = os.environ.get("MODEL") or ""
BATCH = max(1, int(os.environ.get("BATCH") or 64))
SIZE = max(1, int(os.environ.get("SIZE") or 224))
STEPS = max(1, int(os.environ.get("STEPS") or 100))
TURNS = max(1, int(os.environ.get("TURNS") or 5))
FIRST_STEPS = 10  # untimed: cuDNN tries its algorithms, and the GPU raises its clock
WARM_UP = 3  # untimed, in each block
MOST_SECS = 10  # per block: histograms of millions of numbers take seconds per step
CLASSES = 1000

MODELS = {
    "resnet50": torchvision.models.resnet50,
    "vit_small": lambda: timm.create_model("vit_small_patch16_224", num_classes=CLASSES, img_size=SIZE),
    "densenet121": torchvision.models.densenet121,
}

VARIANTS = {
    "plain": plain,
    "_foreach_norm, one sync": foreach_norm,
    "clip_grad_norm_": clip_grad_norm,
    "TensorBoard add_histogram": add_histogram,
}


class Training:
    """A model on one random batch; the steps are so small that it stays practically the same through all blocks."""

    def __init__(self, build):
        torch.manual_seed(42)
        self.net = build().train().to(DEVICE, memory_format=torch.channels_last)
        images = torch.randn(BATCH, 3, SIZE, SIZE)
        self.images = images.to(DEVICE, memory_format=torch.channels_last)
        self.labels = torch.randint(CLASSES, (BATCH,)).to(DEVICE)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-6, momentum=0.9, fused=True)

    def step(self, look):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = F.cross_entropy(self.net(self.images), self.labels)
        loss.backward()
        look()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def block_secs(self, variant, steps, warm_up=WARM_UP):
        """Wall time of a step, without the start and the end of the variant."""
        with variant(self.net) as look:
            for _ in range(warm_up):
                self.step(look)
            torch.cuda.synchronize(DEVICE)
            started = time.perf_counter()
            for _ in range(steps):
                self.step(look)
            torch.cuda.synchronize(DEVICE)
            return (time.perf_counter() - started) / steps


def rows_of(model):
    """Medians over the turns, and the smallest and largest ratio."""
    training = Training(MODELS[model])
    training.block_secs(plain, 1, FIRST_STEPS)
    once = {name: training.block_secs(variant, 1, 1) for name, variant in VARIANTS.items()}
    steps = {name: max(1, min(STEPS, int(MOST_SECS / secs))) for name, secs in once.items()}
    secs = {name: [] for name in VARIANTS}
    ratios = {name: [] for name in VARIANTS}
    for _ in range(TURNS):
        for name, variant in VARIANTS.items():
            beside = training.block_secs(plain, steps["plain"])
            secs[name].append(training.block_secs(variant, steps[name]))
            ratios[name].append(secs[name][-1] / beside)
    return medians_of(f"{model} {BATCH}x{SIZE}", secs, ratios)


def print_row(*cells):
    print("| {:<18} | {:<14} | {:<38} | {:>8} | {:>14} | {:>14} | {:>8} |".format(*cells), flush=True)


def check_device():
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus == 0:
        sys.exit("bench-cuda needs an NVIDIA GPU: PyTorch finds none; run it on a machine with an NVIDIA driver")
    names = [f"cuda:{index}" for index in range(gpus)]
    if DEVICE not in names:
        sys.exit(f"bench-cuda needs an NVIDIA GPU: got DEVICE={DEVICE}, want one of {', '.join(names)}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", metavar="FILE", help="write each row as a line of JSON, too")
    path = arguments.parse_args().json
    check_device()
    models = [model for model in MODELS if model.startswith(MODEL)]
    if not models:
        sys.exit(f"MODEL: got {MODEL!r}, want the beginning of one of {list(MODELS)}")
    torch.backends.cudnn.benchmark = True
    print(f"device {DEVICE}, {torch.cuda.get_device_name(DEVICE)}")
    print(f"bf16 autocast, channels_last, cudnn.benchmark; medians of {TURNS} turns of {STEPS} steps, {MOST_SECS} s at most")
    print_row("model", "framework", "variant", "ms/step", "ratio to plain", "spread", "images/s")
    print_row("---", "---", "---", "--:", "--:", "--:", "--:")
    with open(path or os.devnull, "w") as lines:
        for row in (row for model in models for row in rows_of(model)):
            print_row(row["model"], row["framework"], row["variant"], f"{row['ms_per_step']:.1f}",
                      f"{row['ratio']:.3f}", f"{row['lowest_ratio']:.3f}..{row['highest_ratio']:.3f}",
                      f"{1e3 * BATCH / row['ms_per_step']:.1f}")
            lines.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
