//! Canned responses: the short answers that the parent writes itself, without blocking.
//!
//! The parent has not read the request. So it does not know whether that was HEAD, whose answer must have no content,
//! and these answers have none. A client whose socket is full is not tried again: it is closed.

use crate::http::{self, ErrorResponse, Version};
use crate::sys::{socket, time};
use std::os::fd::BorrowedFd;

/// Why the parent answers in a worker's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parent) enum Canned {
    /// The client was too slow: 408.
    TooSlow,
    /// The worker died after the launch: 502.
    Lost,
    /// Nothing has run, since the worker died before that or the server stops with half a head here: 503, safe to
    /// try again.
    Unread,
    /// No worker in time, or too many clients: 503; seconds until it makes sense to come back.
    Busy(u32),
}

impl Canned {
    fn status(self) -> u16 {
        match self {
            Self::TooSlow => 408,
            Self::Lost => 502,
            Self::Unread | Self::Busy(_) => 503,
        }
    }

    fn retry_after(self) -> Option<u32> {
        match self {
            Self::Busy(seconds) => Some(seconds),
            Self::Unread => Some(1),
            Self::TooSlow | Self::Lost => None,
        }
    }
}

/// Writes the answer; returns its status if the socket has taken all of it.
pub(super) fn answer(client: BorrowedFd<'_>, canned: Canned) -> Option<u16> {
    let seconds = u64::try_from(time::unix_ms() / 1000).unwrap_or(0);
    let mut bytes = Vec::with_capacity(320);
    http::error_response(
        &mut bytes,
        &ErrorResponse {
            status: canned.status(),
            date: &http::imf_fixdate(seconds),
            version: Version::Http11,
            close: true,
            retry_after: canned.retry_after(),
            location: None,
            head_only: false,
            page: Some((b"", "text/plain")),
        },
    );
    let sent = socket::send(client, &bytes).ok()?;
    (sent == bytes.len()).then_some(canned.status())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd::AsFd;

    #[test]
    fn each_answer_closes_and_says_when_to_come_back() {
        for (canned, status, retry) in [
            (Canned::TooSlow, "408", None),
            (Canned::Lost, "502", None),
            (Canned::Unread, "503", Some("1")),
            (Canned::Busy(17), "503", Some("17")),
        ] {
            let (client, server) = socket::pair().unwrap();
            assert!(answer(server.as_fd(), canned).is_some());
            let mut bytes = [0; 1024];
            let n = socket::receive(client.as_fd(), &mut bytes).unwrap();
            let text = String::from_utf8(bytes[..n].to_vec()).unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
            assert!(text.contains("\r\nContent-Length: 0\r\n"), "{text}");
            assert!(text.ends_with("\r\n\r\n"), "{text}");
            let line = retry.map(|r| format!("\r\nRetry-After: {r}\r\n"));
            assert_eq!(
                line.as_ref().is_some_and(|l| text.contains(l.as_str())),
                text.contains("Retry-After")
            );
        }
    }
}
