//! Pure parsers and encoders of what others write: bytes in, plain data or a located error out.

pub mod unit;
