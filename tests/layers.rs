//! Reads the source and fails on an arrow that points upwards between its layers, or between the
//! files of one layer.
//!
//! It looks at text, not at types: `use` lines and paths in the non-test part of each file.
//! Refuses to judge style; that is rustfmt's and clippy's work. What it checks:
//!
//! - a module uses layers below its own only, `parent` and `worker` never each other;
//! - inside `parent`, `worker` and `sys` a file uses those below it only, so no files use each other in a circle;
//! - the pure layers touch no system call, file, process, socket or clock;
//! - `unsafe` and `libc` stand in `src/sys/` only, `sc` in `src/sys/raw.rs` only;
//! - each file opens with `//!`. One with more than 400 lines before its tests is only named.

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at what it does not expect"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from top to bottom; those in one row do not use each other.
const LAYERS: &[&[&str]] = &[
    &["main", "lib", "testing"],
    &["command"],
    &["controller"],
    &["cli"],
    &["parent"],
    &["worker"],
    &["birth"],
    &["doctor"],
    &["channel", "route"],
    &["cgi"],
    &["http"],
    &["instance"],
    &["log", "scoreboard"],
    &["settings"],
    &["limits", "calendar", "program", "text"],
    &["sys"],
];

/// The files of a folder from top to bottom; those in one row do not use each other.
///
/// A name stands for a file, or for a folder with all that is in it and that no longer name stands for:
/// `relay::state` is `relay/state.rs`. `mod` is the folder's `mod.rs`, and whoever uses an item that it
/// defines or passes on uses `mod`. A folder in a folder may have rows of its own (`parent::workers`).
/// Of a folder without rows nothing inside is checked.
const INSIDE: &[(&str, &[&[&str]])] = &[
    (
        "parent",
        &[
            &["mod"],
            &["turn", "reload"],
            &[
                "lifecycle",
                "serving",
                "accepting",
                "commands",
                "status",
                "upgrading",
            ],
            &["start"],
            &["server"],
            &["daemon"],
            &["upgrade"],
            // Owners that do not know each other.
            &["connections", "workers", "control", "listeners"],
            &["privilege", "resolve", "inheritance"],
            &["token"],
            &["context"],
            &["life", "error"],
        ],
    ),
    (
        "parent::connections",
        &[
            &["mod"],
            &["verdicts", "stalled"],
            &["parking", "transfer"],
            &["queue", "ending"],
            &["spools"],
            &["owner"],
            &["table", "wheel", "admission"],
            &["account"],
            &["fate", "canned"],
            &["state"],
        ],
    ),
    (
        "parent::workers",
        &[
            &["mod"],
            &["birth", "death", "rest", "watchdog", "sweep"],
            &["owner"],
            &["pool", "orphans"],
            &["duty", "edition", "pace"],
        ],
    ),
    (
        "parent::upgrade",
        &[
            &["mod"],
            &["forward", "backward"],
            &["owner"],
            &["successor", "predecessor"],
            &["records", "program"],
        ],
    ),
    (
        "parent::listeners",
        &[&["mod"], &["change"], &["owner"], &["socket"]],
    ),
    ("parent::control", &[&["mod"], &["notify"]]),
    (
        "worker",
        &[
            &["mod"],
            &["rest"],
            &["exchange"],
            &["redirect"],
            &["call"],
            &["context", "ending"],
            &["relay::run"],
            &["relay::client"],
            &["relay::deadlines"],
            &["relay"],
            &["plan", "detached"],
            &["confine", "released", "body", "answer", "response"],
            &[
                "launch_failure",
                "feed",
                "outlet",
                "request",
                "response::facts",
            ],
            &[
                "large_body",
                "turn",
                "input",
                "progress",
                "stderr",
                "process_tree",
                "receipt",
            ],
            &["spool", "client", "date", "buffer", "root"],
        ],
    ),
    (
        "sys",
        &[
            &["mod"],
            &["launch", "descendants", "passing", "beneath"],
            &["confine", "proc", "teardown", "privilege", "readiness"],
            &["signal", "socket"],
            &["file", "memory", "machine", "exec", "random"],
            &["fd"],
            &["poll", "process", "address"],
            &["call", "raw", "time"],
            &["fault"],
            &["errno", "platform"],
        ],
    ),
];

