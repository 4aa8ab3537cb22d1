//! The levels of a parameter, as the cells of a table name them.

use super::space_file::Declared;
use crate::space::Value;

/// The order of levels that no file ordered.
pub(super) fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) => x.total_cmp(&y),
        _ => a.to_string().cmp(&b.to_string()),
    }
}

/// The levels of one parameter, as cells are looked up in them.
pub(super) struct Levels {
    pub(super) values: Vec<Value>,
    texts: Vec<String>,
    numbers: Vec<Option<f64>>,
    /// Whether cells that are new become levels.
    pub(super) open: bool,
    /// The last one found: rows next to each other are alike.
    last: usize,
}

impl Levels {
    pub(super) fn new(declared: &Declared) -> Self {
        let mut levels = Self {
            values: Vec::new(),
            texts: Vec::new(),
            numbers: Vec::new(),
            open: declared.levels.is_empty(),
            last: 0,
        };
        for value in &declared.levels {
            levels.push(value.clone());
        }
        levels
    }

    fn push(&mut self, value: Value) {
        self.texts.push(value.to_string());
        self.numbers.push(value.as_f64());
        self.values.push(value);
    }

    /// The level of a cell; `None` when it names none.
    pub(super) fn find(&mut self, cell: &str) -> Option<usize> {
        if self.texts.get(self.last).is_some_and(|t| t == cell) {
            return Some(self.last);
        }
        let number = || cell.parse::<f64>().ok();
        let found = self.texts.iter().position(|t| t == cell).or_else(|| {
            let x = number()?;
            let near = |y: f64| (x - y).abs() <= 1e-9 * x.abs().max(y.abs());
            self.numbers.iter().position(|n| n.is_some_and(near))
        });
        // Python writes True where TOML writes true.
        let found = found.or_else(|| self.texts.iter().position(|t| t.eq_ignore_ascii_case(cell)));
        let switch = || {
            (cell == "1" || cell == "1.0")
                .then_some(true)
                .or_else(|| (cell == "0" || cell == "0.0").then_some(false))
        };
        let found = found.or_else(|| {
            let on = switch()?;
            self.values.iter().position(|v| *v == Value::Bool(on))
        });
        if let Some(level) = found {
            self.last = level;
        } else if self.open {
            self.push(value(cell));
            return Some(self.values.len() - 1);
        }
        found
    }
}

/// What a cell that no file declared stands for.
fn value(cell: &str) -> Value {
    if let Ok(whole) = cell.parse() {
        return Value::Int(whole);
    }
    match (cell.parse::<f64>(), cell) {
        (Ok(number), _) if number.is_finite() => Value::Real(number),
        (_, "true" | "True") => Value::Bool(true),
        (_, "false" | "False") => Value::Bool(false),
        _ => Value::Text(cell.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_text_by_number_and_as_switches() {
        let values = [Value::Real(0.5), Value::Int(2), Value::Text("Q4_K".into()), Value::Bool(true)];
        let mut levels = Levels::new(&Declared { name: "a".into(), levels: values.to_vec(), ordered: None });
        let found = ["0.50", "2.0", "q4_k", "True", "1", "3", "", "Q4_K"].map(|cell| levels.find(cell));
        assert_eq!(found, [Some(0), Some(1), Some(2), Some(3), Some(3), None, None, Some(2)]);
    }

    #[test]
    fn what_no_file_lists_is_read_off_the_cells() {
        let mut levels = Levels::new(&Declared { name: "a".into(), levels: vec![], ordered: None });
        assert_eq!(
            ["8", "0.5", "False", "x", "8.0"].map(|cell| levels.find(cell)),
            [Some(0), Some(1), Some(2), Some(3), Some(0)]
        );
        assert_eq!(
            levels.values,
            [Value::Int(8), Value::Real(0.5), Value::Bool(false), Value::Text("x".into())]
        );
    }
}
