//! Two metrics of all trials as an SVG figure, drawn by plotters. Colours are a fixed few literals, so that the page's style sheet can
//! exchange them in the dark, and the figure stands by itself without one.

mod labels;
mod ticks;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::front::{cost, non_dominated};
use super::metric::{Metric, Reading};
use super::{ReportError, Result};
use autotune_store::Direction;
use labels::Label;
use ticks::Axis;

/// Text.
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
/// Axis labels and marks.
const MUTED: RGBColor = RGBColor(0x5f, 0x68, 0x72);
/// Grid lines.
const GRID: RGBColor = RGBColor(0xe1, 0xe4, 0xe8);
/// The front.
const FRONT: RGBColor = RGBColor(0x0b, 0x62, 0xc4);
/// Presets.
const PRESET: RGBColor = RGBColor(0xb3, 0x50, 0x00);
/// What is dominated.
const DIM: &str = "#9AA4AF";

/// Drawn at twice the size at which it is shown, because plotters places things on whole pixels.
const SIZE: (u32, u32) = (1120, 860);
const LEFT: i32 = 140;
const RIGHT: i32 = 36;
const TOP: i32 = 28;
const BOTTOM: i32 = 124;
const TEXT: i32 = 28;

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// On the study's front.
    Front,
    /// Eligible and dominated.
    Dominated,
    /// Measured, but not eligible (over the budget, or not complete).
    Excluded,
}

/// A trial in a figure.
#[derive(Clone, Debug)]
pub struct Point {
    /// The trial's number; the point links to `#t<number>`.
    pub number: u64,
    /// Horizontal.
    pub x: Reading,
    /// Vertical.
    pub y: Reading,
    /// Where it stands.
    pub standing: Standing,
    /// The preset's name, which is written next to it.
    pub preset: Option<String>,
    /// The titles that it is recommended for, also written next to it.
    pub titles: String,
    /// What a pointer over it shows.
    pub hover: String,
}

impl Point {
    fn is_key(&self) -> bool {
        self.standing == Standing::Front || self.preset.is_some()
    }

    fn is_named(&self) -> bool {
        self.preset.is_some() || !self.titles.is_empty()
    }
}

/// One of the two axes.
#[derive(Clone, Debug)]
pub struct Side {
    /// What it shows.
    pub metric: Metric,
    /// Which way is better.
    pub direction: Direction,
    /// Whether ratios matter.
    pub log: bool,
}

/// A drawn figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The `<svg>` element.
    pub svg: String,
    /// How many points lie outside the axes.
    pub outside: usize,
    /// How many points are drawn.
    pub drawn: usize,
}

/// Draws a figure; none when no trial has both metrics.
///
/// # Errors
/// plotters fails, which a string in memory gives no cause for.
pub fn draw(points: &[Point], x: &Side, y: &Side) -> Result<Option<Figure>> {
    let points: Vec<&Point> =
        points.iter().filter(|p| p.x.value.is_finite() && p.y.value.is_finite()).collect();
    let (Some(x_axis), Some(y_axis)) = (axis(&points, x, |p| p.x), axis(&points, y, |p| p.y)) else {
        return Ok(None);
    };
    let frame = Frame { x: x_axis, y: y_axis };
    let (inside, outside): (Vec<&Point>, Vec<&Point>) = points.iter().partition(|p| frame.holds(p));

    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        paint(&root, &frame, &inside, x, y).map_err(|e| ReportError::Figure(e.to_string()))?;
        root.present().map_err(|e| ReportError::Figure(e.to_string()))?;
    }
    Ok(Some(Figure { svg: finish(svg, &frame, &inside, x, y), outside: outside.len(), drawn: inside.len() }))
}

/// The axis spans the front and the presets, and others as far as they do not squeeze those.
fn axis(points: &[&Point], side: &Side, reading: impl Fn(&Point) -> Reading) -> Option<Axis> {
    const REACH: f64 = 0.75;
    let ends = |p: &Point| {
        let r = reading(p);
        let (low, high) = r.interval().unwrap_or((r.value, r.value));
        [low, r.value, high]
    };
    let keys: Vec<f64> = points.iter().filter(|p| p.is_key()).flat_map(|p| ends(p)).collect();
    let all = || points.iter().map(|p| reading(p).value);
    if keys.is_empty() {
        return Axis::over(&side.metric, all(), side.log);
    }
    let log = side.log && keys.iter().all(|v| *v > 0.0);
    let at = |v: f64| if log { v.ln() } else { v };
    let (low, high) =
        keys.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(at(*v)), h.max(at(*v))));
    let reach = (high - low).max(1e-12) * REACH;
    let near = all().filter(|v| (low - reach..=high + reach).contains(&at(*v)));
    Axis::over(&side.metric, keys.iter().copied().chain(near), log)
}

struct Frame {
    x: Axis,
    y: Axis,
}

