//! The thread that commits what comes in at the store's door, and its end.
//!
//! It outlives the commits: after the store was closed or has failed it answers appends until
//! nobody is left who could append. So every append is answered, and never on its own stack.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::StoreState;
use super::inbox::Inbox;

pub(super) struct CommitThread {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl CommitThread {
    /// Starts the thread; `commit` takes windows from the inbox until it refuses more.
    pub(super) fn start(
        inbox: Arc<Inbox>,
        commit: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let thread = std::thread::Builder::new().name("store-commit".to_owned()).spawn({
            let inbox = Arc::clone(&inbox);
            move || {
                if catch_unwind(AssertUnwindSafe(commit)).is_err() {
                    let why: Arc<str> = Arc::from("the committing thread panicked");
                    tracing::error!(%why, "nothing is confirmed any more; restart");
                    inbox.refuse(StoreState::Failed(Arc::clone(&why)), why);
                }
                inbox.answer_rest();
            }
        })?;
        Ok(Self { inbox, thread: Some(thread) })
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Whether the caller is a commit's callback: it can't wait for the thread that it is on.
    pub(super) fn is_current(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| thread.thread().id() == std::thread::current().id())
    }
}

impl Drop for CommitThread {
    fn drop(&mut self) {
        self.inbox.abandon();
        if self.is_current() {
            return;
        }
        if let Some(thread) = self.thread.take() {
            // Whatever went wrong in it was caught and said there.
            let _ = thread.join();
        }
    }
}
