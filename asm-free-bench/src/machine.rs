//! What the figures hold for: machine, kernel, commit, binary, handler.

use crate::handler::Handler;
use crate::options::Options;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Prints it above the table.
pub(crate) fn print(options: &Options, binary: Option<&Path>, handler: &Handler) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let arch = std::env::consts::ARCH;
    println!("machine   {}, {arch}, {cores} cores", cpu());
    println!("kernel    {}", kernel());
    println!("commit    {}", commit());
    if let Some(binary) = binary {
        println!("caffeine  {}", binary.display());
    }
    let bytes = fs::metadata(handler.path()).map_or(0, |file| file.len());
    println!("handler   {}, {bytes} bytes", handler.kind());
    println!(
        "rounds    {}, {} of launches and new connections",
        options.rounds,
        options.few_rounds()
    );
    println!();
}

/// The names that the architectures give the line in /proc/cpuinfo.
fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let (_, value) = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| found.trim() == name)?;
        Some(value.trim().to_owned())
    };
    ["model name", "Model", "Hardware", "uarch"]
        .into_iter()
        .find_map(value)
        .unwrap_or_else(|| "unknown CPU".to_owned())
}

fn kernel() -> String {
    said_by(Command::new("uname").args(["-s", "-r"])).unwrap_or_else(|| "unknown".to_owned())
}

/// `modified` where the folder is not what was committed.
fn commit() -> String {
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-C", env!("CARGO_MANIFEST_DIR")]).args(words);
        said_by(&mut command)
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => commit + ", modified",
    }
}

/// What a program prints, if it succeeds.
fn said_by(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
