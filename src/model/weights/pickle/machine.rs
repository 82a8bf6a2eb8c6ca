//! The stack machine of pickles, protocols 0 to 5, as far as state dicts use it (CPython's `pickletools` lists its opcodes).

use std::collections::HashMap;

use super::{
    super::{Refusal, bytes::Bytes, refusal::STATE_DICT},
    Global, Id, Object, Objects, Storage,
};

/// Opcodes, objects, and entries of lists and dicts together: a net of ten thousand tensors takes a million.
const MOST: usize = 1 << 22;
/// The same for each byte of the pickle: what is made of it goes with its length.
const MOST_PER_BYTE: usize = 4;

/// The objects so far, which may not be more than the pickle warrants.
#[derive(Debug)]
pub struct Heap<'a> {
    all: Vec<Object<'a>>,
    left: usize,
}

impl<'a> Heap<'a> {
    fn spend(&mut self, count: usize) -> Result<(), Refusal> {
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| Refusal::new("a pickle of more objects than any model has", STATE_DICT))?;
        Ok(())
    }

    pub fn push(&mut self, object: Object<'a>) -> Result<Id, Refusal> {
        self.spend(1)?;
        self.all.push(object);
        // There are at most `MOST`.
        Ok(Id((self.all.len() - 1) as u32))
    }

    pub fn get(&self, id: Id) -> &Object<'a> {
        &self.all[id.0 as usize]
    }

    /// A list of pairs as the entries of a dict.
    pub fn pairs(&mut self, list: Id) -> Result<Option<Vec<(Id, Id)>>, Refusal> {
        let Object::List(pairs) = self.get(list) else { return Ok(None) };
        self.spend(pairs.len())?;
        let Object::List(pairs) = self.get(list) else { return Ok(None) };
        let pair = |pair: &Id| match self.get(*pair) {
            Object::Tuple(items) | Object::List(items) => <[Id; 2]>::try_from(&items[..]).ok().map(Into::into),
            _ => None,
        };
        Ok(pairs.iter().map(pair).collect())
    }
}

struct Machine<'a> {
    bytes: Bytes<'a>,
    length: usize,
    heap: Heap<'a>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

/// Runs the pickle at the front of `bytes`.
pub fn run(bytes: &[u8]) -> Result<(Objects<'_>, usize), Refusal> {
    let left = bytes.len().saturating_mul(MOST_PER_BYTE).min(MOST);
    let heap = Heap { all: Vec::new(), left };
    let (stack, marks) = (Vec::new(), Vec::new());
    let mut machine =
        Machine { bytes: Bytes::new(bytes), length: bytes.len(), heap, stack, marks, memo: HashMap::new() };
    loop {
        let at = machine.at();
        let Some(opcode) = machine.bytes.u8() else { return Err(machine.cut()) };
        machine.heap.spend(1)?;
        if opcode == b'.' {
            let root = machine.pop().ok_or_else(|| machine.malformed(at, opcode))?;
            let length = machine.at();
            return Ok((Objects { all: machine.heap.all, root }, length));
        }
        // `None` is an opcode that finds no such operands, in the bytes or on the stack.
        if machine.step(opcode)?.is_none() {
            return Err(if machine.bytes.rest().is_empty() { machine.cut() } else { machine.malformed(at, opcode) });
        }
    }
}

impl<'a> Machine<'a> {
    fn at(&self) -> usize {
        self.length - self.bytes.rest().len()
    }

    fn cut(&self) -> Refusal {
        Refusal::cut("a pickle", self.length)
    }

    fn malformed(&self, at: usize, opcode: u8) -> Refusal {
        Refusal::new(
            format!("a pickle with opcode {opcode:#04x} at byte {at}, out of place in a state dict"),
            STATE_DICT,
        )
    }

    fn pop(&mut self) -> Option<Id> {
        if self.marks.last() == Some(&self.stack.len()) { None } else { self.stack.pop() }
    }

    /// What stands above the last mark, which goes too.
    fn pop_to_mark(&mut self) -> Option<Vec<Id>> {
        let mark = self.marks.pop()?;
        Some(self.stack.split_off(mark))
    }

    fn push(&mut self, object: Object<'a>) -> Result<Option<()>, Refusal> {
        let id = self.heap.push(object)?;
        self.stack.push(id);
        Ok(Some(()))
    }

    fn step(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        match opcode {
            b'\x80' => Ok(self.bytes.u8().map(|_| ())),
            b'\x95' => Ok(self.bytes.u64().map(|_| ())),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(Some(()))
            }
            b'0' => Ok(self.pop().map(|_| ())),
            b'N' => self.push(Object::Other),
            b'\x88' | b'\x89' => self.push(Object::Int((opcode == b'\x88').into())),
            b'K' | b'M' | b'J' | b'\x8a' | b'G' | b'X' | b'U' | b'T' | b'\x8c' => self.literal(opcode),
            b'}' => self.push(Object::Dict(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            b't' | b'\x85' | b'\x86' | b'\x87' => self.tuple(opcode),
            b'q' | b'r' | b'\x94' | b'h' | b'j' => Ok(self.remember(opcode)),
            b'a' | b'e' | b's' | b'u' => self.extend(opcode),
            b'c' | b'\x93' => self.global(opcode),
            b'R' => self.reduce(),
            b'b' => Ok(self.build()),
            b'Q' => self.persistent(),
            _ => Err(self.malformed(self.at() - 1, opcode)),
        }
    }

    fn literal(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        let bytes = &mut self.bytes;
        let text = |length: Option<usize>, bytes: &mut Bytes<'a>| {
            let text = bytes.take(length?)?;
            std::str::from_utf8(text).ok().map(Object::Text)
        };
        let object = match opcode {
            b'K' => bytes.u8().map(|value| Object::Int(value.into())),
            b'M' => bytes.u16().map(|value| Object::Int(value.into())),
            b'J' => bytes.u32().map(|value| Object::Int((value as i32).into())),
            b'\x8a' => bytes.u8().and_then(|length| bytes.take(length.into())).map(integer),
            b'G' => bytes.take(8).map(|_| Object::Float),
            // Texts of 32 and 8 bits of length; U and T are Python 2's.
            b'X' | b'T' => text(bytes.u32().and_then(|length| length.try_into().ok()), bytes),
            _ => text(bytes.u8().map(usize::from), bytes),
        };
        match object {
            Some(object) => self.push(object),
            None => Ok(None),
        }
    }

