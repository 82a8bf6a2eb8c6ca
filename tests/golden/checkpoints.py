"""Writes checkpoints/*.pth: training checkpoints in the layout of torch.save, with typical other data next to the weights.

Run with Python 3.11, NumPy 2.4, OmegaConf 2.4 and ml-collections 1.1: python tests/golden/checkpoints.py
CPython writes the pickles; NumPy and OmegaConf objects are real. PyTorch's classes are stand-ins with the same names, so that
pickle writes the same bytes for them. The weights are those of "zip.pth" in weights.json; several.pth uses other files too.
"""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import json
import pathlib
import pickle
import random
import struct
import sys
import types
import uuid
import zipfile

import ml_collections
import numpy
import omegaconf

FOLDER = pathlib.Path(__file__).parent / "checkpoints"
FILES = json.loads((pathlib.Path(__file__).parent / "weights.json").read_text())["files"]
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def module(name):
    return sys.modules.setdefault(name, types.ModuleType(name))


def stand_in(where, name, made=None):
    """A function or class that pickles like PyTorch's."""
    made = made or (lambda *arguments: None)
    made.__module__, made.__qualname__, made.__name__ = where, name, name
    setattr(module(where), name, made)
    return made


for package in ("torch", "torch.optim", "project"):
    module(package).__path__ = []
REBUILD = {v: stand_in("torch._utils", f"_rebuild_{v}") for v in ("tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "qtensor")}
FROM_TYPE = stand_in("torch._tensor", "_rebuild_from_type_v2")
SIZE = stand_in("torch", "Size", type("Size", (tuple,), {}))
STORAGES = {f: stand_in("torch", f"{n}Storage", type(n, (), {})) for f, n in [("f", "Float"), ("q", "Long"), ("B", "Byte"), ("b", "QInt8")]}
UNTYPED = stand_in("torch.storage", "UntypedStorage", type("UntypedStorage", (), {}))
SGD = stand_in("torch.optim.sgd", "SGD", type("SGD", (), {}))
SUBCLASS = stand_in("project.tensors", "MyTensor", type("MyTensor", (), {}))


class Dtype:
    """A dtype, which pickles as a name in torch, such as torch.float32."""

    def __init__(self, name):
        self.name = name
        setattr(module("torch"), name, self)

    def __reduce__(self):
        return self.name


FLOAT32, FLOAT8 = Dtype("float32"), Dtype("float8_e4m3fn")
for dtype in (FLOAT32, FLOAT8):
    dtype.__module__ = "torch"


class Tensor:
    def __init__(self, values, size, letter="f", rebuilt="tensor_v2"):
        self.data = struct.pack(f"<{len(values)}{letter}", *values)
        self.count, self.size, self.letter, self.rebuilt = len(values), tuple(size), letter, rebuilt

    def rebuild(self, key):
        strides = [1] * len(self.size)
        for side in reversed(range(1, len(self.size))):
            strides[side - 1] = strides[side] * self.size[side]
        size, hooks = (0, self.size, tuple(strides)), collections.OrderedDict()
        if self.rebuilt == "tensor_v3":
            place = Place("storage", UNTYPED, key, "cpu", len(self.data))
            return REBUILD["tensor_v3"], (place, *size, False, hooks, FLOAT8 if self.letter == "B" else FLOAT32)
        place = Place("storage", STORAGES[self.letter], key, "cuda:0", self.count)
        if self.rebuilt == "qtensor":
            return REBUILD["qtensor"], (place, *size, (1, 0.5, 0), False, hooks)
        plain = REBUILD["tensor_v2"], (place, *size, False, hooks)
        if self.rebuilt == "from_type":
            return FROM_TYPE, (plain[0], SUBCLASS, plain[1], {"note": 1})
        if self.rebuilt.startswith("parameter"):
            inner = Tensor([], [])
            inner.rebuild = lambda _: plain
            state = ({"note": 1},) if self.rebuilt == "parameter_with_state" else ()
            return REBUILD[self.rebuilt], (inner, True, hooks, *state)
        return plain


class Place(tuple):
    """A persistent id."""

    def __new__(cls, *items):
        return super().__new__(cls, items)


class Pickler(pickle.Pickler):
    def __init__(self, out, protocol, is_legacy):
        super().__init__(out, protocol)
        self.data, self.is_legacy = {}, is_legacy

    def persistent_id(self, thing):
        if isinstance(thing, Place):
            return (*thing, None) if self.is_legacy else tuple(thing)
        return None

    def reducer_override(self, thing):
        if not isinstance(thing, Tensor):
            return NotImplemented
        key = str(len(self.data))
        made = thing.rebuild(key)
        if thing.count:
            self.data[key] = thing
        return made


def save(name, thing, protocol=2, is_legacy=False):
    out = io.BytesIO()
    pickler = Pickler(out, protocol, is_legacy)
    pickler.dump(thing)
    if is_legacy:
        front = [MAGIC, PROTOCOL, {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2}}]
        numbers = [struct.pack("<q", tensor.count) + tensor.data for tensor in pickler.data.values()]
        parts = [pickle.dumps(part, protocol) for part in front] + [out.getvalue(), pickle.dumps(list(pickler.data), protocol), *numbers]
        (FOLDER / name).write_bytes(b"".join(parts))
        return
    with zipfile.ZipFile(FOLDER / name, "w") as archive:
        entries = {"data.pkl": out.getvalue(), "byteorder": b"little", "version": b"3\n"}
        entries |= {f"data/{key}": tensor.data for key, tensor in pickler.data.items()}
        for entry, data in entries.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{entry}"), data)


def state(file="zip.pth", before="", rebuilt=("tensor_v2",)):
    """The weights of a file of weights.json, rebuilt by each of these functions in turn."""
    made = collections.OrderedDict()
    for index, (name, tensor) in enumerate(FILES[file].items()):
        is_count = name.endswith("tracked")
        values = [int(value) for value in tensor["values"]] if is_count else tensor["values"]
        how = "tensor_v2" if is_count else rebuilt[index % len(rebuilt)]
        made[before + name] = Tensor(values, tensor["size"], "q" if is_count else "f", how)
    made._metadata = {"": {"version": 1}}
    return made


class Args:
    def __init__(self):
        self.lr = 0.1


class Color(enum.Enum):
    RED = 1


class Flags(enum.IntFlag):
    A, B = 1, 2


class Outer:
    class Inner:
        pass

    def method(self):
        pass


class Attributes(dict):
    pass


class Losses(list):
    pass


class Names(set):
    pass


class Slots:
    __slots__ = ("a",)


class ByName:
    def __new__(cls, *, a):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"a": 1}


