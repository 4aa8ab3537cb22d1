//! A recorded table: CSV with a header, one row a point.

use std::collections::HashMap;
use std::path::Path;

use super::space_file::{Declared, kind};
use crate::cli::exit::Expected;
use crate::space::{Param, Point, Space, Value};

/// The rows of a table by their points, and the columns that were asked for.
pub(super) struct Table {
    pub(super) space: Space,
    points: Vec<Point>,
    /// Row by point, in mixed radix.
    index: HashMap<u128, u32>,
    /// One list for each wanted column; NaN where a cell is empty or no number.
    columns: Vec<Vec<f64>>,
}

impl Table {
    /// Reads a table: a column for each parameter, and `wanted` columns of numbers.
    ///
    /// # Errors
    /// An unreadable file, a missing column, a value that is no level, two rows of one point.
    pub(super) fn read(
        path: &Path,
        name: String,
        params: Vec<Declared>,
        wanted: &[String],
    ) -> Result<Self, Expected> {
        let file = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Expected::usage(format!("--table {file}: cannot be read: {e}; name a CSV file")))?;
        let mut lines = Lines { rest: text.strip_prefix('\u{feff}').unwrap_or(&text), line: 0 };
        let mut cells = Vec::new();
        if !lines.next(&mut cells) {
            return Err(Expected::usage(format!("--table {file}: is empty; it needs a header and rows")));
        }
        let header: Vec<String> = cells.iter().map(|c| c.trim().to_owned()).collect();
        let find = |column: &str| {
            header.iter().position(|h| h == column).ok_or_else(|| {
                Expected::usage(format!(
                    "--table {file}: has no column `{column}`; it has {}",
                    header.join(", ")
                ))
            })
        };
        let param_columns: Vec<usize> = params.iter().map(|p| find(&p.name)).collect::<Result<_, _>>()?;
        let value_columns: Vec<usize> = wanted.iter().map(|w| find(w)).collect::<Result<_, _>>()?;
        let mut levels: Vec<Levels> = params.iter().map(Levels::new).collect();
        let mut table = Self {
            space: Space { name, description: String::new(), params: Vec::new() },
            points: Vec::new(),
            index: HashMap::new(),
            columns: vec![Vec::new(); wanted.len()],
        };
        while lines.next(&mut cells) {
            if cells.len() == 1 && cells[0].is_empty() {
                continue;
            }
            if cells.len() != header.len() {
                return Err(Expected::usage(format!(
                    "--table {file}: line {} has {} cells where the header has {}",
                    lines.line,
                    cells.len(),
                    header.len()
                )));
            }
            let mut point = Vec::with_capacity(levels.len());
            for (levels, &column) in levels.iter_mut().zip(&param_columns) {
                let cell = cells[column].trim();
                point.push(levels.find(cell).ok_or_else(|| {
                    let known: Vec<String> = levels.values.iter().map(ToString::to_string).collect();
                    Expected::usage(format!(
                        "--table {file}: line {}: `{cell}` is no level of `{}`, which has {}",
                        lines.line,
                        header[column],
                        known.join(", ")
                    ))
                })?);
            }
            for (values, &column) in table.columns.iter_mut().zip(&value_columns) {
                values.push(cells[column].trim().parse().unwrap_or(f64::NAN));
            }
            table.points.push(point);
        }
        table.adopt(params, levels);
        for (row, point) in table.points.iter().enumerate() {
            let key = key(&table.space, point);
            if let Some(first) = table.index.insert(key, row as u32) {
                return Err(Expected::usage(format!(
                    "--table {file}: rows {} and {} are the same point; a point has one row",
                    first + 1,
                    row + 1
                )));
            }
        }
        Ok(table)
    }

    /// Makes the space of the levels, putting those that were read off the table in order.
    fn adopt(&mut self, params: Vec<Declared>, levels: Vec<Levels>) {
        for (d, (declared, mut levels)) in params.into_iter().zip(levels).enumerate() {
            if levels.open {
                let mut order: Vec<usize> = (0..levels.values.len()).collect();
                order.sort_by(|&a, &b| compare(&levels.values[a], &levels.values[b]));
                let mut place = vec![0; order.len()];
                for (at, &old) in order.iter().enumerate() {
                    place[old] = at;
                }
                for point in &mut self.points {
                    point[d] = place[point[d]];
                }
                levels.values = order.into_iter().map(|i| levels.values[i].clone()).collect();
            }
            let kind = kind(declared.ordered, &levels.values);
            self.space.params.push(Param { name: declared.name, kind, levels: levels.values });
        }
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.points.len()
    }

    /// The point of a row.
    pub(super) fn point(&self, row: usize) -> Option<&Point> {
        self.points.get(row)
    }

    /// The row of a point.
    pub(super) fn row(&self, point: &[usize]) -> Option<usize> {
        self.index.get(&key(&self.space, point)).map(|&row| row as usize)
    }

    /// A cell of a wanted column.
    pub(super) fn value(&self, column: usize, row: usize) -> f64 {
        self.columns[column][row]
    }

    /// A wanted column.
    pub(super) fn column(&self, column: usize) -> &[f64] {
        &self.columns[column]
    }
}

