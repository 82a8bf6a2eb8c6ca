//! Classes and functions in a pickle. Those that a state dict needs are interpreted; all others are only names.

use super::{
    super::{
        Refusal,
        refusal::{STATE_DICT, shown},
    },
    Id, NumberType, Object, View,
    forbidden::is_forbidden,
    heap::Heap,
};

/// A class or function named in a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Global<'a> {
    module: &'a str,
    name: &'a str,
    /// Interpretation; `None` if state dicts do not need it.
    known: Option<Known>,
}

/// The interpreted classes and functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `collections.defaultdict`; its argument, the factory of missing values, is ignored.
    DefaultDict,
    /// `torch._utils._rebuild_tensor`, and `_rebuild_tensor_v2`, which also has `requires_grad`.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`, which has a dtype and an untyped storage.
    RebuildTensorV3,
    /// `torch._utils._rebuild_parameter` and similar functions, which return their tensor; also `torch.Size` of a
    /// tuple.
    Itself,
    /// `torch._tensor._rebuild_from_type_v2`: another function, the class of the result, and the function's arguments.
    RebuildFromType,
    /// `copyreg._reconstructor`: objects in protocols 0 and 1.
    Reconstructor,
    /// `torch.FloatStorage` and similar classes.
    Storage(NumberType),
    /// `torch.float32` and similar dtypes.
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
    /// Looks up a class or function by name.
    ///
    /// # Errors
    /// If the name is known to run code.
    pub(crate) fn of(module: &'a str, name: &'a str) -> Result<Self, Refusal> {
        if is_forbidden(module, name) {
            let got = format!("a pickle that references {}", shown(&format!("{module}.{name}")));
            return Err(Refusal::new(got, format!("{STATE_DICT}; gradwatch ran none of its code")));
        }
        Ok(Self { module, name, known: Known::of(module, name) })
    }

    /// Module and name, escaped to fit on one line.
    pub(crate) fn shown(self) -> String {
        shown(&format!("{}.{}", self.module, self.name))
    }

    /// Element type of a storage class.
    pub(crate) fn storage(self) -> Option<NumberType> {
        if let Some(Known::Storage(numbers)) = self.known { Some(numbers) } else { None }
    }

    /// Element type of a dtype.
    fn dtype(self) -> Option<NumberType> {
        if let Some(Known::Dtype(numbers)) = self.known { Some(numbers) } else { None }
    }

    /// Interprets a call with `arguments`, a tuple. If a state dict does not need the result, it is an object that only
    /// has its class and entries.
    ///
    /// # Errors
    /// If there are too many objects or nested calls.
    pub(crate) fn call(self, arguments: Id, heap: &mut Heap<'a>) -> Result<Id, Refusal> {
        let (mut called, mut arguments) = (self, arguments);
        // A loop instead of a recursion: the inner arguments are an existing tuple.
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
                // If there is metadata here, the elements represent their negatives or conjugates.
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
            // A parameter or a torch.Size is represented by its tensor or tuple.
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
