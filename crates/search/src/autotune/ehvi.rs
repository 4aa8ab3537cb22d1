//! Expected hypervolume improvement of independent Gaussian losses, exact for one, two and three objectives.
//!
//! With the region that no front member dominates, below the reference, cut into boxes `[l, u]` (`l` may be -∞), the
//! improvement of a random loss `Y` is the volume of the region that `Y` dominates, and its expectation is
//! `Σ_boxes Π_d (ψ_d(u_d) - ψ_d(l_d))` with `ψ_d(a) = E[max(0, a - Y_d)]` (Emmerich, Deutz and Klinkenberg 2011; Yang,
//! Emmerich, Deutz and Bäck 2019, which also give the decomposition in `O(n log n)` whose boxes are swept here).

/// The boxes of one front and reference.
#[derive(Clone, Debug)]
pub(crate) struct Boxes {
    /// The coordinates of all corners, for each objective.
    edges: Vec<Vec<f64>>,
    /// For each objective, which edges are its lower and upper end. Unused objectives are not read.
    boxes: Vec<[[u32; 2]; 3]>,
}

impl Boxes {
    /// Cuts the region that no point of `front` dominates and that lies below `reference`; `None` for more than three
    /// objectives.
    pub(crate) fn new(front: &[Vec<f64>], reference: &[f64]) -> Option<Self> {
        let inside: Vec<&Vec<f64>> =
            front.iter().filter(|p| p.iter().zip(reference).all(|(x, r)| x < r)).collect();
        let boxes = match reference.len() {
            1 => {
                let best = inside.iter().map(|p| p[0]).fold(reference[0], f64::min);
                vec![(vec![f64::NEG_INFINITY], vec![best])]
            }
            2 => {
                sweep(&inside.iter().map(|p| [p[0], p[1], f64::NEG_INFINITY]).collect::<Vec<_>>(), reference)
                    .into_iter()
                    .map(|(l, u)| (l[..2].to_vec(), u[..2].to_vec()))
                    .collect()
            }
            3 => sweep(&inside.iter().map(|p| [p[0], p[1], p[2]]).collect::<Vec<_>>(), reference),
            _ => return None,
        };
        let edges: Vec<Vec<f64>> = (0..reference.len())
            .map(|d| {
                let mut all: Vec<f64> = boxes.iter().flat_map(|(l, u)| [l[d], u[d]]).collect();
                all.sort_by(f64::total_cmp);
                all.dedup();
                all
            })
            .collect();
        let index = |d: usize, a: f64| edges[d].partition_point(|e| *e < a) as u32;
        let mut indexed = vec![[[0; 2]; 3]; boxes.len()];
        for (to, (l, u)) in indexed.iter_mut().zip(&boxes) {
            for (d, ends) in to.iter_mut().enumerate().take(reference.len()) {
                *ends = [index(d, l[d]), index(d, u[d])];
            }
        }
        Some(Self { edges, boxes: indexed })
    }

    /// The expected improvement of a loss with these means and standard deviations.
    pub(crate) fn expected(&self, prediction: &[(f64, f64)]) -> f64 {
        debug_assert_eq!(prediction.len(), self.edges.len());
        // ψ at every edge of every objective; boxes share edges.
        let mut psi: Vec<Vec<f64>> = Vec::with_capacity(prediction.len());
        for (edges, &(mean, deviation)) in self.edges.iter().zip(prediction) {
            let at: Vec<f64> = edges.iter().map(|&a| shortfall(a, mean, deviation)).collect();
            if at.iter().all(|p| *p <= 0.0) {
                return 0.0;
            }
            psi.push(at);
        }
        let mut total = 0.0;
        for one in &self.boxes {
            let mut volume = 1.0;
            for (at, &[l, u]) in psi.iter().zip(one) {
                volume *= at[u as usize] - at[l as usize];
            }
            total += volume.max(0.0);
        }
        total
    }
}

/// One strip of the staircase in the plane of the first two objectives: `[left, right]` below `ceiling`, open since `floor`.
struct Strip {
    left: f64,
    right: f64,
    ceiling: f64,
    floor: f64,
}

