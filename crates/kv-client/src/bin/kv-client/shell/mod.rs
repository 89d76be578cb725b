//! What a terminal offers beyond lines: editing, history, completion, hints.

pub(crate) mod assistant;
pub(crate) mod editor;
pub(crate) mod history;
pub(crate) mod input;
pub(crate) mod interruption;
pub(crate) mod key_lookup;
pub(crate) mod known_keys;
pub(crate) mod prompt;
#[cfg(unix)]
pub(crate) mod signals;
pub(crate) mod terminal_mode;
