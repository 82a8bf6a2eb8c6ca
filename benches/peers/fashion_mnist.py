"""Compares the demo's training time with the same net in PyTorch eager: same data, batches, schedule, optimizer, and threads.

The two alternate, so that a change of the machine's speed affects both. Prints the wall time of training without
start-up and evaluation, each run's ratio, and the median of the ratios.

    make bench-peers            five turns of 150 steps
    make bench-peers TURNS=3 STEPS=938
"""

import gzip
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import numpy
import torch
import torch.nn.functional as F
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "data/fashion-mnist"
STEPS = max(1, int(os.environ.get("STEPS") or 150))
TURNS = max(1, int(os.environ.get("TURNS") or 5))
THREADS = len(os.sched_getaffinity(0))
BATCH = 128


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images):
        hidden = F.relu(self.bn1(self.conv1(images)), inplace=True)
        shortcut = images if self.downsample is None else self.downsample(images)
        return F.relu(self.bn2(self.conv2(hidden)) + shortcut, inplace=True)


class ResNet8(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layers = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.fc = nn.Linear(64, 10)

    def forward(self, images):
        hidden = F.relu(self.bn1(self.conv1(images)), inplace=True)
        return self.fc(self.layers(hidden).mean((2, 3)))


def load():
    raw = gzip.open(DATA / "train-images-idx3-ubyte.gz").read()
    images = torch.from_numpy(numpy.frombuffer(raw, numpy.uint8, offset=16).reshape(-1, 1, 28, 28).copy())
    raw = gzip.open(DATA / "train-labels-idx1-ubyte.gz").read()
    labels = torch.from_numpy(numpy.frombuffer(raw, numpy.uint8, offset=8).astype(numpy.int64))
    # Normalized once and kept in memory: PyTorch spends almost no time in a loader here.
    return (images.float() / 255 - 0.2860) / 0.3530, labels


def torch_secs(images, labels):
    torch.manual_seed(42)
    net = ResNet8().train()
    decay = [param for param in net.parameters() if param.dim() > 1]
    rest = [param for param in net.parameters() if param.dim() <= 1]
    optimizer = torch.optim.SGD([{"params": decay, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0.0}],
                                lr=0.1, momentum=0.9, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=STEPS)
    order = torch.cat([torch.randperm(len(images)) for _ in range(-(-STEPS * BATCH // len(images)))])
    started = time.perf_counter()
    for step in range(STEPS):
        picked = order[step * BATCH:(step + 1) * BATCH]
        loss = F.cross_entropy(net(images[picked]), labels[picked])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return time.perf_counter() - started


def gradwatch_secs():
    with tempfile.TemporaryDirectory() as logdir:
        command = [ROOT / "target/release/gradwatch", "train", ROOT / "configs/fashion-mnist-resnet8.toml"]
        for setting in [f"run.logdir={logdir}", f"run.max_steps={STEPS}", "run.max_epochs=1000",
                        f"run.threads={THREADS}", f"data.path={DATA}"]:
            command += ["--set", setting]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"in ([0-9.]+) s training", output).group(1))


def main():
    torch.set_num_threads(THREADS)
    images, labels = load()
    ratios = []
    print(f"ResNet-8 on Fashion-MNIST, {STEPS} steps of batch {BATCH}, {THREADS} threads, every hook and event on")
    for turn in range(TURNS):
        ours, theirs = gradwatch_secs(), torch_secs(images, labels)
        ratios.append(ours / theirs)
        print(f"turn {turn + 1}: gradwatch {ours:.1f} s, PyTorch {torch.__version__} {theirs:.1f} s, ratio {ours / theirs:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f} (below 1 gradwatch is faster)")


main()
