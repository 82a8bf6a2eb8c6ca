//! Python pickles, read without running anything.
//!
//! A pickle is a program for a small stack machine that may call any function there is. This machine calls none: it interprets
//! those that a state dict needs, and keeps of any other object the name of what would have made it. A name that is known to run
//! code ends it.
//! All objects lie in one list and name each other by position: no recursion, however deep they nest.

mod forbidden;
mod global;
mod heap;
mod literal;
mod machine;
mod number_type;
mod persistent;

use super::Refusal;
pub use global::Global;
pub use number_type::NumberType;

/// Where an object stands in [`Objects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u32);

impl Id {
    /// As an index into a list of as many things as there are objects.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a pickle can make.
#[derive(Debug, Clone, PartialEq)]
pub enum Object<'a> {
    /// Something that says nothing of weights: None, bytes, a set.
    Other,
    /// `int` of at most 64 bits, `bool` too.
    Int(i64),
    /// `int` of more bits, little-endian.
    Long(&'a [u8]),
    /// The same in decimal digits, of protocols 0 and 1.
    Decimal(&'a str),
    /// `float`; no weights go by it.
    Float,
    /// `str`.
    Text(&'a str),
    /// `tuple`.
    Tuple(Vec<Id>),
    /// `list`.
    List(Vec<Id>),
    /// `dict`, and whatever is derived from it, in the order of its entries.
    Dict(Vec<(Id, Id)>),
    /// A class or a function.
    Global(Box<Global<'a>>),
    /// An object of a class that is not known, or the value of such a function. It was not built.
    Foreign {
        /// The class or the function.
        class: Box<Global<'a>>,
        /// What was put into it by key: it may be derived from a dict.
        entries: Vec<(Id, Id)>,
    },
    /// Numbers outside the pickle.
    Storage(Box<Storage<'a>>),
    /// A view of them.
    Tensor(View),
}

/// Numbers that lie elsewhere in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage<'a> {
    /// Their type.
    pub numbers: NumberType,
    /// The name of the bytes.
    pub key: &'a str,
    /// How many numbers those are.
    pub numel: usize,
    /// The first of those that belong to it, and how many do.
    pub part: (usize, usize),
}

/// Arguments of `torch._utils._rebuild_tensor_v2`, as the pickle has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// A [`Storage`].
    pub storage: Id,
    /// The first number.
    pub offset: i64,
    /// A tuple of integers.
    pub size: Id,
    /// A tuple of integers.
    pub stride: Id,
    /// The type of its numbers, if the storage does not say it.
    pub numbers: Option<NumberType>,
}

/// Everything that one pickle made.
#[derive(Debug)]
pub struct Objects<'a> {
    all: Vec<Object<'a>>,
    root: Id,
}

impl<'a> Objects<'a> {
    /// Reads the pickle at the front of `bytes`. Also returns how many bytes it has.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, usize), Refusal> {
        machine::run(bytes)
    }

    /// What the pickle stands for.
    pub fn root(&self) -> &Object<'a> {
        self.get(self.root)
    }

