//! Reads Python pickles without executing them.
//!
//! A pickle is a program for a small stack machine that can call any function. This implementation calls none: it
//! interprets the functions that a state dict needs, and represents all other objects by the name of their class or
//! function. A name that is known to run code is an error. All objects are in one list and refer to each other by
//! index, so there is no recursion, regardless of the nesting depth.

mod forbidden;
mod global;
mod heap;
mod literal;
mod machine;
mod number_type;
mod persistent;

use super::Refusal;
pub(super) use global::Global;
pub(super) use number_type::NumberType;

/// Index of an object in [`Objects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

impl Id {
    /// The index, for a list with one item per object.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An object in a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object<'a> {
    /// An object without relevance for weights: None, bytes, or a set.
    Other,
    /// `int` of at most 64 bits, or `bool`.
    Int(i64),
    /// Larger `int`, little-endian.
    Long(&'a [u8]),
    /// Larger `int` in decimal digits, in protocols 0 and 1.
    Decimal(&'a str),
    /// `float`, without its value, which weights do not need.
    Float,
    /// `str`.
    Text(&'a str),
    /// `tuple`.
    Tuple(Vec<Id>),
    /// `list`.
    List(Vec<Id>),
    /// `dict` or a known subclass, in the order of its entries.
    Dict(Vec<(Id, Id)>),
    /// A class or function.
    Global(Box<Global<'a>>),
    /// An object of an unknown class, or the result of an unknown function. It was not built.
    Foreign {
        /// The class or function.
        class: Box<Global<'a>>,
        /// Entries by key, in case it is derived from a dict.
        entries: Vec<(Id, Id)>,
    },
    /// A storage outside of the pickle.
    Storage(Box<Storage<'a>>),
    /// A view of a storage.
    Tensor(View),
}

/// A storage elsewhere in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    /// Element type.
    pub numbers: NumberType,
    /// Key of the bytes.
    pub key: &'a str,
    /// Number of elements in these bytes.
    pub numel: usize,
    /// The part that belongs to this storage: its first element and number of elements.
    pub part: (usize, usize),
}

/// Arguments of `torch._utils._rebuild_tensor_v2`, as in the pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    /// ID of a [`Storage`].
    pub storage: Id,
    /// Index of the first element.
    pub offset: i64,
    /// ID of a tuple of integers.
    pub size: Id,
    /// ID of a tuple of integers.
    pub stride: Id,
    /// Element type, if it differs from the storage's.
    pub numbers: Option<NumberType>,
}

/// All objects of a pickle.
#[derive(Debug)]
pub(super) struct Objects<'a> {
    all: Vec<Object<'a>>,
    root: Id,
}

impl<'a> Objects<'a> {
    /// Reads the pickle at the start of `bytes`. Also returns its length.
    pub(super) fn read(bytes: &'a [u8]) -> Result<(Self, usize), Refusal> {
        machine::run(bytes)
    }

    /// The unpickled value.
    pub(super) fn root(&self) -> &Object<'a> {
        self.get(self.root)
    }

    /// Returns the object with this ID, which must come from this list.
    pub(super) fn get(&self, id: Id) -> &Object<'a> {
        &self.all[id.0 as usize]
    }

    /// ID of the unpickled value.
    pub(super) fn root_id(&self) -> Id {
        self.root
    }

