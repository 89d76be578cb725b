//! What the program prints: on a screen, through a pager, as text or as JSON.

pub(crate) mod console;
pub(crate) mod exit;
pub(crate) mod finished;
pub(crate) mod json;
pub(crate) mod paged_output;
pub(crate) mod pager;
pub(crate) mod paint;
pub(crate) mod screen;
pub(crate) mod status;
pub(crate) mod text;