/// Values in, values out: these use nothing but each other.
const PURE: &[&str] = &[
    "cli", "cgi", "http", "settings", "limits", "calendar", "program", "text",
];

/// Arrows that point downwards and still are not wanted.
const NEVER: &[(&str, &str, &str)] = &[
    (
        "parent",
        "worker",
        "they meet through channel and scoreboard",
    ),
    ("cli", "cgi", "cli knows settings and limits only"),
    ("cli", "http", "cli knows settings and limits only"),
];

/// What a pure layer may not name, as the beginning of a path.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os::fd",
    "std::os::linux",
    "std::os::unix::fs",
    "std::os::unix::io",
    "std::os::unix::net",
    "std::os::unix::process",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "Instant::now",
    "SystemTime::now",
];

/// A file that is longer may hold two things.
const MANY_LINES: usize = 400;

/// One word or sign of the source and the line on which it stands.
#[derive(Clone, Debug)]
struct Token {
    line: usize,
    text: String,
}

/// A path with its braces expanded: `crate::{a::b, c}` is two of them.
#[derive(Debug)]
struct NamedPath {
    line: usize,
    parts: Vec<String>,
}

/// The source with comments, strings and characters blanked out, line breaks kept.
fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let end = end_of_text(&chars, i);
        if end == i {
            out.push(chars[i]);
            i += 1;
            continue;
        }
        for &c in &chars[i..end.min(chars.len())] {
            out.push(if c == '\n' { '\n' } else { ' ' });
        }
        i = end;
    }
    out
}

/// Where the comment or literal that begins at `i` ends; `i` itself if none begins there.
fn end_of_text(chars: &[char], i: usize) -> usize {
    let at = |k: usize| chars.get(k).copied().unwrap_or('\0');
    let in_word = i > 0 && is_word(at(i - 1));
    match at(i) {
        '/' if at(i + 1) == '/' => find(chars, i, "\n"),
        '/' if at(i + 1) == '*' => end_of_block_comment(chars, i),
        '"' => end_of_quoted(chars, i, '"'),
        'b' | 'c' if !in_word && at(i + 1) == '"' => end_of_quoted(chars, i + 1, '"'),
        'b' if !in_word && at(i + 1) == '\'' => end_of_quoted(chars, i + 1, '\''),
        'b' | 'c' if !in_word && at(i + 1) == 'r' => end_of_raw(chars, i, i + 2),
        'r' if !in_word => end_of_raw(chars, i, i + 1),
        // A character, not a lifetime.
        '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => end_of_quoted(chars, i, '\''),
        _ => i,
    }
}

