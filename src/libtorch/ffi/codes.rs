//! Enums that cross the boundary to the C++ shim. Their numbers are those of shim.h.

/// GwRule of shim.h.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(in crate::libtorch) enum RuleCode {
    Sgd = 0,
    Adam = 1,
    Adamw = 2,
    Rmsprop = 3,
    Nadam = 4,
    Radam = 5,
    Lamb = 6,
    Lion = 7,
}

/// GwForeach of shim.h.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(super) enum ForeachCode {
    Multiply = 0,
    Add = 1,
    Copy = 2,
    Subtract = 3,
    Lerp = 4,
}

/// The members of at::ScalarType that reach the shim.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(super) enum ScalarType {
    Byte = 0,
    Int = 3,
    Long = 4,
    Float = 6,
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::{
        super::raw::{RawLists, RawOptions, RawSlice, gw_constant},
        *,
    };
    use crate::libtorch::column;

    #[test]
    fn numbers_are_those_of_the_shim() {
        let constant = |name: &str| {
            let name = CString::new(name).unwrap();
            // SAFETY: the name is a NUL-terminated string, which the shim only reads.
            unsafe { gw_constant(name.as_ptr()) }
        };
        let codes = [
            ("GW_SGD", RuleCode::Sgd as i64),
            ("GW_ADAM", RuleCode::Adam as i64),
            ("GW_ADAMW", RuleCode::Adamw as i64),
            ("GW_RMSPROP", RuleCode::Rmsprop as i64),
            ("GW_NADAM", RuleCode::Nadam as i64),
            ("GW_RADAM", RuleCode::Radam as i64),
            ("GW_LAMB", RuleCode::Lamb as i64),
            ("GW_LION", RuleCode::Lion as i64),
            ("GW_MULTIPLY", ForeachCode::Multiply as i64),
            ("GW_ADD", ForeachCode::Add as i64),
            ("GW_COPY", ForeachCode::Copy as i64),
            ("GW_SUBTRACT", ForeachCode::Subtract as i64),
            ("GW_LERP", ForeachCode::Lerp as i64),
            ("kByte", ScalarType::Byte as i64),
            ("kInt", ScalarType::Int as i64),
            ("kLong", ScalarType::Long as i64),
            ("kFloat", ScalarType::Float as i64),
        ];
        let columns = [
            ("SQUARES", column::SQUARES),
            ("LARGEST", column::LARGEST),
            ("SUM", column::SUM),
            ("ZEROS", column::ZEROS),
            ("DENORMALS", column::DENORMALS),
            ("NANS", column::NANS),
            ("INFINITIES", column::INFINITIES),
            ("NEGATIVE_INFINITIES", column::NEGATIVE_INFINITIES),
            ("NEGATIVE", column::NEGATIVE),
            ("POSITIVE", column::POSITIVE),
            ("EXPONENTS", column::EXPONENTS),
            ("COLUMNS", column::COUNT),
            ("sizeof GwOptions", size_of::<RawOptions>()),
            ("sizeof GwLists", size_of::<RawLists>()),
            ("sizeof GwHostSlice", size_of::<RawSlice>()),
        ];
        for (name, want) in codes.into_iter().chain(columns.map(|(name, number)| (name, number as i64))) {
            assert_eq!(constant(name), want, "{name}");
        }
        assert_eq!(constant("GW_NOTHING"), -1);
    }
}
