"""Writes grad_cam.json: Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) by hooks on nets of torchvision and timm.

Run with torch 2.13, torchvision 0.28, and timm 1.0.31: python tests/golden/grad_cam.py

Weights and images are those of model.py; the class is the first one with a nonzero heat map in both images. The heat map is divided by its
largest value.
"""

import json
import math
import pathlib

import torch
from families import CASES
from model import IMAGES, fill, numbers, uniform
from torch.nn import functional as F

# The target layer and, if it outputs tokens after a class token, their grid.
TARGETS = {
    "mobilenet_v2": (lambda model: model.features, None),
    "convnext_tiny_narrow": (lambda model: model.features, None),
    "efficientnet_b0": (lambda model: model.features, None),
    "vit_tiny_narrow": (lambda model: model.blocks[-1].norm1, (4, 4)),
}
SIDES = {"vit_tiny_narrow": 32}


def explain(name, make):
    side = SIDES.get(name, 96)
    shape = (2, 3, side, side)
    model = make()
    fill(model)
    model.eval()
    layer, grid = TARGETS[name]
    seen = []
    layer(model).register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = torch.from_numpy(2.0 * uniform(IMAGES, math.prod(shape))).reshape(shape)
    logits = model(images)
    for label in range(logits.shape[1]):
        maps = seen[0]
        grads, = torch.autograd.grad(logits[:, label].sum(), maps, retain_graph=True)
        if grid:
            maps, grads = (tokens[:, 1:].transpose(1, 2).unflatten(2, grid) for tokens in (maps, grads))
        heat = F.relu((grads.mean((2, 3), keepdim=True) * maps).sum(1))
        strongest = heat.amax((1, 2), keepdim=True)
        if strongest.min() > 0:
            break
    return {"images": shape, "class": label, "shares": numbers(logits.softmax(1)[:, label]), "grid": list(heat.shape[1:]),
            "heat": numbers(heat / strongest), "guesses": logits.argmax(1).tolist()}


def main():
    cases = {name: make for name, _, make in CASES if name in TARGETS}
    result = {name: explain(name, cases[name]) for name in TARGETS}
    path = pathlib.Path(__file__).parent / "grad_cam.json"
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