fn find(chars: &[char], from: usize, needle: &str) -> usize {
    let needle: Vec<char> = needle.chars().collect();
    (from..chars.len())
        .find(|&k| chars[k..].starts_with(&needle))
        .unwrap_or(chars.len())
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = start;
    while i < chars.len() {
        if chars[i..].starts_with(&['/', '*']) {
            depth += 1;
            i += 2;
        } else if chars[i..].starts_with(&['*', '/']) {
            depth -= 1;
            i += 2;
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
    i
}

fn end_of_quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// `start` is the literal's first character, `mark` the one behind its `r`.
fn end_of_raw(chars: &[char], start: usize, mark: usize) -> usize {
    let hashes = chars[mark.min(chars.len())..]
        .iter()
        .take_while(|&&c| c == '#')
        .count();
    if chars.get(mark + hashes) != Some(&'"') {
        return start;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    (find(chars, mark + hashes + 1, &close) + close.len()).min(chars.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words, `::` and single signs.
fn tokens(code: &str) -> Vec<Token> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let chars: Vec<char> = line.chars().collect();
        let mut i = 0;
        while i < chars.len() {
            let length = if is_word(chars[i]) {
                chars[i..].iter().take_while(|&&c| is_word(c)).count()
            } else if chars[i..].starts_with(&[':', ':']) {
                2
            } else {
                1
            };
            let text: String = chars[i..i + length].iter().collect();
            i += length;
            if text.trim().is_empty() {
                continue;
            }
            found.push(Token {
                line: number + 1,
                text,
            });
        }
    }
    found
}

/// Every path, with groups expanded.
fn paths(tokens: &[Token]) -> Vec<NamedPath> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        // `pub(super)` and `pub(in crate::sys)` say who may use it, and use nothing.
        if is_visibility(tokens, i) {
            i = take_path(tokens, i, &[], &mut Vec::new());
        } else if tokens[i].text.starts_with(is_word) {
            i = take_path(tokens, i, &[], &mut found);
        } else {
            i += 1;
        }
    }
    found
}

fn is_visibility(tokens: &[Token], i: usize) -> bool {
    let before = |n: usize| i.checked_sub(n).map_or("", |k| &tokens[k].text);
    match before(1) {
        "in" => before(2) == "(",
        "(" => before(2) == "pub",
        _ => false,
    }
}

/// The modules with a body in the file: their names and lines.
fn inline_modules(tokens: &[Token]) -> Vec<(String, usize, usize)> {
    let is = |k: usize, text: &str| tokens.get(k).is_some_and(|token| token.text == text);
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        if token.text != "mod" || !is(i + 2, "{") {
            continue;
        }
        let mut depth = 0_usize;
        for end in &tokens[i + 2..] {
            match end.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                found.push((tokens[i + 1].text.clone(), token.line, end.line));
                break;
            }
        }
    }
    found
}

/// Takes the path that begins at `i` below `prefix`; says where it ends.
fn take_path(tokens: &[Token], i: usize, prefix: &[String], found: &mut Vec<NamedPath>) -> usize {
    let is = |k: usize, text: &str| tokens.get(k).is_some_and(|t| t.text == text);
    let mut parts = prefix.to_vec();
    let mut k = i;
    loop {
        parts.push(tokens[k].text.clone());
        k += 1;
        if !is(k, "::") {
            break;
        }
        k += 1;
        if is(k, "{") {
            return take_group(tokens, k + 1, &parts, found);
        }
        if !tokens.get(k).is_some_and(|t| t.text.starts_with(is_word)) {
            break;
        }
    }
    found.push(NamedPath {
        line: tokens[i].line,
        parts,
    });
    k
}

fn take_group(
    tokens: &[Token],
    start: usize,
    parts: &[String],
    found: &mut Vec<NamedPath>,
) -> usize {
    let mut k = start;
    while k < tokens.len() && tokens[k].text != "}" {
        if tokens[k].text.starts_with(is_word) {
            k = take_path(tokens, k, parts, found);
        } else {
            k += 1;
        }
    }
    k + 1
}

/// The file up to its tests: up to `#[cfg(test)]` before a `mod` with a body.
fn without_tests(source: &str) -> &str {
    let mut at = 0;
    let mut pending: Option<usize> = None;
    for line in source.split_inclusive('\n') {
        let text = line.trim();
        if line.starts_with("#[cfg(test)]") {
            pending = Some(at);
        } else if let Some(cut) = pending
            && !text.starts_with("#[")
        {
            if text.starts_with("mod ") && text.ends_with('{') {
                return &source[..cut];
            }
            pending = None;
        }
        at += line.len();
    }
    source
}

