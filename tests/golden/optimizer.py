"""Writes optimizer.json: steps of PyTorch's and timm's optimizers from known parameters and gradients.

Run with PyTorch 2.13 and timm 1.0: python tests/golden/optimizer.py

{case: [[the six weights and two biases after the step] for each of 20 steps]}, in float32 with 9 digits, which identify
a float32 uniquely.
"""

import json
import pathlib

import timm.optim
import torch

STEPS = 20

# Two groups, as in the trainer: a matrix with weight decay, a vector without.
WEIGHT = [[0.5, -1.25, 2.0], [1e-3, -0.75, 3.0]]
BIAS = [0.25, -2.0]
DECAY = 0.05


def grads(step):
    """The same formula as in optimizer_golden.rs."""
    weight = [[((i * 3 + j) * 37 + step * 11) % 17 / 8.0 - 1.0 for j in range(3)] for i in range(2)]
    bias = [(i * 29 + step * 7) % 13 / 6.0 - 1.0 for i in range(2)]
    return torch.tensor(weight), torch.tensor(bias)


def run(make, options):
    weight, bias = (torch.nn.Parameter(torch.tensor(values)) for values in (WEIGHT, BIAS))
    groups = [{"params": [weight], "weight_decay": DECAY}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = make(groups, **options)
    trace = []
    for step in range(STEPS):
        weight.grad, bias.grad = grads(step)
        optimizer.step()
        trace.append([float(f"{x:.9g}") for x in weight.flatten().tolist() + bias.tolist()])
    return trace


MOMENTS = {"betas": (0.9, 0.999), "eps": 1e-8}

cases = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}),
    "sgd_momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd_nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "sgd_dampening": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    # adam, rmsprop, nadam, and radam add the decay to the gradient; adamw and lion decouple it.
    "adam": (torch.optim.Adam, {"lr": 0.01, **MOMENTS}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, **MOMENTS}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.99, "eps": 1e-8}),
    "rmsprop_centered_momentum": (
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "centered": True, "momentum": 0.9},
    ),
    "nadam": (torch.optim.NAdam, {"lr": 0.002, "momentum_decay": 4e-3, **MOMENTS}),
    "radam": (torch.optim.RAdam, {"lr": 0.01, **MOMENTS}),
    # By default, timm also clips the gradients of all groups together to norm 1; None disables that. The other options
    # are timm's defaults: without always_adapt, a group without weight decay has no trust ratio.
    "lamb": (
        timm.optim.Lamb,
        {
            "lr": 0.01,
            "betas": (0.9, 0.999),
            "eps": 1e-6,
            "bias_correction": True,
            "grad_averaging": True,
            "max_grad_norm": None,
            "trust_clip": False,
            "always_adapt": False,
        },
    ),
    "lion": (timm.optim.Lion, {"lr": 0.001, "betas": (0.9, 0.99)}),
}


def lines(traces):
    """JSON with one step per line."""
    parts = (f' "{name}": [\n  ' + ",\n  ".join(map(json.dumps, trace)) + "\n ]" for name, trace in traces.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(lines({name: run(*case) for name, case in cases.items()}))
