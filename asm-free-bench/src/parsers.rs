//! The pure parsers on fixed bytes: request heads next to httparse, chunked bodies, the heads of
//! handlers' outputs. Every result is checked, the two parsers against each other.

use crate::failure::Failure;
use crate::options::Options;
use crate::pico;
use crate::samples::{Round, Samples, take_in_turn};
use crate::table;
use caffeine::testing::cgi::OutputParser;
use caffeine::testing::http::{self, Chunked, FieldStore, HeadLimits, Progress};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::Instant;

/// What curl sends: 86 bytes.
pub(crate) const CURL: &[u8] = b"GET /hello.sh HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
    User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";

/// The request of picohttpparser's and httparse's benches: 703 bytes.
pub(crate) const BROWSER: &[u8] =
    b"GET /wp-content/uploads/2010/03/hello-kitty-darth-vader-pink.jpg HTTP/1.1\r\n\
    Host: www.kittyhell.com\r\n\
    User-Agent: Mozilla/5.0 (Macintosh; U; Intel Mac OS X 10.6; ja-JP-mac; rv:1.9.2.3) \
    Gecko/20100401 Firefox/3.6.3 Pathtraq/0.9\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: ja,en-us;q=0.7,en;q=0.3\r\n\
    Accept-Encoding: gzip,deflate\r\n\
    Accept-Charset: Shift_JIS,utf-8;q=0.7,*;q=0.7\r\n\
    Keep-Alive: 115\r\n\
    Connection: keep-alive\r\n\
    Cookie: wp_ozh_wsa_visits=2; wp_ozh_wsa_visit_lasttime=xxxxxxxxxx; \
    __utma=xxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.x; \
    __utmz=xxxxxxxxx.xxxxxxxxxx.x.x.utmccn=(referral)|utmcsr=reader.livedoor.com|\
    utmcct=/reader/|utmcmd=referral\r\n\r\n";

const _: () = assert!(CURL.len() == 86 && BROWSER.len() == 703);

/// A small handler's head, and one of an application.
const SMALL_OUTPUT: &[u8] = b"Content-Type: text/plain\nContent-Length: 6\n\n";
const LARGE_OUTPUT: &[u8] = b"Status: 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\
    Content-Length: 48213\r\nCache-Control: no-cache, private\r\nVary: Accept-Encoding, Cookie\r\n\
    Set-Cookie: session=0123456789abcdef0123456789abcdef; Path=/; HttpOnly; SameSite=Lax\r\n\
    Set-Cookie: theme=dark; Path=/; Max-Age=31536000\r\nX-Frame-Options: SAMEORIGIN\r\n\r\n";

pub(crate) const LIMITS: HeadLimits = HeadLimits {
    max_head: 16 * 1024,
    max_fields: MAX_FIELDS,
    max_target: 8 * 1024,
};
pub(crate) const MAX_FIELDS: usize = 100;

/// Parses timed together: one takes hardly longer than reading the clock.
const BATCH: usize = 500;

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    table::print_section(&format!("parsers (one of {BATCH} in a row)"));
    heads(options, "86 bytes, curl", CURL)?;
    heads(options, "703 bytes, browser", BROWSER)?;
    bodies(options)?;
    output(options, "output head, 2 fields", SMALL_OUTPUT, 1)?;
    output(options, "output head, 8 fields", LARGE_OUTPUT, 6)
}

/// Batches, so that the parsers take about as long as the rest of a run.
fn batches(options: &Options) -> usize {
    (options.rounds / 10).max(10)
}

