"""Writes torchscript_*.pt and torchscript.json: small modules, and PyTorch's results with them.

Run with torch 2.13: python tests/golden/torchscript.py
"""

import json
import pathlib
import zipfile

import torch
from torch import nn
from torch.nn import functional as F

FOLDER = pathlib.Path(__file__).parent
CLASSES = 4
SHAPE = (1, 8, 8)


class Cnn(nn.Module):
    """Features of other projects' nets: nested modules, a branch on self.training, a custom buffer, tied weights."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.drop = nn.Dropout(0.25)
        self.gain = nn.Parameter(torch.ones(1))
        self.register_buffer("scale", torch.tensor(0.5))
        self.hidden = nn.Linear(4 * 16, 8)
        self.again = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.again.weight
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images):
        maps = F.max_pool2d(self.stem(images), 2)
        maps = F.relu(maps + self.scale * self.block(maps))
        hidden = F.relu(self.hidden(torch.flatten(maps, 1) * self.gain))
        hidden = F.relu(self.tied(F.relu(self.again(hidden))))
        return self.head(self.drop(hidden))


class Mlp(nn.Module):
    """Fully connected; only the names of nn.Sequential."""

    def __init__(self, depth, width, activation):
        super().__init__()
        sizes = [64] + [width] * depth
        layers = [nn.Flatten()]
        for inputs, outputs in zip(sizes, sizes[1:]):
            linear = nn.Linear(inputs, outputs)
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
            layers += [linear, activation()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, CLASSES))

    def forward(self, images):
        return self.layers(images)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, images):
        logits = self.fc(torch.flatten(images, 1))
        return logits, logits


class Normalized(nn.Module):
    """A trace always normalizes in the mode in which it was traced."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))

    def forward(self, images):
        return self.body(images)


def images(count):
    """Multiples of 1/128 in [-1/2, 1/2): exact in float32."""
    elements = torch.arange(count * 64)
    return (((elements * 37) % 128).float() / 128 - 0.5).reshape(count, *SHAPE)


def save(module, name):
    """Saves without debug files, which contain folder names of this machine."""
    path = FOLDER / f"torchscript_{name}.pt"
    module.save(str(path))
    with zipfile.ZipFile(path) as archive:
        records = {entry: archive.read(entry) for entry in archive.namelist() if not entry.endswith(".debug_pkl")}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in records.items():
            archive.writestr(zipfile.ZipInfo(entry), content)
    return path


def numbers(tensor):
    return [float(f"{value:.8g}") for value in tensor.flatten().tolist()]


def golden(module):
    """Logits and gradients in evaluation mode; then the running statistics after one pass in training mode."""
    module.eval()
    logits = module(images(3))
    F.cross_entropy(logits, torch.tensor([1, 3, 0])).backward()
    grads = {name: numbers(param.grad) for name, param in module.named_parameters()}
    module.train()
    module(images(3))
    stats = {name: numbers(buffer) for name, buffer in module.named_buffers() if buffer.is_floating_point()}
    return {"names": list(module.state_dict()), "logits": numbers(logits), "grads": grads, "buffers": stats}


def main():
    torch.manual_seed(7)
    cnn, mlp = Cnn(), Mlp(2, 12, nn.Tanh)
    traced = torch.jit.trace(mlp.eval(), images(2))
    paths = {"cnn": save(torch.jit.script(cnn), "cnn"), "traced": save(traced.train(), "traced")}
    expected = {name: golden(torch.jit.load(str(path))) for name, path in paths.items()}
    (FOLDER / "torchscript.json").write_text(json.dumps(expected) + "\n")

    save(torch.jit.script(Mlp(10, 16, nn.Sigmoid)), "logistic")
    save(torch.jit.script(Pair()), "pair")
    save(torch.jit.freeze(torch.jit.script(Mlp(1, 4, nn.Tanh).eval())), "frozen")
    save(torch.jit.trace(Normalized().train(), images(2), check_trace=False), "traced_training")
    save(torch.jit.trace(Normalized().eval(), images(2)), "traced_evaluation")
    torch.save(mlp.state_dict(), FOLDER / "torchscript_state_dict.pt")


if __name__ == "__main__":
    main()
