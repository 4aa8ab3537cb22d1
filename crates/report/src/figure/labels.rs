//! Placing labels next to points so that they do not overlap: first come, first served, in order of importance.

/// A box in the figure's pixels: left, top, right, bottom.
type Box4 = [i32; 4];

/// A label's place: the text's start (its left end, vertically its middle).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The text.
    pub text: String,
    /// Left end and vertical middle.
    pub at: (i32, i32),
}

/// A label to be placed.
#[derive(Clone, Debug)]
pub struct Label {
    /// The text.
    pub text: String,
    /// The point that it names.
    pub point: (i32, i32),
    /// Whether it is placed even where it lies on something.
    pub must: bool,
}

/// Places labels inside `frame`, of `size` pixels in height; those without a free place are left out, unless they must be there.
#[must_use]
pub fn place(labels: &[Label], obstacles: &[(i32, i32)], size: i32, frame: Box4) -> Vec<Placed> {
    let radius = size / 3;
    let mut taken: Vec<Box4> =
        obstacles.iter().map(|&(x, y)| [x - radius, y - radius, x + radius, y + radius]).collect();
    let mut placed = Vec::new();
    for Label { text, point: (x, y), must } in labels {
        let width = text.chars().count() as i32 * size * 11 / 20;
        let (gap, half) = (size * 5 / 6, size / 2);
        let choices = [
            (x + gap, *y),
            (x - gap - width, *y),
            (x - width / 2, y - gap - half),
            (x - width / 2, y + gap + half),
            (x + gap / 2, y - gap - half / 2),
            (x + gap / 2, y + gap + half / 2),
            (x - gap / 2 - width, y - gap - half / 2),
            (x - gap / 2 - width, y + gap + half / 2),
        ];
        let area = |&(left, middle): &(i32, i32)| [left, middle - half, left + width, middle + half];
        let free = choices
            .iter()
            .find(|c| inside(area(c), frame) && !taken.iter().any(|t| overlap(*t, area(c))))
            .or_else(|| choices.iter().find(|c| *must && inside(area(c), frame)))
            .copied();
        if let Some((left, middle)) = free {
            taken.push([left, middle - half, left + width, middle + half]);
            placed.push(Placed { text: text.clone(), at: (left, middle) });
        }
    }
    placed
}

fn overlap(a: Box4, b: Box4) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

fn inside(a: Box4, frame: Box4) -> bool {
    a[0] >= frame[0] && a[1] >= frame[1] && a[2] <= frame[2] && a[3] <= frame[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_avoid_points_and_one_another() {
        let label =
            |i: i32| Label { text: format!("label {i}"), point: (300 + i * 7, 300 + i * 5), must: false };
        let labels: Vec<Label> = (0..6).map(label).collect();
        let points: Vec<(i32, i32)> = labels.iter().map(|l| l.point).collect();
        let placed = place(&labels, &points, 20, [0, 0, 800, 600]);
        assert!(placed.len() >= 4, "{placed:?}");
        let boxes: Vec<Box4> = placed
            .iter()
            .map(|p| {
                let width = p.text.chars().count() as i32 * 11;
                [p.at.0, p.at.1 - 10, p.at.0 + width, p.at.1 + 10]
            })
            .collect();
        for (i, a) in boxes.iter().enumerate() {
            assert!(boxes[..i].iter().all(|b| !overlap(*a, *b)));
            assert!(points.iter().all(|&(x, y)| !overlap(*a, [x - 6, y - 6, x + 6, y + 6])));
        }
        let crowd: Vec<(i32, i32)> = (0..60).flat_map(|x| (0..60).map(move |y| (x * 12, y * 12))).collect();
        let must = [Label { must: true, ..label(1) }, label(2)];
        assert_eq!(place(&must, &crowd, 20, [0, 0, 800, 600]).len(), 1, "only what must be there");
    }
}
