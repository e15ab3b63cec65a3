//! The head of a handler's output (RFC 3875 section 6, or a full HTTP/1.x response).
//!
//! Finds where the head ends, what it means, and which of its fields go on to the client.
//! It refuses to look at the body, and to let a handler speak about the connection, which is
//! Caffeine's. Every line is read once, however small the pieces arrive. Runs in the worker.
//!
//! | field | CGI response | full response |
//! |---|---|---|
//! | Status | becomes the status | removed |
//! | Location | passed; alone and local, it is an internal redirect | passed |
//! | Content-Type | passed, once | passed, once |
//! | Date | passed, once; `http::push_field` leaves it out, as it does Server | the same |
//! | Content-Length | removed, told as a number | removed, told as a number |
//! | Transfer-Encoding | removed, told as `chunked` | the same |
//! | Connection and what it lists, Keep-Alive, Proxy-Connection, TE, Trailer, Upgrade | removed | removed |
//! | Proxy-Authenticate, Proxy-Authentication-Info, Proxy-Authorization | removed: Caffeine is no proxy | removed |
//! | all others, Set-Cookie as often as it comes | passed | passed |
//!
//! Interim responses (1xx, and a proxy's answer to CONNECT) before a full one are left out.

use super::line::{self, BadOutput, Meaning, Opening};
use super::names::{self, Nominated};
use crate::http::{self, Progress};
use memchr::memchr;
use std::ops::Range;

/// The head of a handler's output. Borrows the output and the parser.
#[derive(Clone, Debug)]
pub struct Output<'a> {
    /// 200 to 599.
    pub status: u16,
    /// The handler's own words for the status, never empty.
    pub reason: Option<&'a [u8]>,
    /// A local redirect response (RFC 3875 6.2.2): the path and query, starting with `/`, to
    /// process as a GET without body in place of this request. Only for a CGI response that
    /// consists of this Location alone: beside a Status, a Content-Type or a Set-Cookie, with a
    /// fragment, which only a client can use, or with a host (`//host/path`), Location is passed
    /// on, with 302 unless there is a Status.
    pub local: Option<&'a [u8]>,
    /// What the handler says of its body's length, in bytes.
    pub content_length: Option<u64>,
    /// The head says that the body that follows is in chunks.
    pub chunked: bool,
    /// Bytes up to the body.
    pub head_length: usize,
    fields: PassedFields<'a>,
}

impl<'a> Output<'a> {
    /// The fields to pass on, in order. No value contains CR, LF, NUL or leading or trailing space.
    pub fn fields(&self) -> PassedFields<'a> {
        self.fields.clone()
    }
}

/// Iterator over the name and value of each field to pass on.
#[derive(Clone, Debug)]
pub struct PassedFields<'a> {
    bytes: &'a [u8],
    spans: std::slice::Iter<'a, FieldPlace>,
}

impl<'a> Iterator for PassedFields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let span = self.spans.next()?;
        let name = self.bytes.get(span.name.clone())?;
        Some((name, self.bytes.get(span.value.clone())?))
    }
}

#[derive(Clone, Debug)]
struct FieldPlace {
    name: Range<usize>,
    value: Range<usize>,
    /// Whether a Connection field that lists the name removes it.
    can_be_hop: bool,
}

/// What is known of a head whose end has not been seen. Ranges lie in the output.
#[derive(Debug, Default)]
struct HeadSoFar {
    is_full: bool,
    /// An interim response was left out: a full one must follow.
    has_interim: bool,
    status: Option<u16>,
    reason: Range<usize>,
    location: Option<Range<usize>>,
    content_type: Option<Range<usize>>,
    content_length: Option<u64>,
    has_date: bool,
    chunked: bool,
    is_local: bool,
}

/// Parses the head of one handler's output, as far as it has arrived.
#[derive(Debug, Default)]
pub struct OutputParser {
    seen: HeadSoFar,
    spans: Vec<FieldPlace>,
    nominated: Nominated,
    /// Where the head begins: behind the interim ones.
    start: usize,
    /// Where the first line begins that has not been taken.
    at: usize,
    /// That line has no LF before this offset.
    searched: usize,
    is_complete: bool,
}

