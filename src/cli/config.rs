//! The configuration file: `name = value` lines to settings.
//!
//! A line whose first visible character is `#` is a comment. Anywhere else `#` belongs to the
//! value, since paths and variables may hold one; so do quotes and backslashes: nothing is
//! escaped. Blanks around names and values do not count, a CR before the LF neither.
//! Reads no file itself, and stops at the first mistake.

use super::argv::Given;
use super::error::{MistakePlace, Reason, UsageError};
use super::kind::{Destination, Kind};
use super::options::{self, Row};
use super::suggest;
use crate::settings::{HandlerSettings, Settings};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Bytes of a file that is read at all; a caller need not read more than one byte beyond.
pub const MAX_BYTES: usize = 256 * 1024;

/// Reads `bytes` of the file called `path` into `settings`. With `mistakes` a line that has one is
/// told there and left out.
///
/// # Errors
/// The first mistake, with its line.
pub(super) fn read(
    (path, bytes): (&Path, &[u8]),
    home: Option<&OsStr>,
    settings: &mut Settings,
    mistakes: Option<&mut Vec<UsageError>>,
) -> Result<(), UsageError> {
    let mut reader = FileReader {
        home,
        settings,
        section: None,
        seen: Vec::new(),
        name: "",
        path,
        mistakes,
    };
    reader.file(bytes)
}

struct FileReader<'a> {
    home: Option<&'a OsStr>,
    settings: &'a mut Settings,
    /// The handler of the section that the line stands in.
    section: Option<HandlerSettings>,
    /// What this section has said.
    seen: Vec<Given>,
    /// The key of the line, for the message.
    name: &'static str,
    path: &'a Path,
    mistakes: Option<&'a mut Vec<UsageError>>,
}

impl FileReader<'_> {
    /// What to do about a mistake: stop, or note it and go on.
    fn mistake(&mut self, line: usize, reason: Reason) -> Result<(), UsageError> {
        let path = self.path.to_path_buf();
        let error = UsageError {
            place: MistakePlace::File { path, line },
            name: self.name,
            reason,
        };
        match &mut self.mistakes {
            Some(mistakes) => mistakes.push(error),
            None => return Err(error),
        }
        Ok(())
    }

    fn file(&mut self, bytes: &[u8]) -> Result<(), UsageError> {
        if bytes.len() > MAX_BYTES {
            return self.mistake(0, Reason::Line("the file is larger than 256K"));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            self.name = "";
            if let Err(reason) = self.line(line.trim_ascii()) {
                self.mistake(index + 1, reason)?;
            }
            // The page's file is read later, and then the line has to be told.
            if let Some(page) = self
                .settings
                .error_pages
                .last_mut()
                .filter(|page| page.line == 0)
            {
                page.line = index + 1;
            }
        }
        self.end_section();
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        if line.contains(&0) {
            return Err(Reason::Line("a NUL byte; the file has to be text"));
        }
        match line {
            [] | [b'#', ..] => Ok(()),
            [b'[', ..] => self.begin_section(line),
            _ => self.assignment(line),
        }
    }

    fn begin_section(&mut self, line: &[u8]) -> Result<(), Reason> {
        let name = section_name(line)?;
        let current = self
            .section
            .as_ref()
            .is_some_and(|section| section.name == name);
        if current
            || self
                .settings
                .handlers
                .iter()
                .any(|handler| handler.name == name)
        {
            return Err(Reason::RepeatedSection(name.to_vec()));
        }
        self.end_section();
        self.section = Some(HandlerSettings::new(name));
        Ok(())
    }

    fn end_section(&mut self) {
        self.seen.clear();
        self.settings.handlers.extend(self.section.take());
    }

    fn assignment(&mut self, line: &[u8]) -> Result<(), Reason> {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
            return Err(Reason::Line(
                "no '='; a line is name = value, [handler /name] or # comment",
            ));
        };
        let (key, value) = line.split_at(equals);
        let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
        let (row, variable) = key_row(key.trim_ascii(), self.section.is_some())?;
        self.name = row.name;
        let value = match (row.kind, variable) {
            (Kind::Env(_), None) => {
                return Err(Reason::Line("needs a name; write env NAME = value"));
            }
            (Kind::Page(_), None) => {
                return Err(Reason::Line(
                    "needs a status; write error-page STATUS = FILE",
                ));
            }
            (Kind::Page(_), _) if value.is_empty() => {
                return Err(Reason::Line("needs a file; write error-page STATUS = FILE"));
            }
            (_, Some(variable)) => [variable, b"=", value].concat(),
            (Kind::Flag(_), None) if value.is_empty() => {
                return Err(Reason::MissingValue("yes|no"));
            }
            (_, None) if value.is_empty() => return Err(Reason::MissingValue(row.value)),
            (_, None) => value.to_vec(),
        };
        self.store(row, OsString::from_vec(value))
    }

    fn store(&mut self, row: &'static Row, value: OsString) -> Result<(), Reason> {
        let standing = row.standing();
        let allowed = if self.section.is_some() {
            standing.in_handler
        } else {
            standing.in_file
        };
        if !allowed {
            return Err(Reason::NotHere(standing.words()));
        }
        let given = Given { row, value };
        if let Some(before) = self.seen.iter().find(|before| given.repeats(before)) {
            return Err(Reason::Repeated(before.shown()));
        }
        let value = at_home(row, &given.value, self.home)?;
        let mut target = match &mut self.section {
            Some(handler) => Destination::Handler(handler),
            None => Destination::Server(self.settings),
        };
        row.kind.store(&value, &mut target)?;
        self.seen.push(given);
        Ok(())
    }
}

