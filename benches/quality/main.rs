//! How often the recommendation is right where the true qualities are known: `cargo bench --bench quality -- [STUDIES [FIRST_SEED]]` prints a table.
#![allow(clippy::print_stdout)]

mod simulation;

use simulation::{Tally, World, simulate};

fn main() {
    // `cargo test --benches` runs this too, without the flag: a few studies then.
    let usual = if std::env::args().any(|a| a == "--bench") { 400 } else { 4 };
    let mut numbers = std::env::args().skip(1).filter_map(|a| a.parse::<u64>().ok());
    let (studies, first_seed) = (numbers.next().unwrap_or(usual), numbers.next().unwrap_or(1));
    println!(
        "| {studies} studies each | tasks | called best within a point | off by, mean | non-dominated lost | lost by over a point | on the front (truly) |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (world, name) in [
        (World::Tells, "divergence tells"),
        (World::Misleads, "divergence misleads"),
        (World::OneImproves, "one truly improves"),
    ] {
        for tasks in [40, 80, 164] {
            let [before, after] = simulate(world, tasks, studies, first_seed);
            let both = |of: &dyn Fn(&Tally) -> f64, digits: usize, unit: &str| {
                format!("{:.digits$} → {:.digits$}{unit}", of(&before), of(&after))
            };
            let length = both(&|t| t.on_front as f64 / t.studies as f64, 1, " of 20");
            println!(
                "| {name} | {tasks} | {} | {} | {} | {} | {length} ({:.1}) |",
                both(&|t| 100.0 * t.best(), 0, " %"),
                both(&|t| t.distance / t.studies as f64, 1, " points"),
                both(&|t| 100.0 * t.lost(), 1, " %"),
                both(&|t| 100.0 * t.lost_by_a_point(), 1, " %"),
                after.non_dominated as f64 / after.studies as f64
            );
        }
    }
}
