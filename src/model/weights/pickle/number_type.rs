//! Torch's element types, by the names of their storages and dtypes.

use tch::Kind;

/// An element type: a row of [`TYPES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NumberType(u8);

struct Row {
    /// Empty if torch has no such class, because the type uses untyped storages.
    storage: &'static str,
    /// Empty for the untyped storage, which has no dtype.
    dtype: &'static str,
    bytes: usize,
    /// `None` if a tensor of this type cannot be created from its bytes alone.
    kind: Option<Kind>,
}

const fn row(storage: &'static str, dtype: &'static str, bytes: usize, kind: Option<Kind>) -> Row {
    Row { storage, dtype, bytes, kind }
}

/// `_dtype_to_storage_type_map` and `_new_dtypes` of torch/storage.py, torch 2.13.
const TYPES: [Row; 32] = [
    row("FloatStorage", "float32", 4, Some(Kind::Float)),
    row("DoubleStorage", "float64", 8, Some(Kind::Double)),
    row("HalfStorage", "float16", 2, Some(Kind::Half)),
    row("BFloat16Storage", "bfloat16", 2, Some(Kind::BFloat16)),
    row("LongStorage", "int64", 8, Some(Kind::Int64)),
    row("IntStorage", "int32", 4, Some(Kind::Int)),
    row("ShortStorage", "int16", 2, Some(Kind::Int16)),
    row("CharStorage", "int8", 1, Some(Kind::Int8)),
    row("ByteStorage", "uint8", 1, Some(Kind::Uint8)),
    row("BoolStorage", "bool", 1, Some(Kind::Bool)),
    row("ComplexDoubleStorage", "complex128", 16, Some(Kind::ComplexDouble)),
    row("ComplexFloatStorage", "complex64", 8, Some(Kind::ComplexFloat)),
    row("QInt8Storage", "qint8", 1, None),
    row("QUInt8Storage", "quint8", 1, None),
    row("QInt32Storage", "qint32", 4, None),
    row("QUInt4x2Storage", "quint4x2", 1, None),
    row("QUInt2x4Storage", "quint2x4", 1, None),
    row("UntypedStorage", "", 1, Some(Kind::Uint8)),
    row("", "complex32", 4, Some(Kind::ComplexHalf)),
    row("", "float8_e5m2", 1, Some(Kind::Float8e5m2)),
    row("", "float8_e4m3fn", 1, Some(Kind::Float8e4m3fn)),
    row("", "float8_e5m2fnuz", 1, Some(Kind::Float8e5m2fnuz)),
    row("", "float8_e4m3fnuz", 1, Some(Kind::Float8e4m3fnuz)),
    row("", "float8_e8m0fnu", 1, None),
    row("", "float4_e2m1fn_x2", 1, None),
    row("", "uint16", 2, None),
    row("", "uint32", 4, None),
    row("", "uint64", 8, None),
    row("", "bits8", 1, None),
    row("", "bits1x8", 1, None),
    row("", "bits2x4", 1, None),
    row("", "bits4x2", 1, None),
];

impl NumberType {
    fn find(is_it: impl Fn(&Row) -> bool) -> Option<Self> {
        TYPES.iter().position(is_it).and_then(|row| row.try_into().ok()).map(Self)
    }

    /// Finds the type of a class such as `FloatStorage`.
    pub(crate) fn of_storage(class: &str) -> Option<Self> {
        Self::find(|row| !class.is_empty() && row.storage == class)
    }

    /// Finds the type of a dtype such as `float32`.
    pub(crate) fn of_dtype(dtype: &str) -> Option<Self> {
        Self::find(|row| !dtype.is_empty() && row.dtype == dtype)
    }

    fn row(self) -> &'static Row {
        &TYPES[usize::from(self.0)]
    }

    /// Number of bytes per element.
    pub(crate) fn bytes(self) -> usize {
        self.row().bytes
    }

    /// libtorch's type; `None` if it has none.
    pub(crate) fn kind(self) -> Option<Kind> {
        self.row().kind
    }

    /// Torch's name of the dtype.
    pub(crate) fn name(self) -> &'static str {
        self.row().dtype
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_names_and_is_as_wide_as_its_kind() {
        for row in &TYPES {
            let by_storage = NumberType::of_storage(row.storage);
            let by_dtype = NumberType::of_dtype(row.dtype);
            for found in [by_storage, by_dtype].into_iter().flatten() {
                assert_eq!((found.name(), found.bytes(), found.kind()), (row.dtype, row.bytes, row.kind));
            }
            assert_eq!((by_storage.is_none(), by_dtype.is_none()), (row.storage.is_empty(), row.dtype.is_empty()));
            assert!(row.kind.is_none_or(|kind| kind.elt_size_in_bytes() == row.bytes), "{}", row.dtype);
        }
        assert_eq!(NumberType::of_storage("LongStorage").unwrap().kind(), Some(Kind::Int64));
        assert_eq!(NumberType::of_dtype("uint16").unwrap().kind(), None);
        assert_eq!(NumberType::of_storage(""), None);
    }
}
