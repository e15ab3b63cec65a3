//! Completions for bash, zsh and fish, made from the table.
//!
//! The help texts are put between single quotes as they are; a test of the table keeps
//! characters out of them that a shell would take for its own. Prints nothing.

use super::kind::Kind;
use super::options::{self, Row};
use super::{Shell, push};

/// The completions of one shell.
pub(crate) fn text(shell: Shell) -> String {
    let rows = options::all().filter(|row| row.standing().on_line);
    match shell {
        Shell::Bash => bash(rows),
        Shell::Zsh => zsh(rows),
        Shell::Fish => fish(rows),
    }
}

/// What a shell can offer for a value.
enum Offer {
    Words(String),
    Folders,
    Files,
    Nothing,
}

fn offer(row: &Row) -> Offer {
    match row.kind {
        Kind::Choice(..) | Kind::Shell => Offer::Words(row.kind.words().join(" ")),
        Kind::Path(..) | Kind::Config if row.value == "DIR" => Offer::Folders,
        Kind::Path(..) | Kind::Config => Offer::Files,
        _ => Offer::Nothing,
    }
}

fn letter(row: &Row) -> Option<String> {
    row.short.map(|letter| char::from(letter).to_string())
}

fn bash(rows: impl Iterator<Item = &'static Row>) -> String {
    let mut words = String::new();
    let mut cases = String::new();
    for row in rows {
        if let Some(letter) = letter(row) {
            push(&mut words, &["-", &letter, " "]);
        }
        push(&mut words, &["--", row.name, " "]);
        if row.kind.takes_value() {
            bash_case(row, &mut cases);
        }
    }
    [
        BASH_HEAD,
        &cases,
        BASH_MIDDLE,
        words.trim_ascii_end(),
        BASH_TAIL,
    ]
    .concat()
}

/// `=` is a word of its own to bash, so `prev` is the option also in `--x=v`.
const BASH_HEAD: &str = "\
_caffeine() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    COMPREPLY=()
    case $prev in
";
const BASH_MIDDLE: &str = "    *) mapfile -t COMPREPLY < <(compgen -W '";
const BASH_TAIL: &str = "' -- \"$cur\") ;;
    esac
}
complete -F _caffeine caffeine
";

fn bash_case(row: &Row, cases: &mut String) {
    let (compgen, file_names) = match offer(row) {
        Offer::Words(words) => (["-W '", &words, "'"].concat(), false),
        Offer::Folders => ("-d".to_string(), true),
        Offer::Files => ("-f".to_string(), true),
        Offer::Nothing => return push(cases, &["    --", row.name, ") ;;\n"]),
    };
    push(cases, &["    --", row.name, ") "]);
    if file_names {
        cases.push_str("compopt -o filenames; ");
    }
    push(
        cases,
        &[
            "mapfile -t COMPREPLY < <(compgen ",
            &compgen,
            " -- \"$cur\") ;;\n",
        ],
    );
}

fn zsh(rows: impl Iterator<Item = &'static Row>) -> String {
    let mut text = String::from("#compdef caffeine\n_arguments -s");
    for row in rows {
        // In one pair of quotes: outside it a `*` would be a pattern.
        let star = if row.repeats { "*" } else { "" };
        let equals = if row.kind.takes_value() { "=" } else { "" };
        match letter(row) {
            Some(letter) => {
                let both = [
                    "(-", &letter, " --", row.name, ")'{-", &letter, ",--", row.name, "}'",
                ];
                push(&mut text, &[" \\\n  '", &both.concat()]);
            }
            None => push(&mut text, &[" \\\n  '", star, "--", row.name, equals]),
        }
        push(&mut text, &["[", row.help, "]"]);
        if row.kind.takes_value() {
            push(&mut text, &[":", row.value, ":", &zsh_action(row)]);
        }
        text.push('\'');
    }
    text.push('\n');
    text
}