impl Frame {
    fn holds(&self, p: &Point) -> bool {
        let within = |place: f64| (0.0..=1.0).contains(&place);
        within(self.x.place(p.x.value)) && within(self.y.place(p.y.value))
    }

    fn x_at(&self, value: f64) -> i32 {
        let width = SIZE.0 as i32 - LEFT - RIGHT;
        LEFT + (self.x.place(value).clamp(0.0, 1.0) * f64::from(width)).round() as i32
    }

    fn y_at(&self, value: f64) -> i32 {
        let height = SIZE.1 as i32 - TOP - BOTTOM;
        SIZE.1 as i32 - BOTTOM - (self.y.place(value).clamp(0.0, 1.0) * f64::from(height)).round() as i32
    }

    fn at(&self, p: &Point) -> (i32, i32) {
        (self.x_at(p.x.value), self.y_at(p.y.value))
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Painted = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn paint(root: &Area<'_>, frame: &Frame, points: &[&Point], x: &Side, y: &Side) -> Painted {
    grid(root, frame, x, y)?;
    staircase(root, frame, points, x.direction, y.direction)?;
    let mut keys: Vec<&&Point> = points.iter().filter(|p| p.is_key()).collect();
    // What is recommended is drawn last, on top.
    keys.sort_by_key(|p| (!p.titles.is_empty(), p.standing == Standing::Front));
    // Hundreds of intervals would hide what they belong to.
    const MOST_INTERVALS: usize = 60;
    for point in keys.iter().filter(|p| keys.len() <= MOST_INTERVALS || p.is_named()) {
        error_bars(root, frame, point)?;
    }
    for point in &keys {
        marker(root, frame, point)?;
    }
    let mut labelled: Vec<Label> = Vec::new();
    for point in keys.iter().rev() {
        let words: Vec<&str> = point
            .preset
            .as_deref()
            .into_iter()
            .chain([point.titles.as_str()])
            .filter(|w| !w.is_empty())
            .collect();
        if !words.is_empty() {
            let must = !point.titles.is_empty();
            labelled.push(Label { text: words.join(", "), point: frame.at(point), must });
        }
    }
    let obstacles: Vec<(i32, i32)> = keys.iter().map(|p| frame.at(p)).collect();
    let limits = [LEFT, TOP, SIZE.0 as i32 - RIGHT, SIZE.1 as i32 - BOTTOM];
    for label in labels::place(&labelled, &obstacles, TEXT, limits) {
        root.draw(&Text::new(label.text, label.at, font(TEXT, INK).pos(Pos::new(HPos::Left, VPos::Center))))?;
    }
    Ok(())
}

fn font(size: i32, colour: RGBColor) -> TextStyle<'static> {
    // plotters writes sizes divided by 1.24.
    ("sans-serif", f64::from(size) * 1.24).into_font().color(&colour)
}

fn grid(root: &Area<'_>, frame: &Frame, x: &Side, y: &Side) -> Painted {
    let (right, bottom) = (SIZE.0 as i32 - RIGHT, SIZE.1 as i32 - BOTTOM);
    let line = GRID.stroke_width(2);
    let small = font(TEXT - 2, MUTED);
    for (value, label) in frame.x.ticks() {
        let at = frame.x_at(value);
        root.draw(&PathElement::new(vec![(at, TOP), (at, bottom)], line))?;
        root.draw(&Text::new(
            label,
            (at, bottom + 14),
            small.clone().pos(Pos::new(HPos::Center, VPos::Top)),
        ))?;
    }
    for (value, label) in frame.y.ticks() {
        let at = frame.y_at(value);
        root.draw(&PathElement::new(vec![(LEFT, at), (right, at)], line))?;
        root.draw(&Text::new(
            label,
            (LEFT - 14, at),
            small.clone().pos(Pos::new(HPos::Right, VPos::Center)),
        ))?;
    }
    let title = font(TEXT, INK);
    let middle = (LEFT + right) / 2;
    root.draw(&Text::new(
        describe(x, frame.x.unit(), ["← better", "better →"]),
        (middle, SIZE.1 as i32 - 14),
        title.clone().pos(Pos::new(HPos::Center, VPos::Bottom)),
    ))?;
    // Turned by 270 degrees, the text's own middle is its anchor.
    let turned = title.transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Top));
    root.draw(&Text::new(
        describe(y, frame.y.unit(), ["← better", "better →"]),
        (8, (TOP + bottom) / 2),
        turned,
    ))
}

/// `request latency, ms (← better)`
fn describe(side: &Side, unit: &str, arrows: [&str; 2]) -> String {
    let comma = if unit.is_empty() { "" } else { ", " };
    let arrow = match side.direction {
        Direction::Min => arrows[0],
        Direction::Max => arrows[1],
    };
    format!("{}{comma}{unit} ({arrow})", side.metric.label)
}

