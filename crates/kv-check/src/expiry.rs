//! What the end of a key's time does, as a call by itself.

use std::time::Duration;

use kv_core::{Batch, Check, Command, Condition, ExpiryMs, Key};

/// What a command that lets a key last for a time brings about at the end of that: the key is
/// removed, if it still holds what it held. `None` for all other commands.
///
/// Such a call has no end, since it is not known when it takes effect, or whether: another write
/// may come before.
pub(crate) fn of_command(command: &Command) -> Option<(Duration, Batch)> {
    let (key, time_to_live, check) = match command {
        Command::Put { key, value, time_to_live } => {
            (key, *time_to_live, Some(Check::ValueIs(value.clone())))
        }
        Command::Expire { key, time_to_live } => (key, *time_to_live, None),
        // It takes over an end that may be any.
        Command::Rewrite { key, value } => {
            (key, Some(Duration::ZERO), Some(Check::ValueIs(value.clone())))
        }
        Command::Get { .. }
        | Command::Delete { .. }
        | Command::Increment { .. }
        | Command::Append { .. }
        | Command::TimeToLive { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. } => return None,
    };
    let condition = |check| Condition { key: Key::clone(key), check };
    let conditions = check.map(condition).into_iter().collect();
    let removal = vec![Command::Delete { key: key.clone() }];
    let time_to_live = time_to_live.filter(|time| *time < ENDLESS)?;
    Some((time_to_live, Batch::new(conditions, removal).ok()?))
}

/// What the end of a key does that a command sets to a moment: the key is removed, if that is still
/// its end. `None` for all other commands.
pub(crate) fn of_moment(command: &Command) -> Option<(ExpiryMs, Batch)> {
    let Command::ExpireAt { key, expiry } = command else {
        return None;
    };
    let condition = Condition { key: key.clone(), check: Check::ExpiryIs(Some(*expiry)) };
    let removal = vec![Command::Delete { key: key.clone() }];
    Some((*expiry, Batch::new(vec![condition], removal).ok()?))
}

/// The same commands, which let keys last for ever: what ends them stands in the history by itself.
/// Where it is asked when a key expires (`is_timed`) it does not last for ever, but for a time that
/// nothing ends.
pub(crate) fn without_times(batch: Batch, is_timed: impl Fn(&Key) -> bool) -> Batch {
    if !batch.commands().iter().any(|command| of_command(command).is_some()) {
        return batch;
    }
    let endless =
        |key: &Key, time: &Option<Duration>| time.map(|_| ENDLESS).filter(|_| is_timed(key));
    let endless = |command: &Command| match command {
        Command::Put { key, value, time_to_live } => Command::Put {
            key: key.clone(),
            value: value.clone(),
            time_to_live: endless(key, time_to_live),
        },
        Command::Expire { key, time_to_live } => {
            Command::Expire { key: key.clone(), time_to_live: endless(key, time_to_live) }
        }
        other @ (Command::Get { .. }
        | Command::Delete { .. }
        | Command::Increment { .. }
        | Command::Append { .. }
        | Command::TimeToLive { .. }
        | Command::Rewrite { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. }) => other.clone(),
    };
    let commands = batch.commands().iter().map(endless).collect();
    Batch::new(batch.conditions().to_vec(), commands).unwrap_or(batch)
}

/// A time of which no end is added to a history.
const ENDLESS: Duration = Duration::from_millis(u64::MAX);
