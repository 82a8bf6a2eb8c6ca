//! The objects that a pickle has made so far, which may not be more than its length warrants.
//!
//! An opcode makes at most one object and names at most one on the stack, so that memory and time go with the length of a pickle.
//! What does not (copies of entries, objects without end) is counted here.

use super::{
    super::{Refusal, refusal::STATE_DICT},
    Id, Object,
};

/// Objects and copied entries together, 32 bytes each. A net of ten thousand tensors takes half a million; the order of all images
/// of ImageNet one million.
const MOST: usize = 8_000_000;
/// The same for each byte of the pickle.
const MOST_PER_BYTE: usize = 4;

/// Where the objects stand that say nothing: there is one of each, however often a pickle has them.
const OTHER: Id = Id(0);
const FLOAT: Id = Id(1);

/// All objects of a pickle.
#[derive(Debug)]
pub struct Heap<'a> {
    all: Vec<Object<'a>>,
    left: usize,
}

impl<'a> Heap<'a> {
    /// For a pickle of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { all: vec![Object::Other, Object::Float], left: bytes.saturating_mul(MOST_PER_BYTE).min(MOST) }
    }

    /// Counts what was made, or is about to be.
    ///
    /// # Errors
    /// If it is too much.
    pub fn spend(&mut self, count: usize) -> Result<(), Refusal> {
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| Refusal::new("a pickle of more objects than any model has", STATE_DICT))?;
        Ok(())
    }

    pub fn push(&mut self, object: Object<'a>) -> Result<Id, Refusal> {
        match object {
            Object::Other => return Ok(OTHER),
            Object::Float => return Ok(FLOAT),
            _ => {}
        }
        self.spend(1)?;
        self.all.push(object);
        // At most `MOST` and two, which is far below 32 bits.
        Ok(Id((self.all.len() - 1) as u32))
    }

    pub fn get(&self, id: Id) -> &Object<'a> {
        &self.all[id.0 as usize]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Object<'a> {
        &mut self.all[id.0 as usize]
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

    /// All of them, once the pickle has ended.
    pub fn into_objects(self) -> Vec<Object<'a>> {
        self.all
    }
}
