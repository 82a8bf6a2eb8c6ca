"""Writes optimizer.json: steps of torch.optim.SGD and AdamW from known parameters and gradients.

Run with PyTorch 2.13: python tests/golden/optimizer.py
"""

import json
import pathlib

import torch

# Two groups as the trainer makes them: a matrix that decays, a vector that does not.
WEIGHT = [[0.5, -1.25, 2.0], [1e-3, -0.75, 3.0]]
BIAS = [0.25, -2.0]


def grads(step):
    """The same formula stands in optimizer_golden.rs."""
    weight = [[((i * 3 + j) * 37 + step * 11) % 17 / 8.0 - 1.0 for j in range(3)] for i in range(2)]
    bias = [(i * 29 + step * 7) % 13 / 6.0 - 1.0 for i in range(2)]
    return torch.tensor(weight), torch.tensor(bias)


def run(make, steps):
    weight, bias = (torch.nn.Parameter(torch.tensor(values)) for values in (WEIGHT, BIAS))
    optimizer = make([{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}])
    trace = []
    for step in range(steps):
        weight.grad, bias.grad = grads(step)
        optimizer.step()
        trace.append(weight.flatten().tolist() + bias.tolist())
    return trace


sgd, adamw = torch.optim.SGD, torch.optim.AdamW
cases = {
    "sgd": lambda groups: sgd(groups, lr=0.1, weight_decay=0.05),
    "sgd_momentum": lambda groups: sgd(groups, lr=0.1, momentum=0.9, weight_decay=0.05),
    "sgd_nesterov": lambda groups: sgd(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
    "adamw": lambda groups: adamw(groups, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps({name: run(make, 5) for name, make in cases.items()}, indent=1) + "\n")
