//! A recorded table: CSV with a header, one row a point.

use std::collections::HashMap;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use super::levels::{Levels, compare};
use super::space_file::{Declared, kind};
use crate::exit::Expected;
use crate::space::{Param, Point, Space};

/// The rows of a table by their points, and the requested columns.
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
        let wrong = |what: String| Expected::usage(format!("--table {file}: {what}"));
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let mut cells = StringRecord::new();
        let mut next = |cells: &mut StringRecord| reader.read_record(cells).map_err(|e| wrong(e.to_string()));
        if !next(&mut cells)? {
            return Err(wrong("is empty; it needs a header and rows".into()));
        }
        let header: Vec<String> = cells.iter().map(|c| c.trim().to_owned()).collect();
        let (params, param_columns) = place(params, &header).map_err(wrong)?;
        let value_columns: Vec<usize> =
            wanted.iter().map(|w| column(w, &header)).collect::<Result<_, _>>().map_err(wrong)?;
        let mut levels: Vec<Levels> = params.iter().map(Levels::new).collect();
        let mut table = Self {
            space: Space { name, description: String::new(), params: Vec::new() },
            points: Vec::new(),
            index: HashMap::new(),
            columns: vec![Vec::new(); wanted.len()],
        };
        let mut place_of_row: Vec<usize> = Vec::new();
        while next(&mut cells)? {
            if cells.len() == 1 && cells[0].trim().is_empty() {
                continue;
            }
            let place = cells.position().map_or(0, |p| p.byte() as usize);
            let line = || line_at(&text, place);
            if cells.len() != header.len() {
                let (found, wanted) = (cells.len(), header.len());
                let line = line();
                return Err(wrong(format!("line {line} has {found} cells where the header has {wanted}")));
            }
            let mut point = Vec::with_capacity(levels.len());
            for ((levels, &column), param) in levels.iter_mut().zip(&param_columns).zip(&params) {
                let Some(column) = column else {
                    point.push(0);
                    continue;
                };
                let cell = cells[column].trim();
                point.push(levels.find(cell).ok_or_else(|| {
                    let known: Vec<String> = levels.values.iter().map(ToString::to_string).collect();
                    let (line, name, known) = (line(), &param.name, known.join(", "));
                    wrong(format!("line {line}: `{cell}` is not a level of `{name}`, which has {known}; add it to the space, or drop the row"))
                })?);
            }
            for (values, &column) in table.columns.iter_mut().zip(&value_columns) {
                let number = number(&cells[column]).ok_or_else(|| {
                    let (line, name, cell) = (line(), &header[column], cells[column].trim());
                    wrong(format!("line {line}: `{name}` has `{cell}`, which is not a number; leave the cell empty where there is none"))
                })?;
                values.push(number);
            }
            table.points.push(point);
            place_of_row.push(place);
        }
        if table.points.is_empty() {
            return Err(wrong("has a header but no rows".into()));
        }
        for (values, name) in table.columns.iter().zip(wanted) {
            if values.iter().all(|v| v.is_nan()) {
                return Err(wrong(format!("has no number in the column `{name}`")));
            }
        }
        table.adopt(params, levels);
        if table.space.size() == u128::MAX {
            return Err(wrong("belongs to a space of more than 2^128 points".into()));
        }
        for (row, point) in table.points.iter().enumerate() {
            let key = key(&table.space, point);
            if let Some(first) = table.index.insert(key, row as u32) {
                let [first, second] = [first as usize, row].map(|row| line_at(&text, place_of_row[row]));
                return Err(wrong(format!(
                    "lines {first} and {second} are the same point; a point has one row"
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

/// The one column of a name.
fn column(name: &str, header: &[String]) -> Result<usize, String> {
    let mut found = (0..header.len()).filter(|&i| header[i] == name);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => Err(format!("has two columns `{name}`; name each once")),
        (None, _) => Err(format!("has no column `{name}`; it has {}", header.join(", "))),
    }
}

/// The parameters under their columns' names, with the columns; `None` for one that cannot vary and has no column.
///
/// Spaces may wrap their parameters into tables that the columns' names leave out, and write a dot where those have an underscore.
fn place(params: Vec<Declared>, header: &[String]) -> Result<(Vec<Declared>, Vec<Option<usize>>), String> {
    let (mut placed, mut columns): (Vec<Declared>, Vec<Option<usize>>) = (Vec::new(), Vec::new());
    for mut param in params {
        let tails = std::iter::successors(Some(param.name.as_str()), |name| {
            name.split_once('.').map(|(_, rest)| rest)
        });
        let spellings: Vec<String> =
            tails.flat_map(|tail| [tail.to_owned(), tail.replace('.', "_")]).collect();
        match spellings.iter().find(|name| header.contains(name)) {
            Some(name) => {
                let at = column(name, header)?;
                if columns.contains(&Some(at)) {
                    return Err(format!("has one column `{name}` for two parameters; name each in full"));
                }
                columns.push(Some(at));
                param.name.clone_from(name);
            }
            None if param.levels.len() == 1 => columns.push(None),
            None => return Err(column(&param.name, header).err().unwrap_or_default()),
        }
        placed.push(param);
    }
    Ok((placed, columns))
}

/// A number, NaN for what is missing, `None` for what is neither.
fn number(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    match cell.parse::<f64>() {
        Ok(number) if number.is_finite() => Some(number),
        Ok(_) => Some(f64::NAN),
        Err(_) => ["", "na", "n/a", "null", "none", "-"]
            .contains(&cell.to_ascii_lowercase().as_str())
            .then_some(f64::NAN),
    }
}

/// The line, from 1, of the record that is read from a place in a text on; empty lines before it are passed over.
fn line_at(text: &str, place: usize) -> usize {
    let bytes = text.as_bytes();
    let empty = bytes.iter().skip(place).take_while(|b| matches!(b, b'\n' | b'\r')).count();
    1 + bytes.iter().take(place + empty).filter(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_an_editor_does() {
        let text = "a,b\r\n\"x\ny\",1\r\n\r\n\n2,3\nlast,4";
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let lines: Vec<usize> = reader
            .records()
            .map(|r| line_at(text, usize::try_from(r.unwrap().position().unwrap().byte()).unwrap()))
            .collect();
        assert_eq!(lines, [1, 2, 6, 7]);
    }
    use crate::space::Value;

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
        let t = table("a,y\n8,1\n2,\n4,NaN\n", vec![]).unwrap();
        assert_eq!(t.space.params[0].levels, vec![Value::Int(2), Value::Int(4), Value::Int(8)]);
        assert_eq!(t.row(&[2]), Some(0));
        assert!(t.value(0, 1).is_nan() && t.value(0, 2).is_nan());
    }

    #[test]
    fn parameters_are_found_under_the_names_that_columns_have() {
        let declared = |name: &str, n: i64| Declared {
            name: name.into(),
            levels: (0..n).map(Value::Int).collect(),
            ordered: None,
        };
        let header = ["kv_k", "x", "y"].map(str::to_owned);
        let (params, columns) =
            place(vec![declared("params.x", 2), declared("kv.k", 2), declared("fixed", 1)], &header).unwrap();
        assert_eq!(columns, [Some(1), Some(0), None]);
        assert_eq!(params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["x", "kv_k", "fixed"]);
        assert!(
            place(vec![declared("a.x", 2), declared("b.x", 2)], &header)
                .err()
                .unwrap()
                .contains("two parameters")
        );
        assert!(place(vec![declared("a.z", 2)], &header).err().unwrap().contains("no column `a.z`"));
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
            ("a,y\n3,1\n", "`3` is not a level of `a`, which has 1, 2"),
            ("a,y\n1\n", "line 2 has 1 cells"),
            ("a,y\n1,1\n\n2,1\n1,2\n", "lines 2 and 5 are the same point"),
            ("a,y\n1,fast\n", "line 2: `y` has `fast`, which is not a number"),
            ("a,y\n1,\n2,nan\n", "no number in the column `y`"),
            ("a,y\n", "no rows"),
            ("a,y,y\n1,1,1\n", "two columns `y`"),
        ] {
            let error = table(text, two()).err().unwrap();
            assert!(error.contains(part), "{error}");
        }
    }
}
