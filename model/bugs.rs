// The rules, and the bugs that are seeded to see that each rule finds some. Read by the build script.

/// A rule.
struct Rule {
    /// Its function in `world/rules.rs`.
    name: &'static str,
    what: &'static str,
    /// Interleavings with more preemptions than these are left out, for they are too many.
    preemptions: Option<usize>,
}

const RULES: [Rule; 7] = [
    Rule {
        name: "needed",
        what: "who needs a worker gets one that rests",
        preemptions: None,
    },
    Rule {
        name: "owner",
        what: "of worker and parent one has the client",
        preemptions: None,
    },
    Rule {
        name: "leaving",
        what: "a worker that is to leave does not rest",
        preemptions: None,
    },
    Rule {
        name: "claim",
        what: "the last place is taken by one",
        preemptions: None,
    },
    Rule {
        name: "held",
        what: "a place that is free is seen by who waits for it",
        preemptions: Some(3),
    },
    Rule {
        name: "place",
        what: "so is the place of a worker that dies",
        preemptions: Some(2),
    },
    Rule {
        name: "death",
        what: "the client of a dead worker has one owner",
        preemptions: Some(3),
    },
];

/// One change of the source.
struct Bug {
    /// The module that has it.
    name: &'static str,
    /// The rule that finds it.
    rule: &'static str,
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const BUGS: [Bug; 15] = [
    Bug {
        name: "released_need",
        rule: "needed",
        what: "need_workers stores with Release",
        file: "src/scoreboard/share.rs",
        from: "words[IS_NEEDED].store(u64::from(is_needed), Ordering::SeqCst)",
        to: "words[IS_NEEDED].store(u64::from(is_needed), Ordering::Release)",
    },
    Bug {
        name: "no_second_look",
        rule: "needed",
        what: "the worker looks once only",
        file: "src/worker/rest.rs",
        from: "let ended = if board.needs_workers() {",
        to: "let ended = if false {",
    },
    Bug {
        name: "look_and_store",
        rule: "owner",
        what: "end_rest looks, then stores",
        file: "src/scoreboard/share.rs",
        from: "let taken = word.compare_exchange(what, 0, Ordering::SeqCst, Ordering::SeqCst);",
        to: "let taken = match word.load(Ordering::SeqCst) == what {
                true => Ok(word.store(0, Ordering::SeqCst)),
                false => Err(()),
            };",
    },
    Bug {
        name: "relaxed_end",
        rule: "owner",
        what: "end_rest is Relaxed",
        file: "src/scoreboard/share.rs",
        from: "word.compare_exchange(what, 0, Ordering::SeqCst, Ordering::SeqCst)",
        to: "word.compare_exchange(what, 0, Ordering::Relaxed, Ordering::Relaxed)",
    },
    Bug {
        name: "asked_once",
        rule: "leaving",
        what: "must_speak is tried once only",
        file: "src/parent/serving.rs",
        from: "while !self.workers.forbid_rest(&self.ctx, slot) && !self.rouse(slot) {}",
        to: "if !self.workers.forbid_rest(&self.ctx, slot) && !self.rouse(slot) {}",
    },
    Bug {
        name: "overwritten_rest",
        rule: "leaving",
        what: "must_speak overwrites a rest",
        file: "src/scoreboard/share.rs",
        from: "let shared = word.compare_exchange(0, what, Ordering::SeqCst, Ordering::SeqCst);",
        to: "let shared = match word.swap(what, Ordering::SeqCst) {
                0 => Ok(()),
                _ => Err(()),
            };",
    },
    Bug {
        name: "released_claim",
        rule: "claim",
        what: "set_claim stores with Release",
        file: "src/scoreboard.rs",
        from: "words[CLAIM].store(handler, Ordering::SeqCst)",
        to: "words[CLAIM].store(handler, Ordering::Release)",
    },
    Bug {
        name: "counted_first",
        rule: "claim",
        what: "counted first, claimed then",
        file: "src/worker/call.rs",
        from: "entry.set_claim(hash);
        let board = self.birth.scoreboard;
        let has_room = limit.is_none_or(|limit| board.concurrent(hash) <= limit)",
        to: "let board = self.birth.scoreboard;
        let has_room = limit.is_none_or(|limit| board.concurrent(hash) < limit);
        entry.set_claim(hash);
        let has_room = has_room",
    },
    Bug {
        name: "rests_on",
        rule: "held",
        what: "workers may rest while somebody is held",
        file: "src/parent/connections/queue.rs",
        from: "self.table.count(State::Queued) + self.table.count(State::Held)",
        to: "self.table.count(State::Queued)",
    },
    Bug {
        name: "no_look_for_room",
        rule: "held",
        what: "no look for room after the hold",
        file: "src/parent/connections/verdicts.rs",
        from: "(fate != Fate::Hold || has_room())",
        to: "fate != Fate::Hold",
    },
    Bug {
        name: "claim_of_the_dead",
        rule: "place",
        what: "a dead worker's claim stays",
        file: "src/scoreboard.rs",
        from: "            CLAIM,
            SPOOLED,",
        to: "            SPOOLED,",
    },
    Bug {
        name: "unreleased",
        rule: "place",
        what: "a death releases nobody",
        file: "src/parent/serving.rs",
        from: "if report.handler != 0 {",
        to: "if false {",
    },
    Bug {
        name: "order_first",
        rule: "death",
        what: "the order stands there before its phase",
        file: "src/scoreboard.rs",
        from: "self.words[ANSWERED].store(u64::from(answered), Ordering::Relaxed);",
        to: "self.words[ORDER].store(order.number(), Ordering::Release);
        self.words[ANSWERED].store(u64::from(answered), Ordering::Relaxed);",
    },
    Bug {
        name: "idle_first",
        rule: "death",
        what: "idle before the verdict is out",
        file: "src/worker/mod.rs",
        from: "channel::send_verdict(channel, outcome.verdict,",
        to: "entry.set_phase(Phase::Idle);
    channel::send_verdict(channel, outcome.verdict,",
    },
    Bug {
        name: "unheard",
        rule: "death",
        what: "what the dead have said is not read",
        file: "src/parent/workers/death.rs",
        from: "said => Some(self.hear(ctx, slot, said)),",
        to: "_ => None,",
    },
];
