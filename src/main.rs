//! The program. All of it is in the library, where tests and benchmarks reach its parts.

use std::process::ExitCode;

fn main() -> ExitCode {
    caffeine::run()
}