/// The path of modules that `file`, relative to `src/`, stands for.
fn module_of(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> = file
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if parts.len() > 1 && parts.last().is_some_and(|name| name == "mod") {
        parts.pop();
    }
    parts
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// What a path in the module `own` names, from the crate's root on. `None`: nothing of this crate,
/// as far as the text tells.
fn resolve(path: &NamedPath, own: &[String]) -> Option<Vec<String>> {
    let parts = &path.parts;
    let is_top = own.len() == 1 && (own[0] == "main" || own[0] == "lib");
    let (above, behind) = match parts.first()?.as_str() {
        "crate" => (0, 1),
        "caffeine" if own[0] == "main" => (0, 1),
        "self" if is_top => (0, 1),
        "self" => (own.len(), 1),
        "super" => {
            let ups = parts.iter().take_while(|part| *part == "super").count();
            (own.len().checked_sub(ups)?, ups)
        }
        _ if parts.len() < 2 => return None,
        // A module in a folder of this file's name, used without a word before it.
        _ => (own.len(), 0),
    };
    Some([&own[..above], &parts[behind..]].concat())
}

/// The module of this crate that `path` names, if it leaves `own`.
fn target_of(path: &NamedPath, own: &[String]) -> Option<String> {
    let begins = path.parts.first()?.as_str();
    if !matches!(begins, "crate" | "caffeine" | "super" | "self") {
        return None;
    }
    let named = resolve(path, own)?;
    let named = named.first().filter(|first| **first != own[0]);
    named.cloned()
}

/// Place and name of a module among the rows of a folder: the longest name that stands for it.
fn row_of<'t>(rows: &[&[&'t str]], inside: &[String]) -> Option<(usize, &'t str)> {
    (1..=inside.len()).rev().find_map(|length| {
        let name = inside[..length].join("::");
        rows.iter().enumerate().find_map(|(row, names)| {
            let found = names.iter().find(|known| **known == name)?;
            Some((row, *found))
        })
    })
}

/// Why a file may not use another one of its folder, for every folder with rows that both are in.
fn wrong_arrow_inside(path: &NamedPath, own: &[String]) -> Option<String> {
    let named = resolve(path, own)?;
    let is_relative = !matches!(path.parts[0].as_str(), "crate" | "super" | "self");
    INSIDE.iter().find_map(|(folder, rows)| {
        let folder_parts: Vec<String> = folder.split("::").map(str::to_owned).collect();
        let from = own.strip_prefix(&folder_parts[..])?;
        let to = named.strip_prefix(&folder_parts[..])?;
        let (above, from) = row_of(rows, from).unwrap_or((0, "mod"));
        let (below, to) = match row_of(rows, to) {
            Some(found) => found,
            None if is_relative => return None,
            None => (0, "mod"),
        };
        (from != to && above >= below)
            .then(|| format!("{folder}::{from} uses {folder}::{to}, which is not below it"))
    })
}

/// True if the file stands in a folder with rows, and in none of them.
fn is_in_no_row(own: &[String]) -> bool {
    INSIDE.iter().any(|(folder, rows)| {
        let folder: Vec<String> = folder.split("::").map(str::to_owned).collect();
        let inside = own.strip_prefix(&folder[..]);
        inside.is_some_and(|inside| !inside.is_empty() && row_of(rows, inside).is_none())
    })
}

/// Why `from` may not use `to`; `None` if it may.
fn wrong_arrow(from: &str, to: &str) -> Option<String> {
    if from == to || rank(from) == Some(0) {
        return None;
    }
    let Some(below) = rank(to) else {
        return Some(format!("{to} is in no layer of tests/layers.rs"));
    };
    let Some(above) = rank(from) else {
        return Some(format!("{from} is in no layer of tests/layers.rs"));
    };
    if let Some((.., why)) = NEVER.iter().find(|(a, b, _)| *a == from && *b == to) {
        return Some(format!("{from} uses {to}: {why}"));
    }
    if PURE.contains(&from) && !PURE.contains(&to) {
        return Some(format!("{from} is pure and uses {to}"));
    }
    if above >= below {
        return Some(format!("{from} uses {to}, which is not below it"));
    }
    None
}

/// True if `path` is `beginning` or below it.
fn begins_with(path: &NamedPath, beginning: &str) -> bool {
    let wanted: Vec<&str> = beginning.split("::").collect();
    path.parts.len() >= wanted.len() && path.parts.iter().zip(&wanted).all(|(a, b)| a == b)
}