impl OutputParser {
    /// Gets ready for the next handler; keeps the memory.
    pub fn reset(&mut self) {
        self.seen = HeadSoFar::default();
        self.spans.clear();
        self.nominated.clear();
        self.start = 0;
        self.at = 0;
        self.searched = 0;
        self.is_complete = false;
    }

    /// Parses on. `bytes` is everything the handler has printed since the last
    /// [`reset`](Self::reset): what was given before, unchanged, and what has come since.
    /// `max_head` limits the head in bytes, the empty line included.
    ///
    /// The same output gives the same result in whatever pieces it comes.
    ///
    /// # Errors
    /// [`BadOutput`] as soon as it is certain that no head can come of it. When the handler's
    /// output ends while this is still partial, the error is [`BadOutput::at_end`].
    pub fn parse<'a>(
        &'a mut self,
        bytes: &'a [u8],
        max_head: usize,
    ) -> Result<Progress<Output<'a>>, BadOutput> {
        let window = bytes.get(..max_head).unwrap_or(bytes);
        while !self.is_complete {
            let Some(end) = self.find_line_end(window) else {
                self.judge_unfinished(window)?;
                return if bytes.len() < max_head {
                    Ok(Progress::Partial)
                } else {
                    Err(BadOutput::TooLong)
                };
            };
            self.take_line(window, end)?;
            self.at = end + 1;
            self.searched = self.at;
        }
        Ok(Progress::Complete(self.output(bytes)))
    }

    fn find_line_end(&mut self, window: &[u8]) -> Option<usize> {
        let fresh = window.get(self.searched..)?;
        if let Some(length) = memchr(b'\n', fresh) {
            return Some(self.searched + length);
        }
        self.searched = window.len();
        None
    }

    /// Says early what a whole line could only confirm: output that begins with `<html>` is
    /// refused at its first byte, not after the limit or at the end of a silent handler.
    fn judge_unfinished(&self, window: &[u8]) -> Result<(), BadOutput> {
        let line = window.get(self.at..).unwrap_or_default();
        // A CR at the end may belong to the line's end, and then says nothing.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.at > self.start {
            return line::name_length(line).map(|_| ());
        }
        match line::opening_of(line) {
            Opening::Field => self.first_name(line).map(|_| ()),
            Opening::StatusLine | Opening::Undecided => Ok(()),
        }
    }

    fn first_name(&self, line: &[u8]) -> Result<Option<usize>, BadOutput> {
        match line::name_length(line) {
            Ok(name) if !self.seen.has_interim => Ok(name),
            _ => Err(BadOutput::FirstLine),
        }
    }

    fn take_line(&mut self, window: &[u8], end: usize) -> Result<(), BadOutput> {
        let line = window.get(self.at..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return self.finish(window, end + 1);
        }
        if self.at > self.start {
            let name = line::name_length(line)?.ok_or(BadOutput::NotAField)?;
            return self.take_field(window, line, name);
        }
        if line::opening_of(line) == Opening::StatusLine {
            return self.take_status_line(line);
        }
        let name = self.first_name(line)?.ok_or(BadOutput::FirstLine)?;
        self.take_field(window, line, name)
    }

    fn take_status_line(&mut self, line: &[u8]) -> Result<(), BadOutput> {
        let (status, reason) = line::parse_status_line(line)?;
        let end = self.at + http::trim(line).len();
        self.seen.is_full = true;
        self.seen.status = Some(status);
        self.seen.reason = end - reason.len()..end;
        Ok(())
    }

    /// `length` is that of the field's name.
    fn take_field(&mut self, window: &[u8], line: &[u8], length: usize) -> Result<(), BadOutput> {
        let place = line::value_place(line, length)?;
        let name = line.get(..length).unwrap_or_default();
        let value = line.get(place.clone()).unwrap_or_default();
        let place = self.at + place.start..self.at + place.end;
        let seen = &mut self.seen;
        let (passed, can_be_hop) = match Meaning::of(name) {
            Meaning::Status => (seen.note_status(value, place.end)?, false),
            Meaning::Location if value.is_empty() => return Err(BadOutput::Location),
            Meaning::Location => (note(&mut seen.location, &place, window)?, false),
            Meaning::ContentType => (note(&mut seen.content_type, &place, window)?, false),
            Meaning::ContentLength => (seen.note_length(value)?, false),
            Meaning::TransferEncoding => (seen.note_coding(value)?, false),
            Meaning::Date => (!std::mem::replace(&mut seen.has_date, true), false),
            Meaning::Hop => {
                if name.eq_ignore_ascii_case(b"connection") {
                    self.nominated.add(value);
                }
                (false, false)
            }
            Meaning::Other => (true, true),
        };
        if passed {
            self.spans.push(FieldPlace {
                name: self.at..self.at + length,
                value: place,
                can_be_hop,
            });
        }
        Ok(())
    }

    /// At the empty line: what only the whole head can tell.
    fn finish(&mut self, window: &[u8], head_length: usize) -> Result<(), BadOutput> {
        // RFC 3875 6.2.1 asks for a Content-Type, but nobody else does.
        if self.at == self.start {
            return Err(BadOutput::Empty);
        }
        let seen = &mut self.seen;
        let reason = window.get(seen.reason.clone()).unwrap_or_default();
        // A proxy's answer to CONNECT, which curl -i prints before the response through it.
        let is_of_proxy = seen.is_full && reason.eq_ignore_ascii_case(b"connection established");
        if is_of_proxy || seen.status.is_some_and(|status| status < 200) {
            *seen = HeadSoFar {
                has_interim: true,
                ..HeadSoFar::default()
            };
            self.spans.clear();
            self.nominated.clear();
            self.start = head_length;
            return Ok(());
        }
        if !self.nominated.is_empty() {
            self.nominated.seal();
            let nominated = &self.nominated;
            self.spans.retain(|span| {
                let name = window.get(span.name.clone()).unwrap_or_default();
                !(span.can_be_hop && nominated.has(names::hash(name)))
            });
        }
        if seen.status.is_none() && seen.content_length.is_none() && self.spans.len() == 1 {
            let location = seen.location.clone().and_then(|place| window.get(place));
            seen.is_local = location.is_some_and(is_local_path);
        }
        if seen.is_local {
            self.spans.clear();
        }
        self.searched = head_length;
        self.is_complete = true;
        Ok(())
    }

    fn output<'a>(&'a self, bytes: &'a [u8]) -> Output<'a> {
        let seen = &self.seen;
        let location = seen.location.clone().and_then(|place| bytes.get(place));
        Output {
            status: match (seen.status, location) {
                (Some(status), _) => status,
                (None, Some(_)) => 302,
                (None, None) => 200,
            },
            reason: bytes
                .get(seen.reason.clone())
                .filter(|reason| !reason.is_empty()),
            local: location.filter(|_| seen.is_local),
            content_length: seen.content_length,
            chunked: seen.chunked,
            head_length: self.at,
            fields: PassedFields {
                bytes,
                spans: self.spans.iter(),
            },
        }
    }
}

