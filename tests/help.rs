//! What `--help` says, verbatim: it is the interface.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use assert_cmd::Command;

fn help(arguments: &[&str]) -> String {
    // Wrapped at 100 columns where there is no terminal, whatever the environment says of one.
    let mut command = Command::new(env!("CARGO_BIN_EXE_autotune"));
    let output = command.args(arguments).env_remove("COLUMNS").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn help_of_the_command() {
    insta::assert_snapshot!(help(&["--help"]), @r#"
    Find the compressed variants of a code language model that are worth running on this machine

    Usage: autotune [OPTIONS]
           autotune <COMMAND>

    Commands:
      tune         Search for the best variants under a memory budget (the default command)
      demo         Download a small model (SmolLM2-135M, 93 MB) and tune it
      resume       Continue the newest, or the named, study where it stopped
      probe        Show what this machine has and what it was measured to do
      doctor       Check this machine for what a study needs: each check with a verdict and a remedy
      plan         Predict what fits a budget, without loading the model
      bench        Measure a model as it is: speed with intervals, peak memory, load time
      convert      Convert a GGUF file to a Hugging Face model directory (safetensors), or the other way
      studies      List the studies of a database
      trials       List the trials of a study
      importance   Show parameter importance per objective of a study
      evaluate     Score the candidates that another program writes as JSON lines, with the evaluation
                   of `tune`
      compare      Compare two studies: fronts, hypervolumes, dominance
      report       Write the report of a study
      export       Export a trial: its model file, the measured figures, and the commands that run it
      validate     Check that a model is fit to be deployed on a class of machines; exit code 6 when it
                   is not
      salvage      Save what a damaged database still holds into a new one
      score        Grade code without tuning
      simulate     Search a recorded table instead of a model, to compare samplers
      completions  Print shell completions
      man          Print the manual page, or write one for each command
      help         Print this message or the help of the given subcommand(s)

    Options:
      -q, --quiet
              Print data and errors only, no progress

      -v, --verbose...
              Log what happens to standard error: -v stages and results, -vv also questions to the
              sampler, -vvv everything

          --log-file <FILE>
              Append the log to a file, with details (as -vv)

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Model and budget:
          --model <PATH>
              The model: a GGUF file, a Hugging Face model directory, or hf:owner/repo/file.gguf.
              Default: the demo model, where it is installed (`autotune demo` downloads it)

          --budget <SIZE>
              Hard limit on the measured peak memory, for example 8GB (10^9) or 8GiB (2^30). Default: 90
              % of the memory that `autotune probe` calls usable

          --workload <WORKLOAD>
              The load to optimise for, in requests that arrive together: chat is one user (512 prompt
              tokens, 128 output tokens, 1 request), agents is a few parallel callers (the same with 4
              requests), batch is offline processing (16 requests). Or PROMPT:OUTPUT:REQUESTS in tokens,
              with the length of a shared prompt prefix as a fourth number

              [default: 512:128:4]

          --max-latency <DURATION>
              The slowest acceptable median request latency, for example 80ms or 2s

          --min-tps <TOKENS_PER_S>
              The lowest acceptable decode speed of one sequence, in tokens per second, for example 20.
              Decode speed becomes a fourth objective

          --min-quality <QUALITY>
              The lowest acceptable quality: 0.95x of the uncompressed model's, or a value such as 0.4
              (with --quality kl the highest divergence)

          --max-energy <JOULES>
              The highest acceptable energy of an output token, for example 1.5J; needs a readable
              energy counter (`autotune probe`)

    What is searched:
          --space <SPACE>
              A preset's name (laptop, mobile, edge, desktop, server) or a TOML file

              [default: laptop]

          --sampler <NAME>
              How candidates are chosen

              [default: autotune]

          --seed <SEED>
              Seed of everything random

              [default: 1]

          --importance <SOURCE>
              Importance measure for pruning; gradient needs torch

              Possible values:
              - activation: Activations on calibration code, together with the weights
              - magnitude:  The weights alone
              - gradient:   The loss's gradients on calibration code

              [default: activation]

          --scaling <BY>
              Whether the channels of candidates are scaled before weights are rounded, which leaves the
              function as it is. Presets stay as they are

              Possible values:
              - activations: By activations on calibration code (AWQ)
              - none:        Not at all

              [default: activations]

          --recover <DURATION>
              Train every candidate that is pruned, or has weights of four bits or fewer, towards the
              reference for this long before it is quantized, for example 10m (needs torch). Presets
              stay as they are

          --recover-on <TEXT>
              Training text: the calibration code, or also text that the reference generates

              Possible values:
              - calibration: The calibration code
              - generated:   The calibration code, and continuations of its pieces that the reference
                writes

              [default: calibration]

          --calibration <FILE>
              A text file of calibration code in place of the shipped one

    Tasks and quality:
          --tasks <TASKS>
              Tasks to grade with: warmup (shipped), or a HumanEval-format .jsonl or .jsonl.gz

              [default: warmup]

          --task-limit <N>
              Grade with N of the tasks, spread evenly over the set (0: all)

              [default: 50]

          --quality <AXIS>
              Quality objective of the search, the front and the recommendation; all are measured

              Possible values:
              - pass@1:   Share of the tasks whose greedy answer passes the tests
              - pass@10:  Probability that one of ten sampled completions passes; needs --samples of at
                least 10
              - codebleu: Similarity of the greedy answers to the tasks' own solutions (sound rules)
              - kl:       Divergence of the predictions from the uncompressed model's

              [default: pass@1]

          --cost <AXIS>
              Cost objective of the search, the front and the recommendation; both are measured where
              they can be

              Possible values:
              - latency: Its median latency
              - energy:  Energy of an output token; only where this machine's energy can be read

              [default: latency]

          --samples <N>
              Also sample N completions per task, for pass@k with k up to N

              [default: 0]

          --temperature <T>
              Sampling temperature. Default: 0.8

          --top-p <P>
              Nucleus sampling: sample from the most likely tokens that hold this share of the
              probability. Default: 0.95

          --sandbox <SANDBOX>
              Which protection the sandbox must have before model-written code runs

              Possible values:
              - auto:   Every layer that this machine offers; refuse if there is none
              - strict: Refuse without all of landlock, seccomp and rlimits
              - off:    DANGEROUS: run untrusted code with this user's full rights where no layer is
                available

              [default: auto]

          --allow-unsandboxed
              DANGEROUS: the same as --sandbox off

    Time and trials:
          --time <DURATION>
              Start no trial after this long, for example 30m or 2h. Default: 11m30s, unless --trials is
              given

          --trials <N>
              Stop after this many trials that ran, presets included

          --rung-timeout <DURATION>
              Stop a stage (build, measure, grade) that takes longer than this

              [default: 30m]
              [alias: --stage-timeout]

          --timing-cap <DURATION>
              Spend at most this long on timing one candidate

              [default: 5s]

    Machine:
          --engine <ENGINE>
              The engine

              Possible values:
              - llama.cpp: The embedded llama.cpp
              - torch:     libtorch: floats, packed int8 and int4; on the processor or CUDA

              [default: llama.cpp]

          --device <DEVICE>
              Where the torch engine computes: cpu or cuda:0

              [default: cpu]

          --battery-wh <WH>
              Capacity of the battery that the model will run on, in watt-hours, to report the share of
              it that 1,000 tokens take

    Output:
          --json
              Print every event as a JSON line on stdout

          --results <FOLDER>
              The folder of the database and the artifacts

              [default: results]

          --reports <FOLDER>
              Where the report goes

              [default: reports]

    Exit codes: 0 done, 1 failure, 2 wrong input, 3 nothing fits, 4 the machine lacks something, 5 every
    trial failed, 6 a check of validate failed, 130 paused (autotune resume continues).
    "#);
}

#[test]
fn help_of_tune() {
    insta::assert_snapshot!(help(&["tune", "--help"]), @r#"
    Search for the best variants under a memory budget (the default command)

    Usage: autotune tune [OPTIONS]

    Options:
      -q, --quiet
              Print data and errors only, no progress

      -v, --verbose...
              Log what happens to standard error: -v stages and results, -vv also questions to the
              sampler, -vvv everything

          --log-file <FILE>
              Append the log to a file, with details (as -vv)

      -h, --help
              Print help (see a summary with '-h')

    Model and budget:
          --model <PATH>
              The model: a GGUF file, a Hugging Face model directory, or hf:owner/repo/file.gguf.
              Default: the demo model, where it is installed (`autotune demo` downloads it)

          --budget <SIZE>
              Hard limit on the measured peak memory, for example 8GB (10^9) or 8GiB (2^30). Default: 90
              % of the memory that `autotune probe` calls usable

          --workload <WORKLOAD>
              The load to optimise for, in requests that arrive together: chat is one user (512 prompt
              tokens, 128 output tokens, 1 request), agents is a few parallel callers (the same with 4
              requests), batch is offline processing (16 requests). Or PROMPT:OUTPUT:REQUESTS in tokens,
              with the length of a shared prompt prefix as a fourth number

              [default: 512:128:4]

          --max-latency <DURATION>
              The slowest acceptable median request latency, for example 80ms or 2s

          --min-tps <TOKENS_PER_S>
              The lowest acceptable decode speed of one sequence, in tokens per second, for example 20.
              Decode speed becomes a fourth objective

          --min-quality <QUALITY>
              The lowest acceptable quality: 0.95x of the uncompressed model's, or a value such as 0.4
              (with --quality kl the highest divergence)

          --max-energy <JOULES>
              The highest acceptable energy of an output token, for example 1.5J; needs a readable
              energy counter (`autotune probe`)

    What is searched:
          --space <SPACE>
              A preset's name (laptop, mobile, edge, desktop, server) or a TOML file

              [default: laptop]

          --sampler <NAME>
              How candidates are chosen

              [default: autotune]

          --seed <SEED>
              Seed of everything random

              [default: 1]

          --importance <SOURCE>
              Importance measure for pruning; gradient needs torch

              Possible values:
              - activation: Activations on calibration code, together with the weights
              - magnitude:  The weights alone
              - gradient:   The loss's gradients on calibration code

              [default: activation]

          --scaling <BY>
              Whether the channels of candidates are scaled before weights are rounded, which leaves the
              function as it is. Presets stay as they are

              Possible values:
              - activations: By activations on calibration code (AWQ)
              - none:        Not at all

              [default: activations]

          --recover <DURATION>
              Train every candidate that is pruned, or has weights of four bits or fewer, towards the
              reference for this long before it is quantized, for example 10m (needs torch). Presets
              stay as they are

          --recover-on <TEXT>
              Training text: the calibration code, or also text that the reference generates

              Possible values:
              - calibration: The calibration code
              - generated:   The calibration code, and continuations of its pieces that the reference
                writes

              [default: calibration]

          --calibration <FILE>
              A text file of calibration code in place of the shipped one

    Tasks and quality:
          --tasks <TASKS>
              Tasks to grade with: warmup (shipped), or a HumanEval-format .jsonl or .jsonl.gz

              [default: warmup]

          --task-limit <N>
              Grade with N of the tasks, spread evenly over the set (0: all)

              [default: 50]

          --quality <AXIS>
              Quality objective of the search, the front and the recommendation; all are measured

              Possible values:
              - pass@1:   Share of the tasks whose greedy answer passes the tests
              - pass@10:  Probability that one of ten sampled completions passes; needs --samples of at
                least 10
              - codebleu: Similarity of the greedy answers to the tasks' own solutions (sound rules)
              - kl:       Divergence of the predictions from the uncompressed model's

              [default: pass@1]

          --cost <AXIS>
              Cost objective of the search, the front and the recommendation; both are measured where
              they can be

              Possible values:
              - latency: Its median latency
              - energy:  Energy of an output token; only where this machine's energy can be read

              [default: latency]

          --samples <N>
              Also sample N completions per task, for pass@k with k up to N

              [default: 0]

          --temperature <T>
              Sampling temperature. Default: 0.8

          --top-p <P>
              Nucleus sampling: sample from the most likely tokens that hold this share of the
              probability. Default: 0.95

          --sandbox <SANDBOX>
              Which protection the sandbox must have before model-written code runs

              Possible values:
              - auto:   Every layer that this machine offers; refuse if there is none
              - strict: Refuse without all of landlock, seccomp and rlimits
              - off:    DANGEROUS: run untrusted code with this user's full rights where no layer is
                available

              [default: auto]

          --allow-unsandboxed
              DANGEROUS: the same as --sandbox off

    Time and trials:
          --time <DURATION>
              Start no trial after this long, for example 30m or 2h. Default: 11m30s, unless --trials is
              given

          --trials <N>
              Stop after this many trials that ran, presets included

          --rung-timeout <DURATION>
              Stop a stage (build, measure, grade) that takes longer than this

              [default: 30m]
              [alias: --stage-timeout]

          --timing-cap <DURATION>
              Spend at most this long on timing one candidate

              [default: 5s]

    Machine:
          --engine <ENGINE>
              The engine

              Possible values:
              - llama.cpp: The embedded llama.cpp
              - torch:     libtorch: floats, packed int8 and int4; on the processor or CUDA

              [default: llama.cpp]

          --device <DEVICE>
              Where the torch engine computes: cpu or cuda:0

              [default: cpu]

          --battery-wh <WH>
              Capacity of the battery that the model will run on, in watt-hours, to report the share of
              it that 1,000 tokens take

    Output:
          --json
              Print every event as a JSON line on stdout

          --results <FOLDER>
              The folder of the database and the artifacts

              [default: results]

          --reports <FOLDER>
              Where the report goes

              [default: reports]
    "#);
}

#[test]
fn every_command_explains_itself() {
    for command in [
        "resume",
        "probe",
        "plan",
        "studies",
        "trials",
        "report",
        "export",
        "score",
        "simulate",
        "importance",
        "evaluate",
        "completions",
    ] {
        let text = help(&[command, "--help"]);
        assert!(text.contains("Usage: autotune ") && text.contains("--quiet"), "{text}");
    }
    assert!(!help(&["--help"]).contains("worker"), "internal");
}
