//! Resolves persistent IDs, which refer to storages elsewhere in the file.

use super::{Id, Object, Storage, heap::Heap};

/// Resolves a persistent ID; `None` if it is inconsistent.
///
/// - `("storage", class, key, device, numel)`, followed by `(key of the part, offset, numel)` or None in old files: a
///   storage, or an object of that class if its element type is unknown.
/// - `("module", class, file, text)`, in old files of entire modules: the class.
pub(super) fn resolve<'a>(id: Id, heap: &Heap<'a>) -> Option<Object<'a>> {
    let items = match heap.get(id) {
        Object::Tuple(items) => &items[..],
        // From a custom writer; in protocol 0, the ID is text.
        _ => return Some(Object::Other),
    };
    let object = |index: usize| items.get(index).map(|id| heap.get(*id));
    match (object(0)?, object(1)) {
        (Object::Text("storage"), Some(Object::Global(class))) if class.storage().is_none() => {
            Some(Object::Foreign { class: class.clone(), entries: Vec::new() })
        }
        (Object::Text("storage"), _) => storage(items, heap).map(|storage| Object::Storage(Box::new(storage))),
        (Object::Text("module"), Some(Object::Global(class))) => Some(Object::Global(class.clone())),
        _ => Some(Object::Other),
    }
}

fn storage<'a>(items: &[Id], heap: &Heap<'a>) -> Option<Storage<'a>> {
    let object = |index: usize| items.get(index).map(|id| heap.get(*id));
    let size = |object: Option<&Object<'a>>| match object {
        Some(Object::Int(size)) => usize::try_from(*size).ok(),
        _ => None,
    };
    let Some(Object::Global(class)) = object(1) else { return None };
    let Some(Object::Text(key)) = object(2) else { return None };
    let numel = size(object(4))?;
    let part = match object(5) {
        Some(Object::Tuple(part)) => {
            let part = |index: usize| size(part.get(index).map(|id| heap.get(*id)));
            let (first, count) = (part(1)?, part(2)?);
            if first.checked_add(count)? > numel {
                return None;
            }
            (first, count)
        }
        Some(Object::Other) | None => (0, numel),
        Some(_) => return None,
    };
    Some(Storage { numbers: class.storage()?, key, numel, part })
}
