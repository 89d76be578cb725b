//! How servers are brought in step, and what they forget once they are.

mod comparison;
mod forgetting;
mod knowledge;
