//! Levels fitted to the facts: derived where they are derived, and without those that cannot be had here.

use super::declared::{Declaration, DeclaredParam, MOST_LEVELS};
use super::facts::{ModelFacts, NoteReason, SpaceFacts, SpaceNote};
use super::known::{Domain, Known};
use super::{KvType, Value};

/// Contexts that are derived are whole multiples of this many tokens; llama.cpp pads its cache to the same.
const CONTEXT_STEP: u32 = 256;
/// FFN channels are removed in blocks of this many, so that every block type still fits.
const FFN_BLOCK: u32 = 32;
/// The smallest fraction that `{ from = "model" }` keeps: pruning more ruins generation without training.
const LEAST_KEPT: f64 = 0.9;
/// How many levels `{ from = "model" }` takes for a fraction.
const FRACTION_LEVELS: usize = 3;
/// One layer of so many may be dropped by `{ from = "model" }`.
const LAYERS_PER_DROP: u32 = 10;

/// Why a parameter has no levels.
#[derive(Debug, PartialEq)]
pub(crate) enum Unfit {
    /// They depend on a model that is not known.
    NeedsModel,
    /// The reasons why all of them fell.
    Empty(String),
}

/// The levels of a parameter on these facts, ordered, and what was left out.
pub(crate) fn fit(param: &DeclaredParam, facts: &SpaceFacts) -> Result<(Vec<Value>, Vec<SpaceNote>), Unfit> {
    let mut notes = Vec::new();
    let mut levels = match &param.levels {
        Declaration::Listed(levels) => levels.clone(),
        Declaration::Derived { up_to, at_least, levels } => {
            derive(param, facts, Bounds { up_to: *up_to, at_least: *at_least, levels: *levels }, &mut notes)?
        }
    };
    order(&param.known, &mut levels);
    let mut note = |level: &Value, reason| {
        notes.push(SpaceNote { param: param.name.clone(), level: level.to_string(), reason });
    };
    let mut counts = Vec::new();
    // Most faithful first, so that of two levels that keep the same the more faithful one stays.
    levels.reverse();
    levels.retain(|level| match cannot(&param.known, level, facts, &mut counts) {
        Some(reason) => {
            note(level, reason);
            false
        }
        None => true,
    });
    levels.reverse();
    if levels.is_empty() {
        let mut why: Vec<String> = notes.iter().map(|n| format!("{}: {}", n.level, n.reason)).collect();
        why.dedup();
        return Err(Unfit::Empty(why.join("; ")));
    }
    Ok((levels, notes))
}

/// From few bits to many and from small to large, or the other way where the parameter says so.
fn order(known: &Known, levels: &mut [Value]) {
    levels.sort_by(|a, b| known.domain.rank(a).total_cmp(&known.domain.rank(b)));
    if known.descending {
        levels.reverse();
    }
}

/// Why a level cannot be had; `counts` collects the whole units that the levels before it keep.
fn cannot(known: &Known, level: &Value, facts: &SpaceFacts, counts: &mut Vec<u64>) -> Option<NoteReason> {
    let over = |n: &i64, most: u32| *n > i64::from(most);
    match (known.key, level, facts.model) {
        ("threads", Value::Int(n), _) => {
            let usable = facts.usable_threads.max(1);
            over(n, usable).then_some(NoteReason::Threads { usable })
        }
        ("batch", Value::Int(n), _) => {
            let requests = facts.workload_requests.max(1);
            over(n, requests).then_some(NoteReason::Requests { requests })
        }
        ("context", Value::Int(n), model) => {
            let (needed, longest) = (facts.workload_context_tokens, longest(model));
            if *n < i64::from(needed) {
                return Some(NoteReason::ShortContext { needed });
            }
            longest.filter(|longest| over(n, *longest)).map(|longest| NoteReason::LongContext { longest })
        }
        ("kv.k" | "kv.v", Value::Text(name), model) => {
            let ty = KvType::ALL.into_iter().find(|t| t.name() == name)?;
            if ty.is_quantized() && !facts.block_caches {
                return Some(NoteReason::NoCacheType);
            }
            // llama.cpp checks each head, of K and of V (`llama_init_from_model`).
            let head = model.map_or(0, |m| m.head_dim);
            let whole = head.is_multiple_of(ty.block_len());
            (!whole).then_some(NoteReason::CacheBlock { block: ty.block_len(), head })
        }
        ("gpu_layers", Value::Int(n), _) => match facts.device_layers {
            0 => (*n > 0).then_some(NoteReason::NoDevice),
            layers => over(n, layers).then_some(NoteReason::DeviceLayers { layers }),
        },
        ("prune.drop_layers", Value::Int(n), Some(ModelFacts { layers, .. })) => {
            (*n > 0 && *n >= i64::from(layers)).then_some(NoteReason::Layers { layers })
        }
        (_, Value::Real(fraction), Some(model)) => {
            let of = units(known, model);
            let kept = (fraction * of as f64).round() as u64;
            if kept == 0 {
                return Some(NoteReason::NothingKept);
            }
            if counts.contains(&kept) {
                return Some(NoteReason::SameCount { kept, of });
            }
            counts.push(kept);
            None
        }
        _ => None,
    }
}

