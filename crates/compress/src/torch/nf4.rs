//! NormalFloat: four bits that name one of sixteen values, as QLoRA holds weights (Dettmers et al. 2023, arXiv:2305.14314).

use half::f16;

use autotune_model::{NF4_GROUP, NF4_LEVELS};

/// Packs a row in the layout of Q4_0: of each group its largest size as f16, then a byte for weights i and i + 16, the latter high.
pub(super) fn pack_row(row: &[f32], out: &mut Vec<u8>) {
    for group in row.chunks(NF4_GROUP as usize) {
        let largest = f16::from_f32(group.iter().fold(0f32, |m, v| m.max(v.abs())));
        out.extend(largest.to_le_bytes());
        let scale = largest.to_f32();
        let code = |v: f32| nearest(if scale > 0.0 { v / scale } else { 0.0 });
        let (low, high) = group.split_at(group.len() / 2);
        out.extend(low.iter().zip(high).map(|(a, b)| code(*a) | (code(*b) << 4)));
    }
}

/// The code of the nearest level.
fn nearest(v: f32) -> u8 {
    let above = NF4_LEVELS.partition_point(|level| *level < v).min(NF4_LEVELS.len() - 1);
    let below = above.saturating_sub(1);
    let code = if v - NF4_LEVELS[below] <= NF4_LEVELS[above] - v { below } else { above };
    code as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_becomes_its_nearest_level() {
        for (code, level) in NF4_LEVELS.iter().enumerate() {
            assert_eq!(usize::from(nearest(*level)), code);
        }
        assert_eq!((nearest(-2.0), nearest(2.0), nearest(0.03), nearest(0.05)), (0, 15, 7, 8));
        let row: Vec<f32> = (0..64).map(|i| (i as f32 - 31.0) * 0.01).collect();
        let mut packed = Vec::new();
        pack_row(&row, &mut packed);
        assert_eq!(packed.len(), 2 * 18);
        let scale = f16::from_le_bytes([packed[18], packed[19]]).to_f32();
        assert!((scale - 0.32).abs() < 1e-3);
        // Weight 32 + 3 is low in the fourth byte of the second block, 32 + 19 high.
        let near = |code: u8, v: f32| (NF4_LEVELS[usize::from(code)] * scale - v).abs() < 0.16 * scale;
        assert!(near(packed[20 + 3] & 15, row[35]) && near(packed[20 + 3] >> 4, row[51]));
        packed.clear();
        pack_row(&[0.0; 32], &mut packed);
        assert!(packed[2..].iter().all(|b| *b == 0x77));
    }
}
