//! Shows with a counting allocator that a warm worker allocates nothing between two requests.
//!
//! The worker runs in a thread of this test, which plays the parent: it hands over clients and
//! hears verdicts. Only the worker's thread is counted.

#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

use caffeine::testing::birth::Birth;
use caffeine::testing::channel::{self, Incoming, Order, Serve, Stage, Verdict};
use caffeine::testing::cli::{self, Invocation};
use caffeine::testing::log::Log;
use caffeine::testing::scoreboard::{Scoreboard, Slot, Ticket};
use caffeine::testing::settings::{Level, Settings};
use caffeine::testing::sys::fd::AsFd;
use caffeine::testing::sys::{file, poll, socket, time};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
/// Requests until every buffer has its size.
const WARM_UP: usize = 5;
/// Requests that must not allocate.
const COUNTED: usize = 50;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_COUNTED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn settings(folder: &Path) -> Settings {
    let words = [
        ("--path", "handlers"),
        ("--socket", "socket"),
        ("--log-file", "log"),
    ]
    .map(|(option, name)| [option.into(), folder.join(name).into_os_string()])
    .concat();
    let parsed = cli::parse(&words, cli::Surroundings { home: None }).unwrap();
    match cli::combine(&parsed, None).unwrap() {
        Invocation::Serve(settings) => *settings,
        other => panic!("{other:?}"),
    }
}

fn path_of(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// What the worker says next.
fn verdict(channel: &OwnedFd) -> Verdict {
    assert!(poll::wait_one(channel.as_fd(), poll::READABLE, DEADLINE).unwrap());
    match channel::receive_verdict(channel.as_fd()).unwrap() {
        Incoming::Verdict(verdict, _, None) => verdict,
        other => panic!("{other:?}"),
    }
}

/// What the parent has of worker and connection.
struct Ends<'a> {
    channel: &'a OwnedFd,
    server: &'a OwnedFd,
}

/// Hands over the server's end of a connection on which `request` has arrived.
fn serve(ends: &Ends<'_>, client: &OwnedFd, request: &[u8]) {
    socket::send(client.as_fd(), request).unwrap();
    order(ends);
    assert_eq!(verdict(ends.channel), Verdict::Keep);
    hear(client);
}

fn order(ends: &Ends<'_>) {
    let now = time::now();
    // Never used twice: microseconds of a clock that goes on.
    let ticket = Ticket::new(now.as_micros());
    let order = Order::Serve(Serve {
        connection: 1,
        stage: Stage::Head,
        is_head_resumed: false,
        is_last: false,
        listener: 0,
        requests: 0,
        head_begun: now,
        progress: now,
        ticket,
        woken: now,
        peer: Some("127.0.0.1:9".parse().unwrap()),
    });
    channel::send_order(
        ends.channel.as_fd(),
        &order,
        Some(ends.server.as_fd()),
        None,
    )
    .unwrap();
}

/// The next request of a client that the worker rests with.
fn go_on(client: &OwnedFd, request: &[u8]) {
    socket::send(client.as_fd(), request).unwrap();
    hear(client);
}

fn hear(client: &OwnedFd) {
    // A worker that is not scheduled for a millisecond sends it in pieces, and does not know its length yet.
    let mut response = [0; 4096];
    let mut len = 0;
    let ends: [&[u8]; 2] = [b"\r\n\r\nhello\n", b"hello\n\r\n0\r\n\r\n"];
    while !ends.iter().any(|end| response[..len].ends_with(end)) {
        assert!(poll::wait_one(client.as_fd(), poll::READABLE, DEADLINE).unwrap());
        let n = socket::receive(client.as_fd(), &mut response[len..]).unwrap();
        assert!(n > 0, "{:?}", String::from_utf8_lossy(&response[..len]));
        len += n;
    }
    assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

fn tcp_pair() -> (OwnedFd, OwnedFd) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    (server.into(), client.into())
}

/// Nothing is allocated while the worker answers a request again and again.
fn count(what: &str, request: impl Fn()) {
    (0..WARM_UP).for_each(|_| request());
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    assert!(before > 0, "the allocator is not counting");
    (0..COUNTED).for_each(|_| request());
    let after = ALLOCATIONS.load(Ordering::SeqCst);
    assert_eq!(
        after - before,
        0,
        "{what}: allocations in {COUNTED} requests"
    );
}

#[test]
fn a_warm_worker_allocates_nothing_between_two_requests() {
    let folder = std::env::temp_dir().join(format!("caffeine-allocations-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("handlers")).unwrap();
    let handler = folder.join("handlers/hello");
    std::fs::write(
        &handler,
        // Without a length, so that the response ends with the handler, however late its worker sees that.
        "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\nhello\\n'\n",
    )
    .unwrap();
    std::fs::set_permissions(&handler, std::fs::Permissions::from_mode(0o755)).unwrap();
    let settings = settings(&folder);
    let control = socket::listen_unix(&settings.socket, true, 1).unwrap();
    let board = Arc::new(Scoreboard::new(1).unwrap());
    let scoreboard = Arc::clone(&board);
    let worker = std::thread::spawn(move || {
        let log = Log::open(path_of(&settings.log_file), Level::Info, None).unwrap();
        let root = file::open_at(None, &path_of(&settings.path), file::Open::Folder).unwrap();
        let birth = Birth {
            slot: Slot(0),
            secret: 7,
            settings: &settings,
            scoreboard: &scoreboard,
            log: &log,
            root: root.as_fd(),
            listeners: &[None],
            handler_descriptor_limit: None,
            cpus: caffeine::testing::sys::machine::cpus(),
        };
        IS_COUNTED.set(true);
        caffeine::testing::worker::run(&birth)
    });
    assert!(poll::wait_one(control.as_fd(), poll::READABLE, DEADLINE).unwrap());
    let (channel, _) = socket::accept(control.as_fd()).unwrap();
    assert!(poll::wait_one(channel.as_fd(), poll::READABLE, DEADLINE).unwrap());
    assert_eq!(channel::receive_birth(channel.as_fd(), 7), Some(Slot(0)));
    assert_eq!(verdict(&channel), Verdict::Ready);

    let (server, client) = tcp_pair();
    let get = b"GET /hello/info?x=y HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n";
    let post = b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let ends = Ends {
        channel: &channel,
        server: &server,
    };
    board.need_workers(true);
    for request in [&get[..], post] {
        count("ordered", || serve(&ends, &client, request));
    }
    board.need_workers(false);
    socket::send(client.as_fd(), get).unwrap();
    order(&ends);
    hear(&client);
    for request in [&get[..], post] {
        count("resting", || go_on(&client, request));
    }
    drop(channel);
    assert_eq!(worker.join().unwrap(), 0);
    std::fs::remove_dir_all(&folder).unwrap();
}
