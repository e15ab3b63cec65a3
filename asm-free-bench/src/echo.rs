//! One process with one client over loopback TCP: what a request and its answer cost without a
//! parent. The echo does nothing else; the lone worker does to a request for a missing handler what a
//! worker does to it, from the look at its head to the answer.

use crate::child::Child;
use crate::failure::Failure;
use crate::parsers::LIMITS;
use caffeine::testing::http::{self, DecodedPath, FieldStore, Progress};
use caffeine::testing::route::{Route, Router, Writers};
use caffeine::testing::sys::fd::AsFd;
use caffeine::testing::sys::{poll, socket};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// A forked process that answers.
pub(crate) struct Echo {
    stream: TcpStream,
    request: &'static [u8],
    answer: Vec<u8>,
    _child: Child,
}

impl Echo {
    /// One that sends `bytes` back.
    pub(crate) fn start(bytes: &'static [u8]) -> Result<Self, Failure> {
        Self::fork(bytes, bytes.to_vec(), send_back)
    }

    /// One that looks for the handler of `request` below `root`, and sends `answer` if there is none.
    pub(crate) fn lone_worker(
        request: &'static [u8],
        answer: Vec<u8>,
        root: &Path,
    ) -> Result<Self, Failure> {
        let sent = answer.clone();
        Self::fork(request, answer, |stream| work(stream, root, &sent))
    }

    fn fork(
        request: &'static [u8],
        answer: Vec<u8>,
        serve: impl FnOnce(TcpStream) -> Option<()>,
    ) -> Result<Self, Failure> {
        let unable = |e| Failure::unable("set up a TCP answerer", e);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(unable)?;
        let address = listener.local_addr().map_err(unable)?;
        let child = Child::fork(listener.as_fd(), || {
            // A failure here is the end of the connection there.
            if let Ok((stream, _)) = listener.accept()
                && stream.set_nodelay(true).is_ok()
            {
                serve(stream);
            }
        })?;
        let stream = TcpStream::connect(address).map_err(unable)?;
        stream.set_nodelay(true).map_err(unable)?;
        stream
            .set_read_timeout(Some(crate::reply::TIMEOUT))
            .map_err(unable)?;
        Ok(Self {
            stream,
            request,
            answer,
            _child: child,
        })
    }

    /// There and back.
    pub(crate) fn round_trip(&mut self) -> Result<Instant, Failure> {
        let unable = |e| Failure::unable("exchange bytes with a TCP answerer", e);
        self.stream.write_all(self.request).map_err(unable)?;
        let mut answer = [0; 512];
        let n = self.stream.read(&mut answer).map_err(unable)?;
        let end = Instant::now();
        if answer.get(..n) != Some(&*self.answer) {
            return Err(Failure::wrong("a TCP answerer's answer"));
        }
        Ok(end)
    }
}

fn send_back(mut stream: TcpStream) -> Option<()> {
    let mut bytes = [0; 512];
    loop {
        let n = stream.read(&mut bytes).ok().filter(|n| *n > 0)?;
        stream.write_all(bytes.get(..n)?).ok()?;
    }
}

/// Ends with the connection, or with what is not the request that it was.
fn work(mut stream: TcpStream, root: &Path, answer: &[u8]) -> Option<()> {
    let root = File::open(root).ok()?;
    let writers = Some(Writers::of_this_process());
    let mut router = Router::new(root.as_fd(), OsStr::new("index"), false, None, writers);
    let (mut path, mut store) = (DecodedPath::new(), FieldStore::new());
    let mut bytes = vec![0; 16 * 1024];
    loop {
        poll::wait_one(stream.as_fd(), poll::READABLE, Duration::MAX).ok()?;
        let n = socket::peek(stream.as_fd(), &mut bytes).ok()?;
        let parsed = http::parse(bytes.get(..n)?, &mut store, &LIMITS);
        let Ok(Progress::Complete(head)) = parsed else {
            return None;
        };
        let target = http::split(head.method, head.target).ok()?;
        path.decode(target.path).ok()?;
        if !matches!(router.resolve(&path), Route::NotFound(_)) {
            return None;
        }
        socket::discard(stream.as_fd(), n).ok()?;
        stream.write_all(answer).ok()?;
    }
}
