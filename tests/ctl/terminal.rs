//! On a terminal: widths, prompts, progress, colours; and none of it in a pipe.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::amqp::Peer;
use crate::program::*;
use crate::support::wait_until;

/// The program on a pseudo-terminal, as it runs, and what has come to stand on that.
struct OnTerminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl OnTerminal {
    fn start(managed: &Managed, columns: u16, words: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("it is ours");
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).expect("it has a size");
        let name = ptsname(&ours, Vec::new()).expect("it has a name");
        let theirs = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(name.to_str().expect("UTF-8"))
            .expect("the other end");
        let other_end = || Stdio::from(theirs.try_clone().expect("the other end again"));
        // A password is asked for on the terminal that belongs to a session of its own.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_ferrymqctl"), "--url", managed.url()])
            .args(words)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(other_end())
            .stdout(other_end())
            .stderr(other_end())
            .spawn()
            .expect("it starts");
        drop(theirs);
        let keyboard = File::from(ours);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (keyboard.try_clone().expect("to read"), Arc::clone(&screen));
        let reading = std::thread::spawn(move || {
            let mut part = [0; 4096];
            // An error is how the end of a terminal is told.
            while let Ok(count @ 1..) = from.read(&mut part) {
                to.lock().extend_from_slice(&part[..count]);
            }
        });
        Self { child, keyboard, screen, reading }
    }

    fn shown(&self) -> String {
        String::from_utf8(self.screen.lock().clone()).expect("UTF-8")
    }

    /// Types when the prompt is there and what is typed isn't shown any more.
    fn type_after(&mut self, prompt: &str, line: &str) {
        wait_until(prompt, || {
            let modes = tcgetattr(&self.keyboard).expect("a terminal").local_modes;
            self.shown().contains(prompt) && !modes.contains(LocalModes::ECHO)
        });
        writeln!(self.keyboard, "{line}").expect("it is typed");
    }

    /// All that was shown, once it has ended with this code.
    #[track_caller]
    fn expect(mut self, code: i32) -> String {
        let ended = self.child.wait().expect("it ends");
        self.reading.join().expect("all was read");
        let shown = String::from_utf8(self.screen.lock().clone()).expect("UTF-8");
        assert_eq!(ended.code(), Some(code), "{shown}");
        shown
    }
}

fn on_terminal(managed: &Managed, columns: u16, words: &[&str]) -> String {
    OnTerminal::start(managed, columns, words).expect(0)
}

#[test]
fn a_table_is_as_wide_as_the_terminal_at_most() {
    let managed = Managed::start();
    let mut peer = Peer::connect(managed.broker.amqp_address());
    peer.open("guest");
    peer.open_channel(1);
    let name = "orders.of.customers.".repeat(6);
    peer.declare_queue(1, &name);
    let list = ["list_queues", "name", "messages", "state", "durable"];
    let narrow = on_terminal(&managed, 60, &list);
    assert!(narrow.contains('┌') && narrow.contains("orders.of"), "{narrow}");
    let widest = narrow.lines().map(|line| line.trim_end().chars().count()).max();
    assert!(widest <= Some(60), "{widest:?}: {narrow}");
    let wide = on_terminal(&managed, 200, &list);
    assert!(wide.lines().any(|line| line.contains(&name) && line.contains("running")), "{wide}");
    let plain = on_terminal(&managed, 60, &[&list[..], &["--formatter", "table"]].concat());
    assert!(plain.contains(&format!("{name}\t0\trunning\tfalse")), "{plain}");
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let managed = Managed::start();
    let mut adding = OnTerminal::start(&managed, 80, &["add_user", "alice"]);
    adding.type_after("Password: ", "s3cret");
    let shown = adding.expect(0);
    assert!(!shown.contains("s3cret"), "{shown}");
    managed.ctl(&["authenticate_user", "alice", "s3cret"]).expect(0);

    managed.ctl(&["set_user_tags", "alice", "administrator"]).expect(0);
    let mut as_alice = OnTerminal::start(&managed, 80, &["-u", "alice", "list_vhosts"]);
    as_alice.type_after("Password of alice: ", "s3cret");
    let shown = as_alice.expect(0);
    assert!(!shown.contains("s3cret") && shown.contains("│ /"), "{shown}");
    let mut wrong = OnTerminal::start(&managed, 80, &["-u", "alice", "list_vhosts"]);
    wrong.type_after("Password of alice: ", "other");
    assert!(wrong.expect(77).contains("password is wrong"));
}

#[test]
fn long_work_has_a_bar_on_a_terminal_and_none_elsewhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let mut managed = Managed::with(|config| config.store.data_dir.clone_from(&data));
    let path = directory.path().join("definitions.json");
    let path = path.to_str().expect("UTF-8");
    let export = ["export_definitions", path];
    let shown = on_terminal(&managed, 80, &export);
    assert!(shown.contains("bytes [█"), "{shown}");
    let shown = on_terminal(&managed, 80, &["import_definitions", path]);
    assert!(shown.contains("importing"), "{shown}");
    let shown = on_terminal(&managed, 80, &[&export[..], &["-q"]].concat());
    assert_eq!(shown, "");
    let ran = managed.ctl(&export);
    assert_eq!(ran.err, "");
    assert!(!ran.expect(0).contains('█'));
    let ran = managed.ctl(&["import_definitions", path]);
    assert_eq!((ran.err.as_str(), ran.code), ("", 0));

    managed.broker.stop();
    let check = ["store", "check", data.to_str().expect("UTF-8")];
    let shown = on_terminal(&managed, 80, &check);
    assert!(shown.contains("bytes [") && shown.contains("is whole"), "{shown}");
}

#[test]
fn colours_are_for_terminals_only() {
    let managed = Managed::start();
    let shown = on_terminal(&managed, 80, &["list_queues", "--help"]);
    assert!(shown.contains("Example:"), "{shown}");
    let wrong = OnTerminal::start(&managed, 80, &["no_such_verb"]).expect(64);
    assert!(wrong.contains('\u{1b}'), "this is how it would be seen: {wrong}");
    for words in [
        &["list_queues", "--help"][..],
        &["--help"],
        &["no_such_verb"],
        &["list_vhosts"],
        &["status"],
    ] {
        let ran = managed.ctl(words);
        assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{words:?}: {ran:?}");
    }
}
