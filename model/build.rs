//! Builds the model's text from the server's own source: once as it stands, and once for each seeded
//! bug with that one change. So the server's source has no trace of the model.
//!
//! `src/world/*.rs` is what surrounds the protocol. It takes from the source what it does not
//! replace: `whole!` takes a file as a module, `take!` items by their names. What is not found any
//! more, or a bug that does not fit any more, ends the build.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

include!("bugs.rs");

/// Paths that the model has an own version of.
const REPLACED: [(&str, &str); 2] = [
    ("std::os::fd::", "crate::sys::fd::"),
    ("std::sync::atomic::", "crate::sys::atomic::"),
];

const MODULES: [&str; 10] = [
    "limits",
    "settings",
    "sys",
    "scoreboard",
    "birth",
    "channel",
    "route",
    "worker",
    "parent",
    "rules",
];

/// The source, with one change or none.
struct Source {
    root: PathBuf,
    bug: Option<&'static Bug>,
}

impl Source {
    fn read(&self, path: &str) -> String {
        let file = self.root.join(path);
        println!("cargo::rerun-if-changed={}", file.display());
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{path}: {e}"));
        match self.bug.filter(|bug| bug.file == path) {
            None => text,
            Some(bug) => {
                let found = text.matches(bug.from).count();
                assert_eq!(found, 1, "'{}' does not fit {path} any more", bug.name);
                text.replace(bug.from, bug.to)
            }
        }
    }

    /// A file of the server's, that uses what the model has in the place of the system.
    fn read_replaced(&self, path: &str) -> String {
        let text = self.read(path);
        let replace = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
        REPLACED.iter().fold(text, replace)
    }

    /// A file without its tests, with the files of its modules in it.
    fn whole(&self, path: &str) -> String {
        let text = self.read_replaced(path);
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let folder = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let mut out = String::new();
        for line in text.lines() {
            match line.strip_prefix("mod ").and_then(|l| l.strip_suffix(';')) {
                Some(name) => {
                    let inner = self.whole(&format!("{folder}/{name}.rs"));
                    writeln!(out, "mod {name} {{\n{inner}\n}}").unwrap();
                }
                None => writeln!(out, "{line}").unwrap(),
            }
        }
        out
    }

    /// An item or method of a file with its comments and attributes, as in `fn serve_client`.
    fn item(&self, path: &str, item: &str) -> String {
        let text = self.read_replaced(path);
        let lines: Vec<&str> = text.lines().collect();
        let is_it = |line: &str| {
            line.find(item).is_some_and(|at| {
                let (before, after) = (&line[..at], &line[at + item.len()..]);
                let is_visibility = before.trim().is_empty() || before.trim().starts_with("pub");
                is_visibility && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            })
        };
        let at = lines.iter().position(|line| is_it(line));
        let at = at.unwrap_or_else(|| panic!("there is no '{item}' in {path} any more"));
        let indent = &lines[at][..lines[at].len() - lines[at].trim_start().len()];
        let is_above = |line: &&&str| {
            let line = line.trim_start();
            line.starts_with("///") || line.starts_with("#[")
        };
        let above = lines[..at].iter().rev().take_while(is_above).count();
        let end = format!("{indent}}}");
        let is_end = |line: &&str| *line == end;
        let below = match lines[at].ends_with(';') {
            true => 0,
            false => lines[at..].iter().position(is_end).unwrap(),
        };
        lines[at - above..=at + below].join("\n") + "\n"
    }

    /// A file of the world with what it takes.
    fn world(&self, name: &str) -> String {
        let text = self.read(&format!("model/src/world/{name}.rs"));
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((before, call)) = rest.split_once("take!(") {
            let (call, after) = call.split_once(");").unwrap();
            let mut words = call.split('"').skip(1).step_by(2);
            let path = words.next().unwrap();
            out += before;
            for item in words {
                out += &self.item(path, item);
            }
            rest = after;
        }
        out += rest;
        let text = std::mem::take(&mut out);
        for line in text.lines() {
            let call = line.trim().strip_prefix("whole!(");
            match call.and_then(|l| l.strip_suffix(");")) {
                Some(path) => out += &self.whole(path.trim_matches('"')),
                None => writeln!(out, "{line}").unwrap(),
            }
        }
        out
    }

    /// The module `name`: source and world.
    fn copy(&self, name: &str) -> String {
        let mut out = String::new();
        for module in MODULES {
            let text = self.world(module);
            writeln!(out, "pub mod {module} {{\n{text}\n}}").unwrap();
        }
        let out = out.replace("crate::", &format!("crate::copies::{name}::"));
        format!("pub mod {name} {{\n{out}\n}}\n")
    }
}

fn main() {
    println!("cargo::rerun-if-changed=bugs.rs");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = |name, bug| {
        let root = root.clone();
        Source { root, bug }.copy(name)
    };
    let mut text = copy("sound", None);
    for bug in &BUGS {
        text += &copy(bug.name, Some(bug));
    }
    text += "pub const RULES: &[super::Rule] = &[\n";
    for rule in &RULES {
        let Rule {
            name,
            what,
            preemptions,
        } = rule;
        let fields = format!("name: {name:?}, what: {what:?}, preemptions: {preemptions:?}");
        let run = format!("run: sound::rules::{name}");
        writeln!(text, "super::Rule {{ {fields}, {run}, bugs: &[").unwrap();
        for bug in BUGS.iter().filter(|bug| bug.rule == *name) {
            let run = format!("run: {}::rules::{name}", bug.name);
            writeln!(text, "super::Bug {{ what: {:?}, {run} }},", bug.what).unwrap();
        }
        text += "] },\n";
    }
    text += "];\n";
    let out = Path::new(&env::var("OUT_DIR").unwrap()).join("copies.rs");
    fs::write(out, text).unwrap();
}
