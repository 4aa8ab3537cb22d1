//! One figure alone, as SVG or PNG, for papers, slides and READMEs.

use std::sync::Arc;

use resvg::{tiny_skia, usvg};

use super::page::fronts_figure;
use super::{Analysis, ReportError, Result};

/// Pixels for each unit of the figure: 2240 by 1720, 300 dots an inch at 19 cm.
const SCALE: f32 = 2.0;

/// The figure of two metrics; those of the study's objectives of speed and quality where none are named.
///
/// # Errors
/// No trial has both, or plotters fails.
pub fn figure_svg(analysis: &Analysis, x: Option<&str>, y: Option<&str>) -> Result<String> {
    let none = || {
        ReportError::Figure(
            "no trial has measured both metrics; `autotune trials --json` lists what was measured".into(),
        )
    };
    let svg = fronts_figure(analysis, x, y)?.ok_or_else(none)?;
    // Alone it needs a ground to stand on: it may be shown on any.
    Ok(svg.replacen('>', "><rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>", 1))
}

/// The same as PNG, with the system's fonts.
///
/// # Errors
/// As [`figure_svg`], or the figure cannot be rasterised.
pub fn figure_png(analysis: &Analysis, x: Option<&str>, y: Option<&str>) -> Result<Vec<u8>> {
    let svg = figure_svg(analysis, x, y)?;
    let failed = |e: &dyn std::fmt::Display| ReportError::Figure(format!("it cannot be rasterised: {e}"));
    let mut options = usvg::Options::default();
    Arc::make_mut(&mut options.fontdb).load_system_fonts();
    if options.fontdb.is_empty() {
        return Err(ReportError::Figure(
            "this machine has no fonts to write its labels with; install one (for example fonts-dejavu-core), or write svg".into(),
        ));
    }
    // Where nobody configured what sans-serif is, any font is better than none.
    let any = options.fontdb.faces().find_map(|f| f.families.first().map(|f| f.0.clone()));
    let sans = usvg::fontdb::Query { families: &[usvg::fontdb::Family::SansSerif], ..Default::default() };
    if let Some(family) = any.filter(|_| options.fontdb.query(&sans).is_none()) {
        Arc::make_mut(&mut options.fontdb).set_sans_serif_family(family);
    }
    let tree = usvg::Tree::from_str(&svg, &options).map_err(|e| failed(&e))?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| failed(&"it has no size"))?;
    let mut pixels =
        tiny_skia::Pixmap::new(size.width(), size.height()).ok_or_else(|| failed(&"it has no size"))?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| failed(&e))
}
