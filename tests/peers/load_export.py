"""Loads both files of an export with PyTorch, and compares the logits with expected ones.

    python tests/peers/load_export.py net.pt net.safetensors expected.json

The last file is {"net": a torchvision name, "classes": C, "image_size": S, "logits": [...]}, of three images that count evenly
from -1 to 1. The exit status is zero if names are torchvision's, the weights load strictly, and all logits agree.
"""

import json
import sys

import safetensors.torch
import torch
import torchvision

# Relative to the largest logit: sums in float32 depend on their order.
TOLERANCE = 1e-5


def main():
    script, weights, expected = sys.argv[1:]
    with open(expected) as file:
        expected = json.load(file)
    side = expected["image_size"]
    images = torch.linspace(-1, 1, 3 * 3 * side * side).reshape(3, 3, side, side)
    want = torch.tensor(expected["logits"]).reshape(3, -1)
    net = torchvision.models.get_model(expected["net"], num_classes=expected["classes"]).eval()
    net.load_state_dict(safetensors.torch.load_file(weights), strict=True)
    extra = {"classes.json": "", "preprocessing.json": ""}
    module = torch.jit.load(script, _extra_files=extra)
    if set(module.state_dict()) != set(net.state_dict()):
        sys.exit(f"load_export: other names: {sorted(set(module.state_dict()) ^ set(net.state_dict()))[:5]}")
    if len(json.loads(extra["classes.json"])) != expected["classes"] or json.loads(extra["preprocessing.json"])["width"] != side:
        sys.exit(f"load_export: got {extra} beside the program")
    for kind, model in [("torchvision's own net", net), ("the TorchScript module", module)]:
        with torch.no_grad():
            logits = model(images)
        off = ((logits - want).abs().max() / want.abs().max()).item()
        print(f"{expected['net']}: {kind} is off by {off:.1e} of the largest logit")
        if off > TOLERANCE:
            sys.exit(1)


if __name__ == "__main__":
    main()
