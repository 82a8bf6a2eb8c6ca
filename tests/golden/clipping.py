"""Writes clipping.json: clipped gradients and clipping coefficients by PyTorch, timm, and the formulas of the papers.

Run with PyTorch 2.13 and timm 1.0: python tests/golden/clipping.py

All values are float64, and the parameters and gradients are exact in float32 as well.
"""

import json
import math
import pathlib

import numpy as np
import torch
from timm.utils.agc import adaptive_clip_grad

SHAPES = {"conv": [4, 3, 3, 3], "gain": [4, 1, 1, 1], "bias": [4], "fc": [5, 7], "scalar": []}


def unit(shape, i):
    """The index of element i along the first axis."""
    return i // math.prod(shape[1:]) if shape else 0


def params():
    """Element i of tensor t is ((i * 37 + t * 11) % 17) / 8 - 1; the bias is zero, as at the start of training."""
    flat = [[((i * 37 + t * 11) % 17) / 8 - 1 for i in range(math.prod(s))] for t, s in enumerate(SHAPES.values())]
    flat[2] = [0.0] * 4
    return flat


def grads():
    """Element i of tensor t is (((i * 29 + t * 7) % 17) / 8 - 1) / 16^u, with u the index of i along the first axis.

    The units therefore have gradients of very different sizes. Unit 4, the last of fc, has no gradient at all.
    """
    flat = []
    for t, shape in enumerate(SHAPES.values()):
        units = [unit(shape, i) for i in range(math.prod(shape))]
        flat.append([(((i * 29 + t * 7) % 17) / 8 - 1) / 16**u if u < 4 else 0.0 for i, u in enumerate(units)])
    return flat


def parameters():
    tensors = []
    for shape, values, grad in zip(SHAPES.values(), params(), grads()):
        tensors.append(torch.nn.Parameter(torch.tensor(values, dtype=torch.float64).reshape(shape)))
        tensors[-1].grad = torch.tensor(grad, dtype=torch.float64).reshape(shape)
    return tensors


def grads_of(tensors):
    return [p.grad.flatten().tolist() for p in tensors]


def clip_norm(norm_type, max_norm):
    tensors = parameters()
    total = torch.nn.utils.clip_grad_norm_(tensors, max_norm, norm_type=norm_type)
    assert total > max_norm
    return {"max_norm": max_norm, "total_norm": total.item(), "grads": grads_of(tensors)}


def clip_value(value):
    tensors = parameters()
    torch.nn.utils.clip_grad_value_(tensors, value)
    return {"clip_value": value, "grads": grads_of(tensors)}


def agc_timm(clip_factor, eps):
    tensors = parameters()
    adaptive_clip_grad(tensors, clip_factor=clip_factor, eps=eps, norm_type=2.0)
    return {"clip_factor": clip_factor, "eps": eps, "grads": grads_of(tensors)}


def unitwise_norm(x):
    """One norm for each index of the output axis, or a single one if squeezing leaves a vector or a scalar."""
    if x.squeeze().ndim <= 1:
        return torch.linalg.vector_norm(x)
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)


def agc(clip_factor, eps):
    """Brock et al. 2021, arXiv:2102.06171, section 4, with the units of the authors' code.

    If a unit's |G| is not below limit = clip_factor * max(|W|, eps), G becomes G * limit / max(|G|, 1e-6).
    """
    tensors = parameters()
    with torch.no_grad():
        for p in tensors:
            limit = clip_factor * unitwise_norm(p).clamp(min=eps)
            norm = unitwise_norm(p.grad)
            p.grad = torch.where(norm < limit, p.grad, p.grad * (limit / norm.clamp(min=1e-6)))
    return {"clip_factor": clip_factor, "eps": eps, "grads": grads_of(tensors)}


def norms():
    """Total gradient norms of 60 steps: smooth with a little noise, doubled at step 35, times 100 at step 45."""
    smooth = [round(0.9 + 0.25 * math.cos(t / 6) + 0.01 * ((t * 37) % 11), 4) for t in range(60)]
    return [round(n * {35: 2, 45: 100}.get(t, 1), 4) for t, n in enumerate(smooth)]


def coefficient(target, norm):
    """The formula of torch.nn.utils.clip_grad_norm_: just below one if the target is the norm itself."""
    return min(1.0, target / (norm + 1e-6))