impl HeadSoFar {
    fn note_status(&mut self, value: &[u8], end: usize) -> Result<bool, BadOutput> {
        if self.is_full {
            return Ok(false);
        }
        let (status, reason) = line::parse_status(value)?;
        if status < 200 {
            return Err(BadOutput::Interim);
        }
        if self.status.is_some_and(|earlier| earlier != status) {
            return Err(BadOutput::Repeated);
        }
        if self.status.is_none() {
            self.reason = end - reason.len()..end;
        }
        self.status = Some(status);
        Ok(false)
    }

    fn note_length(&mut self, value: &[u8]) -> Result<bool, BadOutput> {
        let length = http::parse_length(value).ok_or(BadOutput::ContentLength)?;
        match self.content_length.replace(length) {
            Some(earlier) if earlier != length => Err(BadOutput::ContentLength),
            _ => Ok(false),
        }
    }

    fn note_coding(&mut self, value: &[u8]) -> Result<bool, BadOutput> {
        let is_chunked = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked && is_chunked || !is_chunked && !value.eq_ignore_ascii_case(b"identity") {
            return Err(BadOutput::TransferEncoding);
        }
        self.chunked |= is_chunked;
        Ok(false)
    }
}

/// Notes where the value of a field is that may have only one; says whether it is the first.
fn note(
    known: &mut Option<Range<usize>>,
    place: &Range<usize>,
    window: &[u8],
) -> Result<bool, BadOutput> {
    match known {
        None => {
            *known = Some(place.clone());
            Ok(true)
        }
        Some(first) if window.get(first.clone()) == window.get(place.clone()) => Ok(false),
        Some(_) => Err(BadOutput::Repeated),
    }
}

