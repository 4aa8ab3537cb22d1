//! Pareto sets of losses (every objective minimised).

use super::{Estimate, Objective};

/// Whether `a` is at least as good as `b` everywhere and better somewhere.
#[must_use]
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    let mut better = false;
    for (x, y) in a.iter().zip(b) {
        if x > y {
            return false;
        }
        better |= x < y;
    }
    better
}

/// The indices of the points that no other dominates, ascending. Equal points are kept together. Points with a NaN are left out.
///
/// `O(n log n)` for up to three objectives (Kung, Luccio and Preparata 1975: a sweep along the first objective over the
/// staircase of the other two), `O(n * front)` beyond.
#[must_use]
pub fn pareto_front(points: &[Vec<f64>]) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..points.len()).filter(|&i| !points[i].iter().any(|x| x.is_nan())).collect();
    order.sort_by(|&a, &b| lexicographic(&points[a], &points[b]).then(a.cmp(&b)));
    let mut front: Vec<usize> = Vec::new();
    let dimensions = order.first().map_or(0, |&i| points[i].len());
    let mut stairs = Staircase::default();
    for &i in &order {
        let point = &points[i];
        // In lexicographic order nothing that comes later can dominate what came before.
        let dominated = match (dimensions, front.last()) {
            (_, Some(&last)) if points[last] == *point => false,
            (1, Some(_)) => true,
            (2 | 3, _) => stairs.covers(point[1], point.get(2).copied().unwrap_or(0.0)),
            _ => front.iter().any(|&f| dominates(&points[f], point)),
        };
        if !dominated {
            front.push(i);
            if matches!(dimensions, 2 | 3) {
                stairs.insert(point[1], point.get(2).copied().unwrap_or(0.0));
            }
        }
    }
    front.sort_unstable();
    front
}

fn lexicographic(a: &[f64], b: &[f64]) -> std::cmp::Ordering {
    // `total_cmp` would tell 0 from -0, which are equal losses.
    let compare = |(x, y): (&f64, &f64)| x.partial_cmp(y).unwrap_or(std::cmp::Ordering::Equal);
    a.iter().zip(b).map(compare).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
}

/// The lower left staircase of points of a plane: `x` ascending, `y` descending.
#[derive(Default)]
struct Staircase(Vec<(f64, f64)>);

impl Staircase {
    /// Whether some step is at least as good in both.
    fn covers(&self, x: f64, y: f64) -> bool {
        let after = self.0.partition_point(|s| s.0 <= x);
        after > 0 && self.0[after - 1].1 <= y
    }

    fn insert(&mut self, x: f64, y: f64) {
        let at = self.0.partition_point(|s| s.0 < x);
        let end = at + self.0[at..].iter().take_while(|s| s.1 >= y).count();
        self.0.splice(at..end, [(x, y)]);
    }
}

/// The indices of the trials that no other dominates *beyond doubt*: `a` dominates `b` beyond doubt where its values are at
/// least as good in all objectives and in at least one the 95 % intervals are apart. Always a superset of the plain front.
#[must_use]
pub fn pareto_front_with_intervals(objectives: &[Objective], trials: &[Vec<Estimate>]) -> Vec<usize> {
    let losses: Vec<Vec<(f64, f64, f64)>> = trials
        .iter()
        .map(|t| {
            t.iter()
                .zip(objectives)
                .map(|(e, o)| {
                    let at = |v: f64| o.loss(v).unwrap_or(f64::NAN);
                    let (a, b) = (at(e.low), at(e.high));
                    (at(e.value), a.min(b), a.max(b))
                })
                .collect()
        })
        .collect();
    let surely = |a: &[(f64, f64, f64)], b: &[(f64, f64, f64)]| {
        a.iter().zip(b).all(|(x, y)| x.0 <= y.0) && a.iter().zip(b).any(|(x, y)| x.2 < y.1)
    };
    (0..losses.len())
        .filter(|&i| !losses[i].iter().any(|l| l.0.is_nan()))
        .filter(|&i| !losses.iter().enumerate().any(|(j, other)| j != i && surely(other, &losses[i])))
        .collect()
}

/// The rank of every point: 0 for the front, 1 for the front of the rest, and so on (Deb et al. 2002). Points with a NaN
/// come last.
#[must_use]
pub fn nondominated_sort(points: &[Vec<f64>]) -> Vec<usize> {
    let mut ranks = vec![0; points.len()];
    let mut rest: Vec<usize> = (0..points.len()).collect();
    let mut rank = 0;
    while !rest.is_empty() {
        let subset: Vec<Vec<f64>> = rest.iter().map(|&i| points[i].clone()).collect();
        let mut on_front = vec![false; rest.len()];
        for i in pareto_front(&subset) {
            on_front[i] = true;
        }
        if !on_front.contains(&true) {
            // Only points with a NaN are left.
            on_front.fill(true);
        }
        let mut next = Vec::new();
        for (&i, &front) in rest.iter().zip(&on_front) {
            if front {
                ranks[i] = rank;
            } else {
                next.push(i);
            }
        }
        rest = next;
        rank += 1;
    }
    ranks
}