fn heads(options: &Options, name: &str, bytes: &'static [u8]) -> Result<(), Failure> {
    compare(bytes)?;
    let mut store = FieldStore::new();
    let mut ours = || {
        let parsed = http::parse(black_box(bytes), &mut store, &LIMITS);
        match black_box(parsed) {
            Ok(Progress::Complete(head)) => head.length,
            _ => 0,
        }
    };
    let mut theirs = || {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(black_box(bytes), &mut fields);
        match black_box(&parsed) {
            Ok(httparse::Status::Complete(length)) => *length,
            _ => 0,
        }
    };
    let mut pico = || pico::head_length(black_box(bytes));
    let mut first = || batch(bytes.len(), &mut ours);
    let mut second = || batch(bytes.len(), &mut theirs);
    let mut third = || batch(bytes.len(), &mut pico);
    let contenders: [Round<'_>; 3] = [&mut first, &mut second, &mut third];
    let [ours, theirs, pico] = take_in_turn(batches(options), contenders)?;
    print(&format!("http::parse, {name}"), ours, bytes.len());
    print(&format!("httparse, {name}"), theirs, bytes.len());
    print(&format!("picohttpparser, {name}"), pico, bytes.len());
    Ok(())
}

/// `BATCH` times the same work, which says how many bytes it has dealt with.
fn batch(expected: usize, work: &mut impl FnMut() -> usize) -> Result<Instant, Failure> {
    let wrong = (0..BATCH).filter(|_| work() != expected).count();
    let end = Instant::now();
    if wrong > 0 {
        return Err(Failure::wrong(format_args!("{wrong} of {BATCH} parses")));
    }
    Ok(end)
}

/// Of a batch, per piece of work; MB/s of its p50.
fn print(name: &str, batches: Samples, bytes: usize) {
    let one = batches.divided_by(BATCH);
    let speed = megabytes_per_second(bytes * BATCH, batches.percentile(50));
    table::print_row(name, &one, &speed);
}

/// Bytes per microsecond are megabytes per second.
fn megabytes_per_second(bytes: usize, nanos: u64) -> String {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    format!("{} MB/s", bytes.saturating_mul(1_000) / nanos.max(1))
}

/// Both parsers find the same method, target, fields and end.
fn compare(bytes: &[u8]) -> Result<(), Failure> {
    let mut store = FieldStore::new();
    let Ok(Progress::Complete(head)) = http::parse(bytes, &mut store, &LIMITS) else {
        return Err(Failure::wrong("http::parse refuses the request"));
    };
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let theirs = request.parse(bytes);
    let same = theirs == Ok(httparse::Status::Complete(head.length))
        && request.method.map(str::as_bytes) == Some(head.method)
        && request.path.map(str::as_bytes) == Some(head.target)
        && head
            .fields
            .iter()
            .eq(request.headers.iter().map(|f| (f.name.as_bytes(), f.value)));
    if same {
        Ok(())
    } else {
        Err(Failure::wrong("http::parse and httparse disagree"))
    }
}

/// One decoded body of 1 MiB per sample, in large chunks and in small ones.
fn bodies(options: &Options) -> Result<(), Failure> {
    let body: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
    let rounds = (options.rounds / 50).max(10);
    for (name, size) in [("4 KiB", 4 * 1024), ("64-byte", 64)] {
        let coded = chunked(&body, size);
        if decode(&coded, |data, at| {
            body.get(at..at + data.len()) == Some(data)
        }) != body.len()
        {
            return Err(Failure::wrong("the decoded body is not what was coded"));
        }
        let mut decode_all = || {
            let length = decode(black_box(&coded), |data, _| !black_box(data).is_empty());
            let end = Instant::now();
            if length == body.len() {
                Ok(end)
            } else {
                Err(Failure::wrong("the length of a decoded body"))
            }
        };
        let contenders: [Round<'_>; 1] = [&mut decode_all];
        let [samples] = take_in_turn(rounds, contenders)?;
        let speed = megabytes_per_second(body.len(), samples.percentile(50));
        table::print_row(
            &format!("Chunked::decode, 1 MiB in {name} chunks"),
            &samples,
            &speed,
        );
    }
    Ok(())
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in body.chunks(size) {
        coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

/// The decoded length; 0 if the coding or a piece is wrong. Fed as a worker reads: 64 KiB at a time.
fn decode(coded: &[u8], is_good: impl Fn(&[u8], usize) -> bool) -> usize {
    let mut decoder = Chunked::new();
    let mut length = 0;
    for part in coded.chunks(64 * 1024) {
        let mut rest = part;
        while !rest.is_empty() {
            let Ok(step) = decoder.decode(rest) else {
                return 0;
            };
            if step.consumed == 0 || (!step.data.is_empty() && !is_good(step.data, length)) {
                return 0;
            }
            length += step.data.len();
            rest = rest.get(step.consumed..).unwrap_or_default();
        }
    }
    if decoder.is_done() { length } else { 0 }
}

fn output(
    options: &Options,
    name: &str,
    bytes: &'static [u8],
    passed: usize,
) -> Result<(), Failure> {
    let mut parser = OutputParser::default();
    let mut parse = || {
        parser.reset();
        match parser.parse(black_box(bytes), LIMITS.max_head) {
            Ok(Progress::Complete(output)) if output.fields().count() == passed => {
                black_box(&output).head_length
            }
            _ => 0,
        }
    };
    let mut all = || batch(bytes.len(), &mut parse);
    let contenders: [Round<'_>; 1] = [&mut all];
    let [samples] = take_in_turn(batches(options), contenders)?;
    print(&format!("cgi::OutputParser, {name}"), samples, bytes.len());
    Ok(())
}
