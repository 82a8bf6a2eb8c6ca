"""Writes foreign_events/ and foreign_events.json: event files by the writers of other programs, and numbers from them.

Run with PyTorch 2.13, tensorboard 2.21, and tensorboardX 2.6: python tests/golden/foreign_events.py

Each net is an MLP on four classes of points, trained by SGD on one thread. The writers:
- torch_*: torch.utils.tensorboard.SummaryWriter, with the names of tutorials; torch_unusual with unusual names.
- tensorboardx: tensorboardX.SummaryWriter.
- lightning: the tags of Lightning's TensorBoardLogger, LearningRateMonitor and grad_norm, each at the step at which Lightning
  logs it, by SummaryWriter as that logger does; Lightning itself does not run.
- keras_*: the folders, tags and encodings of Keras's TensorBoard callback (keras_epochs), of the same with
  update_freq="batch" (keras_batches), and of a custom training loop with gradients (keras_gradients), by TensorBoard's own
  summary_v2 and EventFileWriter; TensorFlow does not run, and the net is PyTorch's with Keras's names.

The clock is fixed except for changes in this script, and the files have fixed names, so that each run writes the same bytes.
"""

import json
import math
import pathlib
import shutil
import time

NOW = 1.7e9
time.time = lambda: NOW  # before the writers are imported: files start with the time

import tensorboardX
import torch
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch import nn
from torch.utils.tensorboard import SummaryWriter

FOLDER = pathlib.Path(__file__).parent / "foreign_events"
CLASSES, WIDTH, BATCH = 4, 16, 64
numbers = {}


def tick(secs=0.25):
    global NOW
    NOW += secs


def settle(folder):
    """Renames the only event file of a folder, to remove machine, time, and process from the name."""
    (file,) = folder.glob("events.out.tfevents.*")
    file.rename(folder / "events.out.tfevents.1700000000.host.1.0")


def note(case, role, step, value, kind=torch.float32):
    """Records a number as in the file, at its step: an evaluation belongs to the step after it."""
    # A few steps of a long series are enough.
    if role not in ("loss", "learning_rate", "total_norm") or step % 14 in (0, 4):
        numbers.setdefault(case, []).append([role, step, torch.tensor(value, dtype=kind).item()])
    return value


class Net:
    """An MLP in training: sigmoid with Xavier, whose gradient vanishes, or ReLU with He, whose gradient does not."""

    def __init__(self, activation, depth, learning_rate=0.1):
        torch.manual_seed(1)
        torch.set_num_threads(1)
        centres = 2.0 * torch.randn(CLASSES, WIDTH)
        self.labels = torch.arange(256) % CLASSES
        self.points = centres[self.labels] + torch.randn(256, WIDTH)
        layers = []
        for layer in range(depth):
            linear = nn.Linear(WIDTH, CLASSES if layer == depth - 1 else WIDTH)
            nn.init.zeros_(linear.bias)
            if activation is nn.Sigmoid:
                nn.init.xavier_normal_(linear.weight)
            else:
                nn.init.kaiming_normal_(linear.weight)
            layers += [linear, activation()]
        self.model = nn.Sequential(*layers[:-1])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=learning_rate)

    def parameters(self):
        """Parameters, with their names in a module with a member `layers`."""
        names = [name.split(".") for name, _ in self.model.named_parameters()]
        return [(f"layers.{int(n) // 2}.{kind}", p) for (n, kind), p in zip(names, self.model.parameters())]

    def step(self, step):
        """Runs forward and backward; `update` runs the optimizer step."""
        batch = torch.arange(step * BATCH, (step + 1) * BATCH) % 192
        self.optimizer.zero_grad()
        logits = self.model(self.points[batch])
        loss = nn.functional.cross_entropy(logits, self.labels[batch])
        loss.backward()
        return loss.item(), (logits.argmax(1) == self.labels[batch]).float().mean().item()

    def update(self):
        self.optimizer.step()
        tick()

    def total_norm(self):
        return math.sqrt(sum(p.grad.norm().item() ** 2 for p in self.model.parameters()))

    @torch.no_grad()
    def evaluate(self):
        logits = self.model(self.points[192:])
        loss = nn.functional.cross_entropy(logits, self.labels[192:]).item()
        return loss, (logits.argmax(1) == self.labels[192:]).float().mean().item()


