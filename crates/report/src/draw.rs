//! One figure alone, as SVG or PNG, for papers, slides and READMEs.

use std::fmt::Write as _;
use std::sync::Arc;

use resvg::{tiny_skia, usvg};

use super::page::fronts_figure;
use super::{Analysis, ReportError, Result};

/// Pixels for each unit of the figure: 2240 by 1840, 300 dots an inch at 19 cm.
const SCALE: f32 = 2.0;
/// Height of the key above the figure, in its units.
const KEY: u32 = 60;
/// What a figure alone needs: a ground, since it may be shown on any, letters that stand out from the lines under them, and a key.
const STYLE: &str = "<style>text{font-family:\"Helvetica Neue\",Arial,\"Liberation Sans\",\"DejaVu Sans\",sans-serif;paint-order:stroke;stroke:#FFFFFF;stroke-width:7px;stroke-linejoin:round}</style>";
/// Marks of the key with their meaning, each at the origin.
const MARKS: [(&str, &str); 5] = [
    (r##"<circle r="10" fill="#0B62C4"/>"##, "on the front"),
    (r##"<rect x="-9" y="-9" width="18" height="18" fill="#B35000"/>"##, "preset (hollow: off it)"),
    (
        r##"<circle r="6" fill="#0B62C4"/><circle r="17" fill="none" stroke="#1F2328" stroke-width="3"/>"##,
        "recommended",
    ),
    (r##"<circle r="6" fill="#9AA4AF"/>"##, "dominated"),
    (
        r##"<path d="M0 -15V15M-6 -15H6M-6 15H6" fill="none" stroke="#0B62C4" stroke-width="2" opacity=".6"/>"##,
        "95 %",
    ),
];

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
    Ok(alone(&svg))
}

/// Puts ground, letters and key around a figure of the page.
fn alone(svg: &str) -> String {
    let Some((head, body)) = svg.split_once('>') else { return svg.to_owned() };
    let size =
        head.split("viewBox=\"0 0 ").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let (width, height) = size.split_once(' ').unwrap_or_default();
    let tall = height.parse::<u32>().unwrap_or_default() + KEY;
    let framed = head.replacen(&format!("0 0 {size}"), &format!("0 -{KEY} {width} {tall}"), 1);
    let mut key = String::new();
    let mut x = 34.0;
    for (mark, meaning) in MARKS {
        let _ = write!(
            key,
            "<g transform=\"translate({x:.0} -28)\">{mark}<text x=\"26\" y=\"8\" font-size=\"20\" fill=\"#1F2328\">{meaning}</text></g>"
        );
        // Letters of common fonts are about half as wide as they are high.
        x += 58.0 + 11.8 * meaning.chars().count() as f64;
    }
    format!("{framed}>{STYLE}<rect y=\"-{KEY}\" width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>{key}{body}")
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
    // Where sans-serif is not configured, a font of that name, else any.
    let names = || options.fontdb.faces().filter_map(|f| f.families.first().map(|f| f.0.clone()));
    let plain = |name: &String| name.ends_with("Sans") || name == "Arial" || name == "Helvetica";
    let family = names().find(plain).or_else(|| names().next());
    let sans = usvg::fontdb::Query { families: &[usvg::fontdb::Family::SansSerif], ..Default::default() };
    if let Some(family) = family.filter(|_| options.fontdb.query(&sans).is_none()) {
        Arc::make_mut(&mut options.fontdb).set_sans_serif_family(family);
    }
    let tree = usvg::Tree::from_str(&svg, &options).map_err(|e| failed(&e))?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| failed(&"it has no size"))?;
    let mut pixels =
        tiny_skia::Pixmap::new(size.width(), size.height()).ok_or_else(|| failed(&"it has no size"))?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_alone_has_ground_and_key() {
        let svg = alone("<svg xmlns=\"x\" viewBox=\"0 0 1120 860\" role=\"img\"><path/></svg>");
        assert!(svg.contains("viewBox=\"0 -60 1120 920\""), "{svg}");
        assert!(svg.contains("preset (hollow: off it)") && svg.ends_with("<path/></svg>"), "{svg}");
    }
}
