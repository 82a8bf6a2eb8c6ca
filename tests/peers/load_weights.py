"""Loads a weights file into torchvision's ResNet-18, and compares its logits with expected ones.

    python tests/peers/load_weights.py model.safetensors expected.json

The second file is {"classes": C, "image_size": S, "logits": [[...], [...]]}, a row for each of two images that count
evenly from -1 to 1. The exit status is zero if the weights load strictly and the logits agree.
"""

import json
import sys

import safetensors.torch
import torch
import torchvision

TOLERANCE = 1e-5  # relative to the largest logit; float32 has about seven digits, and eighteen layers lose some


def logits_of(path, classes, size):
    model = torchvision.models.resnet18(num_classes=classes)
    model.load_state_dict(safetensors.torch.load_file(path))
    model.eval()
    images = torch.linspace(-1, 1, 2 * 3 * size * size).reshape(2, 3, size, size)
    with torch.no_grad():
        return model(images).double()


def difference(logits, expected):
    # Different shapes could broadcast, and then compare as equal.
    if logits.shape != expected.shape:
        raise ValueError(f"{list(expected.shape)} logits expected, {list(logits.shape)} computed")
    return ((logits - expected).abs().max() / expected.abs().max()).item()


def fail(what):
    """Prints one line; torch lists missing and unexpected keys on several lines."""
    sys.exit(f"load_weights: {' '.join(str(what).split())}")


def main():
    if len(sys.argv) != 3:
        fail("two arguments are needed, a safetensors file and the JSON file of expected logits")
    weights, expectation = sys.argv[1:]
    try:
        with open(expectation) as file:
            expected = json.load(file)
        logits = logits_of(weights, expected["classes"], expected["image_size"])
        relative = difference(logits, torch.tensor(expected["logits"], dtype=torch.float64))
    except KeyError as key:
        fail(f"{expectation} has no {key}")
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        fail(f"{weights} against {expectation}: {error}")
    # In this form, NaN fails too.
    if not relative <= TOLERANCE:
        fail(f"the logits of {weights} differ by {relative:.2e} of the largest, more than {TOLERANCE:.0e}")
    print(f"largest difference {relative:.2e} of the largest logit")


if __name__ == "__main__":
    main()
