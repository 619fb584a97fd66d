//! `watchbell token`: tokens for the HTTP API. The token is shown once; the config keeps its hash.

use super::ui::{self, Done, Trouble};
use sha2::{Digest, Sha256};

/// A token's length, in random bytes.
const TOKEN_BYTES: usize = 32;

/// Make tokens for the HTTP API
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    New(New),
}

/// Make a token: printed once, with the line of the config that allows it
#[derive(clap::Args, Debug)]
#[command(after_help = "The config holds only the token's SHA-256: whoever reads it can't use it. Give the token to \
                        whoever calls, as `Authorization: Bearer TOKEN`, or to `watchbell --url` as WATCHBELL_TOKEN.")]
struct New {
    /// Whose it is: shown as who did what
    name: String,
    /// What it may do
    #[arg(long = "scope", value_enum, value_delimiter = ',', default_value = "read", value_name = "SCOPES")]
    scopes: Vec<Scope>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Scope {
    /// See everything
    Read,
    /// Squelch, acknowledge, run checks now
    Operate,
    /// Send events and results
    Ingest,
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Operate => "operate",
            Scope::Ingest => "ingest",
        }
    }
}

impl Args {
    /// Makes a token.
    pub fn run(&self) -> Done {
        let Command::New(new) = &self.command;
        new.run()
    }
}

impl New {
    fn run(&self) -> Done {
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            return Err(Trouble::wrong("a token's name must be text\nhint: name who or what uses it, as `grafana`"));
        }
        let mut scopes = self.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        let words: Vec<&str> = scopes.iter().map(|s| s.word()).collect();
        let token = random_token()?;
        let sha256 = hex(&Sha256::digest(token.as_bytes()));
        if self.json {
            return ui::print_json(&serde_json::json!({
                "name": self.name, "scopes": words, "token": token, "sha256": sha256,
            }));
        }
        let list = words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
        // A JSON text is a TOML text too.
        let name = serde_json::Value::from(self.name.as_str());
        ui::print(&format!(
            "token (shown only now):\n  {token}\n\nin `watchbell.toml`, below `[agent]`:\n  tokens = [{{ name = {name}, \
             scopes = [{list}], sha256 = \"{sha256}\" }}]\n"
        ))
    }
}

fn random_token() -> Done<String> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(n) if n == bytes.len() => Ok(format!("wb_{}", hex(&bytes))),
        _ => Err(Trouble::failed("the kernel gives no random bytes; no token was made")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
