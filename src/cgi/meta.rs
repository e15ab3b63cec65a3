//! The meta-variables of one request (RFC 3875 section 4.1) and the `HTTP_*` of its fields.
//!
//! It writes strings into an [`Environment`] and refuses to look anything up: paths, addresses
//! and times come in. It takes nothing from the server's own environment. Runs in the worker,
//! before the launch.

use super::names::{self, Nominated};
use super::{Environment, Forwarded, OpenVariable, Refused};
use crate::text::AddressText;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How the client reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// Through a trusted proxy that ended TLS; `HTTPS=on` is set.
    Https,
}

/// What the worker knows about a request when its handler is to be launched. Borrows all of it.
#[derive(Clone, Debug)]
pub(crate) struct CgiRequest<'a> {
    /// `REQUEST_METHOD`, a token.
    pub method: &'a [u8],
    /// `SERVER_PROTOCOL`, as the client sent it: `HTTP/1.1`.
    pub protocol: &'a [u8],
    /// `REQUEST_URI` is this and the query: the path as sent, raw, without scheme and host, which are
    /// told elsewhere and which other servers leave out too.
    pub raw_path: &'a [u8],
    /// The valid Host of the request, or the authority of an absolute-form target, which
    /// replaces it (RFC 9112 3.2.2), or the one that a trusted proxy has told. Becomes `SERVER_NAME` and `HTTP_HOST`.
    pub host: Option<&'a [u8]>,
    /// `SCRIPT_NAME`: the part of the decoded path that named the handler.
    pub script_name: &'a [u8],
    /// `PATH_INFO`: the decoded rest of the path; empty or starts with `/`.
    pub path_info: &'a [u8],
    /// `QUERY_STRING`: what follows the `?`, raw; empty without one.
    pub query: Option<&'a [u8]>,
    /// Bytes that stdin holds, counted after decoding; `None` if the request has no body.
    pub body_length: Option<u64>,
    /// True after a local redirect (RFC 3875 6.2.2): the handler runs in place of another one, as for a GET
    /// without a body, and the request's `Content-*` fields do not concern it.
    pub is_redirected: bool,
    /// The client; `None` on a Unix domain socket.
    pub peer: Option<SocketAddr>,
    /// What the peer says of its client, if it is a trusted proxy: `REQUEST_SCHEME` among it.
    pub forwarded: Forwarded<'a>,
    /// The address that the client connected to; `None` on a Unix domain socket.
    pub local: Option<SocketAddr>,
    /// `DOCUMENT_ROOT`: the absolute path of the folder with the handlers. `SCRIPT_FILENAME` begins with it.
    pub document_root: &'a [u8],
    /// `PATH` for the handler.
    pub search_path: &'a [u8],
    /// `CAFFEINE_QUEUE_MS`: milliseconds that the client waited for a worker.
    pub queue_ms: u64,
    /// `CAFFEINE_DEADLINE_MS`: milliseconds that the handler may still take.
    pub deadline_ms: u64,
    /// Whether Authorization and Proxy-Authorization reach the handler.
    pub authorization: bool,
    /// Whether the client asks for another protocol, in HTTP/1.1 (RFC 9110 7.8), and the handler
    /// owns the connection: only then it sees Upgrade, and Connection, in which RFC 6455 4.2.1
    /// wants it to find `Upgrade`.
    pub upgrade: bool,
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

/// Other fields that never become `HTTP_*`: Host is written from `CgiRequest::host`,
/// Content-Length is told by `CONTENT_LENGTH`, and `HTTP_PROXY` would make many HTTP clients in
/// handlers send their requests where a stranger says (httpoxy, CVE-2016-5385).
const NEVER: [&[u8]; 3] = [b"host", b"content-length", b"proxy"];

const UPGRADE: [&[u8]; 2] = [b"connection", b"upgrade"];
const AUTHORIZATION: [&[u8]; 2] = [b"authorization", b"proxy-authorization"];
const SOFTWARE: &[u8] = concat!("Caffeine/", env!("CARGO_PKG_VERSION")).as_bytes();

/// Writes meta-variables; its scratch memory is reused from request to request.
#[derive(Debug, Default)]
pub(crate) struct MetaVariables {
    nominated: Nominated,
    /// One per field of the request, in order; 0: not passed, or already written.
    hashes: Vec<u64>,
}