/// Sweeps the third objective upwards; whenever a point lowers the staircase, the strips that it touches are closed as boxes.
/// Points whose third loss is -∞ close nothing, which makes this the decomposition for two objectives as well.
fn sweep(points: &[[f64; 3]], reference: &[f64]) -> Vec<(Vec<f64>, Vec<f64>)> {
    let mut order: Vec<&[f64; 3]> = points.iter().collect();
    order.sort_by(|a, b| a[2].total_cmp(&b[2]).then(a[0].total_cmp(&b[0])).then(a[1].total_cmp(&b[1])));
    let bottom = f64::NEG_INFINITY;
    let mut strips = vec![Strip { left: bottom, right: reference[0], ceiling: reference[1], floor: bottom }];
    let mut boxes = Vec::new();
    let mut close = |strip: &Strip, z: f64| {
        if z > strip.floor && strip.right > strip.left {
            boxes.push((vec![strip.left, bottom, strip.floor], vec![strip.right, strip.ceiling, z]));
        }
    };
    for &&[x, y, z] in &order {
        let mut next = Vec::with_capacity(strips.len() + 2);
        // The strip that the point makes: from x to where the staircase is already at or below y.
        let mut made: Option<Strip> = None;
        for strip in strips {
            if strip.right <= x || strip.ceiling <= y {
                next.extend(made.take());
                next.push(strip);
                continue;
            }
            close(&strip, z);
            if strip.left < x {
                next.push(Strip { right: x, floor: z, ..strip });
            }
            match &mut made {
                Some(wide) => wide.right = strip.right,
                None => {
                    made = Some(Strip { left: strip.left.max(x), right: strip.right, ceiling: y, floor: z })
                }
            }
        }
        next.extend(made);
        strips = next;
    }
    let top = reference.get(2).copied().unwrap_or(f64::INFINITY);
    for strip in &strips {
        close(strip, top);
    }
    boxes
}

/// `E[max(0, a - Y)]` of a normal `Y`.
fn shortfall(a: f64, mean: f64, deviation: f64) -> f64 {
    if a == f64::NEG_INFINITY {
        return 0.0;
    }
    if deviation <= 0.0 {
        return (a - mean).max(0.0);
    }
    let z = (a - mean) / deviation;
    deviation * (z * normal_cdf(z) + libm::exp(-0.5 * z * z) / std::f64::consts::TAU.sqrt()).max(0.0)
}

