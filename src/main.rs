//! The command: parse, dispatch, exit code.

fn main() -> std::process::ExitCode {
    autotune::cli::main()
}
