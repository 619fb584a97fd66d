//! What puts Watchbell on a machine: the Debian package, `make install`, the systemd unit, the version it names.

use crate::place::skipped;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn run(program: &str, args: &[&str]) -> Option<Output> {
    Command::new(program).args(args).current_dir(root()).output().ok()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The package is built, installed, upgraded, removed and purged in a copy of this machine; what the user wrote survives all but
/// the last.
#[test]
fn the_debian_package_comes_and_goes() {
    let has_cargo_deb = root().join("target/tools/bin/cargo-deb").exists();
    let may_mount = run("unshare", &["--mount", "true"]).is_some_and(|o| o.status.success());
    if !has_cargo_deb || !may_mount || run("dpkg-deb", &["--version"]).is_none() {
        return skipped("the_debian_package_comes_and_goes: needs root, dpkg, and cargo-deb (`make deps`)");
    }
    let output = run("tools/test-package", &[env!("CARGO_BIN_EXE_watchbell")]).unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let (out, config_is_closed) = (text(&output), "drwxr-x--- root:watchbell /etc/watchbell");
    assert!(out.contains(config_is_closed) && out.contains("1.1.0-1"), "{out}");
}

/// `make install` puts everything below DESTDIR and PREFIX, with a unit that starts that program, also over an older one;
/// `make uninstall` takes out the same.
#[test]
fn make_install_and_uninstall() {
    let place = std::env::temp_dir().join(format!("watchbell-install-{}", std::process::id()));
    let dest = place.to_str().unwrap();
    for _ in 0..2 {
        let output = run("tools/install", &[env!("CARGO_BIN_EXE_watchbell"), dest, "/opt/wb"]).unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    let unit = fs::read_to_string(place.join("opt/wb/lib/systemd/system/watchbell.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/wb/bin/watchbell run /etc/watchbell\n"), "{unit}");
    for file in [
        "bin/watchbell",
        "share/man/man1/watchbell.1",
        "share/man/man1/watchbell-store-backup.1",
        "share/bash-completion/completions/watchbell",
        "share/zsh/site-functions/_watchbell",
        "share/fish/vendor_completions.d/watchbell.fish",
    ] {
        assert!(place.join("opt/wb").join(file).is_file(), "{file}");
    }
    let output = run("tools/install", &["--remove", dest, "/opt/wb"]).unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let left = Command::new("find").args([dest, "-type", "f"]).output().unwrap();
    assert_eq!(text(&left), "");
    fs::remove_dir_all(&place).unwrap();
}

/// The unit is one that Debian 12's systemd takes, and leaves a service little to break.
#[test]
fn the_unit_is_valid_and_closed() {
    let unit = fs::read_to_string(root().join("packaging/watchbell.service")).unwrap();
    let folder = std::env::temp_dir().join(format!("watchbell-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let copy = folder.join("watchbell.service");
    fs::write(&copy, unit.replace("/usr/bin/watchbell", env!("CARGO_BIN_EXE_watchbell"))).unwrap();
    let copy = copy.to_str().unwrap();
    let Some(verified) = run("systemd-analyze", &["verify", "--man=no", copy]) else {
        return skipped("the_unit_is_valid_and_closed: needs systemd-analyze");
    };
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", text(&verified));
    let exposure = run("systemd-analyze", &["security", "--offline=yes", "--threshold=40", copy]).unwrap();
    assert!(exposure.status.success(), "{}", text(&exposure));
    fs::remove_dir_all(folder).unwrap();
}

/// Which build it is: the commit in one for users, and that it is none in one for development.
#[test]
fn the_version_says_which_build() {
    let output = Command::new(env!("CARGO_BIN_EXE_watchbell")).arg("--version").output().unwrap();
    let expected = concat!("watchbell ", env!("CARGO_PKG_VERSION"), " (");
    assert!(text(&output).starts_with(expected), "{}", text(&output));
}