    /// The object of this position, which is one of this list.
    pub fn get(&self, id: Id) -> &Object<'a> {
        &self.all[id.0 as usize]
    }

    /// The position of what the pickle stands for.
    pub fn root_id(&self) -> Id {
        self.root
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Every object, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Object<'a>> {
        self.all.iter()
    }

    /// The integers of a tuple, where it is one of at most `most`.
    pub fn integers(&self, id: Id, most: usize) -> Option<Vec<i64>> {
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
        // d = {}; memo 0; pop it into a list; then get it again and set 1: 2.
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
            assert_eq!(read(bytes).unwrap_err().got, "a pickle that asks for os.system", "{bytes:?}");
        }
        // INST, OBJ, NEWOBJ_EX, EXT1, REDUCE of what is no function: opcodes that call.
        for bytes in [&b"(ios\nsystem\n."[..], b"(o.", b"\x80\x04))}\x92.", b"\x82\x01.", b"K\x01)R.", b"]N\x81."] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    /// The class of an object that was not built.
    fn class(bytes: &[u8]) -> String {
        match read(bytes).unwrap() {
            Object::Foreign { class, .. } => class.shown(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_object_of_any_class_is_its_name_whichever_opcode_would_make_it() {
        // pickle.dumps(argparse.Namespace(a=1)) of protocols 0, 2 and 4, without PUTs and FRAME.
        let state = b"}X\x01\0\0\0aK\x01sb.";
        let namespace = |front: &[u8]| class(&[front, state].concat());
        let reconstructor = b"ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR";
        assert_eq!(namespace(reconstructor), "argparse.Namespace");
        assert_eq!(namespace(b"\x80\x02cargparse\nNamespace\n)\x81"), "argparse.Namespace");
        assert_eq!(namespace(b"\x80\x04\x8c\x08argparse\x8c\x09Namespace\x93)\x81"), "argparse.Namespace");
        assert_eq!(namespace(b"\x80\x04\x8c\x08argparse\x8c\x09Namespace\x93)}\x92"), "argparse.Namespace");
        assert_eq!(namespace(b"(iargparse\nNamespace\n"), "argparse.Namespace");
        assert_eq!(namespace(b"(cargparse\nNamespace\no"), "argparse.Namespace");
        // A class inside of a class, in protocol 2: getattr(Outer, "Inner")().
        assert_eq!(
            class(b"\x80\x02c__builtin__\ngetattr\ncm\nOuter\nX\x05\0\0\0Inner\x86R)\x81."),
            "__builtin__.getattr"
        );
        // deque([1]), a list derived from list, bytes of protocol 2, a function by its name.
        assert_eq!(class(b"\x80\x02ccollections\ndeque\n]K\x03\x86R(K\x01e."), "collections.deque");
        assert_eq!(class(b"\x80\x02cm\nMine\n)\x81K\x01a."), "m.Mine");
        assert_eq!(class(b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0latin1\x86R."), "_codecs.encode");
        assert!(matches!(read(b"\x80\x02cm\nf\n."), Ok(Object::Global(global)) if global.shown() == "m.f"));
        // {1, 2} and frozenset({1}) of protocol 4.
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
        // A part that lies outside: NEXT_BUFFER.
        assert!(read(b"\x80\x05\x97.").is_err());
    }

    #[test]
    fn classes_that_nest_a_million_deep_are_no_danger() {
        // args = (f, None, args) again and again, then f(*args).
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
        // args = ([pairs],) of 1000 pairs; then OrderedDict(*args) a thousand times.
        let pairs = [&b"]("[..], &b"K\0K\0\x86".repeat(1000), b"e\x85q\0"].concat();
        let call = b"ccollections\nOrderedDict\nh\0R".repeat(1000);
        let bytes = [b"\x80\x02", &pairs[..], &call, b"."].concat();
        assert!(read(&bytes).unwrap_err().got.contains("more objects"), "a million entries in 32 KB");
        assert!(read(&[&b"\x80\x02"[..], &b")".repeat(1 << 23), b"."].concat()).is_err());
        assert_eq!(std::mem::size_of::<Object<'_>>(), 32, "what bounds the memory");
    }

    #[test]
    fn calls_of_calls_take_no_more_time_than_a_pickle_is_long() {
        // args = (f, None, args) a hundred thousand times, then f(*args) as often: ten thousand million steps.
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
        // [1.5] * 5_000_000 and list(range(2_000_000)), as pickle.dumps(.., 2) writes them.
        let floats = b"G?\xf8\0\0\0\0\0\0".repeat(5_000_000);
        let integers: Vec<u8> = (0..2_000_000u32).flat_map(|i| [&b"J"[..], &i.to_le_bytes()].concat()).collect();
        let bytes = [&b"\x80\x02](]("[..], &floats, b"e](", &integers, b"ee."].concat();
        let (objects, _) = Objects::read(&bytes).unwrap();
        let Object::List(lists) = objects.root() else { panic!() };
        let counts = lists.iter().map(|list| if let Object::List(list) = objects.get(*list) { list.len() } else { 0 });
        assert_eq!(counts.collect::<Vec<_>>(), [5_000_000, 2_000_000]);
    }
}
