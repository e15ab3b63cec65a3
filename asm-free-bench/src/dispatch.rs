//! The path of a request: the bare channel, dispatch in the real server, its handlers.

use crate::echo::Echo;
use crate::failure::Failure;
use crate::handler;
use crate::options::Options;
use crate::reply::{Exchange, Kept, Question};
use crate::roundtrip::Partner;
use crate::samples::{self, Round, Samples, take_apart, take_in_turn};
use crate::scratch::Scratch;
use crate::server::{Server, WORKERS};
use crate::table;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

/// Nothing has this name: the worker answers at once and launches nothing.
const MISSING: Question = Question {
    request: b"GET /no-such-name HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    status: 404,
    body: b"404 Not Found\n",
};

const KEPT: Question = Question {
    request: b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    status: 200,
    body: handler::BODY,
};

const CLOSED: Question = Question {
    request: b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    status: 200,
    body: handler::BODY,
};

/// Connections of the throughput row.
const CONNECTIONS: usize = 16;

/// Rounds between two looks at the server's log lines; few enough for it to keep them all.
const ROUNDS_PER_LOOK: usize = 16;

/// Round trips between two other processes that make up the gap before a timed round, about 100 µs:
/// the server says its verdict, re-arms and logs after its answer, 10 to 20 µs. Work rather than
/// sleep, which would be followed by a cold start.
const ROUND_TRIPS_PER_GAP: usize = 10;

/// Measures and prints.
pub(crate) fn run(options: &Options, binary: &Path, scratch: &Scratch) -> Result<(), Failure> {
    let mut bare = Bare {
        partner: Partner::start()?,
        pacer: Partner::start()?,
        echo: Echo::start(MISSING.request)?,
    };
    measure_channel(options, &mut bare.partner)?;
    let mut server = Server::start(binary, scratch)?;
    let measured = measure_dispatch(options, &mut server, &mut bare, scratch)
        .and_then(|()| measure_handlers(options, &mut server, &mut bare.pacer))
        .and_then(|()| measure_throughput(options, &mut server));
    match measured {
        Ok(()) => server.stop(),
        Err(failure) => Err(server.explain(failure)),
    }
}

/// The processes without a server.
struct Bare {
    partner: Partner,
    /// Makes the gaps.
    pacer: Partner,
    echo: Echo,
}

/// Lets the server finish what it does after an answer.
fn make_gap(pacer: &mut Partner) -> Result<(), Failure> {
    (0..ROUND_TRIPS_PER_GAP).try_for_each(|_| pacer.round_trip().map(drop))
}

