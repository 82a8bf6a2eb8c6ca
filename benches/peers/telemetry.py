"""Measures the cost of gradient monitoring per training step in PyTorch eager, as a ratio to the same step without it.

In each turn every variant runs a block of steps right after a plain block of as many, so that a change of the machine's
speed affects both; a ratio compares these two. The first row of a model is plain against plain: the noise of the others.

    python benches/peers/telemetry.py                 five turns, blocks of about a second
    TURNS=3 STEPS=5 python benches/peers/telemetry.py --json rows.jsonl
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import tempfile
import time

os.environ["WANDB_SILENT"] = "true"

import timm
import torch
import torch.nn.functional as F
import wandb
from torch import nn
from torch.utils.tensorboard import SummaryWriter

STEPS = int(os.environ.get("STEPS") or 0)  # 0: as many as fill a second
TURNS = max(1, int(os.environ.get("TURNS") or 5))
THREADS = len(os.sched_getaffinity(0))
FRAMEWORK = f"PyTorch {torch.__version__.split('+')[0]}"


def mlp():
    """As `model.name = "mlp"` with depth 100 and width 64. With torch's own initialization its gradients vanish."""
    layers, inputs = [nn.Flatten()], 3 * 32 * 32
    for _ in range(100):
        layers += [nn.Linear(inputs, 64), nn.Tanh()]
        inputs = 64
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


# timm zeroes the last norm of a block, which makes half of the first gradients zero; torchvision and gradwatch do not.
MODELS = {
    "resnet18": (lambda: timm.create_model("resnet18", num_classes=10, zero_init_last=False), 64),
    "mobilenetv2": (lambda: timm.create_model("mobilenetv2_100", num_classes=10), 32),
    "mlp 100x64": (mlp, 64),
}


class Training:
    """A model on one random batch; the steps are so small that it stays practically the same through all blocks."""

    def __init__(self, build, batch):
        torch.manual_seed(42)
        self.net = build().train()
        self.images = torch.randn(batch, 3, 32, 32)
        self.labels = torch.randint(10, (batch,))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-4, momentum=0.9, fused=True)

    def step(self, look):
        F.cross_entropy(self.net(self.images), self.labels).backward()
        look()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def block_secs(self, variant, steps):
        """Wall time of a step, without the start and the end of the variant."""
        with variant(self.net) as look:
            self.step(look)
            started = time.perf_counter()
            for _ in range(steps):
                self.step(look)
            return (time.perf_counter() - started) / steps


# A variant is a context manager: it takes the model and yields the function to call between backward and the optimizer.


@contextlib.contextmanager
def plain(net):
    yield lambda: None


@contextlib.contextmanager
def foreach_norm(net):
    def look():
        grads = [param.grad for param in net.parameters()]
        torch.stack(torch._foreach_norm(grads)).tolist()

    yield look


@contextlib.contextmanager
def clip_grad_norm(net):
    params = list(net.parameters())
    yield lambda: nn.utils.clip_grad_norm_(params, 1.0)


@contextlib.contextmanager
def wandb_watch(net):
    # wandb's own hooks: torch.histc with 64 bins on every gradient, inside backward. Its run writes to a local folder
    # through a separate process, which shares the cores; log() closes the step, as a user's training loop does.
    settings = wandb.Settings(x_disable_stats=True, x_disable_meta=True, console="off", disable_git=True)
    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(mode="offline", project="telemetry", dir=folder, settings=settings)
        run.watch(net, log="gradients", log_freq=1)
        yield lambda: run.log({})
        run.unwatch(net)
        run.finish()


@contextlib.contextmanager
def add_histogram(net):
    step = 0
    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        def look():
            nonlocal step
            for name, param in net.named_parameters():
                writer.add_histogram(name, param.grad, step)
            step += 1

        yield look


VARIANTS = {
    "plain": plain,
    "_foreach_norm, one sync": foreach_norm,
    "clip_grad_norm_": clip_grad_norm,
    "wandb.watch, every step": wandb_watch,
    "TensorBoard add_histogram": add_histogram,
}


def steps_of(training):
    if STEPS:
        return STEPS
    # The fastest of three: a disturbed one would make all blocks too short.
    return max(3, math.ceil(1 / min(training.block_secs(plain, 3) for _ in range(3))))


def medians_of(model, secs, ratios):
    """A row per variant: the median time of a step, and the median, smallest, and largest ratio."""
    return [{
        "framework": FRAMEWORK,
        "model": model,
        "variant": name,
        "ms_per_step": 1e3 * statistics.median(secs[name]),
        "ratio": statistics.median(ratios[name]),
        "lowest_ratio": min(ratios[name]),
        "highest_ratio": max(ratios[name]),
    } for name in secs]


def rows_of(model):
    """Medians over the turns, and the smallest and largest ratio."""
    training = Training(*MODELS[model])
    steps = steps_of(training)
    secs = {variant: [] for variant in VARIANTS}
    ratios = {variant: [] for variant in VARIANTS}
    for _ in range(TURNS):
        for name, variant in VARIANTS.items():
            beside = training.block_secs(plain, steps)
            secs[name].append(training.block_secs(variant, steps))
            ratios[name].append(secs[name][-1] / beside)
    return medians_of(model, secs, ratios)


def print_row(*cells):
    print("| {:<11} | {:<14} | {:<26} | {:>8} | {:>14} | {:>14} |".format(*cells), flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", metavar="FILE", help="write each row as a line of JSON, too")
    path = arguments.parse_args().json
    torch.set_num_threads(THREADS)
    print(f"{THREADS} threads, medians of {TURNS} turns")
    print_row("model", "framework", "variant", "ms/step", "ratio to plain", "spread")
    print_row("---", "---", "---", "--:", "--:", "--:")
    with open(path or os.devnull, "w") as lines:
        for row in (row for model in MODELS for row in rows_of(model)):
            print_row(row["model"], row["framework"], row["variant"], f"{row['ms_per_step']:.1f}",
                      f"{row['ratio']:.3f}", f"{row['lowest_ratio']:.3f}..{row['highest_ratio']:.3f}")
            lines.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