fn key(space: &Space, point: &[usize]) -> u128 {
    space
        .params
        .iter()
        .zip(point)
        .fold(0, |key, (p, &level)| key.wrapping_mul(p.levels.len() as u128).wrapping_add(level as u128))
}

fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) => x.total_cmp(&y),
        _ => a.to_string().cmp(&b.to_string()),
    }
}

/// The levels of one parameter, as cells are looked up in them.
struct Levels {
    values: Vec<Value>,
    texts: Vec<String>,
    numbers: Vec<Option<f64>>,
    /// Whether cells that are new become levels.
    open: bool,
    /// The last one found: rows next to each other are alike.
    last: usize,
}

impl Levels {
    fn new(declared: &Declared) -> Self {
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

    fn find(&mut self, cell: &str) -> Option<usize> {
        if self.texts.get(self.last).is_some_and(|t| t == cell) {
            return Some(self.last);
        }
        let number = || cell.parse::<f64>().ok();
        let found = self.texts.iter().position(|t| t == cell).or_else(|| {
            let x = number()?;
            let near = |y: f64| (x - y).abs() <= 1e-9 * x.abs().max(y.abs());
            self.numbers.iter().position(|n| n.is_some_and(near))
        });
        if let Some(level) = found {
            self.last = level;
        } else if self.open {
            self.push(number().map_or_else(|| Value::Text(cell.to_owned()), Value::Real));
            return Some(self.values.len() - 1);
        }
        found
    }
}

/// The lines of a CSV text (RFC 4180): cells may be quoted, and quoted cells may hold commas, quotes and line ends.
struct Lines<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lines<'a> {
    /// Reads the next line's cells; false at the end.
    fn next(&mut self, cells: &mut Vec<std::borrow::Cow<'a, str>>) -> bool {
        cells.clear();
        if self.rest.is_empty() {
            return false;
        }
        self.line += 1;
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        if !line.contains('"') {
            cells.extend(line.strip_suffix('\r').unwrap_or(line).split(',').map(std::borrow::Cow::Borrowed));
            self.rest = self.rest.get(end + 1..).unwrap_or("");
            return true;
        }
        let (mut cell, mut quoted) = (String::new(), false);
        let mut chars = self.rest.char_indices().peekable();
        let mut at = self.rest.len();
        while let Some((i, c)) = chars.next() {
            match (c, quoted) {
                ('"', true) if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    chars.next();
                    cell.push('"');
                }
                ('"', _) => quoted = !quoted,
                (',', false) => cells.push(std::mem::take(&mut cell).into()),
                ('\r', false) => {}
                ('\n', false) => {
                    at = i + 1;
                    break;
                }
                _ => cell.push(c),
            }
        }
        cells.push(cell.into());
        self.rest = self.rest.get(at..).unwrap_or("");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str, levels: Vec<Value>) -> Result<Table, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let params = vec![Declared { name: "a".into(), levels, ordered: None }];
        Table::read(&path, "t".into(), params, &["y".into()]).map_err(|e| e.to_string())
    }

    #[test]
    fn cells_are_found_by_text_and_by_number() {
        let levels = vec![Value::Real(0.5), Value::Real(1.0)];
        let t = table("y,a\r\n3,1\r\n\"4\",\"0.50\"\r\n", levels).unwrap();
        assert_eq!(t.rows(), 2);
        assert_eq!(t.row(&[1]), Some(0));
        assert_eq!(t.value(0, t.row(&[0]).unwrap()), 4.0);
    }

    #[test]
    fn levels_can_be_read_off_the_table() {
        let t = table("a,y\n8,1\n2,\n4,x\n", vec![]).unwrap();
        assert_eq!(t.space.params[0].levels, vec![Value::Real(2.0), Value::Real(4.0), Value::Real(8.0)]);
        assert_eq!(t.row(&[2]), Some(0));
        assert!(t.value(0, 1).is_nan() && t.value(0, 2).is_nan());
    }

    #[test]
    fn quoted_cells_may_hold_anything() {
        let t = table("a,y\n\"x, \"\"y\"\"\nz\",1\n", vec![Value::Text("x, \"y\"\nz".into())]).unwrap();
        assert_eq!(t.rows(), 1);
    }

    #[test]
    fn wrong_tables_are_told() {
        let two = || vec![Value::Int(1), Value::Int(2)];
        for (text, part) in [
            ("", "is empty"),
            ("a,b\n1,2\n", "no column `y`"),
            ("a,y\n3,1\n", "`3` is no level of `a`, which has 1, 2"),
            ("a,y\n1\n", "line 2 has 1 cells"),
            ("a,y\n1,1\n2,1\n1,2\n", "rows 1 and 3 are the same point"),
        ] {
            let error = table(text, two()).err().unwrap();
            assert!(error.contains(part), "{error}");
        }
    }
}
