//! The command line.

use crate::scenario::SCENARIOS;
use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
Usage: slow-clients [--short] [--seconds N] [--caffeine FILE] [SCENARIO ...]

Starts the server, abuses it, and prints one table. Scenarios are numbers or names:
  1 idle      10,000 idle keep-alive connections
  2 drip      1,000 heads that come byte by byte
  3 slow      200 slow uploads and 200 slow downloads
  4 external  slowhttptest in its four modes, if it is installed
  5 vanish    clients that leave at every possible point
  6 kill      workers that are killed at each phase
  7 streams   event streams and large slow downloads
  8 burst     more clients than workers, on a handler that sleeps
  9 torture   full load while processes are killed, stopped and left behind, the server is reloaded and upgraded
  10 lifecycle  20 reloads, an upgrade and the end under 500 requests a second

  --short          seconds in place of minutes; times are shown and not judged
  --seconds N      how long torture goes on [600, with --short 20]
  --without-upgrade  torture leaves SIGUSR2 out
  --caffeine FILE  the server [target/release/caffeine of this repository]

Exit status: 0 all as it should be, 1 not, 2 a mistake on the command line.
";

/// What is to be done.
pub struct Options {
    pub short: bool,
    pub caffeine: PathBuf,
    /// How long torture goes on, if that was said.
    pub seconds: Option<u64>,
    pub without_upgrade: bool,
    /// Indices into `SCENARIOS`.
    pub chosen: Vec<usize>,
}

impl Options {
    /// One number for a full run, one for a short one.
    pub fn pick<T>(&self, full: T, short: T) -> T {
        if self.short { short } else { full }
    }
}

fn default_server() -> PathBuf {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("release/caffeine")
}

fn scenario(word: &str) -> Option<usize> {
    SCENARIOS
        .iter()
        .enumerate()
        .position(|(index, scenario)| word == scenario.name || word.parse() == Ok(index + 1))
}

/// `None` if help was asked for.
pub fn parse(words: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options {
        short: false,
        caffeine: default_server(),
        seconds: None,
        without_upgrade: false,
        chosen: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--short" => options.short = true,
            "--without-upgrade" => options.without_upgrade = true,
            "--seconds" => {
                let seconds = words.next().and_then(|word| word.parse().ok());
                options.seconds = Some(seconds.ok_or("--seconds needs a number")?);
            }
            "--caffeine" => {
                let file = words.next().ok_or("--caffeine needs a file")?;
                options.caffeine = PathBuf::from(file);
            }
            word => {
                let index = scenario(word).ok_or(format!("unknown scenario {word}"))?;
                options.chosen.push(index);
            }
        }
    }
    if options.chosen.is_empty() {
        options.chosen = (0..SCENARIOS.len()).collect();
    }
    options.caffeine = options
        .caffeine
        .canonicalize()
        .map_err(|e| format!("{}: {e}", options.caffeine.display()))?;
    Ok(Some(options))
}
