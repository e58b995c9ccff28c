//! Programs that were built in other ways. Each takes a build of the crate and all that it needs, so, but for
//! the first one, only with `LOOPOOL_TEST_BUILDS=1`.

use std::path::PathBuf;

use super::*;

pub(crate) const SCENARIOS: [(&str, Scenario); 5] = [
    ("a_static_program_with_musl", || {
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let asked = ["--print", "target-libdir", "--target", &target];
        let asked = Command::new(rustc()).args(asked).output();
        let folder = asked.map(|output| PathBuf::from(text(&output).trim())).unwrap_or_default();
        if folder.is_dir() {
            build_and_run("musl", &target, "")
        } else {
            skip(format!("the target {target} is not installed"))
        }
    }),
    ("a_static_program_with_glibc", || native("static", "-Ctarget-feature=+crt-static")),
    ("a_program_that_aborts_on_panic", || native("abort", "-Cpanic=abort")),
    ("a_program_at_a_fixed_place_without_build_id", || {
        native("fixed", "-Crelocation-model=static -Clink-arg=-Wl,--build-id=none")
    }),
    ("a_program_that_was_optimised_as_a_whole_and_stripped", || {
        native("whole", "-Copt-level=3 -Clto=fat -Cembed-bitcode=yes -Cstrip=symbols")
    }),
];

fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn native(name: &str, flags: &str) -> Result<(), Skipped> {
    if std::env::var_os("LOOPOOL_TEST_BUILDS").is_none() {
        return skip("LOOPOOL_TEST_BUILDS is not set");
    }
    let version = Command::new(rustc()).arg("-vV").output().unwrap();
    let version = text(&version);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    build_and_run(name, host.unwrap(), flags)
}

/// The example `four_jobs`, built for a target with flags, says what it says everywhere.
fn build_and_run(name: &str, target: &str, flags: &str) -> Result<(), Skipped> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--example", "four_jobs", "--target", target])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", flags)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let program = folder.join(target).join("debug/examples/four_jobs");
    let said = said(Command::new(program).stdin(Stdio::null()).stderr(Stdio::null()));
    assert_eq!(said, "2\npanicked: number 1\naborted\noverflowed\n", "{name}");
    Ok(())
}
