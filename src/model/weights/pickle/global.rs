//! The classes and functions that a state dict needs: no others are known, and none is run.

use tch::Kind;

use super::{
    super::{
        Refusal,
        refusal::{STATE_DICT, shown},
    },
    Id, Object, View,
    machine::Heap,
};

/// A class or a function that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor`, and `_v2` of it, which also says whether a gradient is taken.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// `torch.FloatStorage` and its like.
    Storage(Kind),
    /// `torch.Size`.
    Size,
    /// `torch.device`.
    Device,
    /// `torch.float32` and its like.
    Dtype,
}

/// Storages by the types of their numbers.
const STORAGES: [(&str, Kind); 10] = [
    ("FloatStorage", Kind::Float),
    ("DoubleStorage", Kind::Double),
    ("HalfStorage", Kind::Half),
    ("BFloat16Storage", Kind::BFloat16),
    ("LongStorage", Kind::Int64),
    ("IntStorage", Kind::Int),
    ("ShortStorage", Kind::Int16),
    ("CharStorage", Kind::Int8),
    ("ByteStorage", Kind::Uint8),
    ("BoolStorage", Kind::Bool),
];

const DTYPES: [&str; 10] =
    ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"];

impl Global {
    /// What is known by this name.
    pub fn of(module: &str, name: &str) -> Result<Self, Refusal> {
        let storage = STORAGES.iter().find(|(known, _)| module == "torch" && *known == name);
        if let Some((_, kind)) = storage {
            return Ok(Self::Storage(*kind));
        }
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "Size") => Self::Size,
            ("torch", "device") => Self::Device,
            ("torch", name) if DTYPES.contains(&name) => Self::Dtype,
            _ => {
                let got = format!("a pickle that asks for {}", shown(&format!("{module}.{name}")));
                return Err(Refusal::new(got, format!("{STATE_DICT}; nothing of this one was run")));
            }
        })
    }

    /// What a call of it with these arguments stands for; `None` where it takes no such arguments.
    pub fn call<'a>(self, arguments: Id, heap: &mut Heap<'a>) -> Result<Option<Id>, Refusal> {
        let Object::Tuple(items) = heap.get(arguments) else { return Ok(None) };
        let object = match (self, &items[..]) {
            (Self::OrderedDict, []) => Object::Dict(Vec::new()),
            (Self::OrderedDict, &[pairs]) => match heap.pairs(pairs)? {
                Some(pairs) => Object::Dict(pairs),
                None => return Ok(None),
            },
            (Self::RebuildTensor, &[storage, offset, size, stride, ..]) => match heap.get(offset) {
                Object::Int(offset) => Object::Tensor(View { storage, offset: *offset, size, stride }),
                _ => return Ok(None),
            },
            // A tensor that takes a gradient, and a tuple, are themselves.
            (Self::RebuildParameter, &[itself, ..]) | (Self::Size, &[itself]) => return Ok(Some(itself)),
            (Self::Device, _) => Object::Other,
            _ => return Ok(None),
        };
        heap.push(object).map(Some)
    }
}
