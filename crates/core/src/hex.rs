//! Bytes as hexadecimal text.

use std::fmt::Write;

/// Two lowercase digits for each byte.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(super::encode([0x00, 0x0a, 0xff, 0x80]), "000aff80");
        assert_eq!(super::encode([]), "");
    }
}
