//! Turns a handler's output into an HTTP response: finds its head, decides the framing, and holds
//! small bodies back for a moment so that head and body leave in one write. Touches nothing but the
//! outlet that it writes to.

mod facts;

use super::date::DateCache;
use super::outlet::{Blocked, Outlet};
use super::request::Manner;
use crate::cgi::{BadOutput, OutputParser};
use crate::http::{self, Chunked, Framing, ResponseHead};
use facts::{OutputFacts, reference};
use std::io::IoSlice;

/// A body up to this size is held back until the handler pauses or ends.
const HELD_BACK: usize = 64 * 1024;
/// The largest head of a handler's output.
const MAX_OUTPUT_HEAD: usize = 64 * 1024;

/// Buffers that are reused from request to request.
#[derive(Default)]
pub(super) struct Buffers {
    parser: OutputParser,
    /// The output until its head is complete.
    raw: Vec<u8>,
    /// Field lines to pass on.
    fields: Vec<u8>,
    reason: Vec<u8>,
    /// The body's first bytes, until it is known whether they are in chunks.
    opening: Vec<u8>,
    /// Body that was not sent yet.
    body: Vec<u8>,
    /// The response's head.
    head: Vec<u8>,
    pub(super) date: DateCache,
}

/// Where a response stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseStage {
    /// The output's head is not complete.
    Head,
    /// Nothing of the response was written.
    Held,
    /// Its head was written with this framing.
    Open(Framing),
    /// Its last byte was written.
    Complete(Framing),
}

/// One response.
pub(super) struct Response<'b> {
    buffers: &'b mut Buffers,
    manner: Manner,
    stage: ResponseStage,
    pub(super) status: u16,
    /// What the handler said of its body's length.
    declared: Option<u64>,
    /// Bytes of the body: decoded, and not beyond what was declared.
    body_bytes: u64,
    /// The handler printed more than it declared.
    pub(super) is_overlong: bool,
    /// The handler's head says that its body is in chunks, and it is not known yet whether that is true.
    is_opening: bool,
    /// The body is in chunks of the handler's own.
    chunks: Option<Chunked>,
    has_broken_chunks: bool,
    /// An internal redirect.
    redirect: Option<Vec<u8>>,
    /// A redirect to elsewhere without a Content-Type, a length or chunks.
    is_bare: bool,
}

/// What the output came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is no response.
    Bad(BadOutput),
    /// The body is shorter than declared, or its chunks are broken.
    Short,
}

impl<'b> Response<'b> {
    pub(super) fn new(buffers: &'b mut Buffers, manner: Manner) -> Self {
        buffers.parser.reset();
        for buffer in [
            &mut buffers.raw,
            &mut buffers.fields,
            &mut buffers.reason,
            &mut buffers.opening,
            &mut buffers.body,
        ] {
            buffer.clear();
        }
        Self {
            buffers,
            manner,
            stage: ResponseStage::Head,
            status: 0,
            declared: None,
            body_bytes: 0,
            is_overlong: false,
            is_opening: false,
            chunks: None,
            has_broken_chunks: false,
            redirect: None,
            is_bare: false,
        }
    }

