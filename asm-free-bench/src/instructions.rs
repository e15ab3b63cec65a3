//! Instructions of one parse, counted by callgrind (valgrind): they do not depend on what else the
//! machine is doing. This program runs itself under it, with two numbers of parses, and divides the
//! difference.

use crate::failure::Failure;
use crate::parsers::{BROWSER, CURL, LIMITS, MAX_FIELDS};
use caffeine::testing::http::{self, FieldStore, Progress};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::process::Command;

/// The word that makes this program parse and nothing else.
pub(crate) const WORD: &str = "--parse";

/// Without picohttpparser: valgrind 3.19 does not know all of its instructions (pcmpestri).
const PARSERS: [&str; 2] = ["http::parse", "httparse"];
const REQUESTS: [(&str, &[u8]); 2] = [("86 bytes, curl", CURL), ("703 bytes, browser", BROWSER)];
/// Parses of the longer run more than of the shorter one.
const PARSES: u64 = 1000;

/// Counts and prints; says so where valgrind is missing.
pub(crate) fn run() -> Result<(), Failure> {
    crate::table::print_section("instructions of one parse (callgrind)");
    for (index, (request, _)) in REQUESTS.iter().enumerate() {
        for parser in PARSERS {
            let Some(fewer) = count(parser, index, 1)? else {
                println!("valgrind is not installed: not counted");
                return Ok(());
            };
            let more = count(parser, index, 1 + PARSES)?.unwrap_or(fewer);
            let each = more.saturating_sub(fewer) / PARSES;
            let name = format!("{parser}, {request}");
            crate::table::print_rate(&name, &format!("{each} instructions"));
        }
    }
    Ok(())
}

/// The instructions of a whole run; `None` without valgrind.
fn count(parser: &str, request: usize, parses: u64) -> Result<Option<u64>, Failure> {
    let unable = |why: &dyn std::fmt::Display| Failure::unable("count instructions", why);
    let own = std::env::current_exe().map_err(|e| unable(&e))?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(own).args([WORD, parser]);
    valgrind.args([request.to_string(), parses.to_string()]);
    let output = match valgrind.output() {
        Ok(output) => output,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unable(&e)),
    };
    // "==PID== Collected : 123456"
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let number = line.and_then(|(_, number)| number.trim().parse().ok());
    match number.filter(|_| output.status.success()) {
        Some(number) => Ok(Some(number)),
        None => Err(unable(&text.trim())),
    }
}

/// The other side: `PARSER REQUEST PARSES`; false if one of them was not understood, or a parse wrong.
pub(crate) fn parse(words: &[String]) -> bool {
    let [parser, request, parses] = words else {
        return false;
    };
    let request = request.parse().ok().and_then(|n: usize| REQUESTS.get(n));
    let (Some((_, bytes)), Ok(parses)) = (request, parses.parse::<u64>()) else {
        return false;
    };
    let mut store = FieldStore::new();
    (0..parses).all(|_| {
        let bytes = black_box(*bytes);
        let length = match parser.as_str() {
            "http::parse" => match black_box(http::parse(bytes, &mut store, &LIMITS)) {
                Ok(Progress::Complete(head)) => head.length,
                _ => 0,
            },
            _ => httparse_length(bytes),
        };
        length == bytes.len()
    })
}

fn httparse_length(bytes: &[u8]) -> usize {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match black_box(request.parse_with_uninit_headers(bytes, &mut fields)) {
        Ok(httparse::Status::Complete(length)) => length,
        _ => 0,
    }
}
