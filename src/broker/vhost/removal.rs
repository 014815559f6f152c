//! The end of a vhost: everything in it goes, and nothing comes in any more.

use std::sync::atomic::Ordering;

use super::Vhost;
use crate::broker::auth::Actor;
use crate::broker::changes::Changes;
use crate::broker::error::Error;
use crate::broker::policy::matching::{Policies, PolicyKind};
use crate::protocol::reply::ReplyCode;
use crate::store::definition::CatalogChange;
use crate::store::record::Record;

impl Vhost {
    /// Takes out all queues, exchanges, bindings and policies; whoever still holds the vhost finds
    /// it empty, and can't put anything in. Answers what the log has to be told.
    pub(in crate::broker) fn remove_all(&self, actor: Option<&Actor>) -> Changes {
        let mut batch = Changes::default();
        let _changing = self.policies.change();
        let mut topology = self.topology(actor);
        self.gone.store(true, Ordering::Release);
        for queue in self.queues() {
            // Without conditions it is never refused. Its consumers hear that their connection is
            // closed.
            drop(self.take_out_queue(&mut topology, &queue, false, false, &mut batch));
        }
        for exchange in self.exchanges() {
            if !exchange.is_deleted() {
                self.remove_exchange(&mut topology, &exchange, &mut batch);
            }
        }
        for kind in [PolicyKind::User, PolicyKind::Operator] {
            for policy in self.policies.get().list(kind) {
                let key = kind.key(&self.name, &policy.stored.name);
                batch.push(Record::catalog(CatalogChange::Delete(key)));
            }
        }
        self.policies.set(Policies::default());
        batch
    }

    /// Whether the vhost was deleted.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// What its clients are told then.
    pub fn gone_text(&self) -> String {
        format!("vhost '{}' is deleted", self.name)
    }

    /// Refuses with 320 to put anything into a vhost that was deleted. To be asked under the lock
    /// that the change is made under.
    pub(super) fn check_not_gone(&self) -> Result<(), Error> {
        match self.is_gone() {
            true => Err(Error::new(ReplyCode::ConnectionForced, self.gone_text())),
            false => Ok(()),
        }
    }
}
