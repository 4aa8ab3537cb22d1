//! Weight types that come to the same: a type whose blocks do not divide the rows of a model's matrices is replaced by one whose blocks do,
//! and two types may be replaced by the same. Only one of them is worth a question.

use super::kit::Kit;
use super::predict::Shape;
use autotune_core::space::{Candidate, Config, Param, Space, Value};

/// Combinations of what is pruned that are looked at, at most; more than that, and nothing is left out.
const MOST: usize = 256;

/// Removes from a space the weight types that give the same tensors as another one, whatever is pruned; the one of most bits stays, which is
/// what the others are replaced by. Tells what was left out, a line each.
///
/// A model whose sizes cannot be predicted leaves the space as it is.
pub fn leave_out_alike(space: &mut Space, kit: &dyn Kit) -> Vec<String> {
    let pruned = pruned(space);
    let mut told = Vec::new();
    for param in space.params.iter_mut().filter(|p| p.name.starts_with("weights.")) {
        let Some(shapes) = shapes(param, &pruned, kit) else { continue };
        let alike =
            |level: usize| (level + 1..shapes.len()).rev().find(|&more| shapes[more] == shapes[level]);
        let twins: Vec<Option<usize>> = (0..shapes.len()).map(alike).collect();
        for (level, twin) in twins.iter().enumerate().filter_map(|(level, twin)| Some((level, (*twin)?))) {
            let (level, twin) = (&param.levels[level], &param.levels[twin]);
            told.push(format!(
                "`{}`: {level} left out: on this model it gives the same tensors as {twin}",
                param.name
            ));
        }
        let mut twins = twins.into_iter();
        param.levels.retain(|_| twins.next().flatten().is_none());
    }
    told
}

/// All combinations of what the space prunes; none where they are too many.
fn pruned(space: &Space) -> Vec<Candidate> {
    let params: Vec<&Param> = space.params.iter().filter(|p| p.name.starts_with("prune.")).collect();
    let count = params.iter().fold(1usize, |n, p| n.saturating_mul(p.levels.len()));
    if count > MOST {
        return Vec::new();
    }
    let mut all = vec![Candidate::default()];
    for param in params {
        let with = |c: &Candidate| {
            param.levels.iter().map(|level| c.clone().with(&param.name, level.clone())).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

/// The shapes that each level of a parameter gives, by what is pruned; none where they are not known.
fn shapes(param: &Param, pruned: &[Candidate], kit: &dyn Kit) -> Option<Vec<Vec<Shape>>> {
    if param.levels.len() < 2 || pruned.is_empty() {
        return None;
    }
    let shape = |level: &Value, candidate: &Candidate| {
        let config = Config::from_candidate(&candidate.clone().with(&param.name, level.clone())).ok()?;
        kit.shape(&config).ok().filter(|shape| !shape.matrices.is_empty())
    };
    param.levels.iter().map(|level| pruned.iter().map(|c| shape(level, c)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit;
    use autotune_core::space::{ParamKind, Value};
    use autotune_engine::EngineKind;
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, GgmlType};

    fn space(params: &[(&str, &[&str])]) -> Space {
        let value = |text: &&str| text.parse().map_or_else(|_| Value::Text((*text).into()), Value::Real);
        let param = |(name, levels): &(&str, &[&str])| Param {
            name: (*name).into(),
            kind: ParamKind::Ordinal,
            levels: levels.iter().map(value).collect(),
        };
        Space { name: "s".into(), description: String::new(), params: params.iter().map(param).collect() }
    }

    fn levels(space: &Space, param: usize) -> Vec<String> {
        space.params[param].levels.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn types_that_are_replaced_by_the_same_are_asked_once() {
        let folder = tempfile::tempdir().unwrap();
        let open = |hidden: u32, ffn: u32| {
            let path = folder.path().join(format!("{hidden}.gguf"));
            let shapes = Shapes { hidden, ffn, ..Shapes::tiny(ArchKind::Llama) };
            shapes.write(&path, GgmlType::F16, 3, None).unwrap();
            kit::open(EngineKind::LlamaCpp, &path).unwrap()
        };
        let types: &[&str] = &["Q4_0", "Q4_K", "Q6_K", "Q8_0"];
        let whole = space(&[("weights.attn", types), ("weights.ffn", types), ("threads", &["1", "2"])]);
        // Rows of 192 are no multiple of a K-quant's 256, those of the FFN's way down are.
        let (mut fitted, odd) = (whole.clone(), open(192, 512));
        let told = leave_out_alike(&mut fitted, odd.as_ref());
        assert_eq!(levels(&fitted, 1), types, "Q6_K is had in the matrix of the way down");
        assert!(told.iter().all(|line| line.starts_with("`weights.attn`: ")), "{told:?}");
        // Where everything fits, all types differ.
        let mut even = whole.clone();
        assert!(leave_out_alike(&mut even, open(256, 512).as_ref()).is_empty());
        assert_eq!(even, whole);
        // Where nothing does, a type that is another's name goes.
        let (mut none, narrow) = (whole.clone(), open(128, 320));
        let told = leave_out_alike(&mut none, narrow.as_ref());
        assert_eq!(levels(&none, 1), ["Q4_0", "Q4_K", "Q8_0"]);
        assert!(
            told.contains(
                &"`weights.ffn`: Q6_K left out: on this model it gives the same tensors as Q8_0".to_owned()
            ),
            "{told:?}"
        );
        assert_eq!(levels(&none, 2), ["1", "2"]);
        // It can be had in what pruning makes of the rows: 320 channels less a fifth.
        let types: &[&str] = &["Q6_K", "Q8_0"];
        let mut cut = space(&[("weights.ffn", types), ("prune.keep_ffn", &["0.8", "1.0"])]);
        leave_out_alike(&mut cut, narrow.as_ref());
        assert_eq!(levels(&cut, 0), types);
    }

    #[test]
    fn a_model_whose_sizes_cannot_be_told_and_a_space_that_is_too_large_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.gguf");
        let shapes = Shapes { hidden: 128, ffn: 320, ..Shapes::tiny(ArchKind::Llama) };
        shapes.write(&path, GgmlType::F16, 3, None).unwrap();
        let kit = kit::open(EngineKind::LlamaCpp, &path).unwrap();
        let many: Vec<String> = (1..=300).map(|i| format!("{}", f64::from(i) / 300.0)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut large = space(&[("weights.ffn", &["Q6_K", "Q8_0"]), ("prune.keep_ffn", &many)]);
        assert!(leave_out_alike(&mut large, kit.as_ref()).is_empty());
        let mut unknown = space(&[("weights.ffn", &["NOPE", "Q8_0"])]);
        assert!(leave_out_alike(&mut unknown, kit.as_ref()).is_empty());
    }
}