@dataclasses.dataclass
class Options:
    depth: int = 3


Point = collections.namedtuple("Point", "x y")


def objects(protocol):
    """Other data that scripts store."""
    made = {
        "args": argparse.Namespace(lr=0.1, model="cnn"), "own_args": Args(), "counter": collections.Counter({30: 1}),
        "set": {"a", 1}, "empty_set": set(), "frozenset": frozenset({1, 2}), "bytes": b"abc\xff", "no_bytes": b"",
        "bytearray": bytearray(b"abc"), "defaultdict": collections.defaultdict(list, {"a": [1]}),
        "deque": collections.deque([1, 2], maxlen=3), "date": datetime.date(2026, 1, 2),
        "time": datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.timezone.utc), "delta": datetime.timedelta(1, 2),
        "path": pathlib.PosixPath("/a/b"), "pure": pathlib.PurePosixPath("a"), "color": Color.RED, "flags": Flags.A | Flags.B,
        "uuid": uuid.UUID(int=7), "namespace": types.SimpleNamespace(a=1), "decimal": decimal.Decimal("1.5"),
        "fraction": fractions.Fraction(1, 3), "complex": 1 + 2j, "slice": slice(1, 2), "range": range(3), "ellipsis": ...,
        "not": NotImplemented, "type": int, "own_type": Args, "function": random.choice, "builtin": print,
        "partial": functools.partial(random.choice, [1]), "attributes": Attributes(lr=0.1), "losses": Losses([1.5, 2.5]),
        "names": Names({"a"}), "inner": Outer.Inner(), "inner_type": Outer.Inner, "method": Outer().method,
        "dataclass": Options(), "point": Point(1, 2), "error": ValueError("no"), "ordered": collections.OrderedDict(a=1),
        "numbers": [0, -1, 255, 65536, -(2**31), 2**40, -(2**63), 2**100, -(2**2100), 1.5, float("inf"), float("nan"), True, None],
        "texts": ["", "ä\n\\", "\ud800", "x" * 300], "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "size": SIZE([3, 4]), "dtype": FLOAT32, "optimizer_class": SGD, "random": random.Random(1).getstate()[1][:30],
        "scalar": numpy.float64(0.75), "integer": numpy.int64(3), "true": numpy.bool_(True), "array": numpy.arange(3.0),
        "text": numpy.array(["a"]), "object": numpy.array([None, 1], dtype=object), "dtype_of_numpy": numpy.dtype("f4"),
        "many": [(f"key {index}", [index]) for index in range(150)],
        "omegaconf": omegaconf.OmegaConf.create({"lr": 0.1, "list": [1]}), "config": ml_collections.ConfigDict({"lr": 0.1}),
        "quantized": Tensor([1, 2], [2], "b", "qtensor"), "float8": Tensor([1, 2], [2], "B", "tensor_v3"),
    }
    if protocol >= 2:
        made |= {"slots": Slots(), "by_name": ByName(a=1), "optimizer": SGD()}
        made["slots"].a = 1
    if protocol == 2:
        made |= {"state_of_numpy": numpy.random.RandomState(1), "generator": numpy.random.default_rng(1)}
    loop, knot = [], Args()
    loop.append((loop, {"loop": loop}))
    knot.itself = knot
    tied, tied_more = ([],), ([], 1, 2, 3)
    for tuple_in_itself in (tied, tied_more):
        tuple_in_itself[0].append(tuple_in_itself)
    return made | {"loop": loop, "knot": knot, "tied": tied, "tied_more": tied_more}


def main():
    FOLDER.mkdir(exist_ok=True)
    random.seed(0)
    rebuilt = ("tensor_v2", "parameter", "parameter_with_state", "from_type", "tensor_v3")
    for protocol in (1, 2, 4, 5):
        save(f"objects_{protocol}.pth", {**objects(protocol), "state_dict": state(rebuilt=rebuilt)}, protocol)
    for protocol in (1, 2):
        save(f"legacy_{protocol}.pth", {**objects(protocol), "state_dict": state(rebuilt=rebuilt[:4])}, protocol, True)
    momentum = {"state": {0: {"momentum_buffer": Tensor([1.0], [1])}}, "exp_avg": state("half.pth"), "param_groups": [{"lr": 0.1}]}
    several = {
        "epoch": Tensor([3], [], "q"), "optimizer": momentum, "state_dict_ema": state("strided.pth", "module."),
        "state_dict": state("checkpoint.pth", "module."), "ema": {"module": state("compiled.pth"), "decay": 0.9},
        "nets": [Attributes(state("double.pth"))],
    }
    save("several.pth", several)
    subclass = Attributes(state())
    subclass["extra"] = {"a": 1}
    save("subclass.pth", subclass)
    save("not_built.pth", {**state(), "classifier.bias": Tensor([1, 2, 3, 4], [4], "b", "qtensor")})


main()