/// RFC 3875 6.3.2: local-Location is an abs-path with a query, without a fragment. `//x` is none: it
/// names a host (RFC 3986 4.2).
fn is_local_path(location: &[u8]) -> bool {
    location.starts_with(b"/") && !location.starts_with(b"//") && memchr(b'#', location).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1024;

    /// What a head means, detached from the parser.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Told {
        status: u16,
        reason: String,
        local: Option<String>,
        length: Option<u64>,
        chunked: bool,
        head_length: usize,
        fields: String,
    }

    fn text(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    fn told(output: &Output<'_>) -> Told {
        let field = |(name, value): (&[u8], &[u8])| format!("{}={}", text(name), text(value));
        Told {
            status: output.status,
            reason: output.reason.map(text).unwrap_or_default(),
            local: output.local.map(text),
            length: output.content_length,
            chunked: output.chunked,
            head_length: output.head_length,
            fields: output.fields().map(field).collect::<Vec<_>>().join("|"),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Progress<Told>, BadOutput> {
        let mut parser = OutputParser::default();
        step(&mut parser, bytes, MAX)
    }

    fn step(
        parser: &mut OutputParser,
        bytes: &[u8],
        max: usize,
    ) -> Result<Progress<Told>, BadOutput> {
        Ok(match parser.parse(bytes, max)? {
            Progress::Partial => Progress::Partial,
            Progress::Complete(output) => {
                check_invariants(bytes, &output);
                Progress::Complete(told(&output))
            }
        })
    }

    fn check_invariants(bytes: &[u8], output: &Output<'_>) {
        let head = bytes[..output.head_length].as_ptr_range();
        let inside = |part: &[u8]| {
            let part = part.as_ptr_range();
            head.start <= part.start && part.end <= head.end
        };
        assert!((200..=599).contains(&output.status));
        assert_eq!(bytes[output.head_length - 1], b'\n');
        for (name, value) in output.fields() {
            assert!(inside(name) && inside(value));
            assert!(http::is_token(name));
            assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
        }
        for part in [output.reason, output.local] {
            let part = part.unwrap_or(&bytes[..0]);
            assert!(inside(part) && !part.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
        }
    }

    fn complete(bytes: &[u8]) -> Told {
        match parse(bytes) {
            Ok(Progress::Complete(told)) => told,
            other => panic!("{}: {other:?}", text(bytes)),
        }
    }

    /// Heads without their bodies.
    const GOOD: [&[u8]; 16] = [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n\r\n",
        b"HTTP/2 103 \r\nlink: x\r\n\r\nHTTP/2 200 \r\nx: y\r\n\r\n",
        b"Content-Type: text/plain\n\n",
        b"Content-Type: text/plain\r\n\r\n",
        b"Content-Type:text/html\r\nX-A: 1\n\r\n",
        b"Status: 404 Not Found\nContent-Type: a/b\n\n",
        b"Status: 204\n\n",
        b"Location: /other?x=1\n\n",
        b"Location: http://example.org/\n\n",
        b"Status: 301 Moved\nLocation: /x\n\n",
        b"Set-Cookie: a=1\nSet-Cookie: b=2\nContent-Length: 5\nContent-Type: a/b\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.0 302\nLocation: /x\n\n",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n",
        b"HTTP-Like: a field\nStatus: 200\n\n",
        b"Content-Type: a/b\nConnection: X-Hop, close\nX-Hop: 1\n\n",
    ];

    #[test]
    fn every_prefix_of_a_good_head_is_partial_and_every_cut_tells_the_same() {
        for head in GOOD {
            let whole = complete(head);
            assert_eq!(whole.head_length, head.len());
            let mut bytewise = OutputParser::default();
            for cut in 0..head.len() {
                assert_eq!(parse(&head[..cut]), Ok(Progress::Partial), "{}", text(head));
                let mut parser = OutputParser::default();
                assert!(parser.parse(&head[..cut], MAX).is_ok());
                let again = step(&mut parser, head, MAX);
                assert_eq!(again, Ok(Progress::Complete(whole.clone())));
                let partial = step(&mut bytewise, &head[..cut], MAX);
                assert_eq!(partial, Ok(Progress::Partial));
            }
            let end = step(&mut bytewise, head, MAX);
            assert_eq!(end, Ok(Progress::Complete(whole.clone())));
            let with_body = [head, b"body: 1\n\n"].concat();
            assert_eq!(complete(&with_body), whole);
            assert_eq!(
                step(&mut bytewise, &with_body, MAX),
                Ok(Progress::Complete(whole))
            );
        }
    }

    #[test]
    fn a_cgi_response_is_told_as_rfc_3875_6_says() {
        let rows: [(&[u8], u16, &str, &str); 17] = [
            (b"Content-Type: a/b\n\n", 200, "", "Content-Type=a/b"),
            (b"Status: 404 Not Found\n\n", 404, "Not Found", ""),
            (b"status:\t503\r\n\r\n", 503, "", ""),
            (b"Status: 200 A\nStatus: 200 B\n\n", 200, "A", ""),
            // 6.2.3: a client redirect is 302, and its Location goes on.
            (b"Location: http://e/\n\n", 302, "", "Location=http://e/"),
            (b"Location: x\n\n", 302, "", "Location=x"),
            // 6.2.4: with Status, as given.
            (b"Location: /x\nStatus: 307 T\n\n", 307, "T", "Location=/x"),
            // No local redirect response: 6.2.2 allows nothing beside Location.
            (b"Location: /x\nSet-Cookie: a\n\n", 302, "", "Location=/x|Set-Cookie=a"),
            (b"Location: /x\nContent-Length: 0\n\n", 302, "", "Location=/x"),
            (b"Location: /x#y\n\n", 302, "", "Location=/x#y"),
            (b"Location: //h/x\n\n", 302, "", "Location=//h/x"),
            // The framing is Caffeine's.
            (
                b"Content-Type: a/b\nTransfer-Encoding: identity\nConnection: close\nKeep-Alive: 1\n\n",
                200,
                "",
                "Content-Type=a/b",
            ),
            (
                b"Status: 200\nUpgrade: x\nTE: x\nTrailer: x\nProxy-Connection: x\nProxy-Authenticate: x\n\n",
                200,
                "",
                "",
            ),
            // 6.2.1 asks for a Content-Type; lighttpd, Apache and thttpd do not.
            (b"X-A: 1\n\n", 200, "", "X-A=1"),
            (b"Content-Length: 1\n\n", 200, "", ""),
            (b"Status: 200\nDate: 1\nDate: 2\nServer: s\n\n", 200, "", "Date=1|Server=s"),
            (
                b"X-Hop: 1\nConnection: x-hop, Content-Type\nContent-Type: a/b\nx-HOP: 2\nX: 3\n\n",
                200,
                "",
                "Content-Type=a/b|X=3",
            ),
        ];
        for (bytes, status, reason, fields) in rows {
            let told = complete(bytes);
            let expected = (status, reason, fields, false, None);
            let seen = (told.status, &*told.reason, &*told.fields);
            let seen = (seen.0, seen.1, seen.2, told.chunked, told.local);
            assert_eq!(seen, expected, "{}", text(bytes));
        }
    }

    #[test]
    fn a_local_location_alone_is_an_internal_redirect() {
        let rows: [(&[u8], &str); 5] = [
            (b"Location: /x?y=1\n\n", "/x?y=1"),
            (b"Location: /a b?\xc3\xbc c\n\n", "/a b?\\xc3\\xbc c"),
            (b"Location: /\r\n\r\n", "/"),
            (b"Location: /x\nLocation: /x\n\n", "/x"),
            (b"Location: /x\nConnection: close\n\n", "/x"),
        ];
        for (bytes, path) in rows {
            let told = complete(bytes);
            assert_eq!(told.local.as_deref(), Some(path));
            assert_eq!(told.fields, "");
        }
        assert_eq!(complete(b"HTTP/1.1 302 F\nLocation: /x\n\n").local, None);
    }

    #[test]
    fn a_full_response_keeps_its_status_and_loses_its_framing() {
        let told = complete(
            b"HTTP/1.1 201 Created\r\nStatus: 500\r\nTransfer-Encoding: Chunked\r\nServer: s\r\n\r\n",
        );
        assert_eq!(told.status, 201);
        assert_eq!((&*told.reason, &*told.fields), ("Created", "Server=s"));
        assert!(told.chunked && told.length.is_none());
        let bare = complete(b"HTTP/1.0 200\n\n");
        assert_eq!((bare.status, &*bare.reason), (200, ""));
        assert_eq!(complete(GOOD[11]).length, Some(3));
    }

    #[test]
    fn what_curl_prints_of_a_response_is_one() {
        let told = complete(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nContent-Length: 9\r\n\r\n\
              HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, x\r\n\r\n\
              HTTP/2 404 \r\ncontent-type: a/b\r\nx: y\r\n\r\nbody",
        );
        assert_eq!((told.status, &*told.reason), (404, ""));
        assert_eq!((&*told.fields, told.length), ("content-type=a/b|x=y", None));
        let told = complete(b"HTTP/1.1 100 Continue\n\nHTTP/1.1 200 Fine\n\n");
        assert_eq!((told.status, &*told.reason), (200, "Fine"));
        let told = complete(
            b"HTTP/1.0 200 Connection established\r\nProxy-Agent: a\r\n\r\nHTTP/2 404 \r\nx: y\r\n\r\nbody",
        );
        assert_eq!((told.status, &*told.fields), (404, "x=y"));
        // What its chunks were, if they are still there, is for the body to say.
        let told = complete(b"Content-Length: 1\nTransfer-Encoding: Chunked\n\n");
        assert_eq!((told.chunked, told.length), (true, Some(1)));
    }

    #[test]
    fn output_that_is_no_response_is_told_by_its_reason() {
        let rows: [(&[u8], BadOutput); 32] = [
            (b"<", BadOutput::FirstLine),
            (b"hello world", BadOutput::FirstLine),
            (b"hello\n", BadOutput::FirstLine),
            (b"Content-Type : a/b\n\n", BadOutput::FirstLine),
            (b" Content-Type: a/b\n\n", BadOutput::FirstLine),
            (b": x\n\n", BadOutput::FirstLine),
            (b"\x7fELF", BadOutput::FirstLine),
            (b"HTTP/2 OK\n\n", BadOutput::Status),
            (b"HTTP/x\n", BadOutput::FirstLine),
            (
                b"HTTP/1.1 103 E\n\nContent-Type: a\n\n",
                BadOutput::FirstLine,
            ),
            (b"HTTP/1.1 103 E\n\n\n", BadOutput::Empty),
            (b"HTTP/\n", BadOutput::FirstLine),
            (b"HTTP/1.1 OK\n\n", BadOutput::Status),
            (b"HTTP/1.1\n\n", BadOutput::StatusLine),
            (b"\n", BadOutput::Empty),
            (b"\r\n", BadOutput::Empty),
            (b"Status: 200\nno field\n\n", BadOutput::NotAField),
            (b"Status: 200\n folded\n\n", BadOutput::Folded),
            (b"Status: 200\nX: a\rSet-Cookie: b\n\n", BadOutput::Control),
            (b"Status: 200\nX: a\0\n\n", BadOutput::Control),
            (b"Status: 200\nX: a\r\r\n\n", BadOutput::Control),
            (b"Status: 99\n", BadOutput::Status),
            (b"Status: 101 Switching\n", BadOutput::Interim),
            (b"Status: 200\nStatus: 404\n", BadOutput::Repeated),
            (b"Content-Type: a\nContent-Type: b\n", BadOutput::Repeated),
            (b"Location: /a\nLocation: /b\n", BadOutput::Repeated),
            (b"Location:\n", BadOutput::Location),
            (b"Content-Length: x\n", BadOutput::ContentLength),
            (
                b"Content-Length: 1\nContent-Length: 2\n",
                BadOutput::ContentLength,
            ),
            (
                b"HTTP/1.1 200\nTransfer-Encoding: gzip\n",
                BadOutput::TransferEncoding,
            ),
            (
                b"HTTP/1.1 200\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n",
                BadOutput::TransferEncoding,
            ),
            (
                b"Status: 200\nTransfer-Encoding: gzip, chunked\n",
                BadOutput::TransferEncoding,
            ),
        ];
        for (bytes, why) in rows {
            assert_eq!(parse(bytes), Err(why), "{}", text(bytes));
            assert_eq!(bytewise(bytes, MAX), Err(why), "{}", text(bytes));
        }
    }

    /// Found by fuzzing: `HTTP/` and CR was another version, with its LF it was no version.
    #[test]
    fn a_cr_that_may_end_the_line_decides_nothing() {
        let rows: [(&[u8], BadOutput); 4] = [
            (b"HTTP/\r\n", BadOutput::FirstLine),
            (b"HTTP/1\r\n", BadOutput::StatusLine),
            (b"HTTP/\rx\r\n", BadOutput::FirstLine),
            (b"Status: 200\nX\r\n", BadOutput::NotAField),
        ];
        for (bytes, why) in rows {
            assert_eq!(parse(bytes), Err(why), "{}", text(bytes));
            assert_eq!(bytewise(bytes, MAX), Err(why), "{}", text(bytes));
        }
    }

    fn bytewise(bytes: &[u8], max: usize) -> Result<Progress<Told>, BadOutput> {
        let mut parser = OutputParser::default();
        for cut in 0..bytes.len() {
            if let Progress::Complete(told) = step(&mut parser, &bytes[..cut], max)? {
                return Ok(Progress::Complete(told));
            }
        }
        step(&mut parser, bytes, max)
    }

    #[test]
    fn a_head_may_be_as_long_as_the_limit_and_no_longer() {
        let head = b"Content-Type: a/b\n\n";
        for max in 0..head.len() {
            let mut parser = OutputParser::default();
            assert_eq!(step(&mut parser, head, max), Err(BadOutput::TooLong));
            assert_eq!(bytewise(head, max), Err(BadOutput::TooLong));
        }
        assert!(bytewise(head, head.len()).is_ok());
        let endless = [b'x'; MAX];
        assert_eq!(parse(&endless[1..]), Ok(Progress::Partial));
        assert_eq!(parse(&endless), Err(BadOutput::TooLong));
    }

    #[test]
    fn a_reset_parser_knows_nothing_of_the_last_handler() {
        let mut parser = OutputParser::default();
        let pairs = GOOD.iter().flat_map(|a| GOOD.iter().map(move |b| (a, b)));
        for (first, second) in pairs {
            for output in [&first[..first.len() / 2], first, second] {
                let got = step(&mut parser, output, MAX);
                assert_eq!(got, parse(output));
                parser.reset();
            }
        }
    }

    #[test]
    fn sequences_of_nasty_words_keep_the_invariants_in_every_cut() {
        const WORDS: [&[u8]; 30] = [
            b"",
            b"\n",
            b"\r\n",
            b"\r",
            b"\0",
            b" ",
            b"\t",
            b":",
            b"HTTP/1.",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 200\n",
            b"HTTP/2 103 \n\n",
            b"Status: 200\n",
            b"Status: 404 \r\n",
            b"Status:",
            b"200",
            b"Location: /a\n",
            b"Location: /a\n\n",
            b"Location:",
            b"Content-Type: a/b\r\n",
            b"Content-Length: 3\n",
            b"Content-Length: 99999999999999999999\n",
            b"Transfer-Encoding: chunked\n",
            b"Connection: x, status, date\n",
            b"X: y\n",
            b"X: \xff\n",
            b"\n\n",
            b"Set-Cookie: a\n",
            b"Date: d\n\n",
            b"x\x7f: y\n\r\n",
        ];
        for a in WORDS {
            for b in WORDS {
                for c in WORDS {
                    let input = [a, b, c].concat();
                    assert_eq!(parse(&input), bytewise(&input, MAX), "{}", text(&input));
                }
            }
        }
    }
}
