//! Attention over a cache of many sequences of different lengths.

use tch::{Device, Kind, TchError, Tensor};

/// Keys and values of one layer: [sequences * context, KV heads, head].
pub(super) struct LayerCache {
    k: Tensor,
    v: Tensor,
}

/// A stretch of rows of one call that belong to one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The sequence.
    pub(super) sequence: i64,
    /// First row of the call.
    pub(super) start: i64,
    /// Rows.
    pub(super) len: i64,
    /// Tokens that the sequence held before.
    pub(super) past: i64,
}

/// Rows that are attended together, and the mask that they need.
struct Group {
    segments: Vec<Segment>,
    /// Added to the scores: [segments, 1, 1, longest] of single rows, [rows, longest] of one segment; none where all is seen.
    mask: Option<Tensor>,
    longest: i64,
}

/// What of a call is the same for all layers.
pub(super) struct Plan {
    groups: Vec<Group>,
    /// Place of each row in the cache.
    places: Tensor,
    context: i64,
    sequences: i64,
}

impl Plan {
    /// A plan for segments that stand in rising order of their sequences.
    pub(super) fn new(
        segments: &[Segment],
        sequences: i64,
        context: i64,
        kind: Kind,
        device: Device,
    ) -> Result<Self, TchError> {
        let places: Vec<i64> = segments
            .iter()
            .flat_map(|s| (0..s.len).map(|i| s.sequence * context + s.past + i).collect::<Vec<_>>())
            .collect();
        let mut groups: Vec<Group> = Vec::new();
        for segment in segments {
            // Neighbours that decode one token each are attended together, as a view of the cache.
            let joins = segment.len == 1
                && groups
                    .last()
                    .and_then(|g| g.segments.last())
                    .is_some_and(|last| last.len == 1 && last.sequence + 1 == segment.sequence);
            let end = segment.past + segment.len;
            match groups.last_mut().filter(|_| joins) {
                Some(group) => {
                    group.segments.push(*segment);
                    group.longest = group.longest.max(end);
                }
                None => groups.push(Group { segments: vec![*segment], mask: None, longest: end }),
            }
        }
        for group in &mut groups {
            group.mask = mask(group, kind, device)?;
        }
        let places = Tensor::from_slice(&places).f_to_device(device)?;
        Ok(Self { groups, places, context, sequences })
    }
}

fn mask(group: &Group, kind: Kind, device: Device) -> Result<Option<Tensor>, TchError> {
    let (n, longest) = (group.segments.len() as i64, group.longest);
    let columns = Tensor::f_arange(longest, (Kind::Int64, device))?;
    let (seen, shape): (Vec<i64>, Vec<i64>) = match group.segments.as_slice() {
        [one] if one.len == 1 => return Ok(None),
        [one] => ((0..one.len).map(|i| one.past + i + 1).collect(), vec![one.len, longest]),
        many if many.iter().all(|s| s.past + 1 == longest) => return Ok(None),
        many => (many.iter().map(|s| s.past + 1).collect(), vec![n, 1, 1, longest]),
    };
    let seen = Tensor::from_slice(&seen).f_to_device(device)?.f_unsqueeze(1)?;
    let hidden = columns.f_unsqueeze(0)?.f_ge_tensor(&seen)?;
    let mask = Tensor::f_zeros(hidden.size(), (kind, device))?;
    Ok(Some(mask.f_masked_fill(&hidden, f64::NEG_INFINITY)?.f_view(shape.as_slice())?))
}

impl LayerCache {
    /// An empty cache.
    pub(super) fn new(
        cells: i64,
        kv_heads: i64,
        head: i64,
        kind: (Kind, Kind),
        device: Device,
    ) -> Result<Self, TchError> {
        let shape = [cells, kv_heads, head];
        Ok(Self {
            k: Tensor::f_zeros(shape, (kind.0, device))?,
            v: Tensor::f_zeros(shape, (kind.1, device))?,
        })
    }

    /// Makes a sequence hold the first `length` tokens of another.
    pub(super) fn copy(&mut self, from: i64, to: i64, length: i64, context: i64) -> Result<(), TchError> {
        for cache in [&self.k, &self.v] {
            let source = cache.f_narrow(0, from * context, length)?;
            cache.f_narrow(0, to * context, length)?.f_copy_(&source)?;
        }
        Ok(())
    }

    /// Stores the keys and values of a call ([rows, KV heads, head]) and attends its queries ([rows, heads, head]): [rows, heads * head].
    pub(super) fn attend(
        &mut self,
        plan: &Plan,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
    ) -> Result<Tensor, TchError> {
        let (rows, heads, head) = q.size3()?;
        let kv_heads = k.size3()?.1;
        let group_size = heads / kv_heads;
        let _ = self.k.f_index_copy_(0, &plan.places, &k.f_to_kind(self.k.kind())?)?;
        let _ = self.v.f_index_copy_(0, &plan.places, &v.f_to_kind(self.v.kind())?)?;
        let by_sequence = |cache: &Tensor| cache.f_view([plan.sequences, plan.context, kv_heads, head]);
        let (keys, values) = (by_sequence(&self.k)?, by_sequence(&self.v)?);
        let q = q.f_to_kind(self.k.kind())?;
        let mut outputs = Vec::with_capacity(plan.groups.len());
        for group in &plan.groups {
            let (first, n) = (group.segments[0], group.segments.len() as i64);
            let part = |all: &Tensor| {
                let part =
                    all.f_narrow(0, first.sequence, n)?.f_narrow(1, 0, group.longest)?.f_transpose(1, 2)?;
                part.f_to_kind(self.k.kind())
            };
            let (keys, values) = (part(&keys)?, part(&values)?);
            // The query heads of a group are so many rows on one KV head, so that nothing is repeated.
            let (queries, mask) = if first.len == 1 {
                let queries = q.f_narrow(0, first.start, n)?.f_reshape([n, kv_heads, group_size, head])?;
                (queries, group.mask.as_ref().map(Tensor::shallow_clone))
            } else {
                let len = first.len;
                let queries =
                    q.f_narrow(0, first.start, len)?.f_reshape([len, kv_heads, group_size, head])?;
                let queries =
                    queries.f_permute([1, 2, 0, 3])?.f_reshape([1, kv_heads, group_size * len, head])?;
                let mask = group.mask.as_ref().map(|m| m.f_repeat([group_size, 1])).transpose()?;
                (queries, mask)
            };
            let out = Tensor::f_scaled_dot_product_attention(
                &queries,
                &keys,
                &values,
                mask.as_ref(),
                0.0,
                false,
                None,
                false,
            )?;
            outputs.push(if first.len == 1 {
                out.f_reshape([n, heads * head])?
            } else {
                let out = out.f_view([kv_heads, group_size, first.len, head])?;
                out.f_permute([2, 0, 1, 3])?.f_reshape([first.len, heads * head])?
            });
        }
        let out = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::f_cat(&outputs, 0)? };
        debug_assert_eq!(out.size(), [rows, heads * head]);
        Ok(out)
    }
}
