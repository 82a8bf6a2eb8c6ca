//! Opcodes for numbers, text, and bytes, in all protocols.

use super::{super::bytes::Bytes, Object};

/// Reads the object of an opcode; `None` if there are too few bytes.
///
/// Text that is not UTF-8 is ignored, because it does not name a tensor. (Python's strings can contain lone surrogates,
/// and Python 2's any bytes.)
pub(super) fn read<'a>(opcode: u8, bytes: &mut Bytes<'a>) -> Option<Object<'a>> {
    Some(match opcode {
        b'N' => Object::Other,
        b'\x88' | b'\x89' => Object::Int((opcode == b'\x88').into()),
        b'K' => Object::Int(bytes.u8()?.into()),
        b'M' => Object::Int(bytes.u16()?.into()),
        b'J' => Object::Int((bytes.u32()? as i32).into()),
        b'\x8a' | b'\x8b' => {
            let length = if opcode == b'\x8a' { bytes.u8()?.into() } else { size(bytes.u32()?)? };
            integer(bytes.take(length)?)
        }
        b'G' => bytes.take(8).map(|_| Object::Float)?,
        // Text with a length of 32, 8, or 64 bits; U and T are from Python 2.
        b'X' | b'T' => {
            let length = size(bytes.u32()?)?;
            text(bytes.take(length)?)
        }
        b'\x8c' | b'U' => {
            let length = bytes.u8()?.into();
            text(bytes.take(length)?)
        }
        b'\x8d' => {
            let length = bytes.u64()?.try_into().ok()?;
            text(bytes.take(length)?)
        }
        // Bytes and bytearrays.
        b'C' => passed(bytes.u8().map(u64::from)?, bytes)?,
        b'B' => passed(bytes.u32().map(u64::from)?, bytes)?,
        b'\x8e' | b'\x96' => passed(bytes.u64()?, bytes)?,
        // Lines of protocol 0.
        b'F' => bytes.line().map(|_| Object::Float)?,
        b'I' | b'L' => decimal(bytes.line()?)?,
        b'V' => line(bytes.line()?),
        b'S' => quoted(bytes.line()?)?,
        _ => return None,
    })
}

fn size(length: u32) -> Option<usize> {
    length.try_into().ok()
}

fn passed<'a>(length: u64, bytes: &mut Bytes<'a>) -> Option<Object<'a>> {
    bytes.take(length.try_into().ok()?).map(|_| Object::Other)
}

fn text(bytes: &[u8]) -> Object<'_> {
    std::str::from_utf8(bytes).map_or(Object::Other, Object::Text)
}

/// Text that needs no unescaping; names of tensors never do.
fn line(bytes: &[u8]) -> Object<'_> {
    if bytes.is_ascii() && !bytes.contains(&b'\\') { text(bytes) } else { Object::Other }
}

fn quoted(bytes: &[u8]) -> Option<Object<'_>> {
    match bytes {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => Some(line(inner)),
        _ => None,
    }
}

/// `00` and `01` are False and True.
fn decimal(bytes: &[u8]) -> Option<Object<'_>> {
    let text = std::str::from_utf8(bytes.strip_suffix(b"L").unwrap_or(bytes)).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().map_or(Object::Decimal(text), Object::Int))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_every_protocol_are_what_python_wrote() {
        // pickletools: opcode and argument of pickle.dumps(OBJECT, PROTOCOL).
        for (bytes, want) in [
            (&b"I-7\n"[..], Object::Int(-7)),
            (b"I01\n", Object::Int(1)),
            (b"L1099511627776L\n", Object::Int(1 << 40)),
            (b"L119547037146038801333356L\n", Object::Decimal("119547037146038801333356")),
            (b"\x8b\x02\0\0\0\0\x80", Object::Int(-32768)),
            (b"F0.1\n", Object::Float),
            (b"Va.weight\n", Object::Text("a.weight")),
            (b"V\\u005c\n", Object::Other),
            (b"S'a'\n", Object::Text("a")),
            (b"U\x01\xff", Object::Other),
            (b"X\x03\0\0\0\xed\xa0\x80", Object::Other),
            (b"\x8d\x01\0\0\0\0\0\0\0a", Object::Text("a")),
            (b"C\x02ab", Object::Other),
            (b"B\x02\0\0\0ab", Object::Other),
            (b"\x96\x02\0\0\0\0\0\0\0ab", Object::Other),
        ] {
            let mut rest = Bytes::new(&bytes[1..]);
            assert_eq!(read(bytes[0], &mut rest), Some(want), "{bytes:?}");
            assert!(rest.rest().is_empty(), "{bytes:?}");
            let mut cut = Bytes::new(&bytes[1..bytes.len() - 1]);
            assert_eq!(read(bytes[0], &mut cut), None, "{bytes:?}");
        }
        for bytes in [&b"I\n"[..], b"L-L\n", b"I1.5\n", b"Sa\n", b"S'\n", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffa"] {
            assert_eq!(read(bytes[0], &mut Bytes::new(&bytes[1..])), None, "{bytes:?}");
        }
    }
}