    fn tuple(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        let items = match opcode {
            b't' => self.pop_to_mark(),
            _ => {
                let mut items: Vec<Id> = Vec::new();
                for _ in b'\x85'..=opcode {
                    let Some(item) = self.pop() else { return Ok(None) };
                    items.insert(0, item);
                }
                Some(items)
            }
        };
        match items {
            Some(items) => self.push(Object::Tuple(items)),
            None => Ok(None),
        }
    }

    /// Puts the top of the stack under a number, or gets what is under it.
    fn remember(&mut self, opcode: u8) -> Option<()> {
        let number = match opcode {
            b'q' | b'h' => self.bytes.u8()?.into(),
            b'r' | b'j' => self.bytes.u32()?,
            _ => self.memo.len() as u32,
        };
        if matches!(opcode, b'h' | b'j') {
            self.stack.push(*self.memo.get(&number)?);
        } else {
            self.memo.insert(number, *self.stack.last()?);
        }
        Some(())
    }

    /// Adds to the list or the dict below.
    fn extend(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        let items = match opcode {
            b'a' => self.pop().map(|item| vec![item]),
            b's' => self.pop().and_then(|value| Some(vec![self.pop()?, value])),
            _ => self.pop_to_mark(),
        };
        let (Some(items), Some(below)) = (items, self.stack.last()) else { return Ok(None) };
        self.heap.spend(items.len())?;
        Ok(match (&mut self.heap.all[below.0 as usize], opcode) {
            (Object::List(list), b'a' | b'e') => {
                list.extend(items);
                Some(())
            }
            (Object::Dict(entries), b's' | b'u') if items.len() % 2 == 0 => {
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Some(())
            }
            _ => None,
        })
    }

    fn global(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        let words = match opcode {
            b'c' => [self.line(), self.line()],
            _ => {
                let (name, module) = (self.pop_text(), self.pop_text());
                [module, name]
            }
        };
        match words {
            [Some(module), Some(name)] => self.push(Object::Global(Global::of(module, name)?)),
            _ => Ok(None),
        }
    }

    fn line(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes.line()?).ok()
    }

    fn pop_text(&mut self) -> Option<&'a str> {
        let id = self.pop()?;
        if let Object::Text(text) = self.heap.get(id) { Some(text) } else { None }
    }

    fn reduce(&mut self) -> Result<Option<()>, Refusal> {
        let (Some(arguments), Some(function)) = (self.pop(), self.pop()) else { return Ok(None) };
        let Object::Global(global) = *self.heap.get(function) else { return Ok(None) };
        let made = global.call(arguments, &mut self.heap)?;
        Ok(made.map(|id| self.stack.push(id)))
    }

    /// Attributes of a dict, such as `_metadata` of a state dict, say nothing of its weights.
    fn build(&mut self) -> Option<()> {
        self.pop()?;
        matches!(self.heap.get(*self.stack.last()?), Object::Dict(_)).then_some(())
    }

    /// `("storage", type, key, device, numel)`, in old files with `(key of the part, offset, numel)` or None behind.
    fn persistent(&mut self) -> Result<Option<()>, Refusal> {
        let storage = self.pop().and_then(|id| self.storage(id));
        match storage {
            Some(storage) => self.push(Object::Storage(storage)),
            None => Ok(None),
        }
    }

    fn storage(&self, id: Id) -> Option<Storage<'a>> {
        let Object::Tuple(items) = self.heap.get(id) else { return None };
        let object = |index: usize| items.get(index).map(|id| self.heap.get(*id));
        let size = |object: Option<&Object<'a>>| match object {
            Some(Object::Int(size)) => usize::try_from(*size).ok(),
            _ => None,
        };
        let (Some(Object::Text("storage")), Some(Object::Global(Global::Storage(kind)))) = (object(0), object(1))
        else {
            return None;
        };
        let Some(Object::Text(key)) = object(2) else { return None };
        let numel = size(object(4))?;
        let part = match object(5) {
            Some(Object::Tuple(part)) => {
                let part = |index: usize| size(part.get(index).map(|id| self.heap.get(*id)));
                let (first, count) = (part(1)?, part(2)?);
                if first.checked_add(count)? > numel {
                    return None;
                }
                (first, count)
            }
            Some(Object::Other) | None => (0, numel),
            Some(_) => return None,
        };
        Some(Storage { kind: *kind, key, numel, part })
    }
}

/// Two's complement of any length, little-endian.
fn integer(bytes: &[u8]) -> Object<'_> {
    let Some(&last) = bytes.last() else { return Object::Int(0) };
    if bytes.len() > 8 {
        return Object::Long(bytes);
    }
    let mut wide = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Object::Int(i64::from_le_bytes(wide))
}
