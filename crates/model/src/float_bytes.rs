//! Floats as files hold them.

use half::{bf16, f16};

use super::GgmlType;

/// The values as a tensor of type F32 or BF16 stores them, little-endian; as F16 for every other type.
#[must_use]
pub fn float_bytes(values: &[f32], ty: GgmlType) -> Vec<u8> {
    match ty {
        GgmlType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        GgmlType::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_bytes() {
        // Representable in all of them.
        let values = [1.0, -2.5];
        assert_eq!(float_bytes(&values, GgmlType::F32), [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
        assert_eq!(float_bytes(&values, GgmlType::Bf16), [0x80, 0x3f, 0x20, 0xc0]);
        assert_eq!(float_bytes(&values, GgmlType::F16), [0, 0x3c, 0, 0xc1]);
    }
}
