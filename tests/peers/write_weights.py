"""Writes the weights of ResNet-18 from torchvision and from timm, and the logits they compute.

    python tests/peers/write_weights.py FOLDER

Writes torchvision.pth (the zip format), timm.pth (the legacy format, float16), and expected.json, {"torchvision": [[...], [...]],
"timm": ...}: a row for each of two images of 3 x 64 x 64 that count evenly from -1 to 1.
"""

import json
import pathlib
import sys

import timm
import torch
import torchvision


def main():
    folder = pathlib.Path(sys.argv[1])
    images = torch.linspace(-1, 1, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64)
    torch.manual_seed(5)
    logits = {}
    for name, make in [
        ("torchvision", lambda: torchvision.models.resnet18(num_classes=10)),
        ("timm", lambda: timm.create_model("resnet18", num_classes=10)),
    ]:
        model = make()
        model.train()(torch.randn(8, 3, 64, 64))
        model.eval()
        if name == "timm":
            model.half().float()
            torch.save(model.half().state_dict(), folder / "timm.pth", _use_new_zipfile_serialization=False)
            model.float()
        else:
            torch.save(model.state_dict(), folder / "torchvision.pth")
        with torch.no_grad():
            logits[name] = model(images).double().tolist()
    (folder / "expected.json").write_text(json.dumps(logits))


if __name__ == "__main__":
    main()
