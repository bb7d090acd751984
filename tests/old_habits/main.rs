//! What people have had for years, and type every day: their files, command lines, variables and scripts. It works, or
//! is answered with the sentence that says what to write instead.
//!
//! `files` holds those files byte for byte. The tests are named after the lines and the habits that they are about.

mod answers;
mod batch_push;
mod command_lines;
mod files;
mod garbage;
mod log_files;
mod log_formats;
mod protocols;
mod running;
mod start_lines;
mod variables;
