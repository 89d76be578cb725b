//! What requests bring when they are done.

use kv_core::{
    Answer, Command, CommandResult, Done, Key, NodeId, Operation, Outcome, Page, Served, Version,
    Versioned,
};

use crate::error::ClientError;

/// What a get brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The value and the write that it is from; `None` if the key is missing.
    pub found: Option<Versioned>,
    /// In the linearizable engine, the read's own number among all operations. In the eventual one, the
    /// version of the delete by which the key is missing, as long as that is known.
    pub at: Option<Version>,
    /// The level at which the read was served.
    pub served: Served,
    /// The server that answered.
    pub server: NodeId,
}

/// What a put or a delete brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The version of the write.
    pub version: Option<Version>,
    /// The level at which the write was served.
    pub served: Served,
    /// The server that answered.
    pub server: NodeId,
}

/// What a server held when it was dumped; not a consistent read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpEntries {
    /// The server.
    pub server: NodeId,
    /// Its keys in ascending order, with what they hold.
    pub entries: Vec<(Key, Versioned)>,
}

impl Read {
    pub(crate) fn of(server: NodeId, done: Done) -> Result<Self, ClientError> {
        let unexpected = ClientError::Unexpected { server };
        match done.answer.single() {
            Some(CommandResult::Value(found)) => {
                Ok(Self { found, at: done.version, served: done.served, server })
            }
            Some(
                CommandResult::Written
                | CommandResult::Number(_)
                | CommandResult::Length(_)
                | CommandResult::Changed(_)
                | CommandResult::TimeToLive(_)
                | CommandResult::Expiry(_),
            )
            | None => Err(unexpected),
        }
    }
}

impl Written {
    pub(crate) fn of(server: NodeId, done: Done) -> Result<Self, ClientError> {
        let unexpected = ClientError::Unexpected { server };
        match done.answer.single() {
            Some(CommandResult::Written) => {
                Ok(Self { version: done.version, served: done.served, server })
            }
            Some(
                CommandResult::Value(_)
                | CommandResult::Number(_)
                | CommandResult::Length(_)
                | CommandResult::Changed(_)
                | CommandResult::TimeToLive(_)
                | CommandResult::Expiry(_),
            )
            | None => Err(unexpected),
        }
    }
}

/// The page that a dump or a scan brought, if it goes on after `after` in ascending order; a server
/// that sends keys twice could else keep a client busy for ever.
pub(crate) fn page_after(
    server: NodeId,
    done: Done,
    after: Option<&Key>,
) -> Result<Page, ClientError> {
    let unexpected = ClientError::Unexpected { server };
    let Answer::Page(page) = done.answer else {
        return Err(unexpected);
    };
    let keys = page.entries.iter().map(|(key, _)| key);
    let keys = after.into_iter().chain(keys);
    let ascends = keys.is_sorted_by(|a, b| a < b);
    let advances = page.next.is_none() || page.next.as_ref() > after;
    if ascends && advances { Ok(page) } else { Err(unexpected) }
}

/// Whether an answer is of the kind that an operation has.
pub(crate) fn fits(operation: &Operation, outcome: &Outcome) -> bool {
    let Outcome::Done(done) = outcome else {
        return true;
    };
    match (operation, &done.answer) {
        (Operation::Batch(batch), Answer::Results(results)) => {
            let commands = batch.commands();
            let pairs = commands.iter().zip(results);
            commands.len() == results.len()
                && pairs.into_iter().all(|(command, result)| match command {
                    Command::Get { .. } => matches!(result, CommandResult::Value(_)),
                    Command::Put { .. } | Command::Rewrite { .. } | Command::Delete { .. } => {
                        matches!(result, CommandResult::Written)
                    }
                    Command::Increment { .. } => matches!(result, CommandResult::Number(_)),
                    Command::Append { .. } => matches!(result, CommandResult::Length(_)),
                    Command::Expire { .. } | Command::ExpireAt { .. } => {
                        matches!(result, CommandResult::Changed(_))
                    }
                    Command::TimeToLive { .. } => matches!(result, CommandResult::TimeToLive(_)),
                    Command::Expiry { .. } => matches!(result, CommandResult::Expiry(_)),
                })
        }
        (Operation::Scan(_) | Operation::Dump(_), Answer::Page(_)) => true,
        (Operation::OpenSession | Operation::Lead { .. }, Answer::Results(results)) => {
            results.is_empty()
        }
        (
            Operation::Batch(_) | Operation::OpenSession | Operation::Lead { .. },
            Answer::Page(_),
        )
        | (Operation::Scan(_) | Operation::Dump(_), Answer::Results(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use kv_core::Value;

    use super::*;

    fn page_of(keys: &[&'static str], next: Option<&'static str>) -> Done {
        let versioned = Versioned { value: Value::default(), version: Version::Log(1) };
        let entries = keys.iter();
        let entries = entries.map(|key| (Key::new(*key).unwrap(), versioned.clone()));
        Done {
            answer: Answer::Page(Page {
                entries: entries.collect(),
                next: next.map(|key| Key::new(key).unwrap()),
            }),
            version: None,
            served: Served::Local,
        }
    }

    #[test]
    fn pages_must_go_on() {
        let after = Key::new("b").unwrap();
        let take = |keys: &[&'static str], next| {
            page_after(NodeId::FIRST, page_of(keys, next), Some(&after)).is_ok()
        };
        assert!(take(&["c", "d"], Some("d")));
        assert!(take(&[], None));
        assert!(!take(&["b"], None), "a key twice");
        assert!(!take(&["d", "c"], None), "not in order");
        assert!(!take(&["c"], Some("b")), "the cursor stands still");
    }
}