/// The row of a key; with `env NAME` also the variable.
fn key_row(key: &[u8], in_section: bool) -> Result<(&'static Row, Option<&[u8]>), Reason> {
    let blank = key
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(key.len());
    let (name, variable) = key.split_at(blank);
    let found = match in_section {
        true => options::find_in_section(name),
        false => options::find(name),
    };
    match found {
        Some(row) if variable.is_empty() => Ok((row, None)),
        Some(row) if matches!(row.kind, Kind::Env(_) | Kind::Page(_)) => {
            Ok((row, Some(variable.trim_ascii())))
        }
        _ => Err(unknown(key)),
    }
}

fn unknown(key: &[u8]) -> Reason {
    let in_file = |row: &&Row| row.standing().in_file || row.standing().in_handler;
    let names = options::all().filter(in_file).map(|row| row.name);
    Reason::Unknown {
        word: key.to_vec(),
        near: suggest::near(key, names),
    }
}

/// The name in `[handler /name]`, which has to be a path that a request can have.
fn section_name(line: &[u8]) -> Result<&[u8], Reason> {
    let inner = line
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"));
    let rest = inner.and_then(|inner| inner.trim_ascii().strip_prefix(b"handler"));
    let rest = rest.filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace));
    let Some(name) = rest.map(<[u8]>::trim_ascii) else {
        return Err(Reason::Line(
            "unknown section; there is only [handler /name]",
        ));
    };
    let Some(path) = name.strip_prefix(b"/") else {
        return Err(Reason::Line(
            "the name of a handler begins with '/': [handler /name]",
        ));
    };
    let hidden = |part: &[u8]| part.is_empty() || part.starts_with(b".");
    if path.split(|byte| *byte == b'/').any(hidden) {
        return Err(Reason::Line(
            "no request finds this handler: a part of its path is empty or begins with '.'",
        ));
    }
    Ok(name)
}

/// A value of the file or the table, with the home folder for a leading `~/` of a path.
pub(super) fn at_home<'v>(
    row: &Row,
    value: &'v OsStr,
    home: Option<&OsStr>,
) -> Result<Cow<'v, OsStr>, Reason> {
    let bytes = value.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=');
    // The path of a page stands behind its status.
    let start = match (row.kind, equals) {
        (Kind::Page(_), Some(at)) => at + 1,
        _ => 0,
    };
    let (before, path) = bytes.split_at(start);
    let below = path.strip_prefix(b"~/").filter(|_| row.kind.is_path());
    let Some(below) = below else {
        return Ok(Cow::Borrowed(value));
    };
    let home = home.ok_or(Reason::NoHome(row.value))?;
    let path = Path::new(home).join(OsStr::from_bytes(below));
    let value = [before, path.as_os_str().as_bytes()].concat();
    Ok(Cow::Owned(OsString::from_vec(value)))
}

#[cfg(test)]
mod tests {
    use super::super::{Invocation, Surroundings, combine, parse};
    use super::*;
    use crate::settings::{Allowance, Bind, ErrorPage, HalfClose, Level, Ports, Sandbox, Stdin};
    use std::path::PathBuf;
    use std::time::Duration;

