"""Measures the time of a data-parallel training step in PyTorch eager on CPUs: DistributedDataParallel over Gloo, with one
thread per rank, as a ratio to the same step of one process without it.

The bench target `distributed` must match:

    model       resnet18 of torchvision, 10 classes, f32: 11,181,642 parameters, 44.7 MB of gradients in 62 tensors
    batch       8 random images of 3 x 64 x 64 per rank, the same in all steps, in host memory before the clock starts
    loss        cross-entropy, mean over the images of a rank; DDP averages the gradients of the ranks
    optimizer   fused SGD, learning rate 1e-4, momentum 0.9; gradients are set to None after the step
    threads     1 per rank for operations (Gloo and autograd have threads of their own); ranks are not pinned to cores
    gradients   DDP's default buckets (1 MiB, then 25 MiB), gradient_as_bucket_view=True; batch norm without communication
    rows        "plain" with 1 rank: no process group in the step; "ddp" with 1 and 2 ranks
    clock       a block of steps on rank 0, after a barrier of all ranks; the last step ends with the optimizer

In each turn every row runs a block of as many steps, so that a change of the machine's speed affects all of them. Rank 1
waits at the barrier during a block of one rank. A ratio compares the blocks of one turn.

    python benches/peers/ddp.py                      five turns, blocks of about two seconds
    TURNS=3 STEPS=5 RANKS=4 python benches/peers/ddp.py --json rows.jsonl
"""

import argparse
import json
import math
import os
import socket
import statistics
import time

import torch
import torch.distributed as dist
import torch.multiprocessing
import torch.nn.functional as F
import torchvision
from torch.nn.parallel import DistributedDataParallel

STEPS = int(os.environ.get("STEPS") or 0)  # 0: as many as fill two seconds
TURNS = max(1, int(os.environ.get("TURNS") or 5))
RANKS = max(2, int(os.environ.get("RANKS") or 2))
BATCH, SIZE, CLASSES = 8, 64, 10
FRAMEWORK = f"PyTorch {torch.__version__.split('+')[0]}"


class Training:
    """A model on one random batch; the steps are so small that it stays practically the same through all blocks."""

    def __init__(self, group=None):
        torch.manual_seed(42)
        net = torchvision.models.resnet18(num_classes=CLASSES).train()
        self.net = net
        if group is not None:
            self.net = DistributedDataParallel(net, process_group=group, gradient_as_bucket_view=True)
        torch.manual_seed(dist.get_rank())
        self.images = torch.randn(BATCH, 3, SIZE, SIZE)
        self.labels = torch.randint(CLASSES, (BATCH,))
        self.optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, fused=True)

    def step(self):
        F.cross_entropy(self.net(self.images), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def block_secs(self, steps):
        """Wall time of a step."""
        started = time.perf_counter()
        for _ in range(steps):
            self.step()
        return (time.perf_counter() - started) / steps


def steps_of(training):
    """The same number on all ranks."""
    steps = torch.tensor(STEPS)
    if not STEPS and training is not None:
        # The fastest of three: a disturbed one would make all blocks too short.
        steps += max(3, math.ceil(2 / min(training.block_secs(1) for _ in range(3))))
    dist.broadcast(steps, src=0)
    return int(steps)


def rank_main(rank, port, path):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    alone = dist.new_group([0])
    trainings = {
        ("plain", 1): Training() if rank == 0 else None,
        ("ddp", 1): Training(alone) if rank == 0 else None,
        ("ddp", RANKS): Training(dist.group.WORLD),
    }
    steps = steps_of(trainings["plain", 1])
    turns = {row: [] for row in trainings}
    for turn in range(TURNS + 1):
        for row, training in trainings.items():
            dist.barrier()
            if training is None:
                continue
            # An untimed turn first: DDP moves its buckets after the first step.
            secs = training.block_secs(steps if turn else 2)
            if turn:
                turns[row].append(1e3 * secs)
    dist.barrier()
    if rank == 0:
        report(turns, steps, path)
    dist.destroy_process_group()


def report(turns, steps, path):
    with open(path or os.devnull, "w") as lines:
        for (variant, ranks), times in turns.items():
            ratios = [own / plain for own, plain in zip(times, turns["plain", 1])]
            row = {
                "framework": FRAMEWORK,
                "variant": variant,
                "ranks": ranks,
                "steps": steps,
                "median_step_ms": statistics.median(times),
                "images_per_sec": 1e3 * BATCH * ranks / statistics.median(times),
                "ratio": statistics.median(ratios),
                "lowest_ratio": min(ratios),
                "highest_ratio": max(ratios),
                "turns": times,
            }
            print(json.dumps(row), flush=True)
            lines.write(json.dumps(row) + "\n")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", metavar="FILE", help="write each row as a line of JSON, too")
    path = arguments.parse_args().json
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(rank_main, (free_port(), path), nprocs=RANKS)


if __name__ == "__main__":
    main()
