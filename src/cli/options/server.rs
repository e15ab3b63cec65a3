//! Rows of the table: what is served, and the files of a running server.

use super::super::kind::{Kind, MAX_PATH, MAX_SOCKET_PATH, both, server};
use super::{BASE, Default, Row};
use crate::settings::{ErrorPage, HalfClose, Level};

const fn level(index: usize) -> Level {
    match index {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Warn,
        _ => Level::Error,
    }
}

const fn half_close(index: usize) -> HalfClose {
    match index {
        0 => HalfClose::Probe,
        1 => HalfClose::Serve,
        _ => HalfClose::Gone,
    }
}

/// What is served, where, by how many.
pub(super) const SERVER: &[Row] = &[
    Row {
        name: "path",
        value: "DIR",
        kind: Kind::Path(MAX_PATH, server(|to, path| to.path = path)),
        default: Default::Is("~/.config/caffeine/"),
        help: "folder with the handlers",
        long: "Requests run the executable files below this folder, and nothing else.",
        ..BASE
    },
    Row {
        name: "port",
        value: "PORT",
        kind: Kind::Count(
            0,
            u16::MAX as u64,
            server(|to, port| to.port = u16::try_from(port).unwrap_or(u16::MAX)),
        ),
        default: Default::Is("8080"),
        help: "TCP port, 0 for any free one",
        long: "It holds for every address of --bind that has no port of its own. \
               The log says which port was taken.",
        ..BASE
    },
    Row {
        name: "bind",
        value: "ADDRESS",
        kind: Kind::Address(server(|to, bind| to.bind.push(bind))),
        default: Default::Computed("all addresses, IPv4 and IPv6"),
        help: "listen on this address only, may be repeated",
        long: "An IPv4 or IPv6 address, one with a port (an IPv6 address then in brackets), \
               or unix:PATH for a Unix domain socket. \
               Addresses on the command line replace those of the configuration file.",
        repeats: true,
        ..BASE
    },
    Row {
        name: "trusted-proxy",
        value: "ADDRESS",
        kind: Kind::Proxy(server(|to, proxy| to.trusted_proxies.push(proxy))),
        help: "proxy that says who the client is, may be repeated",
        long: "An IPv4 or IPv6 address, a network as ADDRESS/BITS, \
               or unix for everybody who reaches a Unix domain socket. \
               Of requests from there the last address of X-Forwarded-For that is no such proxy's \
               becomes REMOTE_ADDR, X-Forwarded-Proto https sets HTTPS and REQUEST_SCHEME, \
               and X-Forwarded-Host and -Port say what host and port were asked for. \
               Trust only a proxy that sets or removes these fields itself, \
               since else every client can claim to be another. \
               It may open any number of connections. \
               Those of the command line replace those of the configuration file.",
        repeats: true,
        ..BASE
    },
    Row {
        name: "workers",
        value: "NUMBER",
        kind: Kind::Count(
            1,
            1024,
            server(|to, number| to.workers = super::limits::fits(number)),
        ),
        default: Default::Is("4"),
        help: "workers that are always there",
        long: "Each runs one handler at a time. \
               While clients wait and no worker is free, more are started, up to --max-workers.",
        ..BASE
    },
    Row {
        name: "index",
        value: "NAME",
        kind: Kind::Name(server(|to, name| to.index = name)),
        default: Default::Is("index"),
        help: "handler that answers for a folder",
        ..BASE
    },
    Row {
        name: "follow-symlinks",
        kind: Kind::Flag(server(|to, yes| to.follow_symlinks = yes)),
        default: Default::Is("no"),
        help: "let symbolic links lead out of --path",
        long: "Without it a link that leads out of --path is refused.",
        ..BASE
    },
    Row {
        name: "half-close",
        value: "HOW",
        kind: Kind::Choice(
            &["probe", "serve", "gone"],
            both(
                |to, word| to.half_close = half_close(word),
                |to, word| to.half_close = Some(half_close(word)),
            ),
        ),
        default: Default::Is("probe"),
        help: "what a FIN before the response means",
        long: "A client that has closed its side has either left or only finished sending. \
               With probe it is asked by an interim 100 response, with gone the handler is ended, \
               with serve it runs to its end whatever the client does, also after a reset.",
        ..BASE
    },
    Row {
        name: "env",
        value: "NAME=VALUE",
        kind: Kind::Env(both(
            |to, pair| to.env.push(pair),
            |to, pair| to.env.push(pair),
        )),
        help: "add a variable for handlers, may be repeated",
        long: "In the configuration file it is written env NAME = value. \
               Nothing else of the environment of the server reaches a handler.",
        repeats: true,
        ..BASE
    },
    Row {
        name: "config",
        value: "FILE",
        kind: Kind::Config,
        default: Default::Computed("~/.config/caffeine/caffeine.conf if it exists"),
        help: "configuration file",
        long: "The command line overrides what it says.",
        ..BASE
    },
];

/// What stands at the top of the configuration file only.
pub(super) const FILE: &[Row] = &[Row {
    name: "error-page",
    value: "FILE",
    kind: Kind::Page(server(|to, (status, path)| {
        let (line, body) = (0, Vec::new());
        to.error_pages.push(ErrorPage {
            status,
            path,
            line,
            body,
        });
    })),
    help: "page for an error that the server answers itself",
    repeats: true,
    ..BASE
}];

/// The log and the files of a running server.
pub(super) const INSTANCE: &[Row] = &[
    Row {
        name: "name",
        value: "NAME",
        kind: Kind::Instance,
        help: "name of this server, where there are several",
        long: "It becomes part of the default --config, --log-file, --pid-file and --socket, \
               as in /tmp/caffeine-NAME.pid.",
        ..BASE
    },
    Row {
        name: "daemon",
        short: Some(b'd'),
        kind: Kind::Flag(server(|to, yes| to.daemon = yes)),
        default: Default::Is("no"),
        help: "run in the background",
        long: "The command returns when the daemon accepts clients, \
               or says why it cannot and fails.",
        ..BASE
    },
    Row {
        name: "log-level",
        value: "LEVEL",
        kind: Kind::Choice(
            &["DEBUG", "INFO", "WARN", "ERROR"],
            server(|to, word| to.log_level = level(word)),
        ),
        default: Default::Is("INFO"),
        help: "least level that is logged",
        long: "DEBUG has each step of a request, INFO one line per request, \
               WARN what handlers and clients did wrong, ERROR what the server could not do.",
        ..BASE
    },
    Row {
        name: "log-file",
        value: "FILE",
        kind: Kind::Path(MAX_PATH, server(|to, path| to.log_file = path)),
        default: Default::Is("~/.local/share/caffeine/caffeine.log"),
        help: "log file, created with its folders",
        ..BASE
    },
    Row {
        name: "pid-file",
        value: "FILE",
        kind: Kind::Path(
            MAX_PATH,
            server(|to, path| to.pid_file = (path.as_os_str() != "none").then_some(path)),
        ),
        default: Default::Is("/tmp/caffeine.pid"),
        help: "file with the process id of the server, or none",
        long: "Without one --stop and --reload are refused, since it proves whose they are: \
               send signals. Where its default cannot be made there is none.",
        ..BASE
    },
    Row {
        name: "socket",
        value: "FILE",
        kind: Kind::Path(MAX_SOCKET_PATH, server(|to, path| to.socket = path)),
        default: Default::Is("/tmp/webserver.sock"),
        help: "control socket, for workers and commands",
        long: "Each server on a host needs its own. On Linux @NAME is one in no folder, \
               which is tried where the default cannot be made.",
        ..BASE
    },
];