fn longest(model: Option<ModelFacts>) -> Option<u32> {
    model.map(|m| m.context_max).filter(|longest| *longest > 0)
}

/// The whole units of the model that a fraction counts: KV groups, or blocks of FFN channels, over all layers.
fn units(known: &Known, model: ModelFacts) -> u64 {
    let of_layer = if known.key == "prune.keep_ffn" { model.ffn.div_ceil(FFN_BLOCK) } else { model.kv_heads };
    u64::from(model.layers) * u64::from(of_layer)
}

struct Bounds {
    up_to: Option<i64>,
    at_least: Option<f64>,
    levels: Option<usize>,
}

fn derive(
    param: &DeclaredParam,
    facts: &SpaceFacts,
    bounds: Bounds,
    notes: &mut Vec<SpaceNote>,
) -> Result<Vec<Value>, Unfit> {
    let known = &param.known;
    let capped = |n: u32| bounds.up_to.unwrap_or(Domain::MOST).min(i64::from(n.max(1)));
    let model = || facts.model.ok_or(Unfit::NeedsModel);
    Ok(match (known.key, known.domain) {
        ("threads", _) => doublings(capped(facts.usable_threads)),
        ("batch", _) => doublings(capped(facts.workload_requests)),
        ("gpu_layers", _) => {
            let all = i64::from(facts.device_layers).min(bounds.up_to.unwrap_or(Domain::MOST));
            let mut levels = vec![0, all / 2, all];
            levels.dedup();
            levels.into_iter().map(Value::Int).collect()
        }
        ("context", _) => vec![context(param, facts, bounds.at_least, notes)],
        (_, Domain::Fraction) => {
            let of = units(known, model()?);
            fractions(of, bounds.at_least.unwrap_or(LEAST_KEPT), bounds.levels.unwrap_or(FRACTION_LEVELS))
        }
        _ => {
            let layers = model()?.layers;
            let most = capped(layers.saturating_sub(1)).min(MOST_LEVELS as i64 - 1);
            let most =
                if bounds.up_to.is_some() { most } else { most.min(i64::from(layers / LAYERS_PER_DROP)) };
            (0..=most).map(Value::Int).collect()
        }
    })
}

/// 1, 2, 4, ... and `most` itself.
fn doublings(most: i64) -> Vec<Value> {
    let mut levels: Vec<i64> = (0..62).map(|shift| 1i64 << shift).take_while(|n| *n < most).collect();
    levels.push(most);
    levels.into_iter().map(Value::Int).collect()
}

/// The context that holds one request and is `at_least` so long, as far as the model allows.
fn context(
    param: &DeclaredParam,
    facts: &SpaceFacts,
    at_least: Option<f64>,
    notes: &mut Vec<SpaceNote>,
) -> Value {
    let asked = at_least.map_or(1, |x| x as u32);
    let needed = facts.workload_context_tokens;
    let rounded = asked.max(needed).max(1).checked_next_multiple_of(CONTEXT_STEP).unwrap_or(u32::MAX);
    // A request that does not fit the model at all falls to the check of the levels, which says so.
    let most = longest(facts.model).unwrap_or(u32::MAX).max(needed);
    if asked > most {
        let reason = NoteReason::LongContext { longest: most };
        notes.push(SpaceNote { param: param.name.clone(), level: asked.to_string(), reason });
    }
    Value::Int(i64::from(rounded.min(most)))
}

/// Fractions of `of` units that keep whole units, evenly spaced from `least` to all.
fn fractions(of: u64, least: f64, levels: usize) -> Vec<Value> {
    let fewest = ((least * of as f64).ceil() as u64).clamp(1, of.max(1));
    let steps = levels.saturating_sub(1).max(1) as u64;
    let mut kept: Vec<u64> = (0..levels as u64)
        .map(|i| of.max(1) - ((of.max(1) - fewest) as f64 * i as f64 / steps as f64).round() as u64)
        .collect();
    kept.dedup();
    kept.into_iter().map(|k| Value::Real(k as f64 / of.max(1) as f64)).collect()
}
