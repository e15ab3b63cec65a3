//! Defaults, below the configuration file, below the command line: one command.
//!
//! Here stands what only values together can get wrong. Reads no file and keeps nothing, so that
//! a running server can combine the same command line with a changed file.

use super::argv::{Asked, Given, Parsed};
use super::config::{self, at_home};
use super::error::{Reason, UsageError};
use super::kind::{Destination, Kind, Verb};
use super::options::{self, Default, Row};
use super::{Ask, Invocation};
use crate::limits::{Limits, MAX_WORKERS};
use crate::settings::{Allowance, HalfClose, Level, Settings};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Makes the command of a command line and, if there is one, of the file that
/// `Parsed::config_file` named: its path and bytes.
///
/// # Errors
/// A mistake in the file, values that contradict each other, or a default that needs a home
/// folder where none is known.
pub fn combine(parsed: &Parsed, file: Option<(&Path, &[u8])>) -> Result<Invocation, UsageError> {
    let verb = match parsed.verb() {
        Some(Asked::Completions(shell)) => return Ok(Invocation::Completions(shell)),
        Some(Asked::Verb(verb)) => Some(verb),
        None => None,
    };
    match verb {
        Some(Verb::Help) => return Ok(Invocation::Help),
        Some(Verb::Version) => return Ok(Invocation::Version),
        Some(Verb::Man) => return Ok(Invocation::Man),
        Some(Verb::List) => return Ok(Invocation::List),
        _ => {}
    }
    let mut mistakes = Vec::new();
    // `--check` tells all mistakes, and no mistake in the file may keep a server from being stopped.
    let goes_on = !matches!(verb, None | Some(Verb::Log));
    let mut settings = layers(parsed, file, goes_on.then_some(&mut mistakes))?;
    match verb {
        Some(Verb::Status) => return Ok(Invocation::Control(Ask::Status, Box::new(settings))),
        Some(Verb::Reload) => return Ok(Invocation::Control(Ask::Reload, Box::new(settings))),
        Some(Verb::Stop) => return Ok(Invocation::Control(Ask::Stop, Box::new(settings))),
        _ => has_home("log-file", &settings.log_file)?,
    }
    if verb == Some(Verb::Log) {
        return Ok(Invocation::PrintLog(settings.log_file));
    }
    has_home("path", &settings.path)?;
    let sized = size_pool(&mut settings).and_then(|()| needs_user(&settings));
    let settings = Box::new(settings);
    if verb == Some(Verb::Check) {
        mistakes.extend(sized.err());
        return Ok(Invocation::Check(settings, mistakes));
    }
    sized.map(|()| Invocation::Serve(settings))
}

/// Defaults, below the file, below the command line.
fn layers(
    parsed: &Parsed,
    file: Option<(&Path, &[u8])>,
    mistakes: Option<&mut Vec<UsageError>>,
) -> Result<Settings, UsageError> {
    let home = parsed.home.as_deref();
    let mut settings = defaults(parsed)?;
    if let Some(file) = file {
        config::read(file, home, &mut settings, mistakes)?;
        settings.config = Some(file.0.to_path_buf());
    }
    overlay(&parsed.given, &mut settings)?;
    for handler in &mut settings.handlers {
        handler.allowance = handler.allowance.or(&settings.allowance);
    }
    Ok(settings)
}

/// The table's defaults. A path that needs a home folder stays empty where none is known.
fn defaults(parsed: &Parsed) -> Result<Settings, UsageError> {
    let home = parsed.home.as_deref();
    let mut settings = blank();
    for row in options::all().filter(|row| row.standing().in_file) {
        let Default::Is(text) = row.default else {
            continue;
        };
        let text = match row.kind {
            Kind::Path(..) => parsed.named(OsStr::new(text)),
            _ => Cow::Borrowed(OsStr::new(text)),
        };
        if let Ok(value) = at_home(row, &text, home) {
            store(row, &value, &mut settings)?;
        }
    }
    Ok(settings)
}

/// Nothing set yet.
fn blank() -> Settings {
    Settings {
        path: PathBuf::new(),
        port: 0,
        bind: Vec::new(),
        trusted_proxies: Vec::new(),
        workers: 0,
        log_level: Level::Info,
        daemon: false,
        socket: PathBuf::new(),
        pid_file: None,
        log_file: PathBuf::new(),
        config: None,
        index: OsString::new(),
        follow_symlinks: false,
        half_close: HalfClose::Probe,
        env: Vec::new(),
        error_pages: Vec::new(),
        user: None,
        group: None,
        chroot: None,
        no_new_privs: true,
        traceable: false,
        allow_writable: false,
        allowance: Allowance::default(),
        limits: Limits::default(),
        handlers: Vec::new(),
    }
}

