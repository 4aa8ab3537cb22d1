#![allow(unsafe_code, missing_docs)]
use autotune::quality::{sandbox::*, tasks};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let set = tasks::load(&a[1], 0).unwrap();
    let n: usize = a[2].parse().unwrap();
    let mut layers = probe();
    for o in &a[3..] {
        match o.as_str() {
            "noseccomp" => layers.seccomp = false,
            "nolandlock" => layers.landlock_abi = 0,
            "nons" => {
                layers.namespaces = false;
                layers.user_namespace = false
            }
            _ => {}
        }
    }
    let mut sb =
        Sandbox::with_layers(Settings { mode: Mode::Off, jobs: 1, ..Default::default() }, layers).unwrap();
    let samples = tasks::canonical_samples(&set).unwrap();
    let mut programs: Vec<_> =
        samples.iter().map(|s| tasks::program(&set.tasks[s.task], &s.completion)).collect();
    let one = programs.clone();
    while programs.len() < n * one.len() {
        programs.extend(one.clone());
    }
    sb.judge(&programs[..1]).unwrap();
    let cpu = || {
        let mut u: libc::rusage = unsafe { std::mem::zeroed() };
        let mut t = 0.0;
        for w in [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN] {
            unsafe { libc::getrusage(w, &mut u) };
            t += u.ru_utime.tv_sec as f64
                + u.ru_stime.tv_sec as f64
                + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) as f64 / 1e6;
        }
        t
    };
    let c0 = cpu();
    let t = std::time::Instant::now();
    let js = sb.judge(&programs).unwrap();
    let wall = t.elapsed().as_secs_f64();
    drop(sb);
    let c = cpu() - c0;
    let kids: f64 = js.iter().map(|j| j.cpu_ms).sum::<f64>() / 1e3;
    println!(
        "{:?}: {} passed of {}, wall {:.2} s ({:.0}/s), cpu {:.2} s = {:.2} ms each ({:.0}/s), children {:.2} ms",
        &a[3..],
        js.iter().filter(|j| j.verdict.is_pass()).count(),
        js.len(),
        wall,
        js.len() as f64 / wall,
        c,
        1e3 * c / js.len() as f64,
        js.len() as f64 / c,
        kids * 1e3 / js.len() as f64
    );
}
