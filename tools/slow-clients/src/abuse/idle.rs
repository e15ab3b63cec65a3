//! Connections that have had one answer and then say nothing, until each asks once more.

use super::{Orders, say};
use crate::Result;
use crate::http::Client;
use std::net::SocketAddr;
use std::thread;

/// Threads that open and ask.
const THREADS: usize = 8;

fn open(server: SocketAddr, count: usize) -> Vec<Client> {
    let connect = |_| {
        let mut client = Client::connect(server).ok()?;
        let answer = client.get("/tiny").ok()?;
        (answer.status() == 200).then_some(client)
    };
    (0..count).filter_map(connect).collect()
}

pub fn run(server: SocketAddr, orders: &Orders, count: usize) -> Result<()> {
    let share = move |n: usize| count / THREADS + usize::from(n < count % THREADS);
    let threads: Vec<_> = (0..THREADS)
        .map(|n| thread::spawn(move || open(server, share(n))))
        .collect();
    let groups: Vec<Vec<Client>> = threads
        .into_iter()
        .filter_map(|thread| thread.join().ok())
        .collect();
    let opened: usize = groups.iter().map(Vec::len).sum();
    say(&format!("ready opened={opened}"));
    orders.wait();
    let threads: Vec<_> = groups
        .into_iter()
        .map(|mut clients| {
            thread::spawn(move || {
                let answers = clients.iter_mut().map(|client| client.get("/tiny"));
                answers
                    .filter(|a| a.as_ref().is_ok_and(|a| a.status() == 200))
                    .count()
            })
        })
        .collect();
    let answered: usize = threads
        .into_iter()
        .filter_map(|thread| thread.join().ok())
        .sum();
    say(&format!("done answered={answered}"));
    Ok(())
}