impl MetaVariables {
    /// A writer; the first request warms it.
    pub(crate) const fn new() -> Self {
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
    pub(crate) fn write<'f>(
        &mut self,
        environment: &mut Environment,
        request: &CgiRequest<'_>,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
        extra: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<(), Refused> {
        environment.clear();
        write_gateway(environment, request);
        write_script(environment, request);
        write_addresses(environment, request);
        self.write_fields(environment, request, fields);
        for (name, value) in extra {
            environment.set(name, value)?;
        }
        environment.check()
    }

    fn write_fields<'f>(
        &mut self,
        environment: &mut Environment,
        request: &CgiRequest<'_>,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    ) {
        if let Some(host) = request.host {
            environment.push(b"HTTP_HOST", host);
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
        }
    }

    /// Notes which fields are passed. The hashes make finding repeats cheap for honest and
    /// hostile clients alike: 1000 distinct fields are half a million comparisons of numbers.
    fn survey<'f>(
        &mut self,
        request: &CgiRequest<'_>,
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
    entry: &mut OpenVariable<'_>,
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

fn begin<'e>(environment: &'e mut Environment, name: &[u8]) -> OpenVariable<'e> {
    if is(name, b"content-type") {
        environment.begin(b"CONTENT_TYPE")
    } else {
        environment.begin_field(name)
    }
}

fn is(name: &[u8], other: &[u8]) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// Whether a field called so can become a variable.
pub(crate) fn is_variable(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| names::in_variable(byte) != 0)
}

fn is_passed(name: &[u8], request: &CgiRequest<'_>) -> bool {
    is_variable(name)
        && !names::is_one_of(name, &NEVER)
        && (!request.is_redirected || !starts_with_content(name))
        && (request.authorization || !names::is_one_of(name, &AUTHORIZATION))
}

fn starts_with_content(name: &[u8]) -> bool {
    let start = name.get(..8).unwrap_or_default();
    start.eq_ignore_ascii_case(b"content-")
}

/// Content-Type is not given up when Connection lists it: RFC 3875 4.1.3 says MUST.
fn is_hop(name: &[u8], hash: u64, nominated: &Nominated, request: &CgiRequest<'_>) -> bool {
    if names::is_one_of(name, &UPGRADE) {
        return !request.upgrade;
    }
    names::is_one_of(name, &HOP_BY_HOP) || (nominated.has(hash) && !is(name, b"content-type"))
}

/// What is true of every request: the server, the method, the body, the time left.
fn write_gateway(environment: &mut Environment, request: &CgiRequest<'_>) {
    let (scheme, https): (&[u8], bool) = match request.forwarded.scheme {
        Scheme::Http => (b"http", false),
        Scheme::Https => (b"https", true),
    };
    environment.push(b"PATH", request.search_path);
    environment.push(b"GATEWAY_INTERFACE", b"CGI/1.1");
    environment.push(b"SERVER_SOFTWARE", SOFTWARE);
    environment.push(b"SERVER_PROTOCOL", request.protocol);
    environment.push(b"REQUEST_METHOD", request.method);
    environment.push(b"REQUEST_SCHEME", scheme);
    if https {
        environment.push(b"HTTPS", b"on");
    }
    // php-cgi answers nothing unless its server says that it was the server who called.
    environment.push(b"REDIRECT_STATUS", b"200");
    if let Some(length) = request.body_length {
        push_number(environment, b"CONTENT_LENGTH", length);
    }
    push_number(environment, b"CAFFEINE_QUEUE_MS", request.queue_ms);
    push_number(environment, b"CAFFEINE_DEADLINE_MS", request.deadline_ms);
}

fn write_script(environment: &mut Environment, request: &CgiRequest<'_>) {
    let mut entry = environment.begin(b"REQUEST_URI");
    entry.append(request.raw_path);
    if let Some(query) = request.query {
        entry.append(b"?");
        entry.append(query);
    }
    drop(entry);
    environment.push(b"SCRIPT_NAME", request.script_name);
    // RFC 3875 4.1.7: MUST be set, empty without a query.
    environment.push(b"QUERY_STRING", request.query.unwrap_or_default());
    environment.push(b"DOCUMENT_ROOT", request.document_root);
    let root = request.document_root;
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let mut entry = environment.begin(b"SCRIPT_FILENAME");
    entry.append(root);
    entry.append(request.script_name);
    drop(entry);
    // RFC 3875 4.1.5, 4.1.6: without a path both are unset, as with Apache.
    if request.path_info.is_empty() {
        return;
    }
    environment.push(b"PATH_INFO", request.path_info);
    let mut entry = environment.begin(b"PATH_TRANSLATED");
    entry.append(root);
    entry.append(request.path_info);
}

