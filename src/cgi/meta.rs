//! The meta-variables of one request (RFC 3875 section 4.1) and the `HTTP_*` of its fields.
//!
//! It writes strings into an [`Environment`] and refuses to look anything up: paths, addresses
//! and times come in. It takes nothing from the server's own environment. Runs in the worker,
//! before the launch.

use super::names::{self, Nominated};
use super::{Entry, Environment, Refused};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How the client reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Through a trusted proxy that ended TLS; `HTTPS=on` is set.
    Https,
}

/// What the worker knows about a request when its handler is to be launched. Borrows all of it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// `REQUEST_METHOD`, a token.
    pub method: &'a [u8],
    /// `SERVER_PROTOCOL`, as the client sent it: `HTTP/1.1`.
    pub protocol: &'a [u8],
    /// `REQUEST_URI`: the target in origin-form, raw.
    pub target: &'a [u8],
    /// The valid Host of the request, or the authority of an absolute-form target, which
    /// replaces it (RFC 9112 3.2.2). Becomes `SERVER_NAME` and `HTTP_HOST`.
    pub host: Option<&'a [u8]>,
    /// `SCRIPT_NAME`: the part of the decoded path that named the handler.
    pub script_name: &'a [u8],
    /// `PATH_INFO`: the decoded rest of the path; empty or starts with `/`.
    pub path_info: &'a [u8],
    /// `QUERY_STRING`: what follows the `?`, raw; empty without one.
    pub query: &'a [u8],
    /// Bytes that stdin holds, counted after decoding; `None` if the request has no body.
    pub body_length: Option<u64>,
    /// The client; `None` on a Unix domain socket.
    pub peer: Option<SocketAddr>,
    /// The address that the client connected to; `None` on a Unix domain socket.
    pub local: Option<SocketAddr>,
    /// `REQUEST_SCHEME`.
    pub scheme: Scheme,
    /// `DOCUMENT_ROOT`: the absolute path of the folder with the handlers.
    pub document_root: &'a [u8],
    /// `SCRIPT_FILENAME`: the absolute path of the handler.
    pub script_filename: &'a [u8],
    /// `PATH` for the handler.
    pub search_path: &'a [u8],
    /// `CAFFEINE_QUEUE_MS`: milliseconds that the client waited for a worker.
    pub queue_ms: u64,
    /// `CAFFEINE_DEADLINE_MS`: milliseconds that the handler may still take.
    pub deadline_ms: u64,
    /// Whether Authorization and Proxy-Authorization reach the handler.
    pub authorization: bool,
    /// Whether the handler owns the connection: only then it sees Upgrade, and Connection,
    /// in which RFC 6455 4.2.1 wants it to find `Upgrade`.
    pub nph: bool,
}

/// Fields that concern one connection only (RFC 9110 7.6.1). Caffeine has answered or undone
/// each of them before the handler starts.
const HOP_BY_HOP: [&[u8]; 6] = [
    b"keep-alive",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"proxy-connection",
    b"expect",
];

/// Other fields that never become `HTTP_*`: Host is written from `Request::host`,
/// Content-Length is told by `CONTENT_LENGTH`, and `HTTP_PROXY` would make many HTTP clients in
/// handlers send their requests where a stranger says (httpoxy, CVE-2016-5385).
const NEVER: [&[u8]; 3] = [b"host", b"content-length", b"proxy"];

const UPGRADE: [&[u8]; 2] = [b"connection", b"upgrade"];
const AUTHORIZATION: [&[u8]; 2] = [b"authorization", b"proxy-authorization"];
const SOFTWARE: &[u8] = concat!("Caffeine/", env!("CARGO_PKG_VERSION")).as_bytes();

/// Writes meta-variables; its scratch memory is reused from request to request.
#[derive(Debug, Default)]
pub struct MetaVariables {
    nominated: Nominated,
    /// One per field of the request, in order; 0: not passed, or already written.
    hashes: Vec<u64>,
}

impl MetaVariables {
    /// A writer; the first request warms it.
    pub const fn new() -> Self {
        Self {
            nominated: Nominated::new(),
            hashes: Vec::new(),
        }
    }

