//! What a terminal offers beyond lines: editing, history, completion, hints.

pub(crate) mod assistant;
pub(crate) mod console;
#[cfg(unix)]
pub(crate) mod departure;
pub(crate) mod editor;
pub(crate) mod history;
pub(crate) mod interruption;
pub(crate) mod known_keys;
pub(crate) mod peek;
pub(crate) mod prompt;
pub(crate) mod terminal_mode;
