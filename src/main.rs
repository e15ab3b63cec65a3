//! argv in, exit code out: 0, 1 when the system refused, 2 for a mistake in words or file.

use caffeine::cli::{self, Ask, Command};
use caffeine::parent::Inheritance;
use caffeine::sys::{fd, signal};
use caffeine::{command, controller, parent, worker};
use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all, since a number that is not taken is given to what is opened next. The standard
    // library has put /dev/null in the place of closed standard descriptors.
    let inherited = Inheritance::take();
    fd::close_all_but(&inherited.numbers());
    let code = match (signal::reset_inherited(), command::read()) {
        (Ok(()), Ok(command)) => act(command, inherited),
        (Err(e), _) => failed(1, &e),
        (_, Err(e)) => failed(2, &e),
    };
    ExitCode::from(code)
}

fn failed(code: u8, why: &dyn std::fmt::Display) -> u8 {
    eprintln!("caffeine: {why}");
    code
}

fn act(command: Command, inherited: Inheritance) -> u8 {
    let printed = match command {
        Command::Serve(settings) => {
            return parent::serve(*settings, inherited, worker::run, command::reread);
        }
        Command::Check(settings, mistakes) => {
            return command::check(&settings, &mistakes).unwrap_or_else(|e| failed(1, &e));
        }
        Command::Control(ask, settings) => {
            let answer = match ask {
                Ask::Status => controller::status(&settings.socket),
                Ask::Reload => controller::reload(&settings.socket, settings.pid_file.as_deref()),
                Ask::Stop => controller::stop(&settings.socket, settings.pid_file.as_deref()),
            };
            match answer {
                Ok(text) => command::print(&text),
                Err(e) => return failed(1, &e),
            }
        }
        Command::List => command::print(&controller::list()),
        Command::PrintLog(path) => command::print_log(&path),
        Command::Help => command::print(&cli::help::text()),
        Command::Version => command::print(cli::VERSION_LINE),
        Command::Man => command::print(&cli::man::text()),
        Command::Completions(shell) => command::print(&cli::completions::text(shell)),
    };
    printed.map_or_else(|e| failed(1, &e), |()| 0)
}
