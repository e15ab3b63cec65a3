//! One phase at a time: the worker is brought there, or stopped there, and then killed.

use crate::http::{self, Answer, Client};
use crate::server::Server;
use crate::table::Table;
use crate::{Result, process, sys};
use std::io::{ErrorKind, Write};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until four workers can be given clients, after the deaths of the round before.
fn wait_for_pool(server: &Server) -> Result<()> {
    let is_ready = server.wait_for(PATIENCE, |s| s.get("ready") >= 4 && s.get("busy") == 0)?;
    is_ready
        .then_some(())
        .ok_or("the pool does not come back".into())
}

/// Kills whichever worker has a client, which shows in its descriptors.
fn kill_busy(server: &Server) -> Result<()> {
    let workers = server.workers();
    let busiest = workers
        .into_iter()
        .max_by_key(|pid| process::descriptors(*pid));
    sys::kill(busiest.ok_or("no worker")?, sys::SIGKILL)?;
    Ok(())
}

/// Waits until the handler with this id runs.
fn wait_for_run(server: &Server, id: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while server.runs(id) == 0 {
        if Instant::now() > deadline {
            return Err(format!("handler {id} was not launched").into());
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Four workers are stopped, each is given a client that it never looks at, and all are killed.
pub fn looking(server: &Server, rounds: usize, table: &mut Table) -> Result<()> {
    let (mut answered, mut ran) = (0, 0);
    for round in 0..rounds {
        wait_for_pool(server)?;
        let workers = server.workers();
        for worker in &workers {
            sys::kill(*worker, sys::SIGSTOP)?;
        }
        let ids: Vec<String> = (0..workers.len())
            .map(|n| format!("look-{round}-{n}"))
            .collect();
        let ask = |id: &str| -> Result<u16> {
            let mut client = Client::connect(server.address)?;
            Ok(client.get(&format!("/once?id={id}"))?.status())
        };
        answered += scope(|scope| -> Result<usize> {
            let clients: Vec<_> = ids
                .iter()
                .map(|id| scope.spawn(move || ask(id).unwrap_or(0)))
                .collect();
            let all = u64::try_from(workers.len())?;
            let is_given = server.wait_for(PATIENCE, |s| s.get("serving") == all);
            for worker in &workers {
                sys::kill(*worker, sys::SIGKILL)?;
            }
            let statuses = clients.into_iter().map(|client| client.join().unwrap_or(0));
            let answered = statuses.filter(|status| *status == 200).count();
            is_given?
                .then_some(answered)
                .ok_or("stopped workers got no clients".into())
        })?;
        ran += ids.iter().filter(|id| server.runs(id) == 1).count();
    }
    let bound = (rounds * 4).to_string();
    table.check(
        "looking: still answered 200",
        answered,
        &bound,
        answered == rounds * 4,
    );
    table.check("looking: ran exactly once", ran, &bound, ran == rounds * 4);
    Ok(())
}

/// All workers are killed while clients are parked: nobody notices.
pub fn parked(server: &Server, rounds: usize, table: &mut Table) -> Result<()> {
    let mut answered = 0;
    let body = vec![b'x'; 128 << 10];
    for _ in 0..rounds {
        wait_for_pool(server)?;
        let mut idle = Client::connect(server.address)?;
        idle.get("/tiny")?;
        let mut head = Client::connect(server.address)?;
        head.send(b"GET /tiny HTTP/1.1\r\nHo")?;
        let mut upload = Client::connect(server.address)?;
        upload.send(http::post("/upload", body.len()).as_bytes())?;
        upload.send(&body[..body.len() / 2])?;
        let size = 12 << 20;
        let mut download = Client::connect(server.address)?;
        download.send(http::get(&format!("/download?size={size}")).as_bytes())?;
        let is_parked = server.wait_for(PATIENCE, |s| {
            let states = ["idle", "head", "body", "drain"];
            s.get("busy") == 0 && states.iter().all(|state| s.get(state) == 1)
        })?;
        if !is_parked {
            return Err("not everybody is parked".into());
        }
        for worker in server.workers() {
            sys::kill(worker, sys::SIGKILL)?;
        }
        idle.send(http::get("/tiny").as_bytes())?;
        head.send(b"st: localhost\r\n\r\n")?;
        upload.send(&body[body.len() / 2..])?;
        let answers = [idle.answer()?, head.answer()?, upload.answer()?];
        answered += answers
            .iter()
            .filter(|answer| answer.status() == 200)
            .count();
        let is_whole = matches!(download.answer()?, Answer::Whole(200, b) if b.len() == size);
        answered += usize::from(is_whole);
    }
    let bound = (rounds * 4).to_string();
    table.check(
        "parked: nobody notices",
        answered,
        &bound,
        answered == rounds * 4,
    );
    Ok(())
}

/// Sends a body as fast as it goes until there is an answer; the status, 0 for none.
fn send_until_answered(server: &Server, size: usize) -> Result<u16> {
    let mut client = Client::connect(server.address)?;
    client.send(http::post("/once?id=read", size).as_bytes())?;
    client.stream.set_nonblocking(true)?;
    let piece = vec![b'x'; 1 << 16];
    let mut sent = 0;
    let deadline = Instant::now() + PATIENCE;
    while sent < size && Instant::now() < deadline {
        let mut peeked = [0; 16];
        match client.stream.peek(&mut peeked) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            _ => break,
        }
        match client.stream.write(&piece[..piece.len().min(size - sent)]) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                sleep(Duration::from_micros(100));
            }
            Err(_) => break,
        }
    }
    client.stream.set_nonblocking(false)?;
    Ok(client.answer()?.status())
}

