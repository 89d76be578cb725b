//! The `KV_*` variables of the environment.

use std::ffi::OsStr;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::output::in_one_line;
use crate::suggestion::nearest;

/// The command line without the variables that are set to nothing: `KV_SERVERS=` means the same as
/// no `KV_SERVERS`, as in every file of variables where a line was left empty.
#[must_use]
pub fn without_empty(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
        if argument.get_env().is_some_and(is_empty) {
            argument.env(None::<&'static str>)
        } else {
            argument
        }
    });
    let names: Vec<String> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, without_empty))
}

/// A variable whose value its option does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}=`{text}` in the environment: {reason}")]
pub struct BadVariable {
    /// The variable.
    pub name: String,
    /// Its value.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The variable that an error is about, if it is about one: the parser names the option of a bad value
/// even where the value is from the environment.
#[must_use]
pub fn bad_variable(command: &Command, error: &clap::Error) -> Option<BadVariable> {
    let (ErrorKind::ValueValidation, Some(ContextValue::String(bad))) =
        (error.kind(), error.get(ContextKind::InvalidValue))
    else {
        return None;
    };
    let subcommands = command.get_subcommands().flat_map(Command::get_arguments);
    command.get_arguments().chain(subcommands).find_map(|argument| {
        let name = argument.get_env()?.to_string_lossy().into_owned();
        let text = std::env::var(&name).ok().filter(|text| text == bad)?;
        let reason = reason_against(argument, &text)?;
        Some(BadVariable { name, text, reason })
    })
}

/// Why an argument does not take a text; `None` if it does.
#[must_use]
pub fn reason_against(argument: &Arg, text: &str) -> Option<String> {
    if !argument.get_action().takes_values() {
        return None;
    }
    let words = match argument.get_long() {
        Some(long) => vec![format!("--{long}={text}")],
        None => vec!["--".to_owned(), text.to_owned()],
    };
    let alone = Command::new("alone").no_binary_name(true).arg(argument.clone());
    let error = alone.try_get_matches_from(words).err()?;
    let source = std::error::Error::source(&error).map(ToString::to_string);
    Some(source.unwrap_or_else(|| in_one_line(&error)))
}

/// A line for each `KV_*` variable that neither program knows. What Kubernetes sets for a service
/// named `kv` is left out.
#[must_use]
pub fn warnings() -> Vec<String> {
    let variables = std::env::vars_os();
    let variables = variables.map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    });
    let mut lines: Vec<String> =
        variables.filter_map(|(name, value)| warning(&name, &value)).collect();
    lines.sort();
    lines
}

fn warning(name: &str, value: &str) -> Option<String> {
    let is_ours = name.starts_with(PREFIX) && !NAMES.contains(&name);
    if !is_ours || value.is_empty() || is_of_tests(name) || is_of_kubernetes(name, value) {
        return None;
    }
    let nearest = nearest(own(name), NAMES.iter().map(|known| own(known)));
    let hint = nearest.map_or_else(String::new, |known| format!("; did you mean {PREFIX}{known}?"));
    Some(format!("{name} is set but is no known setting, and is ignored{hint}"))
}

/// The part of a name in which names differ.
fn own(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn is_of_tests(name: &str) -> bool {
    OF_TESTS.iter().any(|start| name.starts_with(start))
}

/// `KV_PORT`, `KV_SERVICE_HOST`, `KV_PORT_4961_TCP_ADDR` and the like, which Kubernetes sets in each
/// container for each service whose name begins with `kv`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let is_address = name.ends_with("_PORT") && value.contains("://");
    let is_of_port = name
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()));
    is_address || is_of_port || name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}

const PREFIX: &str = "KV_";

/// Of measurements and tests of this project.
const OF_TESTS: [&str; 5] =
    ["KV_TEST_", "KV_BENCH_DIR", "KV_KILL_ROUNDS", "KV_BASELINE", "KV_HISTORIES"];

/// The variables of both programs, since one environment often serves both.
pub const NAMES: &[&str] = &[
    "KV_BENCH_CONNECTIONS",
    "KV_BENCH_DURATION",
    "KV_BENCH_FILL",
    "KV_BENCH_IN_FLIGHT",
    "KV_BENCH_KEYS",
    "KV_BENCH_KEY_PREFIX",
    "KV_BENCH_READ_PERCENT",
    "KV_BENCH_VALUE_SIZE",
    "KV_BENCH_WARM_UP",
    "KV_BOOTSTRAP",
    "KV_CHECKPOINT_MIB",
    "KV_CLIENTS_MAX",
    "KV_CLUSTER",
    "KV_CONFIG",
    "KV_CONSISTENCY",
    "KV_DATA_DIR",
    "KV_DELAY",
    "KV_ELECTION",
    "KV_FSYNC",
    "KV_HAND_BACK",
    "KV_HEARTBEAT",
    "KV_HISTORY",
    "KV_HOLD_BACK_ENTRIES_MAX",
    "KV_ID",
    "KV_IN_FLIGHT_MAX",
    "KV_JOIN_WAIT",
    "KV_JSON",
    "KV_KEPT_LOG_ENTRIES",
    "KV_KEPT_LOG_MIB",
    "KV_LISTEN",
    "KV_LOG",
    "KV_MEMORY",
    "KV_MESSAGE_KIB",
    "KV_NO_SESSION_GUARANTEES",
    "KV_OP_LOG",
    "KV_OP_LOG_MIB",
    "KV_PAGER",
    "KV_PAGE_ENTRIES_MAX",
    "KV_PIPELINE",
    "KV_PLAIN",
    "KV_R",
    "KV_RAW",
    "KV_REQUESTS_MAX",
    "KV_RESEND_MAX",
    "KV_RESEND_MIN",
    "KV_RESP",
    "KV_SERVERS",
    "KV_STOP_ON_ERROR",
    "KV_TIMEOUT",
    "KV_W",
    "KV_WINDOW_ENTRIES_MAX",
    "KV_WINDOW_MIB",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_almost_right_is_named_with_the_right_one() {
        let hint = |name| warning(name, "1");
        assert_eq!(
            hint("KV_SERVER").as_deref(),
            Some(
                "KV_SERVER is set but is no known setting, and is ignored; did you mean KV_SERVERS?"
            )
        );
        assert!(hint("KV_TIMEOT").is_some_and(|text| text.ends_with("did you mean KV_TIMEOUT?")));
        assert!(hint("KV_WW").is_some_and(|text| text.ends_with("did you mean KV_W?")));
        assert!(hint("KV_ZZZ").is_some_and(|text| text.ends_with("is ignored")));
    }

    #[test]
    fn nothing_is_said_of_known_names_and_those_of_others() {
        for (name, value) in [
            ("KV_SERVERS", "1-3"),
            ("KV_SERVER", ""),
            ("KVM", "1"),
            ("KV_PORT", "tcp://10.0.0.1:4961"),
            ("KV_PORT_4961_TCP", "tcp://10.0.0.1:4961"),
            ("KV_PORT_4961_TCP_ADDR", "10.0.0.1"),
            ("KV_SERVICE_HOST", "10.0.0.1"),
            ("KV_SERVICE_PORT", "4961"),
            ("KV_SERVICE_PORT_CLIENTS", "4961"),
            ("KV_SERVER_PORT_4961_UDP_PROTO", "udp"),
        ] {
            assert_eq!(warning(name, value), None, "{name}");
        }
    }
}
