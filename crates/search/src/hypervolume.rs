//! The hypervolume that a set of losses dominates up to a reference point.

use super::dominates;

/// The volume between the points and the reference, everything minimised. Points that are not better than the reference in
/// every objective add nothing. Exact for any number of objectives: a staircase for two, slabs of staircases for three
/// (Fonseca, Paquete and López-Ibáñez 2006, the base case), and WFG recursion beyond (While, Bradstreet and Barone 2012),
/// whose time grows steeply with the number of objectives.
#[must_use]
pub fn hypervolume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let inside: Vec<&[f64]> = points
        .iter()
        .map(Vec::as_slice)
        .filter(|p| p.len() == reference.len() && p.iter().zip(reference).all(|(x, r)| x < r))
        .collect();
    if inside.is_empty() || reference.is_empty() {
        return 0.0;
    }
    match reference.len() {
        1 => inside.iter().map(|p| reference[0] - p[0]).fold(0.0, f64::max),
        2 => two(inside, reference),
        3 => three(inside, reference),
        _ => wfg(inside.into_iter().map(<[f64]>::to_vec).collect(), reference),
    }
}

fn two(mut points: Vec<&[f64]>, reference: &[f64]) -> f64 {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let (mut volume, mut ceiling) = (0.0, reference[1]);
    for p in points {
        if p[1] < ceiling {
            volume += (reference[0] - p[0]) * (ceiling - p[1]);
            ceiling = p[1];
        }
    }
    volume
}

/// Slabs along the third objective; in each, the area under the staircase of all points that reach it.
fn three(mut points: Vec<&[f64]>, reference: &[f64]) -> f64 {
    points.sort_by(|a, b| a[2].total_cmp(&b[2]));
    let mut stairs: Vec<(f64, f64)> = Vec::new(); // x ascending, y descending
    let (mut volume, mut area, mut floor) = (0.0, 0.0, points[0][2]);
    for p in points {
        let (x, y) = (p[0], p[1]);
        let at = stairs.partition_point(|s| s.0 <= x);
        let above = if at == 0 { reference[1] } else { stairs[at - 1].1 };
        if above <= y {
            continue; // covered by a step that is no worse in both
        }
        volume += area * (p[2] - floor);
        floor = p[2];
        // What the new step adds: the strip between it and the old staircase.
        let (mut left, mut height, mut end) = (x, above, at);
        while end < stairs.len() && stairs[end].1 >= y {
            area += (stairs[end].0 - left) * (height - y);
            (left, height) = stairs[end];
            end += 1;
        }
        let right = stairs.get(end).map_or(reference[0], |s| s.0);
        area += (right - left) * (height - y);
        // A step at the same x is the one that `above` came from, and is replaced.
        let start = if at > 0 && stairs[at - 1].0 == x { at - 1 } else { at };
        stairs.splice(start..end, [(x, y)]);
    }
    volume + area * (reference[2] - floor)
}

fn wfg(mut points: Vec<Vec<f64>>, reference: &[f64]) -> f64 {
    points.sort_by(|a, b| b[0].total_cmp(&a[0]));
    let mut volume = 0.0;
    for (i, p) in points.iter().enumerate() {
        let own: f64 = p.iter().zip(reference).map(|(x, r)| r - x).product();
        // The part of the others that lies inside this point's box.
        let limited: Vec<Vec<f64>> =
            points[i + 1..].iter().map(|q| q.iter().zip(p).map(|(x, y)| x.max(*y)).collect()).collect();
        volume += own - if limited.is_empty() { 0.0 } else { wfg(nondominated(limited), reference) };
    }
    volume
}

fn nondominated(points: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut kept: Vec<Vec<f64>> = Vec::new();
    for p in points {
        if kept.iter().any(|k| dominates(k, &p) || *k == p) {
            continue;
        }
        kept.retain(|k| !dominates(&p, k));
        kept.push(p);
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number of unit cells that are dominated: exact for points on whole numbers.
    fn by_counting(points: &[Vec<f64>], reference: &[f64]) -> f64 {
        let m = reference.len();
        let side = 5usize;
        (0..side.pow(m as u32))
            .filter(|&cell| {
                let corner: Vec<f64> = (0..m).map(|d| ((cell / side.pow(d as u32)) % side) as f64).collect();
                corner.iter().zip(reference).all(|(c, r)| c < r)
                    && points.iter().any(|p| p.iter().zip(&corner).all(|(x, c)| x <= c))
            })
            .count() as f64
    }

    proptest! {
        #[test]
        fn the_volume_is_the_number_of_cells(
            (points, reference) in (1usize..6).prop_flat_map(|m| (
                prop::collection::vec(prop::collection::vec((0i8..6).prop_map(f64::from), m..=m), 0..20),
                prop::collection::vec((1i8..6).prop_map(f64::from), m..=m),
            ))
        ) {
            prop_assert!((hypervolume(&points, &reference) - by_counting(&points, &reference)).abs() < 1e-9);
        }

        #[test]
        fn three_objectives_agree_with_the_recursion(
            points in prop::collection::vec(prop::collection::vec(0.0f64..1.2, 3..=3), 1..40)
        ) {
            let reference = [1.0, 1.1, 0.9];
            let inside: Vec<Vec<f64>> = points.iter().filter(|p| p.iter().zip(&reference).all(|(x, r)| x < r)).cloned().collect();
            prop_assert!((hypervolume(&points, &reference) - wfg(inside, &reference)).abs() < 1e-9);
        }
    }

    #[test]
    fn nothing_inside_is_nothing() {
        assert_eq!(hypervolume(&[], &[1.0, 1.0]), 0.0);
        assert_eq!(hypervolume(&[vec![1.0, 0.0]], &[1.0, 1.0]), 0.0);
        assert_eq!(hypervolume(&[vec![f64::NAN, 0.0]], &[1.0, 1.0]), 0.0);
        assert_eq!(hypervolume(&[vec![0.0, 0.0]], &[]), 0.0);
    }
}
