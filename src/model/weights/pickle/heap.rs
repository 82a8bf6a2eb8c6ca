//! The objects of a pickle. Their number is limited by the length of the pickle.
//!
//! Each opcode creates at most one object and pushes at most one reference to the stack, so memory and time are
//! proportional to the length of the pickle. Exceptions, such as copies of entries, are counted here.

use super::{
    super::{Refusal, refusal::STATE_DICT},
    Id, Object,
};

/// Maximum number of objects and copied entries, with 32 bytes each. A network with ten thousand tensors needs half a
/// million; the order of all ImageNet images needs one million.
const MOST: usize = 8_000_000;
/// Maximum number of objects and copied entries per byte of the pickle.
const MOST_PER_BYTE: usize = 4;

/// IDs of objects without relevant contents. There is one of each, regardless of how often a pickle contains them.
const OTHER: Id = Id(0);
const FLOAT: Id = Id(1);

/// All objects of a pickle.
#[derive(Debug)]
pub(crate) struct Heap<'a> {
    all: Vec<Object<'a>>,
    left: usize,
}

impl<'a> Heap<'a> {
    /// Creates the heap for a pickle of this length.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { all: vec![Object::Other, Object::Float], left: bytes.saturating_mul(MOST_PER_BYTE).min(MOST) }
    }

    /// Counts objects or entries that were or will be created.
    ///
    /// # Errors
    /// If the limit is exceeded.
    pub(crate) fn spend(&mut self, count: usize) -> Result<(), Refusal> {
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| Refusal::new("a pickle with more objects than any model has", STATE_DICT))?;
        Ok(())
    }

    pub(crate) fn push(&mut self, object: Object<'a>) -> Result<Id, Refusal> {
        match object {
            Object::Other => return Ok(OTHER),
            Object::Float => return Ok(FLOAT),
            _ => {}
        }
        self.spend(1)?;
        self.all.push(object);
        // At most `MOST` + 2, which fits easily into 32 bits.
        Ok(Id((self.all.len() - 1) as u32))
    }

    pub(crate) fn get(&self, id: Id) -> &Object<'a> {
        &self.all[id.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> &mut Object<'a> {
        &mut self.all[id.0 as usize]
    }

    /// Converts a list of pairs to the entries of a dict.
    pub(crate) fn pairs(&mut self, list: Id) -> Result<Option<Vec<(Id, Id)>>, Refusal> {
        let Object::List(pairs) = self.get(list) else { return Ok(None) };
        self.spend(pairs.len())?;
        let Object::List(pairs) = self.get(list) else { return Ok(None) };
        let pair = |pair: &Id| match self.get(*pair) {
            Object::Tuple(items) | Object::List(items) => <[Id; 2]>::try_from(&items[..]).ok().map(Into::into),
            _ => None,
        };
        Ok(pairs.iter().map(pair).collect())
    }

    /// Returns all objects after the end of the pickle.
    pub(crate) fn into_objects(self) -> Vec<Object<'a>> {
        self.all
    }
}
