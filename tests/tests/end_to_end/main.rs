//! Servers and clients as a person runs them, one file per behaviour. One program, so that it is linked
//! once and tests that wait do so beside each other.

mod backup;
mod bad_bytes;
mod bad_input;
mod delay;
mod descriptors;
mod dump;
mod durable;
mod failover;
mod frozen;
mod full_disk;
mod hand_over;
mod inspect;
mod linearizable;
mod many_clients;
mod op_log;
mod op_log_history;
mod outage;
mod quick_start;
mod recover;
mod restart;
mod set_back;
mod stopping;
mod waiting;
mod writers;