/// A worker is killed while a large body comes in. Whether it was reading at that moment or had
/// just given the client back is chance, so what must hold is: 503 and nothing ran, or 200.
pub fn reading(server: &Server, rounds: usize, table: &mut Table) -> Result<()> {
    let (mut refused, mut served, mut others, mut twice) = (0, 0, 0, 0);
    let mut ran = 0;
    for round in 0..rounds * 10 {
        wait_for_pool(server)?;
        let status = scope(|scope| -> Result<u16> {
            let client = scope.spawn(|| send_until_answered(server, 160 << 20).unwrap_or(0));
            server.wait_for(PATIENCE, |s| s.get("busy") > 0 || s.get("body") > 0)?;
            sleep(Duration::from_millis(5 + (round as u64 * 7) % 30));
            kill_busy(server)?;
            Ok(client.join().unwrap_or(0))
        })?;
        let now = server.runs("read");
        match status {
            503 if now == ran => refused += 1,
            200 if now == ran + 1 => served += 1,
            _ => others += 1,
        }
        twice += usize::from(now > ran + 1);
        ran = now;
        if refused >= rounds {
            break;
        }
    }
    let shown = format!("{refused}, {served}, {others}");
    let is_good = refused > 0 && others == 0;
    table.check(
        "reading: 503, 200 (was parked), other",
        shown,
        "> 0, any, 0",
        is_good,
    );
    table.check("reading: ran twice", twice, "0", twice == 0);
    Ok(())
}

/// The handler runs and has not said anything.
pub fn launched(server: &Server, rounds: usize, table: &mut Table) -> Result<()> {
    let (mut told, mut once) = (0, 0);
    for round in 0..rounds {
        wait_for_pool(server)?;
        let id = format!("launched-{round}");
        let mut client = Client::connect(server.address)?;
        client.send(http::get(&format!("/once?id={id}&then=hang")).as_bytes())?;
        wait_for_run(server, &id)?;
        kill_busy(server)?;
        let answer = client.answer()?;
        told += usize::from(answer.status() == 502 || answer == Answer::Closed);
        once += usize::from(server.runs(&id) == 1);
    }
    let bound = rounds.to_string();
    table.check("launched: 502 or closed", told, &bound, told == rounds);
    table.check("launched: ran exactly once", once, &bound, once == rounds);
    Ok(())
}

/// Some of the response has been sent.
pub fn answering(server: &Server, rounds: usize, table: &mut Table) -> Result<()> {
    let (mut cut, mut once) = (0, 0);
    for round in 0..rounds {
        wait_for_pool(server)?;
        let id = format!("answering-{round}");
        let mut client = Client::connect(server.address)?;
        let target = format!("/once?id={id}&then=stream&ticks=200");
        client.send(http::get(&target).as_bytes())?;
        client.read_some(1)?;
        kill_busy(server)?;
        cut += usize::from(matches!(client.answer()?, Answer::Cut | Answer::Closed));
        once += usize::from(server.runs(&id) == 1);
    }
    let bound = rounds.to_string();
    table.check("answering: cut, and seen to be", cut, &bound, cut == rounds);
    table.check("answering: ran exactly once", once, &bound, once == rounds);
    Ok(())
}