    /// Replaces what is in `environment` by the environment of a handler for `request`.
    ///
    /// `fields` are the request's, in order of arrival. `extra` is what the configuration adds:
    /// it comes last and replaces any variable of the same name, whatever it is. That is the
    /// administrator's right; a client's field can replace nothing, since all but Content-Type
    /// are written behind `HTTP_`.
    ///
    /// # Errors
    /// [`Refused`]: a value contains NUL, or an extra name is unusable. Nothing is to be launched.
    pub fn write<'f>(
        &mut self,
        environment: &mut Environment,
        request: &Request<'_>,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
        extra: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<(), Refused> {
        environment.clear();
        write_gateway(environment, request)?;
        write_script(environment, request)?;
        write_addresses(environment, request)?;
        self.write_fields(environment, request, fields)?;
        for (name, value) in extra {
            environment.set(name, value)?;
        }
        Ok(())
    }

    fn write_fields<'f>(
        &mut self,
        environment: &mut Environment,
        request: &Request<'_>,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    ) -> Result<(), Refused> {
        if let Some(host) = request.host {
            environment.push(b"HTTP_HOST", host)?;
        }
        self.survey(request, fields.clone());
        let mut rest = fields;
        let mut at = 0;
        while let Some((name, value)) = rest.next() {
            let hash = self.hashes.get(at).copied().unwrap_or(0);
            at += 1;
            if hash == 0 {
                continue;
            }
            let mut entry = begin(environment, name);
            entry.append(value);
            let later = self.hashes.get_mut(at..).unwrap_or_default();
            if later.contains(&hash) {
                join(&mut entry, name, later, rest.clone());
            }
            entry.end()?;
        }
        Ok(())
    }

    /// Notes which fields are passed. The hashes make finding repeats cheap for honest and
    /// hostile clients alike: 1000 distinct fields are half a million comparisons of numbers.
    fn survey<'f>(
        &mut self,
        request: &Request<'_>,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    ) {
        self.nominated.clear();
        for (_, value) in fields.clone().filter(|(name, _)| is(name, b"connection")) {
            self.nominated.add(value);
        }
        self.nominated.seal();
        self.hashes.clear();
        let nominated = &self.nominated;
        self.hashes.extend(fields.map(|(name, _)| {
            let hash = names::hash(name);
            let passed = is_passed(name, request) && !is_hop(name, hash, nominated, request);
            if passed { hash } else { 0 }
        }));
    }
}

/// Appends the values of all later fields of this name (RFC 9110 5.3) and marks them written.
fn join<'f>(
    entry: &mut Entry<'_>,
    name: &[u8],
    later: &mut [u64],
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) {
    // RFC 9113 8.2.3: a cookie's own separator; a comma would become part of a cookie's value.
    let separator: &[u8] = if is(name, b"cookie") { b"; " } else { b", " };
    let wanted = names::hash(name);
    for (hash, (other, value)) in later.iter_mut().zip(fields) {
        if *hash == wanted && is(other, name) {
            entry.append(separator);
            entry.append(value);
            *hash = 0;
        }
    }
}

fn begin<'e>(environment: &'e mut Environment, name: &[u8]) -> Entry<'e> {
    if is(name, b"content-type") {
        environment.begin(b"CONTENT_TYPE")
    } else {
        environment.begin_field(name)
    }
}

fn is(name: &[u8], other: &[u8]) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// Letters, digits and `-` only, as Apache: `_` would collide with `-`, so that a client could
/// pass for a proxy that sets `X-Real-IP` by sending `X_Real_IP`; other bytes make names that
/// shells cannot use.
fn is_passed(name: &[u8], request: &Request<'_>) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    !name.is_empty()
        && name.iter().all(plain)
        && !names::is_one_of(name, &NEVER)
        && (request.authorization || !names::is_one_of(name, &AUTHORIZATION))
}

/// Content-Type is not given up when Connection lists it: RFC 3875 4.1.3 says MUST.
fn is_hop(name: &[u8], hash: u64, nominated: &Nominated, request: &Request<'_>) -> bool {
    if names::is_one_of(name, &UPGRADE) {
        return !request.nph;
    }
    names::is_one_of(name, &HOP_BY_HOP) || (nominated.has(hash) && !is(name, b"content-type"))
}

