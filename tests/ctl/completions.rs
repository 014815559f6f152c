//! Completions of shells, loaded by those shells that are here.

use std::process::{Command, Stdio};

use crate::program::*;

fn script(shell: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let script = run(&["completions", shell], "").expect(0);
    std::fs::write(file.path(), script).expect("it is written");
    file
}

/// What a shell prints, when it knows the completions.
fn with_completions(shell: &str, arguments: &[&str], commands: &str) -> Option<String> {
    let file = script(shell);
    let path = file.path().to_str().expect("UTF-8");
    let mut command = Command::new(shell);
    command.args(arguments).arg("-c").arg(commands.replace("SCRIPT", path));
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.expect("it runs"),
    };
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success() && told.is_empty(), "{shell}: {told}");
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

/// What bash offers for the last of some words.
fn bash_offers(words: &[&str]) -> Vec<String> {
    let (last, count) = (words[words.len() - 1], words.len() - 1);
    let before = words[count - 1];
    let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let commands = format!(
        "source SCRIPT; COMP_WORDS=({}); COMP_CWORD={count}; \
         _ferrymqctl ferrymqctl '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        line.join(" ")
    );
    let found = with_completions("bash", &["--norc"], &commands).expect("bash is everywhere");
    found.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_options_and_their_values() {
    assert_eq!(bash_offers(&["ferrymqctl", "list_q"]), ["list_queues"]);
    assert_eq!(bash_offers(&["ferrymqctl", "cancel_sch"]), ["cancel_scheduled"]);
    let options = bash_offers(&["ferrymqctl", "set_policy", "--ap"]);
    assert_eq!(options, ["--apply-to"]);
    let values = bash_offers(&["ferrymqctl", "set_policy", "--apply-to", ""]);
    assert!(values.contains(&"exchanges".to_owned()), "{values:?}");
    let formats = bash_offers(&["ferrymqctl", "list_users", "--formatter", "j"]);
    assert_eq!(formats, ["json"]);
}

#[test]
fn what_cannot_be_done_here_is_not_offered() {
    assert_eq!(bash_offers(&["ferrymqctl", "join_cl"]), [""]);
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell], "").expect(0);
        assert!(script.contains("list_queues") && !script.contains("join_cluster"), "{shell}");
    }
}

/// Where one isn't installed, its script is written for nobody.
#[test]
fn zsh_and_fish_can_load_theirs() {
    let zsh =
        "autoload -Uz compinit; compinit -u -D; source SCRIPT; print -r -- $_comps[ferrymqctl]";
    if let Some(known) = with_completions("zsh", &["-f"], zsh) {
        assert_eq!(known.trim(), "_ferrymqctl");
    }
    let fish = "source SCRIPT; complete --do-complete 'ferrymqctl list_q'";
    if let Some(offered) = with_completions("fish", &["--no-config"], fish) {
        assert!(offered.starts_with("list_queues\t"), "{offered}");
    }
}