    /// Number of objects.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// All objects, in the order of their creation.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Object<'a>> {
        self.all.iter()
    }

    /// Returns the integers of a tuple with at most `most` items.
    pub(super) fn integers(&self, id: Id, most: usize) -> Option<Vec<i64>> {
        let Object::Tuple(items) = self.get(id) else { return None };
        let integer = |id: &Id| if let Object::Int(integer) = self.get(*id) { Some(*integer) } else { None };
        if items.len() > most { None } else { items.iter().map(integer).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Object<'_>, Refusal> {
        Objects::read(bytes).map(|(objects, _)| objects.root().clone())
    }

    #[test]
    fn numbers_texts_and_dicts_are_what_python_makes_of_them() {
        // pickletools: PROTO 2, BININT1 7, STOP; BININT -2; LONG1 of 2^40; LONG1 of nine bytes.
        assert_eq!(read(b"\x80\x02K\x07.").unwrap(), Object::Int(7));
        assert_eq!(read(b"\x80\x02J\xfe\xff\xff\xff.").unwrap(), Object::Int(-2));
        assert_eq!(read(b"\x80\x02\x8a\x06\0\0\0\0\0\x01.").unwrap(), Object::Int(1 << 40));
        assert_eq!(read(b"\x80\x02\x8a\x01\xff.").unwrap(), Object::Int(-1));
        assert_eq!(read(b"\x80\x02\x8a\x09\0\0\0\0\0\0\0\0\x01.").unwrap(), Object::Long(&[0, 0, 0, 0, 0, 0, 0, 0, 1]));
        // {"a": (True, 1.0)}
        let bytes = b"\x80\x02}q\0X\x01\0\0\0aq\x01\x88G?\xf0\0\0\0\0\0\0\x86q\x02s.";
        let (objects, length) = Objects::read(bytes).unwrap();
        assert_eq!(length, bytes.len());
        let Object::Dict(entries) = objects.root() else { panic!("{objects:?}") };
        assert_eq!(objects.get(entries[0].0), &Object::Text("a"));
        let Object::Tuple(items) = objects.get(entries[0].1) else { panic!("{objects:?}") };
        assert_eq!((objects.get(items[0]), objects.get(items[1])), (&Object::Int(1), &Object::Float));
    }

    #[test]
    fn what_is_put_into_a_dict_after_it_was_named_is_in_it() {
        // d = {}, stored in memo 0; append it to a list; then get it again and set 1: 2.
        let bytes = b"\x80\x02]}q\0ah\0K\x01K\x02s\x86.";
        let (objects, _) = Objects::read(bytes).unwrap();
        let Object::Tuple(items) = objects.root() else { panic!("{objects:?}") };
        let Object::List(list) = objects.get(items[0]) else { panic!("{objects:?}") };
        assert_eq!(list[0], items[1]);
        assert!(matches!(objects.get(list[0]), Object::Dict(entries) if entries.len() == 1));
    }

    #[test]
    fn a_pickle_that_would_run_something_is_refused_by_the_name_of_it() {
        for bytes in [
            &b"cos\nsystem\n(X\x0b\0\0\0touch /tmp/xtR."[..],
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x08touch /x\x85R.",
            b"\x80\x02cos\nsystem\nq\0.",
        ] {
            assert_eq!(read(bytes).unwrap_err().got, "a pickle that references os.system", "{bytes:?}");
        }
        // INST, OBJ, NEWOBJ_EX, EXT1, and REDUCE of a non-function: opcodes that call functions.
        for bytes in [&b"(ios\nsystem\n."[..], b"(o.", b"\x80\x04))}\x92.", b"\x82\x01.", b"K\x01)R.", b"]N\x81."] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    /// Returns the class of an object that was not built.
    fn class(bytes: &[u8]) -> String {
        match read(bytes).unwrap() {
            Object::Foreign { class, .. } => class.shown(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_object_of_any_class_is_its_name_whichever_opcode_would_make_it() {
        // pickle.dumps(argparse.Namespace(a=1)) in protocols 0, 2, and 4, without PUTs and FRAME.
        let state = b"}X\x01\0\0\0aK\x01sb.";
        let namespace = |front: &[u8]| class(&[front, state].concat());
        let reconstructor = b"ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR";
        assert_eq!(namespace(reconstructor), "argparse.Namespace");
        assert_eq!(namespace(b"\x80\x02cargparse\nNamespace\n)\x81"), "argparse.Namespace");
        assert_eq!(namespace(b"\x80\x04\x8c\x08argparse\x8c\x09Namespace\x93)\x81"), "argparse.Namespace");
        assert_eq!(namespace(b"\x80\x04\x8c\x08argparse\x8c\x09Namespace\x93)}\x92"), "argparse.Namespace");
        assert_eq!(namespace(b"(iargparse\nNamespace\n"), "argparse.Namespace");
        assert_eq!(namespace(b"(cargparse\nNamespace\no"), "argparse.Namespace");
        // A nested class in protocol 2: getattr(Outer, "Inner")().
        assert_eq!(
            class(b"\x80\x02c__builtin__\ngetattr\ncm\nOuter\nX\x05\0\0\0Inner\x86R)\x81."),
            "__builtin__.getattr"
        );
        // deque([1]), a list subclass, bytes in protocol 2, and a function by name.
        assert_eq!(class(b"\x80\x02ccollections\ndeque\n]K\x03\x86R(K\x01e."), "collections.deque");
        assert_eq!(class(b"\x80\x02cm\nMine\n)\x81K\x01a."), "m.Mine");
        assert_eq!(class(b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0latin1\x86R."), "_codecs.encode");
        assert!(matches!(read(b"\x80\x02cm\nf\n."), Ok(Object::Global(global)) if global.shown() == "m.f"));
        // {1, 2} and frozenset({1}) in protocol 4.
        assert_eq!(read(b"\x80\x04\x8f(K\x01K\x02\x90.").unwrap(), Object::Other);
        assert_eq!(read(b"\x80\x04(K\x01\x91.").unwrap(), Object::Other);
    }

    #[test]
    fn what_is_derived_from_a_dict_has_its_entries() {
        for (bytes, is_dict) in [
            (&b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nint\n\x85RX\x01\0\0\0aK\x01s."[..], true),
            (b"\x80\x02cm\nMine\n)\x81(X\x01\0\0\0aK\x01u.", false),
            (b"ccopy_reg\n_reconstructor\n(cm\nMine\nc__builtin__\ndict\n(Va\nI1\ndtR.", false),
        ] {
            let (objects, _) = Objects::read(bytes).unwrap();
            let (Object::Dict(entries) | Object::Foreign { entries, .. }) = objects.root() else {
                panic!("{objects:?}")
            };
            assert_eq!(matches!(objects.root(), Object::Dict(_)), is_dict);
            assert_eq!(objects.get(entries[0].0), &Object::Text("a"));
            assert_eq!(objects.get(entries[0].1), &Object::Int(1));
        }
    }

    #[test]
    fn lists_and_dicts_of_protocol_0_and_what_is_taken_from_the_stack() {
        // pickle.dumps([1, {"a": 2}], 0).
        let (objects, _) = Objects::read(b"(lp0\nI1\na(dp1\nVa\np2\nI2\nsag2\na.").unwrap();
        let Object::List(list) = objects.root() else { panic!("{objects:?}") };
        assert_eq!((objects.get(list[0]), objects.get(list[2])), (&Object::Int(1), &Object::Text("a")));
        assert!(matches!(objects.get(list[1]), Object::Dict(entries) if entries.len() == 1));
        // DUP, POP, POP_MARK, and POP of a mark.
        assert_eq!(read(b"K\x01K\x022(K\x03100.").unwrap(), Object::Int(1));
        assert_eq!(read(b"K\x01(K\x0300.").unwrap(), Object::Int(1));
        // An out-of-band buffer: NEXT_BUFFER.
        assert!(read(b"\x80\x05\x97.").is_err());
    }

    #[test]
    fn classes_that_nest_a_million_deep_are_no_danger() {
        // args = (f, None, args) repeatedly, then f(*args).
        let layer = b"q\x010h\0Nh\x01\x87";
        let deep =
            [&b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\0)"[..], &layer.repeat(100_000), b"q\x010h\0h\x01R."]
                .concat();
        assert!(matches!(read(&deep), Ok(Object::Foreign { .. })));
    }

    #[test]
    fn a_million_tuples_in_each_other_and_a_list_that_grows_by_itself_are_no_danger() {
        let deep = [&b"\x80\x02)"[..], &vec![0x85; 1 << 20], b"."].concat();
        assert!(matches!(read(&deep), Ok(Object::Tuple(_))));
        // args = ([pairs],) with 1000 pairs; then OrderedDict(*args) a thousand times.
        let pairs = [&b"]("[..], &b"K\0K\0\x86".repeat(1000), b"e\x85q\0"].concat();
        let call = b"ccollections\nOrderedDict\nh\0R".repeat(1000);
        let bytes = [b"\x80\x02", &pairs[..], &call, b"."].concat();
        assert!(read(&bytes).unwrap_err().got.contains("more objects"), "a million entries in 32 KB");
        assert!(read(&[&b"\x80\x02"[..], &b")".repeat(1 << 23), b"."].concat()).is_err());
        assert_eq!(std::mem::size_of::<Object<'_>>(), 32, "what bounds the memory");
    }

    #[test]
    fn calls_of_calls_take_no_more_time_than_a_pickle_is_long() {
        // args = (f, None, args) a hundred thousand times, then f(*args) equally often: 10^10 steps.
        let layer = b"q\x010h\0Nh\x01\x87";
        let calls = b"h\0h\x01R0".repeat(100_000);
        let bytes = [
            &b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\0)"[..],
            &layer.repeat(100_000),
            b"q\x010",
            &calls,
            b"N.",
        ];
        assert!(read(&bytes.concat()).unwrap_err().got.contains("more objects"));
    }

    #[test]
    fn long_histories_and_orders_of_images_are_no_danger_and_no_error() {
        // [1.5] * 5_000_000 and list(range(2_000_000)), as written by pickle.dumps(.., 2).
        let floats = b"G?\xf8\0\0\0\0\0\0".repeat(5_000_000);
        let integers: Vec<u8> = (0..2_000_000u32).flat_map(|i| [&b"J"[..], &i.to_le_bytes()].concat()).collect();
        let bytes = [&b"\x80\x02](]("[..], &floats, b"e](", &integers, b"ee."].concat();
        let (objects, _) = Objects::read(&bytes).unwrap();
        let Object::List(lists) = objects.root() else { panic!() };
        let counts = lists.iter().map(|list| if let Object::List(list) = objects.get(*list) { list.len() } else { 0 });
        assert_eq!(counts.collect::<Vec<_>>(), [5_000_000, 2_000_000]);
    }
}
