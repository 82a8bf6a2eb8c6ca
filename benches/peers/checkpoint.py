"""Measures the time that PyTorch takes to save, load, and copy a training state: ResNet-18 and AdamW's moments.

Each turn takes every measurement once, so that a change of the machine's speed affects all of them. With Lightning's
AsyncCheckpointIO, training waits for the clone: it copies every tensor before it passes the state to its thread. Other
load on the machine disturbs this measurement most, because it runs on all threads, one tensor at a time.

    python benches/peers/checkpoint.py                medians of five turns, files under target/
    TURNS=9 python benches/peers/checkpoint.py --folder /mnt/disk --json rows.jsonl
"""

import argparse
import json
import os
import statistics
import tempfile
import time

import torch
import torch.nn.functional as F
import torchvision
from torch.utils import _pytree

TURNS = max(1, int(os.environ.get("TURNS") or 5))
THREADS = os.cpu_count()


def trained_state():
    """One step is enough to create the moments."""
    torch.manual_seed(42)
    net = torchvision.models.resnet18(num_classes=1000)
    optimizer = torch.optim.AdamW(net.parameters())
    F.cross_entropy(net(torch.randn(2, 3, 64, 64)), torch.tensor([0, 1])).backward()
    optimizer.step()
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict()}


def save(state, path, sync):
    with open(path, "wb") as file:
        torch.save(state, file)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def load(path):
    return torch.load(path, weights_only=True)


def clone(state):
    return _pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.detach().clone(), state)


def size_of(state):
    return sum(leaf.nbytes for leaf in _pytree.tree_leaves(state) if isinstance(leaf, torch.Tensor))


def timed(call, *arguments):
    started = time.perf_counter()
    kept = call(*arguments)
    seconds = time.perf_counter() - started
    del kept  # untimed
    return seconds


def remove(path):
    """Every save writes a new file: ext4 immediately writes out data that replaces a truncated file."""
    if os.path.exists(path):
        os.remove(path)


def turn(state, path):
    """Loads the file that it just saved, which is still in the page cache."""
    remove(path)
    seconds = {"torch.save": timed(save, state, path, False)}
    remove(path)
    seconds["torch.save+fsync"] = timed(save, state, path, True)
    seconds["torch.load"] = timed(load, path)
    seconds["clone"] = timed(clone, state)
    return seconds


def rows_in(folder):
    state = trained_state()
    path = os.path.join(folder, "checkpoint.pt")
    turn(state, path)  # imports torch's lazy modules, and lets the allocator grow
    turns = [turn(state, path) for _ in range(TURNS)]
    size = size_of(state)
    return [{"what": what, "bytes": size, "seconds": [seconds[what] for seconds in turns]} for what in turns[0]]


def print_row(*cells):
    print("| {:<16} | {:>8} | {:>16} | {:>6} |".format(*cells), flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--folder", default="target", help="write to a temporary folder below this one")
    arguments.add_argument("--json", metavar="FILE", help="append each row as a line of JSON, too")
    chosen = arguments.parse_args()
    torch.set_num_threads(THREADS)
    os.makedirs(chosen.folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=chosen.folder) as folder:
        rows = rows_in(folder)
    print(f"PyTorch {torch.__version__.split('+')[0]}, {rows[0]['bytes'] / 1e6:.1f} MB, {THREADS} threads, "
          f"medians of {TURNS} turns")
    print_row("what", "ms", "spread", "MB/s")
    print_row("---", "--:", "--:", "--:")
    with open(chosen.json or os.devnull, "a") as lines:
        for row in rows:
            ms = [1e3 * seconds for seconds in row["seconds"]]
            median = statistics.median(ms)
            spread, rate = f"{min(ms):.1f}..{max(ms):.1f}", f"{row['bytes'] / median / 1e3:.0f}"
            print_row(row["what"], f"{median:.1f}", spread, rate)
            lines.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
