//! Class confirm.

use super::{Channel, Mode};
use crate::broker::error::Error;
use crate::connection::close::Failure;
use crate::connection::peer::Peer;
use crate::protocol::generated::{ConfirmSelect, ConfirmSelectOk};

impl Channel {
    pub(super) fn confirm_select(
        &mut self,
        select: &ConfirmSelect,
        peer: &Peer,
    ) -> Result<(), Failure> {
        if matches!(self.mode, Mode::Transaction(_)) {
            return Err(Error::precondition_failed("cannot switch from tx to confirm mode").into());
        }
        self.mode = Mode::Confirm;
        if !select.nowait {
            peer.outbox.put_method(self.number, ConfirmSelectOk);
        }
        Ok(())
    }
}
