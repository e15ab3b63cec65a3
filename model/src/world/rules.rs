//! The rules. Each is a function that sets up a world and lets parent and workers run in it; loom
//! does so once for every interleaving. What must not be is a panic, and whoever waits for ever a
//! deadlock, which loom sees.

use crate::birth::Birth;
use crate::parent::Parent;
use crate::scoreboard::{Scoreboard, Slot};
use crate::settings::Settings;
use crate::sys::fd::{Act, Socket};
use crate::sys::mortal;
use crate::worker;
use std::cell::Cell;
use std::rc::Rc;

/// Runs a world in all interleavings.
pub type Explore<'a> = &'a mut dyn FnMut(fn());

/// A worker has a client that speaks once more at most and is silent for ever then, and somebody else
/// comes: he is served.
pub fn needed(explore: Explore<'_>) {
    explore(|| {
        let mut parent = Parent::new(None);
        let worker = parent.add_worker();
        parent.accept(&[Act::Speaks]);
        parent.end_turn();
        parent.run(worker, None);
        let second = parent.accept(&[]);
        parent.end_turn();
        while parent.is_queued(second) {
            parent.turn();
        }
        parent.finish();
    });
}

/// A client speaks, or its rest is over, while the parent takes it back.
pub fn owner(explore: Explore<'_>) {
    explore(|| {
        let mut parent = Parent::new(None);
        let worker = parent.add_worker();
        let client = parent.accept(&[Act::Speaks, Act::IsSilent]);
        parent.end_turn();
        parent.run(worker, None);
        parent.take_one_back();
        parent.end_turn();
        while !parent.is_idle(client) {
            parent.turn();
        }
        parent.check_owners();
        parent.finish();
    });
}

/// A worker is told to leave while its client speaks once, and is silent for ever then.
pub fn leaving(explore: Explore<'_>) {
    explore(|| {
        let mut parent = Parent::new(None);
        let worker = parent.add_worker();
        parent.accept(&[Act::Speaks]);
        parent.end_turn();
        parent.run(worker, None);
        leave(parent, worker);
    });
}

/// Two workers want the last place, each twice.
pub fn claim(explore: Explore<'_>) {
    explore(|| {
        let mut settings = Settings::default();
        settings.limits.max_concurrent = Some(1);
        let board = Scoreboard::new(2).unwrap();
        let shared = Rc::new((board, settings, Socket::new(&[])));
        let work = |slot| {
            let shared = Rc::clone(&shared);
            move || {
                let (scoreboard, settings, place) = &*shared;
                let birth = Birth {
                    slot,
                    settings,
                    scoreboard,
                };
                worker::call(&birth, place);
                worker::call(&birth, place);
            }
        };
        let other = loom::thread::spawn(work(Slot(1)));
        work(Slot(0))();
        other.join().unwrap();
    });
}

/// Two requests of a handler that has one place, and two workers: both are answered.
pub fn held(explore: Explore<'_>) {
    explore(|| two_for_one_place(None));
}

/// The same, and one of the workers dies before each of its steps: nobody waits for its place.
pub fn place(explore: Explore<'_>) {
    at_each_step(explore, || two_for_one_place(Some(LIFE.get())));
}

fn two_for_one_place(life: Option<usize>) {
    let mut parent = Parent::new(Some(1));
    let workers = [(); 2].map(|()| parent.add_worker());
    parent.accept(&[]);
    parent.accept(&[]);
    parent.end_turn();
    for (worker, life) in workers.into_iter().zip([life, None]) {
        parent.run(worker, life);
    }
    while !parent.is_done() {
        parent.turn();
    }
    parent.finish();
}

thread_local! {
    /// After so many steps a worker dies.
    static LIFE: Cell<usize> = const { Cell::new(0) };
    /// See `Parent::ends_first`.
    static ENDS_FIRST: Cell<bool> = const { Cell::new(false) };
}

/// Lets a worker die before each of its steps.
fn at_each_step(explore: Explore<'_>, world: fn()) {
    for life in 0.. {
        LIFE.set(life);
        let deaths = mortal::deaths();
        explore(world);
        if mortal::deaths() == deaths {
            break;
        }
    }
}

/// A worker dies.
pub fn death(explore: Explore<'_>) {
    for world in [dies_while_others_wait, dies_while_told_to_leave] {
        for ends_first in [false, true] {
            ENDS_FIRST.set(ends_first);
            at_each_step(explore, world);
        }
    }
}

fn dies_while_others_wait() {
    let (mut parent, _) = with_mortal(&[]);
    let second = parent.accept(&[Act::IsSilent]);
    parent.end_turn();
    while !parent.is_alone() && !parent.is_idle(second) {
        parent.turn();
    }
    parent.hang_up();
    while !parent.is_alone() {
        parent.turn();
    }
    parent.check_owners();
}

fn dies_while_told_to_leave() {
    let (mut parent, worker) = with_mortal(&[Act::Speaks]);
    parent.take_one_back();
    parent.end_turn();
    leave(parent, worker);
}

fn with_mortal(acts: &[Act]) -> (Parent, Slot) {
    let mut parent = Parent::new(None);
    parent.ends_first = ENDS_FIRST.get();
    let worker = parent.add_worker();
    parent.accept(acts);
    parent.end_turn();
    parent.run(worker, Some(LIFE.get()));
    (parent, worker)
}

/// Lets the worker go, and looks where all clients are.
fn leave(mut parent: Parent, worker: Slot) {
    parent.tell_to_leave(worker);
    while !parent.is_alone() {
        parent.turn();
    }
    parent.check_owners();
}