fn zsh_action(row: &Row) -> String {
    match offer(row) {
        Offer::Words(words) => ["(", &words, ")"].concat(),
        Offer::Folders => "_files -/".to_string(),
        Offer::Files => "_files".to_string(),
        Offer::Nothing => String::new(),
    }
}

fn fish(rows: impl Iterator<Item = &'static Row>) -> String {
    let mut text = String::from("complete -c caffeine -f\n");
    for row in rows {
        push(&mut text, &["complete -c caffeine -l ", row.name]);
        if let Some(letter) = letter(row) {
            push(&mut text, &[" -s ", &letter]);
        }
        match offer(row) {
            Offer::Words(words) => push(&mut text, &[" -x -a '", &words, "'"]),
            Offer::Folders => text.push_str(" -x -a '(__fish_complete_directories)'"),
            Offer::Files => text.push_str(" -r -F"),
            Offer::Nothing if row.kind.takes_value() => text.push_str(" -x"),
            Offer::Nothing => {}
        }
        push(&mut text, &[" -d '", row.help, "'\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<&'static str> {
        let rows = options::all().filter(|row| row.standing().on_line);
        rows.map(|row| row.name).collect()
    }

    fn until<'a>(text: &'a str, ends: &[char]) -> &'a str {
        text.split(ends).next().unwrap_or("")
    }

    #[test]
    fn bash_offers_exactly_the_options_of_the_command_line() {
        let text = text(Shell::Bash);
        let line = text
            .lines()
            .find(|line| line.starts_with("    *)"))
            .unwrap();
        let words = line.split('\'').nth(1).unwrap().split(' ');
        let listed: Vec<&str> = words.filter_map(|word| word.strip_prefix("--")).collect();
        assert_eq!(listed, names());
        let cases = text.lines().filter_map(|line| line.strip_prefix("    --"));
        let cases: Vec<&str> = cases.map(|case| until(case, &[')'])).collect();
        let valued = options::all().filter(|row| row.standing().on_line && row.kind.takes_value());
        assert_eq!(cases, valued.map(|row| row.name).collect::<Vec<_>>());
    }

    #[test]
    fn zsh_offers_exactly_the_options_of_the_command_line() {
        let text = text(Shell::Zsh);
        let specs = text.lines().skip(2).map(|line| until(line, &['[']));
        let listed: Vec<&str> = specs
            .map(|spec| until(spec.rsplit("--").next().unwrap(), &['=', '}', '\'']))
            .collect();
        assert_eq!(listed, names());
    }

    #[test]
    fn fish_offers_exactly_the_options_of_the_command_line() {
        let text = text(Shell::Fish);
        let listed = text.lines().filter_map(|line| line.split(" -l ").nth(1));
        let listed: Vec<&str> = listed.map(|rest| until(rest, &[' '])).collect();
        assert_eq!(listed, names());
    }

    #[test]
    fn values_are_offered_where_they_can_be_known() {
        let rows = [
            (
                Shell::Bash,
                "    --half-close) mapfile -t COMPREPLY < <(compgen -W 'probe serve gone' -- \"$cur\") ;;\n",
            ),
            (Shell::Bash, "    --port) ;;\n"),
            (
                Shell::Bash,
                "    --path) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\") ;;\n",
            ),
            (
                Shell::Zsh,
                "  '--half-close=[what a FIN before the response means]:HOW:(probe serve gone)'",
            ),
            (
                Shell::Zsh,
                "  '(-d --daemon)'{-d,--daemon}'[run in the background]'",
            ),
            (
                Shell::Zsh,
                "  '*--env=[add a variable for handlers, may be repeated]:NAME=VALUE:'",
            ),
            (
                Shell::Fish,
                "complete -c caffeine -l daemon -s d -d 'run in the background'\n",
            ),
            (
                Shell::Fish,
                "complete -c caffeine -l print-completions -x -a 'bash zsh fish' -d ",
            ),
        ];
        for (shell, piece) in rows {
            let text = text(shell);
            assert!(text.contains(piece), "{piece}\n{text}");
        }
    }
}
