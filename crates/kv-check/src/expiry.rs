//! What the end of a key's time does, as a call by itself.

use std::time::Duration;

use kv_core::{Batch, Check, Command, Condition, Key};

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
        Command::Get { .. }
        | Command::Delete { .. }
        | Command::Increment { .. }
        | Command::Append { .. }
        | Command::TimeToLive { .. } => return None,
    };
    let condition = |check| Condition { key: Key::clone(key), check };
    let conditions = check.map(condition).into_iter().collect();
    let removal = vec![Command::Delete { key: key.clone() }];
    Some((time_to_live?, Batch::new(conditions, removal).ok()?))
}

/// The same commands, which let keys last for ever: what ends them stands in the history by itself.
pub(crate) fn without_times(batch: Batch) -> Batch {
    if !batch.commands().iter().any(|command| of_command(command).is_some()) {
        return batch;
    }
    let endless = |command: &Command| match command {
        Command::Put { key, value, .. } => {
            Command::Put { key: key.clone(), value: value.clone(), time_to_live: None }
        }
        Command::Expire { key, .. } => Command::Expire { key: key.clone(), time_to_live: None },
        other @ (Command::Get { .. }
        | Command::Delete { .. }
        | Command::Increment { .. }
        | Command::Append { .. }
        | Command::TimeToLive { .. }) => other.clone(),
    };
    let commands = batch.commands().iter().map(endless).collect();
    Batch::new(batch.conditions().to_vec(), commands).unwrap_or(batch)
}
