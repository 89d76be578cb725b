//! What Redis's test suite asks of a server, and `HELP`.

use std::time::Duration;

use bytes::Bytes;

use crate::error::ReplyError;
use crate::glob;
use crate::reply::Reply;
use crate::session::Session;

impl Session {
    pub(super) fn debug(&mut self, arguments: &[Bytes]) -> Result<Reply, ReplyError> {
        let [subcommand, arguments @ ..] = arguments else {
            return Err(ReplyError::Arity { command: "debug" });
        };
        match (subcommand.to_ascii_lowercase().as_slice(), arguments) {
            (b"sleep", [seconds]) => {
                self.pause = Some(pause(seconds));
                Ok(Reply::OK)
            }
            // Keys expire by log time, whether or not somebody looks.
            (b"set-active-expire", [_]) | (b"jmap" | b"reload" | b"loadaof", _) => Ok(Reply::OK),
            (b"stringmatch-len", [len, pattern]) => {
                let len = std::str::from_utf8(len).ok().and_then(|len| len.parse().ok());
                let len = len.filter(|len| *len <= TEXT_BYTES_MAX).unwrap_or(0);
                let text = vec![b'a'; len];
                glob::matches(pattern, &text, &mut glob::STEPS_MAX.clone()).map(Reply::flag)
            }
            (b"protocol", [kind]) => protocol(kind),
            (b"help", _) => Ok(help("DEBUG", HELP)),
            _ => Err(ReplyError::unknown_subcommand("debug", subcommand)),
        }
    }
}

/// The lines of `HELP`.
pub(super) fn help(command: &'static str, lines: &[&'static str]) -> Reply {
    let title = format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let mut all = vec![Reply::owned(title)];
    all.extend(lines.iter().map(|line| Reply::Simple(line)));
    all.push(Reply::Simple("HELP"));
    Reply::Array(all)
}

/// A number of seconds, in which this client alone gets no answer.
fn pause(seconds: &Bytes) -> Duration {
    let seconds = std::str::from_utf8(seconds).ok().and_then(|text| text.parse::<f64>().ok());
    let pause = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    pause.unwrap_or(Duration::ZERO).min(PAUSE_MAX)
}

/// A reply of each kind.
fn protocol(kind: &Bytes) -> Result<Reply, ReplyError> {
    let three = || (0..3).map(Reply::Integer).collect::<Vec<_>>();
    Ok(match kind.to_ascii_lowercase().as_slice() {
        b"string" => Reply::text("Hello World"),
        b"integer" => Reply::Integer(12_345),
        b"double" => Reply::Double("3.141"),
        b"null" => Reply::Null,
        b"array" => Reply::Array(three()),
        b"set" => Reply::Set(three()),
        b"map" => Reply::Map(
            (0..3).map(|number| (Reply::Integer(number), Reply::Boolean(number == 1))).collect(),
        ),
        b"attrib" => Reply::Attributed(
            vec![(
                Reply::text("key-popularity"),
                Reply::Array(vec![Reply::text("key:123"), Reply::Integer(90)]),
            )],
            Box::new(Reply::text("Some real reply following the attribute")),
        ),
        b"push" => Reply::Push(vec![Reply::text("server-cpu-usage"), Reply::Integer(42)]),
        b"verbatim" => Reply::Text("This is a verbatim\nstring".to_owned()),
        b"true" => Reply::Boolean(true),
        b"false" => Reply::Boolean(false),
        b"bignum" => Reply::BigNumber("1234567999999999999999999999999999999"),
        _ => {
            return Err(ReplyError::Other {
                what: "Wrong protocol type name. Please use one of the following: \
                       string|integer|double|null|array|set|map|attrib|push|verbatim|true|false",
            });
        }
    })
}

const HELP: &[&str] = &[
    "PROTOCOL <type>",
    "SET-ACTIVE-EXPIRE <0|1>",
    "SLEEP <seconds>",
    "STRINGMATCH-LEN <len> <pattern>",
];

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The longest text that a pattern is tried on.
const TEXT_BYTES_MAX: usize = 1 << 20;
