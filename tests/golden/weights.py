"""Writes weights/*: weights files by torch.save and safetensors, and weights.json with their contents.

Run with torch 2.13 and safetensors 0.8: python tests/golden/weights.py
The legacy format names each storage by its address, so those files have different bytes each time.

The net is the crate's `cnn` of width 2 and depth 1 with batch normalization, for images of 3 channels and 4 classes.
"""

import collections
import json
import pathlib

import safetensors.torch
import torch
from torch import nn

FOLDER = pathlib.Path(__file__).parent / "weights"
CLASSES = 4


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, images):
        return torch.relu(self.norm(self.conv(images)))


class Cnn(nn.Module):
    def __init__(self, classes=CLASSES):
        super().__init__()
        self.layers = nn.Sequential(Layer())
        self.classifier = nn.Linear(2, classes)

    def forward(self, images):
        return self.classifier(self.layers(images).mean((2, 3)))


def net(seed, classes=CLASSES):
    """A net that looks trained: all of its tensors differ from the initial ones."""
    torch.manual_seed(seed)
    model = Cnn(classes)
    for tensor in model.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape).abs() + 0.5 if tensor.is_floating_point() else torch.tensor(seed + 7))
    with torch.no_grad():
        model.layers[0].conv.weight.sub_(1.2)
        model.classifier.weight.sub_(1.0)
    return model.eval()


def listed(state):
    return {
        name: {"size": list(tensor.shape), "values": tensor.double().flatten().tolist()} for name, tensor in state.items()
    }


def strided(state):
    """The same values: channels last, transposed, and five tensors in one storage, one of them with steps of two."""
    state = dict(state)
    state["layers.0.conv.weight"] = state["layers.0.conv.weight"].contiguous(memory_format=torch.channels_last)
    state["classifier.weight"] = state["classifier.weight"].t().contiguous().t()
    shared = torch.zeros(20)
    parts = {
        "layers.0.norm.weight": shared[1:3],
        "layers.0.norm.bias": shared[3:5],
        "layers.0.norm.running_mean": shared[5:9:2],
        "layers.0.norm.running_var": shared[10:12],
        "classifier.bias": shared[16:20],
    }
    for name, part in parts.items():
        part.copy_(state[name])
        state[name] = part
    return state


def main():
    FOLDER.mkdir(exist_ok=True)
    golden = {}
    legacy = {"_use_new_zipfile_serialization": False}

    def save(name, file, state, **options):
        torch.save(file, FOLDER / name, **options)
        loaded = torch.load(FOLDER / name, weights_only=False)
        assert type(loaded) is type(file)
        golden[name] = listed(state)

    state = net(1).state_dict()
    save("zip.pth", state, state)
    save("zip_protocol4.pth", state, state, pickle_protocol=4)
    save("legacy.pth", state, state, **legacy)
    for kind, name, options in [(torch.float16, "half", {}), (torch.bfloat16, "bfloat16", legacy), (torch.float64, "double", {})]:
        state = net(2).to(kind).state_dict()
        save(f"{name}.pth", state, state, **options)
    state = strided(net(3).state_dict())
    assert len({tensor.untyped_storage().data_ptr() for tensor in state.values()}) == 4
    save("strided.pth", state, state)
    save("strided_legacy.pth", state, state, **legacy)

    model = net(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    state = model.state_dict()
    wrapped = collections.OrderedDict((f"module.{name}", tensor) for name, tensor in state.items())
    checkpoint = {
        "epoch": 3, "arch": "cnn", "best_acc1": 0.5, "state_dict": wrapped, "optimizer": optimizer.state_dict(),
        "shape": torch.Size([3, 4, 4]), "device": torch.device("cpu"), "dtype": torch.float32, "more": (None, [True, -1, 2**40]),
    }
    save("checkpoint.pth", checkpoint, state)
    parameters = dict(net(5).state_dict(keep_vars=True))
    assert isinstance(parameters["classifier.bias"], nn.Parameter)
    compiled = {f"_orig_mod.{name}": tensor for name, tensor in parameters.items()}
    save("compiled.pth", {"step": 1, "model": compiled}, parameters, **legacy)
    state = net(6, classes=7).state_dict()
    save("seven_classes.pth", state, state)
    save("module.pth", nn.Sequential(nn.Linear(1, 1)), {})
    golden.pop("module.pth")

    state = net(7).half().state_dict()
    safetensors.torch.save_file(state, FOLDER / "half.safetensors", metadata={"format": "pt"})
    golden["half.safetensors"] = listed(state)

    images = torch.arange(2 * 3 * 16, dtype=torch.float32).mul(37).remainder(128).div(128).sub(0.5).reshape(2, 3, 4, 4)
    with torch.no_grad():
        logits = net(1)(images)
    expected = {"files": golden, "logits": logits.flatten().tolist()}
    (FOLDER / "half.safetensors").chmod(0o644)
    (FOLDER.parent / "weights.json").write_text(json.dumps(expected, sort_keys=True) + "\n")


main()
