//! Logits that are NaN or infinite: a failure that says where, never a value.

use serde_json::json;

use crate::bench::Bench;

#[test]
fn a_candidate_whose_logits_are_nan_fails_and_says_where() {
    let bench = Bench::new(json!([["Q8_0", "nan-logits"]]));
    let said = bench.run_tune(&["--budget", "400MB", "--trials", "4"]).code(0);
    let trials = bench.trials();
    let failed = trials.iter().find(|t| t.origin.preset_name() == Some("Q8_0")).unwrap();
    assert_eq!(failed.state.to_string(), "failed");
    let failure = failed.failure.as_ref().unwrap();
    assert_eq!(failure.kind.name(), "not_a_number");
    assert!(failure.text.contains("logits of request 1 of a timed wave hold NaN"), "{}", failure.text);
    assert!(failure.text.contains("token 7 of the vocabulary"), "{}", failure.text);
    assert!(!failed.measurements.contains_key("kl_mean"), "nothing was measured");
    assert!(!said.stdout.contains("Q8_0"), "it is recommended:\n{}", said.stdout);
    let all = trials.iter().flat_map(|t| t.measurements.values());
    assert!(all.filter_map(|m| m.value).all(f64::is_finite));
}

#[test]
fn an_uncompressed_model_that_gives_nan_ends_the_study_with_a_sentence() {
    // The mock's reference is the configuration that asks for nothing.
    let bench = Bench::new(json!([["PerGroup([])", "nan-logits"]]));
    let said = bench.run_tune(&["--budget", "400MB", "--trials", "4"]).code(2);
    assert!(said.stderr.contains("the uncompressed model gives no numbers"), "{}", said.stderr);
    assert!(said.stderr.contains("at position") && said.stderr.contains("of window 1"), "{}", said.stderr);
    assert!(!said.stderr.contains("resume"), "a resume that can never work is advised:\n{}", said.stderr);
    assert!(!said.stderr.contains("damaged"), "{}", said.stderr);
    assert!(bench.trials().is_empty());
    let states = bench.run(&["studies", "--results", "results", "--json"]).code(0);
    assert!(states.stdout.contains("finished"), "{}", states.stdout);
}