/// The front of these two metrics alone, as the edge of what it dominates.
fn staircase(root: &Area<'_>, frame: &Frame, points: &[&Point], x: Direction, y: Direction) -> Painted {
    let eligible: Vec<&&Point> = points.iter().filter(|p| p.standing != Standing::Excluded).collect();
    let costs: Vec<Vec<f64>> =
        eligible.iter().map(|p| vec![cost(x, p.x.value), cost(y, p.y.value)]).collect();
    let mut path: Vec<(i32, i32)> = Vec::new();
    for i in non_dominated(&costs) {
        let at = frame.at(eligible[i]);
        if let Some(&(_, last_y)) = path.last() {
            path.push((at.0, last_y));
        }
        path.push(at);
    }
    if path.len() > 1 {
        root.draw(&PathElement::new(path, FRONT.mix(0.7).stroke_width(4)))?;
    }
    Ok(())
}

fn error_bars(root: &Area<'_>, frame: &Frame, point: &Point) -> Painted {
    let colour = colour(point).mix(0.4).stroke_width(2);
    let (x, y) = frame.at(point);
    const CAP: i32 = 6;
    if let Some((low, high)) = point.x.interval() {
        let (low, high) = (frame.x_at(low), frame.x_at(high));
        root.draw(&PathElement::new(vec![(low, y), (high, y)], colour))?;
        for end in [low, high] {
            root.draw(&PathElement::new(vec![(end, y - CAP), (end, y + CAP)], colour))?;
        }
    }
    if let Some((low, high)) = point.y.interval() {
        let (low, high) = (frame.y_at(low), frame.y_at(high));
        root.draw(&PathElement::new(vec![(x, low), (x, high)], colour))?;
        for end in [low, high] {
            root.draw(&PathElement::new(vec![(x - CAP, end), (x + CAP, end)], colour))?;
        }
    }
    Ok(())
}

fn colour(point: &Point) -> RGBColor {
    if point.preset.is_some() { PRESET } else { FRONT }
}

/// Presets are squares and others circles; on the front they are full, off it hollow; the recommended have a ring.
fn marker(root: &Area<'_>, frame: &Frame, point: &Point) -> Painted {
    const R: i32 = 9;
    let (x, y) = frame.at(point);
    let colour = colour(point);
    let full = point.standing == Standing::Front;
    if point.preset.is_some() {
        // A hollow one hides the crossing of its own intervals.
        let inside = if full { colour } else { WHITE };
        root.draw(&Rectangle::new([(x - R, y - R), (x + R, y + R)], inside.filled()))?;
        let corners = vec![(x - R, y - R), (x + R, y - R), (x + R, y + R), (x - R, y + R), (x - R, y - R)];
        root.draw(&PathElement::new(corners, colour.stroke_width(4)))?;
    } else {
        let style = if full { colour.filled() } else { colour.stroke_width(4) };
        root.draw(&Circle::new((x, y), R + 1, style))?;
    }
    if !point.titles.is_empty() {
        root.draw(&Circle::new((x, y), R * 2, INK.stroke_width(3)))?;
    }
    Ok(())
}

/// Adds what plotters has no word for: a description for screen readers, the dominated as one path, and a link with a hint on each point.
fn finish(svg: String, frame: &Frame, points: &[&Point], x: &Side, y: &Side) -> String {
    const MOST_LINKS: usize = 600;
    let Some((_, rest)) = svg.split_once('>') else { return svg };
    let Some((body, _)) = rest.rsplit_once("</svg>") else { return svg };
    let title = format!(
        "{} against {}: {} trials, {} of them on the front",
        x.metric.label,
        y.metric.label,
        points.len(),
        points.iter().filter(|p| p.standing == Standing::Front).count()
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{title}\">\n",
        SIZE.0, SIZE.1
    );
    for (standing, opacity) in [(Standing::Excluded, 0.35), (Standing::Dominated, 0.75)] {
        let spots: BTreeSet<(i32, i32)> =
            points.iter().filter(|p| p.standing == standing && !p.is_key()).map(|p| frame.at(p)).collect();
        if spots.is_empty() {
            continue;
        }
        out.push_str("<path d=\"");
        for (x, y) in spots {
            let _ = write!(out, "M{x} {y}h0");
        }
        let _ = writeln!(
            out,
            "\" fill=\"none\" stroke=\"{DIM}\" stroke-width=\"12\" stroke-linecap=\"round\" opacity=\"{opacity}\"/>"
        );
    }
    out.push_str(body);
    let linked = |p: &&&Point| p.is_key() || points.len() <= MOST_LINKS;
    for point in points.iter().filter(linked) {
        let (x, y) = frame.at(point);
        let _ = writeln!(
            out,
            "<a href=\"#t{}\"><circle cx=\"{x}\" cy=\"{y}\" r=\"18\" fill=\"#000\" fill-opacity=\"0\"><title>{}</title></circle></a>",
            point.number,
            escape(&point.hover)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