    /// Whether nothing was written to the client yet: it can still get an error instead.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self.stage, ResponseStage::Head | ResponseStage::Held)
    }

    /// Whether something is to be written as soon as the handler pauses. If the body is broken
    /// already, the client shall get an error status instead.
    pub(super) fn is_holding(&self) -> bool {
        self.stage == ResponseStage::Held && self.redirect.is_none() && !self.has_broken_chunks
    }

    /// Whether another handler answers in place of this one, once it has ended.
    pub(super) fn is_redirect(&self) -> bool {
        self.redirect.is_some()
    }

    /// Whether the body is as long as it was declared.
    pub(super) fn is_declared_complete(&self) -> bool {
        self.stage != ResponseStage::Head && self.declared == Some(self.body_bytes)
    }

    /// Whether the response is complete: nothing that the handler may still print belongs to it.
    pub(super) fn is_whole(&self) -> bool {
        let has_body = http::has_body(self.manner.is_head, self.status);
        let are_chunks_over = self.chunks.is_some_and(|chunks| chunks.is_done());
        let is_long_enough = !self.is_opening && self.is_declared_complete();
        let is_at_end = !has_body || are_chunks_over || is_long_enough;
        self.stage != ResponseStage::Head
            && self.redirect.is_none()
            && is_at_end
            && self.judge().is_ok()
    }

    /// Whether this is a redirect to elsewhere whose handler has not declared a body, and has
    /// printed none so far.
    pub(super) fn is_bare_redirect(&self) -> bool {
        self.is_bare && self.stage == ResponseStage::Held && self.body_bytes == 0
    }

    /// The target of an internal redirect.
    pub(super) fn take_redirect(&mut self) -> Option<Vec<u8>> {
        self.redirect.take()
    }

    /// The beginning of output that was no response, for the log.
    pub(super) fn raw(&self) -> &[u8] {
        &self.buffers.raw
    }

    /// Takes a piece of the handler's output.
    pub(super) fn feed(&mut self, piece: &[u8], outlet: &mut Outlet<'_>) -> Result<(), Failed> {
        if self.stage != ResponseStage::Head {
            return self.take_body(piece, outlet);
        }
        self.buffers.raw.extend_from_slice(piece);
        let Buffers {
            parser,
            raw,
            fields,
            reason,
            ..
        } = &mut *self.buffers;
        let output = match parser.parse(raw, MAX_OUTPUT_HEAD).map_err(Failed::Bad)? {
            http::Progress::Partial => return Ok(()),
            http::Progress::Complete(output) => output,
        };
        for (name, value) in output.fields() {
            if name.eq_ignore_ascii_case(b"location") {
                http::push_field(fields, name, &reference(value));
            } else {
                http::push_field(fields, name, value);
            }
        }
        reason.extend_from_slice(output.reason.unwrap_or_default());
        let head_length = output.head_length;
        let facts = OutputFacts::of(&output);
        self.learn(facts);
        let raw = std::mem::take(&mut self.buffers.raw);
        let result = self.take_body(raw.get(head_length..).unwrap_or_default(), outlet);
        self.buffers.raw = raw;
        result
    }

    fn take_body(&mut self, piece: &[u8], outlet: &mut Outlet<'_>) -> Result<(), Failed> {
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
            // Some programs pass on the head of another server's response although their library
            // has already taken the chunks off its body (curl -i).
            Err(_) => {}
        }
        self.take_opening(outlet)
    }

    /// Takes the body's first bytes, once it is known what they are.
    fn take_opening(&mut self, outlet: &mut Outlet<'_>) -> Result<(), Failed> {
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
        Ok(self.write_body(part, outlet)?)
    }

    fn write_body(&self, part: &[u8], outlet: &mut Outlet<'_>) -> Result<(), Blocked> {
        if part.is_empty() {
            return Ok(());
        }
        if self.stage != ResponseStage::Open(Framing::Chunked) {
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

    fn learn(&mut self, facts: OutputFacts) {
        self.stage = ResponseStage::Held;
        self.status = facts.status;
        self.redirect = facts.redirect;
        self.is_opening = facts.is_chunked;
        self.is_bare = facts.is_bare;
        let has_body = http::has_body(self.manner.is_head, facts.status);
        self.declared = facts.declared.filter(|_| has_body || self.manner.is_head);
        if self.manner.is_head {
            // The body is never sent, so its length is what the handler says it is.
            self.body_bytes = self.declared.unwrap_or(0);
        }
    }

    /// Writes what is held back.
    pub(super) fn flush(&mut self, outlet: &mut Outlet<'_>) -> Result<(), Failed> {
        if self.stage == ResponseStage::Held && self.redirect.is_none() {
            let framing = http::frame(self.manner.version, self.status, self.declared);
            self.open(framing, outlet)?;
        }
        Ok(())
    }

    /// Writes the head and the body that is here.
    fn open(&mut self, framing: Framing, outlet: &mut Outlet<'_>) -> Result<(), Blocked> {
        let Buffers {
            fields,
            reason,
            body,
            head,
            date,
            ..
        } = &mut *self.buffers;
        head.clear();
        let response = ResponseHead {
            status: self.status,
            reason: Some(&**reason).filter(|reason| !reason.is_empty()),
            date: &date.now(),
            version: self.manner.version,
            close: self.manner.close,
            framing,
        };
        http::begin(head, &response);
        head.extend_from_slice(fields);
        http::finish(head);
        self.stage = ResponseStage::Open(framing);
        if body.is_empty() || framing == Framing::Chunked {
            outlet.write(&[IoSlice::new(head)])?;
        } else {
            return outlet.write(&[IoSlice::new(head), IoSlice::new(body)]);
        }
        let body = std::mem::take(&mut self.buffers.body);
        let result = self.write_body(&body, outlet);
        self.buffers.body = body;
        result
    }

    /// The handler's output is over: what was wrong with it, if anything.
    pub(super) fn judge(&self) -> Result<(), Wrong> {
        if self.stage == ResponseStage::Head {
            return Err(Wrong::Bad(BadOutput::at_end(&self.buffers.raw)));
        }
        // A beginning that was undecided to the end is a body without chunks.
        let body_bytes = self.body_bytes + self.buffers.opening.len() as u64;
        let is_short = self.declared.is_some_and(|declared| body_bytes < declared);
        let has_open_chunks = self.chunks.is_some_and(|chunks| !chunks.is_done());
        let has_body = http::has_body(self.manner.is_head, self.status);
        if is_short || self.has_broken_chunks || (has_open_chunks && has_body) {
            return Err(Wrong::Short);
        }
        Ok(())
    }

    /// Ends a good response. If nothing was written yet, its length is known now.
    pub(super) fn complete(&mut self, outlet: &mut Outlet<'_>) -> Result<(), Failed> {
        self.take_opening(outlet)?;
        let framing = match self.stage {
            ResponseStage::Head | ResponseStage::Complete(_) => return Ok(()),
            ResponseStage::Held => {
                // The body of a response to HEAD is not seen: its length is known only if the
                // handler has declared it.
                let length = match self.manner.is_head {
                    true => self.declared,
                    false => Some(self.body_bytes),
                };
                let framing = http::frame(self.manner.version, self.status, length);
                self.open(framing, outlet)?;
                framing
            }
            ResponseStage::Open(framing) => framing,
        };
        let has_body = http::has_body(self.manner.is_head, self.status);
        if framing == Framing::Chunked && has_body {
            outlet.write(&[IoSlice::new(b"0\r\n\r\n")])?;
        }
        self.stage = ResponseStage::Complete(framing);
        Ok(())
    }

    /// Whether the connection has to end with this response.
    pub(super) fn must_close(&self) -> bool {
        // Also after HEAD, whose body would have ended so: its head has said `close`, and who
        // says that must do it (RFC 9112 section 9.6).
        self.manner.close
            || matches!(
                self.stage,
                ResponseStage::Open(Framing::Close) | ResponseStage::Complete(Framing::Close)
            )
    }
}

/// Why the relay has to stop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failed {
    /// The output is no response.
    Bad(BadOutput),
    /// The client or its spool takes no more.
    Blocked(Blocked),
}

impl From<Blocked> for Failed {
    fn from(blocked: Blocked) -> Self {
        Self::Blocked(blocked)
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
