//! A call as one reads it in a line.

use std::fmt;

use kv_core::{Batch, Check, Command};

use crate::brief::Brief;

/// A call in short, after a space: what it asks and does.
#[derive(Clone, Copy, Debug)]
pub struct CallText<'a>(pub &'a Batch);

impl fmt::Display for CallText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in self.0.conditions() {
            let key = &condition.key;
            match &condition.check {
                Check::Absent => write!(f, " if {key:?} is absent")?,
                Check::Present => write!(f, " if {key:?} is present")?,
                Check::ValueIs(value) => write!(f, " if {key:?} is {}", Brief(value))?,
                Check::VersionIs(version) => write!(f, " if {key:?} has version {version}")?,
                Check::ExpiryIs(None) => write!(f, " if {key:?} never expires")?,
                Check::ExpiryIs(Some(at)) => write!(f, " if {key:?} expires at {} ms", at.0)?,
            }
        }
        for command in self.0.commands() {
            let (name, key) = (command.name(), command.key());
            match command {
                Command::Get { .. }
                | Command::Delete { .. }
                | Command::Expire { time_to_live: None, .. }
                | Command::TimeToLive { .. }
                | Command::Expiry { .. } => write!(f, " {name} {key:?}")?,
                Command::Expire { time_to_live: Some(time), .. } => {
                    write!(f, " {name} {key:?} in {time:?}")?;
                }
                Command::ExpireAt { expiry, .. } => write!(f, " {name} {key:?} {} ms", expiry.0)?,
                Command::Put { value, time_to_live: None, .. } | Command::Rewrite { value, .. } => {
                    write!(f, " {name} {key:?} {}", Brief(value))?;
                }
                Command::Put { value, time_to_live: Some(time), .. } => {
                    write!(f, " {name} {key:?} {} for {time:?}", Brief(value))?;
                }
                Command::Increment { by, .. } => write!(f, " {name} {key:?} {by}")?,
                Command::Append { suffix, .. } => write!(f, " {name} {key:?} {}", Brief(suffix))?,
            }
        }
        Ok(())
    }
}
