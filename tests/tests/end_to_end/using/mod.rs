//! What a person or a program does with servers.

mod delay;
mod dump;
mod many_clients;
mod quick_start;
mod scan;
mod session;
mod transactions;
mod waiting;
