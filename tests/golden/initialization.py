"""Writes initialization.json: initial weights from torch.nn.init and torchvision, for tests/library/initializations.rs.

Run with torch 2.13 and torchvision 0.28: python tests/golden/initialization.py
"""

import json
import pathlib

import torch
import torchvision

EYES = [(3, 5), (5, 3), (4, 4)]
# A kernel of even size has no center: torch uses the tap at half its size.
DIRACS = [(4, 3, 3, 3), (2, 3, 5, 5), (3, 3, 2, 2), (2, 2, 1, 1)]


def ones(tensor):
    """Shape, and positions of the ones; all other elements are 0."""
    assert set(tensor.flatten().tolist()) <= {0.0, 1.0}
    return {"shape": list(tensor.shape), "ones": tensor.nonzero().tolist()}


def zero_gains(model):
    """The norm weights whose elements are all 0."""
    return [name for name, tensor in model.named_parameters() if name.endswith("weight") and not tensor.any()]


def main():
    resnets = {"resnet18": torchvision.models.resnet18, "resnet50": torchvision.models.resnet50}
    golden = {
        "eye": [ones(torch.nn.init.eye_(torch.empty(shape))) for shape in EYES],
        "dirac": [ones(torch.nn.init.dirac_(torch.empty(shape))) for shape in DIRACS],
        "zero_init_residual": {name: zero_gains(make(zero_init_residual=True)) for name, make in resnets.items()},
    }
    path = pathlib.Path(__file__).with_suffix(".json")
    lines = (f' "{name}": {json.dumps(entry)}' for name, entry in golden.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
