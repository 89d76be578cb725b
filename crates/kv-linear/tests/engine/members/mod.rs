//! Who belongs to the cluster, and what a server knows again after a restart.

mod crashes;
mod founding;
mod membership;
mod recovering;
mod restart;
mod salvage;
mod set_back;
