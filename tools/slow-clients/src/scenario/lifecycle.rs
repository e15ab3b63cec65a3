//! 10: every order that a server is given in its life, under a steady load: twenty reloads, an
//! upgrade, and the end. Not one request is lost whose connection was made.

use crate::args::Options;
use crate::http::{Answer, Client, get, post};
use crate::server::Server;
use crate::table::Table;
use crate::{Result, pattern, sys};
use sha2::{Digest, Sha256};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Clients, and how often each asks: 500 requests a second together.
const CLIENTS: u64 = 25;
const PACE: Duration = Duration::from_millis(50);

/// Reloads, half of them by the server that is started, half by its successor.
const RELOADS: u64 = 20;

/// Bytes of an upload; half of them come later.
const UPLOAD: usize = 100_000;
const LATER: Duration = Duration::from_millis(10);

/// What a client saw.
#[derive(Default)]
struct Seen {
    requests: u64,
    failures: Vec<String>,
    worst: Duration,
}

/// Asks until nobody accepts any more.
struct Asker<'a> {
    server: SocketAddr,
    number: u64,
    is_ending: &'a AtomicBool,
    client: Option<Client>,
    seen: Seen,
}

impl Asker<'_> {
    fn run(mut self) -> Seen {
        let mut next = Instant::now() + PACE.mul_f64(self.number as f64 / CLIENTS as f64);
        loop {
            sleep(next.saturating_duration_since(Instant::now()));
            next += PACE;
            if self.client.is_none() {
                match Client::connect(self.server) {
                    Ok(client) => self.client = Some(client),
                    Err(_) if self.is_ending.load(Ordering::Relaxed) => return self.seen,
                    Err(e) => {
                        self.seen.failures.push(format!("connect: {e}"));
                        continue;
                    }
                }
            }
            self.ask();
        }
    }

    fn ask(&mut self) {
        let Some(mut client) = self.client.take() else {
            return;
        };
        let begun = Instant::now();
        self.seen.requests += 1;
        let how = self.number % 4;
        match exchange(&mut client, how, self.seen.requests) {
            Ok(None) => {}
            Ok(Some(why)) => self.seen.failures.push(format!("{how}: {why}")),
            Err(e) => self.seen.failures.push(format!("{how}: {e}")),
        }
        self.seen.worst = self.seen.worst.max(begun.elapsed());
        let is_kept = how != 1 && !client.is_closing && self.seen.failures.is_empty();
        self.client = is_kept.then_some(client);
    }
}

/// One request of a kind; what is wrong with its answer.
fn exchange(client: &mut Client, how: u64, id: u64) -> Result<Option<String>> {
    let expected = if how == 2 {
        let mut body = vec![0; UPLOAD];
        pattern::fill(&mut body, id, 0);
        client.send(post("/upload", UPLOAD).as_bytes())?;
        client.send(&body[..UPLOAD / 2])?;
        sleep(LATER);
        client.send(&body[UPLOAD / 2..])?;
        let mut hash = Sha256::new();
        hash.update(&body);
        Some(pattern::hex(hash))
    } else {
        let head = get("/tiny");
        let (first, rest) = head.as_bytes().split_at(if how == 3 { 9 } else { 0 });
        if !first.is_empty() {
            client.send(first)?;
            sleep(LATER);
        }
        client.send(rest)?;
        None
    };
    Ok(match client.answer()? {
        Answer::Whole(200, body) => {
            let is_right = expected.is_none_or(|hash| hash.as_bytes() == body);
            (!is_right).then(|| String::from("the body is wrong"))
        }
        Answer::Whole(status, _) => Some(format!("status {status}")),
        Answer::Cut => Some(String::from("cut")),
        Answer::Closed => Some(String::from("closed without an answer")),
    })
}

fn reload(server: &Server, times: u64) -> io::Result<()> {
    for _ in 0..times {
        sys::kill(server.pid_now(), sys::SIGHUP)?;
        sleep(Duration::from_millis(150));
    }
    Ok(())
}

/// The orders, one after the other.
fn order(server: &mut Server, is_ending: &AtomicBool) -> Result<bool> {
    sleep(Duration::from_millis(500));
    reload(server, RELOADS / 2)?;
    let old = server.pid();
    sys::kill(old, sys::SIGUSR2)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.pid_now() == old && Instant::now() < deadline {
        sleep(Duration::from_millis(5));
    }
    server.follow();
    reload(server, RELOADS / 2)?;
    sleep(Duration::from_millis(500));
    is_ending.store(true, Ordering::Relaxed);
    server.stop()
}

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    sys::become_subreaper()?;
    let mut server = Server::start(options, &[])?;
    let is_ending = AtomicBool::new(false);
    let begun = Instant::now();
    let address = server.address;
    let (is_clean, seen) = scope(|scope| {
        let ending = &is_ending;
        let asking: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let asker = Asker {
                    server: address,
                    number,
                    is_ending: ending,
                    client: None,
                    seen: Seen::default(),
                };
                scope.spawn(move || asker.run())
            })
            .collect();
        let is_clean = order(&mut server, ending);
        // Whatever has happened: nobody waits for ever.
        ending.store(true, Ordering::Relaxed);
        let seen = asking.into_iter().filter_map(|asking| asking.join().ok());
        (is_clean, seen.collect::<Vec<_>>())
    });
    let is_clean = is_clean?;
    let requests: u64 = seen.iter().map(|seen| seen.requests).sum();
    let rate = requests as f64 / begun.elapsed().as_secs_f64();
    table.show("requests", format!("{requests}, {rate:.0}/s"));
    let failures: Vec<&String> = seen.iter().flat_map(|seen| &seen.failures).collect();
    let shown = match failures.first() {
        Some(first) => format!("{} ({first})", failures.len()),
        None => String::from("0"),
    };
    table.check("failed, cut or reset", shown, "0", failures.is_empty());
    let worst = seen.iter().map(|seen| seen.worst).max().unwrap_or_default();
    table.show("longest answer", format!("{} ms", worst.as_millis()));
    for (what, words, wanted) in [
        ("reloads", "reloaded: ", RELOADS),
        ("upgrades", " serves now", 1),
        ("lines at ERROR", " ERROR [", 0),
    ] {
        let found = server.count_in_log(words);
        table.check(what, found, &wanted.to_string(), found == wanted);
    }
    let figure = if is_clean { "yes" } else { "no" };
    table.check("stopped, nothing left behind", figure, "yes", is_clean);
    Ok(())
}
