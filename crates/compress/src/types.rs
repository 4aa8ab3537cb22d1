//! Which storage type a tensor gets: what the candidate asks, and what its shape can take.

use serde::{Deserialize, Serialize};

use super::CompressError;
use autotune_core::space::WeightSlot;
use autotune_model::{GgmlType, TensorName, WeightGroup};

/// A tensor that could not take the type asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// The tensor, by its name in the artifact.
    pub tensor: String,
    /// What the candidate asked for.
    pub asked: GgmlType,
    /// What it became.
    pub got: GgmlType,
}

/// The type that rows of `n_per_row` elements get for `asked`, as llama.cpp's quantizer falls back (`tensor_type_fallback` in
/// `llama-quant.cpp`): K-quants of 256 to the next larger type of 32, then F16. Types that need importance data and have none become
/// Q2_K first; llama.cpp refuses those instead.
#[must_use]
pub fn fit_type(asked: GgmlType, n_per_row: u64, has_imatrix: bool) -> GgmlType {
    use GgmlType as T;
    let asked = if asked.needs_imatrix() && !has_imatrix { T::Q2_K } else { asked };
    let fits = |t: GgmlType| n_per_row.is_multiple_of(t.block_len());
    if fits(asked) {
        return asked;
    }
    let smaller = match asked {
        T::Iq1S | T::Iq1M | T::Iq2Xxs | T::Iq2Xs | T::Iq2S | T::Iq3Xxs | T::Iq3S | T::Iq4Xs => T::Iq4Nl,
        T::Q2_0 | T::Q2_K | T::Q3_K | T::Tq1_0 | T::Tq2_0 => T::Q4_0,
        T::Q4_K => T::Q5_0,
        T::Q5_K => T::Q5_1,
        T::Q6_K => T::Q8_0,
        other => other,
    };
    if fits(smaller) { smaller } else { T::F16 }
}

/// The types asked for, by group and third of the depth.
#[derive(Clone, Debug, Default)]
pub(super) struct WeightTypes {
    slots: Vec<(WeightGroup, Option<u32>, GgmlType)>,
}

impl WeightTypes {
    /// Reads the slots of a candidate.
    pub(super) fn new(slots: &[(WeightSlot, String)]) -> Result<Self, CompressError> {
        let mut read = Vec::with_capacity(slots.len());
        for (slot, name) in slots {
            let text = match &slot.depth {
                Some(depth) => format!("{}.{depth}", slot.role),
                None => slot.role.clone(),
            };
            let groups = [WeightGroup::Attn, WeightGroup::Ffn, WeightGroup::Embd];
            let group = groups.into_iter().find(|g| g.name() == slot.role);
            let depth = match slot.depth.as_deref() {
                None => Some(None),
                Some("early") => Some(Some(0)),
                Some("middle") => Some(Some(1)),
                Some("late") => Some(Some(2)),
                Some(_) => None,
            };
            let (Some(group), Some(depth)) = (group, depth) else { return Err(CompressError::Slot(text)) };
            let ty: GgmlType =
                name.parse().map_err(|cause| CompressError::Type { slot: text.clone(), cause })?;
            if !ty.is_target() {
                return Err(CompressError::NotAWeightType { slot: text, found: ty });
            }
            read.push((group, depth, ty));
        }
        Ok(Self { slots: read })
    }

    /// The type asked for a tensor of a model with `layers` layers in the source; F16 where the candidate is silent, none for tensors
    /// that keep theirs. A slot for a third of the depth goes before one for all of it.
    pub(super) fn asked(&self, name: TensorName, layers: usize) -> Option<GgmlType> {
        let group = name.group()?;
        let third = name.layer.map(|l| (l as usize * 3 / layers.max(1)).min(2) as u32);
        let find = |depth: Option<u32>| self.slots.iter().find(|s| s.0 == group && s.1 == depth).map(|s| s.2);
        let by_depth = third.and_then(|t| find(Some(t)));
        Some(by_depth.or_else(|| find(None)).unwrap_or(GgmlType::F16))
    }

    /// The multiple that FFN widths must have for the types asked of the FFN.
    pub(super) fn ffn_multiple(&self) -> u32 {
        let ffn = self.slots.iter().filter(|s| s.0 == WeightGroup::Ffn).map(|s| s.2.block_len());
        if ffn.max() > Some(32) { 256 } else { 32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(role: &str, depth: Option<&str>, ty: &str) -> (WeightSlot, String) {
        (WeightSlot { role: role.into(), depth: depth.map(str::to_owned) }, ty.into())
    }

    #[test]
    fn fallbacks_are_llama_cpps() {
        use GgmlType as T;
        let rows_of_576 = [
            (T::Q6_K, T::Q8_0),
            (T::Q5_K, T::Q5_1),
            (T::Q4_K, T::Q5_0),
            (T::Q3_K, T::Q4_0),
            (T::Iq2S, T::Iq4Nl),
        ];
        for (asked, got) in rows_of_576 {
            assert_eq!(fit_type(asked, 576, true), got);
            assert_eq!(fit_type(asked, 512, true), asked);
        }
        assert_eq!(fit_type(T::Q4_K, 100, true), T::F16);
        assert_eq!(fit_type(T::Q4_0, 100, true), T::F16);
        assert_eq!(fit_type(T::Iq2Xxs, 512, false), T::Q2_K);
        assert_eq!(fit_type(T::Iq2Xxs, 576, false), T::Q4_0);
    }

    #[test]
    fn slots_are_looked_up_by_depth_then_by_group() {
        let types =
            WeightTypes::new(&[slot("ffn", None, "Q4_K"), slot("ffn", Some("late"), "q6_k")]).unwrap();
        let asked = |name: &str| types.asked(TensorName::parse(name), 30);
        assert_eq!(asked("blk.0.ffn_up.weight"), Some(GgmlType::Q4_K));
        assert_eq!(asked("blk.19.ffn_up.weight"), Some(GgmlType::Q4_K));
        assert_eq!(asked("blk.20.ffn_up.weight"), Some(GgmlType::Q6_K));
        assert_eq!(asked("blk.20.attn_q.weight"), Some(GgmlType::F16));
        assert_eq!(asked("blk.20.ffn_norm.weight"), None);
        assert_eq!(types.ffn_multiple(), 256);
        assert_eq!(WeightTypes::new(&[slot("ffn", None, "Q8_0")]).unwrap().ffn_multiple(), 32);
    }

    #[test]
    fn wrong_slots_and_types_are_named() {
        let bad = |s| WeightTypes::new(&[s]).unwrap_err().to_string();
        assert!(bad(slot("nose", None, "Q4_K")).starts_with("invalid weight group `nose`"));
        assert!(bad(slot("attn", Some("deep"), "Q4_K")).starts_with("invalid weight group `attn.deep`"));
        assert!(bad(slot("attn", None, "Q4_M")).contains("unknown tensor type `Q4_M`"));
        assert!(bad(slot("attn", None, "Q8_1")).contains("not weights"));
    }
}
