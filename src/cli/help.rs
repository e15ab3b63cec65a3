//! The text of `--help`, made from the table: at most 80 columns.
//!
//! Says what exists and its default; ranges and reasons are the manual page's. Prints nothing.

use super::options::{self, Default, Row};
use super::push;

/// The widest line, one short of a terminal's 80 columns.
const WIDTH: usize = 79;

/// Where the descriptions begin.
const COLUMN: usize = 28;

const HEAD: &str = "\
Usage: caffeine [OPTION]...

A web server that answers each request by running an executable.
A request for /a/b runs the file 'a/b' below --path, or 'a' with the rest '/b'.
";

const TAIL: &str = "
SIZE takes K, M or G. TIME takes ms, s, m or h; a bare number is seconds.
The configuration file has lines 'name = value' with the same names, and
sections '[handler /name]' for single handlers; the command line overrides it.
See caffeine(1).

Examples:
  caffeine --path ./handlers --port 8000
  caffeine -d --bind 127.0.0.1 --log-level WARN
  caffeine --config /etc/caffeine.conf --log

Exit status:
  0  stopped as asked, or the daemon accepts clients
  1  the system refused something
  2  a mistake on the command line or in the configuration file
";

/// The whole text.
pub(crate) fn text() -> String {
    let mut text = String::from(HEAD);
    for group in &options::GROUPS {
        let mut rows = group
            .rows
            .iter()
            .filter(|row| row.standing().on_line)
            .peekable();
        if rows.peek().is_some() {
            push(&mut text, &["\n", group.title, ":\n"]);
        }
        rows.for_each(|row| option(row, &mut text));
    }
    text.push_str(TAIL);
    text
}

fn option(row: &Row, text: &mut String) {
    let mut names = match row.short {
        Some(letter) => ["  -", char::from(letter).encode_utf8(&mut [0; 4]), ", --"].concat(),
        None => "      --".to_string(),
    };
    names.push_str(row.name);
    if row.kind.takes_value() {
        push(&mut names, &[" ", row.value]);
    }
    text.push_str(&names);
    let mut column = names.len();
    if column + 2 > COLUMN {
        text.push('\n');
        column = 0;
    }
    pad(COLUMN - column, text);
    wrapped(&described(row), text);
}

fn described(row: &Row) -> String {
    match row.default {
        Default::Is(value) | Default::Computed(value) if row.kind.takes_value() => {
            [row.help, " [", value, "]"].concat()
        }
        _ => row.help.to_string(),
    }
}

fn pad(blanks: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', blanks));
}

/// Words from `COLUMN` on, with line ends where they would pass `WIDTH`.
fn wrapped(words: &str, text: &mut String) {
    let mut column = COLUMN;
    for (index, word) in words.split(' ').enumerate() {
        if index > 0 && column + 1 + word.len() > WIDTH {
            text.push('\n');
            pad(COLUMN, text);
            column = COLUMN;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_exactly_the_options_of_the_command_line() {
        let listed: Vec<String> = text()
            .lines()
            .filter(|line| line.starts_with("      --") || line.starts_with("  -"))
            .filter_map(|line| line.split("--").nth(1)?.split(' ').next().map(String::from))
            .collect();
        let rows = options::all().filter(|row| row.standing().on_line);
        let names: Vec<&str> = rows.map(|row| row.name).collect();
        assert_eq!(listed, names);
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_or_ends_in_a_blank() {
        for line in text().lines() {
            assert!(line.len() <= 80 && line.is_ascii(), "{line}");
            assert_eq!(line, line.trim_end());
        }
    }

    #[test]
    fn a_row_shows_letter_value_and_default() {
        let text = text();
        for line in [
            "      --port PORT           TCP port, 0 for any free one [8080]\n",
            "  -d, --daemon              run in the background\n",
            "      --max-connections-per-address NUMBER\n                            most open connections of one address [1/4 of\n                            --max-connections]\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn every_option_that_the_text_around_mentions_exists() {
        for word in [HEAD, TAIL].concat().split([' ', '\n', ',', '.']) {
            if let Some(name) = word.strip_prefix("--") {
                assert!(options::find(name.as_bytes()).is_some(), "{name}");
            }
        }
    }
}
