//! Hours: `weekdays 08:00-18:00 Europe/Berlin`.

/// When people may be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Hours {}
