//! The server's own short responses: errors, the redirect to a folder, the welcome page, OPTIONS *.
//! Of what the client has sent they repeat only the query, in Location.

use super::client::{Client, Outcome};
use super::date::DateCache;
use super::outlet;
use super::request::Manner;
use super::spool::{Spool, SpoolKeeper, Use};
use crate::channel::Verdict;
use crate::http::{self, ErrorResponse, Framing, ResponseHead};
use crate::settings::ErrorPage;
use crate::sys::{self, socket, teardown};

/// The page of an empty root.
const WELCOME: &str = include_str!("welcome.html");

/// Writes short responses.
pub(super) struct Answerer<'a> {
    pub(super) date: DateCache,
    bytes: Vec<u8>,
    pages: &'a [ErrorPage],
    keeper: SpoolKeeper<'a>,
}

impl<'a> Answerer<'a> {
    pub(super) fn new(pages: &'a [ErrorPage], keeper: SpoolKeeper<'a>) -> Self {
        Self {
            date: DateCache::default(),
            bytes: Vec::with_capacity(1024),
            pages,
            keeper,
        }
    }

    /// An error. Returns the verdict and the bytes sent.
    pub(super) fn error(&mut self, client: &Client, manner: Manner, status: u16) -> (Outcome, u64) {
        self.error_with(client, manner, status, None)
    }

    /// An error that says when to try again.
    pub(super) fn error_with(
        &mut self,
        client: &Client,
        manner: Manner,
        status: u16,
        retry_after: Option<u32>,
    ) -> (Outcome, u64) {
        self.short(client, manner, (status, retry_after, None))
    }

    /// 301: the client is to ask for another path, for good.
    pub(super) fn redirect(
        &mut self,
        client: &Client,
        manner: Manner,
        location: &[u8],
    ) -> (Outcome, u64) {
        self.short(client, manner, (301, None, Some(location)))
    }

    fn short(
        &mut self,
        client: &Client,
        manner: Manner,
        (status, retry_after, location): (u16, Option<u32>, Option<&[u8]>),
    ) -> (Outcome, u64) {
        self.bytes.clear();
        let page = self.pages.iter().find(|page| page.status == status);
        let error = ErrorResponse {
            status,
            date: &self.date.now(),
            version: manner.version,
            close: manner.close,
            retry_after,
            location,
            head_only: manner.is_head,
            page: page.map(|page| (page.body.as_slice(), page.content_type())),
        };
        http::error_response(&mut self.bytes, &error);
        self.send(client, manner)
    }

    /// What an empty root shows.
    pub(super) fn welcome(&mut self, client: &Client, manner: Manner) -> (Outcome, u64) {
        self.begin(manner, 200, Framing::Length(WELCOME.len() as u64));
        http::push_field(
            &mut self.bytes,
            b"Content-Type",
            b"text/html; charset=utf-8",
        );
        http::push_field(&mut self.bytes, b"Cache-Control", b"no-store");
        http::finish(&mut self.bytes);
        if !manner.is_head {
            self.bytes.extend_from_slice(WELCOME.as_bytes());
        }
        self.send(client, manner)
    }

    /// OPTIONS * (RFC 9110 section 9.3.7): about the server as a whole.
    pub(super) fn options(&mut self, client: &Client, manner: Manner) -> (Outcome, u64) {
        self.begin(manner, 204, Framing::None);
        http::push_field(
            &mut self.bytes,
            b"Allow",
            b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        );
        http::finish(&mut self.bytes);
        self.send(client, manner)
    }

    fn begin(&mut self, manner: Manner, status: u16, framing: Framing) {
        self.bytes.clear();
        let head = ResponseHead {
            status,
            reason: None,
            date: &self.date.now(),
            version: manner.version,
            close: manner.close,
            framing,
        };
        http::begin(&mut self.bytes, &head);
    }

    fn send(&self, client: &Client, manner: Manner) -> (Outcome, u64) {
        let sent = match socket::send(client.socket(), &self.bytes) {
            Ok(sent) => sent,
            Err(e) if e.is_would_block() => 0,
            Err(_) => return (Outcome::of(Verdict::Close), 0),
        };
        if sent < self.bytes.len() {
            // A page may be larger than a new connection's send buffer.
            return match self.spool_rest(sent, manner) {
                Ok(outcome) => (outcome, self.bytes.len() as u64),
                Err(_) => (Outcome::of(Verdict::Close), sent as u64),
            };
        }
        let outcome = match (manner.close, manner.linger) {
            (true, true) => {
                // The FIN tells the client that nothing more comes. The parent discards what the
                // client still sends.
                let _ = teardown::shutdown(client.socket(), teardown::Direction::Write);
                Outcome::of(Verdict::Linger)
            }
            // A request that the client has pipelined behind this one is unread. `close` sees that
            // it does not turn the end of the connection into a reset.
            (true, false) => outlet::close(client),
            (false, _) => Outcome::of(Verdict::Keep),
        };
        (outcome, sent as u64)
    }

    /// The rest waits in a spool until the client takes it.
    fn spool_rest(&self, sent: usize, manner: Manner) -> sys::Result<Outcome> {
        let rest = self.bytes.get(sent..).unwrap_or_default();
        let mut spool = Spool::new(self.keeper, Use::Response, rest.len() as u64)?;
        spool.append(rest)?;
        let verdict = match manner.close {
            true => Verdict::DrainClose,
            false => Verdict::DrainKeep,
        };
        Ok(Outcome::with(verdict, spool.into_fd()))
    }
}
