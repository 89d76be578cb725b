//! The language of the lines: words, options, commands, and their help.

pub(crate) mod arguments;
pub(crate) mod command;
pub(crate) mod help;
pub(crate) mod line_options;
pub(crate) mod timeout;
pub(crate) mod usage;
pub(crate) mod words;
