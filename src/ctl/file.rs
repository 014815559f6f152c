//! Files that an operator names: read and written whole or as they come. `-` is the standard input
//! or output.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::failure::Failure;

/// Longest password file, in bytes.
const SECRET_LEN_MAX: u64 = 4096;

/// Longest file that is sent, in bytes: more than the API takes.
const SENT_LEN_MAX: u64 = 1024 * 1024 * 1024;

pub(super) const STANDARD: &str = "-";

/// The first line of a file, which is a password.
pub(super) fn secret(path: &str) -> Result<String, Failure> {
    let text = String::from_utf8(read(path, SECRET_LEN_MAX)?)
        .map_err(|_| Failure::data(format!("{path} is not text")))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// All that is in a file.
pub(super) fn content(path: &str) -> Result<Vec<u8>, Failure> {
    read(path, SENT_LEN_MAX)
}

fn read(path: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Failure::data(format!("the file {path} does not exist")),
        _ => Failure::input_output(format!("cannot read {path}: {error}")),
    };
    let mut source: Box<dyn Read> = if path == STANDARD {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut bytes = Vec::new();
    source.by_ref().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if source.read(&mut [0]).map_err(failed)? > 0 {
        return Err(Failure::data(format!("{path} has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Writes all that comes into a file, which is there whole or as it was before. Only its owner can
/// read a new one. A device or pipe is written to as it is.
pub(super) fn save(path: &str, source: &mut dyn Read) -> Result<u64, Failure> {
    if path == STANDARD {
        let mut out = io::stdout().lock();
        return Ok(io::copy(source, &mut out).and_then(|count| out.flush().map(|()| count))?);
    }
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::data(format!("cannot write {path}: its directory does not exist"))
        }
        _ => Failure::input_output(format!("cannot write {path}: {error}")),
    };
    let is_special = Path::new(path).metadata().is_ok_and(|found| !found.is_file());
    if is_special {
        let mut there = File::options().write(true).open(path).map_err(failed)?;
        return io::copy(source, &mut there).map_err(failed);
    }
    let directory = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut new =
        tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new("."))).map_err(failed)?;
    let count = io::copy(source, &mut new).map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    new.persist(path).map_err(|error| failed(error.error))?;
    Ok(count)
}