fn measure_channel(options: &Options, partner: &mut Partner) -> Result<(), Failure> {
    table::print_section(
        "channel: an order and a descriptor there, a verdict back, two bare processes, back to back",
    );
    let contenders: [Round<'_>; 1] = [&mut || partner.round_trip()];
    let [round_trip] = take_in_turn(options.rounds, contenders)?;
    table::print_row("round trip", &round_trip, "");
    let contenders: [Round<'_>; 1] = [&mut || partner.one_way()];
    let [one_way] = take_in_turn(options.rounds, contenders)?;
    table::print_row("one way, until the descriptor is held", &one_way, "");
    Ok(())
}

/// More than the server has workers.
const STRANGERS: usize = 8;

/// Kept connections that ask in turn, so many that no worker still has the one that asks: its parent has to
/// hand it over.
struct Strangers<'a>(VecDeque<Kept<'a>>);

impl<'a> Strangers<'a> {
    fn new(address: SocketAddr, exchange: &'a Exchange) -> Result<Self, Failure> {
        let all = (0..STRANGERS).map(|_| Kept::new(address, exchange));
        all.collect::<Result<_, _>>().map(Self)
    }

    fn ask(&mut self) -> Result<Instant, Failure> {
        self.0.rotate_left(1);
        let next = self.0.front_mut();
        next.ok_or_else(|| Failure::wrong("nobody is connected"))?
            .ask()
    }
}

/// In turn and apart: the differences of the rows are the point.
fn measure_dispatch(
    options: &Options,
    server: &mut Server,
    bare: &mut Bare,
    scratch: &Scratch,
) -> Result<(), Failure> {
    table::print_section(&format!(
        "dispatch: server with {WORKERS} workers, in turn, the server at rest before each"
    ));
    let missing = Exchange::learn(server.address, MISSING)?;
    let Bare {
        partner,
        pacer,
        echo,
    } = bare;
    let [one_way] = take_apart(options.rounds, [&mut || partner.one_way()], &mut || {
        make_gap(pacer)
    })?;
    // Not before: the server does not wait for ever for a client that says nothing.
    let mut clients = Strangers::new(server.address, &missing)?;
    let mut looks = Looks::default();
    let mut lone = Echo::lone_worker(MISSING.request, missing.answer(), &scratch.path("root"))?;
    let [raw, tcp, alone, answered] = take_apart(
        options.rounds,
        [
            &mut || partner.round_trip(),
            &mut || echo.round_trip(),
            &mut || lone.round_trip(),
            &mut || looks.after(server, clients.ask()?),
        ],
        &mut || make_gap(pacer),
    )?;
    table::print_row("descriptor, bare: one way", &one_way, "");
    table::print_row("descriptor, bare: round trip", &raw, "");
    table::print_row("TCP echo, bare", &tcp, "");
    table::print_row("404 of a worker's code without a parent", &alone, "");
    table::print_row(
        "404, kept connection that no worker has: request → first byte",
        &answered,
        "",
    );
    let name = "404 less the same without a parent: dispatch";
    table::print_difference(name, &answered, &alone, &one_way);
    let waits = Samples::new(std::mem::take(&mut looks.waits));
    table::print_row("readable → the worker has it, by the log", &waits, "");
    let contenders: [Round<'_>; 1] = [&mut || looks.after(server, clients.ask()?)];
    let [back_to_back] = take_in_turn(options.rounds, contenders)?;
    table::print_row("404, kept connection, back to back", &back_to_back, "");
    Ok(())
}

fn measure_handlers(
    options: &Options,
    server: &mut Server,
    pacer: &mut Partner,
) -> Result<(), Failure> {
    table::print_section("handler in the server, in turn, the server at rest before each");
    let address = server.address;
    let kept = Exchange::learn(address, KEPT)?;
    let closed = Exchange::learn(address, CLOSED)?;
    let mut client = Kept::new(address, &kept)?;
    let mut looks = Looks::default();
    let [on_kept, on_new] = take_apart(
        options.few_rounds(),
        [&mut || client.ask(), &mut || {
            looks.after(server, closed.ask_once(address)?)
        }],
        &mut || make_gap(pacer),
    )?;
    table::print_row("kept connection: request → first byte", &on_kept, "");
    table::print_row("new connection: connect → first byte", &on_new, "");
    Ok(())
}

/// All connections have a request out; each gets its next one when its answer has been read.
fn measure_throughput(options: &Options, server: &mut Server) -> Result<(), Failure> {
    let kept = Exchange::learn(server.address, KEPT)?;
    let mut clients = connect_all(server.address, &kept)?;
    let turns = options.rounds.div_ceil(CONNECTIONS);
    let start = Instant::now();
    for client in &mut clients {
        client.send()?;
    }
    for turn in 1..=turns {
        for client in &mut clients {
            client.receive()?;
            if turn < turns {
                client.send()?;
            }
        }
        server.take_lines()?;
    }
    let answers = u32::try_from(turns * CONNECTIONS).unwrap_or(u32::MAX);
    let rate = f64::from(answers) / start.elapsed().as_secs_f64();
    let name = format!("{CONNECTIONS} kept connections, {answers} requests");
    table::print_rate(&name, &format!("{rate:.0} requests/s"));
    Ok(())
}

fn connect_all(address: SocketAddr, exchange: &Exchange) -> Result<Vec<Kept<'_>>, Failure> {
    (0..CONNECTIONS)
        .map(|_| Kept::new(address, exchange))
        .collect()
}

/// Reads the server's log lines now and then, between rounds, so that no reader runs beside it.
#[derive(Default)]
struct Looks {
    rounds: usize,
    /// Nanoseconds that clients waited for a worker, by those lines.
    waits: Vec<u64>,
}

impl Looks {
    fn after(&mut self, server: &mut Server, end: Instant) -> Result<Instant, Failure> {
        self.rounds += 1;
        if self.rounds.is_multiple_of(ROUNDS_PER_LOOK) {
            self.waits
                .extend(server.take_waits()?.into_iter().map(samples::nanos));
        }
        Ok(end)
    }
}
