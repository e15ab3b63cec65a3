//! The body of a response: out of the handler's chunks, if there are some, and into those of the
//! connection.

use super::{Failed, HELD_BACK, Response, Stage};
use crate::http::{self, Chunked, Framing};
use crate::worker::outlet::{Blocked, Outlet};
use std::io::IoSlice;

impl Response<'_> {
    pub(super) fn take_body(
        &mut self,
        piece: &[u8],
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Failed> {
        if !http::has_body(self.manner.is_head, self.status) || self.redirect.is_some() {
            return Ok(());
        }
        if !self.is_opening {
            return self.take_decided(piece, outlet);
        }
        self.buffers.opening.extend_from_slice(piece);
        match Chunked::new().decode(&self.buffers.opening) {
            Ok(step) if step.data.is_empty() && !step.done => return Ok(()),
            // What the chunks add up to is the length (RFC 9112 section 6.3), whatever else was said.
            Ok(_) => (self.chunks, self.declared) = (Some(Chunked::new()), None),
            // Programs pass on the head of another server's response, whose chunks their library has
            // taken off the body (curl -i).
            Err(_) => {}
        }
        self.take_opening(outlet)
    }

    /// Takes the body's first bytes, once it is known what they are.
    pub(super) fn take_opening(&mut self, outlet: &mut Outlet<'_>) -> Result<(), Failed> {
        self.is_opening = false;
        let opening = std::mem::take(&mut self.buffers.opening);
        let result = self.take_decided(&opening, outlet);
        self.buffers.opening = opening;
        self.buffers.opening.clear();
        result
    }

    fn take_decided(&mut self, piece: &[u8], outlet: &mut Outlet<'_>) -> Result<(), Failed> {
        let Some(mut chunks) = self.chunks else {
            return self.pass_on(piece, outlet);
        };
        let mut rest = piece;
        while !rest.is_empty() && !self.has_broken_chunks {
            match chunks.decode(rest) {
                Ok(step) => {
                    self.pass_on(step.data, outlet)?;
                    rest = rest.get(step.consumed.max(1)..).unwrap_or_default();
                }
                Err(_) => self.has_broken_chunks = true,
            }
        }
        self.chunks = Some(chunks);
        Ok(())
    }

    fn pass_on(&mut self, piece: &[u8], outlet: &mut Outlet<'_>) -> Result<(), Failed> {
        let room = self
            .declared
            .map_or(u64::MAX, |declared| declared - self.body_bytes);
        let part = usize::try_from(room)
            .ok()
            .and_then(|room| piece.get(..room));
        self.is_overlong |= part.is_some_and(|part| part.len() < piece.len());
        let part = part.unwrap_or(piece);
        self.body_bytes += part.len() as u64;
        if self.is_unsent() && self.buffers.body.len() + part.len() <= HELD_BACK {
            self.buffers.body.extend_from_slice(part);
            return Ok(());
        }
        self.flush(outlet)?;
        self.write_body(part, outlet).map_err(Failed::Blocked)
    }

    pub(super) fn write_body(&self, part: &[u8], outlet: &mut Outlet<'_>) -> Result<(), Blocked> {
        if part.is_empty() {
            return Ok(());
        }
        if self.stage != Stage::Open(Framing::Chunked) {
            return outlet.write(&[IoSlice::new(part)]);
        }
        let mut size = [0; 18];
        let size = chunk_size(part.len(), &mut size);
        outlet.write(&[
            IoSlice::new(size),
            IoSlice::new(part),
            IoSlice::new(b"\r\n"),
        ])
    }
}

/// `SIZE CRLF` of a chunk (RFC 9112 section 7.1).
fn chunk_size(size: usize, text: &mut [u8; 18]) -> &[u8] {
    let mut at = text.len() - 2;
    if let Some(end) = text.last_chunk_mut() {
        *end = *b"\r\n";
    }
    let mut rest = size;
    loop {
        at -= 1;
        if let (Some(place), Some(digit)) = (text.get_mut(at), b"0123456789abcdef".get(rest & 15)) {
            *place = *digit;
        }
        rest >>= 4;
        if rest == 0 || at == 0 {
            break;
        }
    }
    text.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for (size, expected) in [
            (1, "1\r\n"),
            (255, "ff\r\n"),
            (65536, "10000\r\n"),
            (usize::MAX, "ffffffffffffffff\r\n"),
        ] {
            assert_eq!(chunk_size(size, &mut [0; 18]), expected.as_bytes());
        }
    }
}