/// The crowding distance of every point of one front (Deb et al. 2002): infinite at the ends.
#[must_use]
pub fn crowding(front: &[Vec<f64>]) -> Vec<f64> {
    let mut distance = vec![0.0; front.len()];
    let dimensions = front.first().map_or(0, Vec::len);
    for d in 0..dimensions {
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|&a, &b| front[a][d].total_cmp(&front[b][d]).then(a.cmp(&b)));
        let (first, last) = (order[0], order[order.len() - 1]);
        let span = front[last][d] - front[first][d];
        distance[first] = f64::INFINITY;
        distance[last] = f64::INFINITY;
        if span > 0.0 {
            for w in order.windows(3) {
                distance[w[1]] += (front[w[2]][d] - front[w[0]][d]) / span;
            }
        }
    }
    distance
}

/// The index of the point of a front that bulges most towards the ideal: the least sum of losses, each scaled to the front's
/// range. For two objectives this is the point farthest from the line through the ends (Das 1999). `None` without points.
#[must_use]
pub fn knee(front: &[Vec<f64>]) -> Option<usize> {
    let dimensions = front.first()?.len();
    let range = |d: usize| {
        front
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(p[d]), high.max(p[d])))
    };
    let ranges: Vec<(f64, f64)> = (0..dimensions).map(range).collect();
    let score = |p: &Vec<f64>| -> f64 {
        p.iter()
            .zip(&ranges)
            .map(|(x, (low, high))| if high > low { (x - low) / (high - low) } else { 0.0 })
            .sum()
    };
    (0..front.len()).min_by(|&a, &b| score(&front[a]).total_cmp(&score(&front[b])).then(a.cmp(&b)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Direction;

    fn brute_front(points: &[Vec<f64>]) -> Vec<usize> {
        (0..points.len()).filter(|&i| !points.iter().any(|p| dominates(p, &points[i]))).collect()
    }

    /// Coarse values, so that ties and duplicates are common.
    fn points() -> impl Strategy<Value = Vec<Vec<f64>>> {
        (1usize..6).prop_flat_map(|m| {
            prop::collection::vec(prop::collection::vec((0i8..7).prop_map(f64::from), m..=m), 0..40)
        })
    }

    proptest! {
        #[test]
        fn the_front_is_what_comparing_all_pairs_gives(points in points()) {
            prop_assert_eq!(pareto_front(&points), brute_front(&points));
        }

        #[test]
        fn ranks_are_ordered_by_dominance(points in points()) {
            let ranks = nondominated_sort(&points);
            for (i, a) in points.iter().enumerate() {
                for (j, b) in points.iter().enumerate() {
                    if dominates(a, b) {
                        prop_assert!(ranks[i] < ranks[j]);
                    }
                }
                prop_assert!(ranks[i] == 0 || points.iter().enumerate().any(|(j, b)| ranks[j] + 1 == ranks[i] && dominates(b, a)));
            }
        }
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        let points = vec![
            vec![f64::NAN, 0.0],
            vec![0.0, -0.0],
            vec![-0.0, 0.0],
            vec![f64::INFINITY, f64::NEG_INFINITY],
        ];
        assert_eq!(pareto_front(&points), vec![1, 2, 3]);
        assert_eq!(nondominated_sort(&points), vec![1, 0, 0, 0]);
        assert_eq!(pareto_front(&[]), Vec::<usize>::new());
    }

    #[test]
    fn intervals_keep_what_may_be_noise() {
        let objectives: Vec<Objective> = ["a", "b"]
            .map(|n| Objective {
                name: n.into(),
                direction: Direction::Minimize,
                bound: None,
                log_scale: false,
            })
            .into();
        let e = |value: f64, half: f64| Estimate { value, low: value - half, high: value + half };
        let trials = vec![
            vec![e(1.0, 0.1), e(1.0, 0.0)],
            vec![e(1.1, 0.1), e(1.0, 0.0)], // worse, but perhaps by noise
            vec![e(1.5, 0.1), e(1.0, 0.0)], // worse beyond doubt
        ];
        assert_eq!(pareto_front_with_intervals(&objectives, &trials), vec![0, 1]);
    }

    #[test]
    fn the_knee_bulges() {
        let front = vec![vec![0.0, 10.0], vec![1.0, 2.0], vec![9.0, 1.0], vec![10.0, 0.0]];
        assert_eq!(knee(&front), Some(1));
        assert_eq!(knee(&[]), None);
        let c = crowding(&front);
        assert!(c[0].is_infinite() && c[3].is_infinite());
        assert!((c[1] - (0.9 + 0.9)).abs() < 1e-12);
    }
}
