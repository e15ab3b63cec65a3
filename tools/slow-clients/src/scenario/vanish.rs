//! 5: clients that leave at every possible point, in three ways, mixed.

use super::{end, judge_holdings, settle};
use crate::args::Options;
use crate::http::{self, Answer, Client};
use crate::server::Server;
use crate::table::Table;
use crate::{Result, sys};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clients at a time.
const THREADS: usize = 16;

/// After what the client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Accept,
    FirstByte,
    HalfHead,
    Head,
    HalfBody,
    Body,
    Launch,
    FirstResponseByte,
    HalfResponse,
}

const POINTS: [Point; 9] = [
    Point::Accept,
    Point::FirstByte,
    Point::HalfHead,
    Point::Head,
    Point::HalfBody,
    Point::Body,
    Point::Launch,
    Point::FirstResponseByte,
    Point::HalfResponse,
];

/// How it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Close,
    Reset,
    /// It only says that it sends no more: what it has asked for is still its due.
    HalfClose,
}

const WAYS: [Way; 3] = [Way::Close, Way::Reset, Way::HalfClose];

const BODY: usize = 256 << 10;
const RESPONSE: usize = 6 << 20;

/// Does everything before the point. What it waits for is there then.
fn go_to(server: &Server, point: Point, way: Way, number: usize) -> Result<Client> {
    let mut client = Client::connect(server.address)?;
    let body = vec![b'x'; BODY];
    let then = match way {
        Way::HalfClose => "nap",
        Way::Close | Way::Reset => "hang",
    };
    match point {
        Point::Accept => {}
        Point::FirstByte => client.send(b"P")?,
        Point::HalfHead => client.send(b"POST /upload HTTP/1.1\r\nHost: loc")?,
        Point::Head => client.send(http::post("/upload", BODY).as_bytes())?,
        Point::HalfBody | Point::Body => {
            let sent = if point == Point::Body { BODY } else { BODY / 2 };
            client.send(http::post("/upload", BODY).as_bytes())?;
            client.send(&body[..sent])?;
        }
        Point::Launch => {
            let id = format!("launch-{number}");
            client.send(http::get(&format!("/once?id={id}&then={then}")).as_bytes())?;
            let deadline = Instant::now() + Duration::from_secs(20);
            while server.runs(&id) == 0 {
                if Instant::now() > deadline {
                    return Err("a handler was not launched in time".into());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Point::FirstResponseByte => {
            let target = format!("/once?id=first-{number}&then=stream&ticks=10");
            client.send(http::get(&target).as_bytes())?;
            client.read_some(1)?;
        }
        Point::HalfResponse => {
            let target = format!("/download?id={number}&size={RESPONSE}");
            client.send(http::get(&target).as_bytes())?;
            client.read_some(RESPONSE / 2)?;
        }
    }
    Ok(client)
}

/// Leaves. What is wrong with the answer of one that only half-closed, if anything is.
fn leave(mut client: Client, point: Point, way: Way) -> Result<Option<String>> {
    match way {
        Way::Close => return Ok(None),
        Way::Reset => {
            sys::reset_on_close(&client.stream)?;
            return Ok(None);
        }
        Way::HalfClose => client.stream.shutdown(Shutdown::Write)?,
    }
    let answer = client.answer()?;
    let is_whole = matches!(
        point,
        Point::Body | Point::Launch | Point::FirstResponseByte | Point::HalfResponse
    );
    let is_right = match &answer {
        Answer::Whole(status, _) => *status == if is_whole { 200 } else { 408 },
        Answer::Closed => !is_whole,
        Answer::Cut => false,
    };
    Ok((!is_right).then(|| {
        let status = answer.status();
        format!("half-closed after {point:?}: status {status}")
    }))
}

/// Every point in every way, `count` rounds of each point, shuffled.
fn mix(count: usize) -> Vec<(Point, Way)> {
    let pairs = POINTS.iter().flat_map(|point| {
        let ways = WAYS.iter().cycle().take(count);
        ways.map(|way| (*point, *way))
    });
    let mut all: Vec<(Point, Way)> = pairs.collect();
    let mut state = 1_u64;
    for at in (1..all.len()).rev() {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        let other = usize::try_from(state >> 33).unwrap_or(0) % (at + 1);
        all.swap(at, other);
    }
    all
}

/// Plays all of them; what was wrong with some.
fn play(server: &Server, count: usize) -> Vec<String> {
    let all = mix(count);
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let note = |why: String| {
        if let Ok(mut wrong) = wrong.lock() {
            wrong.push(why);
        }
    };
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((point, way)) = all.get(number).copied() else {
                return;
            };
            let gone = go_to(server, point, way, number);
            match gone.and_then(|client| leave(client, point, way)) {
                Ok(None) => {}
                Ok(Some(why)) => note(why),
                Err(e) => note(format!("{point:?}, {way:?}: {e}")),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    wrong.into_inner().unwrap_or_default()
}

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    let count = options.pick(1_000, 60);
    let server = Server::start(options, &[])?;
    let mut wrong = play(&server, options.pick(60, 9));
    let before = settle(&server, 4)?;
    let begun = Instant::now();
    wrong.extend(play(&server, count));
    let rounds = format!(
        "{} in {:.0} s",
        count * POINTS.len(),
        begun.elapsed().as_secs_f64()
    );
    table.show("clients that left", rounds);
    let first = wrong.first().map_or("", String::as_str);
    let figure = format!("{} {first}", wrong.len());
    table.check(
        "clients treated wrongly",
        figure.trim(),
        "0",
        wrong.is_empty(),
    );
    let after = settle(&server, 4)?;
    judge_holdings(table, before, after);
    let status = server.status()?;
    let parked = [
        "idle", "head", "body", "drain", "linger", "queued", "held", "serving",
    ];
    let left: u64 = parked.iter().map(|state| status.get(state)).sum();
    table.check("still parked", left, "0", left == 0);
    let spooled = status.get("spooled");
    table.check("bytes in spools", spooled, "0", spooled == 0);
    end(table, server)
}
