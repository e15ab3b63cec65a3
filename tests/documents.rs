//! Reads docs/conformance.md, ARCHITECTURE.md and the model, and fails if they name a test, a file, a place or a size in
//! the source that is gone.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// The text of every Rust file below `folder`.
fn sources(folder: &Path, texts: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|end| end == "rs") {
            texts.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn defines(text: &str, name: &str) -> bool {
    let kinds = ["fn", "const", "struct", "enum"];
    kinds.iter().any(|kind| {
        let defined = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let start = format!("{kind} {name}");
        text.match_indices(&start)
            .any(|(at, found)| defined(&text[at + found.len()..]))
    })
}

#[test]
fn every_test_and_place_that_the_conformance_tables_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/conformance.md")).unwrap();
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
    let mut rows = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cell = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        if cell == "see" {
            continue;
        }
        let mut text = all.clone();
        for name in cell.split('`').skip(1).step_by(2) {
            match name.contains('/') {
                true => text = fs::read_to_string(root.join(name)).unwrap(),
                false => assert!(defines(&text, name), "{name} is gone: {line}"),
            }
        }
        rows += usize::from(cell.contains('`'));
        assert!(cell.contains('`'), "nothing to see: {line}");
    }
    assert!(rows > 80, "{rows}");
}

/// Files and folders that a page names: between backticks, with a `/` or the ending of a source file.
fn named_files(page: &str) -> impl Iterator<Item = &str> {
    let is_file_name = |name: &&str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let is_file = name.ends_with(".rs") || name.ends_with('/') || name.contains('/');
        is_file && name.chars().all(is_plain) && !name.starts_with('/')
    };
    page.split('`').skip(1).step_by(2).filter(is_file_name)
}

/// Where a name is: below `src/`, below the repository, or in the folder of the name before.
fn find(root: &Path, before: &Path, name: &str) -> Option<PathBuf> {
    let places = [
        root.join("src").join(name),
        root.join(name),
        before.join(name),
    ];
    places.into_iter().find(|place| place.exists())
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let (mut names, mut folder) = (0, root.to_path_buf());
    for name in named_files(&page) {
        let found = find(root, &folder, name);
        assert!(found.is_some(), "ARCHITECTURE.md names {name}");
        let found = found.unwrap_or_default();
        folder = match found.is_dir() {
            true => found,
            false => found.parent().unwrap_or(root).to_path_buf(),
        };
        names += 1;
    }
    assert!(names > 80, "{names}");
}

/// The value of a `const` as it stands in the source.
fn value_of<'a>(source: &'a str, constant: &str) -> Option<&'a str> {
    let start = format!("const {constant}: usize = ");
    let (_, rest) = source.split_once(&start)?;
    rest.split_once(';').map(|(value, _)| value)
}

#[test]
fn sizes_that_the_architecture_tells_are_those_of_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    for (constant, file) in [
        ("ORDER_BYTES", "channel.rs"),
        ("VERDICT_BYTES", "channel/verdict.rs"),
    ] {
        let source = fs::read_to_string(root.join("src").join(file)).unwrap();
        let told = value_of(&source, constant).map(|n| format!("(`{constant}` in `{file}`, {n})"));
        assert!(told.is_some_and(|told| page.contains(&told)), "{constant}");
    }
}

/// The strings of a text that stand between two marks, one list for each pair of marks.
fn strings<'a>(text: &'a str, from: &str, to: &str) -> Vec<Vec<&'a str>> {
    let inner = text.split(from).skip(1).filter_map(|t| t.split(to).next());
    inner
        .map(|t| t.split('"').skip(1).step_by(2).collect())
        .collect()
}

/// The model (`model/build.rs`) ends its build for the same reason; this is found without one.
#[test]
fn what_the_model_takes_from_the_source_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let mut items = 0;
    for file in fs::read_dir(root.join("model/src/world")).unwrap() {
        let world = fs::read_to_string(file.unwrap().path()).unwrap();
        for whole in strings(&world, "whole!(", ");") {
            assert!(root.join(whole[0]).exists(), "the model takes {}", whole[0]);
        }
        for taken in strings(&world, "take!(", ");") {
            let text = read(taken[0]);
            for item in &taken[1..] {
                assert!(text.contains(item), "the model takes {item}: {}", taken[0]);
                items += 1;
            }
        }
    }
    assert!(items > 40, "{items}");
    let bugs = read("model/bugs.rs");
    for bug in bugs.split("file: \"").skip(1) {
        let mut words = bug.split('"');
        let (file, from) = (words.next().unwrap(), words.nth(1).unwrap());
        let found = read(file).matches(from).count();
        assert_eq!(
            found, 1,
            "a bug of the model changes this in {file}: {from}"
        );
    }
}