def autoclip(percentile):
    """Seetharaman et al. 2020, arXiv:2007.14469: clips to a percentile of all norms so far, including this one."""
    seen = norms()
    return [coefficient(np.percentile(seen[: t + 1], percentile).item(), n) for t, n in enumerate(seen)]


def zclip(mode="zscore", option="adaptive_scaling", max_norm=1.0):
    """Kumar et al. 2025, arXiv:2504.02507, with the defaults of the authors' code.

    The first 25 norms give mean and variance and are clipped to max_norm only. Afterwards a norm n with
    z = (n - mean) / (std + eps) above the threshold counts as mean + z_thresh * std / (z / z_thresh), and this
    value updates mean and variance.
    """
    alpha, z_thresh, eps, warmup, clip_factor = 0.97, 2.5, 1e-6, 25, 1.0
    limit = math.inf if max_norm is None else max_norm
    first, coefficients = [], []
    for n in norms():
        if len(first) < warmup:
            first.append(n)
            mean, variance = np.mean(first).item(), np.var(first).item()
            coefficients.append(coefficient(limit, n))
            continue
        std = math.sqrt(variance)
        z = (n - mean) / (std + eps)
        clipped = n
        if mode == "percentile":
            clipped = min(n, mean + z_thresh * std)
        elif z > z_thresh and option == "adaptive_scaling":
            clipped = (mean + z_thresh * std / (z / z_thresh)) * clip_factor
        elif z > z_thresh:
            clipped = mean
        mean = alpha * mean + (1 - alpha) * clipped
        variance = alpha * variance + (1 - alpha) * (clipped - mean) ** 2
        coefficients.append(coefficient(min(clipped, limit), n))
    return coefficients


def adagc_norms():
    """Norms of three tensors over 130 steps, which shrink during training.

    The first has a peak during the warm-up (step 40) and one after it (step 110), the second no gradient for five
    steps, and the total crosses one again and again.
    """
    rows = []
    for t in range(130):
        shrink = 1 / (1 + t / 60)
        a = (0.7 + 0.02 * ((t * 37) % 11)) * {40: 3, 110: 30}.get(t, 1)
        b = 0.0 if t < 5 else 0.1 + 0.002 * ((t * 29) % 13)
        c = 0.7 + 0.3 * math.sin(t / 9) + 0.01 * ((t * 23) % 7)
        rows.append([round(n * shrink, 4) for n in (a, b, c)])
    return rows


def adagc():
    """Wang et al. 2025, arXiv:2502.11034.

    In the warm-up all tensors are clipped by the total norm to lambda_abs, and gamma is the smallest clipped norm of
    the tensor so far. Afterwards each tensor is clipped to lambda_rel * gamma, and gamma averages its clipped norms.
    """
    beta, lambda_abs, lambda_rel, warmup = 0.98, 1.0, 1.05, 100
    gamma = [math.inf] * 3
    coefficients = []
    for t, row in enumerate(adagc_norms()):
        total = math.sqrt(sum(n * n for n in row))
        h = [1.0] * 3
        for i, n in enumerate(row):
            if n == 0.0:
                continue  # carries no information about the size of this tensor's gradients: the limit stays the same
            if t < warmup:
                h[i] = min(lambda_abs / total, 1.0)
                gamma[i] = min(gamma[i], h[i] * n)
            else:
                h[i] = min(lambda_rel * gamma[i] / n, 1.0)
                gamma[i] = beta * gamma[i] + (1 - beta) * h[i] * n
        coefficients.append(h)
    return coefficients


golden = {
    "names": list(SHAPES),
    "shapes": list(SHAPES.values()),
    "params": params(),
    "grads": grads(),
    "norm_1": clip_norm(1.0, 2.0),
    "norm_2": clip_norm(2.0, 1.0),
    "norm_3": clip_norm(3.0, 1.0),
    "norm_inf": clip_norm(math.inf, 0.5),
    "value": clip_value(0.25),
    "agc_timm": agc_timm(0.01, 1e-3),
    "agc": agc(0.01, 1e-3),
    "norms": norms(),
    "autoclip": autoclip(10),
    "zclip": zclip(),
    "zclip_percentile": zclip(mode="percentile"),
    "zclip_mean": zclip(option="mean"),
    "zclip_unbounded": zclip(max_norm=None),
    "adagc_norms": adagc_norms(),
    "adagc": adagc(),
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text("{\n" + ",\n".join(f' "{name}": {json.dumps(v)}' for name, v in golden.items()) + "\n}\n")
