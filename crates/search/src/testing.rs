//! Small problems for the room's own tests.

use super::{Direction, Estimate, History, Objective, Observation, Problem, Repeat, TrialState};
use autotune_core::space::{Param, ParamKind, Point, Space, Value};

type Fits = Box<dyn Fn(&[usize]) -> bool>;
type Losses = Box<dyn Fn(&[usize]) -> Vec<f64>>;

/// A problem made of closures.
pub(crate) struct Table {
    space: Space,
    pub(crate) objectives: Vec<Objective>,
    pub(crate) fits: Fits,
    pub(crate) values: Losses,
    /// What timing a trial once more takes, of which the first objective is measured.
    pub(crate) repeat_cost: Option<f64>,
}

impl Table {
    /// An ordered grid with two minimised objectives that pull apart.
    pub(crate) fn grid(levels: &[usize]) -> Self {
        let params = levels
            .iter()
            .enumerate()
            .map(|(i, &n)| Param {
                name: format!("p{i}"),
                kind: ParamKind::Ordinal,
                levels: (0..n as i64).map(Value::Int).collect(),
            })
            .collect();
        let objective = |name: &str| Objective {
            name: name.into(),
            direction: Direction::Minimize,
            bound: None,
            log_scale: false,
        };
        Self {
            space: Space { name: "grid".into(), description: String::new(), params },
            objectives: vec![objective("a"), objective("b")],
            fits: Box::new(|_| true),
            values: Box::new(|p| {
                let x: f64 = p.iter().map(|&l| l as f64).sum();
                vec![x, (20.0 - x).powi(2) / 20.0]
            }),
            repeat_cost: None,
        }
    }

    /// Asks and tells `trials` times.
    pub(crate) fn search(&self, sampler: &mut dyn super::Sampler, trials: u64, seed: u64) -> History {
        let mut history = History::default();
        for number in 0..trials {
            match sampler.ask(self, &history, seed, number) {
                super::Ask::Point(point) => history.observations.push(self.observe(number, point)),
                super::Ask::Again(_) | super::Ask::Exhausted => break,
            }
        }
        history
    }

    /// The complete observation of a point.
    pub(crate) fn observe(&self, number: u64, point: Point) -> Observation {
        let objectives = (self.values)(&point).into_iter().map(|v| Some(Estimate::exact(v))).collect();
        Observation {
            number,
            point,
            exact: true,
            state: TrialState::Complete,
            objectives,
            proxies: Vec::new(),
            repeats: None,
        }
    }
}

impl Problem for Table {
    fn space(&self) -> &Space {
        &self.space
    }

    fn objectives(&self) -> &[Objective] {
        &self.objectives
    }

    fn feasible(&self, point: &[usize]) -> bool {
        (self.fits)(point)
    }

    fn repeat(&self) -> Option<Repeat> {
        let objectives = (0..self.objectives.len()).map(|i| i == 0).collect();
        Some(Repeat { cost: self.repeat_cost?, objectives })
    }
}