/// The normal distribution function, exact to rounding also in the lower tail, where late in a search all candidates lie. `libm` is
/// written in Rust: the same bits on every platform.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Random, hypervolume};

    fn fronts(m: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
        // Coarse, so that ties are common.
        prop::collection::vec(prop::collection::vec((0i8..8).prop_map(|x| f64::from(x) / 8.0), m..=m), 0..12)
    }

    proptest! {
        #[test]
        fn without_noise_it_is_the_improvement(front in fronts(3), y in prop::collection::vec(-0.5f64..1.2, 3..=3)) {
            let reference = vec![1.0; 3];
            let boxes = Boxes::new(&front, &reference).unwrap();
            let mut with = front.clone();
            with.push(y.clone());
            let gain = hypervolume(&with, &reference) - hypervolume(&front, &reference);
            let certain: Vec<(f64, f64)> = y.iter().map(|&v| (v, 0.0)).collect();
            prop_assert!((boxes.expected(&certain) - gain).abs() < 1e-9);
        }

        #[test]
        fn also_with_two_objectives(front in fronts(2), y in prop::collection::vec(-0.5f64..1.2, 2..=2)) {
            let reference = vec![1.0; 2];
            let boxes = Boxes::new(&front, &reference).unwrap();
            let mut with = front.clone();
            with.push(y.clone());
            let gain = hypervolume(&with, &reference) - hypervolume(&front, &reference);
            let certain: Vec<(f64, f64)> = y.iter().map(|&v| (v, 0.0)).collect();
            prop_assert!((boxes.expected(&certain) - gain).abs() < 1e-9);
        }
    }

    #[test]
    fn with_noise_it_is_the_mean_improvement() {
        let front = vec![vec![0.2, 0.7, 0.5], vec![0.6, 0.3, 0.4], vec![0.5, 0.5, 0.1]];
        let reference = vec![1.0, 1.1, 0.9];
        let boxes = Boxes::new(&front, &reference).unwrap();
        let prediction = [(0.4, 0.2), (0.5, 0.1), (0.4, 0.3)];
        let mut random = Random::new(1, 0, 0);
        let before = hypervolume(&front, &reference);
        let samples = 40_000;
        let mean = (0..samples)
            .map(|_| {
                let mut with = front.clone();
                with.push(prediction.iter().map(|(m, s)| m + s * random.normal()).collect());
                hypervolume(&with, &reference) - before
            })
            .sum::<f64>()
            / f64::from(samples);
        let expected = boxes.expected(&prediction);
        assert!((expected - mean).abs() < 0.02 * mean, "{expected} {mean}");
    }

    /// `(z, Φ(z), zΦ(z) + φ(z))`, by Mills' ratio as a continued fraction in 60 digits.
    const EXACT: [(f64, f64, f64); 10] = [
        (2.0, 0.977_249_868_051_820_8, 2.008_490_702_616_829_7),
        (0.0, 0.5, 0.398_942_280_401_432_7),
        (-1.0, 0.158_655_253_931_457_05, 0.083_315_470_587_686_3),
        (-3.5, 0.000_232_629_079_035_525_04, 5.848_091_842_142_244e-05),
        (-5.0, 2.866_515_718_791_939e-07, 5.346_165_533_832_815e-08),
        (-6.0, 9.865_876_450_376_98e-10, 1.563_569_795_970_966_4e-10),
        (-8.0, 6.220_960_574_271_784e-16, 7.550_262_411_946_499e-17),
        (-12.0, 1.776_482_112_077_679e-33, 1.460_520_116_984_554_8e-34),
        (-20.0, 2.753_624_118_606_233_7e-89, 1.370_012_494_729_579_8e-90),
        (-30.0, 4.906_713_927_148_187e-198, 1.631_956_734_091_401e-199),
    ];

    #[test]
    fn expected_improvement_is_exact_in_the_tail() {
        for (z, probability, improvement) in EXACT {
            let off = |found: f64, exact: f64| (found / exact - 1.0).abs();
            // The exponent is rounded, and so is the difference of two numbers that differ by a part in z².
            let tolerance = 1e-15 * (1.0 + z * z) * (1.0 + z * z);
            assert!(off(normal_cdf(z), probability) < tolerance, "Φ({z}) = {:e}", normal_cdf(z));
            let found = shortfall(z, 0.0, 1.0);
            assert!(off(found, improvement) < tolerance, "E[max(0, {z} - Y)] = {found:e}");
            // Any scale and place: Y = 3 + 2 Z.
            let found = shortfall(3.0 + 2.0 * z, 3.0, 2.0);
            assert!(off(found, 2.0 * improvement) < tolerance, "scaled at {z}: {found:e}");
        }
    }

    #[test]
    fn far_candidates_are_ranked_by_their_means() {
        let boxes = Boxes::new(&[vec![0.2, 0.2]], &[1.0, 1.0]).unwrap();
        let expected: Vec<f64> =
            (0..9).map(|i| boxes.expected(&[(0.3 + 0.02 * f64::from(i), 0.01), (0.5, 0.01)])).collect();
        assert!(expected.windows(2).all(|w| w[0] > w[1] && w[1] > 0.0), "{expected:?}");
    }

    #[test]
    fn one_objective_is_plain_expected_improvement() {
        let boxes = Boxes::new(&[vec![0.5], vec![0.7]], &[1.0]).unwrap();
        assert!((boxes.expected(&[(0.2, 0.0)]) - 0.3).abs() < 1e-12);
        let at = boxes.expected(&[(0.5, 1.0)]);
        assert!((at - 1.0 / std::f64::consts::TAU.sqrt()).abs() < 1e-6);
        assert!(Boxes::new(&[], &[1.0; 4]).is_none());
    }
}
