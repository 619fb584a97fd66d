//! Reading secrets where the config says they are.

use watchbell_core::config::Secret;

/// Reads a secret.
///
/// # Errors
/// What is missing and where it was looked for; never the secret.
pub fn read(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Value(text) => Ok(text.clone()),
        Secret::Env(name) => std::env::var(name).map_err(|_| format!("the environment variable `{name}` is not set")),
        Secret::File(path) => std::fs::read_to_string(path)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|e| format!("can't read the secret in `{path}`: {e}")),
    }
}