/// Everything wrong with one file, as `file:line: what`. `file` is relative to `src/`.
fn violations(file: &str, source: &str) -> Vec<String> {
    let own = module_of(Path::new(file));
    let mut found: Vec<(usize, String)> = Vec::new();
    if !source.starts_with("//!") {
        found.push((1, "does not open with //!".to_owned()));
    }
    if is_in_no_row(&own) {
        found.push((1, "is in no row of tests/layers.rs".to_owned()));
    }
    found.extend(arrows(&own, without_tests(source)));
    found.extend(forbidden_words(file, source));
    found.sort();
    found.dedup();
    found
        .into_iter()
        .map(|(line, what)| format!("src/{file}:{line}: {what}"))
        .collect()
}

/// Wrong arrows and, in a pure layer, names of the outside world.
fn arrows(own: &[String], source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let tokens = tokens(&code_only(source));
    let inline = inline_modules(&tokens);
    for path in paths(&tokens) {
        let around = inline
            .iter()
            .filter(|(_, from, to)| (*from..=*to).contains(&path.line));
        let mut own = own.to_vec();
        own.extend(around.map(|(name, ..)| name.clone()));
        if let Some(why) = target_of(&path, &own).and_then(|to| wrong_arrow(&own[0], &to)) {
            found.push((path.line, why));
        }
        if let Some(why) = wrong_arrow_inside(&path, &own) {
            found.push((path.line, why));
        }
        if !PURE.contains(&own[0].as_str()) {
            continue;
        }
        if let Some(name) = IMPURE.iter().find(|name| begins_with(&path, name)) {
            found.push((path.line, format!("{} is pure and names {name}", own[0])));
        }
    }
    found
}

/// `unsafe`, `libc` and `sc` where they do not belong, tests included.
fn forbidden_words(file: &str, source: &str) -> Vec<(usize, String)> {
    let tokens = tokens(&code_only(source));
    let in_sys = file.starts_with("sys/") || file == "sys.rs";
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let is = |k: Option<usize>, text: &str| {
            k.and_then(|k| tokens.get(k))
                .is_some_and(|t| t.text == text)
        };
        let before = i.checked_sub(1);
        let wrong = match token.text.as_str() {
            "unsafe" | "libc" => !in_sys && !is(before, "."),
            "sc" if is(Some(i + 1), "::") && !is(before, "::") || is(before, "use") => {
                file != "sys/raw.rs"
            }
            _ => false,
        };
        if wrong {
            let place = if token.text == "sc" {
                "src/sys/raw.rs"
            } else {
                "src/sys/"
            };
            found.push((token.line, format!("{} outside {place}", token.text)));
        }
    }
    found
}

/// Every Rust file below `folder`, relative to `root`, in order.
fn rust_files(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() {
            found.extend(rust_files(root, &path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path.strip_prefix(root).expect("below src").to_path_buf());
        }
    }
    found.sort();
    found
}

#[test]
fn no_arrow_points_upwards_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&root, &root);
    assert!(files.len() > 5, "found only {files:?}");
    note_long_files(&root, &files);
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let source = fs::read_to_string(root.join(file)).expect("a readable source file");
            violations(&file.to_string_lossy(), &source)
        })
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Length alone is no fault: whoever reads this judges.
fn note_long_files(root: &Path, files: &[PathBuf]) {
    for file in files {
        let source = fs::read_to_string(root.join(file)).expect("a readable source file");
        let lines = without_tests(&source).lines().count();
        if lines > MANY_LINES {
            println!(
                "note: src/{}: {lines} lines before the tests",
                file.display()
            );
        }
    }
}

/// The log, the Date field of workers, and that of the parent's own answers. Everything else waits
/// by the monotonic clock: a step of the time of day must not end or prolong a wait.
const TIME_OF_DAY: &[&str] = &[
    "log.rs",
    "parent/connections/canned.rs",
    "worker/date.rs",
    "sys/time.rs",
];

