//! Workers are killed at any time, while clients ask; what each client was told must be true.

use crate::Result;
use crate::args::Options;
use crate::http::{self, Answer, Client};
use crate::server::Server;
use crate::sys;
use crate::table::Table;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;

/// What clients were told.
#[derive(Default)]
struct Told {
    answers: AtomicUsize,
    refused: AtomicUsize,
    lost: AtomicUsize,
    cut: AtomicUsize,
    wrong: AtomicUsize,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One request on a connection of its own, with or without a body.
fn ask(server: &Server, id: &str, with_body: bool) -> Result<Answer> {
    let mut client = Client::connect(server.address)?;
    let target = format!("/once?id={id}");
    if with_body {
        let body = vec![b'x'; 100_000];
        let _ = client.send(http::post(&target, body.len()).as_bytes());
        let _ = client.send(&body);
    } else {
        client.send(http::get(&target).as_bytes())?;
    }
    client.answer()
}

/// Whether what a client was told fits what ran.
fn judge(told: &Told, answer: &Answer, ran: u64) {
    let is_true = match (answer.status(), ran) {
        (200, 1) => {
            count(&told.answers);
            true
        }
        (503, 0) => {
            count(&told.refused);
            true
        }
        (502, 0 | 1) => {
            count(&told.lost);
            true
        }
        (0, 0 | 1) => {
            count(&told.cut);
            true
        }
        _ => false,
    };
    if !is_true {
        count(&told.wrong);
        eprintln!("    told {} though it ran {ran} times", answer.status());
    }
}

pub fn run(server: &Server, options: &Options, table: &mut Table) -> Result<()> {
    let time = options.pick(Duration::from_secs(10), Duration::from_millis(1500));
    let told = Told::default();
    let is_over = AtomicBool::new(false);
    let kills = AtomicUsize::new(0);
    scope(|scope| {
        for thread in 0..CLIENTS {
            let (told, is_over) = (&told, &is_over);
            scope.spawn(move || {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let id = format!("random-{thread}-{number}");
                    match ask(server, &id, number % 2 == 1) {
                        Ok(answer) => judge(told, &answer, server.runs(&id)),
                        Err(e) => {
                            eprintln!("    {id}: {e}");
                            count(&told.wrong);
                        }
                    }
                    number += 1;
                }
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < time {
            sleep(Duration::from_millis(23));
            let workers = server.workers();
            let at = kills.load(Ordering::Relaxed) % workers.len().max(1);
            let killed = workers
                .get(at)
                .map(|worker| sys::kill(*worker, sys::SIGKILL));
            if let Some(Ok(())) = killed {
                count(&kills);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let get = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    table.show("at random: workers killed", get(&kills));
    let shown = [&told.answers, &told.refused, &told.lost, &told.cut];
    let shown: Vec<String> = shown
        .iter()
        .map(|counter| get(counter).to_string())
        .collect();
    table.show("at random: 200, 503, 502, cut", shown.join(", "));
    let wrong = get(&told.wrong);
    table.check("at random: told what is not so", wrong, "0", wrong == 0);
    Ok(())
}