/// RFC 3875 4.1.8 and 4.1.15: both ends MUST be named by an address and ours by a port, so a
/// Unix domain socket, whose peer is on this host, shows as the loopback address.
fn write_addresses(environment: &mut Environment, request: &CgiRequest<'_>) {
    let peer = address_of(request.peer);
    let remote = request.forwarded.client.unwrap_or(peer);
    let local = address_of(request.local);
    let text = AddressText::new(remote);
    environment.push(b"REMOTE_ADDR", text.as_bytes());
    // RFC 3875 4.1.9: the address stands in for a name that nobody looked up.
    environment.push(b"REMOTE_HOST", text.as_bytes());
    if let (Some(peer), None) = (request.peer, request.forwarded.client) {
        push_number(environment, b"REMOTE_PORT", u64::from(peer.port()));
    }
    let text = AddressText::new(local);
    environment.push(b"SERVER_ADDR", text.as_bytes());
    let port = server_port(request);
    push_number(environment, b"SERVER_PORT", u64::from(port));
    let mut entry = environment.begin(b"SERVER_NAME");
    match (host_name(request.host), local) {
        (Some(name), _) => entry.append(name),
        (None, IpAddr::V4(_)) => entry.append(text.as_bytes()),
        // RFC 3875 4.1.14: an IPv6 address in brackets.
        (None, IpAddr::V6(_)) => {
            entry.append(b"[");
            entry.append(text.as_bytes());
            entry.append(b"]");
        }
    }
}

/// An IPv4 client of a dual-stack listener gets an IPv4 address, not one that is mapped into IPv6.
fn address_of(end: Option<SocketAddr>) -> IpAddr {
    end.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |end| {
        end.ip().to_canonical()
    })
}

