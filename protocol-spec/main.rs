//! The generator of `src/protocol/generated.rs`, as a test: it fails when the file is not what the
//! specification says. `UPDATE=1 cargo test --test protocol_spec` rewrites it.

mod agreement;
mod generate;
mod round_trip;
mod spec;

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn generated_code_is_what_the_specification_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/generated.rs");
    let expected = formatted(&generate::rust(&spec::load()));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &expected).expect("the generated file can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "src/protocol/generated.rs is stale: run UPDATE=1 cargo test --test protocol_spec"
    );
}

fn formatted(code: &str) -> String {
    use std::io::Write;

    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rustfmt comes with the toolchain");
    let mut stdin = rustfmt.stdin.take().expect("piped");
    stdin.write_all(code.as_bytes()).expect("rustfmt reads");
    drop(stdin);
    let output = rustfmt.wait_with_output().expect("rustfmt ends");
    assert!(output.status.success(), "rustfmt refused the generated code");
    String::from_utf8(output.stdout).expect("rustfmt writes UTF-8")
}
