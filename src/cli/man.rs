//! The manual page, caffeine.1 in mdoc(7): the hand-written `caffeine.1.in` with the table's
//! options in the places that it marks.
//!
//! Prints nothing; knows nothing of the options that the table does not say.

use super::kind::Kind;
use super::options::{self, Default, Row};
use super::{VERSION, push};

const TEMPLATE: &str = include_str!("caffeine.1.in");

/// The whole page.
pub(crate) fn text() -> String {
    let mut page = String::new();
    for line in TEMPLATE.split_inclusive('\n') {
        match line {
            "@OPTIONS@\n" => option_lists(&mut page),
            "@HANDLER_KEYS@\n" => handler_keys(&mut page),
            "@SHARED_KEYS@\n" => shared_keys(&mut page),
            "@OS@\n" => push(&mut page, &[".Os \"Caffeine ", VERSION, "\"\n"]),
            _ => page.push_str(line),
        }
    }
    page
}

fn option_lists(page: &mut String) {
    for group in &options::GROUPS {
        let rows = group.rows.iter().filter(|row| row.standing().on_line);
        let items: String = rows.map(option).collect();
        if !items.is_empty() {
            push(
                page,
                &[
                    ".Ss ",
                    group.title,
                    "\n.Bl -tag -width Ds\n",
                    &items,
                    ".El\n",
                ],
            );
        }
    }
}

fn option(row: &Row) -> String {
    let mut item = String::from(".It ");
    if let Some(letter) = row.short {
        push(
            &mut item,
            &["Fl ", char::from(letter).encode_utf8(&mut [0; 4]), " , "],
        );
    }
    push(&mut item, &["Fl -", row.name]);
    if row.kind.takes_value() {
        push(&mut item, &[" Ar ", row.value]);
    }
    item.push('\n');
    item + &described(row)
}

fn handler_keys(page: &mut String) {
    for row in options::all().filter(|row| row.standing().in_handler && !row.standing().in_file) {
        push(
            page,
            &[
                ".It Ic ",
                row.name,
                " = Ar ",
                row.value,
                "\n",
                &described(row),
            ],
        );
    }
}

/// Keys that a handler and the server both have, as a list in a sentence.
fn shared_keys(page: &mut String) {
    let shared = options::all().filter(|row| row.standing().in_file && row.standing().in_handler);
    let keys: Vec<String> = shared.map(|row| [".Ic ", row.name].concat()).collect();
    push(page, &[&keys.join(" ,\n"), "\n"]);
}

fn described(row: &Row) -> String {
    let mut text = String::new();
    let mut letters = row.help.chars();
    text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
    push(&mut text, &[letters.as_str(), ". ", row.long]);
    if !row.long.is_empty() {
        text.push(' ');
    }
    if matches!(
        row.kind,
        Kind::Count(..) | Kind::Size(..) | Kind::Time(..) | Kind::Choice(..)
    ) {
        push(&mut text, &["Takes ", &row.kind.range(), ". "]);
    }
    if let Default::Is(value) | Default::Computed(value) = row.default {
        push(&mut text, &["Default: ", value, ". "]);
    }
    prose(&text)
}

/// Escapes text for mdoc, each sentence on a line of its own, as mdoc wants it. Dashes of options
/// stay dashes, and no line begins like a macro.
fn prose(text: &str) -> String {
    let mut lines = String::new();
    let mut in_option = false;
    let mut before = '\n';
    let mut letters = text.trim_ascii_end().chars().peekable();
    while let Some(letter) = letters.next() {
        in_option = match (before, letter) {
            (' ' | '\n', '-') => letters.peek() == Some(&'-'),
            _ => in_option && letter != ' ',
        };
        let written = if before == '.' && letter == ' ' {
            '\n'
        } else {
            letter
        };
        match written {
            '.' | '\'' if before == '\n' => lines.push_str("\\&"),
            '-' if in_option => lines.push('\\'),
            _ => {}
        }
        match written {
            '\\' => lines.push_str("\\e"),
            '~' => lines.push_str("\\(ti"),
            _ => lines.push(written),
        }
        before = written;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_exactly_the_options_of_the_command_line() {
        let text = text();
        let items = text.lines().filter(|line| line.starts_with(".It Fl "));
        let listed: Vec<&str> = items
            .filter_map(|item| item.split("Fl -").nth(1)?.split(' ').next())
            .collect();
        let rows = options::all().filter(|row| row.standing().on_line);
        assert_eq!(listed, rows.map(|row| row.name).collect::<Vec<_>>());
    }

    #[test]
    fn the_page_lists_exactly_the_keys_of_handler_sections() {
        let text = text();
        let from = text.find(".Sh CONFIGURATION").unwrap();
        let keys = text[from..]
            .lines()
            .filter_map(|line| line.split("Ic ").nth(1));
        let mut listed: Vec<&str> = keys.filter_map(|rest| rest.split(' ').next()).collect();
        let rows = options::all().filter(|row| row.standing().in_handler);
        let mut names: Vec<&str> = rows.map(|row| row.name).collect();
        listed.sort_unstable();
        listed.dedup();
        names.sort_unstable();
        assert_eq!(listed, names);
    }

    #[test]
    fn no_mark_of_the_template_is_left() {
        let text = text();
        let is_mark = |line: &str| line.starts_with('@') && line.ends_with('@');
        assert!(!text.lines().any(is_mark), "{text}");
        assert!(text.contains(&["Caffeine ", VERSION].concat()));
    }

    #[test]
    fn every_option_that_the_page_mentions_exists() {
        let text = text();
        let words = text.split([' ', '\n', ',', '.']);
        let mut known = 0;
        for word in words {
            let plain = word.replace("\\-", "-");
            if let Some(name) = plain.strip_prefix("--") {
                assert!(options::find(name.as_bytes()).is_some(), "{name}");
                known += 1;
            }
        }
        let mut flags = text.split("Fl -");
        flags.next();
        for rest in flags {
            let name = rest.split([' ', '\n']).next().unwrap();
            assert!(options::find(name.as_bytes()).is_some(), "{name}");
        }
        assert!(known > 5, "{known}");
    }

    #[test]
    fn prose_is_escaped_and_broken_at_sentences() {
        let rows = [
            ("One. Two.", "One.\nTwo.\n"),
            ("a-b --c-d e-f", "a-b \\-\\-c\\-d e-f\n"),
            (
                "Takes --max-head to ~/a.b.",
                "Takes \\-\\-max\\-head to \\(ti/a.b.\n",
            ),
            (".a\\b", "\\&.a\\eb\n"),
        ];
        for (text, mdoc) in rows {
            assert_eq!(prose(text), mdoc);
        }
    }
}
