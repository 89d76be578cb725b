//! Who may come in, and how many, and how much is kept for one.

pub(crate) mod admission;
pub(crate) mod connection_bounds;
pub(crate) mod held_back;
pub(crate) mod strangers;
