//! The clients: those that check every byte of what they get, and those that leave.

use crate::http::{self, Answer, Client};
use crate::server::Server;
use crate::{Result, pattern, sys};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A request that was not answered as it should have been.
pub struct Failure {
    pub id: String,
    pub begun: Instant,
    pub ended: Instant,
    /// 0: no response, or not all of one.
    pub status: u16,
}

/// What one client, or all of them, got.
#[derive(Default)]
pub struct Asked {
    pub right: usize,
    pub bytes: u64,
    /// Answers that were whole and wrong, in words.
    pub wrong: Vec<String>,
    pub failures: Vec<Failure>,
}

impl Asked {
    pub fn add(&mut self, other: Self) {
        self.right += other.right;
        self.bytes += other.bytes;
        self.wrong.extend(other.wrong);
        self.failures.extend(other.failures);
    }
}

/// Numbers without a pattern; the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }
}

/// A request, and what its answer has to be.
struct Question {
    bytes: Vec<u8>,
    expected: Expected,
}

enum Expected {
    Text(String),
    /// The contents of this number and size.
    Pattern(u64, usize),
}

impl Question {
    fn random(id: &str, dice: &mut Dice) -> Self {
        let variant = dice.below(pattern::VARIANTS);
        match dice.below(10) {
            0..5 => Self {
                bytes: http::get(&format!("/once?id={id}&note={id}")).into_bytes(),
                expected: Expected::Text("ok\n".into()),
            },
            5..8 => {
                let most = [4 << 10, 64 << 10, 1 << 20, 3 << 20];
                let most = most[usize::try_from(dice.below(4)).unwrap_or(0)];
                let size = usize::try_from(dice.below(most)).unwrap_or(0);
                let target = format!("/download?id={variant}&size={size}&note={id}");
                Self {
                    bytes: http::get(&target).into_bytes(),
                    expected: Expected::Pattern(variant, size),
                }
            }
            _ => {
                let most = [4 << 10, 100 << 10, 600 << 10];
                let most = most[usize::try_from(dice.below(3)).unwrap_or(0)];
                let size = usize::try_from(dice.below(most)).unwrap_or(0);
                let body = pattern::whole(variant, size);
                let mut hash = Sha256::new();
                hash.update(&body);
                let mut bytes = http::post(&format!("/upload?note={id}"), size).into_bytes();
                bytes.extend_from_slice(&body);
                Self {
                    bytes,
                    expected: Expected::Text(pattern::hex(hash)),
                }
            }
        }
    }

    fn is_answered_by(&self, body: &[u8]) -> bool {
        match &self.expected {
            Expected::Text(text) => body == text.as_bytes(),
            Expected::Pattern(variant, size) => {
                // By hash, as a client would compare a transfer.
                let mut hash = Sha256::new();
                hash.update(body);
                body.len() == *size && pattern::hex(hash) == pattern::hash(*variant, *size)
            }
        }
    }
}

fn connected(server: &Server, client: &mut Option<Client>, dice: &mut Dice) -> Result<()> {
    // Now and then a new connection, though the old one would do.
    if client.is_none() || dice.below(20) == 0 {
        *client = Some(Client::connect(server.address)?);
    }
    Ok(())
}

/// Asks without a pause until it is over.
pub fn ask_on(server: &Server, number: u64, is_over: &AtomicBool) -> Asked {
    let mut asked = Asked::default();
    let mut dice = Dice::new(number + 1);
    let mut client = None;
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        count += 1;
        let id = format!("t{number}-{count}");
        let question = Question::random(&id, &mut dice);
        let begun = Instant::now();
        let answer = connected(server, &mut client, &mut dice).and_then(|()| {
            let client = client.as_mut().ok_or("no connection")?;
            // A refusal may come before all is sent; it is read then.
            let _ = client.send(&question.bytes);
            client.answer()
        });
        let goes_on = client.as_ref().is_some_and(|c| !c.is_closing);
        match answer {
            Ok(Answer::Whole(200, body)) if question.is_answered_by(&body) => {
                asked.right += 1;
                asked.bytes += body.len() as u64;
                server.forget_note(&id);
            }
            Ok(Answer::Whole(200, body)) => {
                asked.wrong.push(format!("{id}: {} bytes", body.len()));
            }
            Ok(other) => asked.failures.push(Failure {
                status: other.status(),
                id,
                begun,
                ended: Instant::now(),
            }),
            Err(e) => asked.wrong.push(format!("{id}: nothing came: {e}")),
        }
        if !goes_on {
            client = None;
        }
    }
    asked
}

/// Leaves after some of a request or of its response, by FIN or by RST, again and again.
pub fn vanish_on(server: &Server, number: u64, is_over: &AtomicBool) {
    let mut dice = Dice::new(number + 1000);
    while !is_over.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::connect(server.address) else {
            continue;
        };
        let question = Question::random("gone", &mut dice);
        let sent = dice.below(question.bytes.len() as u64 * 2 + 1);
        let sent = usize::try_from(sent).unwrap_or(0).min(question.bytes.len());
        let _ = client.send(&question.bytes[..sent]);
        sleep(Duration::from_micros(dice.below(8000)));
        if sent == question.bytes.len() && dice.below(2) == 0 {
            let _ = client.read_some(1);
        }
        if dice.below(2) == 0 {
            let _ = sys::reset_on_close(&client.stream);
        }
    }
}
