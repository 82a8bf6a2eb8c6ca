//! The checksum of TFRecords: CRC-32C, rotated and offset.
//!
//! A CRC over data that contains CRCs is weak, so TensorFlow masks the stored CRCs (tensorflow/core/lib/hash/crc32c.h).

/// Returns the masked CRC-32C of `bytes`.
pub fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_below_the_mask_is_castagnolis() {
        // RFC 3720, appendix B.4, which lists the checksums in wire order, least significant byte first.
        let rising: Vec<u8> = (0..32).collect();
        let falling: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c::crc32c(&rising), 0x46dd_794e);
        assert_eq!(crc32c::crc32c(&falling), 0x113f_db5c);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn the_mask_turns_by_fifteen_bits_and_adds() {
        // e3069283 rotated right by 15 bits is 2507c60d, and 2507c60d + a282ead8 = c78ab0e5.
        assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5);
        assert_eq!(masked_crc(b""), 0xa282_ead8);
    }
}
