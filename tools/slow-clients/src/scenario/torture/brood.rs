//! Clients of the handler that leaves behind what is hard to find and to end.

use super::ask::Dice;
use crate::brood::WAYS;
use crate::http::{self, Client};
use crate::server::Server;
use crate::table::Table;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(20);

/// How often each way was asked for, and how often it came to its own end: a whole response, or the
/// time limit.
#[derive(Default)]
pub struct Broods {
    asked: [usize; WAYS.len()],
    ended: [usize; WAYS.len()],
}

impl Broods {
    pub fn add(&mut self, other: &Self) {
        for way in 0..WAYS.len() {
            self.asked[way] += other.asked[way];
            self.ended[way] += other.ended[way];
        }
    }

    /// Rows on what was done.
    pub fn show(&self, table: &mut Table) {
        for (way, (name, _)) in WAYS.iter().enumerate() {
            let (asked, ended) = (self.asked[way], self.ended[way]);
            let what = format!("handler: {name}");
            let figure = format!("{ended} of {asked}");
            table.check(&what, figure, "some to their end", ended > 0);
        }
    }
}

/// Asks until it is over. What is left of a request would live for `seconds`.
pub fn brood_on(server: &Server, number: u64, seconds: u64, is_over: &AtomicBool) -> Broods {
    let mut broods = Broods::default();
    let mut dice = Dice::new(number + 2000);
    while !is_over.load(Ordering::Relaxed) {
        let way = usize::try_from(dice.below(WAYS.len() as u64)).unwrap_or(0);
        let Ok(mut client) = Client::connect(server.address) else {
            continue;
        };
        let target = format!("/brood?way={way}&seconds={seconds}");
        let _ = client.send(http::get(&target).as_bytes());
        let status = client.answer().map_or(0, |answer| answer.status());
        let expected = if WAYS[way].1 { 200 } else { 504 };
        broods.asked[way] += 1;
        broods.ended[way] += usize::from(status == expected);
        sleep(PAUSE);
    }
    broods
}