/// Where the request was received, not what the Host claims, which the client can choose. Only behind a
/// Unix domain socket, which has no port, and behind a proxy that tells where it was received, the
/// Host's or the scheme's is taken.
fn server_port(request: &CgiRequest<'_>) -> u16 {
    let default = match request.forwarded.scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    match (request.forwarded.port, request.local) {
        (Some(port), _) => port,
        (None, Some(local)) if !request.forwarded.is_told => local.port(),
        _ => host_port(request.host).unwrap_or(default),
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

fn push_number(environment: &mut Environment, name: &[u8], number: u64) {
    environment.push(name, itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = [(&'a [u8], &'a [u8])];
    /// Both ends, Host; REMOTE_ADDR, SERVER_NAME, SERVER_PORT.
    type Ends = (
        Option<&'static str>,
        Option<&'static [u8]>,
        &'static str,
        &'static str,
        &'static str,
    );

    fn request() -> CgiRequest<'static> {
        CgiRequest {
            method: b"GET",
            protocol: b"HTTP/1.1",
            raw_path: b"/a%20b/c%2Fd",
            host: Some(b"example.org:8080"),
            script_name: b"/a b",
            path_info: b"/c/d",
            query: Some(b"x=%41"),
            body_length: None,
            is_redirected: false,
            peer: Some("192.0.2.1:5000".parse().unwrap()),
            forwarded: Forwarded::NOTHING,
            local: Some("192.0.2.9:8080".parse().unwrap()),
            document_root: b"/srv/cgi",
            search_path: b"/usr/bin:/bin",
            queue_ms: 3,
            deadline_ms: 60_000,
            authorization: false,
            upgrade: false,
        }
    }

    fn written(request: &CgiRequest<'_>, fields: &Pairs<'_>, extra: &Pairs<'_>) -> Vec<String> {
        let mut environment = Environment::new();
        let (fields, extra) = (fields.iter().copied(), extra.iter().copied());
        let mut meta = MetaVariables::new();
        meta.write(&mut environment, request, fields, extra)
            .unwrap();
        environment.entries()
    }

    /// What the fields alone become.
    fn from_fields(request: &CgiRequest<'_>, fields: &Pairs<'_>) -> Vec<String> {
        let none = written(request, &[], &[]);
        let all = written(request, fields, &[]);
        assert_eq!(all[..none.len()], none[..]);
        all[none.len()..].to_vec()
    }

    #[test]
    fn a_get_has_exactly_these_meta_variables() {
        let expected = [
            "PATH=/usr/bin:/bin",
            "GATEWAY_INTERFACE=CGI/1.1",
            concat!("SERVER_SOFTWARE=Caffeine/", env!("CARGO_PKG_VERSION")),
            "SERVER_PROTOCOL=HTTP/1.1",
            "REQUEST_METHOD=GET",
            "REQUEST_SCHEME=http",
            "REDIRECT_STATUS=200",
            "CAFFEINE_QUEUE_MS=3",
            "CAFFEINE_DEADLINE_MS=60000",
            "REQUEST_URI=/a%20b/c%2Fd?x=%41",
            "SCRIPT_NAME=/a b",
            "QUERY_STRING=x=%41",
            "DOCUMENT_ROOT=/srv/cgi",
            "SCRIPT_FILENAME=/srv/cgi/a b",
            "PATH_INFO=/c/d",
            "PATH_TRANSLATED=/srv/cgi/c/d",
            "REMOTE_ADDR=192.0.2.1",
            "REMOTE_HOST=192.0.2.1",
            "REMOTE_PORT=5000",
            "SERVER_ADDR=192.0.2.9",
            "SERVER_PORT=8080",
            "SERVER_NAME=example.org",
            "HTTP_HOST=example.org:8080",
        ];
        assert_eq!(written(&request(), &[], &[]), expected);
    }

    #[test]
    fn below_the_root_of_all_a_file_name_begins_with_one_slash() {
        let mut request = request();
        request.document_root = b"/";
        let variables = written(&request, &[], &[]);
        for expected in ["PATH_TRANSLATED=/c/d", "SCRIPT_FILENAME=/a b"] {
            assert!(variables.iter().any(|v| v == expected), "{variables:?}");
        }
    }

    #[test]
    fn what_is_absent_is_unset_but_the_query_is_always_set() {
        let mut bare = request();
        (bare.path_info, bare.query, bare.host) = (b"", None, None);
        let variables = written(&bare, &[], &[]);
        let names: Vec<_> = variables.iter().filter_map(|v| v.split_once('=')).collect();
        assert!(names.contains(&("QUERY_STRING", "")));
        assert!(names.contains(&("REQUEST_URI", "/a%20b/c%2Fd")));
        assert!(names.contains(&("SERVER_NAME", "192.0.2.9")));
        for absent in [
            "PATH_INFO",
            "PATH_TRANSLATED",
            "CONTENT_LENGTH",
            "CONTENT_TYPE",
        ] {
            assert!(names.iter().all(|(name, _)| *name != absent), "{absent}");
        }
        for absent in [
            "AUTH_TYPE",
            "REMOTE_USER",
            "REMOTE_IDENT",
            "HTTPS",
            "HTTP_HOST",
        ] {
            assert!(names.iter().all(|(name, _)| *name != absent), "{absent}");
        }
    }

    #[test]
    fn a_body_has_its_decoded_length_as_in_rfc_3875_4_1_2() {
        let mut post = request();
        post.body_length = Some(12);
        let fields: [(&[u8], &[u8]); 3] = [
            (b"Transfer-Encoding", b"chunked"),
            (b"Content-Length", b"999"),
            (b"content-type", b"a/b"),
        ];
        let variables = written(&post, &fields, &[]);
        assert!(variables.contains(&"CONTENT_LENGTH=12".into()));
        assert!(variables.contains(&"CONTENT_TYPE=a/b".into()));
        assert!(!variables.iter().any(|v| v.starts_with("HTTP_CONTENT")));
    }

    #[test]
    fn who_answers_in_anothers_place_is_told_nothing_of_a_body() {
        let mut redirected = request();
        redirected.is_redirected = true;
        let fields: [(&[u8], &[u8]); 4] = [
            (b"content-TYPE", b"a/b"),
            (b"Content-Encoding", b"gzip"),
            (b"Content", b"1"),
            (b"X-Content-Type", b"2"),
        ];
        assert_eq!(
            from_fields(&redirected, &fields),
            ["HTTP_CONTENT=1", "HTTP_X_CONTENT_TYPE=2"]
        );
    }

    #[test]
    fn addresses_show_as_rfc_3875_wants_them() {
        let rows: [Ends; 9] = [
            (
                Some("[2001:db8::1]:80"),
                None,
                "2001:db8::1",
                "[2001:db8::1]",
                "80",
            ),
            (
                Some("[::ffff:192.0.2.7]:80"),
                None,
                "192.0.2.7",
                "192.0.2.7",
                "80",
            ),
            (Some("192.0.2.7:81"), Some(b"h"), "192.0.2.7", "h", "81"),
            (
                Some("192.0.2.7:81"),
                Some(b"[::1]:9"),
                "192.0.2.7",
                "[::1]",
                "81",
            ),
            (
                Some("192.0.2.7:81"),
                Some(b""),
                "192.0.2.7",
                "192.0.2.7",
                "81",
            ),
            (
                Some("192.0.2.7:81"),
                Some(b":80"),
                "192.0.2.7",
                "192.0.2.7",
                "81",
            ),
            (None, None, "127.0.0.1", "127.0.0.1", "80"),
            (None, Some(b"h:8443"), "127.0.0.1", "h", "8443"),
            (None, Some(b"h:99999"), "127.0.0.1", "h", "80"),
        ];
        for (end, host, address, name, port) in rows {
            let mut request = request();
            request.host = host;
            request.local = end.map(|end| end.parse().unwrap());
            request.peer = request.local;
            let variables = written(&request, &[], &[]);
            for expected in [
                format!("REMOTE_ADDR={address}"),
                format!("REMOTE_HOST={address}"),
                format!("SERVER_ADDR={address}"),
                format!("SERVER_NAME={name}"),
                format!("SERVER_PORT={port}"),
            ] {
                assert!(variables.contains(&expected), "{end:?} {host:?} {expected}");
            }
            let has_port = variables.iter().any(|v| v.starts_with("REMOTE_PORT="));
            assert_eq!(has_port, end.is_some());
        }
    }

    #[test]
    fn a_trusted_tls_proxy_shows_as_https() {
        let mut request = request();
        request.host = Some(b"h");
        request.forwarded.scheme = Scheme::Https;
        request.forwarded.is_told = true;
        request.forwarded.client = Some("203.0.113.5".parse().unwrap());
        let variables = written(&request, &[], &[]);
        for expected in [
            "HTTPS=on",
            "REQUEST_SCHEME=https",
            "SERVER_PORT=443",
            "REMOTE_ADDR=203.0.113.5",
            "REMOTE_HOST=203.0.113.5",
        ] {
            assert!(variables.contains(&expected.to_owned()));
        }
        assert!(!variables.iter().any(|v| v.starts_with("REMOTE_PORT=")));
        // Where the client came in is what it asked for, unless the proxy says it.
        for (host, port, expected) in [
            (&b"h:8443"[..], None, "SERVER_PORT=8443"),
            (b"h", Some(8444), "SERVER_PORT=8444"),
            (
                b"[fe80::1%25eth0]:1",
                Some(443),
                "SERVER_NAME=[fe80::1%25eth0]",
            ),
        ] {
            request.host = Some(host);
            request.forwarded.port = port;
            assert!(written(&request, &[], &[]).contains(&expected.to_owned()));
        }
    }

    #[test]
    fn each_field_becomes_one_variable_or_none_as_in_rfc_3875_4_1_18() {
        let rows: [(&Pairs<'_>, &[&str]); 6] = [
            (
                &[(b"Accept", b"a"), (b"X-Y", b"")],
                &["HTTP_ACCEPT=a", "HTTP_X_Y="],
            ),
            (
                &[(b"X-A", b"1"), (b"B", b"2"), (b"x-a", b"3"), (b"X-A", b"4")],
                &["HTTP_X_A=1, 3, 4", "HTTP_B=2"],
            ),
            (
                &[(b"Cookie", b"a=1"), (b"cookie", b"b=2")],
                &["HTTP_COOKIE=a=1; b=2"],
            ),
            (
                &[(b"Content-Type", b"a"), (b"content-TYPE", b"b")],
                &["CONTENT_TYPE=a, b"],
            ),
            (
                &[(b"Path", b"/evil"), (b"Https", b"on")],
                &["HTTP_PATH=/evil", "HTTP_HTTPS=on"],
            ),
            (
                &[(b"Connection", b"content-type"), (b"Content-Type", b"a/b")],
                &["CONTENT_TYPE=a/b"],
            ),
        ];
        for (fields, expected) in rows {
            assert_eq!(from_fields(&request(), fields), expected);
        }
    }

    #[test]
    fn what_a_handler_must_not_be_told_is_not_passed() {
        const DROPPED: [&[u8]; 20] = [
            // httpoxy; names that collide or that shells cannot use.
            b"Proxy",
            b"pROXY",
            b"X_A",
            b"Content_Length",
            b"_",
            b"X.A",
            b"x()",
            b"",
            // Said by other variables.
            b"Host",
            b"Content-Length",
            // Not configured.
            b"Authorization",
            b"Proxy-Authorization",
            // RFC 9110 7.6.1: hop-by-hop, the last by nomination.
            b"Connection",
            b"Keep-Alive",
            b"TE",
            b"Trailer",
            b"Transfer-Encoding",
            b"Upgrade",
            b"Expect",
            b"x-HOP",
        ];
        for name in DROPPED {
            let fields = [
                (name, &b"1"[..]),
                (b"Connection", b"close, X-Hop"),
                (b"X-Stay", b"2"),
            ];
            assert_eq!(
                from_fields(&request(), &fields),
                ["HTTP_X_STAY=2"],
                "{name:?}"
            );
        }
    }

    #[test]
    fn credentials_and_upgrades_reach_only_those_who_may_have_them() {
        let fields: [(&[u8], &[u8]); 4] = [
            (b"Authorization", b"Basic x"),
            (b"Connection", b"Upgrade, X-Hop"),
            (b"Upgrade", b"websocket"),
            (b"X-Hop", b"1"),
        ];
        let mut request = request();
        assert!(from_fields(&request, &fields).is_empty());
        request.authorization = true;
        assert_eq!(
            from_fields(&request, &fields),
            ["HTTP_AUTHORIZATION=Basic x"]
        );
        (request.authorization, request.upgrade) = (false, true);
        let expected = ["HTTP_CONNECTION=Upgrade, X-Hop", "HTTP_UPGRADE=websocket"];
        assert_eq!(from_fields(&request, &fields), expected);
    }

    #[test]
    fn the_configuration_may_replace_every_variable_and_comes_last() {
        let extra: [(&[u8], &[u8]); 3] = [(b"PATH", b"/opt"), (b"A", b"1"), (b"HTTP_X", b"2")];
        let variables = written(&request(), &[(b"X", b"client")], &extra);
        let end = &variables[variables.len() - 3..];
        assert_eq!(end, ["PATH=/opt", "A=1", "HTTP_X=2"]);
        let paths = variables.iter().filter(|v| v.starts_with("PATH="));
        assert_eq!(paths.count(), 1);
    }

    #[test]
    fn a_nul_anywhere_refuses_the_launch() {
        let mut environment = Environment::new();
        let mut meta = MetaVariables::new();
        let mut write =
            |request: &CgiRequest<'_>, fields: &Pairs<'static>, extra: &Pairs<'static>| {
                let (fields, extra) = (fields.iter().copied(), extra.iter().copied());
                meta.write(&mut environment, request, fields, extra)
            };
        assert_eq!(
            write(&request(), &[(b"X", b"a\0b")], &[]),
            Err(Refused::Nul)
        );
        assert_eq!(
            write(&request(), &[], &[(b"X", b"a\0b")]),
            Err(Refused::Nul)
        );
        assert_eq!(write(&request(), &[], &[(b"X=", b"a")]), Err(Refused::Name));
        let mut bad = request();
        bad.path_info = b"/\0";
        assert_eq!(write(&bad, &[], &[]), Err(Refused::Nul));
        assert_eq!(write(&request(), &[], &[]), Ok(()));
    }

    #[test]
    fn no_field_becomes_two_strings_or_another_name() {
        const NAMES: [&[u8]; 8] = [
            b"A",
            b"a",
            b"X-A",
            b"x-a",
            b"Cookie",
            b"Content-Type",
            b"Connection",
            b"Te",
        ];
        for a in NAMES {
            for b in NAMES {
                for c in NAMES {
                    let fields = [(a, &b"1"[..]), (b, b"x-a"), (c, b"3")];
                    let variables = written(&request(), &fields, &[]);
                    let mut names: Vec<_> =
                        variables.iter().filter_map(|v| v.split_once('=')).collect();
                    let all = names.len();
                    names.sort_unstable();
                    names.dedup_by_key(|(name, _)| *name);
                    assert_eq!(names.len(), all, "{variables:?}");
                }
            }
        }
    }

    #[test]
    fn a_thousand_fields_are_joined_to_as_few_bytes_as_they_need() {
        let names: Vec<_> = (0..500).map(|n| format!("N{}", n % 250)).collect();
        let fields = names
            .iter()
            .map(|name| (name.as_bytes(), &b"0123456789"[..]));
        let fields = fields.clone().chain(fields);
        let mut environment = Environment::new();
        let mut meta = MetaVariables::new();
        let none = std::iter::empty();
        meta.write(&mut environment, &request(), fields, none)
            .unwrap();
        let joined = format!("HTTP_N249={}", ["0123456789"; 4].join(", "));
        assert!(environment.entries().contains(&joined));
        assert!(environment.bytes().len() < 1000 + 250 * 60);
    }
}