    fn settings(text: &[u8]) -> Result<Settings, String> {
        let home = Some(OsStr::new("/home/a"));
        let parsed = parse(&[], Surroundings { home }).expect("no words");
        match combine(&parsed, Some((Path::new("c.conf"), text))) {
            Ok(Invocation::Serve(settings)) => Ok(*settings),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    const EVERYTHING: &str = "\u{feff}# all of it\r\n\
        path = ~/srv\r\n\
        \t port=80\n\
        bind = ::1\n\
        bind = unix:/run/c # d\n\
        daemon = yes\n\
        log-level = warn\n\
        max-body = 1k\n\
        error-page 404 = ~/404.html\n\
        \n\
        env A = b = c \n\
        env B =\n\
        [handler /a b]\n\
        max-body = 2G\n\
        handler-timeout = 5m\n\
        max-concurrent = 7\n\
        half-close = gone\n\
        max-memory = 64M\n\
        read = /usr, /etc/ssl\n\
        write = /var/lib/app\n\
        connect = 443\n\
        bind = none\n\
        sandbox = best-effort\n\
        stdin = pipe\n\
        exit-status = strict\n\
        detach = yes\n\
        authorization = YES\n\
        env A = 2\n\
        [ handler\t/c/d ]";

    #[test]
    fn every_kind_of_line_is_understood() {
        let settings = settings(EVERYTHING.as_bytes()).expect("a good file");
        assert_eq!(settings.path, PathBuf::from("/home/a/srv"));
        assert_eq!((settings.port, settings.daemon), (80, true));
        let unix = Bind::Unix("/run/c # d".into());
        assert_eq!((settings.bind.len(), &settings.bind[1]), (2, &unix));
        assert_eq!(
            (settings.log_level, settings.limits.max_body),
            (Level::Warn, 1024)
        );
        assert_eq!(
            settings.env,
            [("A".into(), "b = c".into()), ("B".into(), "".into())]
        );
        assert_eq!(settings.config, Some(PathBuf::from("c.conf")));
        let page = ErrorPage {
            status: 404,
            path: "/home/a/404.html".into(),
            line: 9,
            body: Vec::new(),
        };
        assert_eq!(settings.error_pages, [page]);
        let full = HandlerSettings {
            name: b"/a b".to_vec(),
            handler_timeout: Some(Duration::from_secs(300)),
            max_body: Some(2 << 30),
            max_concurrent: Some(7),
            half_close: Some(HalfClose::Gone),
            stdin: Stdin::Pipe,
            strict_exit: true,
            detach: true,
            authorization: true,
            env: vec![("A".into(), "2".into())],
            allowance: Allowance {
                memory: Some(64 << 20),
                ..settings.allowance
            },
            sandbox: Some(Sandbox {
                read: vec!["/usr".into(), "/etc/ssl".into()],
                write: vec!["/var/lib/app".into()],
                connect: Ports::Only(vec![443]),
                bind: Ports::default(),
                is_best_effort: true,
            }),
        };
        let plain = HandlerSettings {
            allowance: settings.allowance.clone(),
            ..HandlerSettings::new(b"/c/d")
        };
        assert_eq!(settings.handlers, [full, plain]);
    }

    const WRONG: [(&str, &str); 35] = [
        (
            "max-body = xyz",
            "c.conf:1: max-body: 'xyz' is not a size from 0 to 1024G (bytes, or a number with K, M or G)",
        ),
        (
            "\n#\nport = 80 # web",
            "c.conf:3: port: '80 # web' is not a whole number from 0 to 65535",
        ),
        (
            "prot = 80",
            "c.conf:1: unknown key 'prot'; did you mean 'port'?",
        ),
        (
            "port 80",
            "c.conf:1: no '='; a line is name = value, [handler /name] or # comment",
        ),
        ("= 80", "c.conf:1: unknown key ''; see --help"),
        (
            "port x = 80",
            "c.conf:1: unknown key 'port x'; did you mean 'port'?",
        ),
        ("port =", "c.conf:1: port: needs a value; write port = PORT"),
        (
            "daemon =",
            "c.conf:1: daemon: needs a value; write daemon = yes|no",
        ),
        ("daemon = 1", "c.conf:1: daemon: '1' is not one of yes, no"),
        (
            "port = 1\nport = 2",
            "c.conf:2: port: given twice, before as '1'; give it once",
        ),
        (
            "bind = ::1\nbind = ::1",
            "c.conf:2: bind: given twice, before as '::1'; give it once",
        ),
        (
            "env A = 1\nenv A = 2",
            "c.conf:2: env: given twice, before as 'A=1'; give it once",
        ),
        (
            "env = A",
            "c.conf:1: env: needs a name; write env NAME = value",
        ),
        (
            "env 1 = A",
            "c.conf:1: env: '1=A' is not NAME=VALUE with a NAME of letters, digits and '_'",
        ),
        (
            "help = yes",
            "c.conf:1: help: cannot stand here, only on the command line",
        ),
        (
            "config = /a",
            "c.conf:1: config: cannot stand here, only on the command line",
        ),
        (
            "detach = yes",
            "c.conf:1: detach: cannot stand here, only in a [handler] section of the configuration file",
        ),
        (
            "[handler /a]\nerror-page 404 = /a",
            "c.conf:2: error-page: cannot stand here, only at the top of the configuration file",
        ),
        (
            "error-page = /a",
            "c.conf:1: error-page: needs a status; write error-page STATUS = FILE",
        ),
        (
            "error-page 404 =",
            "c.conf:1: error-page: needs a file; write error-page STATUS = FILE",
        ),
        (
            "error-page 302 = /a",
            "c.conf:1: error-page: '302=/a' is not a status from 400 to 599 and the path of a file",
        ),
        (
            "error-page 404 = /a\nerror-page 404 = /b",
            "c.conf:2: error-page: given twice, before as '404=/a'; give it once",
        ),
        (
            "[handler /a]\nport = 1",
            "c.conf:2: port: cannot stand here, only at the top of the file or on the command line",
        ),
        (
            "chroot = /a",
            "--chroot: needs --user, which root has to become",
        ),
        (
            "[handler /a]\nread = usr",
            "c.conf:2: read: 'usr' is not none or absolute paths, separated by commas",
        ),
        (
            "[handler /a]\nbind = 127.0.0.1",
            "c.conf:2: bind: '127.0.0.1' is not none, any or ports, separated by commas",
        ),
        (
            "read = /usr",
            "c.conf:1: read: cannot stand here, only in a [handler] section of the configuration file",
        ),
        (
            "[handler /a]\ndetach = yes\ndetach = no",
            "c.conf:3: detach: given twice; give it once",
        ),
        (
            "[handler /a]\n[handler /b]\n[handler /a]",
            "c.conf:3: a second section [handler /a]; put all its keys into one",
        ),
        (
            "[handler /a]\n[handler /a]",
            "c.conf:2: a second section [handler /a]; put all its keys into one",
        ),
        (
            "[handler a]",
            "c.conf:1: the name of a handler begins with '/': [handler /name]",
        ),
        (
            "[handler /a",
            "c.conf:1: unknown section; there is only [handler /name]",
        ),
        (
            "[handlers /a]",
            "c.conf:1: unknown section; there is only [handler /name]",
        ),
        (
            "[handler]",
            "c.conf:1: unknown section; there is only [handler /name]",
        ),
        ("a\0b", "c.conf:1: a NUL byte; the file has to be text"),
    ];

    #[test]
    fn a_mistake_is_told_with_file_line_and_key() {
        for (text, expected) in WRONG {
            assert_eq!(
                settings(text.as_bytes()).err().as_deref(),
                Some(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn a_section_for_what_no_request_finds_is_refused() {
        for name in ["/", "/a/", "//a", "/a//b", "/.a", "/a/../b", "/."] {
            let text = format!("[handler {name}]");
            let told = settings(text.as_bytes()).expect_err(name);
            assert!(told.contains("no request finds"), "{name}: {told}");
        }
    }

    #[test]
    fn the_same_key_may_stand_in_several_sections() {
        let text = b"max-body = 1\n[handler /a]\nmax-body = 2\n[handler /b]\nmax-body = 3";
        let settings = settings(text).expect("a good file");
        let own: Vec<_> = settings
            .handlers
            .iter()
            .map(|handler| handler.max_body)
            .collect();
        assert_eq!((settings.limits.max_body, own), (1, vec![Some(2), Some(3)]));
    }

    #[test]
    fn a_file_is_text_of_bounded_length() {
        let longest = vec![b'\n'; MAX_BYTES];
        assert!(settings(&longest).is_ok());
        let longer = vec![b'\n'; MAX_BYTES + 1];
        assert_eq!(
            settings(&longer).err().as_deref(),
            Some("c.conf: the file is larger than 256K")
        );
    }

    #[test]
    fn a_home_is_missed_only_by_the_path_that_needs_it() {
        let parsed = parse(
            &["--path=/a".into(), "--log-file=/b".into()],
            Surroundings::default(),
        );
        let parsed = parsed.expect("good words");
        let file: &[u8] = b"socket = /s\npid-file = ~/p";
        let told = combine(&parsed, Some((Path::new("c.conf"), file))).expect_err("no home");
        let expected = "c.conf:2: pid-file: no home folder is known (HOME is not set); write the full path instead of '~/'";
        assert_eq!(told.to_string(), expected);
    }

    #[test]
    fn no_cut_or_changed_byte_makes_a_panic_or_a_second_line() {
        let text = EVERYTHING.as_bytes();
        for at in 0..text.len() {
            let one_line = |bytes: &[u8]| {
                if let Err(told) = settings(bytes) {
                    assert!(
                        told.starts_with("c.conf:") && !told.contains(char::is_control),
                        "{told:?}"
                    );
                }
            };
            one_line(&text[..at]);
            for byte in [0, b'\n', b'=', b'[', b']', b'#', b' ', 0xff] {
                let mut changed = text.to_vec();
                changed[at] = byte;
                one_line(&changed);
            }
        }
    }
}
