//! Measures Caffeine: the descriptor round trip, dispatch, launches, parsers. One process, its own
//! harness; the clock is clock_gettime(2). Checks every answer and judges no timing.

mod child;
mod dispatch;
mod echo;
mod failure;
mod handler;
mod instructions;
mod launches;
mod machine;
mod options;
mod parsers;
mod pico;
mod reply;
mod roundtrip;
mod samples;
mod scratch;
mod server;
mod table;

use failure::Failure;
use options::{Command, Options, Section};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((instructions::WORD, rest)) = words.split_first().map(|(w, r)| (w.as_str(), r)) {
        return match instructions::parse(rest) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
    }
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("asm-free-bench: {why}; see --help");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("asm-free-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    // The other sections need no server, so none has to be built for them.
    let binary = if options.wants(Section::Dispatch) {
        Some(server::binary(options)?)
    } else {
        None
    };
    let scratch = scratch::Scratch::new()?;
    let handler = handler::Handler::install(&scratch)?;
    machine::print(options, binary.as_deref(), &handler);
    table::print_heading();
    if options.wants(Section::Parsers) {
        parsers::run(options)?;
        instructions::run()?;
    }
    if options.wants(Section::Launch) {
        launches::run(options, &handler)?;
    }
    if let Some(binary) = binary {
        dispatch::run(options, &binary, &scratch)?;
    }
    Ok(())
}
