//! What goes to disk: the records, what follows once they are there, and what a checkpoint left.

pub(crate) mod journal;
pub(crate) mod list;
pub(crate) mod record;
pub(crate) mod view;