fn store(row: &Row, value: &OsStr, settings: &mut Settings) -> Result<(), UsageError> {
    let told = row.kind.store(value, &mut Destination::Server(settings));
    told.map_err(|reason| UsageError::on_line(row.name, reason))
}

/// Addresses of the command line replace the file's; a variable replaces its namesake.
fn overlay(given: &[Given], settings: &mut Settings) -> Result<(), UsageError> {
    if given
        .iter()
        .any(|given| matches!(given.row.kind, Kind::Address(_)))
    {
        settings.bind.clear();
    }
    if given
        .iter()
        .any(|given| matches!(given.row.kind, Kind::Proxy(_)))
    {
        settings.trusted_proxies.clear();
    }
    for given in given.iter().filter(|given| given.row.standing().in_file) {
        if let Kind::Env(_) = given.row.kind {
            settings
                .env
                .retain(|(name, _)| name.as_encoded_bytes() != given.variable());
        }
        store(given.row, &given.value, settings)?;
    }
    Ok(())
}

fn has_home(name: &'static str, path: &Path) -> Result<(), UsageError> {
    if !path.as_os_str().is_empty() {
        return Ok(());
    }
    let value = options::find(name.as_bytes()).map_or("", |row| row.value);
    Err(UsageError::on_line(name, Reason::NoHome(value)))
}

/// Refuses a `max-workers` below `workers`. Where it is not set it is eight times `workers`, but never more
/// than the ceiling.
fn size_pool(settings: &mut Settings) -> Result<(), UsageError> {
    let workers = settings.workers;
    match settings.limits.max_workers {
        Some(max_workers) if max_workers < workers => {
            let reason = Reason::TooManyWorkers {
                workers,
                max_workers,
            };
            return Err(UsageError::on_line("workers", reason));
        }
        None if workers > MAX_WORKERS / 8 => settings.limits.max_workers = Some(MAX_WORKERS),
        _ => {}
    }
    Ok(())
}

