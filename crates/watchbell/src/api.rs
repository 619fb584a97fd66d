//! What the HTTP API and the command line speak of.
