"""Writes schedule.json: learning rates of PyTorch's and timm's schedulers.

Run with PyTorch 2.13 and timm 1.0: python tests/golden/schedule.py

{case: [learning rate of step t of the optimizer, for t = 0 to 39]}, from a base learning rate of 0.8. A
scheduler steps after every step of the optimizer, so entry 0 is the rate after its constructor. Three entries are different:
one_cycle_momentum is the momentum of one_cycle, plateau_metrics is the input of plateau, and plateau is the
learning rate after each of these 20 metrics.
"""

import json
import pathlib

import torch
from timm.scheduler import CosineLRScheduler
from torch.optim import lr_scheduler

BASE = 0.8
STEPS = 40

# Improves, stalls for six (the last within the relative threshold of the best), improves, stalls for seven.
PLATEAU_METRICS = [2.0, 1.6, 1.3, 1.1]
PLATEAU_METRICS += [1.1, 1.15, 1.12, 1.2, 1.1, 1.09995]
PLATEAU_METRICS += [1.0, 0.9, 0.8]
PLATEAU_METRICS += [0.85, 0.8, 0.81, 0.9, 0.8, 0.82, 0.79999]


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE, momentum=0.9)


def per_step(make, key="lr"):
    sgd = optimizer()
    scheduler = make(sgd)
    values = []
    for _ in range(STEPS):
        values.append(sgd.param_groups[0][key])
        sgd.step()
        if len(values) < STEPS:
            scheduler.step()
    return values


def plateau():
    sgd = optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(
        sgd, mode="min", factor=0.5, patience=2, threshold=1e-4, threshold_mode="rel", cooldown=0, min_lr=0.0
    )
    values = []
    for metric in PLATEAU_METRICS:
        scheduler.step(metric)
        values.append(sgd.param_groups[0]["lr"])
    return values


def warmup_cosine():
    """Entry t is the rate that step_update(t) sets after t updates: the rate of update t, counted from 0.

    Updates 0 to 4 are warm-up, 1e-3 + t * (0.8 - 1e-3) / 5. Update 5 has the whole 0.8, and the cosine of 35 updates
    begins there (warmup_prefix): update t has 0.2 + 0.3 * (1 + cos(pi * (t - 5) / 35)), so that 0.2 would be reached by
    update 40, one past the end.
    """
    sgd = optimizer()
    scheduler = CosineLRScheduler(
        sgd, t_initial=35, lr_min=0.2, warmup_t=5, warmup_lr_init=1e-3, warmup_prefix=True, t_in_epochs=False
    )
    values = []
    for t in range(STEPS):
        scheduler.step_update(t)
        values.append(sgd.param_groups[0]["lr"])
    return values


def one_cycle(sgd):
    """The explicit defaults: 30 % up, cosine, from 0.8 / 25 to 0.8 / 25 / 1e4, momentum 0.95 to 0.85 and back."""
    return lr_scheduler.OneCycleLR(
        sgd,
        max_lr=BASE,
        total_steps=STEPS,
        pct_start=0.3,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=1e4,
        three_phase=False,
    )


schedules = {
    "step": per_step(lambda sgd: lr_scheduler.StepLR(sgd, step_size=15, gamma=0.5)),
    "multistep": per_step(lambda sgd: lr_scheduler.MultiStepLR(sgd, milestones=[10, 25], gamma=0.1)),
    "cosine": per_step(lambda sgd: lr_scheduler.CosineAnnealingLR(sgd, T_max=STEPS, eta_min=0.2)),
    "cosine_restarts": per_step(
        lambda sgd: lr_scheduler.CosineAnnealingWarmRestarts(sgd, T_0=10, T_mult=2, eta_min=0.2)
    ),
    "polynomial": per_step(lambda sgd: lr_scheduler.PolynomialLR(sgd, total_iters=STEPS, power=2.0)),
    "one_cycle": per_step(one_cycle),
    "one_cycle_momentum": per_step(one_cycle, "momentum"),
    "plateau": plateau(),
    "plateau_metrics": PLATEAU_METRICS,
    "warmup_cosine": warmup_cosine(),
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text("{\n" + ",\n".join(f' "{name}": {json.dumps(v)}' for name, v in schedules.items()) + "\n}\n")
