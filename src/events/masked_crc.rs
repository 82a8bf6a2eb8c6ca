//! The checksum of TFRecords: CRC-32C, rotated and offset.
//!
//! A CRC over data that holds CRCs is weak, so TensorFlow stores them masked (tensorflow/core/lib/hash/crc32c.h).

/// The masked CRC-32C of `bytes`.
pub fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_laid_over_the_known_checksum() {
        // CRC-32C of "123456789" is e3069283 (RFC 3720, appendix B.4); rotated right by 15 bits it is 2507c60d.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked_crc(b"123456789"), 0x2507_c60d_u32.wrapping_add(0xa282_ead8));
    }

    #[test]
    fn the_checksum_of_nothing_is_the_mask_itself() {
        assert_eq!(masked_crc(b""), 0xa282_ead8);
    }
}
