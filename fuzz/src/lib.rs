//! What fuzzing needs beside the targets: the API's data, which belongs to the binary (`api` is a link to it).

#![allow(dead_code, missing_docs, reason = "the API's data is here for what reads it")]

mod api;
pub mod targets;
