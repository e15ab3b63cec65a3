//! Reads docs/conformance.md and fails if it names a test or a place in the source that is gone.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

use std::fs;
use std::path::Path;

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