/// Without --user the server stays root, who can leave a chroot and gains nothing by another group.
fn needs_user(settings: &Settings) -> Result<(), UsageError> {
    let name = match (&settings.user, &settings.chroot, &settings.group) {
        (None, Some(_), _) => "chroot",
        (None, None, Some(_)) => "group",
        _ => return Ok(()),
    };
    Err(UsageError::on_line(
        name,
        Reason::Line("needs --user, which root has to become"),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{Shell, Surroundings, parse};
    use super::*;
    use crate::settings::{Bind, TrustedProxy, contradictions};

    fn command(
        words: &[&str],
        file: Option<&str>,
        home: Option<&str>,
    ) -> Result<Invocation, String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let home = home.map(OsStr::new);
        let parsed = parse(&words, Surroundings { home }).expect("good words");
        let file = file.map(|text| (Path::new("c.conf"), text.as_bytes()));
        combine(&parsed, file).map_err(|error| error.to_string())
    }

    fn served(words: &[&str], file: Option<&str>) -> Settings {
        match command(words, file, Some("/home/a")) {
            Ok(Invocation::Serve(settings)) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_limits() {
        let expected = Settings {
            path: "/home/a/.config/caffeine/".into(),
            port: 8080,
            workers: 4,
            socket: "/tmp/webserver.sock".into(),
            pid_file: Some("/tmp/caffeine.pid".into()),
            log_file: "/home/a/.local/share/caffeine/caffeine.log".into(),
            index: "index".into(),
            allowance: Allowance {
                core: Some(0),
                oom_score: Some(100),
                stderr: Some(64 * 1024),
                ..Allowance::default()
            },
            ..blank()
        };
        assert_eq!(served(&[], None), expected);
    }

    #[test]
    fn a_name_stands_in_every_default_file_and_in_no_other() {
        let settings = served(&["--name=a.b"], None);
        assert_eq!(settings.path, Path::new("/home/a/.config/caffeine/"));
        assert_eq!(settings.socket, Path::new("/tmp/webserver-a.b.sock"));
        let pid_file = Some("/tmp/caffeine-a.b.pid".into());
        assert_eq!(settings.pid_file, pid_file);
        let log = Path::new("/home/a/.local/share/caffeine/caffeine-a.b.log");
        assert_eq!(settings.log_file, log);
        let settings = served(&["--name=a", "--socket=/s.t"], Some("pid-file = /p.q"));
        assert_eq!(settings.socket, Path::new("/s.t"));
        assert_eq!(settings.pid_file, Some("/p.q".into()));
        let settings = served(&["--pid-file=none"], Some("pid-file = /p.q"));
        assert_eq!(settings.pid_file, None);
        assert_eq!(served(&[], Some("pid-file = none")).pid_file, None);
        let words = ["--name=a".into(), "--status".into()];
        let home = Some(OsStr::new("/home/a"));
        let file = parse(&words, Surroundings { home }).unwrap().config_file();
        let expected = Path::new("/home/a/.config/caffeine/caffeine-a.conf");
        assert_eq!(file.unwrap().path, expected);
    }

    #[test]
    fn values_that_have_no_effect_together_are_told() {
        let gib = 1 << 30;
        let rows: [(&str, u64, &[&str]); 11] = [
            ("", gib, &[]),
            (
                "",
                7 << 20,
                &["max-body (16M) has no effect beyond max-spool-total (7M)"],
            ),
            ("max-body = 1G", gib, &[]),
            (
                "max-body = 1G\n[handler /a]\nmax-body = 2G\nmax-concurrent = 40",
                gib,
                &[
                    "[handler /a] max-body (2G) has no effect beyond max-spool-total (1G)",
                    "[handler /a] max-concurrent (40) has no effect beyond max-workers (32)",
                ],
            ),
            (
                "max-spool = 300M",
                gib,
                &["max-spool (300M) has no effect beyond a quarter of max-spool-total (256M)"],
            ),
            (
                "max-spool-memory = 2G",
                gib,
                &["max-spool-memory (2G) has no effect beyond max-spool-total (1G)"],
            ),
            (
                "max-target = 20K",
                gib,
                &["max-target (20K) has no effect beyond max-head (16K)"],
            ),
            (
                "max-head = 4K",
                gib,
                &["max-target (8K) has no effect beyond max-head (4K)"],
            ),
            ("max-head = 8K", gib, &[]),
            (
                "max-workers = 9\nmax-concurrent = 10",
                gib,
                &["max-concurrent (10) has no effect beyond max-workers (9)"],
            ),
            (
                "max-connections = 5\nmax-connections-per-address = 6",
                gib,
                &["max-connections-per-address (6) has no effect beyond max-connections (5)"],
            ),
        ];
        for (file, total, expected) in rows {
            let settings = served(&[], Some(file));
            assert_eq!(contradictions(&settings, total), expected, "{file}");
        }
    }

    #[test]
    fn a_check_goes_on_behind_a_mistake_and_tells_all() {
        let file = "prot = 1\nworkers = 9\n[handler x]\nmax-workers = 8\n";
        let Ok(Invocation::Check(settings, mistakes)) =
            command(&["--check"], Some(file), Some("/h"))
        else {
            panic!("no check");
        };
        assert_eq!(settings.workers, 9);
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:#?}");
        for (told, start) in told
            .iter()
            .zip(["c.conf:1: ", "c.conf:3: ", "--workers: 9 is"])
        {
            assert!(told.starts_with(start), "{told}");
        }
    }

    #[test]
    fn a_mistake_in_the_file_does_not_keep_from_talking_to_the_server() {
        for (word, ask) in [
            ("--status", Ask::Status),
            ("--reload", Ask::Reload),
            ("--stop", Ask::Stop),
        ] {
            let found = command(&[word], Some("prot = 1\nsocket = /s"), None);
            let Ok(Invocation::Control(asked, settings)) = found else {
                panic!("{found:?}");
            };
            assert_eq!((asked, settings.socket.as_path()), (ask, Path::new("/s")));
        }
    }

    #[test]
    fn every_limit_is_an_option_of_its_name() {
        let limits = format!("{:?}", Limits::default());
        let words = limits
            .split([' ', ':'])
            .filter(|word| word.contains('_') || *word == "linger");
        let names: Vec<String> = words.map(|word| word.replace('_', "-")).collect();
        assert_eq!(names.len(), 21, "{limits}");
        for name in names {
            assert!(options::find(name.as_bytes()).is_some(), "{name}");
        }
    }

    #[test]
    fn every_option_reaches_a_setting_of_its_own() {
        let mut seen = vec![served(&[], None)];
        for row in options::all().filter(|row| row.standing().in_file && row.standing().on_line) {
            let value = sample(row);
            let word = if row.kind.takes_value() {
                format!("--{}={value}", row.name)
            } else {
                format!("--{}", row.name)
            };
            let line = match row.kind {
                Kind::Env(_) => format!("env {}", value.replace('=', " = ")),
                _ => format!("{} = {value}", row.name),
            };
            // Some need another.
            let user: &[&str] = match row.name {
                "chroot" | "group" => &["--user=another"],
                _ => &[],
            };
            let mut from_file = served(user, Some(&line));
            assert_eq!(from_file.config.take(), Some("c.conf".into()));
            let from_line = served(&[user, &[&word]].concat(), None);
            assert_eq!(from_file, from_line, "{}", row.name);
            assert!(
                !seen.contains(&from_line),
                "{} sets what another option sets, or nothing",
                row.name
            );
            seen.push(from_line);
        }
        assert!(seen.len() > 30);
    }

    /// A value that is nobody's default.
    fn sample(row: &Row) -> &'static str {
        match row.kind {
            Kind::Flag(_) => "yes",
            Kind::Count(..) if row.name == "nice" => "7",
            Kind::Count(..) => "77",
            Kind::Size(..) => "99K",
            Kind::Time(..) => "1234ms",
            Kind::Choice(words, _) => words.last().copied().unwrap_or(""),
            Kind::Address(_) => "127.0.0.1",
            Kind::Env(_) => "A=b",
            Kind::Proxy(_) => "10.0.0.0/8",
            _ => "sample",
        }
    }

    #[test]
    fn the_command_line_overrides_the_file() {
        let file = "port = 1\nbind = ::1\nbind = ::2\ntrusted-proxy = unix\nenv A = 1\nenv B = 1\ndaemon = yes";
        let settings = served(
            &[
                "--port=2",
                "--bind=unix:s",
                "--env=A=2",
                "--trusted-proxy=::1",
            ],
            Some(file),
        );
        let proxy = TrustedProxy::Network("::1".parse().unwrap(), 128);
        assert_eq!(settings.trusted_proxies, [proxy]);
        assert_eq!((settings.port, settings.daemon), (2, true));
        assert_eq!(settings.bind, [Bind::Unix("s".into())]);
        assert_eq!(
            settings.env,
            [("B".into(), "1".into()), ("A".into(), "2".into())]
        );
    }

    #[test]
    fn without_a_home_the_error_names_the_option_that_helps() {
        let log = "--log-file: no home folder is known (HOME is not set); give --log-file=FILE";
        let path = "--path: no home folder is known (HOME is not set); give --path=DIR";
        let rows: [(&[&str], Option<&str>, &str); 4] = [
            (&[], None, log),
            (&["--path=/a"], None, log),
            (&["--log-file=/l"], None, path),
            (&["--log"], None, log),
        ];
        for (words, file, expected) in rows {
            assert_eq!(
                command(words, file, None).err().as_deref(),
                Some(expected),
                "{words:?}"
            );
        }
        assert_eq!(
            command(&["--log", "--log-file=/l"], None, None),
            Ok(Invocation::PrintLog("/l".into()))
        );
        assert!(command(&["--path=/a"], Some("log-file = /l"), None).is_ok());
    }

    #[test]
    fn commands_need_neither_home_nor_file() {
        let rows: [(&[&str], Invocation); 6] = [
            (&["--help"], Invocation::Help),
            (&["-dh"], Invocation::Help),
            (&["-V"], Invocation::Version),
            (&["--print-man"], Invocation::Man),
            (
                &["--print-completions", "zsh"],
                Invocation::Completions(Shell::Zsh),
            ),
            (
                &["--print-completions=BASH"],
                Invocation::Completions(Shell::Bash),
            ),
        ];
        for (words, expected) in rows {
            assert_eq!(command(words, None, None), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn the_log_to_print_is_the_one_that_would_be_written() {
        let rows: [(&[&str], Option<&str>, &str); 3] = [
            (
                &["--log"],
                None,
                "/home/a/.local/share/caffeine/caffeine.log",
            ),
            (&["--log"], Some("log-file = ~/l"), "/home/a/l"),
            (&["--log", "--log-file=/m"], Some("log-file = ~/l"), "/m"),
        ];
        for (words, file, path) in rows {
            let expected = Ok(Invocation::PrintLog(path.into()));
            assert_eq!(command(words, file, Some("/home/a")), expected, "{words:?}");
        }
    }

    #[test]
    fn the_pool_never_has_less_room_than_workers() {
        let rows: [(&[&str], Option<&str>, Option<usize>); 5] = [
            (&["--workers=512"], None, None),
            (&["--workers=513"], None, Some(4096)),
            (&["--workers=8", "--max-workers=8"], None, Some(8)),
            (&["--workers=2"], Some("max-workers = 3"), Some(3)),
            (&["--max-workers=9"], Some("workers = 9"), Some(9)),
        ];
        for (words, file, expected) in rows {
            assert_eq!(
                served(words, file).limits.max_workers,
                expected,
                "{words:?}"
            );
        }
        let told = command(&["--workers=9"], Some("max-workers = 8"), Some("/"));
        let expected = "--workers: 9 is more than max-workers, which is 8; raise --max-workers or lower --workers";
        assert_eq!(told.err().as_deref(), Some(expected));
    }
}
