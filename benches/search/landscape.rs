//! Analytic landscapes in the spirit of the real task: latency, bytes and quality loss of a compressed model, as functions of
//! weight types, cache type, pruning, batch and threads. Nothing here was fitted to a sampler.

use autotune::search::{Direction, Estimate, Objective, Problem, Random};
use autotune::space::{Param, ParamKind, Point, Space, Value};

/// Relative noise of measured latency, and absolute noise of measured quality loss (one standard error).
pub const LATENCY_NOISE: f64 = 0.03;
pub const QUALITY_NOISE: f64 = 0.024;

/// Bits per weight, decode cost and loss of ten weight types; speed is not monotone in bits.
const TYPES: [(&str, f64, f64, f64); 10] = [
    ("F16", 16.0, 1.00, 0.0),
    ("Q8_0", 8.5, 0.95, 0.003),
    ("Q6_K", 6.56, 1.20, 0.010),
    ("Q5_K", 5.5, 1.30, 0.020),
    ("Q5_0", 5.5, 1.15, 0.028),
    ("Q4_K", 4.5, 1.10, 0.050),
    ("Q4_0", 4.5, 0.90, 0.085),
    ("IQ4_NL", 4.25, 1.25, 0.070),
    ("Q3_K", 3.44, 1.55, 0.180),
    ("Q2_K", 2.63, 1.45, 0.520),
];

/// What a sampler is told besides feasibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cheap {
    /// Nothing.
    None,
    /// A divergence probe that follows the loss with its own bent and noise.
    Honest,
    /// A column that has nothing to do with anything, and one that praises the worst.
    Lies,
}

/// Shape of a landscape.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    /// Number of weight groups.
    groups: usize,
    /// Types to choose from, a prefix or a choice of [`TYPES`].
    types: &'static [usize],
    /// Levels of FFN pruning, heads, batch, threads.
    levels: [usize; 4],
    /// More engine switches without a physical meaning, with this many levels each.
    switches: &'static [usize],
    /// Whether types and switches are declared as names without an order.
    categorical: bool,
    /// Strength of the interactions that no model foresees.
    rugged: f64,
    /// Share of the space that fits the budget.
    fits: f64,
}

/// All landscapes.
pub const SHAPES: [Shape; 7] = [
    Shape {
        name: "smooth",
        groups: 4,
        types: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        levels: [5, 4, 4, 3],
        switches: &[],
        categorical: false,
        rugged: 0.0,
        fits: 0.25,
    },
    Shape {
        name: "tight",
        groups: 4,
        types: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        levels: [5, 4, 4, 3],
        switches: &[],
        categorical: false,
        rugged: 0.0,
        fits: 0.05,
    },
    Shape {
        name: "rugged",
        groups: 4,
        types: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        levels: [5, 4, 4, 3],
        switches: &[],
        categorical: false,
        rugged: 1.0,
        fits: 0.25,
    },
    Shape {
        name: "categorical",
        groups: 4,
        types: &[1, 2, 3, 5, 6, 7, 8],
        levels: [3, 1, 3, 2],
        switches: &[4, 3, 3, 2, 2],
        categorical: true,
        rugged: 0.3,
        fits: 0.25,
    },
    Shape {
        name: "small",
        groups: 2,
        types: &[0, 1, 2, 5, 6, 8, 9],
        levels: [4, 3, 4, 1],
        switches: &[],
        categorical: false,
        rugged: 0.2,
        fits: 0.4,
    },
    Shape {
        name: "wide",
        groups: 6,
        types: &[1, 2, 5, 8],
        levels: [3, 3, 3, 2],
        switches: &[2, 2, 2],
        categorical: false,
        rugged: 0.1,
        fits: 0.25,
    },
    Shape {
        name: "wild",
        groups: 4,
        types: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        levels: [5, 4, 4, 3],
        switches: &[],
        categorical: false,
        rugged: 4.0,
        fits: 0.25,
    },
];

/// A landscape: a problem whose truth is known.
pub struct Landscape {
    pub shape: Shape,
    space: Space,
    objectives: Vec<Objective>,
    /// Latency and loss factors of every pair of parameters' levels, for rugged ones: `[pair][level, level]`.
    pairs: Vec<(usize, usize, Vec<(f64, f64)>)>,
    /// Latency and loss shifts of switch levels.
    switch: Vec<Vec<(f64, f64)>>,
    pub budget: f64,
    /// What the sampler sees.
    pub prior: bool,
    pub cheap: Cheap,
}

