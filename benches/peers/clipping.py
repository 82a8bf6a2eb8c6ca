"""Measures the work after backward in PyTorch eager: the optimizer step, and gradient clipping before it.

Times calls on fixed random gradients, without forward and backward. Parameters and gradients are standard normal; the
gradients are multiplied by 1e-3 if AGC must clip none, otherwise by 10, with which AGC clips all. They are restored,
untimed, before each call. Also times whole training steps.
In each turn the variants of a model run in rotation, one call each, so that a change of the machine's speed affects all.

    python benches/peers/clipping.py                  medians of five turns
    TURNS=3 python benches/peers/clipping.py --json rows.jsonl
"""

import argparse
import json
import os
import statistics
import time
from functools import partial

import timm
import torch
import torch.nn.functional as F
from timm.utils.agc import adaptive_clip_grad
from torch import nn

ROUNDS = 10  # a turn's figure is the mean of this many calls
TURNS = max(1, int(os.environ.get("TURNS") or 5))
THREADS = len(os.sched_getaffinity(0))
PYTORCH = f"PyTorch {torch.__version__.split('+')[0]}"


def fused_sgd(params):
    """The learning rate is so small that the parameters stay practically the same through all calls."""
    return torch.optim.SGD(params, lr=1e-8, momentum=0.9, fused=True)


def after_backward(name, classes):
    """The variants as (framework, untimed preparation of a call, the call)."""
    torch.manual_seed(42)
    params = list(timm.create_model(name, num_classes=classes).parameters())
    with torch.no_grad():
        for param in params:
            param.normal_()
            param.grad = torch.empty_like(param)
    grads = [param.grad for param in params]
    normal = [torch.randn_like(grad) for grad in grads]
    idle, large = torch._foreach_mul(normal, 1e-3), torch._foreach_mul(normal, 10.0)
    optimizer = fused_sgd(params)

    from_idle, from_large = (partial(torch._foreach_copy_, grads, saved) for saved in (idle, large))
    norm_clip = partial(nn.utils.clip_grad_norm_, params, 1.0)
    value_clip = partial(nn.utils.clip_grad_value_, params, 1.0)
    agc = partial(adaptive_clip_grad, params, clip_factor=0.01)

    def norm_clip_and_step():
        norm_clip()
        optimizer.step()

    from_idle()
    agc()
    assert all(map(torch.equal, grads, idle)), "AGC clips idle gradients"
    from_large()
    agc()
    assert all((grad.abs() <= 0.5 * was.abs()).all() for grad, was in zip(grads, large)), "AGC leaves some as they are"

    return {
        "fused SGD step": (PYTORCH, from_large, optimizer.step),
        "norm clip + step": (PYTORCH, from_large, norm_clip_and_step),
        "norm clip": (PYTORCH, from_large, norm_clip),
        "value clip": (PYTORCH, from_large, value_clip),
        "AGC, nothing clipped": ("timm", from_idle, agc),
        "AGC, all clipped": ("timm", from_large, agc),
    }


def whole_steps():
    """Training steps on one random batch each: forward, backward, the optimizer."""
    torch.manual_seed(42)
    net = timm.create_model("resnet18", num_classes=10, zero_init_last=False).train()
    optimizer = fused_sgd(net.parameters())

    def step_of(batch):
        images, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))

        def step():
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return step

    return {f"batch {batch}": (PYTORCH, lambda: None, step_of(batch)) for batch in (64, 2)}


MODELS = {
    "resnet18": lambda: after_backward("resnet18", 10),
    "resnet50": lambda: after_backward("resnet50", 1000),
    "resnet18 step": whole_steps,
}


def timed_ms(prepare, call):
    prepare()
    started = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - started)


def rows_of(model):
    """Medians over the turns, and the lowest and highest values."""
    variants = MODELS[model]()
    ms = {name: [] for name in variants}
    for _, prepare, call in variants.values():
        timed_ms(prepare, call)  # allocates the momentum, among others
    for _ in range(TURNS):
        calls = {name: [] for name in variants}
        for _ in range(ROUNDS):
            for name, (_, prepare, call) in variants.items():
                calls[name].append(timed_ms(prepare, call))
        for name in variants:
            ms[name].append(statistics.mean(calls[name]))
    return [{
        "framework": framework,
        "model": model,
        "variant": name,
        "ms": statistics.median(ms[name]),
        "lowest_ms": min(ms[name]),
        "highest_ms": max(ms[name]),
    } for name, (framework, _, _) in variants.items()]


def print_row(*cells):
    print("| {:<13} | {:<14} | {:<20} | {:>8} | {:>16} |".format(*cells), flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", metavar="FILE", help="write each row as a line of JSON, too")
    path = arguments.parse_args().json
    torch.set_num_threads(THREADS)
    print(f"{THREADS} threads, medians of {TURNS} turns")
    print_row("model", "framework", "variant", "ms/call", "spread")
    print_row("---", "---", "---", "--:", "--:")
    with open(path or os.devnull, "w") as lines:
        for row in (row for model in MODELS for row in rows_of(model)):
            print_row(row["model"], row["framework"], row["variant"], f"{row['ms']:.2f}",
                      f"{row['lowest_ms']:.2f}..{row['highest_ms']:.2f}")
            lines.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
