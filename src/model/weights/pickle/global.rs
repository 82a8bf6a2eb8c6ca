//! Classes and functions by their names: those that a state dict needs are interpreted, any other is no more than its name.

use super::{
    super::{
        Refusal,
        refusal::{STATE_DICT, shown},
    },
    Id, NumberType, Object, View,
    forbidden::is_forbidden,
    heap::Heap,
};

/// A class or a function that a pickle names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Global<'a> {
    module: &'a str,
    name: &'a str,
    /// What it stands for; `None` for those that state dicts can do without.
    known: Option<Known>,
}

/// What is interpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `collections.defaultdict`, whose argument makes the values that are missing.
    DefaultDict,
    /// `torch._utils._rebuild_tensor`, and `_v2` of it, which also says whether a gradient is taken.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: with a dtype, over an untyped storage.
    RebuildTensorV3,
    /// `torch._utils._rebuild_parameter` and its like: a tensor and what it is for. Also `torch.Size`, of a tuple.
    Itself,
    /// `torch._tensor._rebuild_from_type_v2`: another function with its arguments, then a class for the result.
    RebuildFromType,
    /// `copyreg._reconstructor`: objects of protocols 0 and 1.
    Reconstructor,
    /// `torch.FloatStorage` and its like.
    Storage(NumberType),
    /// `torch.float32` and its like.
    Dtype(NumberType),
}

impl Known {
    fn of(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("collections", "defaultdict") => Self::DefaultDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
            | ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor")
            | ("torch", "Size") => Self::Itself,
            ("torch._tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("copyreg" | "copy_reg", "_reconstructor") => Self::Reconstructor,
            ("torch" | "torch.cuda" | "torch.storage", class) if class.ends_with("Storage") => {
                Self::Storage(NumberType::of_storage(class)?)
            }
            ("torch", dtype) => Self::Dtype(NumberType::of_dtype(dtype)?),
            _ => return None,
        })
    }
}

impl<'a> Global<'a> {
    /// By its name.
    ///
    /// # Errors
    /// If it is known to run code.
    pub fn of(module: &'a str, name: &'a str) -> Result<Self, Refusal> {
        if is_forbidden(module, name) {
            let got = format!("a pickle that asks for {}", shown(&format!("{module}.{name}")));
            return Err(Refusal::new(got, format!("{STATE_DICT}; nothing of this one was run")));
        }
        Ok(Self { module, name, known: Known::of(module, name) })
    }

    /// Module and name on one line.
    pub fn shown(self) -> String {
        shown(&format!("{}.{}", self.module, self.name))
    }

    /// The type of a storage class.
    pub fn storage(self) -> Option<NumberType> {
        if let Some(Known::Storage(numbers)) = self.known { Some(numbers) } else { None }
    }

    /// The type of a dtype.
    fn dtype(self) -> Option<NumberType> {
        if let Some(Known::Dtype(numbers)) = self.known { Some(numbers) } else { None }
    }

    /// What a call with these arguments, a tuple, stands for: an object that is nothing but its class and entries, if it is of
    /// no use for a state dict.
    ///
    /// # Errors
    /// If there are too many objects, or calls in each other.
    pub fn call(self, arguments: Id, heap: &mut Heap<'a>) -> Result<Id, Refusal> {
        let (mut called, mut arguments) = (self, arguments);
        // A loop, not a recursion: the inner arguments are a tuple that was made before.
        while called.known == Some(Known::RebuildFromType)
            && let Object::Tuple(items) = heap.get(arguments)
            && let &[function, _, inner, ..] = &items[..]
            && let Object::Global(function) = heap.get(function)
        {
            (called, arguments) = (**function, inner);
            heap.spend(1)?;
        }
        match called.interpret(arguments, heap)? {
            Some(id) => Ok(id),
            None => heap.push(Object::Foreign { class: Box::new(called), entries: Vec::new() }),
        }
    }

    fn interpret(self, arguments: Id, heap: &mut Heap<'a>) -> Result<Option<Id>, Refusal> {
        let (Some(known), Object::Tuple(items)) = (self.known, heap.get(arguments)) else { return Ok(None) };
        let object = match (known, &items[..]) {
            (Known::OrderedDict, []) | (Known::DefaultDict, [] | [_]) => Object::Dict(Vec::new()),
            (Known::OrderedDict, &[pairs]) => match heap.pairs(pairs)? {
                Some(pairs) => Object::Dict(pairs),
                None => return Ok(None),
            },
            (Known::RebuildTensor, &[storage, offset, size, stride, ref more @ ..]) => {
                // Torch says there that the numbers stand for their negatives or conjugates.
                let is_changed = more.get(2).is_some_and(|metadata| matches!(heap.get(*metadata), Object::Dict(_)));
                match heap.get(offset) {
                    Object::Int(offset) if !is_changed => {
                        Object::Tensor(View { storage, offset: *offset, size, stride, numbers: None })
                    }
                    _ => return Ok(None),
                }
            }
            (Known::RebuildTensorV3, &[storage, offset, size, stride, _, _, dtype, ..]) => {
                match (heap.get(offset), heap.get(dtype)) {
                    (Object::Int(offset), Object::Global(dtype)) if dtype.dtype().is_some() => {
                        Object::Tensor(View { storage, offset: *offset, size, stride, numbers: dtype.dtype() })
                    }
                    _ => return Ok(None),
                }
            }
            // A tensor that takes a gradient, and a tuple, are themselves.
            (Known::Itself, &[itself, ..]) => return Ok(Some(itself)),
            (Known::Reconstructor, &[class, _, state]) => {
                let Object::Global(class) = heap.get(class) else { return Ok(None) };
                let class = class.clone();
                let count = if let Object::Dict(entries) = heap.get(state) { entries.len() } else { 0 };
                heap.spend(count)?;
                let entries = if let Object::Dict(entries) = heap.get(state) { entries.clone() } else { Vec::new() };
                Object::Foreign { class, entries }
            }
            _ => return Ok(None),
        };
        heap.push(object).map(Some)
    }
}