impl Landscape {
    /// Builds a landscape; deterministic.
    pub fn new(shape: Shape) -> Self {
        let kind = if shape.categorical { ParamKind::Categorical } else { ParamKind::Ordinal };
        let mut params = Vec::new();
        let param = |name: String, kind, levels: Vec<Value>| Param { name, kind, levels };
        for g in 0..shape.groups {
            let types = shape.types.iter().map(|&t| Value::Text(TYPES[t].0.into())).collect();
            params.push(param(format!("weights.{g}"), kind, types));
        }
        let kv = ["f16", "q8_0", "q4_0"].map(|t| Value::Text(t.into()));
        params.push(param("kv".into(), kind, kv.to_vec()));
        for (name, n) in ["keep_ffn", "keep_heads", "batch", "threads"].into_iter().zip(shape.levels) {
            params.push(param(name.into(), ParamKind::Ordinal, (0..n as i64).map(Value::Int).collect()));
        }
        for (i, &n) in shape.switches.iter().enumerate() {
            let levels = (0..n).map(|l| Value::Text(format!("s{l}"))).collect();
            params.push(param(format!("switch.{i}"), ParamKind::Categorical, levels));
        }
        let mut random = Random::new(2024, 0, shape.name.len() as u64);
        let switch = shape
            .switches
            .iter()
            .map(|&n| (0..n).map(|_| (0.08 * random.normal(), 0.01 * random.normal().abs())).collect())
            .collect();
        let mut pairs = Vec::new();
        if shape.rugged > 0.0 {
            for a in 0..params.len() {
                for b in 0..=a {
                    // Own shifts (a = b) and pair shifts alike.
                    let n = params[a].levels.len() * params[b].levels.len();
                    let (latency, loss) = if a == b { (0.10, 0.02) } else { (0.05, 0.012) };
                    let table = (0..n)
                        .map(|_| {
                            (shape.rugged * latency * random.normal(), shape.rugged * loss * random.normal())
                        })
                        .collect();
                    pairs.push((a, b, table));
                }
            }
        }
        let objective = |name: &str, log_scale| Objective {
            name: name.into(),
            direction: Direction::Minimize,
            bound: None,
            log_scale,
        };
        let mut landscape = Self {
            shape,
            space: Space { name: shape.name.into(), description: String::new(), params },
            objectives: vec![
                objective("latency_ms", true),
                objective("memory_bytes", true),
                objective("quality_loss", false),
            ],
            pairs,
            switch,
            budget: f64::INFINITY,
            prior: false,
            cheap: Cheap::None,
        };
        let mut random = Random::new(77, 0, 0);
        let sample: Vec<Point> = (0..20_000).map(|_| landscape.random_point(&mut random)).collect();
        let mut bytes: Vec<f64> = sample.iter().map(|p| landscape.truth(p)[1]).collect();
        landscape.budget = quantile(&mut bytes, shape.fits);
        let fitting: Vec<[f64; 3]> =
            sample.iter().map(|p| landscape.truth(p)).filter(|v| v[1] <= landscape.budget).collect();
        // The region that a user would name: the faster half, the better half, within budget.
        let column = |i: usize| fitting.iter().map(|v| v[i]).collect::<Vec<f64>>();
        landscape.objectives[0].bound = Some(quantile(&mut column(0), 0.5));
        landscape.objectives[1].bound = Some(landscape.budget);
        landscape.objectives[2].bound = Some(quantile(&mut column(2), 0.5));
        landscape
    }

    /// Forgets the bounds, so that the sampler must derive its region; returns them on the loss scale.
    pub fn reference(&self) -> Vec<f64> {
        self.objectives.iter().map(|o| o.loss(o.bound.unwrap()).unwrap()).collect()
    }

    /// The 95 % quantiles of what fits, on the loss scale: a reference that leaves the extremes in.
    pub fn wide(&self) -> Vec<f64> {
        let mut random = Random::new(77, 0, 1);
        let sample: Vec<Point> = (0..20_000).map(|_| self.random_point(&mut random)).collect();
        let fitting: Vec<[f64; 3]> =
            sample.iter().map(|p| self.truth(p)).filter(|v| v[1] <= self.budget).collect();
        let at = |i: usize| quantile(&mut fitting.iter().map(|v| v[i]).collect::<Vec<f64>>(), 0.95);
        let values = [at(0), self.budget, at(2)];
        self.objectives.iter().zip(values).map(|(o, v)| o.loss(v).unwrap()).collect()
    }

    /// Drops the bounds of latency and loss, so that a sampler must derive them.
    pub fn without_bounds(mut self) -> Self {
        self.objectives[0].bound = None;
        self.objectives[2].bound = None;
        self
    }

    /// Presets that fit, spread over the weight types, six at most: all groups at one type, the rest at its first level.
    pub fn presets(&self) -> Vec<Point> {
        let groups = self.shape.groups;
        let all =
            |level: usize| (0..self.space.params.len()).map(|d| if d < groups { level } else { 0 }).collect();
        let fitting: Vec<Point> =
            (0..self.shape.types.len()).map(all).filter(|p: &Point| self.feasible(p)).collect();
        let step = (fitting.len() as f64 / 6.0).max(1.0);
        (0..fitting.len().min(6)).map(|i| fitting[(i as f64 * step) as usize].clone()).collect()
    }

    fn random_point(&self, random: &mut Random) -> Point {
        self.space.params.iter().map(|p| random.below(p.levels.len())).collect()
    }

