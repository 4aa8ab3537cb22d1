//! Parameters with finite levels, and the points made of level indices.

use serde::{Deserialize, Serialize};

use super::{Candidate, Value};

/// Whether a parameter's levels have an order that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamKind {
    /// Neighbouring levels behave alike (bits, counts, fractions).
    Ordinal,
    /// Levels are names without an order.
    Categorical,
}

/// One parameter: a name and its levels, at least one, all different.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Dotted name, for example `weights.ffn` or `kv.k`.
    pub name: String,
    /// Ordered or not.
    pub kind: ParamKind,
    /// The values that it may take, in order for ordinal parameters.
    pub levels: Vec<Value>,
}

/// A point of a space: the level index of each parameter, in the space's order.
pub type Point = Vec<usize>;

/// A finite space of candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// Short name (`laptop`).
    pub name: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// The parameters, in a fixed order.
    pub params: Vec<Param>,
}

impl Space {
    /// The number of points, saturating.
    #[must_use]
    pub fn size(&self) -> u128 {
        self.params.iter().fold(1u128, |n, p| n.saturating_mul(p.levels.len() as u128))
    }

    /// The candidate at a point; `None` when the point has another length or an index out of range.
    #[must_use]
    pub fn candidate(&self, point: &[usize]) -> Option<Candidate> {
        if point.len() != self.params.len() {
            return None;
        }
        let mut candidate = Candidate::default();
        for (param, &level) in self.params.iter().zip(point) {
            candidate.0.insert(param.name.clone(), param.levels.get(level)?.clone());
        }
        Some(candidate)
    }

    /// The point of a candidate; `None` when it is not in the space.
    #[must_use]
    pub fn point(&self, candidate: &Candidate) -> Option<Point> {
        if candidate.0.len() != self.params.len() {
            return None;
        }
        self.params
            .iter()
            .map(|p| candidate.get(&p.name).and_then(|v| p.levels.iter().position(|l| l == v)))
            .collect()
    }

    /// The point nearest to a candidate that lies outside the space (a preset): each parameter takes the level equal to the
    /// candidate's value, else the numerically nearest level, else the given default level (the last).
    #[must_use]
    pub fn nearest_point(&self, candidate: &Candidate) -> Point {
        self.params
            .iter()
            .map(|p| {
                let Some(value) = candidate.get(&p.name) else { return p.levels.len() - 1 };
                if let Some(i) = p.levels.iter().position(|l| l == value) {
                    return i;
                }
                let Some(x) = value.as_f64() else { return p.levels.len() - 1 };
                let distance = |l: &Value| l.as_f64().map_or(f64::INFINITY, |y| (x - y).abs());
                (0..p.levels.len())
                    .min_by(|&a, &b| distance(&p.levels[a]).total_cmp(&distance(&p.levels[b])))
                    .unwrap_or(0)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        Space {
            name: "t".into(),
            description: String::new(),
            params: vec![
                Param {
                    name: "threads".into(),
                    kind: ParamKind::Ordinal,
                    levels: vec![Value::Int(1), Value::Int(2), Value::Int(8)],
                },
                Param {
                    name: "kv.k".into(),
                    kind: ParamKind::Categorical,
                    levels: vec![Value::Text("q8_0".into()), Value::Text("f16".into())],
                },
            ],
        }
    }

    #[test]
    fn points_and_candidates_are_inverse() {
        let s = space();
        assert_eq!(s.size(), 6);
        for i in 0..3 {
            for j in 0..2 {
                let c = s.candidate(&[i, j]).unwrap();
                assert_eq!(s.point(&c), Some(vec![i, j]));
            }
        }
        assert_eq!(s.candidate(&[3, 0]), None);
        assert_eq!(s.candidate(&[0]), None);
    }

    #[test]
    fn the_nearest_point_takes_equal_then_near_then_last() {
        let s = space();
        let c = Candidate::default().with("threads", Value::Int(3));
        assert_eq!(s.nearest_point(&c), vec![1, 1]);
    }
}
