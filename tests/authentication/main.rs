//! Passwords, rights and tokens of the real server, with the files and the clients that people have.

mod clients;
mod commands;
mod files;
mod place;
mod rights;
mod storm;
mod v1_tokens;
mod ways_in;