    /// Latency in ms, bytes, quality loss in 0..1.
    pub fn truth(&self, point: &[usize]) -> [f64; 3] {
        let (latency, bytes, mut loss) = self.physics(point, true);
        let mut shift = 0.0;
        let first = self.space.params.len() - self.switch.len();
        for (table, &level) in self.switch.iter().zip(&point[first..]) {
            shift += table[level].0;
            loss += table[level].1;
        }
        for (a, b, table) in &self.pairs {
            let (x, y) = table[point[*a] * self.space.params[*b].levels.len() + point[*b]];
            shift += x;
            loss += y;
        }
        // Quality is lost at a falling rate, and never won.
        let loss = 0.8 * (1.0 - (-1.2 * loss.max(0.0)).exp());
        [latency * shift.exp(), bytes, loss]
    }

    /// The part that physics gives. Without `full`, what a planner would predict: no decode costs, no thread contention.
    fn physics(&self, point: &[usize], full: bool) -> (f64, f64, f64) {
        let groups = self.shape.groups;
        let [ffn, heads, batch, threads] =
            [point[groups + 1], point[groups + 2], point[groups + 3], point[groups + 4]];
        let keep_ffn = 1.0 - 0.1 * ffn as f64;
        let keep_heads = 1.0 - 0.125 * heads as f64;
        let batch = f64::from(1u32 << batch);
        let threads = f64::from(1u32 << (threads + 1));
        let (mut weights, mut compute, mut loss) = (0.0, 0.0, 0.0);
        for g in 0..groups {
            let (_, bits, cost, type_loss) = TYPES[self.shape.types[point[g]]];
            let share = (1.0 + 0.8 * (g as f64 * 2.3).sin()) / groups as f64;
            let keep = if g % 2 == 0 { keep_heads } else { keep_ffn };
            weights += 1.5e9 * share * keep * bits / 8.0;
            compute += share * keep * if full { cost } else { 1.1 };
            let sensitivity = 1.0 + 0.7 * (1.0 + g as f64 * 1.7).cos();
            // What pruning leaves is more sensitive to coarse types.
            loss += sensitivity * type_loss * (1.0 + 1.5 * (1.0 - keep));
        }
        let (kv_bits, kv_loss) = [(16.0, 0.0), (8.5, 0.004), (4.5, 0.05)][point[groups]];
        let cache = batch * 2048.0 * keep_heads * 28.0 * 512.0 * kv_bits / 8.0;
        let memory_ms = (weights + cache) / if full { 18e6 * threads.powf(0.35) } else { 25e6 };
        let compute_ms = 60.0 * compute * batch / threads.powf(if full { 0.8 } else { 1.0 });
        let step_ms =
            (memory_ms.powi(3) + compute_ms.powi(3)).cbrt() + if full { 0.4 * threads } else { 0.0 };
        let prune = 1.0 * (1.0 - keep_ffn).powf(1.4) + 0.7 * (1.0 - keep_heads).powf(1.2);
        (step_ms / batch.powf(0.7), weights + cache + 1e8, loss + kv_loss + prune)
    }

    /// Measured values with their intervals.
    pub fn measure(&self, point: &[usize], random: &mut Random) -> Vec<Estimate> {
        let [latency, bytes, loss] = self.truth(point);
        let latency = latency * (LATENCY_NOISE * random.normal()).exp();
        let loss = loss + QUALITY_NOISE * random.normal();
        vec![
            Estimate {
                value: latency,
                low: latency * (-1.96 * LATENCY_NOISE).exp(),
                high: latency * (1.96 * LATENCY_NOISE).exp(),
            },
            Estimate::exact(bytes),
            Estimate { value: loss, low: loss - 1.96 * QUALITY_NOISE, high: loss + 1.96 * QUALITY_NOISE },
        ]
    }
}

/// A number in -1..1 that depends on a point alone.
fn scatter(point: &[usize], salt: u64) -> f64 {
    let key = point.iter().fold(salt, |h, &l| h.wrapping_mul(31).wrapping_add(l as u64 + 1));
    Random::new(key, 0, 99).unit() * 2.0 - 1.0
}

impl Problem for Landscape {
    fn space(&self) -> &Space {
        &self.space
    }

    fn objectives(&self) -> &[Objective] {
        &self.objectives
    }

    fn feasible(&self, point: &[usize]) -> bool {
        self.physics(point, true).1 <= self.budget
    }

    fn prior(&self, point: &[usize]) -> Vec<Option<f64>> {
        let (latency, bytes, _) = self.physics(point, false);
        vec![self.prior.then_some(latency), Some(bytes), None]
    }

    fn exact(&self, objective: usize) -> bool {
        objective == 1
    }

    fn cheap(&self, point: &[usize]) -> Vec<f64> {
        match self.cheap {
            Cheap::None => Vec::new(),
            Cheap::Honest => {
                let loss = self.truth(point)[2];
                vec![(loss + 0.01).powf(1.5) * (0.25 * scatter(point, 1)).exp()]
            }
            Cheap::Lies => vec![scatter(point, 2), -self.truth(point)[2] + 0.5 * scatter(point, 3)],
        }
    }
}

/// A quantile of values, which it sorts.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}