#[test]
fn nothing_but_the_log_and_dates_knows_the_time_of_day() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for file in rust_files(&root, &root) {
        let source = fs::read_to_string(root.join(&file)).expect("a readable source file");
        let names = ["unix_ms", "SystemTime", "CLOCK_REALTIME"];
        let words = tokens(&code_only(without_tests(&source)));
        let is_named = words.iter().any(|word| names.contains(&&*word.text));
        let name = file.to_string_lossy().into_owned();
        if is_named && !TIME_OF_DAY.contains(&&*name) {
            found.push(name);
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

/// File, a line in it, what is to be said about it.
const PLANTED: &[(&str, &str, &str)] = &[
    (
        "http/head.rs",
        "use crate::sys::Fd;",
        "http is pure and uses sys",
    ),
    (
        "http/head.rs",
        "use crate::cgi::Env;",
        "http uses cgi, which is not below",
    ),
    ("http/head.rs", "use std::fs;", "names std::fs"),
    ("http/head.rs", "use std::{io, fs::File};", "names std::fs"),
    (
        "http/date.rs",
        "fn f() { let t = SystemTime::now(); }",
        "names SystemTime::now",
    ),
    (
        "cli/argv.rs",
        "use std::net::{IpAddr, TcpStream};",
        "names std::net::TcpStream",
    ),
    ("cli/argv.rs", "use crate::http::Head;", "cli uses http"),
    (
        "cli/argv.rs",
        "use crate::parent;",
        "cli is pure and uses parent",
    ),
    (
        "parent/mod.rs",
        "use crate::worker::run;",
        "parent uses worker",
    ),
    (
        "worker/relay.rs",
        "use crate::parent::Pool;",
        "worker uses parent",
    ),
    (
        "worker/relay.rs",
        "fn f() { crate::parent::stop(); }",
        "worker uses parent",
    ),
    (
        "worker/mod.rs",
        "use super::parent::Pool;",
        "worker uses parent",
    ),
    (
        "worker/relay.rs",
        "use super::super::parent;",
        "worker uses parent",
    ),
    (
        "worker/relay.rs",
        "use crate::{sys, log, parent::{Pool, Lot}};",
        "worker uses parent",
    ),
    ("channel.rs", "use super::worker;", "channel uses worker"),
    ("route.rs", "use crate::channel;", "route uses channel"),
    (
        "limits.rs",
        "use crate::settings::Settings;",
        "limits uses settings",
    ),
    ("sys/fd.rs", "use crate::limits;", "sys uses limits"),
    (
        "worker/mod.rs",
        "use crate::util::x;",
        "util is in no layer",
    ),
    ("util.rs", "use crate::sys;", "util is in no layer"),
    ("route.rs", "fn f() { unsafe { g() } }", "unsafe outside"),
    ("route.rs", "fn f() { libc::getpid(); }", "libc outside"),
    ("route.rs", "use libc::c_int;", "libc outside"),
    (
        "sys/fd.rs",
        "use super::signal;",
        "sys::fd uses sys::signal, which is not below it",
    ),
    (
        "parent/connections/queue.rs",
        "use crate::parent::workers::Workers;",
        "parent::connections uses parent::workers",
    ),
    (
        "parent/workers/rest.rs",
        "use crate::parent::server::Parent;",
        "parent::workers uses parent::server",
    ),
    (
        "parent/workers/pool.rs",
        "use super::owner::Workers;",
        "parent::workers::pool uses parent::workers::owner",
    ),
    (
        "worker/context.rs",
        "use super::call::Call;",
        "worker::context uses worker::call",
    ),
    (
        "worker/relay.rs",
        "fn f() { client::hear() }",
        "worker::relay uses worker::relay::client",
    ),
    (
        "worker/relay/deadlines.rs",
        "use crate::worker::relay::run::turn;",
        "worker::relay::deadlines uses worker::relay::run",
    ),
    (
        "sys/fault/table.rs",
        "fn f() { crate::sys::process::exit_now(2) }",
        "sys::fault uses sys::process",
    ),
    (
        "sys/fd.rs",
        "use super::{Errno, Error};",
        "sys::fd uses sys::mod",
    ),
    (
        "sys/signal.rs",
        "use super::socket;",
        "sys::signal uses sys::socket",
    ),
    (
        "sys/confine.rs",
        "mod landlock { use super::super::launch::Plan; }",
        "sys::confine uses sys::launch",
    ),
    ("sys/fd.rs", "use sc::syscall;", "sc outside"),
    (
        "sys/fd.rs",
        "fn f() { sc::syscall!(GETPID); }",
        "sc outside",
    ),
];

#[test]
fn planted_violations_are_found_with_their_line() {
    for (file, line, wanted) in PLANTED {
        let found = violations(file, &format!("//! One job.\n\n{line}\n"));
        assert!(
            found
                .iter()
                .any(|v| v.contains(wanted) && v.starts_with(&format!("src/{file}:3:"))),
            "{file}: {line}: wanted '{wanted}', found {found:?}"
        );
    }
}

/// File and source in which nothing is wrong.
const HARMLESS: &[(&str, &str)] = &[
    ("main.rs", "use caffeine::{cli, parent};\nfn main() {}"),
    ("lib.rs", "pub mod cli;\npub use crate::sys::Error;"),
    (
        "cli/argv.rs",
        "use crate::settings::Settings;\nuse std::net::IpAddr;\nuse super::table;",
    ),
    (
        "cli/argv.rs",
        "use std::os::unix::ffi::OsStrExt;\nuse crate::cli::table;",
    ),
    (
        "parent/connections/table.rs",
        "use super::state;\nuse crate::channel::Record;\nuse crate::sys;",
    ),
    ("cgi/head.rs", "use crate::http::Field;"),
    ("settings.rs", "use crate::limits::Limits;"),
    ("sys/mod.rs", "mod fd;\npub use errno::Errno;"),
    (
        "worker/relay/run.rs",
        "use super::{Relay, client};\nuse crate::worker::process_tree;",
    ),
    ("sys/fault.rs", "mod table;\npub(super) use table::due;"),
    (
        "sys/fault/table.rs",
        "use crate::sys::errno::Errno;\npub(in crate::sys) fn due() {}",
    ),
    (
        "sys/confine.rs",
        "mod landlock { use super::Denied; use super::super::fd; }",
    ),
    (
        "sys/raw.rs",
        "use sc::syscall;\nfn f() { unsafe { libc::getpid() }; }",
    ),
    (
        "route.rs",
        "// crate::worker, unsafe, libc::x\nconst A: &str = \"crate::worker unsafe\";",
    ),
    (
        "route.rs",
        "/* unsafe /* libc */ */ const B: &str = r#\"\" unsafe\"#; const C: char = '\"';",
    ),
    (
        "route.rs",
        "fn f<'a>(x: &'a str) -> &'a str { let sc = x; sc }",
    ),
    (
        "http/date.rs",
        "const X: u8 = b'\"'; const Y: &[u8] = b\"unsafe \\\" libc\";",
    ),
    (
        "http/date.rs",
        "#[cfg(test)]\n#[expect(clippy::x, reason = \"y\")]\nmod tests {\n    use std::fs;\n}",
    ),
];

#[test]
fn wanted_arrows_and_words_in_text_are_left_alone() {
    for (file, source) in HARMLESS {
        let found = violations(file, &format!("//! One job.\n{source}\n"));
        assert!(found.is_empty(), "{file}: {source}: {found:?}");
    }
}

#[test]
fn a_file_without_its_job_or_without_a_row_is_found() {
    assert_eq!(violations("route.rs", "fn f() {}\n").len(), 1);
    let found = violations("sys/util.rs", "//! One job.\n");
    assert_eq!(
        found,
        ["src/sys/util.rs:1: is in no row of tests/layers.rs"]
    );
}

#[test]
fn a_folder_stands_for_its_files_and_a_longer_name_comes_first() {
    const ROWS: &[&[&str]] = &[&["mod", "loop"], &["relay", "workers"], &["relay::state"]];
    for (inside, expected) in [
        ("loop", Some((0, "loop"))),
        ("relay", Some((1, "relay"))),
        ("relay::client", Some((1, "relay"))),
        ("relay::state", Some((2, "relay::state"))),
        ("workers::pool", Some((1, "workers"))),
        ("strange", None),
    ] {
        let parts: Vec<String> = inside.split("::").map(str::to_owned).collect();
        assert_eq!(row_of(ROWS, &parts), expected, "{inside}");
    }
}