/// What is true of every request: the server, the method, the body, the time left.
fn write_gateway(environment: &mut Environment, request: &Request<'_>) -> Result<(), Refused> {
    let (scheme, https): (&[u8], bool) = match request.scheme {
        Scheme::Http => (b"http", false),
        Scheme::Https => (b"https", true),
    };
    environment.push(b"PATH", request.search_path)?;
    environment.push(b"GATEWAY_INTERFACE", b"CGI/1.1")?;
    environment.push(b"SERVER_SOFTWARE", SOFTWARE)?;
    environment.push(b"SERVER_PROTOCOL", request.protocol)?;
    environment.push(b"REQUEST_METHOD", request.method)?;
    environment.push(b"REQUEST_SCHEME", scheme)?;
    if https {
        environment.push(b"HTTPS", b"on")?;
    }
    // php-cgi answers nothing unless its server says that it was the server who called.
    environment.push(b"REDIRECT_STATUS", b"200")?;
    if let Some(length) = request.body_length {
        push_number(environment, b"CONTENT_LENGTH", length)?;
    }
    push_number(environment, b"CAFFEINE_QUEUE_MS", request.queue_ms)?;
    push_number(environment, b"CAFFEINE_DEADLINE_MS", request.deadline_ms)
}

fn write_script(environment: &mut Environment, request: &Request<'_>) -> Result<(), Refused> {
    environment.push(b"REQUEST_URI", request.target)?;
    environment.push(b"SCRIPT_NAME", request.script_name)?;
    // RFC 3875 4.1.7: MUST be set, empty without a query.
    environment.push(b"QUERY_STRING", request.query)?;
    environment.push(b"DOCUMENT_ROOT", request.document_root)?;
    environment.push(b"SCRIPT_FILENAME", request.script_filename)?;
    // RFC 3875 4.1.5, 4.1.6: without a path both are unset, as with Apache.
    if request.path_info.is_empty() {
        return Ok(());
    }
    environment.push(b"PATH_INFO", request.path_info)?;
    let root = request.document_root;
    let mut entry = environment.begin(b"PATH_TRANSLATED");
    entry.append(root.strip_suffix(b"/").unwrap_or(root));
    entry.append(request.path_info);
    entry.end()
}

/// RFC 3875 4.1.8 and 4.1.15: both ends MUST be named by an address and ours by a port, so a
/// Unix domain socket, whose peer is on this host, shows as the loopback address.
fn write_addresses(environment: &mut Environment, request: &Request<'_>) -> Result<(), Refused> {
    let remote = address_of(request.peer);
    let local = address_of(request.local);
    push_address(environment, b"REMOTE_ADDR", remote)?;
    // RFC 3875 4.1.9: the address stands in for a name that nobody looked up.
    push_address(environment, b"REMOTE_HOST", remote)?;
    if let Some(peer) = request.peer {
        push_number(environment, b"REMOTE_PORT", u64::from(peer.port()))?;
    }
    push_address(environment, b"SERVER_ADDR", local)?;
    let port = server_port(request);
    push_number(environment, b"SERVER_PORT", u64::from(port))?;
    let mut entry = environment.begin(b"SERVER_NAME");
    match (host_name(request.host), local) {
        (Some(name), _) => entry.append(name),
        (None, IpAddr::V4(address)) => entry.append_display(&address),
        // RFC 3875 4.1.14: an IPv6 address in brackets.
        (None, IpAddr::V6(address)) => entry.append_display(&format_args!("[{address}]")),
    }
    entry.end()
}

/// An IPv4 client of a dual-stack listener shows as what it is.
fn address_of(end: Option<SocketAddr>) -> IpAddr {
    end.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |end| {
        end.ip().to_canonical()
    })
}

/// Where the request was received, not what the Host claims, which the client can choose.
/// Only behind a Unix domain socket, which has no port, the Host's or the scheme's is taken.
fn server_port(request: &Request<'_>) -> u16 {
    let default = match request.scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    match request.local {
        Some(local) => local.port(),
        None => host_port(request.host).unwrap_or(default),
    }
}

/// The host without its port; `None` if there is nothing but a port.
fn host_name(host: Option<&[u8]>) -> Option<&[u8]> {
    let host = host?;
    let end = if host.first() == Some(&b'[') {
        memchr::memchr(b']', host)? + 1
    } else {
        memchr::memchr(b':', host).unwrap_or(host.len())
    };
    host.get(..end).filter(|name| !name.is_empty())
}

fn host_port(host: Option<&[u8]>) -> Option<u16> {
    let port = host?.get(host_name(host)?.len()..)?.strip_prefix(b":")?;
    std::str::from_utf8(port).ok()?.parse().ok()
}

fn push_number(environment: &mut Environment, name: &[u8], number: u64) -> Result<(), Refused> {
    let mut entry = environment.begin(name);
    entry.append_number(number);
    entry.end()
}

fn push_address(environment: &mut Environment, name: &[u8], ip: IpAddr) -> Result<(), Refused> {
    let mut entry = environment.begin(name);
    entry.append_display(&ip);
    entry.end()
}
