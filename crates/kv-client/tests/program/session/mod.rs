//! Many commands with one client.

mod pipe;
mod shell;
mod terminal;
mod transaction;