def torch_vanishing(folder):
    """Logs everything by step; the learning rate as a tensor, the validation loss as a float64 tensor."""
    net, writer = Net(nn.Sigmoid, 7), SummaryWriter(folder)
    for step in range(60):
        loss, accuracy = net.step(step)
        writer.add_scalar("Loss/train", note("torch_vanishing", "loss", step, loss), step)
        writer.add_scalar("Accuracy/train", accuracy, step)
        writer.add_scalar("lr", note("torch_vanishing", "learning_rate", step, 0.1), step, new_style=True)
        if step % 20 == 0:
            for name, parameter in net.parameters():
                writer.add_histogram(f"gradients/{name}", parameter.grad, step, bins="auto")
        if step % 10 == 0:
            for name, parameter in net.parameters():
                writer.add_scalar(f"grad_norm/{name}", parameter.grad.norm(), step)
        net.update()
        if step % 20 == 19:
            loss, accuracy = net.evaluate()
            note("torch_vanishing", "validation_loss", step, loss, torch.float64)
            writer.add_scalar("Loss/val", loss, step, new_style=True, double_precision=True)
            writer.add_scalar("Accuracy/val", note("torch_vanishing", "validation_accuracy", step, accuracy), step)
    writer.close()


def torch_healthy(folder):
    """Training by step, validation and histograms of weights and gradients by epoch, each numbered on its own."""
    net, writer = Net(nn.ReLU, 4, 0.02), SummaryWriter(folder)
    for step in range(60):
        loss, _ = net.step(step)
        writer.add_scalar("train/loss", note("torch_healthy", "loss", step, loss), step)
        writer.add_scalar("train/grad_norm", note("torch_healthy", "total_norm", step, net.total_norm()), step)
        net.update()
        if step % 12 == 11:
            epoch = step // 12
            loss, accuracy = net.evaluate()
            writer.add_scalar("val/loss", note("torch_healthy", "validation_loss", step + 1, loss), epoch)
            writer.add_scalar("val/accuracy", accuracy, epoch)
        if step % 30 == 0:
            for name, parameter in net.parameters():
                writer.add_histogram(name, parameter, step, bins="auto")
                writer.add_histogram(f"{name}.grad", parameter.grad, step, bins="auto")
    writer.close()


def torch_unusual(folder):
    """Unusual names."""
    net, writer = Net(nn.Sigmoid, 7), SummaryWriter(folder)
    for step in range(60):
        loss, _ = net.step(step)
        writer.add_scalar("opt/objective", note("torch_unusual", "loss", step, loss), step)
        if step % 5 == 0:
            for name, parameter in net.parameters():
                writer.add_scalar(f"monitor/g2/{name}", parameter.grad.norm(), step)
        net.update()
    writer.close()


def tensorboardx(folder):
    """Logs norms instead of histograms; the histograms of the first step have 700 buckets and the names of the parameters."""
    net, writer = Net(nn.Sigmoid, 7), tensorboardX.SummaryWriter(str(folder))
    for step in range(60):
        loss, _ = net.step(step)
        writer.add_scalar("loss", note("tensorboardx", "loss", step, loss), step)
        if step % 10 == 0:
            for name, parameter in net.parameters():
                writer.add_scalar(f"gradients/{name}", parameter.grad.norm().item(), step)
        if step == 0:
            for name, parameter in net.parameters()[1::4]:
                writer.add_histogram(f"{name}.grad", parameter.grad.numpy(), step)
        net.update()
    writer.close()


