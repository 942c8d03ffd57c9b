//! stub
use crate::cli::{EvaluateArgs, Global};
use crate::error::Error;
pub(super) fn run(_args: &EvaluateArgs, _global: &Global) -> Result<u8, Error> {
    Err(Error::Internal { message: "not yet".to_owned() })
}
