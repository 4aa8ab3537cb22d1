//! What the user types and what is printed: arguments, one file per command, the printer, the exit codes.

pub mod args;
mod bench;
mod bounds;
mod budget;
mod compare;
mod completions;
mod convert;
mod database;
mod demo;
mod doctor;
mod evaluate;
mod export;
mod importance;
mod integrity;
mod interrupt;
mod live;
mod log;
mod man;
mod plan;
pub mod printer;
mod probe;
mod probe_sandbox;
mod progress;
mod report;
mod salvage;
mod score_codebleu;
mod score_passk;
mod scratch;
mod settings;
mod simulate;
mod studies;
mod trials;
mod tune;
mod validate;

use std::process::ExitCode;

use crate::exit::Exit;
use crate::host::limits;
use crate::worker::fault::told;
use args::{Cli, Command, ScoreCommand};
use printer::Printer;

/// Stack of the thread that works, in bytes: the main thread's is what `ulimit -s` leaves it, which may be too little to parse a line.
const STACK_BYTES: usize = 8 << 20;

/// Parses, runs the command, prints errors, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    match std::thread::Builder::new().name("main".to_owned()).stack_size(STACK_BYTES).spawn(command) {
        // The panic hook has printed the message; the process ends as after a panic of the main thread.
        Ok(thread) => thread.join().unwrap_or_else(|_| ExitCode::from(101)),
        Err(_) => command(),
    }
}

fn command() -> ExitCode {
    let cli = match Cli::parse_line() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help to stdout and errors to stderr by itself; a closed pipe is no failure.
            let printed = error.print();
            let full = printed.is_err_and(|e| e.kind() != std::io::ErrorKind::BrokenPipe);
            let exit = match error.use_stderr() {
                true => Exit::Usage,
                false if full => Exit::Environment,
                false => Exit::Success,
            };
            return exit.into();
        }
    };
    limits::prepare();
    let mut printer = Printer::new(cli.quiet).with_plain(cli.verbose > 0);
    let logged = log::begin(cli.verbose, cli.log_file.as_deref()).map_err(anyhow::Error::from);
    let ended = logged.and_then(|()| check_limits(&cli, &printer)).and_then(|()| run(cli, &mut printer));
    match &ended {
        Ok(exit) => tracing::info!(code = *exit as u8, "autotune ended"),
        Err(error) => tracing::error!(code = Exit::of(error) as u8, "{}", told(error)),
    }
    match ended {
        Ok(Exit::Success) if printer.has_failed() => Exit::Environment.into(),
        Ok(exit) => exit.into(),
        Err(error) => {
            printer.error(&told(&error));
            Exit::of(&error).into()
        }
    }
}

/// Refuses to begin what this process has not the files or threads for, before anything is made; says which limits may end it later.
fn check_limits(cli: &Cli, printer: &Printer) -> anyhow::Result<()> {
    let jobs = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    let (jobs, lasts) = match &cli.command {
        None | Some(Command::Tune(_) | Command::Demo(_) | Command::Resume(_) | Command::Evaluate(_)) => {
            (jobs, true)
        }
        Some(Command::Validate(_)) => (jobs, false),
        Some(Command::Score(ScoreCommand::Passk(args))) => {
            // A number of jobs out of range is wrong input, whatever the limits are.
            let given = score_passk::jobs(args.jobs)?;
            (u32::try_from(given).ok().filter(|&n| n > 0).unwrap_or(jobs), false)
        }
        Some(Command::Bench(_)) => (0, false),
        Some(_) => return Ok(()),
    };
    limits::check(jobs).map_err(|e| crate::exit::Expected::environment(e.to_string()))?;
    for text in limits::remarks().into_iter().filter(|_| lasts) {
        printer.remark(&text);
    }
    Ok(())
}

fn run(cli: Cli, printer: &mut Printer) -> anyhow::Result<Exit> {
    match cli.command.unwrap_or(Command::Tune(Box::new(cli.tune))) {
        Command::Tune(args) => tune::tune(&args, printer),
        Command::Demo(args) => demo::run(&args, printer),
        Command::Doctor(args) => doctor::run(&args, printer),
        Command::Resume(args) => tune::resume(&args, printer),
        Command::Probe(args) => probe::run(&args, printer),
        Command::Plan(args) => plan::run(&args, printer),
        Command::Bench(args) => bench::run(&args, printer),
        Command::Convert(args) => convert::run(&args, printer),
        Command::Evaluate(args) => evaluate::run(&args, printer),
        Command::Importance(args) => importance::run(&args, printer),
        Command::Studies(args) => studies::run(&args, printer),
        Command::Trials(args) => trials::run(&args, printer),
        Command::Compare(args) => compare::run(&args, printer),
        Command::Salvage(args) => salvage::run(&args, printer),
        Command::Report(args) => report::run(&args, printer),
        Command::Export(args) => export::run(&args, printer),
        Command::Validate(args) => validate::run(&args, printer),
        Command::Score(ScoreCommand::Passk(args)) => score_passk::run(&args, printer),
        Command::Score(ScoreCommand::Codebleu(args)) => score_codebleu::run(&args, printer),
        Command::Simulate(args) => simulate::run(&args, printer),
        Command::Completions { shell } => completions::run(shell, printer),
        Command::Man(args) => man::run(&args, printer),
        Command::Worker => {
            let done = crate::worker::serve::run(crate::engine::EngineKind::open, None);
            Ok(if done { Exit::Success } else { Exit::Failure })
        }
    }
}
