//! The model of what worker and parent can both take: loom runs the server's own source, as far as it
//! is about that, in every interleaving and with every value that a load may see. Prints for each rule
//! (`bugs.rs`, `world/rules.rs`) how many there were, then the same for seeded bugs, each of which must
//! be found; refuses to be content with one that is not.
//!
//! `caffeine-model [--preemptions N] [RULE]...`: with more preemptions than are looked at otherwise in
//! the rules that have a bound.

use std::any::Any;
use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[allow(
    dead_code,
    clippy::all,
    private_interfaces,
    unused_imports,
    unused_variables,
    reason = "of the source only a part is run"
)]
mod copies {
    include!(concat!(env!("OUT_DIR"), "/copies.rs"));
}

type Run = fn(&mut dyn FnMut(fn()));

/// A rule, and copies of the source that break it.
struct Rule {
    name: &'static str,
    what: &'static str,
    preemptions: Option<usize>,
    run: Run,
    bugs: &'static [Bug],
}

struct Bug {
    what: &'static str,
    run: Run,
}

/// What came out for one copy of the source.
struct Explored {
    interleavings: usize,
    time: Duration,
    /// Why it is wrong, if it is.
    found: Option<String>,
}

/// Runs a rule in a thread of its own: what a panic leaves there is of no use for the next.
fn explore(run: Run, preemptions: Option<usize>) -> Explored {
    let (since, count) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    let explored = thread::spawn(move || {
        run(&mut |world| {
            let mut builder = loom::model::Builder::new();
            builder.max_branches = 10_000;
            builder.preemption_bound = preemptions;
            let counted = Arc::clone(&counted);
            builder.check(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                world();
            });
        });
    });
    Explored {
        found: explored.join().err().map(|why| text_of(&*why)),
        interleavings: count.load(Ordering::Relaxed),
        time: since.elapsed(),
    }
}

/// Why a world has ended, in words where loom's are long.
fn text_of(why: &dyn Any) -> String {
    let text = why.downcast_ref::<String>().map(String::as_str);
    let text = text.or(why.downcast_ref::<&str>().copied()).unwrap_or("?");
    match text.lines().next().unwrap_or("?") {
        text if text.starts_with("deadlock") => "all wait for ever".to_owned(),
        text if text.starts_with("Causality violation") => "two have it at once".to_owned(),
        text => text.to_owned(),
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (mut names, mut bound) = (Vec::new(), None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--preemptions" => bound = words.next().and_then(|number| number.parse().ok()),
            _ => names.push(word),
        }
    }
    let mut is_right = true;
    let is_chosen = |rule: &&Rule| names.is_empty() || names.iter().any(|n| n == rule.name);
    for rule in copies::RULES.iter().filter(is_chosen) {
        let preemptions = rule.preemptions.map(|number| bound.unwrap_or(number));
        let sound = explore(rule.run, preemptions);
        print(rule.what, &sound);
        is_right &= sound.found.is_none();
        // From here on panics are what is looked for, and need not be told.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        for bug in rule.bugs {
            let seeded = explore(bug.run, preemptions);
            print(&format!("  {}", bug.what), &seeded);
            is_right &= seeded.found.is_some();
        }
        panic::set_hook(hook);
    }
    println!("model: {}", if is_right { "ok" } else { "FAILED" });
    ExitCode::from(u8::from(!is_right))
}

fn print(what: &str, explored: &Explored) {
    let Explored {
        interleavings,
        time,
        found,
    } = explored;
    let found = found.as_deref().unwrap_or("-");
    println!(
        "{what:50} {interleavings:>8} {:>6} ms  {found}",
        time.as_millis()
    );
}
