//! What lies on the disks: backups, logs, restarts.

mod backup;
pub(crate) mod durable;
mod inspect;
mod op_log;
mod op_log_history;
mod recover;
mod restart;
mod set_back;
