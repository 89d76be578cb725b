//! Judges histories that stand in files.

use std::fmt::Display;
use std::fs;
use std::time::Duration;

use crate::args::Args;
use kv_check::{Budget, History, OpLogHistory, Verdict, linearizability_until};
use kv_core::Key;
use kv_sim::command::{Stopwatch, complain, say};

/// What is known of all files together; what stands later outweighs what stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Judged {
    /// All histories are linearizable.
    Yes,
    /// At least one could not be decided.
    Undecided,
    /// At least one is not linearizable.
    No,
    /// At least one file is no history.
    Unreadable,
}

/// Judges the files that were asked for: each file of JSON lines by itself, all logs of operations
/// as the one history of a cluster.
pub(crate) fn run(args: &Args) -> Judged {
    let mut judged = Judged::Yes;
    let mut logs: Vec<(String, String)> = Vec::new();
    for path in &args.history {
        let name = path.display().to_string();
        judged = judged.max(match fs::read_to_string(path) {
            Err(error) => unreadable(&name, &error),
            Ok(text) if text.starts_with('{') => match History::read_json_lines(&text) {
                Ok(history) => {
                    let (before_kills, cut_keys) = (None, Vec::new());
                    judge(args, &name, &OpLogHistory { history, before_kills, cut_keys })
                }
                Err(error) => unreadable(&name, &error),
            },
            Ok(text) => {
                logs.push((name, text));
                Judged::Yes
            }
        });
    }
    if logs.is_empty() { judged } else { judged.max(judge_logs(args, &logs)) }
}

fn judge_logs(args: &Args, logs: &[(String, String)]) -> Judged {
    // One by one first, to name the file that cannot be read.
    for (name, text) in logs {
        if let Err(error) = History::from_op_logs([text.as_str()], args.widen_ms) {
            let error = error.to_string();
            return unreadable(name, &error.strip_prefix("log 0, ").unwrap_or(&error));
        }
    }
    let names: Vec<&str> = logs.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    match History::from_op_logs(logs.iter().map(|(_, text)| text.as_str()), args.widen_ms) {
        Ok(read) => judge(args, &names, &read),
        // Each can be read by itself, so it does not go with those before it.
        Err(error) => {
            let (log, _) = error.place();
            let text = error.to_string();
            let name = logs.get(log).map_or(&*names, |(name, _)| name.as_str());
            unreadable(name, &text.strip_prefix(&format!("log {log}, ")).unwrap_or(&text))
        }
    }
}

fn judge(args: &Args, name: &str, read: &OpLogHistory) -> Judged {
    let (limit, begin) = (Duration::from_secs(args.time_limit), Stopwatch::start());
    let mut is_over = || begin.elapsed() > limit;
    match linearizability_until(&read.history, Budget::default(), &mut is_over) {
        Err(error) => unreadable(name, &error),
        Ok(Verdict::Linearizable) if !read.cut_keys.is_empty() => of_cut_keys(name, &read.cut_keys),
        Ok(Verdict::NotLinearizable(_)) if may_be_put_again(args, read, &mut is_over) => {
            say(format_args!(
                "{name}: undecided: a value that had been overwritten is shown after a server was \
                 killed, and a call whose lines are lost may have put it again; if no value was put \
                 on a key twice, say so with --unique-values"
            ));
            Judged::Undecided
        }
        Ok(verdict) => {
            say(format_args!("{name}: {}", verdict.to_string().trim_end()));
            match verdict {
                Verdict::Linearizable => Judged::Yes,
                Verdict::NotLinearizable(_) => Judged::No,
                Verdict::Undecided { .. } => Judged::Undecided,
            }
        }
    }
}

/// Whether lost puts of values that other lines put, too, would explain what is not linearizable
/// otherwise: it happened after a server was killed.
fn may_be_put_again(args: &Args, read: &OpLogHistory, is_over: &mut impl FnMut() -> bool) -> bool {
    let before = read.before_kills.as_ref().filter(|_| !args.unique_values);
    let verdict = before.map(|before| linearizability_until(before, Budget::default(), is_over));
    match verdict {
        None | Some(Ok(Verdict::NotLinearizable(_))) => false,
        Some(Ok(Verdict::Linearizable | Verdict::Undecided { .. }) | Err(_)) => true,
    }
}

/// All is linearizable but what was not judged.
fn of_cut_keys(name: &str, keys: &[Key]) -> Judged {
    let first = keys.first().map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    say(format_args!(
        "{name}: undecided: a server may have been killed, and increments and appends lost from its \
         log; judged up to there only: {}, the first is {}",
        if keys.len() == 1 { "1 key".to_owned() } else { format!("{} keys", keys.len()) },
        first.unwrap_or_default().escape_debug()
    ));
    Judged::Undecided
}

fn unreadable(name: &str, error: &dyn Display) -> Judged {
    complain(format_args!("{name}: {error}"));
    Judged::Unreadable
}
