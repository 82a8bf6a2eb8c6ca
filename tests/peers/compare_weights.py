"""Compares every tensor of a file, as torch.load reads it, with a safetensors file, bit for bit.

    python tests/peers/compare_weights.py weights.pth read.safetensors

The exit status is zero if names, dtypes, shapes, and bits are the same.
"""

import sys

import safetensors.torch
import torch


def main():
    weights, read = sys.argv[1:]
    want = torch.load(weights, weights_only=True)
    got = safetensors.torch.load_file(read)
    if want.keys() != got.keys():
        sys.exit(f"compare_weights: {len(got)} tensors are read, {len(want)} are there")
    for name, tensor in want.items():
        same = tensor.dtype == got[name].dtype and tensor.shape == got[name].shape
        if not same or not torch.equal(tensor.contiguous().view(-1).view(torch.uint8), got[name].view(-1).view(torch.uint8)):
            sys.exit(f"compare_weights: {name} differs")
    print(f"{len(want)} tensors of {sum(tensor.numel() for tensor in want.values())} numbers are the same")


if __name__ == "__main__":
    main()
