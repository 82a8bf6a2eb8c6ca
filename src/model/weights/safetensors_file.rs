//! Reads safetensors files from any program.

use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};
use tch::Kind;

use super::{
    Refusal,
    bytes::Bytes,
    refusal::shown,
    state_dict::{StateDict, Unread},
    stored::{MOST_SIDES, StoredTensor},
};

/// Limit of the format itself.
pub(super) const MOST_HEADER_BYTES: u64 = 100_000_000;

/// Reads the tensors of a file, in file order. Offsets, lengths, and shapes are checked against each other and the file
/// before they are used.
///
/// The crate's own reader adds the lengths without checking for 64-bit overflow, so only its header parser is used.
pub(super) fn read(file: &[u8]) -> Result<StateDict<'_>, Refusal> {
    let mut bytes = Bytes::new(file);
    let cut = || Refusal::cut("a safetensors file", file.len());
    let length = bytes.u64().ok_or_else(cut)?;
    let Some(header) = usize::try_from(length).ok().and_then(|length| bytes.take(length)) else {
        let got = format!("a safetensors file of {} bytes whose header claims {length}", file.len());
        return Err(Refusal::new(got, "the complete file; copy or download it again"));
    };
    // Parsing ensures that the tensors have no gaps or overlaps, match their shapes, and cover 0 to `data_len`.
    let header: Metadata = serde_json::from_slice(header).map_err(|error| {
        let why = shown(&error.to_string());
        Refusal::damaged(format!("a safetensors file whose header is inconsistent ({why})"))
    })?;
    let (got, want) = (bytes.rest().len(), header.data_len());
    if got != want {
        let got = format!("a safetensors file with {got} bytes of data, but its header claims {want}");
        return Err(Refusal::new(got, "the complete file; copy or download it again"));
    }
    let mut infos: Vec<(String, &TensorInfo)> = header.tensors().into_iter().collect();
    infos.sort_by(|(one, at), (other, to)| (at.data_offsets, one).cmp(&(to.data_offsets, other)));
    let mut dict = StateDict::default();
    for (name, info) in infos {
        match kind(info.dtype) {
            Some(kind) => dict.tensors.push(tensor(name, info, kind, bytes.rest())?),
            None => {
                let what = format!("a tensor of {:?}, which is not supported", info.dtype);
                dict.unread.push(Unread { name, what, is_tensor: true });
            }
        }
    }
    Ok(dict)
}

fn tensor<'a>(
    name: String,
    info: &TensorInfo,
    kind: Kind,
    data: &'a [u8],
) -> Result<(String, StoredTensor<'a>), Refusal> {
    let size: Result<Vec<i64>, _> = info.shape.iter().map(|&side| side.try_into()).collect();
    let size = size.ok().filter(|size: &Vec<i64>| size.len() <= MOST_SIDES);
    let (start, end) = info.data_offsets;
    match (size, data.get(start..end)) {
        (Some(size), Some(bytes)) => Ok((name, StoredTensor::dense(bytes, kind, size)?)),
        _ => Err(Refusal::damaged(format!("{} of shape {:?}", shown(&name), &info.shape[..info.shape.len().min(9)]))),
    }
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        Dtype::F8_E5M2 => Kind::Float8e5m2,
        Dtype::F8_E4M3 => Kind::Float8e4m3fn,
        Dtype::C64 => Kind::ComplexFloat,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Builds a file with a header of this many bytes, mostly padding. It contains a tensor with the value 1.5 if there
    /// is room.
    pub(crate) fn padded(header_bytes: usize) -> (Vec<u8>, bool) {
        let header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let has_tensor = header_bytes >= header.len();
        let (header, data) = if has_tensor { (header, &1.5f32.to_le_bytes()[..]) } else { ("{}", &[][..]) };
        let padding = " ".repeat(header_bytes - header.len());
        (file(&[header, &padding].concat(), data), has_tensor)
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    fn refusal(file: &[u8]) -> String {
        read(file).unwrap_err().got
    }

    #[test]
    fn tensors_come_in_the_order_in_which_they_lie() {
        let header = r#"{"z":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}"#;
        let bytes = file(header, &[0, 0, 0x80, 0x3f, 7, 8]);
        let tensors = read(&bytes).unwrap().tensors;
        let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["z", "a"]);
        assert_eq!(tensors[0].1.read().unwrap().double_value(&[0]), 1.0);
        assert_eq!(tensors[1].1.read().unwrap().int64_value(&[1]), 8);
    }

    #[test]
    fn what_stands_beside_the_tensors_and_types_that_are_not_known_take_nothing_from_them() {
        let header = r#"{"__metadata__":{"format":"pt"},"n":{"dtype":"U16","shape":[1],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#;
        let bytes = file(header, &[0, 0, 7]);
        let dict = read(&bytes).unwrap();
        assert_eq!((dict.tensors.len(), &*dict.tensors[0].0), (1, "a"));
        assert_eq!(dict.tensors[0].1.read().unwrap().int64_value(&[0]), 7);
        assert_eq!((&*dict.unread[0].name, &*dict.unread[0].what), ("n", "a tensor of U16, which is not supported"));
        let bytes = file(r#"{"__metadata__":{"format":"pt"}}"#, &[]);
        assert!(read(&bytes).unwrap().tensors.is_empty());
    }

    #[test]
    fn hostile_headers_are_refused_before_anything_is_allocated() {
        let claims = |length: u64| [&length.to_le_bytes()[..], b"{\"a\":"].concat();
        assert!(refusal(&claims(1 << 60)).contains("13 bytes whose header claims 1152921504606846976"));
        assert!(refusal(&claims(u64::MAX)).contains("claims 18446744073709551615"));
        let one = |shape: &str, offsets: &str, bytes: usize| {
            let header = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
            refusal(&file(&header, &vec![0; bytes]))
        };
        assert!(one("[1]", "[0,4]", 3).contains("3 bytes of data, but its header claims 4"));
        assert!(one("[1]", "[0,4]", 5).contains("5 bytes"));
        assert!(one("[2]", "[0,4]", 4).contains("is inconsistent"));
        assert!(one("[1]", "[4,8]", 8).contains("is inconsistent"));
        assert!(one("[1]", "[4,0]", 4).contains("is inconsistent"));
        assert!(one("[4611686018427387904,4]", "[0,4]", 4).contains("is inconsistent"));
        assert!(one("[288230376151711744]", "[0,1152921504606846976]", 4).contains("claims 1152921504606846976"));
        assert!(one("[1,1,1,1,1,1,1,1,1]", "[0,4]", 4).contains("a of shape [1, 1, 1, 1, 1, 1, 1, 1, 1]"));
        let overlap = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#;
        assert!(refusal(&file(overlap, &[0; 6])).contains("is inconsistent"));
        // Eight lengths whose sum, including the header's, overflows 64 bits.
        let each = u64::MAX / 8;
        let many: Vec<String> = (0..8)
            .map(|index| {
                format!(
                    r#""{index}":{{"dtype":"U8","shape":[{each}],"data_offsets":[{},{}]}}"#,
                    index * each,
                    (index + 1) * each
                )
            })
            .collect();
        assert!(refusal(&file(&format!("{{{}}}", many.join(",")), &[0; 4])).contains("claims 18446744073709551608"));
    }
}
