//! The stack machine of pickles, protocols 0 to 5 (CPython's `pickletools` lists the opcodes). It does not call any
//! functions.

use std::collections::HashMap;

use super::{
    super::{Refusal, bytes::Bytes, refusal::STATE_DICT},
    Global, Id, Object, Objects,
    heap::Heap,
    literal, persistent,
};

struct Machine<'a> {
    bytes: Bytes<'a>,
    length: usize,
    heap: Heap<'a>,
    stack: Vec<Id>,
    /// Height of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

/// Runs the pickle at the start of `bytes`.
pub(super) fn run(bytes: &[u8]) -> Result<(Objects<'_>, usize), Refusal> {
    let (heap, stack, marks) = (Heap::new(bytes.len()), Vec::new(), Vec::new());
    let mut machine =
        Machine { bytes: Bytes::new(bytes), length: bytes.len(), heap, stack, marks, memo: HashMap::new() };
    loop {
        let at = machine.at();
        let Some(opcode) = machine.bytes.u8() else { return Err(machine.cut()) };
        if opcode == b'.' {
            let root = machine.pop().ok_or_else(|| machine.malformed(at, opcode))?;
            let length = machine.at();
            return Ok((Objects { all: machine.heap.into_objects(), root }, length));
        }
        // `None` if the opcode lacks its operands, in the bytes or on the stack.
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
            format!("a pickle with opcode {opcode:#04x} at byte {at}, which a state dict does not use"),
            STATE_DICT,
        )
    }

    fn pop(&mut self) -> Option<Id> {
        if self.marks.last() == Some(&self.stack.len()) { None } else { self.stack.pop() }
    }

    /// Pops all items above the last mark, and the mark.
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
            // If a mark is on top, POP removes the mark.
            b'0' => Ok(self.pop().map(|_| ()).or_else(|| self.marks.pop().map(|_| ()))),
            b'1' => Ok(self.pop_to_mark().map(|_| ())),
            b'2' => Ok(self.stack.last().copied().map(|top| self.stack.push(top))),
            b'}' => self.push(Object::Dict(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            // Sets do not contain tensors.
            b'\x8f' => self.push(Object::Other),
            b't' | b'\x85' | b'\x86' | b'\x87' => self.tuple(opcode),
            b'l' | b'd' | b'\x91' => self.collect(opcode),
            b'q' | b'r' | b'p' | b'\x94' | b'h' | b'j' | b'g' => Ok(self.remember(opcode)),
            b'a' | b'e' | b's' | b'u' | b'\x90' => self.extend(opcode),
            b'c' | b'\x93' => self.global(opcode),
            b'R' | b'\x81' | b'\x92' | b'i' | b'o' => self.call(opcode),
            b'b' => Ok(self.build()),
            b'P' | b'Q' => self.persistent(opcode),
            _ => match literal::read(opcode, &mut self.bytes) {
                Some(object) => self.push(object),
                None => Ok(None),
            },
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

    /// Creates a list or dict of protocol 0, or a frozenset.
    fn collect(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        let Some(items) = self.pop_to_mark() else { return Ok(None) };
        match opcode {
            b'l' => self.push(Object::List(items)),
            b'd' if items.len() % 2 == 0 => self.push(Object::Dict(pairs(&items))),
            b'd' => Ok(None),
            _ => self.push(Object::Other),
        }
    }

    /// Stores the top of the stack in the memo, or pushes an object from the memo.
    fn remember(&mut self, opcode: u8) -> Option<()> {
        let number = match opcode {
            b'q' | b'h' => self.bytes.u8()?.into(),
            b'r' | b'j' => self.bytes.u32()?,
            b'p' | b'g' => self.line()?.parse().ok()?,
            _ => self.memo.len() as u32,
        };
        if matches!(opcode, b'h' | b'j' | b'g') {
            self.stack.push(*self.memo.get(&number)?);
        } else {
            self.memo.insert(number, *self.stack.last()?);
        }
        Some(())
    }

    /// Adds items to the list, dict, set, or object below them.
    fn extend(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        let items = match opcode {
            b'a' => self.pop().map(|item| vec![item]),
            b's' => self.pop().and_then(|value| Some(vec![self.pop()?, value])),
            _ => self.pop_to_mark(),
        };
        let (Some(items), Some(below)) = (items, self.stack.last()) else { return Ok(None) };
        Ok(match (self.heap.get_mut(*below), opcode) {
            (Object::List(list), b'a' | b'e') => {
                list.extend(items);
                Some(())
            }
            (Object::Dict(entries) | Object::Foreign { entries, .. }, b's' | b'u') if items.len() % 2 == 0 => {
                entries.extend(pairs(&items));
                Some(())
            }
            (Object::Foreign { .. }, b'a' | b'e' | b'\x90') | (Object::Other, b'\x90') => Some(()),
            _ => None,
        })
    }

    fn global(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        let words = match opcode {
            b'\x93' => {
                let (name, module) = (self.pop_text(), self.pop_text());
                [module, name]
            }
            _ => [self.line(), self.line()],
        };
        match words {
            [Some(module), Some(name)] => self.push(Object::Global(Box::new(Global::of(module, name)?))),
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

    /// Interprets the call of a function, or the construction of an object.
    fn call(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        let (function, arguments) = match opcode {
            b'i' => {
                let Some(items) = self.pop_to_mark() else { return Ok(None) };
                if self.global(b'c')?.is_none() {
                    return Ok(None);
                }
                (self.pop(), Some(self.heap.push(Object::Tuple(items))?))
            }
            b'o' => {
                let Some(mut items) = self.pop_to_mark().filter(|items| !items.is_empty()) else { return Ok(None) };
                (Some(items.remove(0)), Some(self.heap.push(Object::Tuple(items))?))
            }
            _ => {
                // The keyword arguments are above the positional ones.
                if opcode == b'\x92' && self.pop().is_none() {
                    return Ok(None);
                }
                let arguments = self.pop();
                (self.pop(), arguments)
            }
        };
        let (Some(function), Some(arguments)) = (function, arguments) else { return Ok(None) };
        let made = match (self.heap.get(function), self.heap.get(arguments)) {
            (Object::Global(global), Object::Tuple(_)) => {
                let global = **global;
                global.call(arguments, &mut self.heap)?
            }
            // The result of a function, such as a nested class.
            (Object::Foreign { class, .. }, Object::Tuple(_)) => {
                let class = class.clone();
                self.heap.push(Object::Foreign { class, entries: Vec::new() })?
            }
            _ => return Ok(None),
        };
        self.stack.push(made);
        Ok(Some(()))
    }

    /// Ignores attributes, such as `_metadata` of a state dict, which do not contain weights.
    fn build(&mut self) -> Option<()> {
        self.pop()?;
        let object = self.heap.get(*self.stack.last()?);
        matches!(object, Object::Dict(_) | Object::Foreign { .. } | Object::Tensor(_) | Object::Tuple(_)).then_some(())
    }

    fn persistent(&mut self, opcode: u8) -> Result<Option<()>, Refusal> {
        let object = match opcode {
            b'P' => self.line().map(|_| Object::Other),
            _ => self.pop().and_then(|id| persistent::resolve(id, &self.heap)),
        };
        match object {
            Some(object) => self.push(object),
            None => Ok(None),
        }
    }
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}