def lightning(folder):
    """Epochs of 20 steps, with a row every fifth step, starting at step 4."""
    net, writer = Net(nn.Sigmoid, 7), SummaryWriter(folder)
    losses = []
    for step in range(60):
        loss, _ = net.step(step)
        losses.append(loss)
        if step % 5 == 4:
            for name, parameter in net.parameters():
                writer.add_scalar(f"grad_2.0_norm/{name}", parameter.grad.norm(), step)
            writer.add_scalar("grad_2.0_norm_total", note("lightning", "total_norm", step, net.total_norm()), step)
            writer.add_scalar("train_loss_step", note("lightning", "loss", step, loss), step)
            writer.add_scalar("lr-SGD", 0.1, step)
            writer.add_scalar("epoch", step // 20, step)
        net.update()
        if step % 20 == 19:
            loss, accuracy = net.evaluate()
            writer.add_scalar("val_loss", note("lightning", "validation_loss", step, loss), step)
            writer.add_scalar("val_acc", accuracy, step)
            writer.add_scalar("train_loss_epoch", note("lightning", "train_loss", step, sum(losses) / 20), step)
            writer.add_scalar("epoch", step // 20, step)
            losses = []
    writer.close()


class KerasWriter:
    def __init__(self, folder):
        self.writer = EventFileWriter(str(folder))

    def scalar(self, tag, value, step):
        self.writer.add_event(Event(wall_time=NOW, step=step, summary=scalar_pb(tag, value)))

    def histogram(self, tag, values, step):
        self.writer.add_event(Event(wall_time=NOW, step=step, summary=histogram_pb(tag, values.detach().numpy())))


def keras_name(name):
    _, layer, kind = name.split(".")
    return f"dense{'_' + layer if layer != '0' else ''}/{'kernel' if kind == 'weight' else kind}"


def keras_fit(case, folder, every_batch, has_histograms):
    """The files of model.fit with the TensorBoard callback: six epochs of 12 batches."""
    net = Net(nn.ReLU, 4, 0.02)
    train, validation = KerasWriter(folder / "train"), KerasWriter(folder / "validation")
    losses, accuracies = [], []
    for step in range(72):
        loss, accuracy = net.step(step)
        losses.append(loss)
        accuracies.append(accuracy)
        if every_batch:
            train.scalar("batch_loss", note(case, "loss", step, loss), step)
            train.scalar("batch_accuracy", accuracy, step)
        net.update()
        if step % 12 == 11:
            epoch = step // 12
            place = step + 1 if every_batch else epoch
            train.scalar("epoch_loss", note(case, "train_loss", place, sum(losses) / 12), epoch)
            train.scalar("epoch_accuracy", sum(accuracies) / 12, epoch)
            train.scalar("epoch_learning_rate", 0.02, epoch)
            loss, accuracy = net.evaluate()
            validation.scalar("epoch_loss", note(case, "validation_loss", place, loss), epoch)
            validation.scalar("epoch_accuracy", accuracy, epoch)
            validation.scalar("evaluation_loss_vs_iterations", loss, step + 1)
            losses, accuracies = [], []
            if has_histograms and epoch % 3 == 0:
                for name, parameter in net.parameters():
                    train.histogram(f"{keras_name(name)}/histogram", parameter, epoch)
    for writer in [train, validation]:
        writer.writer.close()


def keras_gradients(folder):
    """A custom loop with its own folders, and with gradients."""
    net = Net(nn.Sigmoid, 7)
    train, test = KerasWriter(folder / "train"), KerasWriter(folder / "test")
    for step in range(60):
        loss, accuracy = net.step(step)
        train.scalar("loss", note("keras_gradients", "loss", step, loss), step)
        if step % 20 == 0:
            for name, parameter in net.parameters():
                train.histogram(f"gradients/{keras_name(name)}", parameter.grad, step)
        net.update()
        if step % 20 == 19:
            test.scalar("loss", note("keras_gradients", "validation_loss", step, net.evaluate()[0]), step)
    for writer in [train, test]:
        writer.writer.close()


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    cases = {
        "torch_vanishing": torch_vanishing,
        "torch_healthy": torch_healthy,
        "torch_unusual": torch_unusual,
        "tensorboardx": tensorboardx,
        "lightning": lambda folder: lightning(folder / "lightning_logs" / "version_0"),
        "keras_epochs": lambda folder: keras_fit("keras_epochs", folder, False, True),
        "keras_batches": lambda folder: keras_fit("keras_batches", folder, True, False),
        "keras_gradients": keras_gradients,
    }
    for name, write in cases.items():
        global NOW
        NOW = 1.7e9
        write(FOLDER / name)
        for folder in {file.parent for file in (FOLDER / name).rglob("events.out.tfevents.*")}:
            settle(folder)
    lines = [f"{json.dumps(case)}: [\n" + ",\n".join(map(json.dumps, rows)) + "\n]" for case, rows in numbers.items()]
    FOLDER.with_suffix(".json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
