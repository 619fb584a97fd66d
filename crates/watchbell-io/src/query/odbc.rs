//! `odbc:…`: every datastore with an ODBC driver (S2.4). The driver manager is linked, so this is a feature of the build,
//! off unless asked for; the address is known all the same, and says how to get it.

#[cfg(feature = "odbc")]
mod driver;

#[cfg(feature = "odbc")]
pub use driver::open;

/// One paragraph for the reference.
pub const DOC: &str = "Every datastore with an ODBC driver: the address holds what a connection string does, \
                       `odbc:DSN=warehouse;UID=watchbell` or `odbc:Driver={SQLite3};Database=/var/lib/app.db`; `password` \
                       is added as `PWD`. Needs a build with `--features odbc`, and unixODBC. ODBC knows no time zones: \
                       timestamps count in the check's zone, so select epoch seconds where a column has another. What is \
                       asked is rolled back, and PostgreSQL, MySQL and SQLite are told to read only; for others use an \
                       account that may not write.";

/// What the config names is there, but not in this build.
///
/// # Errors
/// Always: how to get it.
#[cfg(not(feature = "odbc"))]
pub fn open(_: &std::sync::Arc<watchbell_core::config::SourcePolicy>) -> super::Opened {
    Err("this build has no ODBC: build with `cargo build --release --features odbc`, which needs unixODBC (on Debian \
         the package `unixodbc-dev`)"
        .to_owned())
}

#[cfg(all(test, not(feature = "odbc")))]
mod tests {
    use crate::query::testing::{policy, source};

    /// S2.4: without the feature an `odbc:` source says how to get it.
    #[test]
    fn a_build_without_it_says_how_to_get_it() {
        let said = source(policy("odbc:DSN=x", None)).preflight();
        assert!(said[0].contains("--features odbc") && said[0].contains("unixODBC"), "{said:?}");
    }
}
