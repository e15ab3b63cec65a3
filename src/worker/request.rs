//! A request whose head has been understood, and how its response has to look.

use super::client::Client;
use super::input::Input;
use crate::http::{BodyLength, Head, Version};
use std::os::fd::BorrowedFd;

/// One request with its client, as far as it has been understood.
#[derive(Clone, Copy)]
pub(super) struct Request<'r> {
    pub(super) client: &'r Client,
    pub(super) channel: BorrowedFd<'r>,
    pub(super) input: &'r Input,
    pub(super) head: &'r Head<'r>,
    pub(super) manner: Manner,
}

/// How a response of ours has to look for this client.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    pub(super) version: Version,
    /// The request is HEAD: the response has no body.
    pub(super) is_head: bool,
    /// The connection ends after it.
    pub(super) close: bool,
    /// Something of the request is still unread, or still on its way: the client must get a
    /// chance to read the answer before it meets a reset.
    pub(super) linger: bool,
}

impl Manner {
    /// For a request that was not understood: its first word says whether its method was HEAD.
    pub(super) fn of_nobody(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        Self {
            version: Version::Http11,
            is_head: bytes.starts_with(b"HEAD "),
            close: true,
            linger: true,
        }
    }
}

impl<'r> Request<'r> {
    pub(super) fn new(
        client: &'r Client,
        channel: BorrowedFd<'r>,
        input: &'r Input,
        head: &'r Head<'r>,
    ) -> Self {
        let manner = Manner {
            version: head.version,
            is_head: head.method == b"HEAD",
            close: !head.keep_alive || client.serve.is_last,
            linger: false,
        };
        Self {
            client,
            channel,
            input,
            head,
            manner,
        }
    }

    /// How to answer a request whose body is not read. The body is dropped if all of it has
    /// arrived, else the connection ends with the response.
    pub(super) fn drop_body(&self) -> Manner {
        let here = self.input.bytes().len();
        let whole = match self.head.body {
            BodyLength::None => Some(self.head.length),
            BodyLength::Length(n) => usize::try_from(n)
                .ok()
                .and_then(|n| self.head.length.checked_add(n)),
            BodyLength::Chunked => None,
        };
        match whole.filter(|&whole| whole <= here) {
            Some(whole) if self.input.consume(self.client, whole).is_ok() => self.manner,
            _ => self.broken(),
        }
    }

    /// How to answer if what follows on the connection can no longer be read as a request.
    pub(super) fn broken(&self) -> Manner {
        Manner {
            close: true,
            linger: true,
            ..self.manner
        }
    }

    /// The request line, for the log.
    pub(super) fn line(&self) -> &'r [u8] {
        let bytes = self.input.bytes();
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
        bytes.get(..end).unwrap_or_default()
    }
}
