//! Proves with a running server that idle, slow and vanishing clients do not cost anybody else
//! anything. This file sorts out in which of its three roles the program was started: it runs the
//! scenarios, is a process full of abusive clients, or is one of the handlers.

mod abuse;
mod abuser;
mod args;
mod brood;
mod handler;
mod http;
mod load;
mod pattern;
mod process;
mod scenario;
mod server;
mod sys;
mod table;

use std::process::ExitCode;

/// Whatever went wrong, in words: nothing here is handled, everything is shown.
type Error = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    if std::env::var_os("GATEWAY_INTERFACE").is_some() {
        return handler::run();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == abuser::ROLE) {
        return abuse::run(&words[1..]);
    }
    let options = match args::parse(&words) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("slow-clients: {why}");
            return ExitCode::from(2);
        }
    };
    let table = scenario::run_all(&options);
    table.print();
    if table.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
