//! Tells the program which commit it was built from, for `watchbell --version`. A build for development says so instead, so that
//! a commit builds nothing anew.

use std::{env, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=WATCHBELL_COMMIT");
    let for_users = env::var("OPT_LEVEL").is_ok_and(|level| level != "0");
    let from = if for_users { commit() } else { Some("development build".to_owned()) };
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!(
        "cargo:rustc-env=WATCHBELL_VERSION={version}{}",
        from.map_or_else(String::new, |from| format!(" ({from})"))
    );
}

/// What whoever packs the source says, else what git says. Neither where the source came without its history.
fn commit() -> Option<String> {
    if let Some(said) = env::var("WATCHBELL_COMMIT").ok().filter(|said| !said.is_empty()) {
        return Some(said);
    }
    for changes_with_it in ["HEAD", "logs/HEAD"] {
        println!(
            "cargo:rerun-if-changed={}",
            git(&["rev-parse", "--path-format=absolute", "--git-path", changes_with_it])?
        );
    }
    git(&["show", "--no-patch", "--abbrev=9", "--date=short", "--format=%h %cd"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
